# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""`polyaudio push`: upload a model folder to the Hugging Face Hub."""

import argparse
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from ..hub.push import Upload, push, size_in_words
from ..hub.space import KINDS, Space, license_of, push_space, space_files
from .command import argument_parser, command


DESCRIPTION = """\
Upload a folder with a model, or with an adapter, to the Hugging Face Hub.

Only what belongs to a model is uploaded: weights, settings, the code of the model, README.md with the pictures that it
shows, and the reports of runs. All other files stay behind; --dry-run lists them. Log in with `hf auth login` first,
or set the environment variable HF_TOKEN.

--space also makes a Space: a page on the Hub, of the same name, on which visitors try the model. A static Space runs
the model in the browser. A Gradio Space runs it on the server; it holds the source of polyaudio, and installs the
versions of other packages that are installed here. --endpoint adds handler.py, by which Inference Endpoints run the
model."""

EXAMPLES = """\
  polyaudio push runs/ragas me/raga-classifier --dry-run
  polyaudio push runs/ragas me/raga-classifier --private
  polyaudio push runs/ragas/checkpoint-500 me/raga-classifier --revision step-500 --message "Step 500"
  polyaudio push runs/adapter me/raga-adapter --base-model me/raga-classifier
  polyaudio push runs/ragas me/raga-classifier --examples todi.flac kalyani.flac
  polyaudio push runs/ragas me/raga-classifier --space gradio --examples todi.flac
  polyaudio push ta012/SSLAM_AS2M_Finetuned me/sounds --space static
  polyaudio push runs/ragas me/raga-classifier --endpoint
"""


def _parser() -> argparse.ArgumentParser:
    parser = argument_parser("push", DESCRIPTION, EXAMPLES)
    parser.add_argument(
        "model",
        metavar="MODEL",
        help="model folder, from save_pretrained, `polyaudio train` or `polyaudio convert`; with --space also a Hub "
        "name, and then only the Space is pushed",
    )
    parser.add_argument(
        "repo",
        metavar="REPO",
        help="repository on the Hub, such as me/raga-classifier; it is created if it does not exist",
    )
    parser.add_argument("--private", action="store_true", help="make the repository private")
    parser.add_argument(
        "--revision",
        metavar="BRANCH",
        help="branch to upload to, which is created if it does not exist (default: main)",
    )
    parser.add_argument(
        "--message", metavar="TEXT", default="Upload model", help="commit message (default: %(default)s)"
    )
    parser.add_argument(
        "--base-model",
        metavar="NAME",
        help="Hub name of the base model of an adapter, if the adapter names a local folder",
    )
    parser.add_argument(
        "--examples",
        nargs="+",
        type=Path,
        default=[],
        metavar="FILE",
        help="audio files that visitors can try on the page of the model and in the Space",
    )
    parser.add_argument("--space", choices=KINDS, help="also make a Space")
    parser.add_argument("--endpoint", action="store_true", help="add handler.py and requirements.txt for an endpoint")
    parser.add_argument("--dry-run", action="store_true", help="list the files and upload nothing")
    return parser


@command
def main(argv: list[str]) -> None:
    parser = _parser()
    args = parser.parse_args(argv)
    if args.space and not Path(args.model).is_dir():
        if args.endpoint or args.revision or args.base_model:
            parser.error("--endpoint, --revision and --base-model need a model folder")
        _push_space(args, model=args.model)
        return
    _push_model(args)
    if args.space:
        _push_space(args, model=args.repo)


def _push_model(args: argparse.Namespace) -> None:
    """Push the model folder."""
    upload = Upload(
        folder=Path(args.model),
        repo=args.repo,
        private=args.private,
        revision=args.revision,
        message=args.message,
        base_model=args.base_model,
        examples=args.examples,
        endpoint=args.endpoint,
    )
    upload.check()
    where = f"{args.repo}, {args.revision or 'main'}{', private' if args.private else ''}"
    print(f"{'To be pushed' if args.dry_run else 'Pushing'} to {where}:")
    sizes = {name: path.stat().st_size for name, path in upload.files().items()}
    _print_sizes(sizes | {name: len(content) for name, content in upload.generated().items()})
    if args.dry_run:
        others = upload.left_behind()
        print("Not pushed:" if others else "All files of the folder are pushed.")
        print("".join(f"  {name}\n" for name in others), end="")
    else:
        print(push(upload))


def _push_space(args: argparse.Namespace, model: str) -> None:
    """Push a Space for a model with this name on the Hub."""
    space = Space(
        repo=args.repo,
        model=model,
        kind=args.space,
        source=args.model,
        private=args.private,
        examples=args.examples,
        license=license_of(args.model),
    )
    space.check()
    where = f"the Space {args.repo}{', private' if args.private else ''}"
    print(f"{'To be pushed' if args.dry_run else 'Pushing'} to {where}:")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name, "space")
        folder.mkdir()
        space.write(folder)
        _print_sizes({name: path.stat().st_size for name, path in space_files(folder).items()})
        if not args.dry_run:
            print(push_space(space, folder))
    if args.private and args.space == "gradio":
        print("A private model needs a token that may read it, as the secret HF_TOKEN in the settings of the Space.")


def _print_sizes(sizes: Mapping[str, int]) -> None:
    """Print the sizes of files, and those of the source of polyaudio in sum."""
    source = [size for name, size in sizes.items() if name.startswith("polyaudio/")]
    for name, size in sizes.items():
        if not name.startswith("polyaudio/"):
            print(f"  {size_in_words(size):>9}  {name}")
    if source:
        print(f"  {size_in_words(sum(source)):>9}  polyaudio/ ({len(source)} files)")
    print(f"  {size_in_words(sum(sizes.values())):>9}  in {len(sizes)} files")


if __name__ == "__main__":
    sys.exit(main())
