# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""`polyaudio <command>`: one module of this package a command, imported only when it is called."""

import importlib
import sys


COMMANDS = {
    "train": "train a classifier on a dataset, from scratch or from a checkpoint, whole or by LoRA",
    "pretrain": "pre-train a model on recordings without labels",
    "evaluate": "measure a trained classifier on a dataset",
    "probe": "measure what a model's frozen features know of the classes of a dataset, by a linear probe",
    "predict": "label audio files",
    "embed": "write the features of audio files",
    "dataset": "build, inspect, split, mix and check datasets, and measure their normalisation",
    "convert": "turn a checkpoint of an original implementation into a model folder",
    "push": "upload a model folder to the Hugging Face Hub",
    "demo": "train on synthesised ragas and name the raga of a clip, in a few minutes on a laptop",
}


def main(argv: list[str] | None = None) -> int:
    argv = sys.argv[1:] if argv is None else argv
    if not argv or argv[0] in ("-h", "--help"):
        print("usage: polyaudio <command> [--help] ...\n\ncommands:")
        print("\n".join(f"  {name:<10}{description}" for name, description in COMMANDS.items()))
        return 0 if argv else 2
    if argv[0] == "--version":
        from .. import __version__

        print(f"polyaudio {__version__}")
        return 0
    if argv[0] not in COMMANDS:
        print(f"polyaudio: there is no command {argv[0]!r}; choose from {', '.join(COMMANDS)}", file=sys.stderr)
        return 2
    return importlib.import_module(f".{argv[0]}", __package__).main(argv[1:])


if __name__ == "__main__":
    sys.exit(main())
