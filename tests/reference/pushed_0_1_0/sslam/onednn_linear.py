# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
# Copied from polyaudio 0.1.0. The MIT License: https://opensource.org/license/mit
"""Linear layers in float32 at the full speed of AMD's processors.

On a processor torch computes linear layers in float32 with MKL and convolutions with oneDNN. On AMD's, MKL takes its
kernels for AVX2 where oneDNN takes those for AVX-512, and since Zen 5 these are twice as fast (Zen 4 computes AVX-512
in halves). A linear layer is a convolution with a kernel of one, so oneDNN can compute it: the same products and sums
of float32 numbers, in another order.
"""

import functools
import platform
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode


# Below these oneDNN's rearranging of the weights takes longer than it saves
MIN_ROWS, MIN_FEATURES = 128, 256
ZEN_5 = 26  # the family of its processors


@functools.cache
def mkl_lacks_kernels() -> bool:
    """Whether MKL would compute on an AMD processor since Zen 5, and oneDNN is there to do it instead."""
    if not (torch.backends.mkl.is_available() and torch.backends.mkldnn.is_available()):
        return False
    if not torch.backends.cpu.get_cpu_capability().startswith("AVX512"):
        return False
    cpuinfo = Path("/proc/cpuinfo")  # Linux; elsewhere the name of the processor says the same
    processor = cpuinfo.read_text() if cpuinfo.exists() else platform.processor()
    family = re.search(r"family\s*:?\s*(\d+)", processor, re.IGNORECASE)
    return "AuthenticAMD" in processor and family is not None and int(family[1]) >= ZEN_5


class OneDNNLinear(TorchFunctionMode):
    """Computes `torch.nn.functional.linear` of large float32 tensors on the CPU with oneDNN."""

    def __torch_function__(
        self, func: Callable, types: tuple[type, ...], args: tuple = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        # `types` lists tensors of other classes (sharded or quantized ones, say), which know their own ways
        if func is nn.functional.linear and not types and not kwargs and _is_large_float32(*args):
            return _linear_by_convolution(*args)
        return func(*args, **(kwargs or {}))


def _is_large_float32(inputs: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None) -> bool:
    return (
        inputs.device.type == weight.device.type == "cpu"
        and inputs.dtype == weight.dtype == torch.float32
        and inputs.layout == weight.layout == torch.strided
        and not torch.is_autocast_enabled("cpu")
        and min(weight.shape) >= MIN_FEATURES
        and inputs.numel() >= MIN_ROWS * weight.shape[1]
    )


def _linear_by_convolution(
    inputs: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None
) -> torch.Tensor:
    rows = inputs.reshape(1, -1, 1, inputs.shape[-1]).permute(0, 3, 1, 2)  # a picture of one column, channels last
    # Dilation means nothing to a kernel of one, but without it torch turns to MKL again where it has a single thread
    outputs = nn.functional.conv2d(rows, weight[:, :, None, None], bias, dilation=2)
    return outputs.permute(0, 2, 3, 1).reshape(*inputs.shape[:-1], weight.shape[0])


def onednn_linear(forward: Callable) -> Callable:
    """
    Decorates the `forward` of a module whose linear layers oneDNN is to compute where MKL would be slow.

    Elsewhere, under `torch.compile` and `torch.export` (which bring their own kernels), under autocast and for small
    inputs nothing changes. The layers stay [`torch.nn.Linear`], so adapters, quantization and sharding find them.
    """

    @functools.wraps(forward)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        if torch.compiler.is_compiling() or not mkl_lacks_kernels():
            return forward(*args, **kwargs)
        with OneDNNLinear():
            return forward(*args, **kwargs)

    return wrapper
