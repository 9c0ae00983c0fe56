# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""
The tables of a run of the benchmarks, in Markdown.

    python benchmarks/table.py bench.json
    python benchmarks/table.py gpu.json
"""

import argparse
import json
from pathlib import Path
from typing import Any


def document(bench: dict[str, Any]) -> str:
    """All tables of what `run.py` or `gpu.py` wrote."""
    machine = bench["machine"]
    versions = ", ".join(f"{name} {machine[name]}" for name in ("python", "torch", "torchaudio", "transformers"))
    head = (
        f"{'; '.join(machine['devices'].values())}; {machine['threads']} threads on {machine['cores']} cores; "
        f"{versions}; medians of {bench['rounds']} rounds, in brackets the lowest and the highest ratio; matrix "
        f"products with convolutions and attention, as a share of the time."
    )
    left_out = [f"Left out: {one['what']} ({one['why']})." for one in bench.get("left_out", [])]
    return "\n\n".join([head, *(table(result) for result in bench["results"]), *left_out])


def table(result: dict[str, Any]) -> str:
    """The table of one result, under its title."""
    kinds = {"waiting": _waiting, "checks": _checks, "rows": _steps}
    header, rows = next((make for name, make in kinds.items() if name in result), _comparison)(result)
    lines = [f"**{result['title']}** ({result['device']})", "", _row(header), _row(["---"] * len(header))]
    return "\n".join(lines + [_row(row) for row in rows])


def _comparison(result: dict[str, Any]) -> tuple[list[str], list[list[str]]]:
    rivals = result["rivals"]
    references = list(rivals[0]["ratios"])
    has_speed = result["benchmark"] != "extraction"  # Fourier transforms are not counted
    has_memory = any(rival["peak_memory"] for rival in rivals)
    header = ["", "time", *(f"to {reference}" if len(references) > 1 else "ratio" for reference in references)]
    header += ["matrix products"] + ["GFLOP/s"] * has_speed + ["peak memory"] * has_memory
    rows = []
    for rival in rivals:
        median = rival["seconds"]["median"]
        row = [rival["name"], _seconds(median), *(_ratio(rival["ratios"][name]) for name in references)]
        row.append(f"{rival['products']:.0%}")
        if has_speed:
            row.append(f"{rival['gflop'] / median:.0f}")
        if has_memory:
            row.append(f"{rival['peak_memory']:.2f} GiB" if rival["peak_memory"] else "")
        rows.append(row)
    return header, rows


def _waiting(result: dict[str, Any]) -> tuple[list[str], list[list[str]]]:
    header = ["waiting for data", "a wait", "a step", "a step without workers beside it", "batches"]
    times = [_seconds(result[name]) for name in ("wait", "step", "step_alone")]
    return header, [[f"{result['waiting']:.1%}", *times, str(result["batches"])]]


def _checks(result: dict[str, Any]) -> tuple[list[str], list[list[str]]]:
    rows = []
    for check in result["checks"]:
        verdict = {True: "right", False: "**WRONG**", None: "not checked"}[check["passed"]]
        error = "" if check["error"] is None else f"{check['error']:.1e}"
        verdict += f": {check['why']}" if check["why"] else ""
        rows.append([check["title"], check["precision"], error, f"{check['allowed']:.0e}", verdict])
    return ["", "computed in", "error", "allowed", ""], rows


def _steps(result: dict[str, Any]) -> tuple[list[str], list[list[str]]]:
    rows = []
    for row in result["rows"]:
        memory = f"{row['peak_memory']:.1f} GiB" if row["peak_memory"] else ""
        times = [_seconds(row["seconds"]["median"]), f"{row['clips_per_second']:.4g}"]
        rate = f"{row['gflop'] / row['seconds']['median'] / 1e3:.3g}"
        rows.append([row["name"], *times, rate, f"{row['share']:.0%}", memory, _seconds(row["first_call"])])
    peaks = ", ".join(f"{name} {rate / 1e3:.3g}" for name, rate in result["peaks"].items())
    return ["", "time", "clips/s", "TFLOP/s", f"of the peak ({peaks} TFLOP/s)", "peak memory", "first call"], rows


def _row(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _seconds(value: float) -> str:
    return f"{value:.2f} s" if value >= 1 else f"{1e3 * value:.3g} ms"


def _ratio(ratio: dict[str, float]) -> str:
    if ratio["min"] == ratio["max"] == 1:
        return "1"
    return f"{ratio['median']:.3g} ({ratio['min']:.3g} to {ratio['max']:.3g})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path, help="what benchmarks/run.py wrote")
    print(document(json.loads(parser.parse_args().file.read_text(encoding="utf-8"))))


if __name__ == "__main__":
    main()
