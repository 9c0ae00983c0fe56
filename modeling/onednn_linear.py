# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Linear layers in float32, and in bfloat16 without gradients, at the full speed of AMD processors.

On a CPU, torch computes float32 linear layers with MKL and convolutions with oneDNN. On AMD processors MKL uses its
AVX2 kernels, while oneDNN uses AVX-512, which is twice as fast since Zen 5 (Zen 4 splits each AVX-512 operation in
two). A linear layer is a convolution with a kernel of size 1, so oneDNN can compute it: the same products and sums of
float32 numbers, in another order.

In bfloat16 torch uses oneDNN anyway, but first copies the bias to all rows. oneDNN can add it while it computes.
"""

import functools
import platform
import re
from pathlib import Path

import torch
from torch import nn


# For smaller layers oneDNN spends more time on rearranging the weights than it saves
MIN_ROWS, MIN_FEATURES = 128, 256
ZEN_5 = 26  # processor family


@functools.cache
def mkl_lacks_kernels() -> bool:
    """Whether this is an AMD processor since Zen 5 on which torch has both MKL and oneDNN."""
    if not (torch.backends.mkl.is_available() and torch.backends.mkldnn.is_available()):
        return False
    if not torch.backends.cpu.get_cpu_capability().startswith("AVX512"):
        return False
    cpuinfo = Path("/proc/cpuinfo")  # Linux only; elsewhere the name of the processor holds the same words
    processor = cpuinfo.read_text() if cpuinfo.exists() else platform.processor()
    family = re.search(r"family\s*:?\s*(\d+)", processor, re.IGNORECASE)
    return "AuthenticAMD" in processor and family is not None and int(family[1]) >= ZEN_5


def onednn_linear(in_features: int, out_features: int) -> nn.Linear:
    """An `nn.Linear`; on processors where MKL lacks kernels, an [`OneDNNLinear`], which has the same weights."""
    return (OneDNNLinear if mkl_lacks_kernels() else nn.Linear)(in_features, out_features)


class OneDNNLinear(nn.Linear):
    """
    An `nn.Linear` that computes large inputs on the CPU with oneDNN: in float32, and in bfloat16, also by autocast,
    where no gradients are computed.

    Everything else goes the usual way: other dtypes and devices, tensor subclasses (sharded or quantized weights) and
    `torch.compile` and `torch.export`, which bring their own kernels.
    """

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        if torch.compiler.is_compiling() or not _is_large(input, self.weight):
            return super().forward(input)
        dtype = _computed_in(input, self.weight)
        if dtype == torch.float32:
            return _linear_by_convolution(input, self.weight, self.bias)
        if dtype == torch.bfloat16 and not torch.is_grad_enabled():
            return _linear_in_bfloat16(input, self.weight, self.bias)
        return super().forward(input)


def _is_large(inputs: torch.Tensor, weight: torch.Tensor) -> bool:
    return (
        type(inputs) is torch.Tensor
        and type(weight) in (torch.Tensor, nn.Parameter)
        and inputs.device.type == weight.device.type == "cpu"
        and inputs.layout == weight.layout == torch.strided
        and min(weight.shape) >= MIN_FEATURES
        and inputs.numel() >= MIN_ROWS * weight.shape[1]
    )


def _computed_in(inputs: torch.Tensor, weight: torch.Tensor) -> torch.dtype | None:
    """The dtype of the product; `None` for other dtypes than float32 and bfloat16, and where they do not fit."""
    dtypes = {inputs.dtype, weight.dtype}
    if torch.is_autocast_enabled("cpu") and dtypes <= {torch.float32, torch.bfloat16}:
        return torch.get_autocast_dtype("cpu")
    return inputs.dtype if len(dtypes) == 1 else None


def _linear_by_convolution(inputs: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    rows = inputs.reshape(1, -1, 1, inputs.shape[-1]).permute(0, 3, 1, 2)  # an image of one column, channels last
    # Dilation has no effect on a kernel of size 1, but without it torch uses MKL where it has a single thread
    outputs = nn.functional.conv2d(rows, weight[:, :, None, None], bias, dilation=2)
    return outputs.permute(0, 2, 3, 1).reshape(*inputs.shape[:-1], weight.shape[0])


def _linear_in_bfloat16(inputs: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    inputs, weight = inputs.bfloat16(), weight.bfloat16()
    bias = None if bias is None else bias.bfloat16()
    # The operator that torch.compile uses. It has no gradients
    return torch.ops.mkldnn._linear_pointwise(inputs, weight, bias, "none", [], "")
