# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""The page, made with Gradio."""

import html
import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .analysis import Analysis, Analyst


if TYPE_CHECKING:
    import gradio


# Every half hour Gradio deletes the uploads and results that are older than three hours, and all of them when it ends
_DELETE_CACHE = (1800, 3 * 3600)

_TITLE = "# Sounds over time\n\nUpload or record a sound. The page shows its labels, and its events over time."


def build_app(
    models: Sequence[str], *, examples: Sequence[str | os.PathLike] = (), device: str | None = None
) -> "gradio.Blocks":
    """
    Make a page on which people upload or record a sound, and see its labels, its events over time, and files of them.

    A model is loaded when somebody first uses it, and kept. Recordings are analysed one at a time, and read block by
    block. No request leaves the machine, but for models that are loaded from the Hub. Call `launch()` of the result.

    Args:
        models: folders or Hub names of classifiers of clips or of frames. People choose if there are several.
        examples: audio files to try.
        device: `"cpu"`, `"cuda"`, ... By default the accelerator if there is one.

    Raises:
        ValueError: Gradio is not installed, there are no models, or a model or an example does not exist.

    Example:

    ```python
    >>> from polyaudio import build_app

    >>> build_app(["runs/ragas"], examples=["todi.flac"]).launch()  # doctest: +SKIP
    ```
    """
    if not models:
        raise ValueError("The page needs at least one model.")
    missing = [str(example) for example in examples if not Path(example).is_file()]
    if missing:
        raise ValueError(f"There is no file {missing[0]}.")
    gr = _import_gradio()
    analysts = {name: Analyst(model, device) for name, model in _named(models).items()}

    with gr.Blocks(title="polyaudio", analytics_enabled=False, delete_cache=_DELETE_CACHE) as app:
        gr.Markdown(_TITLE)
        with gr.Row():
            with gr.Column(scale=1):
                recording, model, button = _inputs(gr, list(analysts), examples)
            with gr.Column(scale=1):
                labels = gr.Label(label="Labels", elem_id="labels")
        outputs = [labels, *_outputs_over_time(gr)]

        def analyse(path: str | None, name: str, progress: Any = gr.Progress()) -> list[Any]:  # noqa: B008
            if path is None:
                raise _error_for_people(gr, "Upload or record a sound first.")
            folder = Path(tempfile.mkdtemp(dir=labels.GRADIO_CACHE))
            try:
                found = analysts[name].analyse(Path(path), folder, lambda share, text: progress(share, desc=text))
            except BaseException as error:
                shutil.rmtree(folder, ignore_errors=True)
                if isinstance(error, ValueError | OSError):
                    raise _error_for_people(gr, str(error).replace(path, Path(path).name)) from error
                raise
            return _values(gr, found)

        button.click(analyse, [recording, model], outputs, show_progress_on=labels, api_name="analyse")
    return app


def _inputs(gr: Any, names: list[str], examples: Sequence[str | os.PathLike]) -> list[Any]:
    """The recording, the choice of a model, and the button."""
    recording = gr.Audio(
        label="Recording",
        sources=["upload", "microphone"],
        type="filepath",
        buttons=["download"],  # and none that shares it with others
        elem_id="recording",
    )
    model = gr.Dropdown(names, value=names[0], label="Model", visible=len(names) > 1, elem_id="model")
    button = gr.Button("Analyse", variant="primary", elem_id="analyse")
    if examples:
        gr.Examples([[os.fspath(example)] for example in examples], inputs=recording, cache_examples=False)
    return [recording, model, button]


def _outputs_over_time(gr: Any) -> list[Any]:
    """What is below the labels: the picture, notes, events and files, in the order of `_values`."""
    picture = gr.Image(
        label="Over time",
        show_label=False,  # it would hide the title of the picture
        type="filepath",
        format="png",
        buttons=["download", "fullscreen"],
        interactive=False,
        elem_id="picture",
    )
    notes = gr.HTML(visible=False, elem_id="notes")
    events = gr.Dataframe(
        headers=["onset", "offset", "label", "score"],
        datatype=["number", "number", "str", "number"],
        label="Events, in seconds",
        interactive=False,
        elem_id="events",
    )
    files = gr.Files(label="Files", interactive=False, elem_id="files")
    return [picture, notes, events, files]


def _values(gr: Any, found: Analysis) -> list[Any]:
    """What the outputs show: the labels, and those of `_outputs_over_time`."""
    return [
        {one.label: one.score for one in found.labels},
        str(found.picture),
        gr.HTML("".join(f"<p>{html.escape(note)}</p>" for note in found.notes), visible=bool(found.notes)),
        [list(row) for row in found.rows],
        [str(file) for file in found.files],
    ]


def _error_for_people(gr: Any, message: str) -> Exception:
    return gr.Error(html.escape(message), duration=None, print_exception=False)


def _named(models: Sequence[str]) -> dict[str, str]:
    """The models by the names that people see: Hub names, and names of folders without where they lie."""
    names = [Path(model).resolve().name if Path(model).is_dir() else model for model in models]
    return dict(zip(names if len(set(names)) == len(set(models)) else models, models, strict=True))


def _import_gradio() -> Any:
    # Gradio reads it when it is imported
    os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
    try:
        import gradio
    except ImportError as error:
        if error.name != "gradio":
            raise
        raise ValueError(
            "The page needs Gradio, which is not installed. Install it with: pip install 'polyaudio[app]'"
        ) from error
    return gradio
