# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Writes a folder of static files that classifies sound in a browser."""

import dataclasses
import html
import json
import os
import tempfile
from dataclasses import dataclass
from importlib.resources import files as resources
from pathlib import Path
from string import Template
from typing import Any

from huggingface_hub import SpaceCardData, metadata_load
from transformers import PreTrainedModel, SequenceFeatureExtractor

from ..data.event_rules import EventRules
from ..data.folders import whole_folder, write_json
from ..data.text import one_line
from ..inference.timeline import Join, choose_layout
from ..inference.timeline_model import window_limits
from ..modeling.loading import load_classifier, load_feature_extractor, name_of_model
from .description import DESCRIPTION
from .exporting import ExportReport, check_output, export_model
from .formats import Precision
from .graphs import task_of_model
from .web_runtime import copy_web_runtime, read_web_runtime


# Where transformers.js looks for the graphs
GRAPHS: dict[Precision, str] = {
    "float32": "onnx/model.onnx",
    "float16": "onnx/model_fp16.onnx",
    "int8-dynamic": "onnx/model_quantized.onnx",
    "int8-static": "onnx/model_int8.onnx",
}

# With these headers a page may use several threads. Hugging Face sends them for a Space that asks for it.
_HEADERS = {
    "cross-origin-embedder-policy": "require-corp",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "cross-origin",
}


@dataclass(frozen=True)
class WebReport:
    """
    What [`export_web`] wrote.

    Attributes:
        folder: the folder.
        graphs: the report of each graph, first that of the page. Their folders are gone.
        without: why the quantised graph is missing, or `None`.
        size: bytes of all files.
    """

    folder: Path
    graphs: list[ExportReport]
    without: str | None
    size: int


def export_web(
    model: str | os.PathLike | PreTrainedModel,
    output: str | os.PathLike,
    *,
    feature_extractor: SequenceFeatureExtractor | None = None,
    precision: Precision = "float32",
    quantized: bool = True,
    title: str | None = None,
    window: float | None = None,
    hop: float | None = None,
    overlap: float | None = None,
    join: Join = "fade",
    resolution: float | None = None,
    threshold: float | None = None,
    web_runtime: str | os.PathLike | None = None,
    limit: float | None = None,
    overwrite: bool = False,
    **checks: Any,
) -> WebReport:
    """
    Export a classifier as a page: static files that label recordings and the sound of a microphone in a browser.

    The folder works on any web server, and is a static Space of Hugging Face as it is. The sound stays in the browser.
    A classifier of clips also runs in transformers.js, as a model that takes samples.

    Args:
        model: a classifier of clips or of frames, or its folder or Hub name.
        output: the folder to write.
        feature_extractor: the model's. By default the one saved with it.
        precision: of the graph that the page runs.
        quantized: whether to add a graph in int8 for transformers.js, which takes it by default in browsers. It is
            left out where it is too far from the model.
        title: of the page. By default the name of the model.
        window, hop, overlap, join, resolution, threshold: how the page hears recordings, as for [`annotate`].
        web_runtime: the npm package `onnxruntime-web`, a `.tgz` file or unpacked. By default npm fetches it once.
        limit: how much worse than torch the graph of the page may be, as for [`export_model`].
        overwrite: whether to replace an exported model in `output`.
        checks: `calibration`, `files`, `dataset` and `split`, as for [`export_model`].

    Raises:
        ValueError: the model is not a trained classifier, it cannot be exported or not with these windows, the output
            is something else, or the runtime cannot be had.
        OSError: a file cannot be read or written.
    """
    output = Path(output)
    check_output(output, overwrite)
    loaded, feature_extractor = _load(model, feature_extractor)
    limits = window_limits(loaded.config, feature_extractor, task_of_model(loaded) == "frames")
    layout = choose_layout(limits, window=window, hop=hop, overlap=overlap, join=join, resolution=resolution)
    rules = _event_rules(loaded, threshold)
    runtime = read_web_runtime(web_runtime)  # before the work of exporting
    checks["feature_extractor"] = feature_extractor
    with whole_folder(output) as folder:
        graphs, without, exported = _add_graphs(folder, loaded, precision, quantized, limit, checks)
        exported |= {
            "labels": [one_line(label) for label in exported["labels"]],
            "timeline": dataclasses.asdict(layout),
            "event_rules": rules.to_dict(),
            "graph": GRAPHS[precision],
        }
        name = loaded.config.name_or_path or ""
        title = one_line(title or Path(name).name or loaded.config.model_type)
        _write_page(folder, exported, title)
        copy_web_runtime(folder, runtime)
        _write_card(folder, title, name)
        if exported["task"] == "clips":
            _write_transformers_js(folder, exported)
    size = sum(path.stat().st_size for path in output.rglob("*") if path.is_file())
    return WebReport(output, graphs, without, size)


def _load(
    model: str | os.PathLike | PreTrainedModel, feature_extractor: SequenceFeatureExtractor | None
) -> tuple[PreTrainedModel, SequenceFeatureExtractor]:
    loaded = load_classifier(os.fspath(model) if isinstance(model, os.PathLike) else model)
    if feature_extractor is None:
        feature_extractor = load_feature_extractor(name_of_model(loaded), loaded.config)
    if loaded.config.problem_type == "regression":
        raise ValueError("The model predicts values. A page needs a classifier.")
    return loaded, feature_extractor


def _event_rules(model: PreTrainedModel, threshold: float | None) -> EventRules:
    """The rules of a model, perhaps with another threshold."""
    rules = EventRules.from_config(model.config)
    return rules if threshold is None else dataclasses.replace(rules, threshold=threshold, low_threshold=None)


def _add_graphs(
    folder: Path,
    model: PreTrainedModel,
    precision: Precision,
    quantized: bool,
    limit: float | None,
    checks: dict[str, Any],
) -> tuple[list[ExportReport], str | None, dict[str, Any]]:
    """
    Export the graph of the page into a folder, and a quantized one for transformers.js.

    Returns:
        The report of each graph, why the quantized one is missing or `None`, and the description of the first.
    """
    (folder / "onnx").mkdir()
    report, exported = _add_graph(folder, model, precision, limit=limit, **checks)
    graphs, without = [report], None
    if quantized and precision != "int8-dynamic" and exported["task"] == "clips":
        try:
            graphs.append(_add_graph(folder, model, "int8-dynamic", **checks)[0])
        except ValueError as error:
            without = str(error)
    return graphs, without, exported


def _add_graph(
    folder: Path, model: PreTrainedModel, precision: Precision, **settings: Any
) -> tuple[ExportReport, dict[str, Any]]:
    """Export a graph into its place in a folder; its report and its description."""
    import onnx

    with tempfile.TemporaryDirectory() as name:
        exported = Path(name, "exported")
        report = export_model(
            model,
            exported,
            front_end=True,
            precision=precision,
            **settings,
        )
        graph = onnx.load(exported / "model.onnx")
        try:
            onnx.save(graph, folder / GRAPHS[precision])  # with its weights inside
        except ValueError as error:  # of protobuf
            raise ValueError(
                "The model is larger than 2 GB, which does not fit into one file for a browser. Export it with "
                "precision int8-dynamic."
            ) from error
        return report, json.loads((exported / DESCRIPTION).read_text(encoding="utf-8"))


def _write_page(folder: Path, exported: dict[str, Any], title: str) -> None:
    """Write the page for `exported`, the content of `polyaudio_export.json`."""
    web = resources(__package__).joinpath("web")
    shared = resources(__package__.rpartition(".")[0]).joinpath("inference")
    scripts = [source for source in web.iterdir() if source.name.endswith((".js", ".css"))]
    for source in [*scripts, shared.joinpath("timeline_view.js"), shared.joinpath("timeline_view.css")]:
        (folder / source.name).write_bytes(source.read_bytes())
    page = Template(web.joinpath("index.html").read_text(encoding="utf-8")).substitute(
        title=html.escape(title), view=shared.joinpath("timeline_view.html").read_text(encoding="utf-8")
    )
    (folder / "index.html").write_text(page, encoding="utf-8")
    write_json(folder / DESCRIPTION, exported)


def _write_card(folder: Path, title: str, model: str) -> None:
    """Write the README.md of a static Space."""
    is_local = bool(model) and Path(model).is_dir()
    card = Path(model, "README.md")
    known = (metadata_load(card) or {}) if is_local and card.is_file() else {}
    data = SpaceCardData(
        title=title,
        emoji="🔊",
        colorFrom="indigo",
        colorTo="pink",
        sdk="static",
        app_file="index.html",
        license=known.get("license"),
        models=None if is_local or not model else [model],
        custom_headers=_HEADERS,
    )
    text = resources(__package__).joinpath("web", "README.md").read_text(encoding="utf-8")
    (folder / "README.md").write_text(f"---\n{data.to_yaml()}\n---\n\n# {title}\n\n{text}", encoding="utf-8")


def _write_transformers_js(folder: Path, exported: dict[str, Any]) -> None:
    """
    Describe the graphs for transformers.js, which runs types of models that it knows.

    A wav2vec 2 classifier has the same input and output: samples and their mask, and logits.
    """
    labels = dict(enumerate(exported["labels"]))
    config = {
        "model_type": "wav2vec2",
        "architectures": ["Wav2Vec2ForSequenceClassification"],
        "id2label": labels,
        "label2id": {label: index for index, label in labels.items()},
        "problem_type": exported["problem_type"],
    }
    extractor = {
        "feature_extractor_type": "Wav2Vec2FeatureExtractor",
        "feature_size": 1,
        "sampling_rate": exported["sampling_rate"],
        "padding_value": 0.0,
        "do_normalize": False,
        "return_attention_mask": True,
    }
    write_json(folder / "config.json", config)
    write_json(folder / "preprocessor_config.json", extractor)
