# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Writes a folder of static files that classifies sound in a browser."""

import html
import json
import os
import shutil
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any

from ..data.text import one_line
from .web_runtime import copy_web_runtime


# Where transformers.js looks for the graphs
GRAPHS = {
    "float32": "onnx/model.onnx",
    "float16": "onnx/model_fp16.onnx",
    "int8-dynamic": "onnx/model_quantized.onnx",
}


def write_page(folder: Path, exported: dict[str, Any], title: str, web_runtime: str | os.PathLike | None) -> None:
    """
    Write the page into a folder that has the graph.

    Args:
        folder: the folder, with the graph at its place in `GRAPHS`.
        exported: the content of `polyaudio_export.json`.
        title: of the page.
        web_runtime: as for [`export_web`].
    """
    copy_web_runtime(folder, web_runtime)
    for source in files(__package__).joinpath("web").iterdir():
        if source.name.endswith((".js", ".css")):
            (folder / source.name).write_bytes(source.read_bytes())
    shared = files(__package__.rpartition(".")[0]).joinpath("inference")
    for name in ("timeline_view.js", "timeline_view.css"):
        (folder / name).write_bytes(shared.joinpath(name).read_bytes())
    page = Template(files(__package__).joinpath("web", "index.html").read_text(encoding="utf-8"))
    view = shared.joinpath("timeline_view.html").read_text(encoding="utf-8")
    (folder / "index.html").write_text(page.substitute(title=html.escape(title), view=view), encoding="utf-8")
    labels = [one_line(label) for label in exported["labels"]]
    settings = {**exported, "labels": labels, "graph": GRAPHS[exported["precision"]]}
    (folder / "polyaudio_export.json").write_text(json.dumps(settings, indent=2, ensure_ascii=False), encoding="utf-8")
