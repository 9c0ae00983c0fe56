# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""`handler.py` of a repository, by which a Hugging Face Inference Endpoint runs its model. It needs no polyaudio."""

import base64
import binascii
import io
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch
from transformers import (
    AutoConfig,
    AutoFeatureExtractor,
    AutoModelForAudioClassification,
    AutoModelForAudioFrameClassification,
    Pipeline,
    pipeline,
)
from transformers.dynamic_module_utils import get_class_from_dynamic_module


_EVENTS = "sound-event-detection"
_PARAMETERS = ("top_k", "events", "threshold")


class EndpointHandler:
    """
    Labels recordings, or finds their events, with the model in a folder.

    Args:
        path: the folder with the model; by default the folder of this file.
    """

    def __init__(self, path: str = ""):
        path = path or str(Path(__file__).parent)
        config = AutoConfig.from_pretrained(path, trust_remote_code=True)
        self.labels_frames = any(name.endswith("ForAudioFrameClassification") for name in config.architectures or ())
        auto_class = AutoModelForAudioFrameClassification if self.labels_frames else AutoModelForAudioClassification
        model = auto_class.from_pretrained(path, trust_remote_code=True).eval()
        extractor = AutoFeatureExtractor.from_pretrained(path, trust_remote_code=True)
        device = torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")
        # Before transformers 5.23 a pipeline applies softmax to every model
        kinds = {"multi_label_classification": "sigmoid", "regression": "none"}
        self.function_to_apply = kinds.get(config.problem_type, "softmax")
        own = {"model": model, "feature_extractor": extractor, "device": device}
        self.sampling_rate: int = extractor.sampling_rate
        self.labeller: Pipeline | None = None
        if not self.labels_frames:
            self.labeller = pipeline("audio-classification", **own)
        self.detector: Pipeline | None = None
        code = (getattr(config, "custom_pipelines", None) or {}).get(_EVENTS)
        if code is not None:
            self.detector = get_class_from_dynamic_module(code["impl"], path)(task=_EVENTS, **own)

    def __call__(self, data: dict[str, Any]) -> list[dict[str, Any]]:
        """
        Answer a request.

        Args:
            data: `inputs` is the content of an audio file: bytes, or base64 in JSON. Or a mono recording: a list of
                samples from -1 to 1 at the rate of the model, or a dict with `array` and `sampling_rate`.
                `parameters` is a dict. `top_k` is the number of labels, 5 by default. With `events`, the answer is
                the events over time, which is always so for a model that labels frames. `threshold` is the score
                above which an event begins and ends.

        Returns:
            Dicts with `label` and `score`, the highest score first. Or, sorted by onset, dicts with `onset` and
            `offset` in seconds, `label` and `score`.

        Raises:
            ValueError: the request is wrong; the endpoint then answers with status 400 and the message.
        """
        if "inputs" not in data:
            raise ValueError("The request has no `inputs`. Send an audio file, or JSON with `inputs`.")
        parameters = data.get("parameters") or {}
        unknown = sorted(set(parameters) - set(_PARAMETERS))
        if unknown:
            raise ValueError(f"There is no parameter {unknown[0]!r}. There are {', '.join(_PARAMETERS)}.")
        recording = self._recording(data["inputs"])
        top_k = _number(parameters, "top_k", int)
        threshold = _number(parameters, "threshold", float)
        if self.labeller is None or parameters.get("events", False):
            if top_k is not None:
                raise ValueError("Events have no `top_k`. Use `threshold`.")
            if self.detector is None:
                raise ValueError("The repository of this model has no code that finds events. Leave out `events`.")
            return self.detector(recording, **({} if threshold is None else {"threshold": threshold}))
        if threshold is not None:
            raise ValueError("Labels have no `threshold`. Use `top_k`, or ask for `events`.")
        return self.labeller(recording, top_k=5 if top_k is None else top_k, function_to_apply=self.function_to_apply)

    def _recording(self, inputs: Any) -> dict[str, Any]:
        """The samples of a recording as pipelines take them: mono, float32, with their rate in Hz."""
        if isinstance(inputs, str):
            try:
                inputs = base64.b64decode(inputs, validate=True)
            except binascii.Error as error:
                raise ValueError(f"`inputs` is text, but not an audio file in base64: {error}.") from error
        if isinstance(inputs, bytes | bytearray):
            try:
                samples, rate = soundfile.read(io.BytesIO(inputs), dtype="float32", always_2d=True)
            except soundfile.LibsndfileError as error:
                raise ValueError(
                    f"`inputs` is not audio that can be read ({error.error_string.rstrip('.')}). Send wav, flac, ogg "
                    "or mp3."
                ) from error
            array = samples.mean(axis=1)
        else:
            rate = self.sampling_rate
            if isinstance(inputs, dict):
                if "array" not in inputs or "sampling_rate" not in inputs:
                    raise ValueError("`inputs` is a dict without `array` or without `sampling_rate`.")
                inputs, rate = inputs["array"], inputs["sampling_rate"]
            try:
                array = np.asarray(inputs, dtype=np.float32)
            except (TypeError, ValueError) as error:
                raise ValueError("The samples in `inputs` are not a list of numbers.") from error
            if array.ndim != 1:
                raise ValueError(f"The samples in `inputs` have the shape {array.shape}. Send one channel.")
            if not isinstance(rate, int) or not 1000 <= rate <= 1_000_000:
                raise ValueError(f"The `sampling_rate` is {rate!r}. Send an integer from 1000 to 1000000.")
        if len(array) == 0:
            raise ValueError("The recording in `inputs` has no samples.")
        if not np.isfinite(array).all():
            raise ValueError("The recording in `inputs` contains NaN or infinity.")
        return {"array": array, "sampling_rate": rate}


def _number(parameters: dict[str, Any], name: str, kind: type) -> Any:
    """A parameter as a number; in the address of a request it is text."""
    value = parameters.get(name)
    try:
        number = None if value is None else kind(value)
    except (TypeError, ValueError) as error:
        raise ValueError(f"`{name}` is {value!r}. Send a number.") from error
    if number is not None and not (number >= 1 if kind is int else 0 <= number < 1):
        raise ValueError(f"`{name}` must be {'at least 1' if kind is int else 'at least 0 and below 1'}, got {value}.")
    return number
