# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Spaces: pages on the Hugging Face Hub on which visitors try a model."""

import importlib.metadata
import json
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..integration.version import __version__
from .requirements import installed_version, package_requirements


KINDS = ("gradio", "static")

_APP = '''\
"""A page on which visitors try a model, made by `polyaudio push --space gradio`."""

from pathlib import Path

from polyaudio import build_app


app = build_app([{model}], examples=sorted(Path(__file__).with_name("examples").glob("*")))

if __name__ == "__main__":
    app.launch()
'''

_CARD = """\
# {title}

Try [{model}](https://huggingface.co/{model}) on recordings of your own: see their labels, and their events over time.
The page runs the model with polyaudio {version}, whose source is in `polyaudio/`.
"""

_TAGS = ("polyaudio", "audio-classification")

# What belongs to the package beside its rooms
_AT_THE_ROOT = ("__init__.py", "__main__.py", "py.typed")


@dataclass(frozen=True)
class Space:
    """
    A Space for a model, and where it goes on the Hub.

    Args:
        repo: name of the Space; it is made if it does not exist.
        model: name of the model on the Hub.
        kind: `"gradio"` runs the model on the server, which loads it by its name. `"static"` runs it in the browser.
        source: the model's folder, or its Hub name.
        private: whether a new Space is private. An existing one must be private then.
        examples: audio files to try.
        license: of the model, as the Hub names it.
    """

    repo: str
    model: str
    kind: str
    source: str
    private: bool = False
    examples: Sequence[Path] = ()
    license: str | None = None

    @property
    def title(self) -> str:
        """The title of the page."""
        return self.repo.rpartition("/")[2]

    def check(self) -> None:
        """
        Check that there is all that the Space is made of.

        Raises:
            ValueError: something is missing.
        """
        if self.kind not in KINDS:
            raise ValueError(f"There is no Space of the kind {self.kind!r}. Choose {' or '.join(KINDS)}.")
        for path in self.examples:
            if not path.is_file():
                raise ValueError(f"there is no file {path}")
        if self.kind == "static" and self.examples:
            raise ValueError("a static Space has no examples, so leave out --examples")
        if self.kind == "gradio":
            _gradio_version()

    def write(self, folder: Path) -> None:
        """Write the files of the Space to an empty folder."""
        if self.kind == "gradio":
            _write_app(self, folder)
        else:
            _write_page(self, folder)

    def command(self) -> str:
        """The command line that pushes the Space."""
        words = ["polyaudio", "push", self.source, self.repo, "--space", self.kind]
        words += ["--private"] if self.private else []
        words += ["--examples", *map(str, self.examples)] if self.examples else []
        return shlex.join(words)


def license_of(model: str) -> str | None:
    """
    The licence in the card of a model, given by its folder or its Hub name, if it is known.

    Raises:
        ValueError: there is no such model.
    """
    from huggingface_hub import ModelCard
    from huggingface_hub.errors import EntryNotFoundError, HFValidationError, RepositoryNotFoundError

    try:
        if Path(model).is_dir():
            card = Path(model) / "README.md"
            return ModelCard.load(card).data.license if card.is_file() else None
        return ModelCard.load(model).data.license
    except EntryNotFoundError:  # no card, or no connection
        return None
    except (HFValidationError, RepositoryNotFoundError) as error:
        raise ValueError(f"{model} is neither a model folder nor a model on the Hugging Face Hub.") from error


def push_space(space: Space, folder: Path) -> str:
    """
    Upload a Space in one commit. What an earlier push has left in its folders is removed.

    Args:
        space: where it goes.
        folder: what `space.write` has written.

    Returns:
        The URL of the commit.

    Raises:
        ValueError: the Hub cannot be reached or refuses, or the model is not there; the message says what to do.
    """
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi

    from .push import hub_errors

    api = HfApi(library_name="polyaudio")
    with hub_errors(api.endpoint, space.repo, Path(space.source), space.command()):
        if not api.repo_exists(space.model):
            raise ValueError(f"{space.model} is not on the Hub: push it first")
        repo = api.create_repo(
            space.repo, repo_type="space", space_sdk=space.kind, private=space.private or None, exist_ok=True
        ).repo_id
        if space.private and not api.repo_info(repo, repo_type="space").private:
            raise ValueError(
                f"the Space {repo} exists and is public, and --private does not change that. Make it private in its "
                "settings on the Hub, or push to another name."
            )
        files = space_files(folder)
        folders = {name.partition("/")[0] for name in files if "/" in name}
        operations: list[CommitOperationAdd | CommitOperationDelete] = [
            CommitOperationAdd(name, path) for name, path in files.items()
        ]
        operations += [
            CommitOperationDelete(name)
            for name in api.list_repo_files(repo, repo_type="space")
            if name not in files and name.partition("/")[0] in folders
        ]
        return api.create_commit(repo, operations, repo_type="space", commit_message="Upload Space").commit_url


def space_files(folder: Path) -> dict[str, Path]:
    """The files in the folder of a Space, by their names on the Hub."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {path.relative_to(folder).as_posix(): path for path in files}


def _write_app(space: Space, folder: Path) -> None:
    """
    Write a page that Gradio serves.

    The Space holds the source of polyaudio: no package index has to have this version, and a checkout works too. It
    needs the versions of its requirements that are installed here, with which it was tried.
    """
    (folder / "README.md").write_text(_card(space), encoding="utf-8")
    (folder / "app.py").write_text(_APP.format(model=json.dumps(space.model)), encoding="utf-8")
    lines = [f"{name}=={installed_version(name)}\n" for name in package_requirements()]
    lines.append(f"gradio=={_gradio_version()}\n")
    (folder / "requirements.txt").write_text("".join(lines), encoding="utf-8")
    for path in space.examples:
        _copy(path, folder / "examples" / path.name)
    package = Path(__file__).resolve().parents[1]
    for name in _package_files(package):
        _copy(package / name, folder / "polyaudio" / name)
    (folder / "polyaudio" / "LICENSE").write_text(_license(package), encoding="utf-8")


def _write_page(space: Space, folder: Path) -> None:
    """Write a page that runs the model in the browser, with the card that the export gives it."""
    from huggingface_hub import SpaceCard

    from ..export.web import export_web

    export_web(space.source, folder, title=space.title)
    card = SpaceCard.load(folder / "README.md")
    for name, value in {"models": [space.model], "license": space.license, "tags": list(_TAGS)}.items():
        if value is not None:
            card.data[name] = value
    card.save(folder / "README.md")


def _card(space: Space) -> str:
    """`README.md` of a page that Gradio serves, with the settings of the Space, which the Hub reads."""
    from huggingface_hub import SpaceCardData

    data = SpaceCardData(
        title=space.title,
        emoji="🎧",
        colorFrom="indigo",
        colorTo="yellow",
        sdk=space.kind,
        sdk_version=_gradio_version(),
        python_version=f"{sys.version_info.major}.{sys.version_info.minor}",
        app_file="app.py",
        license=space.license,
        models=[space.model],
        tags=list(_TAGS),
    )
    text = _CARD.format(title=space.title, model=space.model, version=__version__)
    return f"---\n{data.to_yaml()}\n---\n\n{text}"


def _package_files(package: Path) -> list[str]:
    """The files of polyaudio: a room is a folder with an `__init__.py`, as for setup.py, and may have more folders."""
    names = list(_AT_THE_ROOT)
    rooms = [path for path in sorted(package.iterdir()) if (path / "__init__.py").is_file()]
    for path in (path for room in rooms for path in sorted(room.rglob("*")) if path.is_file()):
        name = path.relative_to(package)
        if not any(part == "__pycache__" or part.startswith(".") for part in name.parts):
            names.append(name.as_posix())
    return names


def _license(package: Path) -> str:
    """The licence of polyaudio, which lies beside the package in a checkout, and in its metadata elsewhere."""
    if (package / "LICENSE").is_file():
        return (package / "LICENSE").read_text(encoding="utf-8")
    return importlib.metadata.distribution("polyaudio").read_text("licenses/LICENSE") or ""


def _gradio_version() -> str:
    try:
        return installed_version("gradio")
    except importlib.metadata.PackageNotFoundError as error:
        raise ValueError(
            "a Space gets the version of Gradio that is installed here, but there is none. Install it with: "
            "pip install 'polyaudio[app]'"
        ) from error


def _copy(path: Path, new: Path) -> None:
    new.parent.mkdir(parents=True, exist_ok=True)
    new.write_bytes(path.read_bytes())
