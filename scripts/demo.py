# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""`polyaudio demo`: train on synthesised ragas, then name the raga of a clip through transformers' pipeline."""

import sys
from pathlib import Path

from .command import argument_parser, command, is_quiet


EXAMPLES = """\
  polyaudio demo
  polyaudio demo --output runs/demo --epochs 10
"""


@command
def main(argv: list[str]) -> int:
    parser = argument_parser(
        "demo",
        "Train a raga classifier on synthetic recordings in a few minutes, and classify a new clip with it. It also "
        "takes the flags of `polyaudio train`.",
        EXAMPLES,
    )
    parser.add_argument(
        "--output",
        "--output-dir",
        default="runs/demo",
        metavar="DIR",
        help="folder to write the model and the clip to (default: runs/demo)",
    )
    args, training_flags = parser.parse_known_args(argv)

    from . import train

    flags = ["--config", "carnatic_ragas", "--output-dir", args.output, *training_flags]
    flags += ["--quiet"] if is_quiet(argv) else []
    code = train.main(flags)
    if code == 0:
        classify_a_clip(Path(args.output))
    return code


def classify_a_clip(folder: Path) -> None:
    """Write a new synthetic recording to a wav file, and classify it with the pipeline of transformers."""
    import soundfile
    from transformers import pipeline

    from ..data.ragas import SAMPLING_RATE, synthesize_recording

    raga, tonic = "Hamsanadam", 187.0
    wav = folder / f"{raga}.wav"
    soundfile.write(
        wav, synthesize_recording(raga, tonic=tonic, timbre="voice", seconds=20, seed=12345), SAMPLING_RATE
    )

    waveform, sampling_rate = soundfile.read(wav, dtype="float32")
    classify = pipeline("audio-classification", model=str(folder))
    print(f"\npipeline('audio-classification', model='{folder}') on {wav} (a voice, tonic {tonic:g} Hz):")
    for answer in classify({"array": waveform, "sampling_rate": sampling_rate}, top_k=3):
        print(f"  {answer['score']:7.2%}  {answer['label']}")


if __name__ == "__main__":
    sys.exit(main())
