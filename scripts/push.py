# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""`polyaudio push`: a model folder goes to the Hugging Face Hub."""

import fnmatch
import glob
import json
import sys
from pathlib import Path

from .command import CommandError, argument_parser, command


DESCRIPTION = """\
Upload a folder with a model, or with an adapter, to the Hugging Face Hub.

What a run leaves behind only to be resumed (checkpoints, optimizer, pickled arguments) stays here. The token is the
one that huggingface_hub finds: of `hf auth login`, or in HF_TOKEN."""

EXAMPLES = """\
  polyaudio push runs/ragas me/raga-classifier --dry-run
  polyaudio push runs/ragas me/raga-classifier --private
  polyaudio push runs/ragas/checkpoint-500 me/raga-classifier --revision step-500 --message "Step 500"
"""

# Pickles among them: nobody loads a model from those, and the arguments of a run can hold a token
_STAYS_HERE = ("_*", ".*", "checkpoint-*", "*.pt", "*.pth", "*.bin", "*.pkl", "trainer_state.json", "runs", "*.pyc")
# Where one of these lies in the repository and not in the folder, transformers could take it for the weights
_WEIGHTS = ("model.safetensors", "model-*.safetensors", "model.safetensors.index.json")


@command
def main(argv: list[str]) -> None:
    parser = argument_parser("push", DESCRIPTION, EXAMPLES)
    parser.add_argument("folder", metavar="DIR", help="folder that save_pretrained, train or convert wrote")
    parser.add_argument("repo", metavar="REPO", help="name on the Hub, me/raga-classifier; updated if it exists")
    parser.add_argument("--private", action="store_true", help="for nobody else to see")
    parser.add_argument("--revision", metavar="BRANCH", help="branch to push to, made where there is none (main)")
    parser.add_argument("--message", metavar="TEXT", default="Upload model", help="commit message (%(default)s)")
    parser.add_argument("--dry-run", action="store_true", help="list what would go up, and stop")
    args = parser.parse_args(argv)

    folder = Path(args.folder)
    check_complete(folder)
    files = files_to_push(folder)
    where = f"{args.repo}, {args.revision or 'main'}{', private' if args.private else ''}"
    print(f"{'To be pushed' if args.dry_run else 'Pushing'} to {where}:")
    sizes = {name: (folder / name).stat().st_size for name in files}
    for name, size in sizes.items():
        print(f"  {_in_words(size):>9}  {name}")
    print(f"  {_in_words(sum(sizes.values())):>9}  in {len(files)} files")
    if not args.dry_run:
        print(push(folder, files, args.repo, args.private, args.revision, args.message))


def check_complete(folder: Path) -> None:
    """
    Check that a folder holds a whole model, or a whole adapter.

    Raises:
        CommandError: something is missing or was only written in part.
    """
    from safetensors import SafetensorError, safe_open

    if not folder.is_dir():
        raise CommandError(f"there is no folder {folder}")
    is_adapter = (folder / "adapter_config.json").is_file()
    try:
        if is_adapter:
            json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
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
        raise CommandError(
            f"{folder} is no complete {'adapter' if is_adapter else 'model'} ({error}). Push a folder that "
            "save_pretrained has written to its end, or a whole checkpoint of the run."
        ) from error
    missing = sorted(name for name in code if not (folder / name).is_file())
    if missing:
        raise CommandError(f"config.json names code that {folder} lacks: {', '.join(missing)}. Save the model again.")
    if not is_adapter and not code:
        print(f"{folder} holds no code: only those who have polyaudio installed can load the model.", file=sys.stderr)


def files_to_push(folder: Path) -> list[str]:
    """Paths below `folder` of what makes the model, without what only a run needs."""
    paths = [path.relative_to(folder) for path in sorted(folder.rglob("*")) if path.is_file()]
    return [
        path.as_posix()
        for path in paths
        if not any(fnmatch.fnmatch(part, pattern) for part in path.parts for pattern in _STAYS_HERE)
    ]


def push(folder: Path, files: list[str], repo: str, private: bool, revision: str | None, message: str) -> str:
    """
    Upload files of a folder in one commit; what is there already is not sent again.

    Returns:
        The address of the commit.

    Raises:
        CommandError: the Hub cannot be reached or refuses, with what to do about it.
    """
    from huggingface_hub import HfApi, get_token, is_offline_mode
    from huggingface_hub.errors import HfHubHTTPError, HTTPError

    if is_offline_mode():
        raise CommandError("HF_HUB_OFFLINE is set, so nothing can be pushed; unset it")
    if get_token() is None:
        raise CommandError("there is no token for the Hugging Face Hub. Run `hf auth login`, or set HF_TOKEN.")
    api = HfApi(library_name="polyaudio")
    try:
        repo = api.create_repo(repo, private=private or None, exist_ok=True).repo_id
        if private and not api.repo_info(repo).private:
            raise CommandError(
                f"{repo} exists and is public, and --private does not change that. Make it private in its settings on "
                "the Hub, or push to another name."
            )
        if revision is not None:
            api.create_branch(repo, branch=revision, exist_ok=True)
        return api.upload_folder(
            repo_id=repo,
            folder_path=folder,
            allow_patterns=[glob.escape(name) for name in files],
            delete_patterns=list(_WEIGHTS),
            commit_message=message,
            revision=revision,
        ).commit_url
    except (HTTPError, RuntimeError) as error:
        # In uploads of large files the client hides the error behind a RuntimeError
        cause = error if isinstance(error, HTTPError) else error.__cause__
        if isinstance(cause, HfHubHTTPError):
            raise CommandError(_refusal(cause, repo)) from error
        if isinstance(cause, HTTPError):
            raise CommandError(
                f"the connection to {api.endpoint} broke: {cause}. {folder} is as it was; run the same command again "
                "to finish, what has arrived is not sent twice."
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
        return f"somebody else changed {repo} at the same time ({said}). Run the same command again."
    return f"the Hub refuses with status {status} ({said}). Nothing is lost here; try again, later if it is above 499."


def _in_words(size: int) -> str:
    for unit in ("B", "kB", "MB"):
        if size < 999.5:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} GB"


if __name__ == "__main__":
    sys.exit(main())
