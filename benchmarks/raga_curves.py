# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""
Learning curves of front ends and baselines against the strength of the conditions of a concert.

    python benchmarks/raga_curves.py [--sets ragas ragas:40 ragas:pairs] [--strengths 0 0.5 1] [--seeds 1 2 3]
    python benchmarks/raga_curves.py --report

Each cell is a line of `--output`; a later call computes the cells that are missing. Every model is tested at each
strength twice: trained on clean recordings, and trained at that strength. Test recordings have tonics and an
instrument that training does not have, and the best epoch is chosen on a tenth of the training recordings. Baselines
learn from all training recordings, and have no seed. `--data-seed 4` is another draw of all recordings, for a last
test that nothing was chosen on; give it another `--output`.
"""

import argparse
import gc
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset, DatasetDict, concatenate_datasets

from polyaudio import AudioTrainingArguments, read_recipe
from polyaudio.data.cached_features import CachedFeatures
from polyaudio.data.collators import FeatureCollator
from polyaudio.data.labels import class_names
from polyaudio.data.loading import load_clips
from polyaudio.data.splits import cut_from_train
from polyaudio.evaluation.classifier import METRIC_NAMES, evaluate_clips, metrics_of
from polyaudio.evaluation.melody_baselines import MELODY_BASELINES, melody_cells, score_melodies
from polyaudio.evaluation.results import Evaluation
from polyaudio.modeling.inputs import make_targets
from polyaudio.modeling.loading import load_classifier
from polyaudio.training.fine_tuning import build_classifier
from polyaudio.training.trainer import AudioTrainer


TASK = "single_label_classification"
# The recipe of each front end, and what it changes in the model and in the feature extractor
FRONT_ENDS = {
    "tonic_chroma": ("carnatic_ragas", {}, {}),
    "tonic_chroma, drone": ("carnatic_ragas", {}, {"tonic_estimator": "drone"}),
    "tonic_pitch": ("carnatic_pitch", {}, {}),
    "tonic_pitch+chroma": ("carnatic_pitch", {"frontend": "tonic_pitch+chroma"}, {}),
}
PICTURE = Path("docs/pictures/raga_curves.png")


class Cells:
    """The cells that are computed, one JSON line each."""

    def __init__(self, path: Path):
        self.path = path
        lines = path.read_text().splitlines() if path.is_file() else []
        self.rows = [json.loads(line) for line in lines if line.endswith("}")]

    def has(self, **key: Any) -> bool:
        return any(all(row.get(name) == value for name, value in key.items()) for row in self.rows)

    def add(self, evaluation: Evaluation, **facts: Any) -> None:
        row = facts | {
            part: {"accuracy": scores["accuracy"], "interval": scores.intervals["accuracy"], "count": scores["count"]}
            for part, scores in evaluation.parts.items()
        }
        self.rows.append(row)
        with open(self.path, "a") as file:
            file.write(json.dumps(row) + "\n")
        print(json.dumps(row), flush=True)


def synthesise(name: str, strength: float, data_seed: int | None) -> DatasetDict:
    start = time.perf_counter()
    conditions = f"+concert={strength:g}" if strength else ""
    clips = load_clips(f"{name}{conditions}" + (f"+seed={data_seed}" if data_seed is not None else ""))
    print(f"# {name}, strength {strength:g}: synthesised in {time.perf_counter() - start:.0f} s", flush=True)
    return cut_from_train(clips, {"validation": 0.1}, 42)


class FrontEnd:
    """The features of one dataset with one front end, for the trainings of all seeds."""

    def __init__(self, name: str, clips: DatasetDict, splits: tuple[str, ...], epochs: int | None):
        recipe, changes, extractor_changes = FRONT_ENDS[name]
        settings = read_recipe(recipe).fine_tuning(
            **({} if epochs is None else {"num_train_epochs": epochs}), report_to="none", disable_tqdm=True
        )
        settings.model.settings.update(changes)
        settings.model.extractor_settings.update(extractor_changes)
        self.settings, self.clips = settings, clips
        self.names = class_names(clips["test"].features["label"])
        self.extractor = self.new_model()[1]
        start = time.perf_counter()
        crops = {"train": settings.data.crop_seconds}
        self.features = {
            split: CachedFeatures(clips[split], self.extractor, crop_seconds=crops.get(split)) for split in splits
        }
        print(f"# {name}: features in {time.perf_counter() - start:.0f} s", flush=True)

    def new_model(self) -> Any:
        return build_classifier(self.settings.model, self.names, TASK, self.settings.data.crop_seconds)

    def trainer(self, model: Any, folder: str, seed: int) -> AudioTrainer:
        label = self.clips["test"].features["label"]
        args: AudioTrainingArguments = self.settings.args
        args.output_dir, args.seed, args.metric_for_best_model = folder, seed, "loss"
        targets = make_targets(label, model.config, self.extractor)
        return AudioTrainer(
            model=model,
            args=args,
            train_dataset=self.features.get("train"),
            eval_dataset=self.features.get("validation"),
            data_collator=FeatureCollator(self.extractor, targets),
            metric_names=METRIC_NAMES[TASK],
            processing_class=self.extractor,
            compute_metrics=metrics_of(TASK),
        )

    def train(self, seed: int, model_folder: Path) -> None:
        from transformers import set_seed

        start = time.perf_counter()
        set_seed(seed)
        self.features["train"].seed = seed
        with tempfile.TemporaryDirectory() as scratch:
            trainer = self.trainer(self.new_model()[0], scratch, seed)
            trainer.train()
            trainer.save_model(str(model_folder))
        print(f"# seed {seed}: trained in {time.perf_counter() - start:.0f} s", flush=True)

    def test(self, model_folder: Path) -> Evaluation:
        with tempfile.TemporaryDirectory() as scratch:
            trainer = self.trainer(load_classifier(str(model_folder)), scratch, 0)
            return evaluate_clips(trainer, self.features["test"], self.clips["test"], self.extractor)


def run_models(args: argparse.Namespace, cells: Cells, name: str, strength: float, clips: DatasetDict) -> None:
    """The cells of all front ends: models that learn at this strength, and the clean ones tested at it."""
    for front_end in args.front_ends:
        folders = {
            (trained, seed): args.models / f"{name.replace(':', '-')}-{front_end}-{trained:g}-{seed}"
            for trained in {0.0, strength}
            for seed in args.seeds
        }
        missing = [
            (trained, seed, folder)
            for (trained, seed), folder in sorted(folders.items())
            if not cells.has(set=name, method=front_end, trained=trained, tested=strength, seed=seed)
        ]
        if not missing:
            continue
        to_train = [(seed, folder) for trained, seed, folder in missing if trained == strength]
        to_train = [(seed, folder) for seed, folder in to_train if not (folder / "model.safetensors").is_file()]
        own = FrontEnd(front_end, clips, ("train", "validation", "test") if to_train else ("test",), args.epochs)
        for seed, folder in to_train:
            own.train(seed, folder)
        for trained, seed, folder in missing:
            facts = {"set": name, "method": front_end, "trained": trained, "tested": strength, "seed": seed}
            cells.add(own.test(folder), **facts)


def run_baselines(
    cells: Cells, name: str, strength: float, clips: DatasetDict, clean: list[np.ndarray] | None
) -> list[np.ndarray] | None:
    """The cells of the baselines. Returns the melodies of the clean training clips."""
    train, test = concatenate_datasets([clips["train"], clips["validation"]]), clips["test"]
    start = time.perf_counter()
    melodies = {"train": list(melody_cells(train)), "test": list(melody_cells(test))}
    print(f"# baselines: melodies in {time.perf_counter() - start:.0f} s", flush=True)
    for trained, own in ((strength, melodies["train"]), (0.0, clean)):
        if own is None:
            continue
        for method in MELODY_BASELINES:
            facts = {"set": name, "method": method, "trained": trained, "tested": strength, "seed": None}
            if not cells.has(**facts):
                cells.add(_score(method, [*own, *melodies["test"]], train, test), **facts)
    return melodies["train"] if strength == 0 else clean


def _score(method: str, melodies: list[np.ndarray], train: Dataset, test: Dataset) -> Evaluation:
    labels = np.array([*train["label"], *test["label"]])
    recordings = np.array([*train["recording"], *test["recording"]])
    fold = np.arange(len(train)), np.arange(len(train), len(labels))
    names = class_names(test.features["label"])
    return score_melodies(method, melodies, labels, recordings, recordings, [fold], id2label=dict(enumerate(names)))


def is_done(args: argparse.Namespace, cells: Cells, name: str, strength: float) -> bool:
    wanted = [(method, seed) for method in args.front_ends for seed in args.seeds]
    wanted += [(method, None) for method in MELODY_BASELINES]
    return all(
        cells.has(set=name, method=method, trained=trained, tested=strength, seed=seed)
        for method, seed in wanted
        for trained in {0.0, strength}
    )


def report(rows: list[dict[str, Any]], picture: Path | None) -> None:
    """Print the mean accuracy of each method over its seeds as a markdown table, and draw it."""
    values: dict[tuple[str, ...], dict[tuple[str, float], list[float]]] = {}
    for row in rows:
        for part in ("clips", "recordings"):
            for kind in ["clean"] * (row["trained"] == 0) + ["same"] * (row["trained"] == row["tested"]):
                own = values.setdefault((row["set"], kind, part), {})
                own.setdefault((row["method"], row["tested"]), []).append(row[part]["accuracy"])
    strengths = sorted({row["tested"] for row in rows})
    print("| set | trained | scored | method |" + "".join(f" {one:g} |" for one in strengths))
    print("|---" * (4 + len(strengths)) + "|")
    for (name, kind, part), own in sorted(values.items()):
        trained = "clean" if kind == "clean" else "at the same strength"
        for method in dict.fromkeys(method for method, _ in own):
            means = [own.get((method, one)) for one in strengths]
            shown = [f" {np.mean(one):.3f} ± {np.std(one):.3f} |" if one else " |" for one in means]
            print(f"| {name} | {trained} | {part} | {method} |" + "".join(shown))
    if picture is not None:
        draw(values, strengths, picture)


def draw(values: dict[tuple[str, ...], Any], strengths: list[float], picture: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    sets = sorted({name for name, _, _ in values})
    figure, axes = plt.subplots(2, len(sets), figsize=(4 * len(sets), 6), sharey=True, squeeze=False)
    for column, name in enumerate(sets):
        for axis, kind in zip(axes[:, column], ("clean", "same"), strict=True):
            own = values.get((name, kind, "recordings"), {})
            for method in dict.fromkeys(method for method, _ in own):
                found = [one for one in strengths if (method, one) in own]
                axis.plot(found, [np.mean(own[method, one]) for one in found], marker="o", label=method)
            axis.set_title(f"{name}, trained {'clean' if kind == 'clean' else 'at the same strength'}", fontsize=9)
            axis.set_xlabel("strength of the concert")
            axis.set_ylim(0, 1.02)
        axes[0, 0].set_ylabel("accuracy by recording")
    axes[0, 0].legend(fontsize=7)
    figure.tight_layout()
    figure.savefig(picture, dpi=150)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", nargs="+", default=["ragas", "ragas:40", "ragas:pairs"])
    parser.add_argument("--strengths", nargs="+", type=float, default=[0.0, 0.5, 1.0])
    parser.add_argument("--front-ends", nargs="+", choices=FRONT_ENDS, default=list(FRONT_ENDS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3])
    parser.add_argument("--epochs", type=int, help="default: those of the recipes")
    parser.add_argument("--data-seed", type=int, help="seed of the recordings (default: that of the named datasets)")
    parser.add_argument("--output", type=Path, default=Path("raga_curves.jsonl"))
    parser.add_argument("--report", action="store_true", help="print the table and draw the picture, compute nothing")
    parser.add_argument("--picture", type=Path, default=PICTURE)
    args = parser.parse_args()
    cells = Cells(args.output)
    if args.report:
        report(cells.rows, args.picture)
        return
    args.models = args.output.with_suffix(".models")
    for name in args.sets:
        clean = None
        for strength in sorted({0.0, *args.strengths}):  # those that learn from clean recordings come first
            is_last_clean = strength == 0 and all(is_done(args, cells, name, one) for one in args.strengths)
            if is_last_clean or (strength and is_done(args, cells, name, strength)):
                continue
            clips = synthesise(name, strength, args.data_seed)
            clean = run_baselines(cells, name, strength, clips, clean)
            run_models(args, cells, name, strength, clips)
            del clips
            gc.collect()
    report(cells.rows, None)


if __name__ == "__main__":
    main()
