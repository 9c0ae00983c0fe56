# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""
Speed of both models beside what a user would take instead, on the CPU and, where there is one, the accelerator.

    python benchmarks/run.py [--output bench.json] [--only forward training ...]

Rivals take turns, and their ratios are taken round by round. The tables are printed as they come and can be made again
with benchmarks/table.py.
"""

import argparse
import json
import os
import time
from pathlib import Path

import data_loading
import extraction
import fine_tuning
import forward
import pretraining
import torch
from table import document, table
from timing import Settings, machine


BENCHMARKS = {
    "extraction": extraction.measure,
    "forward": forward.measure,
    "training": fine_tuning.measure,
    "pretraining": pretraining.measure,
    "loading": data_loading.measure,
}


def main() -> None:
    devices = [torch.device("cpu")]
    if torch.accelerator.is_available():
        devices.append(torch.accelerator.current_accelerator())
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("bench.json"), help="file to write (default: %(default)s)")
    parser.add_argument("--only", nargs="+", choices=BENCHMARKS, default=list(BENCHMARKS), help="these benchmarks")
    parser.add_argument(
        "--devices", nargs="+", choices=[device.type for device in devices], help="these devices (default: all)"
    )
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="of torch (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="that count, after a warm-up (default: %(default)s)")
    parser.add_argument("--quick", action="store_true", help="tiny models and one round: whether it runs, no figures")
    parser.add_argument(
        "--against",
        type=Path,
        metavar="FILE",
        help="another implementation of SSLAM's pre-training step, see benchmarks/pretraining.py",
    )
    parser.add_argument(
        "--sam-carnatic",
        type=Path,
        metavar="CHECKOUT",
        help="a checkout of sarayusapa/sam-carnatic, whose training step is timed beside SAMAudio's",
    )
    args = parser.parse_args()
    if args.rounds < 1:
        parser.error(f"--rounds must be at least 1, got {args.rounds}.")
    for path in (args.against, args.sam_carnatic):
        if path is not None and not path.exists():
            parser.error(f"{path} does not exist.")
    args.output.parent.mkdir(parents=True, exist_ok=True)
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # the profiler would write lines among the tables
    torch.set_num_threads(args.threads)
    devices = [device for device in devices if args.devices is None or device.type in args.devices]

    rounds = 1 if args.quick else args.rounds
    bench = {"machine": machine(devices), "quick": args.quick, "rounds": rounds, "seconds": 0.0, "results": []}
    print(document(bench))
    start = time.perf_counter()
    for device in devices:
        settings = Settings(device, args.quick, rounds, args.against, args.sam_carnatic)
        for name in args.only:
            torch.manual_seed(0)
            for measured in BENCHMARKS[name](settings):
                result = {"benchmark": name, "device": device.type, **measured}
                bench["results"].append(result)
                bench["seconds"] = time.perf_counter() - start
                args.output.write_text(json.dumps(bench, indent=2) + "\n", encoding="utf-8")
                print(f"\n{table(result)}", flush=True)
    print(f"\n{bench['seconds'] / 60:.1f} minutes; the figures are in {args.output}")


if __name__ == "__main__":
    main()
