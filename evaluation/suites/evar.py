# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""
EVAR (https://github.com/nttcslab/eval-audio-repr): `python lineareval.py config/polyaudio.yaml esc50`.

docs/guides/benchmarks.md has the two lines that tell EVAR of this module. The package `evar` of the package index is
another one.
"""

from collections.abc import Iterable
from typing import Any

import torch

from .waveform_encoder import WaveformEncoder, waveforms_of


class AR_Polyaudio(WaveformEncoder):  # EVAR's names of representations begin with AR_
    """
    An encoder with the interface of EVAR's `BaseAudioRepr`.

    Args:
        cfg: EVAR's configuration. `weight_file` is a model folder or a Hub name, `sample_rate` the rate of the model.

    Raises:
        ValueError: the rate is another one, or the model is not an audio encoder.
    """

    def __init__(self, cfg: Any):
        super().__init__(cfg["weight_file"])
        self.cfg = cfg
        if cfg["sample_rate"] != self.sampling_rate:
            raise ValueError(
                f"{cfg['weight_file']} takes audio at {self.sampling_rate} Hz, not {cfg['sample_rate']}. "
                "Change sample_rate in the configuration."
            )

    def precompute(self, device: torch.device, data_loader: Iterable) -> None:
        """Does nothing, as the models have their statistics from their own training."""

    def encode_frames(self, batch_audio: torch.Tensor) -> torch.Tensor:
        """The vectors along time of `(batch_size, samples)`: `(batch_size, hidden_size, frames)`, float32."""
        return self.frame_vectors(batch_audio).transpose(1, 2)

    def forward(self, batch_audio: torch.Tensor) -> torch.Tensor:
        """One vector for each clip of `(batch_size, samples)`: `(batch_size, hidden_size)`, float32."""
        return self.utterance_vectors(waveforms_of(batch_audio)).to(batch_audio.device)

    def set_augment_tf_feature_fn(self, aug_fn: Any) -> None:
        """
        What EVAR's `finetune.py` calls first.

        Raises:
            ValueError: always, as the encoder is frozen here.
        """
        raise ValueError("polyaudio's encoders are frozen in EVAR. Fine-tune them with `polyaudio train`.")
