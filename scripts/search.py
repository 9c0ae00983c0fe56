# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""`polyaudio search`: find recordings by their features."""

import argparse
import sys
from typing import TYPE_CHECKING

from .command import argument_parser, command
from .options import positive


if TYPE_CHECKING:
    from ..inference.duplicates import Duplicate
    from ..inference.search import SearchResult


DESCRIPTION = """\
Find the recordings that are nearest to each QUERY, by the cosine of the angle between their vectors. QUERY is the name
of a recording in the index, or an audio file, which is embedded as the recordings in the index were. A recording is
found once, by its nearest vector.

--dedupe finds groups of near-duplicates instead: recordings with vectors whose cosine is at least --threshold.

--where takes an SQL condition on the columns of the features. Then, with --exact, and without an approximate index all
vectors are read and compared."""

EXAMPLES = """\
  polyaudio search bark.wav --index index
  polyaudio search birds/3.wav birds/4.wav --index index --top-k 5 --where "label = 'owl' AND \\"start\\" < 60"
  polyaudio search bark.wav --index index --output results.html
  polyaudio search --dedupe --threshold 0.98 --index index --output copies.csv
"""


def parse_arguments(argv: list[str]) -> argparse.Namespace:
    parser = argument_parser("search", DESCRIPTION, EXAMPLES)
    parser.add_argument("queries", nargs="*", metavar="QUERY", help="recording in the index, or audio file")
    parser.add_argument("--index", required=True, metavar="DIR", help="folder that `polyaudio index` wrote")
    parser.add_argument(
        "--top-k",
        type=positive(int),
        default=10,
        metavar="N",
        help="number of recordings for each query (default: 10)",
    )
    parser.add_argument("--where", metavar="SQL", help="condition on the columns of the features")
    parser.add_argument("--exact", action="store_true", help="compare all vectors")
    parser.add_argument("--dedupe", action="store_true", help="find near-duplicates in the index")
    parser.add_argument(
        "--threshold", type=positive(float), default=0.98, metavar="COSINE", help="of near-duplicates (default: 0.98)"
    )
    parser.add_argument("--output", metavar="FILE", help="file to write as well: .json, .csv, or .html to listen to")
    parser.add_argument(
        "--root", metavar="DIR", help="folder that the names of the recordings are relative to, if it has been moved"
    )
    parser.add_argument("--model", help="where the model is that computed the features, if it has been moved")
    parser.add_argument("--device", help="cpu, cuda, cuda:1, mps, ... (default: the accelerator if there is one)")
    args = parser.parse_args(argv)
    if args.dedupe == bool(args.queries):
        parser.error("name a QUERY or more, or --dedupe and no QUERY")
    return args


@command
def main(argv: list[str]) -> None:
    args = parse_arguments(argv)

    from ..inference.duplicates import find_duplicates
    from ..inference.search import search
    from ..inference.search_index import root_of_index
    from ..inference.search_results import check_format, write_results

    if args.output is not None:
        check_format(args.output)
    if args.dedupe:
        groups = find_duplicates(args.index, threshold=args.threshold, where=args.where, exact=args.exact)
        _print_groups(groups, args.threshold)
        results: list = groups
    else:
        results = search(
            args.queries,
            args.index,
            top_k=args.top_k,
            where=args.where,
            exact=args.exact,
            model=args.model,
            device=args.device,
        )
        _print_results(results)
    if args.output is not None:
        write_results(results, args.output, root=args.root or root_of_index(args.index))
        print(f"\n{args.output} written")


def _print_results(results: "list[SearchResult]") -> None:
    for result in results:
        print(f"{result.query} ({'exact' if result.is_exact else 'approximate'} search)")
        if not result.hits:
            print("  nothing found")
        for rank, hit in enumerate(result.hits, 1):
            part = "" if hit.start is None or hit.end is None else f"  {hit.start:.2f}-{hit.end:.2f} s"
            print(f"{rank:>4}  {hit.score:.4f}  {hit.file}{part}")


def _print_groups(groups: "list[list[Duplicate]]", threshold: float) -> None:
    for number, group in enumerate(groups, 1):
        print(f"group {number}")
        for one in group:
            print(f"  {one.score:.4f}  {one.file}  (nearest: {one.nearest})")
    total = sum(map(len, groups))
    print(f"groups of near-duplicates: {len(groups)}, with {total} recordings (cosine at least {threshold:g})")


if __name__ == "__main__":
    sys.exit(main())
