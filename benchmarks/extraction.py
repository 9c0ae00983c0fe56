# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Feature extraction: from a list of clips in memory to a batch on the device."""

from collections.abc import Iterator
from typing import Any

import torch
import torchaudio
from models import RATE, clip_seconds
from timing import Settings, compare
from transformers import ASTFeatureExtractor

from polyaudio import SAMAudioFeatureExtractor, SSLAMFeatureExtractor


def measure(settings: Settings) -> Iterator[dict[str, Any]]:
    """Our feature extractors against what gives the same features, or nearly the same."""
    device, batch_size = settings.device, 2 if settings.quick else 32
    waveforms = 0.1 * torch.randn(batch_size, clip_seconds(settings) * RATE)
    clips = list(waveforms)
    arrays = [clip.numpy() for clip in clips]
    what = f"of {batch_size} clips of {clip_seconds(settings)} s"

    sslam, ast = SSLAMFeatureExtractor(), ASTFeatureExtractor()

    def kaldi_loop() -> torch.Tensor:
        features = [
            torchaudio.compliance.kaldi.fbank((clip - clip.mean())[None], window_type="hanning", num_mel_bins=128)
            for clip in waveforms.to(device)
        ]
        padded = torch.stack([torch.nn.functional.pad(x, (0, 0, 0, 1024 - len(x))) for x in features])
        return (padded + 4.268) / (2 * 4.569)

    yield compare(
        f"Log-mel frames {what}, as Kaldi computes them",
        {
            "SSLAMFeatureExtractor": lambda: sslam(arrays, sampling_rate=RATE, return_tensors="pt", device=device),
            "a loop over torchaudio's kaldi.fbank": kaldi_loop,
            "ASTFeatureExtractor": lambda: ast(arrays, sampling_rate=RATE, return_tensors="pt").to(device),
        },
        settings,
    )

    log_mel, tonic_chroma = SAMAudioFeatureExtractor(), SAMAudioFeatureExtractor("tonic_chroma")
    tonic_pitch = SAMAudioFeatureExtractor("tonic_pitch")
    transform = torchaudio.transforms.MelSpectrogram(RATE, n_fft=1024, hop_length=256, n_mels=80).to(device)
    yield compare(
        f"Log-mel frames {what}, and pitch relative to the tonic",
        {
            "SAMAudioFeatureExtractor": lambda: log_mel(
                arrays, sampling_rate=RATE, return_tensors="pt", device=device
            ),
            "the same, clips in one tensor": lambda: log_mel(
                waveforms, sampling_rate=RATE, return_tensors="pt", device=device
            ),
            "torchaudio's MelSpectrogram, clips in one tensor": lambda: torch.log(
                transform(waveforms.to(device)) + 1e-8
            ),
            "SAMAudioFeatureExtractor, tonic_chroma": lambda: tonic_chroma(
                arrays, sampling_rate=RATE, return_tensors="pt", device=device
            ),
            "SAMAudioFeatureExtractor, tonic_pitch": lambda: tonic_pitch(
                arrays, sampling_rate=RATE, return_tensors="pt", device=device
            ),
        },
        settings,
    )
