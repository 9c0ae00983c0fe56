# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""SAMAudio: segment tokens that attend to the frames of a convolutional or another encoder."""

import math
import os
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn
from transformers import MODEL_MAPPING, AutoModel, PreTrainedConfig
from transformers import initialization as init
from transformers.activations import ACT2FN
from transformers.masking_utils import create_bidirectional_mask
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS, PreTrainedModel
from transformers.processing_utils import Unpack
from transformers.utils import ModelOutput, TransformersKwargs, auto_docstring, is_tracing, logging
from transformers.utils.generic import can_return_tuple, merge_with_config_defaults
from transformers.utils.output_capturing import capture_outputs

from ..configuration.configuration_sam_audio import SAMAudioConfig
from ..feature_extraction.padding import frames_to_hear
from ..integration.adapters import AdapterLoadingMixin
from ..integration.saving import PortableModelMixin
from .classification_loss import classification_loss
from .window_folding import cut_into_windows, join_window_logits


logger = logging.get_logger(__name__)

# Encoders that the Auto classes do not know, by model type. The code beside a model adds its own.
ENCODERS: dict[str, type[PreTrainedModel]] = {}


@dataclass
@auto_docstring(
    custom_intro="""
    Output of [`SAMAudioModel`].
    """
)
class SAMAudioModelOutput(ModelOutput):
    r"""
    last_hidden_state (`torch.FloatTensor` of shape `(batch_size, num_segments, hidden_size)`):
        The segment representations.
    pooler_output (`torch.FloatTensor` of shape `(batch_size, hidden_size)`):
        Mean of the segment representations.
    encoder_last_hidden_state (`torch.FloatTensor` of shape `(batch_size, encoder_frames, hidden_size)`):
        Frames of the encoder, which the segments attend to.
    masked_last_hidden_state (`torch.FloatTensor` of shape `(batch_size, num_segments, hidden_size)`, *optional*):
        The segment representations of the clip with some frames hidden. Returned with `mask_time=True` or when
        `mask_time_indices` is passed.
    hidden_states (`tuple(torch.FloatTensor)`, *optional*, returned when `output_hidden_states=True` is passed):
        The segments before the first layer and after each layer, each of shape
        `(batch_size, num_segments, hidden_size)`.
    attentions (`tuple(torch.FloatTensor)`, *optional*, returned when `output_attentions=True` is passed):
        For each layer the weights with which the segments attend to the frames, of shape
        `(batch_size, num_attention_heads, num_segments, encoder_frames)`.
    """

    last_hidden_state: torch.FloatTensor | None = None
    pooler_output: torch.FloatTensor | None = None
    encoder_last_hidden_state: torch.FloatTensor | None = None
    masked_last_hidden_state: torch.FloatTensor | None = None
    hidden_states: tuple[torch.FloatTensor, ...] | None = None
    attentions: tuple[torch.FloatTensor, ...] | None = None


@dataclass
@auto_docstring(
    custom_intro="""
    Output of [`SAMAudioForPreTraining`].
    """
)
class SAMAudioForPreTrainingOutput(ModelOutput):
    r"""
    loss (`torch.FloatTensor` of shape `()`):
        `mask_weight * masked_segment_loss + contrastive_weight * contrastive_loss`.
    masked_segment_loss (`torch.FloatTensor` of shape `()`, *optional*, returned unless `config.mask_weight` is 0):
        Mean squared error between the segments and their prediction from the clip with some frames hidden.
    contrastive_loss (`torch.FloatTensor` of shape `()`, *optional*, returned unless `config.contrastive_weight` is 0):
        InfoNCE loss over the segments of the batch.
    last_hidden_state (`torch.FloatTensor` of shape `(batch_size, num_segments, hidden_size)`):
        The segment representations.
    encoder_last_hidden_state (`torch.FloatTensor` of shape `(batch_size, encoder_frames, hidden_size)`):
        Frames of the encoder, which the segments attend to.
    hidden_states (`tuple(torch.FloatTensor)`, *optional*, returned when `output_hidden_states=True` is passed):
        The segments before the first layer and after each layer, each of shape
        `(batch_size, num_segments, hidden_size)`.
    attentions (`tuple(torch.FloatTensor)`, *optional*, returned when `output_attentions=True` is passed):
        For each layer the weights with which the segments attend to the frames, of shape
        `(batch_size, num_attention_heads, num_segments, encoder_frames)`.
    """

    loss: torch.FloatTensor | None = None
    masked_segment_loss: torch.FloatTensor | None = None
    contrastive_loss: torch.FloatTensor | None = None
    last_hidden_state: torch.FloatTensor | None = None
    encoder_last_hidden_state: torch.FloatTensor | None = None
    hidden_states: tuple[torch.FloatTensor, ...] | None = None
    attentions: tuple[torch.FloatTensor, ...] | None = None


@dataclass
@auto_docstring(
    custom_intro="""
    Output of [`SAMAudioForAudioClassification`].
    """
)
class SAMAudioClassifierOutput(ModelOutput):
    r"""
    loss (`torch.FloatTensor` of shape `()`, *optional*, returned when `labels` is passed):
        In training `classification_loss + mask_weight * masked_segment_loss + contrastive_weight * contrastive_loss`,
        in evaluation `classification_loss`.
    logits (`torch.FloatTensor` of shape `(batch_size, num_labels)`):
        Scores before the softmax or sigmoid.
    classification_loss (`torch.FloatTensor` of shape `()`, *optional*, returned when `labels` is passed):
        Cross entropy with label smoothing, binary cross entropy or mean squared error, by `config.problem_type`.
    masked_segment_loss (`torch.FloatTensor` of shape `()`, *optional*, returned in training when `labels` is passed):
        Mean squared error between the segments and their prediction from the clip with some frames hidden.
    contrastive_loss (`torch.FloatTensor` of shape `()`, *optional*, returned in training when `labels` is passed):
        InfoNCE loss over the segments of the batch.
    hidden_states (`tuple(torch.FloatTensor)`, *optional*, returned when `output_hidden_states=True` is passed):
        The segments before the first layer and after each layer, each of shape
        `(batch_size, num_segments, hidden_size)`.
    attentions (`tuple(torch.FloatTensor)`, *optional*, returned when `output_attentions=True` is passed):
        For each layer the weights with which the segments attend to the frames, of shape
        `(batch_size, num_attention_heads, num_segments, encoder_frames)`.
    """

    loss: torch.FloatTensor | None = None
    logits: torch.FloatTensor | None = None
    classification_loss: torch.FloatTensor | None = None
    masked_segment_loss: torch.FloatTensor | None = None
    contrastive_loss: torch.FloatTensor | None = None
    hidden_states: tuple[torch.FloatTensor, ...] | None = None
    attentions: tuple[torch.FloatTensor, ...] | None = None


class SAMAudioGroupNorm(nn.GroupNorm):
    """Group norm of `(batch_size, channels, frames)`. Padding frames do not count in its statistics."""

    def forward(self, hidden_states: torch.Tensor, frame_mask: torch.Tensor | None = None) -> torch.Tensor:
        if frame_mask is None:
            return super().forward(hidden_states)
        groups = hidden_states.float().unflatten(1, (self.num_groups, -1))
        valid = frame_mask[:, None, None, :].to(groups.dtype)
        count = valid.sum((2, 3), keepdim=True).clamp(min=1) * groups.shape[2]
        centered = groups - (groups * valid).sum((2, 3), keepdim=True) / count
        variance = (centered.square() * valid).sum((2, 3), keepdim=True) / count
        normalized = (centered * torch.rsqrt(variance + self.eps)).flatten(1, 2).to(hidden_states.dtype)
        return normalized * self.weight[:, None] + self.bias[:, None]


class SAMAudioBatchNorm(nn.BatchNorm1d):
    """Batch norm of `(batch_size, channels, frames)`. Padding frames do not count in its statistics."""

    def forward(self, hidden_states: torch.Tensor, frame_mask: torch.Tensor | None = None) -> torch.Tensor:
        if frame_mask is None or not self.training:
            return super().forward(hidden_states)
        frames = hidden_states.float()
        valid = frame_mask[:, None, :].to(frames.dtype)
        count = valid.sum().clamp(min=1)
        mean = (frames * valid).sum((0, 2)) / count
        centered = frames - mean[:, None]
        variance = (centered.square() * valid).sum((0, 2)) / count
        with torch.no_grad():
            self.num_batches_tracked.add_(1)
            unbiased = variance * count / (count - 1).clamp(min=1)
            self.running_mean.lerp_(mean.to(self.running_mean.dtype), self.momentum)
            self.running_var.lerp_(unbiased.to(self.running_var.dtype), self.momentum)
        normalized = (centered * torch.rsqrt(variance + self.eps)[:, None]).to(hidden_states.dtype)
        return normalized * self.weight[:, None] + self.bias[:, None]


class SAMAudioLayerNorm(nn.LayerNorm):
    """Layer norm over the channels of `(batch_size, channels, frames)`. It needs no mask, as frames do not mix."""

    def forward(self, hidden_states: torch.Tensor, frame_mask: torch.Tensor | None = None) -> torch.Tensor:
        return super().forward(hidden_states.transpose(1, 2)).transpose(1, 2)


class SAMAudioConvLayer(nn.Module):
    """Convolution, norm, activation and dropout."""

    def __init__(self, config: SAMAudioConfig, layer_id: int):
        super().__init__()
        in_channels = config.conv_dim[layer_id - 1] if layer_id > 0 else config.feature_size
        out_channels = config.conv_dim[layer_id]
        # Not read from `self.conv`, which an adapter may wrap
        self.kernel_size, self.stride = config.conv_kernel[layer_id], config.conv_stride[layer_id]
        self.padding = self.kernel_size // 2
        self.conv = nn.Conv1d(in_channels, out_channels, self.kernel_size, stride=self.stride, padding=self.padding)
        if config.feat_extract_norm == "group":
            self.norm = SAMAudioGroupNorm(config.num_feat_extract_norm_groups, out_channels)
        elif config.feat_extract_norm == "layer":
            self.norm = SAMAudioLayerNorm(out_channels, eps=config.layer_norm_eps)
        else:
            self.norm = SAMAudioBatchNorm(out_channels)
        self.activation = ACT2FN[config.feat_extract_activation]
        self.dropout = nn.Dropout(config.feat_extract_dropout)

    def forward(self, hidden_states: torch.Tensor, frame_mask: torch.Tensor | None = None) -> torch.Tensor:
        """
        Args:
            hidden_states: `(batch_size, in_channels, frames)`.
            frame_mask: `(batch_size, output_frames)`, bool, `False` for padding.

        Returns:
            `(batch_size, out_channels, output_frames)`.
        """
        hidden_states = self.conv(hidden_states)
        hidden_states = self.norm(hidden_states, frame_mask)
        hidden_states = self.dropout(self.activation(hidden_states))
        if frame_mask is not None:
            # The next convolution then sees zeros after a clip, as it does when the clip is alone
            hidden_states = hidden_states * frame_mask[:, None, :].to(hidden_states.dtype)
        return hidden_states

    def output_mask(self, frame_mask: torch.Tensor) -> torch.Tensor:
        """
        The output frames that a clip has when it is alone.

        Args:
            frame_mask: `(batch_size, frames)`, bool, `False` for padding.

        Returns:
            `(batch_size, output_frames)`, bool.
        """
        kernel_size, stride, padding = self.kernel_size, self.stride, self.padding
        output_frames = (frame_mask.shape[1] + 2 * padding - kernel_size) // stride + 1
        # Output frame j exists if its window ends within the zeros that the convolution adds after the clip. That is
        # the case if input frame j * stride + kernel_size - 1 - 2 * padding exists.
        needed = torch.arange(output_frames, device=frame_mask.device) * stride + (kernel_size - 1 - 2 * padding)
        return frame_mask[:, needed.clamp(min=0)]


class SAMAudioCheckpointedConvLayer(GradientCheckpointingLayer, SAMAudioConvLayer):
    """A [`SAMAudioConvLayer`] that takes part in gradient checkpointing."""


class SAMAudioEncoder(nn.Module):
    """Strided convolutions over the features of a clip or over its waveform."""

    def __init__(self, config: SAMAudioConfig):
        super().__init__()
        # The input of the first layer needs no gradient. Reentrant checkpointing would give this layer none either.
        self.layers = nn.ModuleList(
            [SAMAudioConvLayer(config, layer_id=0)]
            + [SAMAudioCheckpointedConvLayer(config, layer_id) for layer_id in range(1, len(config.conv_dim))]
        )
        if config.conv_dim[-1] == config.hidden_size:
            self.projection = nn.Identity()
        else:
            self.projection = nn.Linear(config.conv_dim[-1], config.hidden_size)

    def forward(
        self, hidden_states: torch.Tensor, frame_mask: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """
        Args:
            hidden_states: `(batch_size, feature_size, frames)`.
            frame_mask: `(batch_size, frames)`, bool, `False` for padding.

        Returns:
            The encoder frames `(batch_size, encoder_frames, hidden_size)`, and their mask if `frame_mask` is given.
        """
        if frame_mask is not None:
            hidden_states = hidden_states * frame_mask[:, None, :].to(hidden_states.dtype)
        for layer in self.layers:
            if frame_mask is not None:
                frame_mask = layer.output_mask(frame_mask)
            hidden_states = layer(hidden_states, frame_mask)
        return self.projection(hidden_states.transpose(1, 2)), frame_mask


def one_input(input_values: torch.Tensor | None, input_features: torch.Tensor | None) -> torch.Tensor:
    """The input of a model under either name. Raises `ValueError` unless there is exactly one."""
    if input_values is not None and input_features is None:
        return input_values
    if input_features is not None and input_values is None:
        return input_features
    raise ValueError("Pass what the feature extractor returns: either `input_values` or `input_features`.")


def build_encoder(config: PreTrainedConfig) -> PreTrainedModel:
    """
    A new encoder for [`SAMAudioPretrainedEncoder`]; of a model with a decoder, its encoder.

    Raises:
        ValueError: there is no such model, or it does not take audio.
    """
    model_class = ENCODERS.get(config.model_type)
    if model_class is not None:
        return model_class(config)
    if type(config) not in MODEL_MAPPING:
        raise ValueError(
            f"`encoder_config` must be that of a model that AutoModel makes, but {type(config).__name__} is none."
        )
    # transformers would take the dtype of the configuration, which a model that is built around this one does not
    model = AutoModel.from_config(config, dtype=torch.get_default_dtype())
    if config.is_encoder_decoder:
        model = model.get_encoder()
    if model.main_input_name not in ("input_values", "input_features"):
        raise ValueError(
            f"`encoder_config` must be that of an audio encoder, but {type(model).__name__} takes "
            f"`{model.main_input_name}`."
        )
    return model


class SAMAudioPretrainedEncoder(nn.Module):
    """
    The model that `config.encoder_config` describes, in place of the convolutions: SSLAM, or a model of transformers
    whose `last_hidden_state` is a sequence of frames, or of the patches of AST.
    """

    def __init__(self, config: SAMAudioConfig):
        super().__init__()
        self.model = build_encoder(config.encoder_config)
        hidden_size = config.encoder_config.hidden_size
        self.projection = (
            nn.Identity() if hidden_size == config.hidden_size else nn.Linear(hidden_size, config.hidden_size)
        )

    @property
    def masks_padding(self) -> bool:
        """Whether the encoder returns which of its frames are padding."""
        return hasattr(self.model, "get_time_patch_mask") or hasattr(self.model, "_get_feature_vector_attention_mask")

    def forward(
        self, input_values: torch.Tensor, attention_mask: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """
        Args:
            input_values: what the encoder's own feature extractor returns.
            attention_mask: nonzero for what is not padding.

        Returns:
            The encoder frames `(batch_size, encoder_frames, hidden_size)`, and their mask, bool, `False` for padding,
            or `None` if the encoder hears all frames.

        Raises:
            ValueError: the input does not fit the encoder, or its output is not a sequence.
        """
        if hasattr(self.model, "get_frame_features"):  # SSLAM
            frames, frame_mask = self.model.get_frame_features(input_values, attention_mask)
            return self.projection(frames), frame_mask
        self._check_length(input_values)
        attention_mask = self._check_mask(input_values, attention_mask)
        mask = {} if attention_mask is None else {"attention_mask": attention_mask}
        hidden_states = getattr(self.model(input_values, **mask), "last_hidden_state", None)
        if hidden_states is None or hidden_states.ndim != 3:
            raise ValueError(
                "`encoder_config` must be that of an encoder whose `last_hidden_state` is a sequence of frames, which "
                f"that of {type(self.model).__name__} is not."
            )
        frame_mask = None
        if attention_mask is not None:
            frame_mask = self.model._get_feature_vector_attention_mask(hidden_states.shape[1], attention_mask).bool()
        return self.projection(self._join_mel_patches(hidden_states)), frame_mask

    def _check_length(self, input_values: torch.Tensor) -> None:
        """Raise `ValueError` for clips of a length that the encoder cannot read, and would not say so clearly."""
        config, length = self.model.config, input_values.shape[1]
        if hasattr(config, "frequency_stride") and length != config.max_length:
            raise ValueError(
                f"The encoder reads clips of {config.max_length} frames, got {length}. Pad and cut clips with the "
                "encoder's own feature extractor."
            )
        shortest = 1
        kernels, strides = getattr(config, "conv_kernel", ()), getattr(config, "conv_stride", ())
        for kernel_size, stride in zip(reversed(kernels), reversed(strides), strict=True):
            shortest = (shortest - 1) * stride + kernel_size
        if length < shortest:
            raise ValueError(f"The encoder reads clips of at least {shortest} samples, got {length}.")

    def _check_mask(self, input_values: torch.Tensor, attention_mask: torch.Tensor | None) -> torch.Tensor | None:
        """The mask for the encoder, or `None` if it takes none. Raises `ValueError` if the encoder cannot mask."""
        if attention_mask is None or self.masks_padding:
            if attention_mask is not None and attention_mask.shape != input_values.shape[:2]:
                raise ValueError(
                    f"`attention_mask` must have the shape {tuple(input_values.shape[:2])} of the input, got "
                    f"{tuple(attention_mask.shape)}."
                )
            return attention_mask
        if not (is_tracing(attention_mask) or attention_mask.is_meta) and not attention_mask.all():
            raise ValueError(
                f"{type(self.model).__name__} does not return which frames are padding. Use batches without padding."
            )
        return None

    def _join_mel_patches(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """The means over the mel patches of AST, which follow two special tokens, from the lowest to the highest."""
        config = self.model.config
        if not hasattr(config, "frequency_stride"):
            return hidden_states
        num_mel_patches = (config.num_mel_bins - config.patch_size) // config.frequency_stride + 1
        return hidden_states[:, 2:].unflatten(1, (num_mel_patches, -1)).mean(1)

    def resolve_attention_mask(
        self, input_values: torch.Tensor, attention_mask: torch.Tensor | None
    ) -> torch.Tensor | None:
        """The frames or samples that are not padding, or `None` if the encoder hears all of them."""
        if hasattr(self.model, "resolve_attention_mask"):
            return self.model.resolve_attention_mask(input_values, attention_mask)
        return None if attention_mask is None else attention_mask.bool()

    def output_mask(self, attention_mask: torch.Tensor) -> torch.Tensor:
        """
        The encoder frames that are not padding, `(batch_size, encoder_frames)`, bool.

        Raises:
            ValueError: the encoder does not mask padding.
        """
        if hasattr(self.model, "get_time_patch_mask"):
            return self.model.get_time_patch_mask(attention_mask)
        if not self.masks_padding:
            raise ValueError(f"{type(self.model).__name__} does not return which frames are padding.")
        length = torch.tensor(attention_mask.shape[1])
        num_frames = int(self.model._get_feat_extract_output_lengths(length))
        return self.model._get_feature_vector_attention_mask(num_frames, attention_mask).bool()


def eager_attention_forward(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float,
    dropout: float = 0.0,
    **kwargs: Unpack[TransformersKwargs],
) -> tuple[torch.Tensor, torch.Tensor]:
    """Attention in plain torch, softmax in float32. `query`, `key` and `value`: `(batch, heads, tokens, head_dim)`."""
    scores = torch.matmul(query, key.transpose(2, 3)) * scaling
    if attention_mask is not None:
        scores = scores + attention_mask
    attn_weights = nn.functional.softmax(scores, dim=-1, dtype=torch.float32).to(query.dtype)
    attn_weights = nn.functional.dropout(attn_weights, p=dropout, training=module.training)
    attn_output = torch.matmul(attn_weights, value)
    return attn_output.transpose(1, 2).contiguous(), attn_weights


class SAMAudioSegmentAttention(nn.Module):
    """Multi-head attention from the segments to the encoder frames."""

    def __init__(self, config: SAMAudioConfig):
        super().__init__()
        self.config = config
        self.head_dim = config.hidden_size // config.num_attention_heads
        self.attention_dropout = config.attention_probs_dropout_prob
        self.scaling = self.head_dim**-0.5
        self.is_causal = False
        self.q_proj = nn.Linear(config.hidden_size, config.hidden_size)
        self.k_proj = nn.Linear(config.hidden_size, config.hidden_size)
        self.v_proj = nn.Linear(config.hidden_size, config.hidden_size)
        self.o_proj = nn.Linear(config.hidden_size, config.hidden_size)

    def forward(
        self,
        hidden_states: torch.Tensor,
        encoder_hidden_states: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        mask_time_indices: torch.Tensor | None = None,
        is_same_for_all_clips: bool = False,
        **kwargs: Unpack[TransformersKwargs],
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """
        Args:
            hidden_states: the segments, `(batch_size, num_segments, hidden_size)`. With `mask_time_indices`
                `(2 * batch_size, num_segments, hidden_size)`: first the segments that see all frames, then those that
                see the hidden frames as zeros.
            encoder_hidden_states: the frames, `(batch_size, encoder_frames, hidden_size)`.
            attention_mask: a mask made by `create_bidirectional_mask`, for all rows of `hidden_states`.
            mask_time_indices: `(batch_size, encoder_frames)`, bool, `True` for hidden frames.
            is_same_for_all_clips: whether all rows of `hidden_states` are equal. They are then projected once.

        Returns:
            The attended segments, in the shape of `hidden_states`, and the attention weights of the segments that see
            all frames, if the attention implementation returns weights.
        """
        batch_size = encoder_hidden_states.shape[0]
        keys = self.k_proj(encoder_hidden_states)
        values = self.v_proj(encoder_hidden_states)
        if mask_time_indices is not None:
            # All frames of zeros have the same projection, so the frames are not projected a second time.
            hidden = mask_time_indices[:, :, None]
            zero_frame = encoder_hidden_states.new_zeros(1, 1, encoder_hidden_states.shape[2])
            keys = torch.cat([keys, torch.where(hidden, self.k_proj(zero_frame), keys)])
            values = torch.cat([values, torch.where(hidden, self.v_proj(zero_frame), values)])

        if is_same_for_all_clips:
            queries = self.q_proj(hidden_states[:1]).expand_as(hidden_states)
        else:
            queries = self.q_proj(hidden_states)

        attention_interface: Callable = ALL_ATTENTION_FUNCTIONS.get_interface(
            self.config._attn_implementation, eager_attention_forward
        )
        attn_output, attn_weights = attention_interface(
            self,
            self._split_heads(queries),
            self._split_heads(keys),
            self._split_heads(values),
            attention_mask,
            dropout=self.attention_dropout if self.training else 0.0,
            scaling=self.scaling,
            **kwargs,
        )
        attn_output = self.o_proj(attn_output.flatten(2))
        if mask_time_indices is not None and attn_weights is not None:
            attn_weights = attn_weights[:batch_size]
        return attn_output, attn_weights

    def _split_heads(self, states: torch.Tensor) -> torch.Tensor:
        return states.unflatten(2, (-1, self.head_dim)).transpose(1, 2)


class SAMAudioSegmentLayer(GradientCheckpointingLayer):
    """The segments attend to the frames: attention, residual, layer norm."""

    def __init__(self, config: SAMAudioConfig):
        super().__init__()
        self.attention = SAMAudioSegmentAttention(config)
        self.layernorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)

    def forward(
        self,
        hidden_states: torch.Tensor,
        encoder_hidden_states: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        masked_hidden_states: torch.Tensor | None = None,
        mask_time_indices: torch.Tensor | None = None,
        is_same_for_all_clips: bool = False,
        **kwargs: Unpack[TransformersKwargs],
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """
        Args:
            hidden_states: `(batch_size, num_segments, hidden_size)`, the segments that see all frames.
            encoder_hidden_states: the frames, `(batch_size, encoder_frames, hidden_size)`.
            attention_mask: a mask made by `create_bidirectional_mask`, with `mask_time_indices` for `2 * batch_size`.
            masked_hidden_states: `(batch_size, num_segments, hidden_size)`, the segments that see the hidden frames as
                zeros. Needed with `mask_time_indices`.
            mask_time_indices: `(batch_size, encoder_frames)`, bool, `True` for hidden frames.
            is_same_for_all_clips: whether the segments of all clips are equal, as before the first layer.

        Returns:
            The new `hidden_states` and the new `masked_hidden_states`.
        """
        batch_size = hidden_states.shape[0]
        if mask_time_indices is not None:
            hidden_states = torch.cat([hidden_states, masked_hidden_states])
        attended, _ = self.attention(
            hidden_states,
            encoder_hidden_states,
            attention_mask,
            mask_time_indices,
            is_same_for_all_clips=is_same_for_all_clips,
            **kwargs,
        )
        hidden_states = self.layernorm(attended + hidden_states)
        if mask_time_indices is None:
            return hidden_states, None
        return hidden_states[:batch_size], hidden_states[batch_size:]


def choose_time_mask(frame_mask: torch.Tensor, mask_ratio: float, at_random: bool = True) -> torch.Tensor:
    """
    Choose the frames that masked segment prediction hides: `int(mask_ratio * frames)` frames of each clip.

    Args:
        frame_mask: `(batch_size, encoder_frames)`, bool, `False` for padding.
        mask_ratio: share of the frames to hide.
        at_random: `True` draws the frames from torch's generator. `False` takes frames spread evenly over the clip,
            the same at each call, so that evaluation losses can be compared.

    Returns:
        `(batch_size, encoder_frames)`, bool, `True` for hidden frames.
    """
    if at_random:
        order = torch.rand(frame_mask.shape, device=frame_mask.device)
    else:
        # Multiples of the golden ratio modulo 1 are spread evenly, for any number of them
        golden_ratio = (1 + math.sqrt(5)) / 2
        steps = torch.arange(frame_mask.shape[1], dtype=torch.float32, device=frame_mask.device)
        order = (steps * (golden_ratio - 1) % 1).expand(frame_mask.shape)
    ranks = order.masked_fill(~frame_mask, math.inf).argsort(dim=1).argsort(dim=1)
    num_hidden = (frame_mask.sum(1, keepdim=True) * mask_ratio).long()
    return ranks < num_hidden


class _GatherFromProcesses(torch.autograd.Function):
    """Concatenates a tensor over the processes of a DDP run. The gradient of each part flows back to its process."""

    @staticmethod
    def forward(ctx, tensor: torch.Tensor) -> torch.Tensor:
        parts = [torch.empty_like(tensor) for _ in range(torch.distributed.get_world_size())]
        torch.distributed.all_gather(parts, tensor.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx, gradient: torch.Tensor) -> torch.Tensor:
        gradient = gradient.contiguous()
        torch.distributed.all_reduce(gradient)
        return gradient.chunk(torch.distributed.get_world_size())[torch.distributed.get_rank()]


def contrastive_segment_loss(
    anchors: torch.Tensor,
    anchor_groups: torch.Tensor,
    candidates: torch.Tensor,
    candidate_groups: torch.Tensor,
    temperature: float,
) -> torch.Tensor:
    """
    InfoNCE loss over segments: attracts each anchor to the other segments of its group and repels it from all others.

    The loss of anchor i with positives P(i) is `logsumexp_j(s_ij) - mean_{p in P(i)} s_ip`, where `s` is the cosine
    similarity divided by the temperature. The loss of an anchor without positives is 0. As in the original, j runs
    over all segments, including the anchor itself.

    Args:
        anchors: `(num_clips, num_segments, projection_dim)`, float32, of unit length; also part of `candidates`.
        anchor_groups: `(num_clips,)`, int64; clips of the same group are each other's positives.
        candidates: `(num_all_clips, num_segments, projection_dim)`, float32, of unit length.
        candidate_groups: `(num_all_clips,)`, int64.
        temperature: above 0.

    Returns:
        The mean loss of the anchors, a scalar.
    """
    # The mean over the positives is linear, so the sum of each clip is enough and no segment by segment mask is needed
    same_group = (anchor_groups[:, None] == candidate_groups[None, :]).to(anchors.dtype)
    positive_sums = same_group @ candidates.sum(1)
    num_positives = same_group.sum(1) * candidates.shape[1] - 1
    to_positives = (anchors * positive_sums[:, None]).sum(-1) - anchors.square().sum(-1)
    mean_positive = to_positives / (temperature * num_positives.clamp(min=1)[:, None])
    similarities = (anchors.flatten(0, 1) / temperature) @ candidates.flatten(0, 1).T
    log_normalizer = similarities.logsumexp(1).view_as(mean_positive)
    return ((log_normalizer - mean_positive) * (num_positives > 0)[:, None]).mean()


class SAMAudioMLP(nn.Module):
    """Two linear layers with a GELU between them."""

    def __init__(self, in_features: int, hidden_features: int, out_features: int):
        super().__init__()
        self.fc1 = nn.Linear(in_features, hidden_features)
        self.activation = nn.GELU()
        self.fc2 = nn.Linear(hidden_features, out_features)

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        return self.fc2(self.activation(self.fc1(hidden_states)))


class SAMAudioSegmentObjectives(nn.Module):
    """The two self-supervised objectives: masked segment prediction and contrastive segment learning."""

    def __init__(self, config: SAMAudioConfig):
        super().__init__()
        self.config = config
        self.segment_predictor = SAMAudioMLP(config.hidden_size, config.hidden_size, config.hidden_size)
        self.contrastive_projection = SAMAudioMLP(config.hidden_size, config.hidden_size, config.projection_dim)

    def masked_segment_loss(self, masked_segments: torch.Tensor, segments: torch.Tensor) -> torch.Tensor:
        """Mean squared error between `segments`, detached, and their prediction from `masked_segments`."""
        return nn.functional.mse_loss(self.segment_predictor(masked_segments).float(), segments.detach().float())

    def contrastive_loss(self, segments: torch.Tensor, labels: torch.Tensor | None) -> torch.Tensor:
        """
        Contrastive loss over the clips of all processes.

        Args:
            segments: `(batch_size, num_segments, hidden_size)`.
            labels: `(batch_size,)`, int64; needed by `contrastive_mode="label"` only.

        Raises:
            ValueError: `contrastive_mode="label"` without one class label for each clip.
        """
        batch_size = segments.shape[0]
        projected = self.contrastive_projection(segments)
        # Half precision cannot hold exponentials of similarities at low temperatures
        with torch.autocast(device_type=segments.device.type, enabled=False):
            anchors = nn.functional.normalize(projected.float(), dim=-1)
            if self.config.contrastive_mode == "clip":
                groups = torch.arange(batch_size, device=segments.device)
            elif labels is None or labels.shape != (batch_size,):
                raise ValueError(
                    "`contrastive_mode='label'` needs one class label for each clip: `labels` must have the shape "
                    f"({batch_size},), got {None if labels is None else tuple(labels.shape)}."
                )
            else:
                groups = labels.to(segments.device)
            candidates, candidate_groups = anchors, groups
            if self.training and torch.distributed.is_available() and torch.distributed.is_initialized():
                if self.config.contrastive_mode == "clip":
                    groups = groups + batch_size * torch.distributed.get_rank()
                candidates = _GatherFromProcesses.apply(anchors)
                candidate_groups = _GatherFromProcesses.apply(groups)
            return contrastive_segment_loss(anchors, groups, candidates, candidate_groups, self.config.temperature)

    def forward(
        self, segments: torch.Tensor, masked_segments: torch.Tensor | None, labels: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor | None, torch.Tensor | None]:
        """Returns the weighted sum of the two losses, then each loss by itself, `None` if its weight is 0."""
        total = segments.new_zeros((), dtype=torch.float32)
        masked_segment_loss = contrastive_loss = None
        if self.config.mask_weight != 0:
            masked_segment_loss = self.masked_segment_loss(masked_segments, segments)
            total = total + self.config.mask_weight * masked_segment_loss
        if self.config.contrastive_weight != 0:
            contrastive_loss = self.contrastive_loss(segments, labels)
            total = total + self.config.contrastive_weight * contrastive_loss
        return total, masked_segment_loss, contrastive_loss


@auto_docstring
class SAMAudioPreTrainedModel(PortableModelMixin, AdapterLoadingMixin, PreTrainedModel):
    config: SAMAudioConfig
    base_model_prefix = "sam_audio"
    main_input_name = "input_values"
    input_modalities = ("audio",)
    supports_gradient_checkpointing = True
    # The losses are means over the batch at hand, so the Trainer has to divide for gradient accumulation.
    accepts_loss_kwargs = False
    _no_split_modules = ["SAMAudioConvLayer", "SAMAudioCheckpointedConvLayer", "SAMAudioSegmentLayer"]
    _supports_sdpa = True
    # No flash attention: transformers' version of it would take the mask of the frames for one of the segments
    _supports_flex_attn = True
    _supports_attention_backend = True
    _can_record_outputs = {"hidden_states": SAMAudioSegmentLayer, "attentions": SAMAudioSegmentAttention}

    def inner_model(self) -> PreTrainedModel | None:
        return None if self.config.encoder_config is None else self.base_model.encoder.model

    @classmethod
    def from_encoder(cls, encoder: str | os.PathLike | PreTrainedModel, **settings):
        """
        A model with new segments over a pre-trained encoder.

        Args:
            encoder: a folder or Hub name that `AutoModel` loads, or a model. Its head, if it has one, is left out.
            settings: further settings of [`SAMAudioConfig`], such as `num_labels`.

        Raises:
            ValueError: the encoder has an adapter, or cannot be an encoder of SAMAudio.

        Example:

        ```python
        >>> from polyaudio import SAMAudioForAudioClassification, SSLAMConfig, SSLAMModel

        >>> encoder = SSLAMModel(SSLAMConfig(num_hidden_layers=2))
        >>> model = SAMAudioForAudioClassification.from_encoder(encoder, num_labels=5)
        >>> model.freeze_feature_encoder()
        ```"""
        if not isinstance(encoder, PreTrainedModel):
            encoder = AutoModel.from_pretrained(encoder)
        model = cls(cls.config_class(encoder_config=encoder.config, **settings))
        model.load_encoder(encoder)
        return model

    def load_encoder(self, encoder: PreTrainedModel) -> None:
        """
        Copy the weights of an encoder, with the configuration `config.encoder_config`.

        Raises:
            ValueError: it has an adapter.
        """
        if encoder._hf_peft_config_loaded:
            raise ValueError("The encoder has an adapter. Merge the adapter into its base first.")
        encoder = encoder.base_model
        if encoder.config.is_encoder_decoder:
            encoder = encoder.get_encoder()
        self.base_model.encoder.model.load_state_dict(encoder.state_dict())

    def freeze_feature_encoder(self):
        """Disable the gradients of the encoder. What projects its frames to another width is trained."""
        encoder = self.base_model.encoder
        (encoder if self.config.encoder_config is None else encoder.model).requires_grad_(False)

    @torch.no_grad()
    def _init_weights(self, module: nn.Module):
        # As in the original: He for convolutions, torch's default for linear layers
        super()._init_weights(module)
        if isinstance(module, nn.Conv1d):
            init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        elif isinstance(module, nn.Linear):
            init.kaiming_uniform_(module.weight, a=math.sqrt(5))
            bound = 1 / math.sqrt(max(module.in_features, 1))
            init.uniform_(module.bias, -bound, bound)
        elif isinstance(module, SAMAudioModel):
            init.normal_(module.segment_tokens, mean=0.0, std=self.config.initializer_range)


@auto_docstring(
    custom_intro="""
    The bare SAMAudio model, which turns a clip into `config.num_segments` segment representations.
    """
)
class SAMAudioModel(SAMAudioPreTrainedModel):
    def __init__(self, config: SAMAudioConfig):
        super().__init__(config)
        self.encoder = (SAMAudioEncoder if config.encoder_config is None else SAMAudioPretrainedEncoder)(config)
        self.segment_tokens = nn.Parameter(torch.zeros(config.num_segments, config.hidden_size))
        self.layers = nn.ModuleList([SAMAudioSegmentLayer(config) for _ in range(config.num_hidden_layers)])
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        if self.config.encoder_config is not None:
            return self.encoder.model.get_input_embeddings()
        return self.encoder.layers[0].conv

    def set_input_embeddings(self, value: nn.Module):
        if self.config.encoder_config is not None:
            self.encoder.model.set_input_embeddings(value)
        else:
            self.encoder.layers[0].conv = value

    @merge_with_config_defaults
    @capture_outputs(tie_last_hidden_states=False)
    @auto_docstring
    def forward(
        self,
        input_values: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        mask_time_indices: torch.Tensor | None = None,
        mask_time: bool = False,
        input_features: torch.Tensor | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> SAMAudioModelOutput:
        r"""
        input_values (`torch.Tensor` of shape `(batch_size, frames, feature_size)` or `(batch_size, samples)`):
            Features from [`SAMAudioFeatureExtractor`] for `config.frontend`; samples for `frontend="waveform"`. With
            `config.encoder_config`, what the encoder's own feature extractor returns.
        attention_mask (`torch.Tensor` of shape `(batch_size, frames)` or `(batch_size, samples)`, *optional*):
            1 for frames or samples of the clip and 0 for padding, which is ignored. Without it, frames that consist of
            `config.padding_value` are padding.
        mask_time_indices (`torch.BoolTensor` of shape `(batch_size, encoder_frames)`, *optional*):
            `True` for encoder frames to hide. The model then also returns `masked_last_hidden_state`, the segments of
            the clip with these frames hidden.
        mask_time (`bool`, *optional*, defaults to `False`):
            Whether to hide `config.mask_ratio` of the encoder frames if `mask_time_indices` is not given: random
            frames in training, the same frames at each call in evaluation.
        input_features (`torch.Tensor`, *optional*):
            `input_values` under the name that the feature extractors of some encoders give them, such as Whisper's.

        Example:

        ```python
        >>> import torch
        >>> from polyaudio import SAMAudioConfig, SAMAudioFeatureExtractor, SAMAudioModel

        >>> model = SAMAudioModel(SAMAudioConfig()).eval()
        >>> inputs = SAMAudioFeatureExtractor()(torch.randn(16000), sampling_rate=16000, return_tensors="pt")
        >>> model(**inputs).last_hidden_state.shape
        torch.Size([1, 64, 512])
        ```"""
        input_values = one_input(input_values, input_features)
        frames, frame_mask = self.get_frame_features(input_values, attention_mask)

        if mask_time_indices is None and mask_time:
            every_frame = torch.ones(frames.shape[:2], dtype=torch.bool, device=frames.device)
            mask_time_indices = choose_time_mask(
                every_frame if frame_mask is None else frame_mask, self.config.mask_ratio, at_random=self.training
            )
        if mask_time_indices is not None and mask_time_indices.shape != frames.shape[:2]:
            raise ValueError(
                f"`mask_time_indices` must have the shape {tuple(frames.shape[:2])} of the encoder frames, got "
                f"{tuple(mask_time_indices.shape)}."
            )

        segments = self.segment_tokens.expand(frames.shape[0], -1, -1)
        masked_segments = None if mask_time_indices is None else segments
        num_views = 1 if mask_time_indices is None else 2
        attention_mask = create_bidirectional_mask(
            config=self.config,
            inputs_embeds=segments,
            attention_mask=None if frame_mask is None else frame_mask.repeat(num_views, 1),
            encoder_hidden_states=frames[..., :0].repeat(num_views, 1, 1),  # for its first two sizes
        )
        for index, layer in enumerate(self.layers):
            segments, masked_segments = layer(
                segments,
                frames,
                attention_mask,
                masked_segments,
                mask_time_indices,
                is_same_for_all_clips=index == 0,
                **kwargs,
            )
        return SAMAudioModelOutput(
            last_hidden_state=segments,
            pooler_output=segments.mean(1),
            encoder_last_hidden_state=frames,
            masked_last_hidden_state=masked_segments,
        )

    def get_frame_mask(self, attention_mask: torch.Tensor) -> torch.Tensor:
        """
        The encoder frames that are not padding.

        Args:
            attention_mask: `(batch_size, frames)` or `(batch_size, samples)`, nonzero for what is not padding.

        Returns:
            `(batch_size, encoder_frames)`, bool.
        """
        if self.config.encoder_config is not None:
            return self.encoder.output_mask(attention_mask)
        frame_mask = attention_mask.bool()
        for layer in self.encoder.layers:
            frame_mask = layer.output_mask(frame_mask)
        return frame_mask

    def get_frame_features(
        self, input_values: torch.Tensor, attention_mask: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """
        The encoder frames, `config.inputs_to_logits_ratio` frames or samples of the input apart.

        Args:
            input_values: as `forward` takes them.
            attention_mask: nonzero for frames or samples that are not padding.

        Returns:
            The features `(batch_size, encoder_frames, hidden_size)`, and the mask `(batch_size, encoder_frames)`,
            bool, `False` for padding, or `None` if there is no padding.
        """
        if self.config.encoder_config is not None:
            return self.encoder(input_values.to(self.segment_tokens.dtype), attention_mask)
        self._check_input(input_values, attention_mask)
        frame_mask = self._frames_to_hear(input_values, attention_mask)
        # Without padding all layers take the faster way, as attention does by `create_bidirectional_mask`
        if frame_mask is not None and not (is_tracing(frame_mask) or frame_mask.is_meta) and frame_mask.all():
            frame_mask = None
        input_values = input_values.to(self.segment_tokens.dtype)
        is_waveform = self.config.frontend == "waveform"
        return self.encoder(input_values[:, None] if is_waveform else input_values.transpose(1, 2), frame_mask)

    def cut_into_windows(
        self, input_values: torch.Tensor, attention_mask: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor | None, torch.Tensor]:
        """
        [`cut_into_windows`] for clips longer than `config.window_frames`, whose padding is found as `forward` does.

        Raises:
            ValueError: as `get_frame_features`.
        """
        if self.config.encoder_config is None:
            self._check_input(input_values, attention_mask)
            attention_mask = self._frames_to_hear(input_values, attention_mask)
        elif self.encoder.masks_padding:
            attention_mask = self.encoder.resolve_attention_mask(input_values, attention_mask)
        else:
            raise ValueError("Windows need an encoder that masks padding. Set `window_frames` to 0.")
        if input_values.ndim == 3:
            return cut_into_windows(input_values, attention_mask, self.config.window_frames)
        windows, *others = cut_into_windows(input_values[:, :, None], attention_mask, self.config.window_frames)
        return windows[:, :, 0], *others

    def _frames_to_hear(self, input_values: torch.Tensor, attention_mask: torch.Tensor | None) -> torch.Tensor | None:
        """The frames or samples that are not padding, bool, or `None` if nothing tells."""
        if attention_mask is not None:
            return attention_mask.bool()
        if self.config.padding_value is None:
            return None
        return frames_to_hear(input_values, self.config.padding_value)

    def _check_input(self, input_values: torch.Tensor, attention_mask: torch.Tensor | None) -> None:
        """
        Check the shapes of the input.

        Raises:
            ValueError: a shape does not fit the configuration, or the mask does not fit the input.
        """
        if self.config.frontend == "waveform":
            expected, fits = "(batch_size, samples)", input_values.ndim == 2
        else:
            expected = f"(batch_size, frames, {self.config.feature_size})"
            fits = input_values.ndim == 3 and input_values.shape[2] == self.config.feature_size
        if not fits:
            raise ValueError(
                f"`input_values` must have the shape {expected} for `frontend={self.config.frontend!r}`, got "
                f"{tuple(input_values.shape)}."
            )
        if attention_mask is not None and attention_mask.shape != input_values.shape[:2]:
            raise ValueError(
                f"`attention_mask` must have the shape {tuple(input_values.shape[:2])} of `input_values`, got "
                f"{tuple(attention_mask.shape)}."
            )


@auto_docstring(
    custom_intro="""
    SAMAudio with its two self-supervised objectives: masked segment prediction and contrastive segment learning.
    """
)
class SAMAudioForPreTraining(SAMAudioPreTrainedModel):
    def __init__(self, config: SAMAudioConfig):
        super().__init__(config)
        self.sam_audio = SAMAudioModel(config)
        self.objectives = SAMAudioSegmentObjectives(config)
        self.post_init()

    @can_return_tuple
    @auto_docstring
    def forward(
        self,
        input_values: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        mask_time_indices: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        tonic: torch.Tensor | None = None,
        tonic_confidence: torch.Tensor | None = None,
        input_features: torch.Tensor | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> SAMAudioForPreTrainingOutput:
        r"""
        input_values (`torch.Tensor` of shape `(batch_size, frames, feature_size)` or `(batch_size, samples)`):
            Features from [`SAMAudioFeatureExtractor`] for `config.frontend`; samples for `frontend="waveform"`. With
            `config.encoder_config`, what the encoder's own feature extractor returns.
        attention_mask (`torch.Tensor` of shape `(batch_size, frames)` or `(batch_size, samples)`, *optional*):
            1 for frames or samples of the clip and 0 for padding, which is ignored. Without it, frames that consist of
            `config.padding_value` are padding.
        mask_time_indices (`torch.BoolTensor` of shape `(batch_size, encoder_frames)`, *optional*):
            `True` for encoder frames to hide. Drawn where not given: random frames in training, the same frames at
            each call in evaluation.
        labels (`torch.LongTensor` of shape `(batch_size,)`, *optional*):
            Class of each clip; used by `config.contrastive_mode="label"` only.
        tonic (`torch.Tensor` of shape `(batch_size,)`, *optional*):
            Ignored. Accepted because [`SAMAudioFeatureExtractor`] returns it.
        tonic_confidence (`torch.Tensor` of shape `(batch_size,)`, *optional*):
            Ignored, like `tonic`.
        input_features (`torch.Tensor`, *optional*):
            `input_values` under the name that the feature extractors of some encoders give them, such as Whisper's.

        Example:

        ```python
        >>> import torch
        >>> from polyaudio import SAMAudioConfig, SAMAudioForPreTraining

        >>> model = SAMAudioForPreTraining(SAMAudioConfig())
        >>> outputs = model(torch.randn(2, 100, 80))
        >>> outputs.loss.backward()
        ```"""
        outputs = self.sam_audio(
            one_input(input_values, input_features),
            attention_mask=attention_mask,
            mask_time_indices=mask_time_indices,
            mask_time=self.config.mask_weight != 0,
            **kwargs,
        )
        loss, masked_segment_loss, contrastive_loss = self.objectives(
            outputs.last_hidden_state, outputs.masked_last_hidden_state, labels
        )
        return SAMAudioForPreTrainingOutput(
            loss=loss,
            masked_segment_loss=masked_segment_loss,
            contrastive_loss=contrastive_loss,
            last_hidden_state=outputs.last_hidden_state,
            encoder_last_hidden_state=outputs.encoder_last_hidden_state,
            hidden_states=outputs.hidden_states,
            attentions=outputs.attentions,
        )


class SAMAudioClassificationHead(nn.Module):
    """Two linear layers, with a GELU and a layer norm between them."""

    def __init__(self, config: SAMAudioConfig):
        super().__init__()
        self.dropout = nn.Dropout(config.classifier_dropout)
        self.dense = nn.Linear(config.hidden_size, config.classifier_proj_size)
        self.activation = nn.GELU()
        self.layernorm = nn.LayerNorm(config.classifier_proj_size, eps=config.layer_norm_eps)
        self.out_proj = nn.Linear(config.classifier_proj_size, config.num_labels)

    def forward(self, pooled: torch.Tensor) -> torch.Tensor:
        hidden_states = self.activation(self.dense(self.dropout(pooled)))
        return self.out_proj(self.dropout(self.layernorm(hidden_states)))


@auto_docstring(
    custom_intro="""
    SAMAudio with a classifier on the mean of its segments. In training its loss includes both self-supervised
    objectives.

    In evaluation, clips longer than `config.window_frames` are cut into adjacent windows. The probabilities of a clip
    are the means over its windows, weighted by their frames. Hidden states and attentions are those of the windows.
    """
)
class SAMAudioForAudioClassification(SAMAudioPreTrainedModel):
    def __init__(self, config: SAMAudioConfig):
        super().__init__(config)
        self.num_labels = config.num_labels
        self.sam_audio = SAMAudioModel(config)
        self.objectives = SAMAudioSegmentObjectives(config)
        self.classifier = SAMAudioClassificationHead(config)
        self.post_init()

    def freeze_base_model(self):
        """Disable the gradients of the base model and of the self-supervised objectives, which only train it."""
        self.sam_audio.requires_grad_(False)
        self.objectives.requires_grad_(False)

    def pool(self, hidden_states: torch.Tensor, attention_mask: torch.Tensor | None = None) -> torch.Tensor:
        """
        Mean of the segments of each clip.

        Args:
            hidden_states: `(batch_size, num_segments, hidden_size)`, the `last_hidden_state` of the base model.
            attention_mask: not needed, since no segment is padding.

        Returns:
            `(batch_size, hidden_size)`.
        """
        return hidden_states.mean(dim=1)

    def classify(self, pooled: torch.Tensor) -> torch.Tensor:
        """The logits `(batch_size, num_labels)` of what [`pool`] returns."""
        return self.classifier(pooled)

    def compute_loss(
        self, logits: torch.Tensor, labels: torch.Tensor, attention_mask: torch.Tensor | None = None
    ) -> torch.Tensor:
        """
        The [`classification_loss`] for `config.problem_type`, without the self-supervised objectives.

        Args:
            logits: `(batch_size, num_labels)`.
            labels: as `forward` takes them.
            attention_mask: not needed, since a clip has one answer.
        """
        return classification_loss(logits, labels, self.config, label_smoothing=self.config.label_smoothing)

    def _warn_of_lost_objectives(self) -> None:
        """Warn once that a client computes its own loss, without the objectives."""
        has_objectives = self.config.mask_weight != 0 or self.config.contrastive_weight != 0
        if has_objectives and torch.is_grad_enabled() and not torch.compiler.is_compiling():
            logger.warning_once(
                "The model got no `labels` in training, so the loss that its caller computes lacks the "
                "self-supervised objectives. Pass the labels and train with the loss of the model. For label "
                "smoothing, set `label_smoothing` in its configuration instead of `label_smoothing_factor`. To train "
                "without the objectives, set `mask_weight` and `contrastive_weight` to 0."
            )

    @can_return_tuple
    @auto_docstring
    def forward(
        self,
        input_values: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        mask_time_indices: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        tonic: torch.Tensor | None = None,
        tonic_confidence: torch.Tensor | None = None,
        input_features: torch.Tensor | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> SAMAudioClassifierOutput:
        r"""
        input_values (`torch.Tensor` of shape `(batch_size, frames, feature_size)` or `(batch_size, samples)`):
            Features from [`SAMAudioFeatureExtractor`] for `config.frontend`; samples for `frontend="waveform"`. With
            `config.encoder_config`, what the encoder's own feature extractor returns.
        attention_mask (`torch.Tensor` of shape `(batch_size, frames)` or `(batch_size, samples)`, *optional*):
            1 for frames or samples of the clip and 0 for padding, which is ignored. Without it, frames that consist of
            `config.padding_value` are padding.
        mask_time_indices (`torch.BoolTensor` of shape `(batch_size, encoder_frames)`, *optional*):
            `True` for encoder frames to hide in training, drawn where not given. Evaluation hides no frames.
        labels (`torch.Tensor` of shape `(batch_size,)` or `(batch_size, num_labels)`, *optional*):
            Class indices, or the probability of each class, for single-label classification, floats from 0 to 1 for
            each class for multi-label classification, or values for regression, as `config.problem_type` says. If
            that is unset, the dtype of the first labels sets it.
        tonic (`torch.Tensor` of shape `(batch_size,)`, *optional*):
            Ignored. Accepted because [`SAMAudioFeatureExtractor`] returns it.
        tonic_confidence (`torch.Tensor` of shape `(batch_size,)`, *optional*):
            Ignored, like `tonic`.
        input_features (`torch.Tensor`, *optional*):
            `input_values` under the name that the feature extractors of some encoders give them, such as Whisper's.

        Example:

        ```python
        >>> import torch
        >>> from polyaudio import SAMAudioConfig, SAMAudioForAudioClassification

        >>> model = SAMAudioForAudioClassification(SAMAudioConfig(num_labels=5)).eval()
        >>> model(torch.randn(1, 100, 80)).logits.shape
        torch.Size([1, 5])
        ```"""
        input_values = one_input(input_values, input_features)
        # The objectives only train the base model: without them if it is in evaluation mode, as a frozen one is
        with_objectives = self.sam_audio.training and labels is not None
        if self.sam_audio.training and labels is None:
            self._warn_of_lost_objectives()
        num_frames = None
        if self.config.window_frames and not self.sam_audio.training:
            input_values, attention_mask, num_frames = self.sam_audio.cut_into_windows(input_values, attention_mask)
        outputs = self.sam_audio(
            input_values,
            attention_mask=attention_mask,
            mask_time_indices=mask_time_indices if with_objectives else None,
            mask_time=with_objectives and self.config.mask_weight != 0,
            **kwargs,
        )
        logits = self.classify(self.pool(outputs.last_hidden_state))
        if num_frames is not None:
            logits = join_window_logits(logits, num_frames, self.config.problem_type)

        loss = classifier_loss = masked_segment_loss = contrastive_loss = None
        if labels is not None:
            loss = classifier_loss = self.compute_loss(logits, labels)
        if with_objectives:
            objectives, masked_segment_loss, contrastive_loss = self.objectives(
                outputs.last_hidden_state, outputs.masked_last_hidden_state, labels
            )
            loss = loss + objectives

        return SAMAudioClassifierOutput(
            loss=loss,
            logits=logits,
            classification_loss=classifier_loss,
            masked_segment_loss=masked_segment_loss,
            contrastive_loss=contrastive_loss,
            hidden_states=outputs.hidden_states,
            attentions=outputs.attentions,
        )


__all__ = [
    "SAMAudioForAudioClassification",
    "SAMAudioForPreTraining",
    "SAMAudioModel",
    "SAMAudioPreTrainedModel",
]
