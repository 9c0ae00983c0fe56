# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""The melody relative to the tonic, from audio or from a pitch track."""

import torch

from .melody import Melody, MelodyTracker
from .spectrogram import power_spectrogram
from .tonic_chroma import TonicChroma


# Values of a frame beside its pitch classes: voicing, and the low, middle and high register
NUM_EXTRAS = 4
# The middle octave is the one from the tonic up, shifted by octaves until the median of the melody is from 0.1 octaves
# below its tonic to 0.9 above. So the octave of the tonic makes no difference.
_MEDIAN_OF_MIDDLE = 0.4
_VOICED = 0.5


class TonicPitch:
    """
    The pitch of the melody as a soft place in the octave above the tonic, with voicing and register.

    A frame has `num_bins` pitch classes, the first at the tonic; its voicing; and its register: how much it is in the
    low, the middle and the high octave. All are from 0 to 1. The pitch classes are curves with a width of one bin, so
    that glides and oscillations stay visible between bins. Where the tracker hesitates, its candidates share the
    weight. A frame without a melody is 0.

    Args:
        sampling_rate: sampling rate of the waveforms, in Hz.
        n_fft: samples of a window in which the tonic is sought. That of the melody is a quarter.
        hop_length: samples from one window to the next.
        num_bins: pitch classes of an octave.
        tonic_estimator: as for [`TonicChroma`].
    """

    def __init__(
        self,
        sampling_rate: int,
        n_fft: int = 4096,
        hop_length: int = 320,
        num_bins: int = 60,
        tonic_estimator: str = "drone",
    ):
        self.hop_length, self.num_bins = hop_length, num_bins
        self.melody = MelodyTracker(sampling_rate, max(1, n_fft // 4), hop_length)
        # The tonic needs fewer frames than the melody
        self.chroma = TonicChroma(sampling_rate, n_fft, 2 * hop_length, tonic_estimator=tonic_estimator)

    def __call__(
        self,
        waveforms: torch.Tensor,
        lengths: torch.Tensor,
        tonic: torch.Tensor | None = None,
        melody: Melody | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """
        Args:
            waveforms: `(batch_size, samples)`, float32, zero after the end of each clip; at least `n_fft` samples.
            lengths: `(batch_size,)`, int64, samples of each clip, each at least `n_fft // 2 + 1`.
            tonic: in Hz, `(batch_size,)`; estimated where it is NaN, or for all if not given.
            melody: of `1 + samples // hop_length` frames; tracked if not given.

        Returns:
            - features, `(batch_size, 1 + samples // hop_length, num_bins + NUM_EXTRAS)`. The first
              `1 + length // hop_length` frames of a clip belong to it; the frames after them have no meaning.
            - tonic in Hz and confidence, `(batch_size,)` each, as [`TonicChroma`] returns them.

        Raises:
            ValueError: a given tonic is not positive or not finite.
        """
        hop_length, num_lines = self.chroma.search_hop_length, len(self.chroma.frequencies)
        power = power_spectrogram(waveforms, lengths, self.chroma.n_fft, hop_length, num_lines)
        tonic, confidence = self.chroma.find_tonic(power, 1 + lengths // hop_length, tonic)
        if melody is None:
            melody = self.melody(waveforms, lengths)
        return self.features(melody, 1 + lengths // self.hop_length, tonic), tonic, confidence

    def features(self, melody: Melody, frames: torch.Tensor, tonic: torch.Tensor) -> torch.Tensor:
        """
        The features of a melody.

        Args:
            melody: as [`MelodyTracker`] and `melody_of_track` return it.
            frames: `(batch_size,)`, int64, the number of frames of each clip.
            tonic: `(batch_size,)`, in Hz.

        Returns:
            `(batch_size, frames, num_bins + NUM_EXTRAS)`.
        """
        octaves = torch.log2(melody.pitch / tonic[:, None, None])
        bins = torch.arange(self.num_bins, device=octaves.device)
        distance = (octaves[..., None] * self.num_bins - bins + self.num_bins / 2) % self.num_bins - self.num_bins / 2
        classes = (melody.weight[..., None] * torch.exp(-0.5 * distance.square())).sum(2)

        register = octaves - _middle_octave(octaves, melody, frames)[:, None, None]
        low = (melody.weight * (0.5 - register).clamp(0, 1)).sum(2)
        high = (melody.weight * (register - 0.5).clamp(0, 1)).sum(2)
        extras = torch.stack([torch.ones_like(low), low, (1 - low - high).clamp(min=0), high], dim=2)
        return torch.cat([classes, extras], dim=2) * melody.voicing[..., None]


def _middle_octave(octaves: torch.Tensor, melody: Melody, frames: torch.Tensor) -> torch.Tensor:
    """How many octaves above the tonic the middle octave of each clip begins, `(batch_size,)`."""
    own = torch.arange(octaves.shape[1], device=octaves.device) < frames[:, None]
    is_heard = own & (melody.voicing > _VOICED)
    best = octaves.gather(2, melody.weight.argmax(2, keepdim=True))[..., 0]
    ranked = best.masked_fill(~is_heard, torch.inf).sort(1).values
    heard = is_heard.sum(1)
    median = ranked.gather(1, ((heard - 1).clamp(min=0) // 2)[:, None])[:, 0]
    return torch.where(heard > 0, torch.round(median - _MEDIAN_OF_MIDDLE), 0.0)
