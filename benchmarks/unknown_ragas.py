# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""How well a raga that training never saw is told from those that it saw, by several scores.

python benchmarks/unknown_ragas.py --dataset ragas:40 --unknown 8 --draws 3
python benchmarks/unknown_ragas.py --dataset ragas:40 --unknown 8 --draws 3 --outliers

For each draw some ragas are left out at random, and the recipe carnatic_ragas is trained on the others, with other
ragas as outliers: those that share their swaras neither with a known raga, since they could be the same by another
name, nor with one that was left out. A quarter of the training recordings is held out: they calibrate the model, and
for each score they set the threshold that refuses at most 5 % of them. The shares are those of the recordings of the
test split, whose tonics and instrument are new. `score` is what `polyaudio calibrate` uses. `matched` sets the
threshold on the known test recordings themselves. Unknown ragas that have the swaras of a known one, and so differ
from it in movement alone, are also counted apart.
"""

import argparse
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from datasets import ClassLabel, Dataset, DatasetDict
from sklearn.metrics import roc_auc_score

from polyaudio import AudioTrainingArguments, DataArguments, SAMAudioConfig, calibrate, fine_tune
from polyaudio.data.ragas import RAGA_SETS, build_ragas, find_raga
from polyaudio.data.ragas.grammar import cents_of
from polyaudio.evaluation.calibration import (
    calibration_error,
    choose_threshold,
    mean_by_recording,
    reliability,
    softmax,
)
from polyaudio.evaluation.classifier import logits_of_clips
from polyaudio.evaluation.prepared import prepared


MODEL = {"conv_dim": [128, 192, 256], "conv_kernel": [5, 5, 5], "conv_stride": [2, 2, 2], "num_segments": 32}
FALSE_REFUSALS = 0.05
_SHRINKAGE = 0.1
_OUTLIER_SEED = 1
_COLUMNS = ("AUROC", "false refusals", "refused", "same swaras", "other swaras", "matched")


@dataclass(frozen=True)
class Draw:
    """The clips of a draw: splits of the known ragas, clips of the unknown ones, and outliers to train on."""

    known: DatasetDict
    unknown: Dataset
    outliers: Dataset | None
    same_swaras: frozenset[str]  # the unknown ragas that have the swaras of a known one


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", default="ragas:40", choices=RAGA_SETS)
    parser.add_argument("--outliers", nargs="*", default=["ragas:72"], choices=RAGA_SETS)
    parser.add_argument("--outlier-ratio", type=float, default=0.5, help="see polyaudio train (default: 0.5)")
    parser.add_argument("--frontend", default="tonic_chroma")
    parser.add_argument("--unknown", type=int, default=8, help="ragas that are left out (default: 8)")
    parser.add_argument("--known", type=int, help="ragas that the model knows (default: all others)")
    parser.add_argument("--draws", type=int, default=3, help="which are drawn so often (default: 3)")
    parser.add_argument("--train-recordings", type=int, default=12, help="of each raga (default: 12)")
    parser.add_argument("--test-recordings", type=int, default=4, help="of each raga (default: 4)")
    parser.add_argument("--outlier-recordings", type=int, default=3, help="of each outlier (default: 3)")
    parser.add_argument("--epochs", type=int, default=30, help="(default: 30)")
    parser.add_argument("--cache", type=Path, help="folder that keeps the synthesised recordings for other runs")
    args = parser.parse_args()
    data = built(args.cache, 0, args.train_recordings, args.test_recordings, RAGA_SETS[args.dataset])
    names = tuple(dict.fromkeys(raga for one in args.outliers for raga in RAGA_SETS[one]))
    outliers = built(args.cache, _OUTLIER_SEED, args.outlier_recordings, 1, names)["train"] if names else None
    tables = []
    for number in range(args.draws):
        draw = drawn(data, outliers, number, args)
        with tempfile.TemporaryDirectory() as folder:
            parts = trained(draw, number, args, folder)
        tables.append(dict(table(parts, draw.same_swaras)))
        show(f"draw {number}", [tables[-1]])
    show(f"mean of {len(tables)} draws", tables)


def built(cache: Path | None, seed: int, train: int, test: int, ragas: tuple[str, ...]) -> DatasetDict:
    if cache is None:
        return build_ragas(seed, train, test, ragas=ragas)
    folder = cache / f"{seed}-{train}-{test}-{len(ragas)}-{ragas[0]}"
    if not folder.is_dir():
        build_ragas(seed, train, test, ragas=ragas).save_to_disk(folder)
    return DatasetDict.load_from_disk(folder, keep_in_memory=True)


def show(title: str, tables: list[dict[str, tuple[float, ...]]]) -> None:
    print(f"\n{title:26}" + "".join(f"{column:>16}" for column in _COLUMNS), flush=True)
    for name in tables[0]:
        rows = np.array([one[name] for one in tables])
        means = np.ma.masked_invalid(rows).mean(axis=0).filled(np.nan)  # a draw can have no ragas of a kind
        print(f"{name:26}" + "".join(f"{value:16.3f}" for value in means), flush=True)
        if len(tables) > 1 and name == "score":
            low, high = interval(rows[:, 2].tolist())
            print(f"{'':26}refused: {low:.2f} to {high:.2f} (95 % interval over draws)")


def interval(shares: list[float]) -> tuple[float, float]:
    """The 95 % interval of a mean over draws, by a bootstrap."""
    drawn = np.random.default_rng(0).choice(shares, (1000, len(shares))).mean(axis=1)
    return tuple(np.quantile(drawn, (0.025, 0.975)))


def drawn(data: DatasetDict, outliers: Dataset | None, number: int, args: argparse.Namespace) -> Draw:
    """Leave ragas out, and print which."""
    ragas = RAGA_SETS[args.dataset]
    rng = np.random.default_rng(100 + number)
    unknown = [ragas[index] for index in rng.choice(len(ragas), args.unknown, replace=False)]
    others = [raga for raga in ragas if raga not in unknown]
    known = others if args.known is None else [others[index] for index in rng.permutation(len(others))[: args.known]]
    of_known = {pitches(raga) for raga in known}
    of_unknown = {pitches(raga) for raga in unknown}
    same = frozenset(raga for raga in unknown if pitches(raga) in of_known)
    print(f"\ndraw {number}, left out: {', '.join(f'{raga}*' if raga in same else raga for raga in unknown)}")
    print(f"{len(same)} of them (*) have the swaras of one of the {len(known)} known ragas")
    if outliers is not None:
        names = outliers.features["raga"].names
        chosen = [raga for raga in names if raga not in ragas and pitches(raga) not in of_known | of_unknown]
        outliers = rows_of(outliers, chosen)
        print(f"{len(chosen)} outlier ragas, none with the swaras of a known one or of one that was left out")
    return Draw(divided(data, known, number), rows_of(data["test"], unknown), outliers, same)


def pitches(raga: str) -> frozenset[int]:
    """The swarasthanas of a raga, from 0 to 11."""
    return frozenset(round(cents_of(swara) / 100) % 12 for swara in find_raga(raga).swaras)


def divided(data: DatasetDict, known: list[str], draw: int) -> DatasetDict:
    """The known ragas: training, a quarter of its recordings for validation, and the test split."""
    train, test = (rows_of(data[split], known) for split in ("train", "test"))
    numbers = [int(recording.rpartition("_")[2]) for recording in train["recording"][:]]
    held_out = [(number + label + draw) % 4 == 0 for number, label in zip(numbers, train["raga"][:], strict=True)]
    rows: dict[bool, list[int]] = {True: [], False: []}
    for row, is_held_out in enumerate(held_out):
        rows[is_held_out].append(row)
    return DatasetDict(train=train.select(rows[False]), validation=train.select(rows[True]), test=test)


def rows_of(split: Dataset, ragas: list[str]) -> Dataset:
    """The clips of some ragas, with these as the names of the classes."""
    names = [split.features["raga"].names[label] for label in split["raga"][:]]
    rows = split.select([row for row, name in enumerate(names) if name in ragas]).remove_columns("raga")
    labels = [ragas.index(name) for name in names if name in ragas]
    return rows.add_column("raga", labels, feature=ClassLabel(names=ragas))


def trained(draw: Draw, number: int, args: argparse.Namespace, folder: str) -> dict[str, dict[str, np.ndarray]]:
    """Train and calibrate, print the calibration errors, and return what `scored` finds for each part."""
    config = SAMAudioConfig(frontend=args.frontend, feat_extract_dropout=0.3, **MODEL)
    settings = AudioTrainingArguments(
        f"{folder}/run",
        num_train_epochs=args.epochs,
        per_device_train_batch_size=32,
        learning_rate=1e-3,
        weight_decay=0.05,
        warmup_steps=0.1,
        lr_scheduler_type="cosine",
        metric_for_best_model="loss",
        eval_strategy="steps",
        save_strategy="steps",
        eval_steps=0.1,
        save_steps=0.1,
        dataloader_num_workers=0,
        seed=number,
    )
    data = DataArguments(crop_seconds=16, cache_features=True, skip_leak_check=True, outlier_ratio=args.outlier_ratio)
    if draw.outliers is not None:
        data.outliers = f"{folder}/outliers"
        DatasetDict(train=draw.outliers).save_to_disk(data.outliers)
    seen = DatasetDict(train=draw.known["train"], validation=draw.known["validation"])
    fine_tune(seen, config, settings, data=data)
    result = calibrate(f"{folder}/run", draw.known, split="validation", output=f"{folder}/calibrated")
    known = draw.known["train"].features["raga"]
    rows = draw.unknown.remove_columns("raga")
    rows = rows.add_column("raga", [0] * len(rows), feature=known)  # a classifier must know a label
    parts = {
        part: scored(f"{folder}/calibrated", clips, result.calibration.temperature)
        for part, clips in (*draw.known.items(), ("unknown", rows))
    }
    test = parts["test"]
    errors = [calibration_error(reliability(test[one], test["labels"])) for one in ("scores before", "scores")]
    right = (test["scores"].argmax(axis=1) == test["labels"]).mean()
    print(
        f"recordings of the test split: {right:.3f} right, calibration error {errors[0]:.3f} before and "
        f"{errors[1]:.3f} after, temperature {result.calibration.temperature:.2f}"
    )
    return parts


def table(parts: dict[str, dict[str, np.ndarray]], same_swaras: frozenset[str]) -> Iterator[tuple[str, tuple]]:
    """For each score the values of `_COLUMNS`."""
    lower = {raga.lower() for raga in same_swaras}
    is_same = np.array([name.partition("_")[0] in lower for name in parts["unknown"]["names"]])
    for name, scores in scores_of(parts).items():
        threshold = choose_threshold(scores["validation"], FALSE_REFUSALS)
        matched = choose_threshold(scores["test"], FALSE_REFUSALS)
        both = np.concatenate([scores["test"], scores["unknown"]])
        is_known = np.arange(len(both)) < len(scores["test"])
        refused = scores["unknown"] < threshold
        groups = [refused[group].mean() if group.any() else np.nan for group in (is_same, ~is_same)]
        false = (scores["test"] < threshold).mean()
        area = roc_auc_score(is_known, both)
        yield name, (area, false, refused.mean(), *groups, (scores["unknown"] < matched).mean())


def scored(model: str, rows: Dataset, temperature: float) -> dict[str, np.ndarray]:
    """
    By recording: the mean probabilities (and those before calibration), logits and embeddings of its clips, its label
    and its name.
    """
    embeddings: list[torch.Tensor] = []
    with prepared(model, DatasetDict(test=rows.rename_column("raga", "label")), None, 32) as run:
        head = run.trainer.model.classifier
        with head.register_forward_pre_hook(lambda module, inputs: embeddings.append(inputs[0].detach().cpu())):
            logits = logits_of_clips(run.trainer, run.dataset).astype(np.float64)
        labels, recordings = np.array(run.clips["label"][:]), run.clips["recording"][:]
    values = {
        "scores": softmax(logits),
        "scores before": softmax(logits * temperature),
        "logits": logits,
        "embeddings": torch.cat(embeddings).double().numpy(),
    }
    means = {name: mean_by_recording(one, labels, recordings) for name, one in values.items()}
    _, labels, names = means["logits"]
    return {name: one[0] for name, one in means.items()} | {"labels": labels, "names": np.array(names)}


def scores_of(parts: dict[str, dict[str, np.ndarray]]) -> dict[str, dict[str, np.ndarray]]:
    """Several scores of the recordings of each part; the higher, the better known."""
    scores: dict[str, dict[str, np.ndarray]] = {}
    for part, one in parts.items():
        centred = {
            "logits": one["logits"] - one["logits"].mean(axis=1, keepdims=True),
            "embeddings": one["embeddings"],
        }
        train = parts["train"]
        known = {
            "logits": train["logits"] - train["logits"].mean(axis=1, keepdims=True),
            "embeddings": train["embeddings"],
        }
        own = {
            "score": one["scores"].max(axis=1),
            "max logit": one["logits"].max(axis=1),
            "energy": np.logaddexp.reduce(one["logits"], axis=1),
        }
        for space in ("logits", "embeddings"):
            own[f"of {space}"] = relative_distance(centred[space], known[space], train["labels"])
        for name, values in own.items():
            scores.setdefault(name, {})[part] = values
    return scores


def relative_distance(values: np.ndarray, known: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The Mahalanobis distance to all training recordings, less that to the nearest class (Ren et al., 2021)."""
    means = np.stack([known[labels == label].mean(axis=0) for label in np.unique(labels)])
    inner = precision(known - means[labels])
    outer = precision(known - known.mean(axis=0))
    offsets = values[:, None] - means
    nearest = np.einsum("rci,ij,rcj->rc", offsets, inner, offsets).min(axis=1)
    centred = values - known.mean(axis=0)
    return np.einsum("ri,ij,rj->r", centred, outer, centred) - nearest


def precision(residuals: np.ndarray) -> np.ndarray:
    covariance = np.cov(residuals.T)
    size = len(covariance)
    return np.linalg.inv(covariance + _SHRINKAGE * np.trace(covariance) / size * np.eye(size))


if __name__ == "__main__":
    main()
