# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""
Fine-tunes a model of polyaudio with nothing but transformers, as its example `run_audio_classification.py` does.

`import polyaudio` makes the Auto classes know the models. `polyaudio train` does more: splits by recording, a search
for leaks, augmentation, intervals, a model card. Take this script as a start for a loop of your own.

The dataset is a folder with one subfolder of audio files for each class:

    python run_audio_classification.py --model_name_or_path ta012/SSLAM_pretrain --dataset my-recordings \
        --output_dir runs/plain --num_train_epochs 5 --learning_rate 1e-4
"""

from dataclasses import dataclass, field
from pathlib import Path

import torch
from datasets import ClassLabel, Dataset, DatasetDict, Features, Value
from transformers import (
    AutoFeatureExtractor,
    AutoModelForAudioClassification,
    HfArgumentParser,
    Trainer,
    TrainingArguments,
    set_seed,
)

import polyaudio


@dataclass
class ScriptArguments:
    model_name_or_path: str = field(metadata={"help": "A folder or a name on the Hugging Face Hub."})
    dataset: str = field(metadata={"help": "A folder with a subfolder of audio files for each class."})
    test_size: float = field(default=0.25, metadata={"help": "Share of the clips to test on."})
    max_seconds: float = field(default=10.0, metadata={"help": "Longer clips are cut off here."})


def load_splits(script: ScriptArguments, seed: int) -> DatasetDict:
    """The clips to train and to test on, with the columns `file` and `label`."""
    files = sorted(path for path in Path(script.dataset).glob("*/*") if path.is_file())
    names = sorted({path.parent.name for path in files})
    clips = Dataset.from_dict(
        {"file": [str(path) for path in files], "label": [path.parent.name for path in files]},
        features=Features({"file": Value("string"), "label": ClassLabel(names=names)}),
    )
    # This divides by clip. Where several clips come from one recording, see docs/guides/splits.md
    return clips.train_test_split(script.test_size, stratify_by_column="label", seed=seed)


def main() -> None:
    parser = HfArgumentParser([ScriptArguments, TrainingArguments])
    script, args = parser.parse_args_into_dataclasses(look_for_args_file=False)
    set_seed(args.seed)
    args.remove_unused_columns = False  # the collator makes the input of the model from the column `file`

    splits = load_splits(script, args.seed)
    names = splits["train"].features["label"].names
    extractor = AutoFeatureExtractor.from_pretrained(script.model_name_or_path)
    model = AutoModelForAudioClassification.from_pretrained(
        script.model_name_or_path,
        id2label=dict(enumerate(names)),
        label2id={name: number for number, name in enumerate(names)},
        ignore_mismatched_sizes=True,  # a new head, if the checkpoint has one for other classes
    )

    def collate(clips: list[dict]) -> dict:
        waveforms = [
            polyaudio.load_audio(clip["file"], extractor.sampling_rate, duration=script.max_seconds) for clip in clips
        ]
        inputs = extractor(waveforms, sampling_rate=extractor.sampling_rate, padding=True, return_tensors="pt")
        return {**inputs, "labels": torch.tensor([clip["label"] for clip in clips])}

    def accuracy(prediction) -> dict[str, float]:
        logits = prediction.predictions[0] if isinstance(prediction.predictions, tuple) else prediction.predictions
        return {"accuracy": float((logits.argmax(-1) == prediction.label_ids).mean())}

    trainer = Trainer(
        model,
        args,
        train_dataset=splits["train"],
        eval_dataset=splits["test"],
        data_collator=collate,
        processing_class=extractor,
        compute_metrics=accuracy,
    )
    trainer.train()
    trainer.save_model()
    metrics = trainer.evaluate()
    trainer.log_metrics("eval", metrics)
    trainer.save_metrics("eval", metrics)
    if args.push_to_hub:
        trainer.push_to_hub()


if __name__ == "__main__":
    main()
