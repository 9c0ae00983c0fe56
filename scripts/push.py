# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""`polyaudio push`: upload a model folder to the Hugging Face Hub."""

import sys
from pathlib import Path

from ..hub.push import Upload, push, size_in_words
from .command import argument_parser, command


DESCRIPTION = """\
Upload a folder with a model, or with an adapter, to the Hugging Face Hub.

Only what belongs to a model is uploaded: weights, settings, the code of the model, README.md with the pictures that it
shows, and the reports of runs. All other files stay behind; --dry-run lists them. Log in with `hf auth login` first,
or set the environment variable HF_TOKEN."""

EXAMPLES = """\
  polyaudio push runs/ragas me/raga-classifier --dry-run
  polyaudio push runs/ragas me/raga-classifier --private
  polyaudio push runs/ragas/checkpoint-500 me/raga-classifier --revision step-500 --message "Step 500"
  polyaudio push runs/adapter me/raga-adapter --base-model me/raga-classifier
  polyaudio push runs/ragas me/raga-classifier --examples todi.flac kalyani.flac
"""


@command
def main(argv: list[str]) -> None:
    parser = argument_parser("push", DESCRIPTION, EXAMPLES)
    parser.add_argument(
        "folder", metavar="DIR", help="model folder, from save_pretrained, `polyaudio train` or `polyaudio convert`"
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
        help="audio files that visitors can try on the page of the model",
    )
    parser.add_argument("--dry-run", action="store_true", help="list the files and upload nothing")
    args = parser.parse_args(argv)

    upload = Upload(
        folder=Path(args.folder),
        repo=args.repo,
        private=args.private,
        revision=args.revision,
        message=args.message,
        base_model=args.base_model,
        examples=args.examples,
    )
    upload.check()
    where = f"{args.repo}, {args.revision or 'main'}{', private' if args.private else ''}"
    print(f"{'To be pushed' if args.dry_run else 'Pushing'} to {where}:")
    sizes = {name: path.stat().st_size for name, path in upload.files().items()}
    for name, size in sizes.items():
        print(f"  {size_in_words(size):>9}  {name}")
    print(f"  {size_in_words(sum(sizes.values())):>9}  in {len(sizes)} files")
    if args.dry_run:
        others = upload.left_behind()
        print("Not pushed:" if others else "All files of the folder are pushed.")
        print("".join(f"  {name}\n" for name in others), end="")
    else:
        print(push(upload))


if __name__ == "__main__":
    sys.exit(main())
