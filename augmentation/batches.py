# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""
Augmentation of batches of features: masks, noise and mixing.

Everything random follows from the `torch.Generator` of the call. The input stays as it was.
"""

import math
from collections.abc import Callable, Sequence
from typing import Literal, TypeVar

import numpy as np
import torch
import torchaudio.functional as F
from transformers import BatchFeature


T = TypeVar("T", torch.Tensor, BatchFeature)


class SpecAugment:
    """
    Sets a random band of bins and a random stretch of frames of each clip to 0, which is the mean of normalised
    features (SpecAugment, https://arxiv.org/abs/1904.08779, with torchaudio's masks).

    The fine-tuning of EAT and SSLAM is `SpecAugment(0.2, 0.2)`, after `Mixup`.

    Args:
        frequency_mask: what the widths of the bands stay below: a number of bins, or, between 0 and 1, a share of
            them. Widths and places are uniform. 0 for no bands.
        time_mask: the same for the stretches, in frames. Those of a padded clip are drawn for the whole batch's frames
            and then shrunk to the clip's own, so that they hide the same share of short and of long clips.

    Raises:
        ValueError: a limit is neither a whole number from 0 nor a share below 1.
    """

    def __init__(self, frequency_mask: float, time_mask: float):
        for name, limit in {"frequency_mask": frequency_mask, "time_mask": time_mask}.items():
            if not (0 <= limit < 1 or (isinstance(limit, int) and limit > 0)):
                raise ValueError(f"{name} must be a whole number from 0, or a share from 0 to below 1, got {limit}.")
        self.frequency_mask = frequency_mask
        self.time_mask = time_mask

    def __call__(self, batch: BatchFeature, generator: torch.Generator) -> BatchFeature:
        """
        Mask `input_values` `(batch_size, frames, bins)`, float32, by what is drawn from `generator`.

        Args:
            batch: with `input_values` and, where clips are padded, `attention_mask` `(batch_size, frames)`.
            generator: source of all randomness.

        Returns:
            A new batch, in which only `input_values` are others. Padding stays as it was.

        Raises:
            ValueError: the inputs are no spectrograms, or padded in front.
        """
        values = _spectrograms(batch)
        batch_size, frames, bins = values.shape
        own = _own_frames(batch)
        # torchaudio draws from the global generator. `torch.manual_seed` would seed those of the GPUs as well.
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(_draw_seed(generator))
            bands = _masks(self.frequency_mask, values.new_ones(batch_size, 1, bins), axis=2)
            stretches = _masks(self.time_mask, values.new_ones(batch_size, frames, 1), axis=1)
        places = torch.arange(frames) * frames // own.sum(dim=1, keepdim=True).clamp(min=1)
        stretches = stretches.take_along_dim(places.clamp(max=frames - 1)[..., None], dim=1)
        values = values.masked_fill((bands | stretches) & own[..., None], 0.0)
        return BatchFeature({**batch, "input_values": values})


class FeatureNoise:
    """
    Adds noise of random strength to the features of each clip and rolls its frames, as EAT does for Speech Commands.

    Each bin of each frame gets a number from `[0, amplitude)`, where the amplitude of a clip is one from `[0,
    max_amplitude)`; both are uniform.

    Args:
        max_amplitude: limit of the amplitudes, in units of the features; 0 for no noise.
        max_roll: a clip moves by a number of frames that is drawn uniformly from `-max_roll` to `max_roll - 1`, and
            what leaves it at one end comes in at the other; 0 for no rolls.

    Raises:
        ValueError: `max_amplitude` is negative or not finite, or `max_roll` no whole number from 0.
    """

    def __init__(self, max_amplitude: float = 0.1, max_roll: int = 10):
        if not 0 <= max_amplitude < math.inf:
            raise ValueError(f"max_amplitude must be a number from 0, got {max_amplitude}.")
        if not (isinstance(max_roll, int) and max_roll >= 0):
            raise ValueError(f"max_roll must be a whole number from 0, got {max_roll}.")
        self.max_amplitude = max_amplitude
        self.max_roll = max_roll

    def __call__(self, batch: BatchFeature, generator: torch.Generator) -> BatchFeature:
        """
        Change `input_values` `(batch_size, frames, bins)`, float32, by what is drawn from `generator`.

        Args:
            batch: with `input_values` and, where clips are padded, `attention_mask` `(batch_size, frames)`.
            generator: source of all randomness.

        Returns:
            A new batch, in which only `input_values` are others. Padding stays as it was, and clips roll within their
            own frames.

        Raises:
            ValueError: the inputs are no spectrograms, or padded in front, or there are labels of frames, which rolls
                would misplace.
        """
        values = _spectrograms(batch)
        batch_size, frames, _ = values.shape
        own = _own_frames(batch)
        labels = batch.get("labels")
        # Of two dimensions, floats are the classes of clips, and whole numbers those of frames
        if self.max_roll > 0 and labels is not None and labels.ndim > (2 if labels.is_floating_point() else 1):
            raise ValueError(
                f"Rolling would misplace labels of frames, of shape {tuple(labels.shape)}. Use `max_roll=0`."
            )
        amplitudes = self.max_amplitude * torch.rand(batch_size, 1, 1, generator=generator)
        values = values + torch.rand(values.shape, generator=generator) * (amplitudes * own[..., None])
        if self.max_roll > 0:
            places, lengths = torch.arange(frames), own.sum(dim=1, keepdim=True).clamp(min=1)
            shifts = torch.randint(-self.max_roll, self.max_roll, (batch_size, 1), generator=generator)
            sources = torch.where(own, (places - shifts) % lengths, places)
            values = values[torch.arange(batch_size)[:, None], sources]
        return BatchFeature({**batch, "input_values": values})


class Mixup:
    """
    Mixes each clip, and its labels, with its partner, which is the last clip for the first, the last but one for the
    second, and so on (as in timm). The middle one of an odd number of clips is its own partner and stays as it is.

    Mixup (https://arxiv.org/abs/1710.09412) weighs a clip by `lam`, drawn from a symmetric beta distribution, and its
    partner by `1 - lam`. CutMix (https://arxiv.org/abs/1905.04899) draws `lam` alike and puts a box of the partner, of
    at most `1 - lam` of its frames times its bins, in the place of the clip's own; `lam` is then what is left of the
    clip. In both cases the labels are weighed by `lam` and `1 - lam`.

    The fine-tuning of EAT and SSLAM is `Mixup(0.8, probability=0.9)`.

    Args:
        mixup_alpha: both parameters of mixup's beta distribution; 0 for no mixup.
        cutmix_alpha: both parameters of CutMix's beta distribution; 0 for no CutMix.
        probability: how likely it is that anything is mixed.
        switch_probability: how likely CutMix is where there are both.
        mode: what is drawn once for all clips (`"batch"`), for each two partners (`"pair"`) or for each clip
            (`"element"`): whether to mix, how, `lam` and the box.

    Raises:
        ValueError: an argument is out of range, or both alphas are 0.
    """

    def __init__(
        self,
        mixup_alpha: float = 0.8,
        cutmix_alpha: float = 0.0,
        probability: float = 1.0,
        switch_probability: float = 0.5,
        mode: Literal["batch", "pair", "element"] = "batch",
    ):
        for name, alpha in {"mixup_alpha": mixup_alpha, "cutmix_alpha": cutmix_alpha}.items():
            if not 0 <= alpha < math.inf:
                raise ValueError(f"{name} must be a number from 0, got {alpha}.")
        if mixup_alpha == cutmix_alpha == 0:
            raise ValueError("mixup_alpha and cutmix_alpha are both 0, so that nothing would be mixed.")
        for name, value in {"probability": probability, "switch_probability": switch_probability}.items():
            if not 0 <= value <= 1:
                raise ValueError(f"{name} must be from 0 to 1, got {value}.")
        if mode not in ("batch", "pair", "element"):
            raise ValueError(f"mode must be 'batch', 'pair' or 'element', got {mode!r}.")
        self.mixup_alpha = mixup_alpha
        self.cutmix_alpha = cutmix_alpha
        self.probability = probability
        self.switch_probability = switch_probability
        self.mode = mode

    def __call__(self, batch: BatchFeature, generator: torch.Generator) -> BatchFeature:
        """
        Mix a batch by what is drawn from `generator`.

        Args:
            batch: with `input_values` `(batch_size, frames, bins)`, float32, floating point `labels` `(batch_size,
                classes)` or, for mixup alone, `(batch_size, time_patches, classes)`, and, where clips are padded,
                `attention_mask` `(batch_size, frames)`.
            generator: source of all randomness.

        Returns:
            A new batch, in which those three are others. Padding is mixed as it stands; the `attention_mask` of a
            mixed clip has the frames of both.

        Raises:
            ValueError: the inputs are no spectrograms, or padded in front, or the labels are missing, not floating
                point, or of frames where CutMix may mix.
        """
        values, labels = _spectrograms(batch), batch.get("labels")
        if labels is None or not labels.is_floating_point():
            raise ValueError(
                "Mixup needs floating point labels, one-hot where each clip has one class, got "
                f"{'none' if labels is None else labels.dtype}."
            )
        if self.cutmix_alpha > 0 and labels.ndim > 2:
            raise ValueError(
                f"CutMix cannot mix labels of frames, of shape {tuple(labels.shape)}. Use `cutmix_alpha=0`."
            )
        lam, is_cut, frames_cut, bins_cut = self._draw(values.shape, np.random.default_rng(_draw_seed(generator)))
        partner_share = 1 - lam[:, None, None]
        if self.cutmix_alpha > 0:
            boxes = frames_cut[:, :, None] & bins_cut[:, None, :]
            partner_share = torch.where(is_cut[:, None, None], boxes, partner_share)
            area = frames_cut.float().mean(dim=1) * bins_cut.float().mean(dim=1)
            lam = torch.where(is_cut, 1 - area, lam)
        label_share = (1 - lam).to(labels.dtype).view(-1, *[1] * (labels.ndim - 1))
        mixed = {
            "input_values": values.lerp(values.flip(0), partner_share),
            "labels": labels.lerp(labels.flip(0), label_share),
        }
        if "attention_mask" in batch:
            own = _own_frames(batch)
            mask = own | (own.flip(0) & (lam < 1)[:, None])
            mixed["attention_mask"] = mask.to(batch["attention_mask"].dtype)
        return BatchFeature({**batch, **mixed})

    def _draw(
        self, shape: Sequence[int], rng: np.random.Generator
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        """
        What is random about the clips of an input of shape `(batch_size, frames, bins)`.

        Returns:
            `lam`, `(batch_size,)`, float32, 1 where nothing is mixed; whether CutMix mixes, `(batch_size,)`, bool; the
            frames `(batch_size, frames)` and the bins `(batch_size, bins)` of its box, both bool.
        """
        batch_size, frames, bins = shape
        if self.mixup_alpha > 0 and self.cutmix_alpha > 0:
            is_cut = rng.random(batch_size) < self.switch_probability
        else:
            is_cut = np.full(batch_size, self.mixup_alpha == 0)
        alpha = np.where(is_cut, self.cutmix_alpha, self.mixup_alpha)
        lam = np.where(rng.random(batch_size) < self.probability, rng.beta(alpha, alpha), 1.0)

        def cut(size: int) -> np.ndarray:
            half = (size * np.sqrt(1 - lam[:, None])).astype(int) // 2
            center = rng.integers(size, size=(batch_size, 1))
            places = np.arange(size)
            return (center - half <= places) & (places < center + half)

        clips = np.arange(batch_size)
        # The clip whose draws each clip takes
        source = {"batch": 0 * clips, "pair": np.minimum(clips, clips[::-1]), "element": clips}[self.mode]

        def taken(values: np.ndarray) -> torch.Tensor:
            return torch.from_numpy(values[source])

        return taken(lam.astype(np.float32)), taken(is_cut), taken(cut(frames)), taken(cut(bins))


class Compose:
    """Changes waveforms, or batches, by several augmentations, which draw from the same generator one by one."""

    def __init__(self, *augmentations: Callable[[T, torch.Generator], T]):
        self.augmentations = augmentations

    def __call__(self, audio: T, generator: torch.Generator) -> T:
        """Change a waveform `(samples,)`, float32, or a batch, by what is drawn from `generator`."""
        for augmentation in self.augmentations:
            audio = augmentation(audio, generator)
        return audio


def _draw_seed(generator: torch.Generator) -> int:
    """A seed for another source of randomness."""
    return int(torch.randint(2**63 - 1, (), generator=generator))


def _spectrograms(batch: BatchFeature) -> torch.Tensor:
    """The inputs of a batch, `(batch_size, frames, bins)`; `ValueError` where they are something else."""
    values = batch["input_values"]
    if values.ndim != 3 or values.dtype != torch.float32:
        raise ValueError(
            "This augmentation takes float32 input_values of shape (batch_size, frames, bins), got "
            f"{values.dtype} of shape {tuple(values.shape)}."
        )
    return values


def _own_frames(batch: BatchFeature) -> torch.Tensor:
    """Which frames are no padding, `(batch_size, frames)`, bool; `ValueError` unless they come first in each clip."""
    shape = batch["input_values"].shape[:2]
    if "attention_mask" not in batch:
        return torch.ones(shape, dtype=torch.bool)
    own = batch["attention_mask"].bool()
    if own.shape != shape or (own[:, 1:] > own[:, :-1]).any():
        raise ValueError(
            f"attention_mask must have the shape {tuple(shape)} of the frames, with padding only behind a clip's own; "
            f"got the shape {tuple(own.shape)}{', with padding in front' if own.shape == shape else ''}."
        )
    return own


def _masks(limit: float, ones: torch.Tensor, axis: int) -> torch.Tensor:
    """Where to mask a tensor of ones along an axis: a mask for each clip, below `limit`, from the global generator."""
    size = ones.shape[axis]
    widest = min(limit, size) if isinstance(limit, int) else limit * size
    return F.mask_along_axis_iid(ones, widest, 0.0, axis) == 0
