# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""The module that is exported: a model whose outputs have names, perhaps with its front end before it."""

from typing import Literal

import torch
from torch import nn
from transformers import PreTrainedModel, SequenceFeatureExtractor

from ..modeling.traits import traits_of


Task = Literal["clips", "frames", "encoder"]


def task_of_model(model: PreTrainedModel) -> Task:
    """What a model gives an answer for: clips or their frames. An encoder gives none."""
    name = type(model).__name__
    if name.endswith("ForAudioFrameClassification"):
        return "frames"
    return "clips" if name.endswith(("ForAudioClassification", "ForSequenceClassification")) else "encoder"


class ExportGraph(nn.Module):
    """
    A model as it is exported. It takes and gives float32, whatever the dtype of the model is.

    Args:
        model: a classifier or an encoder, in evaluation mode.
        feature_extractor: with it, the graph takes samples. Without it, it takes features.
    """

    main_input_name = "input_values"

    def __init__(self, model: PreTrainedModel, feature_extractor: SequenceFeatureExtractor | None):
        super().__init__()
        # transformers gives the example input the dtype of the first parameter
        self.input_dtype = nn.Parameter(torch.zeros(()), requires_grad=False)
        self.task, self.config, self.front_end = task_of_model(model), model.config, None
        if feature_extractor is not None:
            # An encoder gets what `embed` gives it by default
            self.front_end = traits_of(model.config).sample_front_end(
                model.config, feature_extractor, hears_padding=self.task != "encoder"
            )
        self.model = model

    def forward(
        self, input_values: torch.Tensor, attention_mask: torch.Tensor | None = None
    ) -> dict[str, torch.Tensor]:
        """
        Args:
            input_values: `(batch_size, samples)` or what the model takes, float32.
            attention_mask: 1 for samples or frames of a clip, 0 for padding, int64.

        Returns:
            `logits`; for an encoder with front end `utterance` `(batch_size, size)` and `frames`
            `(batch_size, frames, size)`, for one without it the tensors that the encoder returns.
        """
        if self.front_end is not None:
            input_values, attention_mask = self.front_end(input_values, attention_mask)
        mask = {} if attention_mask is None else {"attention_mask": attention_mask}
        outputs = self.model(input_values.to(self.model.dtype), **mask)
        if self.task != "encoder":
            return {"logits": outputs.logits.float()}
        if self.front_end is None:
            return {name: value.float() for name, value in outputs.items() if isinstance(value, torch.Tensor)}
        utterance, frames = traits_of(self.config).clip_and_frame_features(self.model, outputs)
        return {"utterance": utterance.float(), "frames": frames.float()}
