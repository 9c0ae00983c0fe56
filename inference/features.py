# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Features of a clip, from a model's output for its windows."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from transformers import PreTrainedModel
from transformers.utils import ModelOutput

from .files import ClipReader, Inputs


# What a window of a clip gives: a vector that stands for all of it, vectors along its time, or both.
WindowFeatures = tuple[torch.Tensor | None, torch.Tensor | None]


def feature_function(
    model: "PreTrainedModel", granularity: str
) -> Callable[["ModelOutput", dict[str, "torch.Tensor"]], list["WindowFeatures"]]:
    """A function from a model's output for a batch of windows, and its input, to the features of each window."""
    functions = {"sslam": _sslam_features, "sam_audio": _sam_audio_features}
    function = functions.get(model.config.model_type, _encoder_features)

    def features(outputs, inputs):
        return [
            tuple(None if part is None else part.float().cpu() for part in window)
            for window in function(model, outputs, inputs, granularity)
        ]

    return features


def _sslam_features(model, outputs, inputs, granularity: str) -> list["WindowFeatures"]:
    class_tokens, patches = outputs.last_hidden_state[:, 0], outputs.last_hidden_state[:, 1:]
    if granularity == "utterance":
        return [(token, None) for token in class_tokens]
    time_patches = patches.unflatten(1, (-1, model.config.num_mel_bins // model.config.patch_size))
    lengths = [time_patches.shape[1]] * len(time_patches)
    if "attention_mask" in inputs:
        lengths = model.get_time_patch_mask(inputs["attention_mask"]).sum(1).tolist()
    windows = [window[:length] for window, length in zip(time_patches, lengths, strict=True)]
    if granularity == "frame":
        return [(None, window.mean(1)) for window in windows]
    return [(token, window.flatten(0, 1)) for token, window in zip(class_tokens, windows, strict=True)]


def _sam_audio_features(model, outputs, inputs, granularity: str) -> list["WindowFeatures"]:
    if granularity == "utterance":
        return [(vector, None) for vector in outputs.pooler_output]
    if granularity == "all":
        return [(None, segments) for segments in outputs.last_hidden_state]
    mask = inputs["attention_mask"].bool()
    for layer in model.encoder.layers:
        mask = layer.output_mask(mask)
    return [(None, frames[own]) for frames, own in zip(outputs.encoder_last_hidden_state, mask, strict=True)]


def _encoder_features(model, outputs, inputs, granularity: str) -> list["WindowFeatures"]:
    hidden_states = getattr(outputs, "last_hidden_state", None)
    if hidden_states is None or hidden_states.ndim != 3:
        raise ValueError(f"a model of type {model.config.model_type} has no sequence of hidden states to write")
    if granularity == "utterance":
        return [(window.mean(0), None) for window in hidden_states]
    return [(None, window) for window in hidden_states]


def join_windows(windows: list["WindowFeatures"], seconds: list[float]) -> "torch.Tensor":
    """The features of a clip, `(H,)` or `(n, H)`, from those of its windows and their lengths."""
    import torch

    from .files import weighted_mean

    vectors, sequences = zip(*windows, strict=True)
    if sequences[0] is None:
        return weighted_mean(vectors, seconds)
    first = [] if vectors[0] is None else [weighted_mean(vectors, seconds)[None]]
    return torch.cat([*first, *sequences])


# The features of each model type, the default first.
FEATURES = {"sslam": ("both", "cls", "mean"), "eat": ("both", "cls", "mean"), "sam_audio": ("utterance",)}


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
    from .files import weighted_mean

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
