# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Exported models beside torch: difference, size and time, in one run.

    python benchmarks/exports.py --audio recordings/ [--model runs/classifier] [--only sslam onnx ...] [--threads 2]

The clips are 20 pieces of 0.2 to 60 s of the recordings, one after another where a recording is too short. The models
are the default SAMAudio, and SSLAM of base size with `--model` or with random weights, of which the labels on top mean
little. The front end is inside; float32 is measured without it too. The time is that of a clip of 10 s, from its
samples to the logits, in turns with torch eager; ExecuTorch gets a window of it. int8-static is calibrated on other
pieces of the recordings.
"""

import argparse
import math
import statistics
import tempfile
import time
from collections.abc import Callable, Collection
from pathlib import Path

import numpy as np
import soundfile
import torch
from timing import machine
from transformers import PreTrainedModel, SequenceFeatureExtractor
from transformers.exporters import ExportedModel

import polyaudio
from polyaudio.export.checking import Reference
from polyaudio.export.formats import FORMATS, Format, Precision, quiet
from polyaudio.inference.files import find_files


RATE = 16_000
ROUNDS = 9
CLIPS, SHORTEST, LONGEST = 20, 0.2, 60
MODELS = ("sslam", "sam_audio")
PRECISIONS = ("float32", "float16", "int8-dynamic", "int8-static")


def write_clips(folder: Path, recordings: list[str], seconds: np.ndarray, seed: int) -> Path:
    """Clips of these lengths, cut from the recordings in random order."""
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(recordings))
    sound = np.concatenate([polyaudio.load_audio(recordings[index], RATE) for index in order])
    folder.mkdir()
    for index, length in enumerate(np.round(seconds * RATE).astype(int)):
        start = rng.integers(0, max(1, len(sound) - length))
        clip = np.resize(sound[start : start + length], length)
        soundfile.write(folder / f"{index:02}.wav", clip, RATE, subtype="FLOAT")
    return folder


def wanted(name: str, kind: Collection[str], only: list[str] | None) -> bool:
    """Whether a name is to be measured: where `only` names some of its kind, it must be one of them."""
    named = set(kind) & set(only or ())
    return not named or name in named


def load(args: argparse.Namespace) -> dict[str, tuple[PreTrainedModel, SequenceFeatureExtractor]]:
    """The models in torch, each with its feature extractor."""
    found = {}
    if wanted("sslam", MODELS, args.only):
        torch.manual_seed(0)
        if args.model:
            model = polyaudio.SSLAMForAudioClassification.from_pretrained(args.model)
            extractor = polyaudio.SSLAMFeatureExtractor.from_pretrained(args.model)
        else:
            config = polyaudio.SSLAMConfig(
                num_labels=527, problem_type="multi_label_classification", window_frames=1024
            )
            model, extractor = polyaudio.SSLAMForAudioClassification(config), polyaudio.SSLAMFeatureExtractor()
        found["SSLAM base"] = model.eval(), extractor
    if wanted("sam_audio", MODELS, args.only):
        torch.manual_seed(0)
        model = polyaudio.SAMAudioForAudioClassification(polyaudio.SAMAudioConfig(num_labels=10)).eval()
        found["SAMAudio"] = model, polyaudio.SAMAudioFeatureExtractor()
    return found


def in_turns(run: Callable[[], object], eager: Callable[[], object]) -> tuple[float, float]:
    """The median time of a run in ms, and the median of how many times faster than torch eager it is."""
    times, ratios = [], []
    run(), eager()
    for _ in range(ROUNDS):
        start = time.perf_counter()
        run()
        middle = time.perf_counter()
        eager()
        times.append(middle - start)
        ratios.append((time.perf_counter() - middle) / times[-1])
    return 1000 * statistics.median(times), statistics.median(ratios)


def runtime_settings(name: str, threads: int) -> dict:
    """The settings with which a runtime uses this number of threads."""
    if name == "onnx":
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        return {"session_options": options}
    if name == "openvino":
        return {"config": {**FORMATS[name].run_settings["config"], "INFERENCE_NUM_THREADS": threads}}
    return {}


def row(*cells: object) -> None:
    print("| " + " | ".join(map(str, cells)) + " |", flush=True)


def measure(
    name: str, model: PreTrainedModel, extractor: SequenceFeatureExtractor, args: argparse.Namespace, folder: Path
) -> None:
    """The rows of a model."""
    clip = polyaudio.load_audio(folder / "ten" / "00.wav", RATE)
    in_torch = Reference(model, extractor, takes_samples=False)

    def eager() -> object:
        return in_torch.answer(in_torch.features([clip]))

    row(name, "torch eager", "float32", "", "", "", "", f"{in_turns(eager, eager)[0]:.0f}", "1.00")
    if wanted("compile", (*FORMATS, "compile"), args.only):
        compiled = torch.compile(model)

        @torch.inference_mode()
        def run_compiled() -> object:
            return compiled(**in_torch.features([clip]))

        milliseconds, ratio = in_turns(run_compiled, eager)
        row(name, "torch.compile", "float32", "", "", "", "", f"{milliseconds:.0f}", f"{ratio:.2f}")
    for chosen in FORMATS:
        for precision in FORMATS[chosen].precisions:
            if not wanted(chosen, (*FORMATS, "compile"), args.only) or not wanted(precision, PRECISIONS, args.only):
                continue
            for front_end in (False, True) if precision == "float32" else (True,):
                reference = Reference(model, extractor, front_end, takes_one_clip=FORMATS[chosen].takes_one_clip)
                cells = (
                    "inside" if front_end else "outside",
                    *measure_export(reference, chosen, precision, args, folder),
                )
                row(name, chosen, precision, *cells)


def measure_export(
    reference: Reference, chosen: Format, precision: Precision, args: argparse.Namespace, folder: Path
) -> tuple[str, ...]:
    """The cells of a format and a precision."""
    output = folder / f"{reference.model.config.model_type}-{chosen}-{precision}-{reference.takes_samples}"
    calibration = {"calibration": folder / "calibration"} if precision == "int8-static" else {}
    try:
        report = polyaudio.export_model(
            reference.model,
            output,
            feature_extractor=reference.feature_extractor,
            format=chosen,
            front_end=reference.takes_samples,
            precision=precision,
            files=folder / "clips",
            limit=math.inf,
            **calibration,
        )
    except ValueError as error:
        return str(error), "", "", "", ""
    with quiet():
        settings = {"trust_remote_code": True, **runtime_settings(chosen, args.threads)}
        program = ExportedModel.from_pretrained(output, **settings)
    clip = polyaudio.load_audio(folder / "ten" / "00.wav", RATE)[: reference.fixed_length]
    milliseconds, ratio = in_turns(
        lambda: program(**reference.inputs([clip])), lambda: reference.answer(reference.features([clip]))
    )
    agreement = f"{report.agreement:.1%}"
    return (
        f"{report.worst_difference:.2g}",
        agreement,
        f"{report.size / 1e6:.1f}",
        f"{milliseconds:.0f}",
        f"{ratio:.2f}",
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--audio", nargs="+", required=True, help="recordings, or folders of them")
    parser.add_argument("--model", help="folder of an SSLAM classifier of clips")
    parser.add_argument("--only", nargs="+", help="sslam, sam_audio, compile, formats, precisions")
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    print(machine([torch.device("cpu")]))
    recordings = find_files(args.audio)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        write_clips(folder / "clips", recordings, np.geomspace(SHORTEST, LONGEST, CLIPS), seed=0)
        write_clips(folder / "calibration", recordings, np.full(16, 10.24), seed=1)
        write_clips(folder / "ten", recordings, np.array([10.0]), seed=2)
        row(
            "model",
            "format",
            "precision",
            "front end",
            "worst difference",
            "same label",
            "MB",
            "ms for 10 s",
            "times eager's speed",
        )
        row(*["---"] * 9)
        for name, (model, extractor) in load(args).items():
            measure(name, model, extractor, args, folder)


if __name__ == "__main__":
    main()
