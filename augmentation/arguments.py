# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""The arguments of the augmentations of a training run, and the augmentations that they stand for."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import torch
from transformers import BatchFeature

from ..data.given import PITCH
from ..data.labels import FRAMES, task_of
from .batches import Compose, FeatureNoise, Mixup, MixupMode, SpecAugment
from .waveforms import AdditiveNoise, PitchShift, RandomGain, RollAndGain


WaveformAugmentation = Callable[[torch.Tensor, torch.Generator], torch.Tensor]
BatchAugmentation = Callable[[BatchFeature, torch.Generator], BatchFeature]


@dataclass
class AugmentationArguments:
    """The random changes of training clips in each epoch: first of waveforms, then of batches of features."""

    pitch_shift: float = field(default=0.0, metadata={"help": "Shift up or down by at most this many semitones."})
    roll_and_gain: bool = field(
        default=False, metadata={"help": "Roll each clip in time and change its volume, as EAT does."}
    )
    random_gain: float = field(default=0.0, metadata={"help": "Change the volume by at most this many decibels."})
    noise_snr: list[float] | None = field(
        default=None, metadata={"help": "Add white noise; lowest and highest signal-to-noise ratio in decibels."}
    )
    feature_noise: float = field(
        default=0.0,
        metadata={"help": "Add noise to the features, with at most this amplitude, and roll them, as EAT does."},
    )
    frequency_mask: float = field(
        default=0.0, metadata={"help": "SpecAugment: width of the widest mask in bins; below 1, a share of all bins."}
    )
    time_mask: float = field(
        default=0.0,
        metadata={"help": "SpecAugment: length of the longest mask in frames; below 1, a share of all frames."},
    )
    mixup: float = field(default=0.0, metadata={"help": "Mix pairs of clips; alpha of the beta distribution."})
    cutmix: float = field(
        default=0.0, metadata={"help": "Paste a part of one clip into another; alpha of the beta distribution."}
    )
    mixup_probability: float = field(default=1.0, metadata={"help": "Probability of mixup or CutMix."})
    mixup_switch_probability: float = field(
        default=0.5, metadata={"help": "Probability of CutMix instead of mixup, if both are set."}
    )
    mixup_mode: str = field(
        default="batch", metadata={"help": "Draw the mix once for each `batch`, `pair` or `element`."}
    )

    @property
    def mixes(self) -> bool:
        """Whether clips are mixed with each other, which makes their labels soft."""
        return bool(self.mixup or self.cutmix)


def check_augmentation(
    arguments: AugmentationArguments, label: Any, *, cached: bool, given: Sequence[str] = ()
) -> None:
    """
    Check that augmentations suit the labels and the kind of features.

    Args:
        arguments: the augmentations.
        label: the feature of the column `label`.
        cached: whether features are extracted once and kept.
        given: the columns of the clips with given tonics and pitch tracks; see `add_given`.

    Raises:
        ValueError: an augmentation cannot be used with labels of this feature, with cached features, or with what is
            given.
    """
    waveforms = [
        name for name in ("pitch_shift", "roll_and_gain", "random_gain", "noise_snr") if getattr(arguments, name)
    ]
    if cached and waveforms:
        raise ValueError(f"{waveforms[0]} changes waveforms in each epoch, so features cannot be cached")
    if given and arguments.pitch_shift:
        raise ValueError("pitch_shift would make given tonics wrong. Leave it out, or given (--given).")
    if PITCH in given and waveforms:
        raise ValueError(
            f"{waveforms[0]} changes the audio and not given pitch tracks. Leave it out, or given (--given)."
        )
    moving = [name for name in ("roll_and_gain", "feature_noise", "cutmix") if getattr(arguments, name)]
    if task_of(label) == FRAMES and moving:
        raise ValueError(f"{moving[0]} moves sounds, so the onsets and offsets of events would be wrong")


def waveform_augmentation(arguments: AugmentationArguments, sampling_rate: int) -> WaveformAugmentation | None:
    """
    Return the augmentation of waveforms, or `None` if there is none.

    Args:
        arguments: the augmentations.
        sampling_rate: rate of the waveforms in Hz.

    Raises:
        ValueError: an argument is out of its range.
    """
    augmentations: list[WaveformAugmentation] = []
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


def batch_augmentation(arguments: AugmentationArguments) -> BatchAugmentation | None:
    """
    Return the augmentation of batches of features, or `None` if there is none.

    Raises:
        ValueError: an argument is out of its range.
    """
    augmentations: list[BatchAugmentation] = []  # in the order of EAT and SSLAM
    if arguments.feature_noise:
        augmentations.append(FeatureNoise(arguments.feature_noise))
    if arguments.mixes:
        augmentations.append(
            Mixup(
                arguments.mixup,
                arguments.cutmix,
                probability=arguments.mixup_probability,
                switch_probability=arguments.mixup_switch_probability,
                mode=cast(MixupMode, arguments.mixup_mode),  # `Mixup` checks it
            )
        )
    if arguments.frequency_mask or arguments.time_mask:
        augmentations.append(SpecAugment(_width(arguments.frequency_mask), _width(arguments.time_mask)))
    return Compose(*augmentations) if augmentations else None


def _width(value: float) -> int | float:
    """A share if it is below 1, otherwise a number of bins or frames."""
    return value if value < 1 else int(value)
