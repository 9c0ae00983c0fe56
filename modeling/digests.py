# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""The digest of a model, by which a later run recognises its weights, whatever the name of its folder."""

import fnmatch
import hashlib
import json
import os
from pathlib import Path

import numpy as np
import torch
from transformers import PreTrainedModel
from transformers.utils import cached_file

from ..data.digests import digest_of_array, digest_of_file, digest_of_values
from ..integration.saving import WEIGHTS


_ADAPTER = "adapter_config.json"
_PARTS = ("config.json", "preprocessor_config.json", _ADAPTER, "adapter_model.*", *WEIGHTS, "pytorch_model*.bin")


def digest_of_model(model: str | PreTrainedModel) -> str:
    """
    The SHA-256 of the weights of a model, and of the base model of an adapter.

    Args:
        model: a folder, a Hub name whose files have been downloaded, or a model. Of a folder and of a Hub name, the
            settings of the model and of its feature extractor are included.

    Raises:
        OSError: the folder or the downloaded repository does not exist.
    """
    if isinstance(model, PreTrainedModel):
        weights = {name: digest_of_array(_as_bytes(weight)) for name, weight in model.state_dict().items()}
        return digest_of_values(weights)
    folder = Path(model) if os.path.isdir(model) else Path(str(cached_file(model, "config.json"))).parent
    total = hashlib.sha256()
    for path in sorted(folder.iterdir()):
        if any(fnmatch.fnmatch(path.name, part) for part in _PARTS):
            total.update(f"{path.name} {digest_of_file(path)}\n".encode())
    if (folder / _ADAPTER).is_file():
        base = json.loads((folder / _ADAPTER).read_text(encoding="utf-8")).get("base_model_name_or_path")
        if base and Path(base).resolve() != folder.resolve():
            total.update(digest_of_model(base).encode())
    return total.hexdigest()


def _as_bytes(weight: torch.Tensor) -> np.ndarray:
    """The bytes of a tensor of any dtype, as an array."""
    return weight.detach().cpu().contiguous().flatten().view(torch.uint8).numpy()
