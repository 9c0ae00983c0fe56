# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""`pipeline("sound-event-detection")`: the events of recordings of any length. It is also saved with classifiers."""

import dataclasses
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from huggingface_hub import get_session
from transformers import Pipeline, SequenceFeatureExtractor

from ..data.audio import stream_audio
from ..data.event_rules import DetectedEvent, EventDetector, EventRules
from ..data.resampling import resample_blocks
from ..integration.saving import save_pipeline_code
from .timeline_model import TimelineModel


_FRAMES = "ForAudioFrameClassification"

_ARGUMENTS = (
    *("chunk_length_s", "stride_length_s", "resolution_s", "threshold", "event_rules"),
    "windows_per_batch",
)

# Number of samples of an array that are read at once
_BLOCK = 2**20


class SoundEventDetectionPipeline(Pipeline):
    """
    Finds the events of recordings of any length with a classifier of clips or of frames.

    The model hears a recording in windows that overlap, and reads it block by block.

    Example:

    ```python
    >>> import polyaudio
    >>> from transformers import pipeline

    >>> detector = pipeline("sound-event-detection", model="runs/events")  # doctest: +SKIP
    >>> detector("street.wav", threshold=0.3)  # doctest: +SKIP
    [{'onset': 0.64, 'offset': 1.92, 'label': 'dog', 'score': 0.81}]
    ```
    """

    # transformers declares these four as `None`
    _load_processor = False  # type: ignore[assignment]
    _load_image_processor = False  # type: ignore[assignment]
    _load_feature_extractor = True  # type: ignore[assignment]
    _load_tokenizer = False  # type: ignore[assignment]

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        labels_frames = type(self.model).__name__.endswith(_FRAMES)
        if not labels_frames and any(name.endswith(_FRAMES) for name in self.model.config.architectures or ()):
            raise ValueError(
                f"The model labels frames, but was loaded as {type(self.model).__name__}. Load it with "
                "AutoModelForAudioFrameClassification.from_pretrained, and pass it with its feature extractor."
            )

    @property
    def _extractor(self) -> SequenceFeatureExtractor:
        if self.feature_extractor is None:
            raise ValueError("The pipeline needs the feature extractor of the model: pass feature_extractor=...")
        return self.feature_extractor

    def _sanitize_parameters(self, **kwargs: Any) -> tuple[dict, dict, dict]:
        unknown = sorted(set(kwargs) - set(_ARGUMENTS))
        if unknown:
            raise ValueError(f"The pipeline has no argument {unknown[0]!r}. It has {', '.join(_ARGUMENTS[:-1])}.")
        return {}, kwargs, {}

    def __call__(
        self, inputs: Any, *args: Any, num_workers: int | None = None, batch_size: int | None = None, **kwargs: Any
    ) -> Any:
        """
        Find the events of one recording or of several.

        Args:
            inputs: a recording, or a list, a generator or a dataset of recordings. A recording is a path, a URL, the
                bytes of a file, a mono array `(samples,)` of floats at the rate of the model, or a dict with `array`
                (or `raw`) and `sampling_rate`, or with `bytes` or `path`.
            batch_size (`int`, *optional*, defaults to 1):
                Number of windows in one forward pass.
            chunk_length_s (`float`, *optional*):
                Length of a window in seconds. By default the length that the model reads at once, but at most 10.24 s.
            stride_length_s (`float` or a pair of `float`, *optional*):
                Overlap with the neighbours on the left and on the right of a window, in seconds. By default a quarter
                of the window each. Overlapping scores are cross-faded.
            resolution_s (`float`, *optional*):
                Step of the times of events in seconds, for frame classifiers: the length of a frame, which is the
                default, or a half, a quarter, ... of it. The model then reads the recording two, four, ... times.
            threshold (`float`, *optional*):
                Score above which an event begins and ends. It replaces both thresholds of the rules.
            event_rules (`dict`, *optional*):
                How events follow from scores, see [`EventRules`]. By default `event_rules` of the configuration.

        Returns:
            For each recording a list of events, sorted by onset: dicts with `onset` and `offset` in seconds, `label`,
            and `score`, the mean of the scores in between.

        Raises:
            ValueError: a recording cannot be read, or the model cannot take these arguments.
        """
        # A forward pass has windows of one recording, so recordings come one at a time
        windows = batch_size or self._batch_size or 1
        return super().__call__(
            inputs, *args, num_workers=num_workers, batch_size=1, windows_per_batch=windows, **kwargs
        )

    def save_pretrained(self, save_directory: str | os.PathLike, **kwargs: Any) -> None:
        """Save the model, its feature extractor and the code of the pipeline. `push_to_hub` uploads the same."""
        self.model.save_pretrained(save_directory, **kwargs)
        self._extractor.save_pretrained(save_directory, **kwargs)
        save_pipeline_code(Path(save_directory), self.model.config)
        self.model.config.save_pretrained(save_directory)

    def preprocess(self, input_: Any, **preprocess_parameters: Any) -> dict[str, Any]:
        return {"recording": input_}

    def _forward(  # type: ignore[override]  # names the parameters
        self,
        input_tensors: dict[str, Any],
        chunk_length_s: float | None = None,
        stride_length_s: float | tuple[float, float] | None = None,
        resolution_s: float | None = None,
        threshold: float | None = None,
        event_rules: dict[str, Any] | None = None,
        windows_per_batch: int = 1,
    ) -> dict[str, Any]:
        overlap = stride_length_s
        if overlap is not None:  # on both sides of a window, so twice between two of them
            overlap = sum(overlap) if isinstance(overlap, list | tuple) else 2 * overlap
        timeline = TimelineModel(
            self.model, self._extractor, window=chunk_length_s, overlap=overlap, resolution=resolution_s
        )
        rules = EventRules.from_config(self.model.config) if event_rules is None else EventRules(**event_rules)
        if threshold is not None:
            rules = dataclasses.replace(rules, threshold=threshold, low_threshold=None)
        detector = EventDetector(rules, len(timeline.labels), timeline.cell_seconds)
        stream = timeline.stream(windows_per_batch)
        events: list[DetectedEvent] = []
        for block in _blocks(input_tensors["recording"], timeline.sampling_rate):
            events += detector.push(stream.push(block))
        events += detector.push(stream.finish())
        events += detector.finish(stream.samples / timeline.sampling_rate)
        return {"events": [{**event._asdict(), "label": timeline.labels[event.label]} for event in sorted(events)]}

    def postprocess(self, model_outputs: Any, **postprocess_parameters: Any) -> list[dict[str, Any]]:
        return model_outputs["events"]


def _blocks(recording: Any, rate: int) -> Iterable[np.ndarray]:
    """The mono samples of a recording at a rate, block by block."""
    torchcodec = sys.modules.get("torchcodec.decoders")
    if torchcodec and isinstance(recording, torchcodec.AudioDecoder):
        samples = recording.get_all_samples()
        recording = {"array": samples.data.mean(0), "sampling_rate": samples.sample_rate}
    own_rate = rate
    if isinstance(recording, dict):
        array = recording.get("array", recording.get("raw"))
        file = recording.get("bytes") or recording.get("path")
        if (array is None and file is None) or (array is not None and "sampling_rate" not in recording):
            raise ValueError(
                "A recording as a dict needs `array` (or `raw`) and `sampling_rate`, or `bytes` or `path`."
            )
        if array is not None:
            own_rate = recording["sampling_rate"]
        recording = file if array is None else array
    if isinstance(recording, str) and recording.startswith(("http://", "https://")):
        recording = get_session().get(recording).raise_for_status().content
    if isinstance(recording, torch.Tensor):
        recording = recording.cpu().numpy()
    if not isinstance(recording, np.ndarray):
        return stream_audio(recording, rate)
    blocks = (recording[start : start + _BLOCK] for start in range(0, len(recording), _BLOCK))
    return resample_blocks(blocks, own_rate, rate)
