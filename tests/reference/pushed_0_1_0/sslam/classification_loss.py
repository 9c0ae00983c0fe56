# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
# Copied from polyaudio 0.1.0. The MIT License: https://opensource.org/license/mit
"""The loss of the classifiers: transformers's own takes no soft targets, label smoothing or sums as EAT has them."""

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
    Cross entropy, binary cross entropy or squared error, as `config.problem_type` says. Where that is unset, the first
    labels set it, as in transformers: int64 single-label, floats multi-label, one output regression.

    Args:
        logits: `(batch_size, num_labels)`.
        labels: single-label `(batch_size,)`, int64, or the probability of each class, `(batch_size, num_labels)`;
            multi-label `(batch_size, num_labels)`, from 0 to 1; regression the values.
        config: tells `problem_type` and `num_labels`.
        label_smoothing: of the cross entropy.
        single_label_loss: `"cross_entropy"`, or `"binary_cross_entropy"`: the sum over the classes, the mean over the
            clips, as EAT trains on Speech Commands.
        multi_label_reduction: `"mean"`, or `"labels"`: the sum divided by the sum of the labels, as EAT and SSLAM
            train on AudioSet.
    """
    labels = labels.to(logits.device)
    logits = logits.float()
    if config.problem_type is None:
        if config.num_labels == 1:
            config.problem_type = "regression"
        else:
            kind = "multi_label" if labels.is_floating_point() else "single_label"
            config.problem_type = f"{kind}_classification"
    if config.problem_type == "regression":
        return nn.functional.mse_loss(logits.view_as(labels), labels.float())
    if config.problem_type == "multi_label_classification":
        losses = nn.functional.binary_cross_entropy_with_logits(logits, labels.float(), reduction="none")
        return losses.sum() / labels.sum().clamp(min=1) if multi_label_reduction == "labels" else losses.mean()
    if single_label_loss == "binary_cross_entropy":
        if not labels.is_floating_point():
            labels = nn.functional.one_hot(labels.view(-1), config.num_labels)
        losses = nn.functional.binary_cross_entropy_with_logits(logits, labels.float(), reduction="none")
        return losses.sum(dim=1).mean()
    targets = labels.float() if labels.is_floating_point() else labels.view(-1)
    return nn.functional.cross_entropy(logits, targets, label_smoothing=label_smoothing)
