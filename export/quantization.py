# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Weights of 8 bits for ONNX graphs, by the quantizer of transformers, which calls that of ONNX Runtime."""

import ast
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from transformers import exporters

from .formats import SCOPES, quiet


if TYPE_CHECKING:
    from transformers.exporters import ExportedModel


# The front end computes logarithms of small powers, and the head is small
FLOAT_MODULES = ("front_end", "model.classifier")


def quantize(
    exported: "ExportedModel",
    calibration: Iterable[dict[str, Any]] | None = None,
    float_modules: Sequence[str] = FLOAT_MODULES,
    **settings: Any,
) -> None:
    """
    Quantize an exported ONNX model in place: the products of its linear layers, with a scale for each output.

    Args:
        calibration: inputs from which the ranges of the activations follow. Without it, the ranges follow from each
            input when the model runs.
        float_modules: names of modules that stay as they are, with all that is in them.
        settings: further settings of the quantizer.
    """
    component = exported.components["model"]
    operators = ["MatMul", "Gemm"]
    # Products of activations, in the attention, stay as they are. ONNX Runtime has an option for it, MatMulConstBOnly,
    # which does nothing where the ranges are static.
    excluded = [
        node.name
        for node in component.program.graph
        if _is_in(node, float_modules) or (node.op_type in operators and node.inputs[1].const_value is None)
    ]
    # The results of all products stay as they are too
    extra = {"OpTypesToExcludeOutputQuantization": operators}
    common: dict[str, Any] = {"per_channel": True, "nodes_to_exclude": excluded}
    common |= {"op_types_to_quantize": operators, "extra_options": extra}
    config: exporters.OnnxRuntimeDynamicConfig | exporters.OnnxRuntimeStaticConfig
    if calibration is None:
        config = exporters.OnnxRuntimeDynamicConfig(**{**common, **settings})
        quantizer = exporters.OnnxRuntimeQuantizer(config)
    else:
        config = exporters.OnnxRuntimeStaticConfig(**{**common, **settings})
        quantizer = exporters.OnnxRuntimeQuantizer(config, calibration_dataset=list(calibration))
    with quiet():
        component.program = quantizer.quantize(component.program, {}, exporters.ExportFormat.ONNX)


def _is_in(node: Any, modules: Sequence[str]) -> bool:
    scopes = ast.literal_eval(node.metadata_props.get(SCOPES, "[]"))
    return any(scope == module or scope.startswith(f"{module}.") for scope in scopes for module in modules)
