# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Training a classifier on an encoder that stays as it is, on features that are computed once where that will do."""

import copy
from collections.abc import Callable
from typing import Any

import datasets
import torch
from torch.nn.utils.rnn import pad_sequence
from transformers import PreTrainedModel
from transformers.modeling_outputs import SequenceClassifierOutput


def is_frozen(module: torch.nn.Module) -> bool:
    """Whether none of a module's weights is trained."""
    return not any(weight.requires_grad for weight in module.parameters())


def freeze_encoder(model: PreTrainedModel) -> None:
    """
    Train only the classification head, by `model.freeze_base_model()`.

    `AudioTrainer` keeps a frozen encoder in evaluation mode, so that there is neither dropout nor drop path in it. The
    original's linear evaluation leaves drop path on.

    Raises:
        ValueError: the model has no classification head, or PEFT wraps it.
    """
    if not isinstance(model, PreTrainedModel):
        raise ValueError("An adapter trains the encoder: leave out either LoRA or freezing the encoder.")
    if not hasattr(model, "freeze_base_model"):
        raise ValueError(f"{type(model).__name__} has nothing to train but its encoder.")
    model.freeze_base_model()


class EncodedClips(torch.utils.data.Dataset):
    """
    Clips as what a frozen encoder makes of them, in memory: [`encode_clips`] gives it.

    Args:
        features: for each clip `(hidden_size,)`, or `(time_patches, hidden_size)` where time patches are classified.
        labels: for each clip what the model takes as its labels.
    """

    def __init__(self, features: list[torch.Tensor], labels: list[torch.Tensor]):
        self.features = features
        self.labels = labels

    def __len__(self) -> int:
        return len(self.features)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        """`{"features": ..., "labels": ...}`."""
        return {"features": self.features[index], "labels": self.labels[index]}


@torch.no_grad()
def encode_clips(
    model: PreTrainedModel,
    dataset: torch.utils.data.Dataset,
    collator: Callable[[list[Any]], dict[str, torch.Tensor]],
    *,
    batch_size: int = 8,
    num_workers: int = 0,
    device: torch.device | str | None = None,
) -> EncodedClips:
    """
    Run the encoder of a model over a dataset once.

    Args:
        model: is moved to `device`, and in evaluation mode from here on.
        dataset: must give the same items each time.
        collator: makes batches with `input_values` and `labels`, and `attention_mask` where there is padding.
        device: by default where the model is.
    """
    model.to(model.device if device is None else device).eval()
    batches = torch.utils.data.DataLoader(dataset, batch_size=batch_size, collate_fn=collator, num_workers=num_workers)
    features, labels = [], []
    for batch in datasets.utils.tqdm(batches, desc="Encoding clips", unit="batch"):
        mask = batch.get("attention_mask")
        mask = None if mask is None else mask.to(model.device)
        hidden_states = model.base_model(batch["input_values"].to(model.device), attention_mask=mask).last_hidden_state
        pooled = model.pool(hidden_states, mask).cpu()
        if pooled.ndim == 3 and mask is not None:
            own_patches = model.get_time_patch_mask(mask).sum(1).tolist()
            features += [one[:number].clone() for one, number in zip(pooled, own_patches, strict=True)]
            labels += [one[:number].clone() for one, number in zip(batch["labels"], own_patches, strict=True)]
        else:
            features += pooled.unbind()
            labels += batch["labels"].unbind()
    return EncodedClips(features, labels)


def collate_encoded(items: list[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    """
    Make a batch of the items of [`EncodedClips`]: `features` and `labels`. Time patches are padded with zeros, and the
    labels of padding are -100.
    """
    features, labels = ([item[name] for item in items] for name in ("features", "labels"))
    if features[0].ndim == 1:
        return {"features": torch.stack(features), "labels": torch.stack(labels)}
    return {
        "features": pad_sequence(features, batch_first=True),
        "labels": pad_sequence(labels, batch_first=True, padding_value=-100),
    }


class HeadModel(torch.nn.Module):
    """
    What a model has beside its frozen encoder, to be trained on [`EncodedClips`] with [`collate_encoded`].

    Loss and logits are those of the whole model, which shares its weights with this and so is trained with it: save
    that one. Checkpoints of this one hold the head only.
    """

    def __init__(self, model: PreTrainedModel):
        super().__init__()
        if not is_frozen(model.base_model):
            raise ValueError("Features can be cached of a frozen encoder only: call freeze_encoder first.")
        self.config = model.config
        self.model = copy.copy(model)
        self.model._modules = {name: child for name, child in model.named_children() if child is not model.base_model}

    def forward(self, features: torch.Tensor, labels: torch.Tensor | None = None) -> SequenceClassifierOutput:
        """
        Args:
            features: `(clips, hidden_size)`, or `(clips, time_patches, hidden_size)`.
            labels: what the whole model takes.
        """
        logits = self.model.classify(features)
        loss = None if labels is None else self.model.compute_loss(logits, labels)
        return SequenceClassifierOutput(loss=loss, logits=logits)


__all__ = ["EncodedClips", "HeadModel", "collate_encoded", "encode_clips", "freeze_encoder", "is_frozen"]
