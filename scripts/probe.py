# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""`polyaudio probe`: measure what a model's frozen features know of the classes of a dataset."""

import importlib.metadata
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..data.readable import report_bad_clips
from .command import argument_parser, command
from .loading import choose_device, load_config, load_feature_extractor


if TYPE_CHECKING:
    import argparse

    import numpy as np
    import torch
    from datasets import Dataset
    from transformers import PreTrainedModel
    from transformers.utils import ModelOutput

    from .batches import ClipReader, Inputs


# The features of each model type, the default first.
FEATURES = {"sslam": ("both", "cls", "mean"), "eat": ("both", "cls", "mean"), "sam_audio": ("utterance",)}

DESCRIPTION = """\
Measure what a model's frozen features know of the classes of a dataset: a logistic regression learns the classes of
some recordings and is tested on others. Of classifiers and pre-training checkpoints, the base model is probed.

--features    SSLAM, EAT                                            SAMAudio
  both        cls and mean, joined (2 H), the default
  cls         class token (H)
  mean        mean of the patches that hold sound (H)
  utterance                                                         pooled (H), the default

A clip longer than a window, the length that an SSLAM model's feature extractor is set to, is covered by several; its
features are their mean, in which each window counts by its length.

Data with a split `test` is probed once: the regression learns from all other splits and is tested on that one. Other
data is divided into --folds, each class evenly and no recording on both sides; each fold is tested by a regression
that learned from the others. Its regularisation is chosen within the recordings that it learns from.

With --baseline untrained, the default, the same architecture with random weights goes through the same on the same
folds: only what a model has beyond that comes from its training."""

EXAMPLES = """\
  polyaudio probe ta012/SSLAM_pretrain --dataset my-recordings/
  polyaudio probe runs/pretrained --dataset my-recordings/ --features mean --baseline-seeds 5 --output probe
  polyaudio probe runs/ragas --dataset ragas --baseline none
"""


def parse_arguments(argv: list[str]) -> "argparse.Namespace":
    parser = argument_parser("probe", DESCRIPTION, EXAMPLES)
    parser.add_argument("model", help="model folder or Hub name")
    parser.add_argument("--dataset", required=True, help="Hub name, local folder, folder of save_to_disk, or `ragas`")
    parser.add_argument("--audio-column", default="audio", help="column with the audio")
    parser.add_argument("--label-column", help="column with the class")
    parser.add_argument("--group-column", help="column with the recording a clip comes from")
    parser.add_argument("--split", help="split to probe by itself, in folds; by default all splits are used")
    parser.add_argument("--features", metavar="KIND", help="see above")
    parser.add_argument("--baseline", choices=("untrained", "none"), default="untrained", help="see above")
    parser.add_argument("--baseline-seeds", type=int, default=1, metavar="N", help="baselines to average (1)")
    parser.add_argument("--folds", type=int, default=5, metavar="N", help="folds, without a split `test` (5)")
    parser.add_argument("--seed", type=int, default=0, help="of the folds, and of the first baseline's weights (0)")
    parser.add_argument("--output", metavar="DIR", help="folder for probe.json and features.npz")
    parser.add_argument("--batch-size", type=int, default=8, metavar="N", help="windows at a time (8)")
    parser.add_argument(
        "--num-workers",
        type=int,
        default=min(4, os.cpu_count() or 1),
        metavar="N",
        help="processes that read clips (%(default)s)",
    )
    parser.add_argument("--device", help="cpu, cuda, cuda:1, mps ...; by default the accelerator where there is one")
    args = parser.parse_args(argv)
    lowest = {"baseline_seeds": 1, "folds": 2, "seed": 0, "batch_size": 1, "num_workers": 0}
    for name, least in lowest.items():
        if getattr(args, name) < least:
            parser.error(f"--{name.replace('_', '-')} must be {least} at least")
    return args


@command
def main(argv: list[str]) -> None:
    args = parse_arguments(argv)

    import numpy as np

    from .. import __version__
    from ..data.labels import SINGLE_LABEL, task_of
    from ..training.probe import C_GRID, compare_probes, linear_probe, make_folds
    from .batches import ClipReader

    config = load_config(args.model)
    args.features = choose_features(args.model, config.model_type, args.features)
    device = choose_device(args.device)
    clips, is_test = load_labelled_clips(args)
    if task_of(clips.features["label"]) != SINGLE_LABEL:
        raise ValueError(f"a probe learns one class a clip, but clips of {args.dataset} have several, or events")
    names = clips.features["label"].names
    labels, recordings = np.array(clips["label"][:]), np.array(clips["recording"][:])
    division = {"is_test": is_test, "num_folds": args.folds, "seed": args.seed}
    make_folds(labels, recordings, **division)  # what cannot be divided shows before the model is run on all of it
    if args.output:
        Path(args.output).mkdir(parents=True, exist_ok=True)  # and so does a folder that cannot be written

    model = load_encoder(args.model)
    seeds = range(args.seed, args.seed + args.baseline_seeds) if args.baseline == "untrained" else ()
    models = [model, *(initialise_like(model, seed) for seed in seeds)]
    reader = ClipReader(model.config, load_feature_extractor(args.model, config), batch_size=args.batch_size)
    vectors = extract_features(
        [one.eval().to(device) for one in models], reader, clips, args.features, num_workers=args.num_workers
    )
    probe, *untrained = (
        linear_probe(values, labels, recordings, id2label=dict(enumerate(names)), **division) for values in vectors
    )

    report = {
        "model": os.path.abspath(args.model) if os.path.isdir(args.model) else args.model,
        "model_type": model.config.model_type,
        "dataset": args.dataset,
        "clips": len(clips),
        "recordings": len(set(recordings.tolist())),
        "held_out": f"{args.folds} folds by recording" if is_test is None else "split test",
        "labels": names,
        "features": args.features,
        "feature_size": vectors[0].shape[1],
        "parameters": {
            "frozen": model.num_parameters(),
            "trained": (vectors[0].shape[1] + 1) * len(set(labels.tolist())),
        },
        "probe": probe.scores,
    }
    if untrained:
        report["untrained"] = [{"seed": seed, **one.scores} for seed, one in zip(seeds, untrained, strict=True)]
        report["difference"] = compare_probes(probe.scores, [one.scores for one in untrained])
    print(format_probe(report))
    if args.output:
        report["settings"] = {
            **{name: value for name, value in vars(args).items() if name not in {*report, "output"}},
            "device": str(device),
            "C": C_GRID,
            "window_seconds": reader.step and reader.step / reader.sampling_rate,
        }
        report["versions"] = {
            "polyaudio": __version__,
            **{name: importlib.metadata.version(name) for name in ("torch", "transformers", "scikit-learn", "numpy")},
        }
        path = Path(args.output, "probe.json")
        path.write_text(json.dumps(report, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        np.savez(
            Path(args.output, "features.npz"),
            features=vectors[0],
            labels=labels,
            recordings=recordings,
            folds=probe.folds,
            probabilities=probe.probabilities,
        )


def choose_features(model_name: str, model_type: str, wanted: str | None) -> str:
    """The features to probe, by default the first of the type. Raises `ValueError` for what a model lacks."""
    if model_type not in FEATURES:
        raise ValueError(f"{model_name} is of type {model_type}; only {', '.join(FEATURES)} can be probed")
    there = FEATURES[model_type]
    if wanted is not None and wanted not in there:
        raise ValueError(
            f"a model of type {model_type} has no features {wanted!r}; choose --features {'|'.join(there)}"
        )
    return wanted or there[0]


def load_labelled_clips(args: "argparse.Namespace") -> tuple["Dataset", list[bool] | None]:
    """The readable clips, and which are of the split `test` where the data has one and others beside it."""
    from datasets import DatasetDict, concatenate_datasets

    from ..data.loading import load_clips
    from ..data.readable import drop_unreadable

    clips = load_clips(
        args.dataset,
        audio_column=args.audio_column,
        label_column=args.label_column,
        group_column=args.group_column,
    )
    if args.split is not None:
        if args.split not in clips:
            raise ValueError(f"{args.dataset} has no split {args.split!r}, only {', '.join(clips)}")
        clips = DatasetDict({args.split: clips[args.split]})
    clips, bad_clips = drop_unreadable(clips)
    report_bad_clips(bad_clips)
    is_test = [name == "test" for name, rows in clips.items() for _ in range(len(rows))]
    return concatenate_datasets(list(clips.values())), is_test if len(clips) > 1 and "test" in clips else None


def load_encoder(model_name: str) -> "PreTrainedModel":
    """The base model. Raises `ValueError` where weights of it are missing, which would then be random."""
    from transformers import AutoModel

    model, info = AutoModel.from_pretrained(model_name, output_loading_info=True)
    if info["missing_keys"]:
        raise ValueError(f"{model_name} lacks weights of its encoder: {', '.join(sorted(info['missing_keys'])[:3])}")
    return model


def initialise_like(model: "PreTrainedModel", seed: int) -> "PreTrainedModel":
    """A model of the same architecture with random weights."""
    import torch
    from transformers import AutoModel

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return AutoModel.from_config(model.config)


def extract_features(
    models: list["PreTrainedModel"], reader: "ClipReader", clips: "Dataset", features: str, *, num_workers: int
) -> list["np.ndarray"]:
    """
    One vector a clip from each of several models that take the same input, so that clips are read once for all.

    Args:
        models: in evaluation mode, on their device.
        reader: cuts the clips into windows and makes them the models' input.
        clips: columns `audio` (`Audio(decode=False)`) and `label`.
        features: one of `FEATURES`.
        num_workers: processes that read clips.

    Returns:
        For each model `(clips, feature_size)`, float32.

    Raises:
        ValueError: the device has too little memory.
    """
    import torch
    from tqdm.auto import tqdm

    from ..data.windows import AudioClips
    from .batches import weighted_mean

    loader = torch.utils.data.DataLoader(
        AudioClips(clips, reader.sampling_rate),
        batch_size=reader.batch_size,
        collate_fn=_WindowCollator(reader),
        num_workers=num_workers,
    )
    vectors = [[] for _ in models]
    with tqdm(total=len(clips), desc="Extracting features", unit="clip", disable=None) as progress:
        for batches, seconds in loader:
            for model, own in zip(models, vectors, strict=True):
                windows = [vector for inputs in batches for vector in _run(model, inputs, features)]
                for lengths in seconds:
                    own.append(weighted_mean(windows[: len(lengths)], lengths))
                    windows = windows[len(lengths) :]
            progress.update(len(seconds))
    return [torch.stack(own).numpy() for own in vectors]


class _WindowCollator:
    """Makes model inputs of the windows of all clips, with the seconds of the windows of each clip."""

    def __init__(self, reader: "ClipReader"):
        self.reader = reader

    def __call__(self, items: list[dict[str, Any]]) -> tuple[list["Inputs"], list[list[float]]]:
        import torch

        clips = [self.reader.cut(torch.from_numpy(item["waveform"])) for item in items]
        seconds = [[len(window) / self.reader.sampling_rate for window in windows] for windows in clips]
        return self.reader.extract([window for windows in clips for window in windows]), seconds


def _run(model: "PreTrainedModel", inputs: "Inputs", features: str) -> list["torch.Tensor"]:
    """The features of each window of a batch, float32 on the CPU."""
    import torch

    inputs = {
        name: value.to(model.device, model.dtype if value.is_floating_point() else None)
        for name, value in inputs.items()
    }
    try:
        with torch.inference_mode():
            return list(_pool(model, model(**inputs), inputs, features).float().cpu())
    except torch.OutOfMemoryError as error:
        raise ValueError("the device has too little memory; lower --batch-size") from error


def _pool(model: "PreTrainedModel", outputs: "ModelOutput", inputs: "Inputs", features: str) -> "torch.Tensor":
    """`(windows, feature_size)`."""
    import torch

    if features in ("utterance", "cls"):
        return outputs.pooler_output
    mask = model.get_time_patch_mask(inputs["attention_mask"])
    patches = outputs.last_hidden_state[:, 1:].unflatten(1, (mask.shape[1], -1)).mean(2)
    mean = (patches * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
    return mean if features == "mean" else torch.cat([outputs.pooler_output, mean], dim=1)


def format_probe(report: Mapping[str, Any]) -> str:
    """The figures of a probe and of its baselines as text for a terminal."""
    from ..training.report import format_report

    def row(title: str, scores: Mapping[str, Any], sign: str = "") -> str:
        cells = []
        for score in (scores["accuracy"], scores["f1_macro"]):
            cell = f"{score['mean']:{sign}.4f}" + ("" if score["std"] is None else f" ± {score['std']:.4f}")
            cells.append(f"{cell:>17}")
        return f"{title:<18}{'  '.join(cells)}"

    scores = report["probe"]
    held_out = scores["held_out"]
    lines = [
        f"{report['model']}: {report['model_type']}, {report['parameters']['frozen']:,} frozen parameters",
        f"features {report['features']}: {report['feature_size']} numbers a clip",
        f"{report['dataset']}: {report['clips']} clips of {report['recordings']} recordings; "
        f"held out: {report['held_out']}",
        "",
        f"{'':<18}{'accuracy':>17}  {'macro F1':>17}",
        row("this model", scores),
        *(row(f"untrained, seed {one['seed']}", one) for one in report.get("untrained", ())),
        *([row("difference", report["difference"], "+")] if "difference" in report else []),
        f"{'majority class':<18}{held_out['clips']['majority_accuracy']:>17.4f}",
        "",
        "fold   clips  recordings  accuracy  macro F1       C",
    ]
    for number, fold in enumerate(scores["folds"]):
        lines.append(
            f"{number:>4}  {fold['clips']:>6}  {fold['recordings']:>10}  {fold['accuracy']:>8.4f}  "
            f"{fold['f1_macro']:>8.4f}  {fold['C']:>6g}"
        )
    if scores["unseen"]:
        lines += ["", f"Wrong for want of a recording to learn from: {', '.join(scores['unseen'])}"]
    return "\n".join([*lines, "", "All that was held out:", format_report(held_out)])


if __name__ == "__main__":
    sys.exit(main())
