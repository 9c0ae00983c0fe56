# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""
Augmentation of batches of features: masks, noise and mixing.

All random values come from the `torch.Generator` of the call. The input is not changed.
"""

import math
from collections.abc import Callable, Sequence
from typing import Generic, Literal, TypeVar

import numpy as np
import torch
import torchaudio.functional as F
from transformers import BatchFeature


MixupMode = Literal["batch", "pair", "element"]

T = TypeVar("T", torch.Tensor, BatchFeature)


class SpecAugment:
    """
    Masks a random band of bins and a random range of frames of each clip (SpecAugment,
    https://arxiv.org/abs/1904.08779, with torchaudio's masks).

    Masked values are 0, the mean of normalised features. EAT and SSLAM are fine-tuned with `SpecAugment(0.2, 0.2)`,
    after `Mixup`.

    Args:
        frequency_mask: upper limit of the width of a band: a number of bins, or, between 0 and 1, a share of all bins.
            Widths and positions are uniform. 0 for no bands.
        time_mask: upper limit of the length of a range, likewise in frames. In a padded clip, the range is drawn for
            all frames and then scaled to the clip's own frames, so that short and long clips lose the same share.

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
        Mask a batch.

        Args:
            batch: `input_values` `(batch_size, frames, bins)`, float32, and, if clips are padded, `attention_mask`
                `(batch_size, frames)`.
            generator: the source of all random values.

        Returns:
            A new batch with other `input_values`. Padding does not change.

        Raises:
            ValueError: the inputs are not spectrograms, or the padding is not at the end.
        """
        values = _spectrograms(batch)
        batch_size, frames, bins = values.shape
        own = _own_frames(batch)
        # torchaudio draws from the global generator. `torch.manual_seed` would also seed the generators of the GPUs.
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
    Adds noise with a random amplitude to the features of each clip and rolls its frames, as EAT does for Speech
    Commands.

    The amplitude of a clip is uniform in `[0, max_amplitude)`. The noise of each bin of each frame is uniform in
    `[0, amplitude)`.

    Args:
        max_amplitude: upper limit of the amplitudes, in units of the features; 0 for no noise.
        max_roll: a clip is rolled by a number of frames that is uniform from `-max_roll` to `max_roll - 1`. Frames
            that leave it at one end enter it at the other. 0 for no rolls.

    Raises:
        ValueError: `max_amplitude` is negative or not finite, or `max_roll` is not a whole number from 0.
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
        Add noise to a batch and roll its clips.

        Args:
            batch: `input_values` `(batch_size, frames, bins)`, float32, and, if clips are padded, `attention_mask`
                `(batch_size, frames)`.
            generator: the source of all random values.

        Returns:
            A new batch with other `input_values`. Padding does not change, and clips are rolled within their own
            frames.

        Raises:
            ValueError: the inputs are not spectrograms, the padding is not at the end, or clips would be rolled and
                have labels of frames.
        """
        values = _spectrograms(batch)
        batch_size, frames, _ = values.shape
        own = _own_frames(batch)
        labels = batch.get("labels")
        # Labels with two dimensions: floats are classes of clips, whole numbers are classes of frames
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
    Mixes each clip and its labels with a partner, by mixup or CutMix.

    The partner of the first clip is the last one, the partner of the second clip the last but one, and so on, as in
    timm. In an odd number of clips, the middle one is its own partner and does not change.

    Mixup (https://arxiv.org/abs/1710.09412) draws `lam` from a symmetric beta distribution, weights a clip by `lam`
    and its partner by `1 - lam`, and adds them. CutMix (https://arxiv.org/abs/1905.04899) also draws `lam`, and
    replaces a box of the clip, at most a share `1 - lam` of its spectrogram, by the same box of the partner. `lam`
    becomes the remaining share of the clip. The labels are weighted by `lam` and `1 - lam` too.

    EAT and SSLAM are fine-tuned with `Mixup(0.8, probability=0.9)`.

    Args:
        mixup_alpha: both parameters of mixup's beta distribution; 0 for no mixup.
        cutmix_alpha: both parameters of CutMix's beta distribution; 0 for no CutMix.
        probability: probability that clips are mixed.
        switch_probability: probability of CutMix if there are both.
        mode: whether the random values (whether to mix, how, `lam` and the box) are drawn once for all clips
            (`"batch"`), for each pair of partners (`"pair"`) or for each clip (`"element"`).

    Raises:
        ValueError: an argument is out of range, or both alphas are 0.
    """

    def __init__(
        self,
        mixup_alpha: float = 0.8,
        cutmix_alpha: float = 0.0,
        probability: float = 1.0,
        switch_probability: float = 0.5,
        mode: MixupMode = "batch",
    ):
        for name, alpha in {"mixup_alpha": mixup_alpha, "cutmix_alpha": cutmix_alpha}.items():
            if not 0 <= alpha < math.inf:
                raise ValueError(f"{name} must be a number from 0, got {alpha}.")
        if mixup_alpha == cutmix_alpha == 0:
            raise ValueError("mixup_alpha and cutmix_alpha are both 0, so nothing would be mixed.")
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
        Mix the clips of a batch.

        Args:
            batch: `input_values` `(batch_size, frames, bins)`, float32, floating point `labels` `(batch_size,
                classes)` or, for mixup alone, `(batch_size, time_patches, classes)`, and, if clips are padded,
                `attention_mask` `(batch_size, frames)`.
            generator: the source of all random values.

        Returns:
            A new batch in which these three are mixed. Padding is mixed like the frames of a clip. The
            `attention_mask` of a mixed clip has the frames of both clips.

        Raises:
            ValueError: the inputs are not spectrograms, the padding is not at the end, the labels are missing or not
                floating point, or CutMix would mix labels of frames.
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
        Draw the random values for inputs `(batch_size, frames, bins)`.

        Returns:
            `lam`, `(batch_size,)`, float32, 1 for clips that are not mixed; whether CutMix mixes, `(batch_size,)`,
            bool; the frames `(batch_size, frames)` and the bins `(batch_size, bins)` of its box, both bool.
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


class Compose(Generic[T]):
    """Applies several augmentations, of waveforms or of batches, one after the other with the same generator."""

    def __init__(self, *augmentations: Callable[[T, torch.Generator], T]):
        self.augmentations: tuple[Callable[[T, torch.Generator], T], ...] = augmentations

    def __call__(self, audio: T, generator: torch.Generator) -> T:
        """Change a waveform `(samples,)`, float32, or a batch; `generator` is the source of all random values."""
        for augmentation in self.augmentations:
            audio = augmentation(audio, generator)
        return audio


def _draw_seed(generator: torch.Generator) -> int:
    """A seed for another source of randomness."""
    return int(torch.randint(2**63 - 1, (), generator=generator))


def _spectrograms(batch: BatchFeature) -> torch.Tensor:
    """The inputs of a batch, `(batch_size, frames, bins)`; `ValueError` for another shape or dtype."""
    values = batch["input_values"]
    if values.ndim != 3 or values.dtype != torch.float32:
        raise ValueError(
            "This augmentation takes float32 input_values of shape (batch_size, frames, bins), got "
            f"{values.dtype} of shape {tuple(values.shape)}."
        )
    return values


def _own_frames(batch: BatchFeature) -> torch.Tensor:
    """The frames that are not padding, `(batch_size, frames)`, bool; `ValueError` if padding is not at the end."""
    shape = batch["input_values"].shape[:2]
    if "attention_mask" not in batch:
        return torch.ones(shape, dtype=torch.bool)
    own = batch["attention_mask"].bool()
    if own.shape != shape or (own[:, 1:] > own[:, :-1]).any():
        raise ValueError(
            f"attention_mask must have the shape {tuple(shape)} of the frames, and padding only at the end of a clip; "
            f"got the shape {tuple(own.shape)}{', with padding before frames' if own.shape == shape else ''}."
        )
    return own


def _masks(limit: float, ones: torch.Tensor, axis: int) -> torch.Tensor:
    """Draw a mask for each clip along an axis of a tensor of ones, shorter than `limit`, from the global generator."""
    size = ones.shape[axis]
    widest = min(limit, size) if isinstance(limit, int) else limit * size
    return F.mask_along_axis_iid(ones, widest, 0.0, axis) == 0
