# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""A model type of its own, as small as one can be: what a package that adds a model to polyaudio would define."""

import torch
from huggingface_hub.dataclasses import strict
from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutputWithPooling, SequenceClassifierOutput

from polyaudio.integration.adapters import AdapterLoadingMixin
from polyaudio.modeling.classification_loss import classification_loss
from polyaudio.modeling.traits import ModelTraits


@strict
class TinyConfig(PreTrainedConfig):
    model_type = "tiny"

    problem_type: str | None = None
    num_mel_bins: int = 128
    hidden_size: int = 16
    initializer_range: float = 0.2


class TinyPreTrainedModel(AdapterLoadingMixin, PreTrainedModel):
    config: TinyConfig
    base_model_prefix = "tiny"
    main_input_name = "input_values"
    accepts_loss_kwargs = False


class TinyModel(TinyPreTrainedModel):
    """Each frame by itself; the pooled output is the mean of the frames that are not padding."""

    def __init__(self, config):
        super().__init__(config)
        self.in_proj = nn.Linear(config.num_mel_bins, config.hidden_size)
        self.out_proj = nn.Linear(config.hidden_size, config.hidden_size)
        self.post_init()

    def forward(self, input_values, attention_mask=None, **kwargs):
        hidden_states = self.out_proj(self.in_proj(input_values).relu())
        if attention_mask is None:
            attention_mask = torch.ones_like(hidden_states[..., 0])
        mask = attention_mask[..., None]
        pooled = (hidden_states * mask).sum(1) / mask.sum(1)
        return BaseModelOutputWithPooling(last_hidden_state=hidden_states, pooler_output=pooled)


class TinyForAudioClassification(TinyPreTrainedModel):
    def __init__(self, config):
        super().__init__(config)
        self.tiny = TinyModel(config)
        self.classifier = nn.Linear(config.hidden_size, config.num_labels)
        self.post_init()

    def forward(self, input_values, attention_mask=None, labels=None, **kwargs):
        logits = self.classifier(self.tiny(input_values, attention_mask).pooler_output)
        loss = None if labels is None else classification_loss(logits, labels, self.config)
        return SequenceClassifierOutput(loss=loss, logits=logits)


class TinyTraits(ModelTraits):
    lora_modules = {"projections": ["in_proj", "out_proj"]}
    probe_features = ("mean",)
    batches_any_lengths = True

    def extractor_settings(self, config):
        return {"feature_size": config.num_mel_bins}
