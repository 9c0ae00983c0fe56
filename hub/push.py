# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""A model folder goes to the Hugging Face Hub."""

import contextlib
import fnmatch
import json
import shlex
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from transformers import Trainer


# Pickles among them: nobody loads a model from those, and the arguments of a run can hold a token
_STAYS_HERE = (
    *("_*", ".*", "checkpoint-*", "*.pt", "*.pth", "*.bin", "*.pkl", "ema.safetensors", "trainer_state.json"),
    *("runs", "*.pyc"),
)


_ADAPTER = "adapter_config.json"


_MERGE = "merge the two, polyaudio.training.lora.merge_adapter({folder!r}, 'merged'), and push the result"


def check_complete(folder: Path) -> None:
    """
    Check that a folder holds a whole model, or a whole adapter.

    Raises:
        ValueError: something is missing or was only written in part.
    """
    from safetensors import SafetensorError, safe_open

    if not folder.is_dir():
        raise ValueError(f"there is no folder {folder}")
    is_adapter = (folder / _ADAPTER).is_file()
    try:
        if is_adapter:
            json.loads((folder / _ADAPTER).read_text(encoding="utf-8"))
            code, weights = set(), {"adapter_model.safetensors"}
        else:
            config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
            code = {f"{path.split('.')[0]}.py" for path in config.get("auto_map", {}).values() if "--" not in path}
            index = folder / "model.safetensors.index.json"
            if (folder / "model.safetensors").is_file() or not index.is_file():
                weights = {"model.safetensors"}
            else:
                weights = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
        for name in sorted(weights):
            with safe_open(folder / name, "np"):  # reads the header, and compares it with the size of the file
                pass
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise ValueError(
            f"{folder} is no complete {'adapter' if is_adapter else 'model'} ({error}). Push a folder that "
            "save_pretrained has written to its end, or a whole checkpoint of the run."
        ) from error
    missing = sorted(name for name in code if not (folder / name).is_file())
    if missing:
        raise ValueError(f"config.json names code that {folder} lacks: {', '.join(missing)}. Save the model again.")
    if not is_adapter and not code:
        print(f"{folder} holds no code: only those who have polyaudio installed can load the model.", file=sys.stderr)


def base_of_adapter(folder: Path, base_model: str | None) -> str | None:
    """
    The name on the Hub of the model that the adapter in a folder belongs to; None where there is no adapter.

    Args:
        folder: with a model or an adapter.
        base_model: stands in for the base that the adapter names.

    Raises:
        ValueError: with that base nobody else could load the adapter.
    """
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
    base = base_model or json.loads((folder / _ADAPTER).read_text(encoding="utf-8")).get("base_model_name_or_path")
    try:
        validate_repo_id(base or "")
    except HFValidationError as error:
        place = f"which here is {base!r}" if base else "and none is named"
        raise ValueError(
            f"whoever loads an adapter needs its base from the Hub, {place}. Push the base too, and tell its name "
            f"there with --base-model. Or else: {_MERGE.format(folder=str(folder))}."
        ) from error
    return base


def files_to_push(folder: Path, examples: Sequence[Path] = ()) -> dict[str, Path]:
    """Name on the Hub -> file, of what makes the model, without what only a run needs, and of examples."""
    paths = [path.relative_to(folder) for path in sorted(folder.rglob("*")) if path.is_file()]
    files = {
        path.as_posix(): folder / path
        for path in paths
        if not any(fnmatch.fnmatch(part, pattern) for part in path.parts for pattern in _STAYS_HERE)
    }
    return files | {f"examples/{path.name}": path for path in examples}


def push(
    folder: Path,
    repo: str,
    private: bool = False,
    revision: str | None = None,
    message: str = "Upload model",
    base_model: str | None = None,
    examples: Sequence[Path] = (),
) -> str:
    """
    Upload a model in one commit; what is there already is not sent again.

    The model card goes up with the model's name on the Hub in place of the folder, and with an adapter the name of its
    base; the files here stay as they are.

    Args:
        folder: with a model or an adapter.
        repo: name on the Hub; made where there is none.
        private: whether it is to be private; one that is there has to be.
        revision: branch, made where there is none; the default one if not given.
        message: of the commit.
        base_model: name on the Hub of an adapter's base, where the adapter names a folder.
        examples: audio files that the model's page lets a visitor try.

    Returns:
        The address of the commit.

    Raises:
        ValueError: the Hub cannot be reached or refuses, with what to do about it.
    """
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, hf_hub_url

    from ..integration.saving import is_weights
    from .usage import card_on_hub

    base = base_of_adapter(folder, base_model)
    contents: dict[str, Path | bytes] = {**files_to_push(folder, examples)}
    api = HfApi(library_name="polyaudio")
    options = {"--revision": revision, "--base-model": base_model}
    again = ["polyaudio", "push", str(folder), repo, *(["--private"] if private else [])]
    again += [part for option in options.items() if option[1] for part in option]
    again += ["--examples", *map(str, examples)] if examples else []
    with hub_errors(api.endpoint, repo, folder, shlex.join(again)):
        if base is not None:
            if not api.repo_exists(base):
                raise ValueError(f"{base}, the base of the adapter, is not on the Hub: push it first")
            config = json.loads((folder / _ADAPTER).read_text(encoding="utf-8"))
            contents[_ADAPTER] = json.dumps({**config, "base_model_name_or_path": base}, indent=2).encode()
        repo = api.create_repo(repo, private=private or None, exist_ok=True).repo_id
        if private and not api.repo_info(repo).private:
            raise ValueError(
                f"{repo} exists and is public, and --private does not change that. Make it private in its settings on "
                "the Hub, or push to another name."
            )
        if revision is not None:
            api.create_branch(repo, branch=revision, exist_ok=True)
        if "README.md" in contents or examples:
            card = (folder / "README.md").read_text(encoding="utf-8") if "README.md" in contents else ""
            addresses = {
                path.stem: hf_hub_url(repo, f"examples/{path.name}", revision=revision, endpoint=api.endpoint)
                for path in examples
            }
            contents["README.md"] = card_on_hub(card, repo, base, addresses).encode()
        operations = [CommitOperationAdd(name, content) for name, content in contents.items()]
        operations += [
            CommitOperationDelete(name)
            for name in api.list_repo_files(repo, revision=revision)
            # The latter is a pickle that Trainer pushes while it runs
            if name not in contents and (is_weights(name) or name == "training_args.bin")
        ]
        return api.create_commit(repo, operations, commit_message=message, revision=revision).commit_url


def push_run(trainer: "Trainer") -> None:
    """Push the folder that a run has left, if its arguments say `push_to_hub`, and print where it is."""
    args = trainer.args
    if args.push_to_hub and trainer.is_world_process_zero():
        folder = Path(args.output_dir)
        print(push(folder, trainer.hub_model_id, bool(args.hub_private_repo), args.hub_revision, "End of training"))


@contextlib.contextmanager
def hub_errors(endpoint: str, repo: str, folder: Path, again: str) -> Iterator[None]:
    """
    Turn what the Hub says, or the connection to it, into one line with what to do about it.

    Args:
        endpoint: address of the Hub.
        repo: name of the repository.
        folder: what is pushed.
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
        # In uploads of large files the client hides the error behind a RuntimeError
        cause = error if isinstance(error, HTTPError) else error.__cause__
        if isinstance(cause, HfHubHTTPError):
            raise ValueError(f"{_refusal(cause, repo)} {folder} is as it was; then run: {again}") from error
        if isinstance(cause, HTTPError):
            raise ValueError(
                f"the connection to {endpoint} broke ({cause}). {folder} is as it was. To finish, run: {again} (what "
                "has arrived is not sent twice)"
            ) from error
        raise


def _refusal(error: OSError, repo: str) -> str:
    """What a user can do about an answer of the Hub."""
    status = error.response.status_code
    said = getattr(error, "server_message", None) or str(error).split("\n")[0]
    if status == 401:
        return f"the Hub does not accept the token ({said}). Make a new one for `hf auth login` or HF_TOKEN."
    if status == 403:
        return (
            f"the token may not write to {repo} ({said}). Take a token with the right to write, and a name that "
            "begins with your user name or an organization of yours."
        )
    if status in (409, 412):
        return f"somebody else changed {repo} at the same time ({said})."
    return f"the Hub refuses with status {status} ({said}). Try again, later if it is above 499."


def size_in_words(size: int) -> str:
    for unit in ("B", "kB", "MB"):
        if size < 999.5:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} GB"
