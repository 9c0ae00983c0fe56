# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""
X-ARES: `python -m xares.run my_encoder.py src/tasks/*.py`, where `my_encoder.py` is

    from polyaudio.evaluation.suites.xares import XaresModel

    class RagasEncoder(XaresModel):
        model = "runs/ragas"

The package is not needed here.
"""

import torch

from .waveform_encoder import WaveformEncoder


class XaresModel(WaveformEncoder):
    """
    The base of an encoder for X-ARES. The name of the class must end with `Encoder`. X-ARES keeps what it has encoded
    under this name, so each model needs a name of its own.

    Attributes:
        model: a folder or a Hub name.
        output_dim: size of the vectors.
        hop_size_in_ms: milliseconds from one vector to the next.

    Raises:
        ValueError: the class has no `model`, it is not an audio encoder, or polyaudio does not know the times of its
            vectors.
    """

    model: str = ""

    def __init__(self):
        if not self.model:
            raise ValueError(f"Set `model` in the class {type(self).__name__} to a model folder or a Hub name.")
        super().__init__(self.model)
        self.output_dim: int = self.frame_vectors(torch.zeros(1, self.sampling_rate)).shape[-1]
        self.hop_size_in_ms: float = 1000 * self.frame_seconds

    def forward(self, audio: torch.Tensor) -> torch.Tensor:
        """
        The vectors along time of a batch. X-ARES pads short clips with zeros and does not say where they end, so the
        model hears these zeros, as all encoders in X-ARES do.

        Args:
            audio: `(batch_size, samples)`.

        Returns:
            `(batch_size, frames, output_dim)`, float32, on the device of `audio`.
        """
        return self.frame_vectors(audio)
