# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""What polyaudio needs to know about a type of model beyond what transformers knows."""

from collections.abc import Mapping, Sequence
from typing import Any, Generic, Literal, TypeVar

import numpy as np
import torch
from transformers import BatchFeature, PreTrainedConfig, PreTrainedModel, SequenceFeatureExtractor
from transformers.modeling_outputs import BaseModelOutputWithPooling
from transformers.utils import ModelOutput

from ..data.grid import WindowGrid
from ..feature_extraction.samples import SampleFrontEnd
from ..integration.registry import MODEL_TYPES, load_class


# The features of one window: a vector for the whole window, vectors along its time, or both
WindowFeatures = tuple[torch.Tensor | None, torch.Tensor | None]

# The layer that features are from: the number of layers below its hidden states (0 for the input of the first layer,
# negative numbers count from the end), or the mean of the hidden states after each layer
Layer = int | Literal["mean"]


ConfigT = TypeVar("ConfigT", bound=PreTrainedConfig)
ExtractorT = TypeVar("ExtractorT", bound=SequenceFeatureExtractor)


class ModelTraits(Generic[ConfigT, ExtractorT]):
    """
    The traits of a model type, for the classes of its configuration and its feature extractor. The defaults here are
    those of models of other libraries, which read one whole clip at a time.

    Attributes:
        recipe: the recipe for training such a model on a small dataset.
        lora_modules: parts of the encoder that LoRA can adapt, each with the names of its modules, the default first.
        probe_features: the features that a linear probe can use, the default first.
        no_weight_decay: endings of the names of parameters without weight decay, in addition to norms and biases.
        reads_any_length: whether the model reads clips of any length in one pass, as it does in training.
        batches_any_lengths: whether a clip gives the same output alone and in a padded batch with its attention mask.
        has_segments: whether the model has segment tokens, which attend to the frames of a clip.
        inner_encoder: the name of the pre-trained encoder in the base model, if the rest of the base model is built
            on one. It is what freezing freezes and LoRA adapts, and the rest is trained.
    """

    recipe: str = "default"
    lora_modules: Mapping[str, Sequence[str]] = {}
    probe_features: tuple[str, ...] = ()
    no_weight_decay: tuple[str, ...] = ()
    reads_any_length: bool = True
    batches_any_lengths: bool = False
    has_segments: bool = False
    inner_encoder: str | None = None

    def for_config(self, config: ConfigT) -> "ModelTraits":
        """The traits of a model with this configuration, where they are not the same for all models of the type."""
        return self

    def input_config(self, config: ConfigT) -> PreTrainedConfig:
        """The configuration that the feature extractor belongs to."""
        return config

    @property
    def default_lora_modules(self) -> Sequence[str]:
        """The modules that `LoraConfig()` adapts: those of the first of the `lora_modules`."""
        return next(iter(self.lora_modules.values()), ())

    def default_extractor(self, config: ConfigT) -> ExtractorT | None:
        """The feature extractor of models without a `preprocessor_config.json`; `None` if they must have one."""
        return None

    def extractor_settings(self, config: ConfigT) -> dict[str, Any]:
        """The arguments of the feature extractor that follow from the configuration of a model."""
        return {}

    def fit_to_crops(
        self, feature_extractor: ExtractorT, config: ConfigT, crop_seconds: float | None, keep_padding: bool
    ) -> None:
        """
        Set a feature extractor and a configuration, in place, to the length of the clips that a model is trained on,
        and the configuration to the padding of the feature extractor.

        Args:
            crop_seconds: length of the training crops; `None` or 0 for whole clips.
            keep_padding: whether clips are padded to the length, and in the way, that the feature extractor is set to.

        Raises:
            ValueError: the model cannot take clips that long.
        """

    def set_window(self, config: ConfigT, grid: WindowGrid) -> None:
        """Set a configuration, in place, such that a classifier reads each window of the grid in one pass."""

    def window_grid(
        self, config: ConfigT, feature_extractor: ExtractorT, seconds: float | None = None
    ) -> WindowGrid | None:
        """
        The windows that a long clip is cut into.

        Args:
            seconds: length of a window, by default the length that a classifier reads in one pass.

        Returns:
            The windows, or `None` where the model reads whole clips.

        Raises:
            ValueError: the model cannot take windows that long.
        """
        rate = feature_extractor.sampling_rate
        return None if seconds is None else WindowGrid.of_seconds(seconds, rate)

    def extractor_call(
        self,
        config: ConfigT,
        feature_extractor: ExtractorT,
        grid: WindowGrid | None,
        padding: str | None,
        is_part: Sequence[bool],
    ) -> dict[str, Any]:
        """
        The arguments for calling the feature extractor with windows of a grid.

        Args:
            is_part: for each window, whether its clip has several windows.
            padding: `"longest"` pads to the longest window and masks the padding. `"max_length"` pads to the full
                window, and the model hears the padding of clips of one window. `None` chooses what the model was
                trained with.

        Raises:
            ValueError: the model has no windows of one length to pad to.
        """
        if padding == "max_length":
            raise ValueError(
                f"padding={padding!r} needs windows of one length, which a model of type {config.model_type} does not "
                "have. Use 'longest'."
            )
        return {"padding": True, "return_attention_mask": True} if self.batches_any_lengths else {}

    def sample_front_end(
        self, config: ConfigT, feature_extractor: ExtractorT, *, hears_padding: bool
    ) -> SampleFrontEnd:
        """
        The feature extractor as a module on samples, for export.

        Args:
            hears_padding: whether a clip gets the padding that the feature extractor adds by default, or none.

        Raises:
            ValueError: polyaudio has no such module for models of this type.
        """
        raise ValueError(
            f"polyaudio cannot export the front end of a model of type {config.model_type}. Export the model alone."
        )

    def clip_and_frame_features(
        self, model: PreTrainedModel, outputs: ModelOutput
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """
        The features of a batch of windows, with those of padding: `(windows, size)` for the windows and
        `(windows, frames, size)` along their time.

        Args:
            outputs: of the base model.

        Raises:
            ValueError: the model has no sequence of hidden states.
        """
        hidden_states = getattr(outputs, "last_hidden_state", None)
        if hidden_states is None or hidden_states.ndim != 3:
            raise ValueError(f"A model of type {model.config.model_type} has no sequence of hidden states.")
        return hidden_states.mean(1), hidden_states

    def check_layer(self, config: ConfigT, layer: Layer, *, of_frames: bool = False) -> None:
        """
        Check that the features of a model can be those of a layer.

        Args:
            of_frames: whether they are features along time.

        Raises:
            ValueError: the model has no such layer.
        """
        layers = getattr(config, "num_hidden_layers", None)
        if layers is None:
            raise ValueError(f"A model of type {config.model_type} has no layers to choose from. Leave out layer.")
        if layer != "mean" and (isinstance(layer, str) or not -layers - 1 <= layer <= layers):
            raise ValueError(
                f"layer must be a number from 0 to {layers}, a negative one, which counts from the end, or mean, got "
                f"{layer!r}."
            )

    def at_layer(self, outputs: ModelOutput, layer: Layer) -> ModelOutput:
        """
        The output of the base model as if the layer were its last one.

        Args:
            outputs: with all `hidden_states`.

        Returns:
            The output with another `last_hidden_state` and `pooler_output`, and no more.
        """
        states = outputs["hidden_states"]
        hidden = torch.stack(states[1:]).mean(0) if layer == "mean" else states[layer]
        return BaseModelOutputWithPooling(last_hidden_state=hidden, pooler_output=self.pooled(hidden))

    def pooled(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """The vector `(windows, size)` of each window from hidden states, as the base model makes it."""
        return hidden_states.mean(1)

    def frame_seconds(self, config: ConfigT, feature_extractor: ExtractorT) -> float | None:
        """The seconds from one vector of the features along time to the next; `None` where polyaudio does not know."""
        return None

    def first_frame_seconds(self, config: ConfigT, feature_extractor: ExtractorT) -> float | None:
        """
        The time in seconds in the middle of the samples that the first vector along time is made of; `None` where
        polyaudio does not know. Each further vector comes [`frame_seconds`] later.
        """
        return None

    def frames_per_answer(self, config: ConfigT) -> int:
        """
        The number of input frames for each output of a frame classifier.

        Raises:
            ValueError: polyaudio has no frame classifier for models of this type.
        """
        raise _no_frame_classifier(config)

    def seconds_per_answer(self, config: ConfigT, feature_extractor: ExtractorT) -> float:
        """
        The seconds from one output of a frame classifier to the next.

        Raises:
            ValueError: polyaudio has no frame classifier for models of this type.
        """
        raise _no_frame_classifier(config)

    def answer_mask(self, config: ConfigT, attention_mask: torch.Tensor) -> torch.Tensor:
        """
        The outputs of a frame classifier that are not for padding.

        Args:
            attention_mask: `(batch_size, frames)`, 0 for padding.

        Returns:
            `(batch_size, outputs)`, bool.

        Raises:
            ValueError: polyaudio has no frame classifier for models of this type.
        """
        raise _no_frame_classifier(config)

    def vector_mask(self, config: ConfigT, attention_mask: torch.Tensor) -> torch.Tensor:
        """
        The vectors in the input of the head of a frame classifier that are not for padding. Each can have several
        outputs.

        Args:
            attention_mask: `(batch_size, frames)`, 0 for padding.

        Returns:
            `(batch_size, vectors)`, bool.

        Raises:
            ValueError: polyaudio has no frame classifier for models of this type.
        """
        raise _no_frame_classifier(config)

    def pretraining_batch(
        self,
        config: ConfigT,
        feature_extractor: ExtractorT,
        waveforms: Sequence[np.ndarray],
        seeds: Sequence[int],
    ) -> BatchFeature:
        """
        The input of a model in pre-training.

        Args:
            waveforms: `(samples,)` each, float32, at the extractor's rate.
            seeds: one for each waveform. All random choices follow from them.
        """
        # transformers declares neither of the two on the base class of its extractors, which all have both
        features = feature_extractor(  # type: ignore[operator]
            waveforms, sampling_rate=feature_extractor.sampling_rate, padding=True, return_tensors="pt"
        )
        names = {*feature_extractor.model_input_names, "attention_mask"}  # type: ignore[attr-defined]
        return BatchFeature({name: value for name, value in features.items() if name in names})

    def window_features(
        self, model: PreTrainedModel, outputs: ModelOutput, inputs: Mapping[str, torch.Tensor], granularity: str
    ) -> list[WindowFeatures]:
        """
        The features of each window of a batch.

        Args:
            outputs: of the base model, for `inputs`.
            granularity: `"utterance"`, `"frame"` or `"all"`.

        Raises:
            ValueError: the model has no sequence of hidden states.
        """
        vectors, sequences = self.clip_and_frame_features(model, outputs)
        if granularity == "utterance":
            return [(vector, None) for vector in vectors]
        return [(None, sequence) for sequence in sequences]

    def segment_attention(
        self, model: PreTrainedModel, outputs: ModelOutput, inputs: Mapping[str, torch.Tensor]
    ) -> list[torch.Tensor]:
        """
        The weights with which the segment tokens attend to the frames, for each window of a batch.

        Args:
            outputs: of the base model, with `attentions`, for `inputs`.

        Returns:
            The mean over the heads of the last layer, `(segments, frames)` each, without the frames that are padding.

        Raises:
            ValueError: the model has no segment tokens.
        """
        raise ValueError(f"A model of type {model.config.model_type} has no segment tokens.")

    def probe_vectors(
        self, model: PreTrainedModel, outputs: ModelOutput, inputs: Mapping[str, torch.Tensor], features: str
    ) -> torch.Tensor:
        """
        One vector for each window of a batch.

        Args:
            outputs: of the base model, for `inputs`.
            features: one of `probe_features`.

        Returns:
            `(windows, feature_size)`.
        """
        return outputs["pooler_output"]


def _no_frame_classifier(config: PreTrainedConfig) -> ValueError:
    return ValueError(f"polyaudio has no frame classifier for models of type {config.model_type}.")


def traits_of(config: PreTrainedConfig) -> ModelTraits[PreTrainedConfig, SequenceFeatureExtractor]:
    """The traits of the type of a model."""
    model_type = MODEL_TYPES.get(config.model_type)
    traits = ModelTraits() if model_type is None else load_class(model_type.traits)()
    return traits.for_config(config)


def has_frame_head(config: PreTrainedConfig) -> bool:
    """Whether polyaudio has a frame classifier for models of this type."""
    model_type = MODEL_TYPES.get(config.model_type)
    return model_type is not None and "AutoModelForAudioFrameClassification" in model_type.models
