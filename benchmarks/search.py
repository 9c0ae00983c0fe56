# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""
Exact and approximate search side by side: time, recall and memory.

    python benchmarks/search.py [--rows 100000] [--size 768] [--queries 100]

It writes vectors around random centres to Parquet files, builds an index, and searches it in both ways with other
vectors around the same centres. Each kind of search runs in a process of its own, so that its memory can be told.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq


ROWS_OF_A_SHARD = 10_000
TOP_K = 10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--size", type=int, default=768, help="numbers in a vector (default: %(default)s)")
    parser.add_argument("--queries", type=int, default=100)
    parser.add_argument("--noise", type=float, default=0.7, help="beside the centres' 1 (default: %(default)s)")
    parser.add_argument("--dedupe", action="store_true", help="find near-duplicates too")
    parser.add_argument("--step", nargs="+", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.step:
        run_step(*args.step)
        return
    with tempfile.TemporaryDirectory() as folder:
        step("write", folder, args.rows, args.size, args.queries, args.noise)
        stored = sum(path.stat().st_size for path in Path(folder, "features").rglob("*.parquet"))
        print(f"{args.rows:,} vectors of {args.size} numbers, {stored / 1e6:,.0f} MB as Parquet")
        built = step("build", folder)
        print(
            f"index: {built['bytes'] / 1e6:,.0f} MB in {built['seconds']:.0f} s, {built['peak']:,.0f} MB of memory, "
            f"recall at 10 of {built['recall']:.3f} on its own vectors (expansion {built['expansion']})"
        )
        each = f"each of {args.queries}"
        print(f"\n{'search':<14}{'first query':>14}{each:>16}{'peak memory':>14}{'recall at 10':>14}")
        exact = step("exact", folder)
        approximate = step("approximate", folder)
        wanted = [set(files) for files in exact["files"]]
        for name, one in (("exact", exact), ("approximate", approximate)):
            found = sum(len(own & set(files)) for own, files in zip(wanted, one["files"], strict=True))
            recall = found / sum(map(len, wanted))
            first, each = 1000 * one["first"], 1000 * one["seconds"] / args.queries
            print(f"{name:<14}{first:>11.1f} ms{each:>13.1f} ms{one['peak']:>11.0f} MB{recall:>14.3f}")
        print(f"{'(imports only)':<44}{step('imports', folder)['peak']:>11.0f} MB")
        for name in ("duplicates", "duplicates-exact") if args.dedupe else ():
            one = step(name, folder)
            print(f"{name}: {one['groups']} groups in {one['seconds']:.0f} s, {one['peak']:.0f} MB")


def write_vectors(folder: Path, rows: int, size: int, queries: int, noise: float) -> None:
    """Write the features, of which 1 in 1,000 is a copy of an earlier one, and the queries."""
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((max(1, rows // 100), size), np.float32)

    def draw(number: int) -> np.ndarray:
        chosen = centres[rng.integers(len(centres), size=number)]
        return chosen + noise * rng.standard_normal((number, size), np.float32)

    (folder / "features" / "data").mkdir(parents=True)
    for start in range(0, rows, ROWS_OF_A_SHARD):
        vectors = draw(min(ROWS_OF_A_SHARD, rows - start))
        vectors[1::1000] = vectors[::1000][: len(vectors[1::1000])]
        table = pa.table(
            {
                "file": [f"{start + row}.wav" for row in range(len(vectors))],
                "vector": pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), size),
            }
        )
        path = folder / "features" / "data" / f"train-{start:08}.parquet"
        pq.write_table(table, path, compression="zstd", row_group_size=1000)
    np.save(folder / "queries.npy", draw(queries))


def step(name: str, folder: str, *settings: float) -> dict[str, Any]:
    """What a step measured in its own process. It starts with the memory of this one, which therefore stays small."""
    command = [sys.executable, __file__, "--step", name, folder, *map(str, settings)]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)


def run_step(name: str, folder: str, *settings: str) -> None:
    if name == "write":
        rows, size, queries = map(int, settings[:3])
        write_vectors(Path(folder), rows, size, queries, float(settings[3]))
        print("{}")
        return
    from polyaudio import build_index, find_duplicates, search

    measured: dict[str, Any] = {}
    index = Path(folder, "index")
    start = time.perf_counter()
    if name == "build":
        report = build_index(Path(folder, "features"), index)
        measured = {"bytes": report.bytes, "recall": report.approximate.recall}
        measured["expansion"] = report.approximate.expansion
    elif name.startswith("duplicates"):
        measured = {"groups": len(find_duplicates(index, threshold=0.999, exact=name.endswith("exact")))}
    elif name != "imports":
        queries = np.load(Path(folder, "queries.npy"))
        search(queries[0], index, top_k=TOP_K, exact=name == "exact")
        measured["first"] = time.perf_counter() - start
        start = time.perf_counter()
        results = search(list(queries), index, top_k=TOP_K, exact=name == "exact")
        measured["files"] = [[hit.file for hit in result.hits] for result in results]
    measured["seconds"] = time.perf_counter() - start
    measured["peak"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024  # MB on Linux
    print(json.dumps(measured))


if __name__ == "__main__":
    main()
