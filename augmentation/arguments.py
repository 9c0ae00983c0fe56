# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Which augmentations a training run uses: their arguments, and the changes that follow from them."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from ..data.labels import FRAMES, task_of
from .batches import Compose, FeatureNoise, Mixup, SpecAugment
from .waveforms import AdditiveNoise, PitchShift, RandomGain, RollAndGain


@dataclass
class AugmentationArguments:
    """How training clips are changed at random, anew each epoch: first waveforms, then batches of features."""

    pitch_shift: float = field(default=0.0, metadata={"help": "Shift by up to so many semitones up or down."})
    roll_and_gain: bool = field(
        default=False, metadata={"help": "Roll each clip in time and change its volume, as EAT does."}
    )
    random_gain: float = field(default=0.0, metadata={"help": "Change the volume by up to so many decibels."})
    noise_snr: list[float] | None = field(
        default=None, metadata={"help": "Add white noise, lowest and highest signal-to-noise ratio in decibels."}
    )
    feature_noise: float = field(
        default=0.0, metadata={"help": "Add noise of up to this amplitude to the features and roll them, as EAT does."}
    )
    frequency_mask: float = field(
        default=0.0, metadata={"help": "SpecAugment: widest mask in bins, or below 1 as a share of them."}
    )
    time_mask: float = field(
        default=0.0, metadata={"help": "SpecAugment: longest mask in frames, or below 1 as a share of them."}
    )
    mixup: float = field(default=0.0, metadata={"help": "Mix pairs of clips; alpha of the Beta distribution."})
    cutmix: float = field(default=0.0, metadata={"help": "Paste a part of one clip into another; alpha likewise."})
    mixup_probability: float = field(default=1.0, metadata={"help": "Probability of mixing at all."})
    mixup_switch_probability: float = field(
        default=0.5, metadata={"help": "Probability of cutmix where both are asked for."}
    )
    mixup_mode: str = field(
        default="batch", metadata={"help": "What one draw is for: a `batch`, a `pair` or an `element`."}
    )

    @property
    def mixes(self) -> bool:
        """Whether clips are mixed with each other, so that their labels become soft."""
        return bool(self.mixup or self.cutmix)


def check_augmentation(arguments: AugmentationArguments, label: Any, *, cached: bool) -> None:
    """
    Raises:
        ValueError: an augmentation does not go with labels of this feature, or with cached features.
    """
    waveforms = [
        name for name in ("pitch_shift", "roll_and_gain", "random_gain", "noise_snr") if getattr(arguments, name)
    ]
    if cached and waveforms:
        raise ValueError(f"{waveforms[0]} changes a clip in each epoch, so its features cannot be cached")
    moving = [name for name in ("roll_and_gain", "feature_noise", "cutmix") if getattr(arguments, name)]
    if task_of(label) == FRAMES and moving:
        raise ValueError(f"{moving[0]} would part the sound from the onsets and offsets of its events")


def waveform_augmentation(arguments: AugmentationArguments, sampling_rate: int) -> Callable | None:
    """What changes the waveforms of training clips; None where nothing does."""
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


def batch_augmentation(arguments: AugmentationArguments) -> Callable | None:
    """What changes batches of features in training, in the order of the original; None where nothing does."""
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
