# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""What both feature extractors do with the audio they are handed, before any feature: check it and batch it."""

import numpy as np
import torch
from transformers.utils import logging


logger = logging.get_logger(__name__)

_FULL_SCALE = {torch.uint8: 2**7, torch.int8: 2**7, torch.int16: 2**15, torch.int32: 2**31}


def check_sampling_rate(sampling_rate: int | None, expected: int, extractor: str) -> None:
    """Raise `ValueError` for audio at another rate than the extractor's; warn where the rate is not told."""
    if sampling_rate is None:
        logger.warning_once(
            f"{extractor} was called without `sampling_rate`. Pass `sampling_rate={expected}` if that is the rate of "
            "the audio: at another rate the features are silently wrong."
        )
    elif sampling_rate != expected:
        raise ValueError(
            f"{extractor} works at {expected} Hz, but the audio is at {sampling_rate} Hz. Resample it first, for "
            f"instance with `torchaudio.functional.resample(waveform, {sampling_rate}, {expected})`."
        )


def as_mono_waveforms(raw_speech) -> tuple[list[torch.Tensor] | torch.Tensor, bool]:
    """
    Turn what users pass as audio into float32 mono waveforms in [-1, 1].

    Args:
        raw_speech: one clip (a 1-D array, tensor or list of floats) or a batch of clips (a list of such, or a 2-D
            array or tensor of shape `(batch_size, samples)`). Floats of any width are taken as they are; 8, 16 and
            32 bit integers are read as PCM and scaled to [-1, 1].

    Returns:
        The clips, as a tensor of shape `(batch_size, samples)` where they came as one array and as a list of 1-D
        tensors otherwise, and whether they came as a batch.

    Raises:
        ValueError: for no clip, an empty clip, more than one channel, NaN or infinity, or integers of another width.
        TypeError: for what is no audio.
    """
    if isinstance(raw_speech, (np.ndarray, torch.Tensor)):
        clips = _as_tensor(raw_speech)
        if clips.ndim not in (1, 2):
            raise ValueError(
                f"Audio must be mono: (samples,) for one clip or (batch_size, samples) for a batch, got "
                f"{tuple(clips.shape)}. Average the channels first."
            )
        is_batched = clips.ndim == 2
        clips = clips if is_batched else clips[None]
        if clips.shape[1] == 2 and clips.shape[0] > 2:
            raise ValueError(
                f"An array of shape {tuple(clips.shape)} looks like stereo audio with the channels last. Average the "
                "channels first, for instance with `audio.mean(-1)`."
            )
        count, shortest = clips.shape[0], clips.shape[1]
        sums = clips.sum(-1)
    elif isinstance(raw_speech, (list, tuple)):
        is_batched = len(raw_speech) == 0 or not isinstance(raw_speech[0], (int, float, np.number))
        clips = [_as_tensor(clip) for clip in (raw_speech if is_batched else [raw_speech])]
        shapes = [tuple(clip.shape) for clip in clips if clip.ndim != 1]
        if shapes:
            raise ValueError(
                f"Every clip of a batch must be mono, of shape (samples,), got {shapes[0]}. Average its channels."
            )
        count, shortest = len(clips), min(map(len, clips), default=0)
        sums = torch.stack([clip.sum() for clip in clips]) if clips else torch.zeros(0)
    else:
        raise TypeError(f"Audio must be a numpy array, a torch tensor or a list of them, got {type(raw_speech)}.")

    if count == 0:
        raise ValueError("There is no clip in the batch.")
    if shortest == 0:
        raise ValueError("A clip has no samples. Leave empty clips out of the batch.")
    # A sum is finite only where every sample is: one pass, and no copy of the audio.
    if not bool(torch.isfinite(sums).all()):
        wrong = torch.nonzero(~torch.isfinite(sums)).flatten().tolist()
        raise ValueError(f"The audio holds NaN or infinity (clip {', '.join(map(str, wrong))} of the batch).")
    return clips, is_batched


def _as_tensor(clip) -> torch.Tensor:
    try:
        if not isinstance(clip, torch.Tensor):
            clip = np.asarray(clip)
            if clip.dtype == np.float64 or clip.dtype == np.float16:
                clip = clip.astype(np.float32)
            clip = torch.from_numpy(np.ascontiguousarray(clip))
    except (TypeError, ValueError) as error:
        raise TypeError(f"A clip must be a 1-D sequence of numbers: {error}") from error
    if clip.is_floating_point():
        return clip.to(torch.float32)
    if clip.dtype not in _FULL_SCALE:
        raise ValueError(
            f"Audio of dtype {clip.dtype} has no known full scale. Pass floats in [-1, 1], or 8, 16 or 32 bit PCM."
        )
    silence = 128 if clip.dtype == torch.uint8 else 0
    return (clip.to(torch.float32) - silence) / _FULL_SCALE[clip.dtype]
