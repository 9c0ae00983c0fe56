# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Reads checkpoints from `torch.save` without running code that a pickle may contain."""

import os
import pickle
import re
import warnings
import zipfile
from typing import Any

import numpy as np
import torch


# Training checkpoints often hold their best metric as a numpy number. Files name its constructor by a module path,
# which was another one before numpy 2.
_NUMPY_SCALARS = [
    (np._core.multiarray.scalar, "numpy._core.multiarray.scalar"),
    (np._core.multiarray.scalar, "numpy.core.multiarray.scalar"),
    np.dtype,
    *(type(np.dtype(name)) for name in ("bool", "int32", "int64", "float16", "float32", "float64")),
]


class UnsafeCheckpointError(ValueError):
    """A checkpoint holds more than tensors, containers and numbers, so reading it could run foreign code."""


def read_torch_checkpoint(path: str | os.PathLike, *, allow_pickle: bool = False) -> dict[str, Any]:
    """
    Read a dictionary that was written by `torch.save`, onto the CPU.

    Args:
        path: the file.
        allow_pickle: read any file, with a warning. Unpickling runs the code that the file contains, so pass `True`
            only for a file that you trust.

    Returns:
        The saved dictionary of tensors, Python containers, strings, numbers and numpy numbers.

    Raises:
        UnsafeCheckpointError: the file contains anything else. None of it has been run.
        ValueError: the file is not a checkpoint or does not hold a dictionary.
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
            # With mmap only the tensors that are used are read, and not the state of the optimizer
            checkpoint = torch.load(path, map_location="cpu", weights_only=not allow_pickle, mmap=is_zip)
    except pickle.UnpicklingError as error:
        wanted = re.search(r"GLOBAL (\S+)", str(error))
        found = wanted.group(1) if wanted else "something"
        raise UnsafeCheckpointError(
            f"{path} was refused: it holds {found} in addition to tensors, containers and numbers, and reading that "
            "could run code hidden in the file. Allow pickle only if you trust the origin of the file."
        ) from error
    if not isinstance(checkpoint, dict):
        raise ValueError(f"{path} holds no dictionary but {type(checkpoint).__name__}.")
    return checkpoint
