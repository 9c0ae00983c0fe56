# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""`polyaudio push`: upload a model folder to the Hugging Face Hub."""

import sys
from pathlib import Path

from ..hub.push import Upload, push, size_in_words
from .command import argument_parser, command


DESCRIPTION = """\
Upload a folder with a model, or with an adapter, to the Hugging Face Hub.

Files that only serve to resume a run (checkpoints, optimizer, pickled arguments) are not pushed. The token is that of
`hf auth login` or of HF_TOKEN."""

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
    parser.add_argument("folder", metavar="DIR", help="folder that save_pretrained, train or convert wrote")
    parser.add_argument(
        "repo", metavar="REPO", help="name on the Hub, such as me/raga-classifier; updated if it exists"
    )
    parser.add_argument("--private", action="store_true", help="make the repository private")
    parser.add_argument("--revision", metavar="BRANCH", help="branch to push to, made if it does not exist (main)")
    parser.add_argument("--message", metavar="TEXT", default="Upload model", help="commit message (%(default)s)")
    parser.add_argument(
        "--base-model", metavar="NAME", help="Hub name of an adapter's base model, if the adapter names a folder"
    )
    parser.add_argument(
        "--examples",
        nargs="+",
        type=Path,
        default=[],
        metavar="FILE",
        help="clips that visitors can try on the model's page",
    )
    parser.add_argument("--dry-run", action="store_true", help="list the files to push, and stop")
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
    if not args.dry_run:
        print(push(upload))


if __name__ == "__main__":
    sys.exit(main())
