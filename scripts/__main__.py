# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""`polyaudio <command>`: each command is a module of this package, which is imported when it is called."""

import gc
import importlib
import sys

from ..data.text import did_you_mean
from .command import exit_code, hide_bars_of_libraries


COMMANDS = {
    "train": "train a classifier on a labelled dataset, from scratch or from a checkpoint",
    "pretrain": "pre-train a model on recordings without labels",
    "compare": "find out which way to train is best for a dataset, within a limit of time",
    "evaluate": "evaluate a trained classifier on a dataset",
    "calibrate": 'make the scores of a classifier probabilities, and let it answer "none of these"',
    "tune-events": "choose how a frame classifier gets events from its scores",
    "probe": "evaluate the frozen features of a model on a dataset with a probe",
    "predict": "label audio files with a trained classifier",
    "annotate": "find the events in recordings of any length, and write them for other programs",
    "embed": "write the features of audio files, computed by a model",
    "index": "build an index of features for search",
    "search": "find recordings by their features, and near-duplicates",
    "tonic": "estimate the tonic of recordings of Indian art music",
    "dataset": "build, inspect, split, mix and check datasets, and measure their statistics",
    "convert": "convert a checkpoint of an original implementation into a model folder",
    "app": "start a page on which people try models",
    "export": "export a model for other runtimes than torch, with its front end if you like",
    "push": "upload a model folder to the Hugging Face Hub",
    "demo": "train a raga classifier on synthetic recordings in a few minutes, and use it",
}


# Allocations between two collections of garbage. To import torch and transformers takes some hundred thousand of them,
# and with Python's 700 the collections are an eighth of that time.
_ALLOCATIONS = 10_000


EXAMPLES = """\
examples:
  polyaudio demo
  polyaudio train --dataset my-recordings/ --output-dir runs/mine
  polyaudio predict concert.flac --model runs/mine"""


def main(argv: list[str] | None = None) -> int:
    gc.set_threshold(_ALLOCATIONS)
    if argv is None:
        hide_bars_of_libraries(sys.argv)
    return exit_code("polyaudio", lambda: run(sys.argv[1:] if argv is None else argv))


def run(argv: list[str]) -> int:
    """Call the command that the arguments begin with."""
    if not argv or argv[0] in ("-h", "--help"):
        print("usage: polyaudio <command> [--help] ...\n\ncommands:")
        print("\n".join(f"  {name:<13}{description}" for name, description in COMMANDS.items()))
        print(f"\n{EXAMPLES}")
        return 0 if argv else 2
    if argv[0] == "--version":
        from .. import __version__

        print(f"polyaudio {__version__}")
        return 0
    if argv[0] not in COMMANDS:
        meant = did_you_mean(argv[0], COMMANDS) or f". Choose from {', '.join(COMMANDS)}."
        print(f"polyaudio: there is no command {argv[0]!r}{meant}", file=sys.stderr)
        return 2
    return importlib.import_module(f".{argv[0].replace('-', '_')}", __package__).main(argv[1:])


if __name__ == "__main__":
    sys.exit(main())
