# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Saves models and feature extractors, complete or not at all, with the code to load them without polyaudio.

transformers can load a model with the code that is in one folder with its weights. Its own function to save such code
supports neither packages with folders nor saving a model that was loaded with such code. So the two mixins here save
the code. They also save this file, so a model that was loaded without polyaudio can be saved with its code again.
"""

import ast
import fnmatch
import functools
import inspect
import os
import re
import shutil
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from huggingface_hub import HfApi
from safetensors import SafetensorError
from transformers.utils.versions import require_version


if TYPE_CHECKING:
    # Every class with one of the mixins is also derived from one of these bases
    from transformers import FeatureExtractionMixin as _FeatureExtractorBase
    from transformers import PreTrainedConfig
    from transformers import PreTrainedModel as _ModelBase
else:
    _FeatureExtractorBase = _ModelBase = object

# polyaudio itself requires this version. The copies of this file beside a model can meet older versions, which load
# adapters wrongly.
require_version("transformers>=5.20", "What loads this model needs a newer one: pip install --upgrade transformers")

# polyaudio, or the package of the copies beside a model
_PACKAGE = (__package__ or "").removesuffix(".integration")
STAMP = "# Copied from polyaudio "
_PARTIAL = "_saving"  # a Trainer does not push files whose names begin with an underscore
# The files that transformers loads weights from. If one remains from an earlier model, transformers could load it.
WEIGHTS = ("model.safetensors", "model-*.safetensors", "model.safetensors.index.json")
_CLASSIFIERS = ("ForAudioClassification", "ForAudioFrameClassification")
_PIPELINE_TASK = "sound-event-detection"
_PIPELINE_FILE = "pipeline_sound_event_detection.py"
_PIPELINE_CLASS = "SoundEventDetectionPipeline"
# The end of the name of a model class, and the Auto class that loads it
_AUTO_CLASSES = {
    "Model": "AutoModel",
    "ForPreTraining": "AutoModelForPreTraining",
    "ForAudioClassification": "AutoModelForAudioClassification",
    "ForAudioFrameClassification": "AutoModelForAudioFrameClassification",
}


class PortableModelMixin(_ModelBase):
    """Saves a model completely or not at all, with its code. It must be the first base of a model class."""

    if TYPE_CHECKING:
        config_class: type[PreTrainedConfig]

    def inner_model(self) -> "_ModelBase | None":
        """The model that this one is built over, if it is built over another one."""
        return None

    def save_code(self, save_directory: str | os.PathLike) -> None:
        """
        Write the code to load the model to a folder, and set `auto_map` in `self.config`. For a classifier, write the
        code of its pipeline too. It includes the code of the model that this one is built over, if that has the mixin.
        """
        cls = cast("type[PortableModelMixin]", _own_class(self))  # has the mixin, as every class of the models
        _write_code(Path(save_directory), cls, self.config, _model_auto_map(cls))
        inner = self.inner_model()
        if isinstance(inner, PortableModelMixin) and hasattr(self.config, "auto_map"):
            _write_inner_code(Path(save_directory), cls, cast("type[PortableModelMixin]", _own_class(inner)))
        if cls.__name__.endswith(_CLASSIFIERS):
            save_pipeline_code(Path(save_directory), self.config)

    # Further arguments are only accepted by name
    def save_pretrained(  # type: ignore[override]
        self,
        save_directory: str | os.PathLike,
        is_main_process: bool = True,
        state_dict: dict | None = None,
        push_to_hub: bool = False,
        **kwargs,
    ) -> None:
        """
        Save the model and its code. The arguments are those of `PreTrainedModel.save_pretrained`.

        If saving fails or is killed, a model that was in the folder does not change. While saving, the disk needs room
        for both. With `POLYAUDIO_SAVE_CODE=0` in the environment, the code is left out, and the model can only be
        loaded where polyaudio is installed. (The code that a model was loaded with is always saved with it.)

        Raises:
            OSError: the folder cannot be written to, or the disk is full.
        """
        save = super().save_pretrained
        if kwargs.get("distributed_checkpoint") or not self.should_save_on_this_rank(is_main_process):
            # Other processes write nothing, or, to resume a run later, all write to one folder at the same time
            kwargs |= {"is_main_process": is_main_process, "state_dict": state_dict, "push_to_hub": push_to_hub}
            save(save_directory, **kwargs)
            return

        def write(folder: Path) -> None:
            self.save_code(folder)
            save(folder, is_main_process=is_main_process, state_dict=state_dict, **kwargs)

        names = save_whole(save_directory, write)
        if any(map(is_weights, names)):
            for path in Path(save_directory).iterdir():  # weights of an earlier save with other file names
                if is_weights(path.name) and path.name not in names:
                    path.unlink()
        if push_to_hub:
            _push(save_directory, names, **kwargs)


class PortableFeatureExtractorMixin(_FeatureExtractorBase):
    """Saves a feature extractor completely or not at all, with its code. It must be the first base of its class."""

    def save_code(self, save_directory: str | os.PathLike) -> None:
        """Write the code to load the feature extractor to a folder, and set its `auto_map`."""
        cls = _own_class(self)
        _write_code(Path(save_directory), cls, self, {"AutoFeatureExtractor": _reference(cls)})

    def save_pretrained(self, save_directory: str | os.PathLike, push_to_hub: bool = False, **kwargs) -> list[str]:
        """Save the settings and the code of the feature extractor, as [`PortableModelMixin.save_pretrained`] does."""
        save = super().save_pretrained

        def write(folder: Path) -> None:
            self.save_code(folder)
            save(folder, **kwargs)

        names = save_whole(save_directory, write)
        if push_to_hub:
            _push(save_directory, names, **kwargs)
        return [os.path.join(save_directory, name) for name in names if name.endswith(".json")]


def save_whole(save_directory: str | os.PathLike, write: Callable[[Path], Any]) -> list[str]:
    """
    Let `write` fill a temporary folder, and then move its files into `save_directory`.

    If `write` fails or is killed, the files in `save_directory` do not change. The moves take milliseconds; each moves
    a complete file, config.json last.

    Args:
        save_directory: the folder for the files; it is created if it does not exist.
        write: writes the files to the folder that it is called with.

    Returns:
        The names of the files.

    Raises:
        OSError: the files could not be written.
    """
    target = Path(save_directory)
    folder = target / _PARTIAL
    try:
        try:
            shutil.rmtree(folder, ignore_errors=True)  # left over if a save was killed
            folder.mkdir(parents=True)
            write(folder)
            # safetensors gives its files to their owner only. As for other files, the umask shall decide.
            for path in folder.iterdir():
                path.chmod(folder.stat().st_mode & 0o666)
        except (OSError, SafetensorError) as error:
            raise OSError(
                f"Nothing was saved to {target}, and its files did not change: {error}. Check that the folder can be "
                "written to and that its disk has room for the old and the new files, then save again."
            ) from error
        names = sorted((path.name for path in folder.iterdir()), key=lambda name: (name == "config.json", name))
        for name in names:
            (folder / name).replace(target / name)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return names


def save_pipeline_code(folder: Path, config: Any) -> None:
    """
    Write the code of the pipeline "sound-event-detection" to a folder, and set `custom_pipelines` in a configuration,
    with which transformers finds it. As for models, `POLYAUDIO_SAVE_CODE=0` leaves it out.

    A model that was loaded without polyaudio has its own code only, and is saved without the pipeline. The pipeline
    is always saved with its code.
    """
    beside = Path(__file__).with_name(_PIPELINE_FILE)
    path = beside if beside.is_file() else Path(__file__).parents[1] / "inference" / _PIPELINE_FILE
    if os.environ.get("POLYAUDIO_SAVE_CODE") == "0" or not path.is_file():
        vars(config).pop("custom_pipelines", None)
        return
    impl = f"{path.stem}.{_PIPELINE_CLASS}"
    models = [_AUTO_CLASSES[ending] for ending in _CLASSIFIERS]
    config.custom_pipelines = {_PIPELINE_TASK: {"impl": impl, "pt": models}}
    _write_sources(folder, path)


def flattened_sources(path: str | os.PathLike) -> dict[str, str]:
    """
    Return the code of a module and of all modules that it imports from its package, changed to work in one folder.

    Args:
        path: the file of the module.

    Returns:
        The source code by file name. A line below the licence header has the version of polyaudio.

    Raises:
        ValueError: a relative import does not have the required form, or two files have the same name.
    """
    origins: dict[str, Path] = {}
    sources: dict[str, str] = {}
    waiting = [Path(path).resolve()]
    while waiting:
        file = waiting.pop()
        origin = origins.setdefault(file.name, file)
        if origin != file:
            raise ValueError(f"{origin} and {file} have the same name and cannot be copied into one folder.")
        if file.name not in sources:
            sources[file.name], imported = _flatten(file, file.read_text(encoding="utf-8"))
            waiting += imported
    return sources


def is_weights(name: str) -> bool:
    """Whether transformers loads weights from a file with this name."""
    return any(fnmatch.fnmatch(name, pattern) for pattern in WEIGHTS)


def _own_class(obj: Any) -> type:
    """The class of a model or feature extractor; for a subclass of a user, the class that it is derived from."""
    return next(cls for cls in type(obj).__mro__ if cls.__module__.startswith(f"{_PACKAGE}."))


def _model_auto_map(model_class: "type[PortableModelMixin]") -> dict[str, str]:
    """The `auto_map` of a model: the class for each Auto class."""
    config_class = model_class.config_class
    prefix = config_class.__name__.removesuffix("Config")
    module = sys.modules[model_class.__module__]
    classes = {auto: getattr(module, prefix + ending, None) for ending, auto in _AUTO_CLASSES.items()}
    classes["AutoConfig"] = config_class
    return {auto: _reference(cls) for auto, cls in classes.items() if cls is not None}


def _reference(cls: type) -> str:
    """A class as `auto_map` names it: `file.Class`."""
    return f"{cls.__module__.rpartition('.')[2]}.{cls.__name__}"


def _write_code(folder: Path, cls: type, settings: Any, auto_map: dict[str, str]) -> None:
    """
    Write the code of a class, and set the `auto_map` with which the Auto classes find it.

    Args:
        folder: where to write.
        cls: the class of the model or feature extractor.
        settings: the configuration or feature extractor that is saved as JSON, which gets the `auto_map`.
        auto_map: the class for each Auto class.
    """
    if os.environ.get("POLYAUDIO_SAVE_CODE") == "0":
        vars(settings).pop("auto_map", None)
        return
    settings.auto_map = auto_map
    _write_sources(folder, inspect.getfile(cls))


def _write_inner_code(folder: Path, cls: "type[PortableModelMixin]", inner: "type[PortableModelMixin]") -> None:
    """
    Write the code of a model that another one is built over, and enter both classes in the other's `ENCODERS`.

    Args:
        folder: has the code of the other model.
        cls: the class of the other model.
        inner: the class of the model.
    """
    _write_sources(folder, inspect.getfile(inner))
    model_type = inner.config_class.model_type
    for owner, entry in ((cls, inner), (cls.config_class, inner.config_class)):
        file = folder / Path(inspect.getfile(owner)).name
        module, _, name = _reference(entry).partition(".")
        lines = f'\nfrom .{module} import {name}\n\nENCODERS["{model_type}"] = {name}\n'
        source = file.read_text(encoding="utf-8")
        if lines not in source:  # the code of a model that was loaded with such code has them
            file.write_text(source + lines, encoding="utf-8")


def _write_sources(folder: Path, path: str | os.PathLike) -> None:
    for name, source in flattened_sources(path).items():
        (folder / name).write_text(source, encoding="utf-8")


@functools.lru_cache(maxsize=256)  # a training run writes the same code with each checkpoint
def _flatten(path: Path, source: str) -> tuple[str, list[Path]]:
    """The source code of a file, changed to import from its own folder only, and the files that it imports."""
    lines, imported = source.split("\n"), []
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.ImportFrom) or node.level == 0:
            continue
        target = path.parents[node.level - 1].joinpath(*(node.module or "").split(".")).with_suffix(".py")
        line, count = re.subn(r"^(\s*)from\s+\.[\w.]*", rf"\1from .{target.stem}", lines[node.lineno - 1])
        if not target.is_file() or count != 1:
            raise ValueError(
                f"{path}, line {node.lineno}: this import cannot be copied. Write it on one line of its own, in the "
                "form `from .module import name`, where module is a file."
            )
        lines[node.lineno - 1] = line
        imported.append(target)
    header = next((index for index, line in enumerate(lines) if not line.startswith("#")), len(lines))
    if not any(line.startswith(STAMP) for line in lines[:header]):
        version = import_module(_PACKAGE).__version__
        lines.insert(header, f"{STAMP}{version}. The MIT License: https://opensource.org/license/mit")
    return "\n".join(lines), imported


def _push(
    save_directory: str | os.PathLike,
    names: list[str],
    repo_id: str | None = None,
    commit_message: str | None = None,
    private: bool | None = None,
    token: bool | str | None = None,
    revision: str | None = None,
    create_pr: bool = False,
    **kwargs,
) -> None:
    """Upload files. The other arguments are those of `save_pretrained`; `kwargs` are ignored."""
    api = HfApi(token=token)
    repo_id = api.create_repo(repo_id or Path(save_directory).name, private=private, exist_ok=True).repo_id
    if revision is not None:
        api.create_branch(repo_id, branch=revision, exist_ok=True)
    api.upload_folder(
        repo_id=repo_id,
        folder_path=Path(save_directory),
        allow_patterns=names,
        delete_patterns=list(WEIGHTS) if any(map(is_weights, names)) else None,
        commit_message=commit_message,
        revision=revision,
        create_pr=create_pr,
    )
