# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Training the head of a classifier with a frozen encoder, whose features are computed only once if possible."""

import copy
from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

import datasets
import torch
from torch.nn.utils.rnn import pad_sequence
from transformers import PreTrainedModel
from transformers.modeling_outputs import SequenceClassifierOutput

from ..modeling.traits import traits_of


@runtime_checkable
class AudioClassifier(Protocol):
    """The methods of a classifier of polyaudio, in addition to those of `PreTrainedModel`."""

    def freeze_base_model(self) -> None: ...

    def pool(self, hidden_states: torch.Tensor, attention_mask: torch.Tensor | None = None) -> torch.Tensor: ...

    def classify(self, pooled: torch.Tensor) -> torch.Tensor: ...

    def compute_loss(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor: ...


def is_frozen(module: torch.nn.Module) -> bool:
    """Whether none of the weights of a module is trained."""
    return not any(weight.requires_grad for weight in module.parameters())


def freeze_encoder(model: PreTrainedModel) -> None:
    """
    Freeze the encoder of a classifier in place, so that only the head is trained. Of a SAMAudio model over another
    encoder, that encoder is frozen, and the segments are trained with the head.

    `AudioTrainer` keeps a frozen encoder in evaluation mode, without dropout and drop path. The linear evaluation of
    the original code keeps drop path.

    Raises:
        ValueError: the model has no classification head, or PEFT wraps it.
    """
    if not isinstance(model, PreTrainedModel):
        raise ValueError("An adapter trains the encoder. Leave out either LoRA or freezing the encoder.")
    if not isinstance(model, AudioClassifier):
        raise ValueError(f"{type(model).__name__} is not a classifier of polyaudio, so its encoder cannot be frozen.")
    if traits_of(model.config).inner_encoder is None:
        model.freeze_base_model()
    else:
        model.freeze_feature_encoder()  # type: ignore[operator]  # of the models that have traits with such a name


class EncodedClips(torch.utils.data.Dataset):
    """
    The features that a frozen encoder computed of each clip, in memory; see [`encode_clips`].

    Args:
        features: for each clip `(hidden_size,)`, or `(time_patches, hidden_size)` for a frame classifier.
        labels: for each clip the labels that the model takes.
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
    Compute the features of all clips of a dataset with the encoder of a classifier.

    Args:
        model: a classifier. It is moved to `device` and set to evaluation mode.
        dataset: a dataset whose items are the same in each epoch.
        collator: makes batches with `input_values`, `labels` and, if there is padding, `attention_mask`.
        batch_size: number of clips in a batch.
        num_workers: number of processes that read clips.
        device: the device to compute on, by default that of the model.

    Raises:
        ValueError: the model is not a classifier of polyaudio.
    """
    if not isinstance(model, AudioClassifier):
        raise ValueError(f"{type(model).__name__} is not a classifier of polyaudio.")
    if device is not None:
        model.to(device)  # type: ignore[arg-type]  # transformers' wrapper of `to` has no type for `self`
    model.eval()
    traits = traits_of(model.config)
    batches = torch.utils.data.DataLoader(dataset, batch_size=batch_size, collate_fn=collator, num_workers=num_workers)
    features: list[torch.Tensor] = []
    labels: list[torch.Tensor] = []
    for batch in datasets.utils.tqdm(batches, desc="Encoding clips", unit="batch"):
        mask = batch.get("attention_mask")
        mask = None if mask is None else mask.to(model.device)
        hidden_states = model.base_model(batch["input_values"].to(model.device), attention_mask=mask).last_hidden_state
        pooled = model.pool(hidden_states, mask).cpu()
        if pooled.ndim == 3 and mask is not None:
            own_vectors = traits.vector_mask(model.config, mask).sum(1).tolist()
            own_answers = traits.answer_mask(model.config, mask).sum(1).tolist()
            features += [one[:number].clone() for one, number in zip(pooled, own_vectors, strict=True)]
            labels += [one[:number].clone() for one, number in zip(batch["labels"], own_answers, strict=True)]
        else:
            features += pooled.unbind()
            labels += batch["labels"].unbind()
    return EncodedClips(features, labels)


def collate_encoded(items: list[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    """
    Make a batch of the items of [`EncodedClips`]: `features` and `labels`. Time patches are padded with zeros, and
    labels with -100.
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
    The head of a classifier with a frozen encoder, to train on [`EncodedClips`] with [`collate_encoded`].

    It shares the weights of the head with the classifier, so the classifier is trained with it. Save the classifier:
    checkpoints of this module have the head only.

    Raises:
        ValueError: the model is not a classifier of polyaudio, or its encoder is not frozen.
    """

    def __init__(self, model: PreTrainedModel):
        super().__init__()
        if not is_frozen(model.base_model):
            raise ValueError("The encoder is not frozen. Call freeze_encoder first.")
        head = copy.copy(model)
        head._modules = {name: child for name, child in model.named_children() if child is not model.base_model}
        if not isinstance(head, AudioClassifier):
            raise ValueError(f"{type(model).__name__} is not a classifier of polyaudio.")
        self.config = model.config
        self.model = head

    def forward(self, features: torch.Tensor, labels: torch.Tensor | None = None) -> SequenceClassifierOutput:
        """
        Args:
            features: `(clips, hidden_size)`, or `(clips, time_patches, hidden_size)`.
            labels: the labels that the classifier takes.
        """
        logits, loss = self.model.classify(features), None
        if labels is not None:
            if logits.ndim == 3:  # the last time patch can have more answers than the clip
                logits = logits[:, : labels.shape[1]]
            loss = self.model.compute_loss(logits, labels)
        return SequenceClassifierOutput(loss=loss, logits=logits)


__all__ = ["EncodedClips", "HeadModel", "collate_encoded", "encode_clips", "freeze_encoder", "is_frozen"]
