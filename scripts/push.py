# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""`polyaudio push`: a model folder goes to the Hugging Face Hub."""

import sys
from pathlib import Path

from ..hub.push import base_of_adapter, check_complete, files_to_push, push, size_in_words
from .command import argument_parser, command


DESCRIPTION = """\
Upload a folder with a model, or with an adapter, to the Hugging Face Hub.

What a run leaves behind only to be resumed (checkpoints, optimizer, pickled arguments) stays here. The token is the
one that huggingface_hub finds: of `hf auth login`, or in HF_TOKEN."""

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
    parser.add_argument("repo", metavar="REPO", help="name on the Hub, me/raga-classifier; updated if it exists")
    parser.add_argument("--private", action="store_true", help="for nobody else to see")
    parser.add_argument("--revision", metavar="BRANCH", help="branch to push to, made where there is none (main)")
    parser.add_argument("--message", metavar="TEXT", default="Upload model", help="commit message (%(default)s)")
    parser.add_argument(
        "--base-model", metavar="NAME", help="name on the Hub of an adapter's base, where the adapter names a folder"
    )
    parser.add_argument(
        "--examples", nargs="+", type=Path, default=[], metavar="FILE", help="clips to try on the model's page"
    )
    parser.add_argument("--dry-run", action="store_true", help="list what would go up, and stop")
    args = parser.parse_args(argv)

    folder = Path(args.folder)
    check_complete(folder)
    base_of_adapter(folder, args.base_model)
    missing = [str(path) for path in args.examples if not path.is_file()]
    if missing:
        raise ValueError(f"there is no file {missing[0]}")
    files = files_to_push(folder, args.examples)
    where = f"{args.repo}, {args.revision or 'main'}{', private' if args.private else ''}"
    print(f"{'To be pushed' if args.dry_run else 'Pushing'} to {where}:")
    sizes = {name: path.stat().st_size for name, path in files.items()}
    for name, size in sizes.items():
        print(f"  {size_in_words(size):>9}  {name}")
    print(f"  {size_in_words(sum(sizes.values())):>9}  in {len(files)} files")
    if not args.dry_run:
        print(push(folder, args.repo, args.private, args.revision, args.message, args.base_model, args.examples))


if __name__ == "__main__":
    sys.exit(main())
