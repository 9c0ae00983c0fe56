# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""MTEB's audio tasks: `mteb.evaluate(MtebEncoder("runs/ragas"), mteb.get_tasks(tasks=["ESC50"]))`."""

import functools
import os
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.nn import functional
from tqdm.auto import tqdm
from transformers import PreTrainedModel, SequenceFeatureExtractor

from ...data.resampling import resample_blocks
from ...modeling.digests import digest_of_model
from .waveform_encoder import WaveformEncoder


if TYPE_CHECKING:
    from mteb.models import ModelMeta


class MtebEncoder:
    """
    An encoder with MTEB's `EncoderProtocol`. Only `mteb_model_meta` needs the package.

    Args:
        model_name: a folder, a Hub name or a model.
        revision: ignored, as the revision is the digest of the weights.
        device: where the model runs, by default on the accelerator if there is one.
        feature_extractor: the model's. Needed only for a model that was not loaded from a folder or the Hub.

    Raises:
        ValueError: the model is not an audio encoder.
    """

    def __init__(
        self,
        model_name: str | os.PathLike | PreTrainedModel,
        revision: str | None = None,
        *,
        device: str | None = None,
        feature_extractor: SequenceFeatureExtractor | None = None,
        **kwargs: Any,
    ):
        self.model = WaveformEncoder(model_name, feature_extractor)
        self.source = model_name
        if device is not None:
            self.model.to(device)

    def encode(
        self,
        inputs: Iterable[Mapping[str, Any]],
        *,
        task_metadata: Any = None,
        hf_split: str = "",
        hf_subset: str = "",
        prompt_type: Any = None,
        show_progress_bar: bool = False,
        **kwargs: Any,
    ) -> np.ndarray:
        """
        One vector for each clip.

        Args:
            inputs: a DataLoader of batches `{"audio": [{"array": ..., "sampling_rate": ...}, ...]}`. The clips are
                `(samples,)` or `(channels, samples)`, of any lengths and rates.
            task_metadata, hf_split, hf_subset, prompt_type: what MTEB says of the task, which the vectors do not
                depend on.

        Returns:
            `(clips, hidden_size)`, float32.

        Raises:
            ValueError: the task has no audio.
        """
        vectors = []
        for batch in tqdm(inputs, disable=not show_progress_bar):
            if "audio" not in batch:
                raise ValueError(f"polyaudio's models take audio, but this task has only {', '.join(sorted(batch))}.")
            vectors.append(self.model.utterance_vectors([self._waveform(clip) for clip in batch["audio"]]))
        return torch.cat(vectors).numpy()

    def _waveform(self, clip: Mapping[str, Any]) -> np.ndarray:
        """A clip as mono at the rate of the model, resampled as polyaudio does with files."""
        samples = np.asarray(clip["array"], dtype=np.float32)
        mono = samples.mean(axis=0) if samples.ndim > 1 else samples
        return np.concatenate(list(resample_blocks([mono], int(clip["sampling_rate"]), self.model.sampling_rate)))

    def similarity(self, embeddings1: Any, embeddings2: Any) -> torch.Tensor:
        """The cosine of each vector of `(n, hidden_size)` with each of `(m, hidden_size)`: `(n, m)`."""
        return _unit(embeddings1) @ _unit(embeddings2).T

    def similarity_pairwise(self, embeddings1: Any, embeddings2: Any) -> torch.Tensor:
        """The cosine of each vector of `(n, hidden_size)` with the one at its place: `(n,)`."""
        return (_unit(embeddings1) * _unit(embeddings2)).sum(dim=-1)

    @functools.cached_property
    def mteb_model_meta(self) -> "ModelMeta":
        """
        What MTEB saves with the results. The revision is the digest of the weights, so that MTEB never takes the
        results of another model for those of this one.
        """
        from mteb.models import ModelMeta

        encoder = self.model.encoder
        parameters = encoder.num_parameters()
        return ModelMeta.create_empty(
            overwrites={
                "name": _name(self.source),
                "revision": digest_of_model(encoder),
                "modalities": ["audio"],
                "framework": ["PyTorch", "Transformers"],
                "similarity_fn_name": "cosine",
                "embed_dim": self.model.sizes()[0],
                "n_parameters": parameters,
                "memory_usage_mb": parameters * encoder.dtype.itemsize / 2**20,
                "use_instructions": False,
            }
        )


def _unit(vectors: Any) -> torch.Tensor:
    return functional.normalize(torch.as_tensor(vectors, dtype=torch.float32), dim=-1)


def _name(model: str | os.PathLike | PreTrainedModel) -> str:
    """The Hub name of a model, or a name in the form of one."""
    if isinstance(model, PreTrainedModel):
        model = model.config.name_or_path or type(model).__name__
    name = os.fspath(model)
    is_on_hub = name.count("/") == 1 and not os.path.isdir(name)
    return name if is_on_hub else f"local/{os.path.basename(os.path.abspath(name))}"
