# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
# Copied from polyaudio 0.1.0. The MIT License: https://opensource.org/license/mit
"""What both feature extractors do with the audio they are handed, before any feature: check it and batch it."""

import numpy as np
import torch
from transformers.utils import logging


logger = logging.get_logger(__name__)

_FULL_SCALE = {torch.uint8: 2**7, torch.int8: 2**7, torch.int16: 2**15, torch.int32: 2**31}

# The root of the sum of squares of a clip that is louder than any PCM. Beyond it power spectra overflow float32.
_LOUDEST_NORM = 1e14


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


def check_length(name: str, length: int | None) -> None:
    """Raise `ValueError` for a length, an argument called `name`, that is neither `None` nor a positive integer."""
    if length is not None and not (isinstance(length, (int, np.integer)) and length > 0):
        raise ValueError(f"{name} must be a positive integer, got {length!r}.")


def as_mono_waveforms(raw_speech) -> tuple[list[torch.Tensor] | torch.Tensor, bool]:
    """
    Turn what users pass as audio into float32 mono waveforms in [-1, 1].

    Args:
        raw_speech: one clip (a 1-D array, tensor or list of floats) or a batch of clips (a list of such, or a 2-D
            array or tensor of shape `(batch_size, samples)`). Floats of any width are taken as they are; 8, 16 and
            32 bit integers are read as PCM and scaled to [-1, 1]. Gradients do not flow back to it.

    Returns:
        The clips, as a tensor of shape `(batch_size, samples)` where they came as one array and as a list of 1-D
        tensors otherwise, and whether they came as a batch.

    Raises:
        ValueError: for no clip, an empty clip, more than one channel, NaN or infinity, values beyond any PCM, or
            integers of another width.
        TypeError: for what is no audio.
    """
    clips: list[torch.Tensor] | torch.Tensor
    if isinstance(raw_speech, (np.ndarray, torch.Tensor)):
        audio = _as_tensor(raw_speech)
        if audio.ndim not in (1, 2):
            raise ValueError(
                f"Audio must be mono: (samples,) for one clip or (batch_size, samples) for a batch, got "
                f"{tuple(audio.shape)}. Average the channels first."
            )
        is_batched = audio.ndim == 2
        clips = audio if is_batched else audio[None]
        if clips.shape[1] == 2 and clips.shape[0] > 2:
            raise ValueError(
                f"An array of shape {tuple(clips.shape)} looks like stereo audio with the channels last. Average the "
                "channels first, for instance with `audio.mean(-1)`."
            )
        count, shortest = clips.shape[0], clips.shape[1]
        norms = torch.linalg.vector_norm(clips, dim=-1)
    elif isinstance(raw_speech, (list, tuple)):
        is_batched = len(raw_speech) == 0 or not isinstance(raw_speech[0], (int, float, np.number))
        clips = [_as_tensor(clip) for clip in (raw_speech if is_batched else [raw_speech])]
        shapes = [tuple(clip.shape) for clip in clips if clip.ndim != 1]
        if shapes:
            raise ValueError(
                f"Every clip of a batch must be mono, of shape (samples,), got {shapes[0]}. Average its channels."
            )
        count, shortest = len(clips), min(map(len, clips), default=0)
        norms = torch.stack([torch.linalg.vector_norm(clip) for clip in clips]) if clips else torch.zeros(0)
    else:
        raise TypeError(f"Audio must be a numpy array, a torch tensor or a list of them, got {type(raw_speech)}.")

    if count == 0:
        raise ValueError("There is no clip in the batch.")
    if shortest == 0:
        raise ValueError("A clip has no samples. Leave empty clips out of the batch.")
    # The norm is finite only where every sample is: one pass, and no copy of the audio.
    is_sound = norms <= _LOUDEST_NORM
    if not bool(is_sound.all()):
        wrong = ", ".join(map(str, torch.nonzero(~is_sound).flatten().tolist()))
        raise ValueError(
            f"The audio holds NaN or infinity (clip {wrong} of the batch), or values far outside [-1, 1]. Repair or "
            "leave it out."
        )
    return clips, is_batched


def _as_tensor(clip) -> torch.Tensor:
    try:
        if not isinstance(clip, torch.Tensor):
            clip = np.asarray(clip)
            dtype = np.float32 if clip.dtype.kind == "f" else clip.dtype.newbyteorder("=")
            # Torch takes neither strides that are negative (of one sample, too) nor memory that is read-only.
            copy = True if min(clip.strides, default=0) < 0 or not clip.flags.writeable else None
            with np.errstate(over="ignore"):  # it becomes infinity, which is refused
                clip = torch.from_numpy(np.array(clip, dtype, order="C", copy=copy))
    except (TypeError, ValueError) as error:
        raise TypeError(f"A clip must be a 1-D sequence of numbers: {error}") from error
    if clip.is_floating_point():
        return clip.detach().to(torch.float32).contiguous()
    if clip.dtype not in _FULL_SCALE:
        raise ValueError(
            f"Audio of dtype {clip.dtype} has no known full scale. Pass floats in [-1, 1], or 8, 16 or 32 bit PCM."
        )
    silence = 128 if clip.dtype == torch.uint8 else 0
    return (clip.to(torch.float32) - silence) / _FULL_SCALE[clip.dtype]
