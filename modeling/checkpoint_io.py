# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Reads the checkpoints of other projects safely: without running code, and without more memory than the file has."""

import io
import os
import pickle
import pickletools
import struct
import tarfile
import warnings
import zipfile
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
import torch
from numpy._core import multiarray
from transformers import PreTrainedConfig, PreTrainedModel, SequenceFeatureExtractor


_INTEGERS = ("i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8")


def _number_dtype(name: str, align: bool = False, copy: bool = True) -> np.dtype:
    """`np.dtype` for numbers only: a dtype of text or of bytes can be of any size."""
    if name not in ("b1", *_INTEGERS, "f2", "f4", "f8"):
        raise pickle.UnpicklingError(f"{name!r} is not a dtype of numbers")
    return np.dtype(name, align, copy)


# Training checkpoints often contain their best metric as a numpy number. Files name its constructor by its module path
# in the numpy that wrote them, which changed with numpy 2.
_NUMPY_SCALARS: list[Any] = [  # torch's annotation has callables only, but it also takes classes
    (multiarray.scalar, "numpy._core.multiarray.scalar"),
    (multiarray.scalar, "numpy.core.multiarray.scalar"),
    (_number_dtype, "numpy.dtype"),
    *(type(np.dtype(name)) for name in ("b1", *_INTEGERS, "f2", "f4", "f8")),
]
# The state of NumPy's random generator, in the checkpoints of a Trainer, is an array
_NUMPY_ARRAYS: list[Any] = [
    (multiarray._reconstruct, "numpy._core.multiarray._reconstruct"),
    (multiarray._reconstruct, "numpy.core.multiarray._reconstruct"),
    np.ndarray,
]
_ARRAYS = ("numpy._core.multiarray _reconstruct", "numpy.core.multiarray _reconstruct", "numpy ndarray")
# What a file may contain besides the types of storages and numbers. torch allows more, such as `bytearray`, with which
# a file of a few bytes fills the memory.
_ALLOWED = {
    *("collections OrderedDict", "collections Counter", "_codecs encode"),
    *("builtins set", "builtins complex", "__builtin__ set", "__builtin__ complex"),
    *("torch Size", "torch device", "torch.serialization _get_layout", "torch.nn.parameter Parameter"),
    *("torch._utils _rebuild_tensor", "torch._utils _rebuild_tensor_v2", "torch._utils _rebuild_parameter"),
    *("numpy._core.multiarray scalar", "numpy.core.multiarray scalar", "numpy dtype"),
}
# Without the tensors, whose content is stored elsewhere. An object of a pickle takes up to 72 times its bytes.
_LARGEST_PICKLE = 2**21
_MAGIC = 0x1950A86A20F9469CFC6C  # the first object in a file of torch before 1.6
_LEGACY_PICKLES = 5  # magic number, version, system, content, names of the storages
# What the readers of torch and of pickles raise for a damaged file
_DAMAGED = (
    *(pickle.UnpicklingError, RuntimeError, EOFError, LookupError, TypeError, ValueError, AttributeError),
    *(AssertionError, ArithmeticError, MemoryError, struct.error, zipfile.BadZipFile, NotImplementedError),
)


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


def read_torch_checkpoint(
    path: str | os.PathLike, *, allow_pickle: bool = False, arrays: bool = False
) -> dict[str, Any]:
    """
    Read a dictionary that `torch.save` wrote, onto the CPU.

    Args:
        path: the file.
        allow_pickle: read any object, with a warning. Unpickling runs any code that the author of the file put into
            it, so pass `True` only for a file that you trust.
        arrays: also read NumPy arrays.

    Returns:
        The saved dictionary: tensors, Python containers, strings and numbers, including numpy numbers.

    Raises:
        OSError: the file cannot be opened.
        UnsafeCheckpointError: the file contains other objects. None of its code has been run.
        ValueError: the file is not a checkpoint, is damaged, would take much more memory than its size, or does not
            contain a dictionary.
    """
    with open(path, "rb") as file:
        is_zip = zipfile.is_zipfile(file)
        if not allow_pickle:
            try:
                _check_pickles(path, file, is_zip, _ALLOWED.union(_ARRAYS if arrays else ()))
            except UnsafeCheckpointError:
                raise
            except _DAMAGED as error:
                raise _damaged(path, error) from error

    if allow_pickle:
        warnings.warn(f"Unpickling {path} without restrictions: any code in this file runs.", stacklevel=2)
    try:
        with torch.serialization.safe_globals([*_NUMPY_SCALARS, *(_NUMPY_ARRAYS if arrays else ())]):
            # mmap reads only the tensors that are used, and not the optimizer state of a training checkpoint
            checkpoint = torch.load(path, map_location="cpu", weights_only=not allow_pickle, mmap=is_zip)
    except _DAMAGED as error:
        raise _damaged(path, error) from error
    if not isinstance(checkpoint, dict):
        raise ValueError(f"{path} contains a {type(checkpoint).__name__} instead of a dictionary.")
    if not allow_pickle:
        _check_tensors(checkpoint, path)
    return checkpoint


def weights_of(state_dict: Any) -> dict[str, torch.Tensor]:
    """The weights of a checkpoint by name. Raises `ValueError` if it is anything else."""
    if not isinstance(state_dict, Mapping) or not all(
        isinstance(name, str) and isinstance(tensor, torch.Tensor) for name, tensor in state_dict.items()
    ):
        raise ValueError("The weights in the checkpoint are damaged: they are not tensors by name.")
    return dict(state_dict)


def section_of(settings: Any, *names: str) -> dict[str, Any]:
    """A section of the settings in a checkpoint. Raises `ValueError` if there is none."""
    for name in names:
        settings = settings.get(name) if isinstance(settings, Mapping) else None
    if not isinstance(settings, Mapping):
        raise ValueError(f"The settings in the checkpoint lack the section {'.'.join(names)}.")
    return dict(settings)


def build_converted(
    model_class: type[PreTrainedModel], config: PreTrainedConfig, state_dict: Mapping[str, torch.Tensor]
) -> PreTrainedModel:
    """
    Build a model with converted weights.

    Raises:
        ValueError: the weights are not those of such a model. The model has not been built then, because the sizes in
            the settings of a checkpoint may be wrong.
    """
    with torch.device("meta"):
        expected = {name: tuple(tensor.shape) for name, tensor in model_class(config).state_dict().items()}
    for name in sorted(expected.keys() | state_dict.keys()):
        found = tuple(state_dict[name].shape) if name in state_dict else None
        if expected.get(name) != found:
            raise ValueError(
                f"The weights of the checkpoint do not fit its settings: {name} should have the shape "
                f"{expected.get(name)}, but has {found}."
            )
    model = model_class(config)
    model.load_state_dict(state_dict)
    return model


def _damaged(path: str | os.PathLike, error: BaseException) -> ValueError:
    reason = str(error).strip().partition("\n")[0] or type(error).__name__
    return ValueError(f"{path} is not a checkpoint that can be read ({reason}). Copy or download the file again.")


def _check_pickles(path: str | os.PathLike, file: BinaryIO, is_zip: bool, allowed: Collection[str]) -> None:
    """
    Check a file of `torch.save` before its pickles are read.

    Raises:
        UnsafeCheckpointError: a pickle contains something that is not allowed.
        ValueError: the file is not one of `torch.save`, or is much larger when it is read.
    """
    if is_zip:
        with zipfile.ZipFile(file) as archive:
            entries = archive.infolist()
            for entry in entries:
                if entry.compress_type != zipfile.ZIP_STORED:
                    raise ValueError(f"{entry.filename} in it is compressed, which torch.save does not do")
                if entry.filename.endswith(".pkl"):
                    if entry.file_size > _LARGEST_PICKLE:
                        raise ValueError(f"{entry.filename} in it has {entry.file_size} bytes")
                    _check_pickle(path, io.BytesIO(archive.read(entry)), allowed)
        return
    file.seek(0)
    if file.read(1) != pickle.PROTO:  # torch before 1.6 wrote bare pickles
        raise ValueError("it was not written by torch.save: it is neither a zip archive nor a pickle")
    file.seek(0)
    first = next((argument for _, argument, _ in pickletools.genops(file) if argument not in (None, 2, 3, 4)), None)
    file.seek(0)
    try:
        tarfile.open(fileobj=file, mode="r:").close()
        is_tar = True
    except tarfile.TarError:
        is_tar = False
    file.seek(0)
    if first != _MAGIC or is_tar:  # a tar archive is older still, and torch would unpack it
        _check_pickle(path, file, allowed)  # a pickle of unknown objects says which
        raise ValueError("it was not written by torch.save")
    for _ in range(_LEGACY_PICKLES):
        _check_pickle(path, file, allowed)


def _check_pickle(path: str | os.PathLike, file: BinaryIO, allowed: Collection[str]) -> None:
    start = file.tell()
    memo: list[Any] = []
    for opcode, argument, position in pickletools.genops(file):
        if (position or 0) - start > _LARGEST_PICKLE:
            raise ValueError(f"a pickle in it is larger than {_LARGEST_PICKLE} bytes")
        if opcode.name in ("SHORT_BINUNICODE", "BINUNICODE", "UNICODE"):
            memo = [*memo[-1:], argument]
        found = argument if opcode.name in ("GLOBAL", "INST") else None
        if opcode.name == "STACK_GLOBAL":
            found = " ".join(map(str, memo[-2:]))
        if found is not None and not _is_allowed(found, allowed):
            raise UnsafeCheckpointError(
                f"{path} was refused: it contains {found.replace(' ', '.')}, which is not a tensor, container or "
                "number. Reading it could run code that is hidden in the file. If you trust its origin, pass "
                "`allow_pickle`."
            )


def _is_allowed(name: str, allowed: Collection[str]) -> bool:
    module, _, attribute = name.partition(" ")
    if module == "torch" and (
        attribute.endswith("Storage") or isinstance(getattr(torch, attribute, None), torch.dtype)
    ):
        return True
    return name in allowed or (module == "numpy.dtypes" and attribute.endswith("DType"))


def _check_tensors(checkpoint: dict[str, Any], path: str | os.PathLike) -> None:
    """
    Check that a checkpoint has plain keys, and no more numbers than the file.

    A tensor can be expanded: it then repeats a few numbers, and a copy of it can fill the memory. Many tensors can
    share the same numbers too. Tied weights do, so that twice the size of the file is accepted.

    Raises:
        ValueError: the checkpoint has other keys, or is larger than its file.
    """
    size, total = os.path.getsize(path), 0
    for value in _values(checkpoint):
        if isinstance(value, torch.Tensor):
            total += value.numel() * value.element_size()
            if value.numel() * value.element_size() > size or total > 2 * size:
                raise ValueError(
                    f"The tensors in {path} have more numbers than the file, because they share or repeat them. "
                    "Save a checkpoint with tensors of their own (`tensor.clone()`)."
                )
        elif isinstance(value, dict) and not all(isinstance(key, str | int) for key in value):
            raise ValueError(f"{path} has keys that are not names or numbers, so it is not a checkpoint of a model.")


def _values(checkpoint: dict[str, Any]) -> Iterator[Any]:
    """All values in nested containers, each once, however deep they are."""
    waiting: list[Any] = [checkpoint]
    seen = set()
    while waiting:
        value = waiting.pop()
        if id(value) in seen:
            continue
        seen.add(id(value))
        yield value
        if isinstance(value, Mapping):
            waiting += value.values()
        elif isinstance(value, list | tuple | set):
            waiting += value
