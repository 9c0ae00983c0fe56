# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""The feature extractor of SSLAM and EAT as a module on samples."""

import torch
from torch import nn

from .feature_extraction_sslam import SSLAMFeatureExtractor
from .samples import FourierPower, SampleFrontEnd, at_least, cut_frames


class SSLAMFrontEnd(SampleFrontEnd):
    """
    The filter bank of [`SSLAMFeatureExtractor`].

    Args:
        extractor: its settings.
        hears_padding: whether a clip shorter than `extractor.max_length` frames is padded to that length, and the
            model hears this padding. It never hears the padding that the caller added and masked.
    """

    mel_filters: torch.Tensor

    def __init__(self, extractor: SSLAMFeatureExtractor, hears_padding: bool):
        super().__init__()
        self.window_length, self.hop_length, self.n_fft = (
            extractor.window_length,
            extractor.hop_length,
            extractor.n_fft,
        )
        self.mean, self.std, self.padding_value = extractor.mean, extractor.std, extractor.padding_value
        self.heard_length = extractor.max_length if hears_padding else 0
        self.register_buffer("mel_filters", extractor.mel_filters.clone(), persistent=False)
        window = nn.functional.pad(extractor.window, (0, self.n_fft - self.window_length))
        self.power = FourierPower(window, len(extractor.mel_filters))

    def forward(self, samples: torch.Tensor, attention_mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        is_own, lengths = attention_mask.to(samples.dtype), attention_mask.sum(1)
        means = (samples * is_own).sum(1) / lengths
        waveforms = at_least((samples - means[:, None]) * is_own, self.window_length)
        number = 1 + (waveforms.shape[1] - self.window_length) // self.hop_length
        features = self._features(cut_frames(waveforms, number, self.window_length, self.hop_length))

        num_frames = 1 + (lengths.clamp(min=self.window_length) - self.window_length) // self.hop_length
        missing = torch.sym_max(self.heard_length - number, 0)
        features = nn.functional.pad(features, (0, 0, 0, missing))  # type: ignore[arg-type]  # a SymInt in an export
        positions = torch.arange(features.shape[1], device=samples.device)
        features = torch.where((positions < num_frames[:, None])[..., None], features, self.padding_value)
        is_padded = lengths < samples.shape[1]
        heard = torch.where(is_padded, num_frames, num_frames.clamp(min=self.heard_length))
        return features, (positions < heard[:, None]).to(attention_mask.dtype)

    def _features(self, frames: torch.Tensor) -> torch.Tensor:
        frames = frames - frames.mean(dim=-1, keepdim=True)
        # The first sample of a frame does not matter, because the window is zero there
        frames = frames[..., 1:] - 0.97 * frames[..., :-1]
        power = self.power(nn.functional.pad(frames, (1, self.n_fft - self.window_length)))
        energies = (power @ self.mel_filters).clamp(min=torch.finfo(torch.float32).eps)
        return (energies.log() - self.mean) / (2 * self.std)
