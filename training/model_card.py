# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""The README.md of a trained model."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCard, ModelCardData

from .report import format_report


def write_model_card(
    folder: str | Path,
    *,
    model_name: str,
    model_type: str,
    dataset: str,
    split_description: str,
    command: str,
    result: Mapping[str, Any],
    base_model: str | None = None,
) -> None:
    """
    Write `README.md` with the metadata that the Hub reads and the figures of an evaluation.

    Args:
        folder: the model's folder.
        model_name: name under which the figures stand in the metadata.
        model_type: the configuration's.
        dataset: name of the data set.
        split_description: one sentence that says how the evaluated clips were kept apart from the training clips.
        command: the command that trained the model.
        result: what `evaluate_predictions` gives.
        base_model: what training started from, if not from scratch.
    """
    scores = {
        "accuracy": ("Accuracy per clip", result["clips"]["accuracy"]),
        "f1": ("Macro F1 per clip", result["clips"]["f1_macro"]),
        "recording_accuracy": ("Accuracy per recording", result["recordings"]["accuracy"]),
    }
    data = ModelCardData(
        library_name="transformers",
        pipeline_tag="audio-classification",
        tags=["polyaudio", model_type, "audio-classification"],
        base_model=base_model,
        model_name=model_name,
        eval_results=[
            EvalResult(
                task_type="audio-classification",
                dataset_type=dataset,
                dataset_name=dataset,
                metric_type=metric_type,
                metric_name=name,
                metric_value=round(value, 4),
            )
            for metric_type, (name, value) in scores.items()
        ],
    )
    text = f"""---
{data.to_yaml()}
---

# {model_name}

A `{model_type}` audio classifier trained with polyaudio on `{dataset}`.

## How to use

```python
import polyaudio
from transformers import pipeline

classify = pipeline("audio-classification", model="{folder}")
classify({{"array": waveform, "sampling_rate": sampling_rate}})
```

`polyaudio predict FILES... --model {folder}` does the same for audio files.

## Evaluation

{split_description}

```
{format_report(result)}
```

Confusions: `confusion_matrix.png`. All figures: `evaluation.json`. Losses: `losses.png`.

## Training

```
{command}
```
"""
    ModelCard(text).save(Path(folder) / "README.md")
