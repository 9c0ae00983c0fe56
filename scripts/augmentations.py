# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""The augmentations that `train` was asked for."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any


if TYPE_CHECKING:
    from .recipe import AugmentationArguments


def check_augmentation(arguments: "AugmentationArguments", label: Any, *, cached: bool) -> None:
    """
    Raises:
        ValueError: an augmentation does not go with labels of this feature, or with cached features.
    """
    from ..training.labels import FRAMES, task_of

    waveforms = [
        name for name in ("pitch_shift", "roll_and_gain", "random_gain", "noise_snr") if getattr(arguments, name)
    ]
    if cached and waveforms:
        raise ValueError(f"{waveforms[0]} changes a clip in each epoch, so its features cannot be cached")
    moving = [name for name in ("roll_and_gain", "feature_noise", "cutmix") if getattr(arguments, name)]
    if task_of(label) == FRAMES and moving:
        raise ValueError(f"{moving[0]} would part the sound from the onsets and offsets of its events")


def waveform_augmentation(arguments: "AugmentationArguments", sampling_rate: int) -> Callable | None:
    """What changes the waveforms of training clips; None where nothing does."""
    from ..training.augmentation import AdditiveNoise, Compose, PitchShift, RandomGain, RollAndGain

    augmentations = []
    if arguments.pitch_shift:
        augmentations.append(PitchShift(arguments.pitch_shift, sampling_rate))
    if arguments.roll_and_gain:
        augmentations.append(RollAndGain())
    if arguments.random_gain:
        augmentations.append(RandomGain(arguments.random_gain))
    if arguments.noise_snr:
        if len(arguments.noise_snr) != 2:
            raise ValueError("noise_snr takes two numbers: the lowest and the highest signal-to-noise ratio")
        augmentations.append(AdditiveNoise(*arguments.noise_snr))
    return Compose(*augmentations) if augmentations else None


def batch_augmentation(arguments: "AugmentationArguments") -> Callable | None:
    """What changes batches of features in training, in the order of the original; None where nothing does."""
    from ..training.augmentation import Compose, FeatureNoise, Mixup, SpecAugment

    augmentations = []
    if arguments.feature_noise:
        augmentations.append(FeatureNoise(arguments.feature_noise))
    if arguments.mixes:
        augmentations.append(
            Mixup(
                arguments.mixup,
                arguments.cutmix,
                probability=arguments.mixup_probability,
                switch_probability=arguments.mixup_switch_probability,
                mode=arguments.mixup_mode,
            )
        )
    if arguments.frequency_mask or arguments.time_mask:
        augmentations.append(SpecAugment(_width(arguments.frequency_mask), _width(arguments.time_mask)))
    return Compose(*augmentations) if augmentations else None


def _width(value: float) -> int | float:
    """A share where it is below 1, a number of bins or frames otherwise."""
    return value if value < 1 else int(value)
