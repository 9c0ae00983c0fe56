# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""`polyaudio index`: build an index of features for search."""

import sys

from .command import argument_parser, command


DESCRIPTION = """\
Build an index of the features of recordings, for `polyaudio search`. FEATURES is a folder that `polyaudio embed` wrote
with one vector a recording or a window, or any Parquet file or folder with a column of vectors.

With usearch (`pip install polyaudio[search]`), the index holds an approximate index, which a search maps into memory.
It is built in memory. The command compares it with an exact search on a sample of its own vectors, and prints its
recall: the share of the 10 nearest vectors that it finds. Without usearch, or with --exact, a search reads all
vectors.

The index refers to FEATURES. If they change, a search says so, and this command builds the index again."""

_LOW_RECALL = 0.98

EXAMPLES = """\
  polyaudio index features --output index
  polyaudio index clips.parquet --vector-column embedding --file-column path --output index
  polyaudio index features --output index --exact
"""


@command
def main(argv: list[str]) -> None:
    parser = argument_parser("index", DESCRIPTION, EXAMPLES)
    parser.add_argument("features", metavar="FEATURES", help="folder or file with the features")
    parser.add_argument("--output", required=True, metavar="DIR", help="folder to write the index to")
    parser.add_argument(
        "--vector-column", default="vector", metavar="NAME", help="column with the vectors (default: vector)"
    )
    parser.add_argument(
        "--file-column", default="file", metavar="NAME", help="column with the recording of a vector (default: file)"
    )
    parser.add_argument("--exact", action="store_true", help="build no approximate index")
    args = parser.parse_args(argv)

    from ..inference.search_index import build_index

    report = build_index(
        args.features,
        args.output,
        vector_column=args.vector_column,
        file_column=args.file_column,
        approximate=False if args.exact else None,
    )
    print(f"{args.output}: {report.rows:,} vectors of {report.size} numbers, {report.bytes / 1e6:,.1f} MB")
    if report.approximate is None:
        print("exact search: all vectors are compared")
    else:
        recall = report.approximate
        print(
            f"approximate search: recall at 10 of {recall.recall:.3f} against exact search, "
            f"on {recall.sampled} of its own vectors (expansion {recall.expansion})"
        )
        if recall.recall < _LOW_RECALL:
            print("These vectors are hard to index. Search with --exact where that is too little.")


if __name__ == "__main__":
    sys.exit(main())
