# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Upload of a model folder to the Hugging Face Hub."""

import contextlib
import fnmatch
import json
import logging
import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

from ..integration.limits import check_code, read_json, shards_of
from .endpoint import endpoint_files


if TYPE_CHECKING:
    from huggingface_hub.errors import HfHubHTTPError
    from transformers import Trainer


logger = logging.getLogger(__name__)

# What belongs to a model: weights, settings, licence, and the reports of runs. The code that `auto_map` names and the
# pictures and sounds that the card shows belong to it too. Nothing else is pushed.
_PUSHED = (
    *("model.safetensors", "model*-*-of-*.safetensors", "model.safetensors.index.json", "config.json"),
    *("generation_config.json", "preprocessor_config.json", "processor_config.json", "feature_extractor.json"),
    *("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "vocab.json"),
    *("adapter_model.safetensors", "adapter_config.json", "README.md", "LICENSE", "LICENSE.md", "LICENSE.txt"),
    *("evaluation.json", "confusion_matrix.json", "precision_recall.json", "summary.json", "conversion_report.json"),
    *("confusion_matrix.png", "precision_recall.png", "losses.png", "mixtures.png", "timeline_*.png", "probe.json"),
    *("all_results.json", "train_results.json", "eval_results.json", "predict_results.json"),
)
_MEDIA = (".png", ".jpg", ".jpeg", ".gif", ".svg", ".webp", ".wav", ".flac", ".mp3", ".ogg")
_LINK = re.compile(r'\]\(([^)\s]+)|src="([^"]+)"')
# What a run leaves in its folder for itself. Some of it are pickles, and the arguments of a run can hold a token.
_RUN_FILES = (
    *("_*", ".*", "checkpoint-*", "*.pt", "*.pth", "*.bin", "*.pkl", "ema.safetensors", "trainer_state.json"),
    *("runs", "*.pyc", "__pycache__", "*.py"),
)

_ADAPTER = "adapter_config.json"

_MERGE = "merge the two, polyaudio.training.lora.merge_adapter({folder!r}, 'merged'), and push the result"


@dataclass(frozen=True)
class Upload:
    """
    A model folder, and where it goes on the Hub.

    Args:
        folder: a folder with a model or an adapter.
        repo: name on the Hub; the repository is made if it does not exist.
        private: whether a new repository is private. An existing one must be private then.
        revision: the branch, made if it does not exist; by default the main branch.
        message: the commit message.
        base_model: name on the Hub of an adapter's base model, if the adapter names a folder.
        examples: audio files that visitors can try on the model's page.
        endpoint: whether to add what an Inference Endpoint needs to run the model.
    """

    folder: Path
    repo: str
    private: bool = False
    revision: str | None = None
    message: str = "Upload model"
    base_model: str | None = None
    examples: Sequence[Path] = ()
    endpoint: bool = False

    def check(self) -> None:
        """
        Check that the folder holds a complete model or adapter, which others can load, and that the examples exist.

        Raises:
            ValueError: something is missing or was only written in part.
        """
        _check_complete(self.folder)
        self.hub_base()
        for path in self.examples:
            if not path.is_file():
                raise ValueError(f"there is no file {path}")
        self.generated()

    def hub_base(self) -> str | None:
        """
        The name on the Hub of the base model, if the folder holds an adapter.

        Raises:
            ValueError: nobody else could load the adapter with its base model.
        """
        return _base_of_adapter(self.folder, self.base_model)

    def files(self) -> dict[str, Path]:
        """The files to push, by their names on the Hub: what belongs to a model, and the examples."""
        names = model_files(self.folder)
        return {name: self.folder / name for name in names} | {f"examples/{path.name}": path for path in self.examples}

    def generated(self) -> dict[str, bytes]:
        """
        The files to push that are not in the folder, by their names on the Hub.

        Raises:
            ValueError: an endpoint cannot run the model.
        """
        return endpoint_files(self.folder) if self.endpoint else {}

    def left_behind(self) -> list[str]:
        """The files in the folder that are not pushed, and the folders of which nothing is pushed, with a `/`."""
        return [name for name in left_behind(self.folder) if name not in self.generated()]

    def command(self) -> str:
        """The command line of this upload."""
        words = ["polyaudio", "push", str(self.folder), self.repo, *(["--private"] if self.private else [])]
        words += ["--revision", self.revision] if self.revision else []
        words += ["--base-model", self.base_model] if self.base_model else []
        words += ["--examples", *map(str, self.examples)] if self.examples else []
        words += ["--endpoint"] if self.endpoint else []
        return shlex.join(words)


def model_files(folder: Path) -> list[str]:
    """
    The names of the files in a folder that belong to its model.

    Raises:
        ValueError: one of them is a link that leads out of the folder.
    """
    names = {path.name for path in folder.iterdir() if any(fnmatch.fnmatch(path.name, one) for one in _PUSHED)}
    names |= {name for name in _code(folder) if (folder / name).is_file()}
    if (folder / "README.md").is_file():
        card = (folder / "README.md").read_text(encoding="utf-8", errors="replace")
        links = {"".join(groups).partition("?")[0] for groups in _LINK.findall(card)}
        names |= {name for name in links if name.lower().endswith(_MEDIA) and _is_inside(folder, name)}
    for name in sorted(names):
        if not (folder / name).resolve().is_relative_to(folder.resolve()):
            raise ValueError(
                f"{folder / name} is a link that leads out of the folder. Replace it by the file, or remove it."
            )
    return sorted(name for name in names if (folder / name).is_file())


def left_behind(folder: Path, known: Sequence[str] = ()) -> list[str]:
    """The files in a folder that do not belong to its model, without those whose names match one of `known`."""
    pushed = model_files(folder)
    names: list[str] = []
    for path in sorted(folder.iterdir()):
        if any(fnmatch.fnmatch(path.name, pattern) for pattern in known):
            continue
        if not path.is_dir():
            names += [path.name] if path.name not in pushed else []
        elif not any(name.startswith(f"{path.name}/") for name in pushed):
            names.append(f"{path.name}/")
        else:
            files = sorted(file.relative_to(folder).as_posix() for file in path.rglob("*") if not file.is_dir())
            names += [name for name in files if name not in pushed]
    return names


def check_run_folder(folder: Path) -> None:
    """
    Check that a Trainer, which uploads a whole folder while it trains, would upload nothing but its run.

    Raises:
        ValueError: there are other files in the folder.
    """
    others = left_behind(folder, _RUN_FILES) if folder.is_dir() else []
    if others:
        raise ValueError(
            f"The run would upload everything in {folder} during training, also {', '.join(others[:5])}. Move these "
            "files, choose another output_dir, or set hub_strategy to `end`."
        )


def push(upload: Upload) -> str:
    """
    Upload a model in one commit. Files that the repository already has are not sent again.

    On the Hub, the model card names the repository instead of the folder, and an adapter has the Hub name of its base
    model. The local files do not change.

    Returns:
        The URL of the commit.

    Raises:
        ValueError: the Hub cannot be reached or refuses; the message says what to do.
    """
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, hf_hub_url

    from ..integration.saving import is_weights
    from .usage import card_on_hub

    folder, revision = upload.folder, upload.revision
    base = upload.hub_base()
    contents: dict[str, Path | bytes] = {**upload.files(), **upload.generated()}
    api = HfApi(library_name="polyaudio")
    with hub_errors(api.endpoint, upload.repo, folder, upload.command()):
        if base is not None:
            if not api.repo_exists(base):
                raise ValueError(f"{base}, the base of the adapter, is not on the Hub: push it first")
            config = read_json(folder / _ADAPTER)
            contents[_ADAPTER] = json.dumps({**config, "base_model_name_or_path": base}, indent=2).encode()
        repo = api.create_repo(upload.repo, private=upload.private or None, exist_ok=True).repo_id
        if upload.private and not api.repo_info(repo).private:
            raise ValueError(
                f"{repo} exists and is public, and --private does not change that. Make it private in its settings on "
                "the Hub, or push to another name."
            )
        if revision is not None:
            api.create_branch(repo, branch=revision, exist_ok=True)
        if "README.md" in contents or upload.examples:
            card = (folder / "README.md").read_text(encoding="utf-8") if "README.md" in contents else ""
            addresses = {
                path.stem: hf_hub_url(repo, f"examples/{path.name}", revision=revision, endpoint=api.endpoint)
                for path in upload.examples
            }
            contents["README.md"] = card_on_hub(card, repo, base, addresses).encode()
        operations: list[CommitOperationAdd | CommitOperationDelete] = [
            CommitOperationAdd(name, content) for name, content in contents.items()
        ]
        operations += [
            CommitOperationDelete(name)
            for name in api.list_repo_files(repo, revision=revision)
            # A Trainer pushes training_args.bin, a pickle, during training
            if name not in contents and (is_weights(name) or name == "training_args.bin")
        ]
        return api.create_commit(repo, operations, commit_message=upload.message, revision=revision).commit_url


def push_run(trainer: "Trainer") -> str | None:
    """Push the output folder of a run whose arguments set `push_to_hub`; returns the URL of the commit."""
    args = trainer.args
    if not args.push_to_hub or not trainer.is_world_process_zero():
        return None
    folder, private = Path(str(args.output_dir)), bool(args.hub_private_repo)
    # A Trainer has a repository as soon as it may push, but its type is that of the first value, None
    repo = cast(str, trainer.hub_model_id)
    return push(Upload(folder, repo, private, args.hub_revision, message="End of training"))


@contextlib.contextmanager
def hub_errors(endpoint: str, repo: str, folder: Path, again: str) -> Iterator[None]:
    """
    Turn errors of the Hub, or of the connection to it, into one line that says what to do.

    Args:
        endpoint: URL of the Hub.
        repo: name of the repository.
        folder: the folder to push.
        again: the command that tries again.

    Raises:
        ValueError: the Hub cannot be reached or refuses.
    """
    from huggingface_hub import get_token, is_offline_mode
    from huggingface_hub.errors import HfHubHTTPError, HTTPError

    if is_offline_mode():
        raise ValueError("HF_HUB_OFFLINE is set, so nothing can be pushed; unset it")
    if get_token() is None:
        raise ValueError("there is no token for the Hugging Face Hub. Run `hf auth login`, or set HF_TOKEN.")
    try:
        yield
    except (HTTPError, RuntimeError) as error:
        # In uploads of large files the client raises a RuntimeError whose cause is the error
        cause = error if isinstance(error, HTTPError) else error.__cause__
        if isinstance(cause, HfHubHTTPError):
            raise ValueError(f"{_refusal(cause, repo)} {folder} has not changed; then run: {again}") from error
        if isinstance(cause, HTTPError):
            raise ValueError(
                f"the connection to {endpoint} broke ({cause}). {folder} is as it was. To finish, run: {again} "
                "(files that have arrived are not sent again)"
            ) from error
        raise


def size_in_words(size: float) -> str:
    """A number of bytes with three digits and a unit: `200 kB`."""
    for unit in ("B", "kB", "MB"):
        if size < 999.5:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} GB"


def _is_inside(folder: Path, name: str) -> bool:
    """Whether a link in a card is the path of a file in its folder."""
    path = Path(name)
    return not path.is_absolute() and ".." not in path.parts and "\0" not in name and (folder / path).is_file()


def _code(folder: Path) -> set[str]:
    """The names of the Python files that the settings in a folder name, and of those that these import."""
    waiting: list[str] = []
    for name in ("config.json", "preprocessor_config.json", "processor_config.json"):
        settings = read_json(folder / name) if (folder / name).is_file() else {}
        check_code(settings, folder / name)
        pipelines = (settings.get("custom_pipelines") or {}).values()
        waiting += [f"{one['impl'].split('.')[0]}.py" for one in pipelines if "--" not in one["impl"]]
        for value in (settings.get("auto_map") or {}).values():  # for a tokenizer a pair, of which one can be missing
            references = value if isinstance(value, list) else [value]
            waiting += [f"{one.split('.')[0]}.py" for one in references if isinstance(one, str) and "--" not in one]
    names: set[str] = set()
    while waiting:
        name = waiting.pop()
        if name in names or not re.fullmatch(r"\w+\.py", name):
            continue
        names.add(name)
        if (folder / name).is_file():
            source = (folder / name).read_text(encoding="utf-8", errors="replace")
            waiting += [f"{module}.py" for module in re.findall(r"^\s*from\s+\.(\w+)", source, re.MULTILINE)]
    return names


def _check_complete(folder: Path) -> None:
    from safetensors import SafetensorError, safe_open

    if not folder.is_dir():
        raise ValueError(f"there is no folder {folder}")
    is_adapter = (folder / _ADAPTER).is_file()
    try:
        if is_adapter:
            read_json(folder / _ADAPTER)
            code, weights = set(), {"adapter_model.safetensors"}
        else:
            read_json(folder / "config.json")
            code = _code(folder)
            index = folder / "model.safetensors.index.json"
            if (folder / "model.safetensors").is_file() or not index.is_file():
                weights = {"model.safetensors"}
            else:
                weights = shards_of(index)
        for name in sorted(weights):
            with safe_open(folder / name, "np"):  # compares the header with the size of the file
                pass
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise ValueError(
            f"{folder} is not a complete {'adapter' if is_adapter else 'model'} ({error}). Push a folder that "
            "save_pretrained has written completely, or a complete checkpoint of the run."
        ) from error
    missing = sorted(name for name in code if not (folder / name).is_file())
    if missing:
        raise ValueError(f"config.json names code that {folder} lacks: {', '.join(missing)}. Save the model again.")
    if not is_adapter and not code:
        logger.warning(f"{folder} holds no code: only those who have polyaudio installed can load the model.")


def _base_of_adapter(folder: Path, base_model: str | None) -> str | None:
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    if not (folder / _ADAPTER).is_file():
        if base_model is not None:
            raise ValueError(f"{folder} holds no adapter, so leave out --base-model")
        return None
    if any(folder.glob("model*.safetensors")):
        raise ValueError(
            f"{folder} holds an adapter beside the untrained model that it belongs to: "
            f"{_MERGE.format(folder=str(folder))}."
        )
    base = base_model or read_json(folder / _ADAPTER).get("base_model_name_or_path")
    try:
        validate_repo_id(base or "")
    except HFValidationError as error:
        place = f"but its base is {base!r}" if base else "but it names none"
        raise ValueError(
            f"an adapter can only be loaded if its base is on the Hub, {place}. Push the base too, and give its name "
            f"there with --base-model. Or {_MERGE.format(folder=str(folder))}."
        ) from error
    return base


def _refusal(error: "HfHubHTTPError", repo: str) -> str:
    """An error of the Hub, and what to do about it."""
    status = error.response.status_code
    said = getattr(error, "server_message", None) or str(error).split("\n")[0]
    if status == 401:
        return f"the Hub does not accept the token ({said}). Make a new one for `hf auth login` or HF_TOKEN."
    if status == 403:
        return (
            f"the token may not write to {repo} ({said}). Use a token with the right to write, and a name that begins "
            "with your user name or an organization of yours."
        )
    if status in (409, 412):
        return f"somebody else changed {repo} at the same time ({said})."
    return f"the Hub refuses with status {status} ({said}). Try again, later if it is above 499."
