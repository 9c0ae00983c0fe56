# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""The loss of the classifiers, with soft targets, label smoothing and the sums of EAT, which transformers lacks."""

import torch
from torch import nn
from transformers import PreTrainedConfig


def classification_loss(
    logits: torch.Tensor,
    labels: torch.Tensor,
    config: PreTrainedConfig,
    *,
    label_smoothing: float = 0.0,
    single_label_loss: str = "cross_entropy",
    multi_label_reduction: str = "mean",
) -> torch.Tensor:
    """
    Cross entropy, binary cross entropy or mean squared error, according to `config.problem_type`. If that is `None`,
    the first labels set it as in transformers: a model with one output does regression, integer labels mean
    single-label classification, and float labels mean multi-label classification.

    Args:
        logits: `(batch_size, num_labels)`.
        labels: for single-label classification `(batch_size,)`, int64, or the probability of each class,
            `(batch_size, num_labels)`; for multi-label classification `(batch_size, num_labels)`, floats from 0 to 1;
            for regression the values, in the shape of `logits` or without its last dimension of 1.
        config: configuration with `problem_type` and `num_labels`.
        label_smoothing: label smoothing of the cross entropy.
        single_label_loss: `"cross_entropy"`, or `"binary_cross_entropy"`, the sum over the classes and mean over the
            clips with which EAT trains on Speech Commands.
        multi_label_reduction: `"mean"`, or `"labels"`, the sum divided by the sum of the labels with which EAT and
            SSLAM train on AudioSet.

    Returns:
        A scalar, float32.
    """
    labels = labels.to(logits.device)
    logits = logits.float()
    if config.problem_type is None:
        if config.num_labels == 1:
            config.problem_type = "regression"
        else:
            is_multi_label = labels.is_floating_point()
            config.problem_type = "multi_label_classification" if is_multi_label else "single_label_classification"
    if config.problem_type == "regression":
        return nn.functional.mse_loss(logits.view_as(labels), labels.float())
    if config.problem_type == "multi_label_classification":
        losses = nn.functional.binary_cross_entropy_with_logits(logits, labels.float(), reduction="none")
        return losses.sum() / labels.sum().clamp(min=1) if multi_label_reduction == "labels" else losses.mean()
    if single_label_loss == "binary_cross_entropy":
        if not labels.is_floating_point():
            labels = nn.functional.one_hot(labels.view(-1), logits.shape[-1])
        losses = nn.functional.binary_cross_entropy_with_logits(logits, labels.float(), reduction="none")
        return losses.sum(dim=1).mean()
    targets = labels.float() if labels.is_floating_point() else labels.view(-1)
    return nn.functional.cross_entropy(logits, targets, label_smoothing=label_smoothing)
