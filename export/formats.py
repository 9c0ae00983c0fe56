# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""The formats of exported models, all of them written by the exporters of transformers."""

import contextlib
import importlib.util
import io
import logging
import os
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch.utils._sympy.value_ranges import ValueRanges
from transformers import exporters


if TYPE_CHECKING:
    from transformers.exporters import ExportedModel


Format = Literal["onnx", "openvino", "executorch", "torch-export"]
Precision = Literal["float32", "float16", "int8-dynamic", "int8-static"]

# Where torch writes the names of the modules that a node of an ONNX graph comes from
SCOPES = "pkg.torch.onnx.name_scopes"


@dataclass(frozen=True)
class ExportFormat:
    """
    A format.

    Attributes:
        exporter, config: names of the exporter and of its configuration in `transformers.exporters`.
        packages: modules that exporting and running need.
        takes_one_clip: whether its programs take one clip of one length. ExecuTorch plans its memory for the longest
            input, and XNNPACK does not take other lengths.
        run_settings: settings with which the program is loaded to be compared with torch.
        extra: the extra of polyaudio that installs them; `None` if nothing is needed.
        precisions: what it can be exported in.
    """

    exporter: str
    config: str
    packages: tuple[str, ...]
    extra: str | None
    precisions: tuple[Precision, ...]
    takes_one_clip: bool = False
    run_settings: Mapping[str, Any] = field(default_factory=dict)


FORMATS: dict[Format, ExportFormat] = {
    "onnx": ExportFormat(
        "OnnxExporter",
        "OnnxConfig",
        ("onnx", "onnxscript", "onnxruntime"),
        "export",
        ("float32", "float16", "int8-dynamic", "int8-static"),
    ),
    "openvino": ExportFormat(
        "OpenVINOExporter",
        "OpenVINOConfig",
        ("openvino",),
        "export-openvino",
        ("float32", "float16"),
        # On processors with bfloat16, OpenVINO computes in it unless it is told not to
        run_settings={"config": {"INFERENCE_PRECISION_HINT": "f32"}},
    ),
    "executorch": ExportFormat(
        "ExecutorchExporter",
        "ExecutorchConfig",
        ("executorch",),
        "export-executorch",
        ("float32",),
        takes_one_clip=True,
    ),
    "torch-export": ExportFormat("DynamoExporter", "DynamoConfig", (), None, ("float32", "float16")),
}


def check_format(name: str, precision: str) -> None:
    """
    Check that a model can be exported here in a format and a precision.

    Raises:
        ValueError: the format is unknown, it does not have the precision, or a package is missing or too old.
    """
    if not hasattr(exporters, "ExportedModel"):  # as in the versions for Python 3.10
        raise ValueError(
            "Exports need transformers 5.23 or newer, which needs Python 3.11 or newer. Run: pip install --upgrade "
            "transformers"
        )
    if name not in FORMATS:
        raise ValueError(f"There is no format {name!r}. Choose from {', '.join(FORMATS)}.")
    chosen = FORMATS[name]
    if precision not in chosen.precisions:
        raise ValueError(
            f"The format {name} has no precision {precision!r}. Choose from {', '.join(chosen.precisions)}."
        )
    missing = [package for package in chosen.packages if importlib.util.find_spec(package) is None]
    if missing:
        raise ValueError(
            f"The format {name} needs {' and '.join(missing)}, which {'is' if len(missing) == 1 else 'are'} not "
            f'installed. Run: pip install "polyaudio[{chosen.extra}]"'
        )


def export_graph(graph: torch.nn.Module, name: Format, inputs: Mapping[str, torch.Tensor]) -> "ExportedModel":
    """
    Export a module, with dynamic batch and time where the format has them.

    Args:
        inputs: the input to trace it with: at least two clips, and two of all that varies with their length, or the
            one clip.
    """
    chosen = FORMATS[name]
    settings: dict[str, Any] = {}
    if not chosen.takes_one_clip:
        shapes = {key: {0: torch.export.Dim.AUTO, 1: torch.export.Dim.AUTO} for key in inputs}
        settings = {"dynamic": True, "dynamic_shapes": shapes}
    config = getattr(exporters, chosen.config)(**settings)
    with quiet(), _reporting_nothing():
        exported = getattr(exporters, chosen.exporter)().export(graph, dict(inputs), config)
    _clean(exported, name)
    return exported


def _clean(exported: "ExportedModel", name: Format) -> None:
    """Remove what a program need not keep: where its code was, the example input, and needless checks of the input."""
    program = exported.program
    if name == "onnx":
        for node in program.graph.all_nodes():
            scopes = node.metadata_props.get(SCOPES)
            node.metadata_props.clear()
            if scopes is not None:
                node.metadata_props[SCOPES] = scopes
    elif name == "torch-export":
        # torch takes each size that varies for 2 or more, and refuses a clip of one window or of one frame. The
        # program computes the right thing for it; the comparison with torch shows that.
        program._guards_code.clear()
        program._example_inputs = None
        for symbol, bounds in program.range_constraints.items():
            program.range_constraints[symbol] = ValueRanges(1, bounds.upper)


@contextlib.contextmanager
def _reporting_nothing() -> Iterator[None]:
    """
    Keep OpenVINO's converter from sending reports.

    By default, it reports each conversion to Google Analytics. Without a network it waits up to three seconds for each
    report. It sends none if `CI` is "true", as in continuous integration.
    """
    before = os.environ.get("CI")
    os.environ["CI"] = "true"
    try:
        yield
    finally:
        if before is None:
            del os.environ["CI"]
        else:
            os.environ["CI"] = before


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep the exporters, which print every step and warn of their own code, from printing."""
    # While this logger has a handler, torch describes all that it traces, with the place in the code. The handler of
    # torch goes with the first message where nobody wants a trace, but no message comes while logging is disabled.
    trace, disabled = logging.getLogger("torch.__trace"), logging.root.manager.disable
    handlers, trace.handlers = trace.handlers, []
    logging.disable(logging.WARNING)
    try:
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)
        trace.handlers = handlers
