# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Reads the checkpoints of other projects safely: without running code that a pickle may contain."""

import os
import pickle
import re
import warnings
import zipfile
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy._core import multiarray
from transformers import PreTrainedModel, SequenceFeatureExtractor


# Training checkpoints often contain their best metric as a numpy number. Files name its constructor by its module path
# in the numpy that wrote them, which changed with numpy 2.
_NUMPY_SCALARS: list[Any] = [  # torch's annotation has callables only, but it also takes classes
    (multiarray.scalar, "numpy._core.multiarray.scalar"),
    (multiarray.scalar, "numpy.core.multiarray.scalar"),
    np.dtype,
    *(type(np.dtype(name)) for name in ("bool", "int32", "int64", "float16", "float32", "float64")),
]


@dataclass(frozen=True)
class ConvertedModel:
    """
    A checkpoint of another project as a model of polyaudio.

    Attributes:
        model: the model with the converted weights.
        feature_extractor: computes the features that the model was trained on.
        what: the part of the checkpoint that was converted: `encoder`, `classifier` or `pretraining`.
        keys: what became of each key of the checkpoint: "used as is", "renamed to ..." or "dropped: ...". Empty if the
            checkpoint was loaded by `from_pretrained`.
        weights: `student` or `teacher`, for checkpoints that have both.
    """

    model: PreTrainedModel
    feature_extractor: SequenceFeatureExtractor
    what: str
    keys: dict[str, str]
    weights: str | None = None


class UnsafeCheckpointError(ValueError):
    """A checkpoint contains more than tensors, containers and numbers, so reading it could run unknown code."""


def read_torch_checkpoint(path: str | os.PathLike, *, allow_pickle: bool = False) -> dict[str, Any]:
    """
    Read a dictionary that `torch.save` wrote, onto the CPU.

    Args:
        path: the file.
        allow_pickle: read any object, with a warning. Unpickling runs any code that the author of the file put into
            it, so pass `True` only for a file that you trust.

    Returns:
        The saved dictionary: tensors, Python containers, strings and numbers, including numpy numbers.

    Raises:
        OSError: the file cannot be opened.
        UnsafeCheckpointError: the file contains other objects. None of its code has been run.
        ValueError: the file is not a checkpoint or does not contain a dictionary.
    """
    is_zip = zipfile.is_zipfile(path)
    if not is_zip:
        with open(path, "rb") as file:
            if file.read(1) != pickle.PROTO:  # torch before 1.6 wrote bare pickles
                raise ValueError(f"{path} was not written by torch.save: it is neither a zip archive nor a pickle.")

    if allow_pickle:
        warnings.warn(f"Unpickling {path} without restrictions: any code in this file runs.", stacklevel=2)
    try:
        with torch.serialization.safe_globals(_NUMPY_SCALARS):
            # mmap reads only the tensors that are used, and not the optimizer state of a training checkpoint
            checkpoint = torch.load(path, map_location="cpu", weights_only=not allow_pickle, mmap=is_zip)
    except pickle.UnpicklingError as error:
        wanted = re.search(r"GLOBAL (\S+)", str(error))
        found = wanted.group(1) if wanted else "something"
        raise UnsafeCheckpointError(
            f"{path} was refused: it contains {found}, which is not a tensor, container or number. Reading it could "
            "run code that is hidden in the file. If you trust its origin, pass `allow_pickle`."
        ) from error
    if not isinstance(checkpoint, dict):
        raise ValueError(f"{path} contains a {type(checkpoint).__name__} instead of a dictionary.")
    return checkpoint
