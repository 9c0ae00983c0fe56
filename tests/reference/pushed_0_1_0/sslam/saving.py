# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
# Copied from polyaudio 0.1.0. The MIT License: https://opensource.org/license/mit
"""How models and feature extractors are saved: whole or not at all, and with the code that loads them anywhere.

transformers can load a model whose code lies beside its weights, in one folder, where polyaudio is not installed. Its
own way of writing such code knows neither packages with folders nor saving again, so the two mixins here do it. They
are among the files they write: who loads a model without polyaudio and saves it gets a complete folder again.
"""

import ast
import fnmatch
import os
import re
import shutil
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi
from safetensors import SafetensorError
from transformers.utils.versions import require_version


# The package requires it by itself; the copies beside a model meet other versions too, which load adapters wrongly
require_version("transformers>=5.20", "What loads this model needs a newer one: pip install --upgrade transformers")

_STAMP = "# Copied from polyaudio "
_PARTIAL = "_saving"  # Trainer pushes nothing whose name begins with an underscore
# Where one of these is left over from a model before, transformers could take it for the weights
WEIGHTS = ("model.safetensors", "model-*.safetensors", "model.safetensors.index.json")
# Ends of the names of model classes, and the Auto classes that give them
_AUTO_CLASSES = {
    "Model": "AutoModel",
    "ForPreTraining": "AutoModelForPreTraining",
    "ForAudioClassification": "AutoModelForAudioClassification",
    "ForAudioFrameClassification": "AutoModelForAudioFrameClassification",
}


def flattened_sources(path: str | os.PathLike) -> dict[str, str]:
    """
    A module and all that it imports from its package, changed such that they work side by side in one folder.

    Args:
        path: file of the module.

    Returns:
        File name -> source code, with a line that tells the version below the licence header.

    Raises:
        ValueError: for a relative import that cannot be followed, or two files of one name.
    """
    origins, sources, waiting = {}, {}, [Path(path).resolve()]
    while waiting:
        path = waiting.pop()
        origin = origins.setdefault(path.name, path)
        if origin != path:
            raise ValueError(f"{origin} and {path} have the same name and cannot be copied into one folder.")
        if path.name not in sources:
            sources[path.name], imported = _flatten(path)
            waiting += imported
    return sources


def _flatten(path: Path) -> tuple[str, list[Path]]:
    """The source code of a file with imports from its own folder only, and the files that it imports."""
    source = path.read_text(encoding="utf-8")
    lines, imported = source.split("\n"), []
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.ImportFrom) or node.level == 0:
            continue
        target = path.parents[node.level - 1].joinpath(*(node.module or "").split(".")).with_suffix(".py")
        line, count = re.subn(r"^(\s*)from\s+\.[\w.]*", rf"\1from .{target.stem}", lines[node.lineno - 1])
        if not target.is_file() or count != 1:
            raise ValueError(
                f"{path}, line {node.lineno}: to be copied, this import has to stand on a line of its own and to have "
                "the form `from .module import name`, where module is a file."
            )
        lines[node.lineno - 1] = line
        imported.append(target)
    header = next((index for index, line in enumerate(lines) if not line.startswith("#")), len(lines))
    if not any(line.startswith(_STAMP) for line in lines[:header]):
        version = import_module(__package__).__version__
        lines.insert(header, f"{_STAMP}{version}. The MIT License: https://opensource.org/license/mit")
    return "\n".join(lines), imported


def is_weights(name: str) -> bool:
    """Whether a file of this name is one that transformers loads weights by."""
    return any(fnmatch.fnmatch(name, pattern) for pattern in WEIGHTS)


def _own_class(obj: Any) -> type:
    """The class of a model or feature extractor, or of a user's subclass the class that it is derived from."""
    package = __name__.rpartition(".")[0] + "."
    return next(cls for cls in type(obj).__mro__ if cls.__module__.startswith(package))


def _reference(cls: type) -> str:
    return f"{cls.__module__.rpartition('.')[2]}.{cls.__name__}"


def _model_auto_map(model_class: type) -> dict[str, str]:
    config_class = model_class.config_class
    prefix = config_class.__name__.removesuffix("Config")
    module = sys.modules[model_class.__module__]
    classes = {auto: getattr(module, prefix + ending, None) for ending, auto in _AUTO_CLASSES.items()}
    classes["AutoConfig"] = config_class
    return {auto: _reference(cls) for auto, cls in classes.items() if cls is not None}


def _write_code(folder: Path, cls: type, settings: Any, auto_map: dict[str, str]) -> None:
    """Write the code of a class, and where in it the Auto classes look into the object whose JSON is saved."""
    if os.environ.get("POLYAUDIO_SAVE_CODE") == "0":
        vars(settings).pop("auto_map", None)
        return
    settings.auto_map = auto_map
    for name, source in flattened_sources(sys.modules[cls.__module__].__file__).items():
        (folder / name).write_text(source, encoding="utf-8")


def save_whole(save_directory: str | os.PathLike, write: Callable[[Path], Any]) -> list[str]:
    """
    Let `write` fill a folder, and only when that is complete move its files into `save_directory`.

    What fails or is killed before leaves everything in `save_directory` as it was. The moves follow each other within
    milliseconds, each of a whole file, config.json last.

    Returns:
        The names of the files.

    Raises:
        OSError: the files could not be written.
    """
    target = Path(save_directory)
    folder = target / _PARTIAL
    try:
        try:
            shutil.rmtree(folder, ignore_errors=True)  # of a save that was killed
            folder.mkdir(parents=True)
            write(folder)
        except (OSError, SafetensorError) as error:
            raise OSError(
                f"Nothing was saved to {target}, and what was there is as it was: {error}. See that the folder can be "
                "written to and that its disk has room for the old and the new files, then save again."
            ) from error
        names = sorted((path.name for path in folder.iterdir()), key=lambda name: (name == "config.json", name))
        for name in names:
            (folder / name).replace(target / name)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return names


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
    """Upload the files of these names; what else `save_pretrained` takes is of no use here."""
    api = HfApi(token=token)
    repo_id = api.create_repo(repo_id or Path(save_directory).name, private=private, exist_ok=True).repo_id
    if revision is not None:
        api.create_branch(repo_id, branch=revision, exist_ok=True)
    api.upload_folder(
        repo_id=repo_id,
        folder_path=save_directory,
        allow_patterns=names,
        delete_patterns=list(WEIGHTS) if any(map(is_weights, names)) else None,
        commit_message=commit_message,
        revision=revision,
        create_pr=create_pr,
    )


class PortableModelMixin:
    """Stands before all other bases of a model class."""

    def save_code(self, save_directory: str | os.PathLike) -> None:
        """Write the code that loads the model into a folder, and into `self.config` where the Auto classes look."""
        cls = _own_class(self)
        _write_code(Path(save_directory), cls, self.config, _model_auto_map(cls))

    def save_pretrained(
        self,
        save_directory: str | os.PathLike,
        is_main_process: bool = True,
        state_dict: dict | None = None,
        push_to_hub: bool = False,
        **kwargs,
    ) -> None:
        """
        Save as `PreTrainedModel.save_pretrained` does, with the same arguments, and beside it the code of the model.

        A save that fails or is killed leaves a model that was in the folder as it was. While saving, the disk holds
        both. With `POLYAUDIO_SAVE_CODE=0` in the environment the code is left out: then only those who have polyaudio
        installed can load the model. (Code that a model was itself loaded with is always saved with it.)

        Raises:
            OSError: the folder cannot be written to, or the disk is full.
        """
        save = super().save_pretrained
        if kwargs.get("distributed_checkpoint") or not self.should_save_on_this_rank(is_main_process):
            # Other processes write nothing, or all into one folder at once, for resuming a run
            kwargs |= {"is_main_process": is_main_process, "state_dict": state_dict, "push_to_hub": push_to_hub}
            save(save_directory, **kwargs)
            return

        def write(folder: Path) -> None:
            self.save_code(folder)
            save(folder, is_main_process=is_main_process, state_dict=state_dict, **kwargs)

        names = save_whole(save_directory, write)
        if any(map(is_weights, names)):
            for path in Path(save_directory).iterdir():  # shards of a save before, or a file that is shards now
                if is_weights(path.name) and path.name not in names:
                    path.unlink()
        if push_to_hub:
            _push(save_directory, names, **kwargs)


class PortableFeatureExtractorMixin:
    """Stands before all other bases of a feature extractor."""

    def save_code(self, save_directory: str | os.PathLike) -> None:
        """As [`PortableModelMixin.save_code`]."""
        cls = _own_class(self)
        _write_code(Path(save_directory), cls, self, {"AutoFeatureExtractor": _reference(cls)})

    def save_pretrained(self, save_directory: str | os.PathLike, push_to_hub: bool = False, **kwargs) -> list[str]:
        """As [`PortableModelMixin.save_pretrained`], for the settings of a feature extractor."""
        save = super().save_pretrained

        def write(folder: Path) -> None:
            self.save_code(folder)
            save(folder, **kwargs)

        names = save_whole(save_directory, write)
        if push_to_hub:
            _push(save_directory, names, **kwargs)
        return [os.path.join(save_directory, name) for name in names if name.endswith(".json")]
