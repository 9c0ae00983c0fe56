# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Cuts long clips into windows for a classifier, and joins the answers for the windows."""

import torch
from torch import nn


def cut_into_windows(
    input_values: torch.Tensor, attention_mask: torch.Tensor | None, window_frames: int | None
) -> tuple[torch.Tensor, torch.Tensor | None, torch.Tensor]:
    """
    Cut each clip of a batch into adjacent windows. The last window is padded, and the padding is masked.

    Args:
        input_values: `(batch_size, num_frames, feature_size)`.
        attention_mask: `(batch_size, num_frames)`, nonzero for frames that are not padding, or `None`.
        window_frames: length of a window. Clips up to this length stay one window, and with `None` all clips do.

    Returns:
        The windows `(batch_size * num_windows, frames, feature_size)`, the windows of a clip next to each other; their
        mask `(batch_size * num_windows, frames)` or `None`; and the number of frames in each window that are not
        padding, `(batch_size, num_windows)`, float32.
    """
    batch_size, num_frames = input_values.shape[:2]
    if window_frames is None:
        frames = num_frames
    elif torch.compiler.is_exporting():
        frames = window_frames  # one length, also for shorter clips, so that one program serves clips of any length
    else:
        frames = min(num_frames, window_frames)
    num_windows = (num_frames + frames - 1) // frames
    if attention_mask is None:
        if num_windows == 1 and frames == num_frames:
            return input_values, None, input_values.new_ones(batch_size, 1, dtype=torch.float32)
        attention_mask = torch.ones_like(input_values[..., 0], dtype=torch.bool)
    missing = num_windows * frames - num_frames
    windows = nn.functional.pad(input_values, (0, 0, 0, missing)).unflatten(1, (num_windows, frames))
    mask = nn.functional.pad(attention_mask.bool(), (0, missing)).unflatten(1, (num_windows, frames))
    num_own_frames = mask.sum(dim=2, dtype=torch.float32)
    # A window after the end of its clip does not count. It is not masked, because pooling needs something to pool.
    mask = mask | (num_own_frames == 0)[..., None]
    return windows.flatten(0, 1), mask.flatten(0, 1), num_own_frames


def log_sigmoid(log_odds: torch.Tensor) -> torch.Tensor:
    """
    What `torch.nn.functional.logsigmoid` computes, by the same formula.

    ONNX has no such operator, and torch exports it as the logarithm of a sigmoid, which becomes infinite in ONNX
    Runtime.
    """
    return log_odds.clamp(max=0) - torch.log1p(torch.exp(-log_odds.abs()))


def join_window_logits(logits: torch.Tensor, weights: torch.Tensor, problem_type: str | None) -> torch.Tensor:
    """
    The logits of clips whose probabilities are the weighted means over their windows. Regression averages the values.

    Args:
        logits: `(batch_size * num_windows, num_labels)`, those of the windows of a clip next to each other.
        weights: `(batch_size, num_windows)`, at least one of each clip above 0.
        problem_type: `config.problem_type` of the classifier.

    Returns:
        `(batch_size, num_labels)`. For clips of one window they are the logits of the window.
    """
    dtype = logits.dtype
    logits = logits.float().unflatten(0, weights.shape)
    weights = (weights / weights.sum(dim=1, keepdim=True))[..., None]
    if problem_type == "regression":
        return (weights * logits).sum(dim=1).to(dtype)
    log_weights = weights.log()
    if problem_type == "multi_label_classification":
        positive = torch.logsumexp(log_weights + log_sigmoid(logits), dim=1)
        negative = torch.logsumexp(log_weights + log_sigmoid(-logits), dim=1)
        return (positive - negative).to(dtype)
    # Softmax ignores the constant that is added last. It makes the logits of a single window what they were.
    normalizers = logits.logsumexp(dim=2, keepdim=True)
    joined = torch.logsumexp(log_weights + logits - normalizers, dim=1) + (weights * normalizers).sum(dim=1)
    return joined.to(dtype)
