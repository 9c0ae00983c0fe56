# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""`polyaudio dataset`: work on datasets of audio."""

import argparse
import sys
from pathlib import Path

from ..data.readable import report_bad_clips
from .command import argument_parser, command
from .dataset_build import add_build
from .dataset_inspect import add_inspect
from .dataset_mix import add_mix
from .dataset_options import add_action, default_workers, write_json
from .dataset_split import add_split
from .options import add_label_arguments, load_labelled


EXAMPLES = """\
  polyaudio dataset build my-recordings/ --output my-chunks/ --sampling-rate 16000
  polyaudio dataset inspect my-chunks/ --output inspection/
  polyaudio dataset split my-chunks/ --output my-split/ --test-size 0.1 --validation-size 0.1
  polyaudio dataset mix my-sounds/ --output my-soundscapes/ --clips 2000 --test-clips 300
  polyaudio dataset stats my-recordings/
  polyaudio dataset stats someone/recordings --split train --crop-seconds 5 --output stats.json
  polyaudio dataset check my-ragas/ --output check.json
"""

STATS_DESCRIPTION = """\
Measure mean and standard deviation of the log-mel energies that SSLAM models read, for their normalisation.

Clips longer than --crop-seconds are measured by one window of that length, drawn at random, which is what a model
sees of them in an epoch. Padding does not count. No labels are needed. Clips that cannot be read are named and left
out."""

CHECK_DESCRIPTION = """\
Find clips that hold the same audio (copies, and chunks of a recording that overlap) where a classifier could learn
from one and be tested on the other. They are found from the audio, whatever their level, rate and encoding.

Data with several splits leaks where a pair stands in two of them. Data without is split by recording when a model is
trained on it, and leaks where a pair is of two recordings, as the group column or the paths tell them. --infer-groups
takes the recordings from the audio instead: then it cannot leak, but for what the search did not find.

Exit codes: 0 no leak, 1 a leak, 2 the data cannot be checked."""


@command
def main(argv: list[str]) -> int:
    parser = argument_parser("dataset", "Work on datasets of audio.", EXAMPLES)
    actions = parser.add_subparsers(required=True, metavar="ACTION", title="actions")
    add_build(actions)
    add_inspect(actions)
    add_split(actions)
    add_mix(actions)
    add_check(actions)
    add_stats(actions)
    args = parser.parse_args(argv)
    return args.run(args)


def add_stats(actions) -> None:
    stats = add_action(
        actions,
        "stats",
        run_stats,
        help="measure what the normalisation of SSLAM models needs to know",
        description=STATS_DESCRIPTION,
        examples=EXAMPLES,
    )
    stats.add_argument("--split", default="train", metavar="NAME", help="split to measure (train)")
    stats.add_argument(
        "--crop-seconds", type=float, default=10.0, metavar="SECONDS", help="longest window of a clip to measure (10)"
    )
    stats.add_argument("--output", type=Path, metavar="FILE", help="JSON file for the figures")
    stats.add_argument(
        "--num-workers",
        type=int,
        default=default_workers(),
        metavar="N",
        help="processes that read and measure (%(default)s)",
    )


def add_check(actions) -> None:
    check = add_action(
        actions,
        "check",
        run_check,
        help="find recordings that stand on both sides of a split",
        description=CHECK_DESCRIPTION,
        examples=EXAMPLES,
    )
    add_label_arguments(check)
    check.add_argument(
        "--infer-groups", action="store_true", help="take the recordings of data without splits from the audio"
    )
    check.add_argument(
        "--test-size", type=float, default=0.1, metavar="SHARE", help="part that training would hold out (0.1)"
    )
    check.add_argument("--split-seed", type=int, default=42, metavar="N", help="seed of that split (42)")
    check.add_argument("--output", type=Path, metavar="FILE", help="JSON file for all pairs and groups")


def run_stats(args: argparse.Namespace) -> int:
    from ..curation.statistics import measure_log_mel
    from ..data.loading import load_recordings

    recordings = load_recordings(args.dataset, audio_column=args.audio_column, split=args.split)
    if args.output:
        args.output.parent.mkdir(parents=True, exist_ok=True)
    stats = measure_log_mel(recordings, crop_seconds=args.crop_seconds, num_workers=args.num_workers)
    report_bad_clips(stats.unreadable)
    print(f"{stats.clips} clips, {stats.seconds / 3600:.3f} hours measured")
    print(f"mean {stats.mean:.4f}, standard deviation {stats.std:.4f}; in a recipe:\n")
    print(f"feature_extractor:\n  mean: {stats.mean:.4f}\n  std: {stats.std:.4f}")
    if args.output:
        content = {
            "dataset": args.dataset,
            "split": args.split,
            "crop_seconds": args.crop_seconds,
            "clips": stats.clips,
            "hours": stats.seconds / 3600,
            "frames": stats.frames,
            "mean": stats.mean,
            "std": stats.std,
            "unreadable": [clip._asdict() for clip in stats.unreadable],
        }
        write_json(args.output, content)
    return 0


def run_check(args: argparse.Namespace) -> int:
    from datasets import concatenate_datasets

    from ..curation.leaks import LeakReport, as_leaks
    from ..curation.overlaps import find_overlaps, infer_groups
    from ..data.readable import clip_names
    from ..data.splits import split_by_recording

    splits = load_labelled(args)
    is_divided = len(splits) > 1
    if is_divided and args.infer_groups:
        raise ValueError(f"{args.dataset} is divided ({', '.join(splits)}), which --infer-groups cannot change")
    clips = concatenate_datasets(list(splits.values()))
    recordings = clips["recording"][:]
    if not is_divided and not args.infer_groups:
        split_by_recording(clips, args.test_size, args.split_seed)  # what cannot be split shows before the search
    if args.output:
        args.output.parent.mkdir(parents=True, exist_ok=True)
    overlaps, unreadable = find_overlaps(clips)
    report_bad_clips(unreadable)
    groups = infer_groups(len(clips), overlaps).tolist()

    if is_divided:
        split_of = [name for name, rows in splits.items() for _ in range(len(rows))]
    else:
        if args.infer_groups:
            recordings = list(map(str, groups))
        rows = clips.remove_columns(["audio", "recording"]).add_column("recording", recordings)
        rows = rows.add_column("row", list(range(len(rows))))
        held_out = set(split_by_recording(rows, args.test_size, args.split_seed)[1]["row"][:])
        split_of = ["test" if row in held_out else "train" for row in range(len(rows))]
    names = clip_names(clips)
    across = [pair for pair in overlaps if split_of[pair.first] != split_of[pair.second]]
    differing = [pair for pair in overlaps if recordings[pair.first] != recordings[pair.second]]
    leaks = across if is_divided else differing

    split = "the splits" if is_divided else f"a split by recording (test {args.test_size:g}, seed {args.split_seed})"
    print(f"{len(clips) - len(unreadable)} clips, {len(overlaps)} pairs of them hold the same audio:")
    print(f"  {len(differing)} pairs are of different recordings")
    print(f"  {len(across)} pairs stand on both sides of {split}")
    repeated = len(groups) - len(set(groups))
    print(f"{len(set(groups))} groups: {repeated} clips share audio with a clip before them")
    report = LeakReport(as_leaks(leaks, names, split_of), len(clips) - len(unreadable), unreadable)
    between = "splits" if is_divided else "recordings, which a split by recording can part"
    print("\n" + "\n".join(report.describe(between)))
    if args.output:
        content = {
            "dataset": args.dataset,
            "leak": bool(leaks),
            "pairs": [
                {
                    **pair._asdict(),
                    "across_splits": split_of[pair.first] != split_of[pair.second],
                    "across_recordings": recordings[pair.first] != recordings[pair.second],
                }
                for pair in overlaps
            ],
            "clips": [
                {"name": name, "split": side, "recording": recording, "group": group}
                for name, side, recording, group in zip(names, split_of, recordings, groups, strict=True)
            ],
            "unreadable": [clip._asdict() for clip in unreadable],
        }
        write_json(args.output, content)
    return int(bool(leaks))


if __name__ == "__main__":
    sys.exit(main())
