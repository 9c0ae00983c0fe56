# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""What both feature extractors return, in the kinds that the audio feature extractors of transformers return."""

import torch
from transformers import BatchFeature
from transformers.utils import TensorType


_PER_FRAME = ("input_values", "attention_mask")


def as_batch_feature(
    features: dict[str, torch.Tensor], lengths: list[int], return_tensors: str | TensorType | None
) -> BatchFeature:
    """
    Cut the rows of a batch to their lengths and convert them.

    Args:
        features: tensors with the batch first; the second dimension of `input_values` and `attention_mask` is time.
        lengths: for each clip the length of its row.
        return_tensors: `"pt"` for torch tensors, which stay on their device, `"np"` for numpy arrays, `None` for lists
            with one numpy array for each clip.

    Raises:
        ValueError: the lengths differ, but one tensor is asked for; or `return_tensors` is unknown.
    """
    if return_tensors is None:
        rows = {name: list(values.cpu().numpy()) for name, values in features.items()}
        for name in rows.keys() & set(_PER_FRAME):
            rows[name] = [row[:length] for row, length in zip(rows[name], lengths, strict=True)]
        return BatchFeature(rows)
    if min(lengths) < max(lengths):
        raise ValueError(
            f"Clips of the lengths {', '.join(map(str, lengths))} do not fit into one tensor. Pad them "
            "(`padding=True`), cut them (`truncation=True`), or leave `return_tensors` out."
        )
    features = {name: values[:, : lengths[0]] if name in _PER_FRAME else values for name, values in features.items()}
    if TensorType(return_tensors) != TensorType.PYTORCH:
        features = {name: values.cpu().numpy() for name, values in features.items()}
    return BatchFeature(features, tensor_type=return_tensors)
