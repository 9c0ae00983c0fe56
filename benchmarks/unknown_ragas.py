# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""How well a raga that training never saw is told from those that it saw, by several scores.

python benchmarks/unknown_ragas.py --dataset ragas:40 --unknown 8 --draws 3

For each draw some ragas are left out at random, and the recipe carnatic_ragas is trained on the others. A quarter of
the training recordings is held out: they calibrate the model, and for each score they set the threshold that refuses
at most 5 % of them. The shares are those of the recordings of the test split, whose tonics and instrument are new.
`score` is what `polyaudio calibrate` uses. `matched` sets the threshold on the known test recordings themselves.
"""

import argparse
import tempfile
from collections.abc import Iterator

import numpy as np
import torch
from datasets import ClassLabel, Dataset, DatasetDict
from sklearn.metrics import roc_auc_score

from polyaudio import AudioTrainingArguments, DataArguments, SAMAudioConfig, calibrate, evaluate, fine_tune
from polyaudio.data.ragas import RAGA_SETS, build_ragas
from polyaudio.evaluation.calibration import choose_threshold, mean_by_recording, softmax
from polyaudio.evaluation.classifier import logits_of_clips
from polyaudio.evaluation.prepared import prepared


MODEL = {"conv_dim": [128, 192, 256], "conv_kernel": [5, 5, 5], "conv_stride": [2, 2, 2], "num_segments": 32}
FALSE_REFUSALS = 0.05
_SHRINKAGE = 0.1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", default="ragas:40", choices=RAGA_SETS)
    parser.add_argument("--frontend", default="tonic_chroma")
    parser.add_argument("--unknown", type=int, default=8, help="ragas that are left out (default: 8)")
    parser.add_argument("--draws", type=int, default=3, help="which are drawn so often (default: 3)")
    parser.add_argument("--train-recordings", type=int, default=12, help="of each raga (default: 12)")
    parser.add_argument("--test-recordings", type=int, default=4, help="of each raga (default: 4)")
    parser.add_argument("--epochs", type=int, default=30, help="(default: 30)")
    args = parser.parse_args()
    ragas = RAGA_SETS[args.dataset]
    data = build_ragas(0, args.train_recordings, args.test_recordings, ragas=ragas)
    found: dict[str, list[tuple[float, float, float, float]]] = {}
    errors = []
    for draw in range(args.draws):
        unknown = np.random.default_rng(100 + draw).choice(len(ragas), args.unknown, replace=False)
        print(f"draw {draw}, left out: {', '.join(ragas[index] for index in unknown)}", flush=True)
        with tempfile.TemporaryDirectory() as folder:
            known = divided(data, set(unknown.tolist()), draw)
            others = left_out(data["test"], set(unknown.tolist()))
            for name, row in measure(known, others, args, draw, folder, errors):
                found.setdefault(name, []).append(row)
    print("calibration error by recording of the test split, before and after:", np.round(errors, 4).tolist())
    print(f"\n{'':16}{'AUROC':>8}{'false refusals':>16}{'refused':>28}{'refused, matched':>18}")
    for name, rows in found.items():
        area, false, refused, matched = np.mean(rows, axis=0)
        low, high = interval([row[2] for row in rows])
        print(f"{name:16}{area:8.3f}{false:16.3f}{f'{refused:.3f} ({low:.2f} to {high:.2f})':>28}{matched:18.3f}")


def interval(shares: list[float]) -> tuple[float, float]:
    """The 95 % interval of a mean over draws, by a bootstrap."""
    drawn = np.random.default_rng(0).choice(shares, (1000, len(shares))).mean(axis=1)
    return tuple(np.quantile(drawn, (0.025, 0.975)))


def divided(data: DatasetDict, unknown: set[int], draw: int) -> DatasetDict:
    """The known ragas: training, a quarter of its recordings for validation, and the test split."""
    names = data["train"].features["raga"].names
    known = [name for index, name in enumerate(names) if index not in unknown]

    def rows(split: Dataset, chosen: Iterator[int]) -> Dataset:
        one = split.select(list(chosen))
        labels = [known.index(names[label]) for label in one["raga"][:]]
        return one.remove_columns("raga").add_column("raga", labels, feature=ClassLabel(names=known))

    def of_train(validation: bool) -> Iterator[int]:
        train = data["train"]
        for row, (label, recording) in enumerate(zip(train["raga"][:], train["recording"][:], strict=True)):
            number = int(recording.rpartition("_")[2])
            if label not in unknown and ((number + label + draw) % 4 == 0) == validation:
                yield row

    test = (row for row, label in enumerate(data["test"]["raga"][:]) if label not in unknown)
    return DatasetDict(
        train=rows(data["train"], of_train(False)),
        validation=rows(data["train"], of_train(True)),
        test=rows(data["test"], test),
    )


def left_out(split: Dataset, unknown: set[int]) -> Dataset:
    return split.select([row for row, label in enumerate(split["raga"][:]) if label in unknown])


def measure(known: DatasetDict, others: Dataset, args: argparse.Namespace, draw: int, folder: str, errors: list):
    """Train, calibrate, and yield for each score its area, false refusals and refused shares."""
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
        dataloader_num_workers=0,
        seed=draw,
    )
    seen = DatasetDict(train=known["train"], validation=known["validation"])
    fine_tune(seen, config, settings, data=DataArguments(crop_seconds=16, cache_features=True, skip_leak_check=True))
    before = evaluate(f"{folder}/run", known, split="test")
    calibrate(f"{folder}/run", known, split="validation", output=f"{folder}/calibrated")
    names = known["train"].features["raga"].names
    dummy = others.remove_columns("raga").add_column("raga", [0] * len(others), feature=ClassLabel(names=names))
    parts = {split: scored(f"{folder}/calibrated", rows) for split, rows in (*known.items(), ("unknown", dummy))}
    after = evaluate(f"{folder}/calibrated", known, split="test")
    errors.append([one.recordings["calibration_error"] for one in (before, after)])
    for name, scores in scores_of(parts).items():
        threshold = choose_threshold(scores["validation"], FALSE_REFUSALS)
        matched = choose_threshold(scores["test"], FALSE_REFUSALS)
        both = np.concatenate([scores["test"], scores["unknown"]])
        is_known = np.arange(len(both)) < len(scores["test"])
        shares = [(scores[part] < threshold).mean() for part in ("test", "unknown")]
        yield name, (roc_auc_score(is_known, both), *shares, (scores["unknown"] < matched).mean())


def scored(model: str, rows: Dataset) -> dict[str, np.ndarray]:
    """By recording: the mean probabilities, logits and embeddings of its clips, and its label."""
    embeddings: list[torch.Tensor] = []
    with prepared(model, DatasetDict(test=rows.rename_column("raga", "label")), None, 32) as run:
        head = run.trainer.model.classifier
        with head.register_forward_pre_hook(lambda module, inputs: embeddings.append(inputs[0].detach().cpu())):
            logits = logits_of_clips(run.trainer, run.dataset).astype(np.float64)
        labels, recordings = np.array(run.clips["label"][:]), run.clips["recording"][:]
    values = {"scores": softmax(logits), "logits": logits, "embeddings": torch.cat(embeddings).double().numpy()}
    means = {name: mean_by_recording(one, labels, recordings) for name, one in values.items()}
    return {name: one[0] for name, one in means.items()} | {"labels": means["logits"][1]}


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
