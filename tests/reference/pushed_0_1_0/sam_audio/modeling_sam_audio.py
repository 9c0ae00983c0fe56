# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
# Copied from polyaudio 0.1.0. The MIT License: https://opensource.org/license/mit
"""PyTorch SAMAudio model"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn
from transformers import PreTrainedModel
from transformers import initialization as init
from transformers.activations import ACT2FN
from transformers.masking_utils import create_bidirectional_mask
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from transformers.processing_utils import Unpack
from transformers.utils import ModelOutput, TransformersKwargs
from transformers.utils.generic import can_return_tuple, merge_with_config_defaults
from transformers.utils.output_capturing import capture_outputs

from .configuration_sam_audio import SAMAudioConfig
from .saving import PortableModelMixin
from .adapters import AdapterLoadingMixin
from .classification_loss import classification_loss


@dataclass
class SAMAudioModelOutput(ModelOutput):
    r"""
    last_hidden_state (`torch.FloatTensor` of shape `(batch_size, num_segments, hidden_size)`):
        The segment representations.
    pooler_output (`torch.FloatTensor` of shape `(batch_size, hidden_size)`):
        Their mean.
    encoder_last_hidden_state (`torch.FloatTensor` of shape `(batch_size, encoder_frames, hidden_size)`):
        The frames that the segments attend to.
    masked_last_hidden_state (`torch.FloatTensor` of shape `(batch_size, num_segments, hidden_size)`):
        The segment representations of the clip with frames hidden. Returned when `mask_time_indices` is given.
    hidden_states (`tuple(torch.FloatTensor)`, returned with `output_hidden_states=True`):
        The segments before the first and after each layer, each of shape `(batch_size, num_segments, hidden_size)`.
    attentions (`tuple(torch.FloatTensor)`, returned with `output_attentions=True`):
        For each layer the weights with which segments attend to frames, of shape
        `(batch_size, num_attention_heads, num_segments, encoder_frames)`.
    """

    last_hidden_state: torch.FloatTensor | None = None
    pooler_output: torch.FloatTensor | None = None
    encoder_last_hidden_state: torch.FloatTensor | None = None
    masked_last_hidden_state: torch.FloatTensor | None = None
    hidden_states: tuple[torch.FloatTensor, ...] | None = None
    attentions: tuple[torch.FloatTensor, ...] | None = None


@dataclass
class SAMAudioForPreTrainingOutput(ModelOutput):
    r"""
    loss (`torch.FloatTensor` of shape `(1,)`):
        `mask_weight * masked_segment_loss + contrastive_weight * contrastive_loss`.
    masked_segment_loss (`torch.FloatTensor` of shape `(1,)`, returned unless `config.mask_weight` is 0):
        Mean squared error of the segments predicted from the clip with frames hidden.
    contrastive_loss (`torch.FloatTensor` of shape `(1,)`, returned unless `config.contrastive_weight` is 0):
        InfoNCE over the segments of the batch.
    last_hidden_state, encoder_last_hidden_state, hidden_states, attentions:
        As in [`SAMAudioModelOutput`].
    """

    loss: torch.FloatTensor | None = None
    masked_segment_loss: torch.FloatTensor | None = None
    contrastive_loss: torch.FloatTensor | None = None
    last_hidden_state: torch.FloatTensor | None = None
    encoder_last_hidden_state: torch.FloatTensor | None = None
    hidden_states: tuple[torch.FloatTensor, ...] | None = None
    attentions: tuple[torch.FloatTensor, ...] | None = None


@dataclass
class SAMAudioClassifierOutput(ModelOutput):
    r"""
    loss (`torch.FloatTensor` of shape `(1,)`, returned when `labels` are given):
        In training `classification_loss + mask_weight * masked_segment_loss + contrastive_weight * contrastive_loss`,
        in evaluation the first of them.
    logits (`torch.FloatTensor` of shape `(batch_size, num_labels)`):
        Scores before the softmax or sigmoid.
    classification_loss (`torch.FloatTensor` of shape `(1,)`, returned when `labels` are given):
        Cross entropy with label smoothing, binary cross entropy or mean squared error, by `config.problem_type`.
    masked_segment_loss, contrastive_loss (`torch.FloatTensor` of shape `(1,)`, returned in training with `labels`):
        As in [`SAMAudioForPreTrainingOutput`].
    hidden_states, attentions:
        As in [`SAMAudioModelOutput`].
    """

    loss: torch.FloatTensor | None = None
    logits: torch.FloatTensor | None = None
    classification_loss: torch.FloatTensor | None = None
    masked_segment_loss: torch.FloatTensor | None = None
    contrastive_loss: torch.FloatTensor | None = None
    hidden_states: tuple[torch.FloatTensor, ...] | None = None
    attentions: tuple[torch.FloatTensor, ...] | None = None


class SAMAudioGroupNorm(nn.GroupNorm):
    """Group normalisation of `(batch_size, channels, frames)` whose statistics leave padding frames out."""

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
    """Batch normalisation of `(batch_size, channels, frames)` whose batch statistics leave padding frames out."""

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
    """Layer normalisation over the channels of `(batch_size, channels, frames)`; padding frames play no part."""

    def forward(self, hidden_states: torch.Tensor, frame_mask: torch.Tensor | None = None) -> torch.Tensor:
        return super().forward(hidden_states.transpose(1, 2)).transpose(1, 2)


class SAMAudioConvLayer(GradientCheckpointingLayer):
    def __init__(self, config: SAMAudioConfig, layer_id: int):
        super().__init__()
        in_channels = config.conv_dim[layer_id - 1] if layer_id > 0 else config.feature_size
        out_channels = config.conv_dim[layer_id]
        # Beside those of `self.conv`, which an adapter may wrap
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
            frame_mask: bool, `(batch_size, output_frames)`, the output frames that are no padding.
        """
        hidden_states = self.conv(hidden_states)
        hidden_states = self.norm(hidden_states, frame_mask)
        hidden_states = self.dropout(self.activation(hidden_states))
        if frame_mask is not None:
            # So that the next convolution sees behind the end of a clip what it sees behind the end of a batch: zeros
            hidden_states = hidden_states * frame_mask[:, None, :].to(hidden_states.dtype)
        return hidden_states

    def output_mask(self, frame_mask: torch.Tensor) -> torch.Tensor:
        """Which of this layer's output frames a clip of the given input frames has if it stands alone."""
        kernel_size, stride, padding = self.kernel_size, self.stride, self.padding
        output_frames = (frame_mask.shape[1] + 2 * padding - kernel_size) // stride + 1
        # Output frame j exists when its window ends within the padding behind the clip, that is, when input frame
        # j * stride + kernel_size - 1 - 2 * padding exists.
        needed = torch.arange(output_frames, device=frame_mask.device) * stride + (kernel_size - 1 - 2 * padding)
        return frame_mask[:, needed.clamp(min=0)]


class SAMAudioEncoder(nn.Module):
    """Strided convolutions from the features of a clip, or its waveform, to encoder frames."""

    def __init__(self, config: SAMAudioConfig):
        super().__init__()
        self.layers = nn.ModuleList([SAMAudioConvLayer(config, i) for i in range(len(config.conv_dim))])
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
            frame_mask: bool, `(batch_size, frames)`.

        Returns:
            The encoder frames, `(batch_size, encoder_frames, hidden_size)`, and their mask if one was given.
        """
        if frame_mask is not None:
            hidden_states = hidden_states * frame_mask[:, None, :].to(hidden_states.dtype)
        if self.training and self.layers[0].gradient_checkpointing:
            # Reentrant checkpointing gives a layer's weights gradients only if an input of the layer needs one
            hidden_states.requires_grad_(True)
        for layer in self.layers:
            if frame_mask is not None:
                frame_mask = layer.output_mask(frame_mask)
            hidden_states = layer(hidden_states, frame_mask)
        return self.projection(hidden_states.transpose(1, 2)), frame_mask


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
    scores = torch.matmul(query, key.transpose(2, 3)) * scaling
    if attention_mask is not None:
        scores = scores + attention_mask
    attn_weights = F.softmax(scores, dim=-1, dtype=torch.float32).to(query.dtype)
    attn_weights = F.dropout(attn_weights, p=dropout, training=module.training)
    attn_output = torch.matmul(attn_weights, value)
    return attn_output.transpose(1, 2).contiguous(), attn_weights


class SAMAudioSegmentAttention(nn.Module):
    """Multi-head attention of segments to encoder frames."""

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
        **kwargs: Unpack[TransformersKwargs],
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """
        Args:
            hidden_states: the segments, `(batch_size, num_segments, hidden_size)`, or with `mask_time_indices`
                `(2 * batch_size, ...)`: first those that see all frames, then those that see some frames as zeros.
            encoder_hidden_states: the frames, `(batch_size, encoder_frames, hidden_size)`.
            mask_time_indices: bool, `(batch_size, encoder_frames)`, True for the frames that are seen as zeros.

        Returns:
            The attended segments, of the shape of `hidden_states`, and where the attention implementation gives them
            the weights of the segments that see all frames.
        """
        batch_size = encoder_hidden_states.shape[0]
        keys = self.k_proj(encoder_hidden_states)
        values = self.v_proj(encoder_hidden_states)
        if mask_time_indices is not None:
            # A frame of zeros projects to the bias: the frames need not be projected a second time.
            hidden = mask_time_indices[:, :, None]
            zero_frame = encoder_hidden_states.new_zeros(1, 1, encoder_hidden_states.shape[2])
            keys = torch.cat([keys, torch.where(hidden, self.k_proj(zero_frame), keys)])
            values = torch.cat([values, torch.where(hidden, self.v_proj(zero_frame), values)])
            if attention_mask is not None:
                attention_mask = torch.cat([attention_mask, attention_mask])

        attention_interface: Callable = ALL_ATTENTION_FUNCTIONS.get_interface(
            self.config._attn_implementation, eager_attention_forward
        )
        attn_output, attn_weights = attention_interface(
            self,
            self._split_heads(self._queries(hidden_states)),
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

    def _queries(self, hidden_states: torch.Tensor) -> torch.Tensor:
        if hidden_states.stride(0) == 0:
            # The first layer's segments are the tokens, expanded over the batch: projecting them once is enough
            return self.q_proj(hidden_states[:1]).expand_as(hidden_states)
        return self.q_proj(hidden_states)

    def _split_heads(self, states: torch.Tensor) -> torch.Tensor:
        return states.unflatten(2, (-1, self.head_dim)).transpose(1, 2)


class SAMAudioSegmentLayer(GradientCheckpointingLayer):
    """One round in which the segments attend to the frames: attention, residual, layer norm."""

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
        **kwargs: Unpack[TransformersKwargs],
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """
        Advance the segments that see all frames (`hidden_states`), and with `mask_time_indices` those that see some
        frames as zeros (`masked_hidden_states`; None in the first layer, where both are the tokens of every clip).
        """
        batch_size = hidden_states.shape[0]
        if mask_time_indices is not None and masked_hidden_states is None:
            hidden_states = hidden_states[:1].expand(2 * batch_size, -1, -1)
        elif mask_time_indices is not None:
            hidden_states = torch.cat([hidden_states, masked_hidden_states])
        attended, _ = self.attention(hidden_states, encoder_hidden_states, attention_mask, mask_time_indices, **kwargs)
        hidden_states = self.layernorm(attended + hidden_states)
        if mask_time_indices is None:
            return hidden_states, None
        return hidden_states[:batch_size], hidden_states[batch_size:]


def choose_time_mask(frame_mask: torch.Tensor, mask_ratio: float, at_random: bool = True) -> torch.Tensor:
    """
    Choose the frames that masked segment prediction hides: `int(mask_ratio * frames)` frames of each clip.

    Args:
        frame_mask: bool, `(batch_size, encoder_frames)`, True for the frames that are no padding.
        mask_ratio: share of a clip's frames.
        at_random: anew at each call, reproducible by `torch.manual_seed`. Otherwise frames spread over the clip, the
            same at each call, so that losses in evaluation can be compared.

    Returns:
        bool, `(batch_size, encoder_frames)`, True for hidden frames.
    """
    if at_random:
        order = torch.rand(frame_mask.shape, device=frame_mask.device)
    else:
        # Multiples of the golden ratio modulo 1 are spread evenly, however many of them are taken
        golden_ratio = (1 + math.sqrt(5)) / 2
        steps = torch.arange(frame_mask.shape[1], dtype=torch.float32, device=frame_mask.device)
        order = (steps * (golden_ratio - 1) % 1).expand(frame_mask.shape)
    ranks = order.masked_fill(~frame_mask, math.inf).argsort(dim=1).argsort(dim=1)
    num_hidden = (frame_mask.sum(1, keepdim=True) * mask_ratio).long()
    return ranks < num_hidden


class _GatherFromProcesses(torch.autograd.Function):
    """Concatenate a tensor over the processes of a DDP run; gradients flow back to the process each part came from."""

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
    InfoNCE over segments: each anchor is drawn to the other segments of its group and pushed off all the rest.

    For anchor i with positives P(i) the loss is `logsumexp_j(s_ij) - mean_{p in P(i)} s_ip`, `s` the cosine similarity
    over the temperature, averaged over the anchors; an anchor without a positive counts as 0. As in the original, j
    runs over all segments, the anchor itself included.

    Args:
        anchors: float32, `(clips, num_segments, projection_dim)`, of unit length; they stand among the candidates.
        anchor_groups: int64, `(clips,)`; the clips with the same number are each other's positives.
        candidates: float32, `(all_clips, num_segments, projection_dim)`, of unit length.
        candidate_groups: int64, `(all_clips,)`.
        temperature: above 0.
    """
    # The mean over positives is linear in them, so their sum by clip is enough: no mask of segments by segments.
    same_group = (anchor_groups[:, None] == candidate_groups[None, :]).to(anchors.dtype)
    positive_sums = same_group @ candidates.sum(1)
    num_positives = same_group.sum(1) * candidates.shape[1] - 1
    to_positives = (anchors * positive_sums[:, None]).sum(-1) - anchors.square().sum(-1)
    mean_positive = to_positives / (temperature * num_positives.clamp(min=1)[:, None])
    similarities = (anchors.flatten(0, 1) / temperature) @ candidates.flatten(0, 1).T
    log_normalizer = similarities.logsumexp(1).view_as(mean_positive)
    return ((log_normalizer - mean_positive) * (num_positives > 0)[:, None]).mean()


class SAMAudioMLP(nn.Module):
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
        """Mean squared error of the segments of the whole clip (no gradient) as predicted from the masked one's."""
        return F.mse_loss(self.segment_predictor(masked_segments).float(), segments.detach().float())

    def contrastive_loss(self, segments: torch.Tensor, labels: torch.Tensor | None) -> torch.Tensor:
        """The contrastive loss of `(batch_size, num_segments, hidden_size)` over the clips of all processes."""
        batch_size = segments.shape[0]
        projected = self.contrastive_projection(segments)
        # Half precision cannot hold exponentials of similarities at low temperatures
        with torch.autocast(device_type=segments.device.type, enabled=False):
            anchors = F.normalize(projected.float(), dim=-1)
            if self.config.contrastive_mode == "clip":
                groups = torch.arange(batch_size, device=segments.device)
            elif labels is None or labels.shape != (batch_size,):
                raise ValueError(
                    "contrastive_mode='label' needs one class label a clip: `labels` of shape "
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
        """Returns the weighted sum of the two losses, and each of them unless its weight is 0."""
        total = segments.new_zeros((), dtype=torch.float32)
        masked_segment_loss = contrastive_loss = None
        if self.config.mask_weight != 0:
            masked_segment_loss = self.masked_segment_loss(masked_segments, segments)
            total = total + self.config.mask_weight * masked_segment_loss
        if self.config.contrastive_weight != 0:
            contrastive_loss = self.contrastive_loss(segments, labels)
            total = total + self.config.contrastive_weight * contrastive_loss
        return total, masked_segment_loss, contrastive_loss


class SAMAudioPreTrainedModel(PortableModelMixin, AdapterLoadingMixin, PreTrainedModel):
    config: SAMAudioConfig
    base_model_prefix = "sam_audio"
    main_input_name = "input_values"
    input_modalities = ("audio",)
    supports_gradient_checkpointing = True
    # The losses here are means over a micro-batch: the Trainer has to divide them by its accumulation steps
    accepts_loss_kwargs = False
    _no_split_modules = ["SAMAudioConvLayer", "SAMAudioSegmentLayer"]
    _supports_sdpa = True
    _supports_attention_backend = True
    _can_record_outputs = {"hidden_states": SAMAudioSegmentLayer, "attentions": SAMAudioSegmentAttention}

    @torch.no_grad()
    def _init_weights(self, module: nn.Module):
        """Initialise as the original does: He for convolutions, torch's own for linear layers."""
        super()._init_weights(module)
        if isinstance(module, nn.Conv1d):
            init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        elif isinstance(module, nn.Linear):
            init.kaiming_uniform_(module.weight, a=math.sqrt(5))
            bound = 1 / math.sqrt(max(module.in_features, 1))
            init.uniform_(module.bias, -bound, bound)
        elif isinstance(module, SAMAudioModel):
            init.normal_(module.segment_tokens, mean=0.0, std=self.config.initializer_range)


class SAMAudioModel(SAMAudioPreTrainedModel):
    """The SAMAudio model without a head: it turns a clip into `config.num_segments` segment representations."""

    def __init__(self, config: SAMAudioConfig):
        super().__init__(config)
        self.encoder = SAMAudioEncoder(config)
        self.segment_tokens = nn.Parameter(torch.zeros(config.num_segments, config.hidden_size))
        self.layers = nn.ModuleList([SAMAudioSegmentLayer(config) for _ in range(config.num_hidden_layers)])
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        return self.encoder.layers[0].conv

    def set_input_embeddings(self, value: nn.Module):
        self.encoder.layers[0].conv = value

    @merge_with_config_defaults
    @capture_outputs(tie_last_hidden_states=False)
    def forward(
        self,
        input_values: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        mask_time_indices: torch.Tensor | None = None,
        mask_time: bool = False,
        **kwargs: Unpack[TransformersKwargs],
    ) -> SAMAudioModelOutput:
        r"""
        Args:
            input_values (`torch.FloatTensor`):
                What [`SAMAudioFeatureExtractor`] gives for `config.frontend`: frames of shape
                `(batch_size, frames, feature_size)`, or a waveform of shape `(batch_size, samples)`.
            attention_mask (`torch.Tensor` of shape `(batch_size, frames)` or `(batch_size, samples)`, *optional*):
                1 for what belongs to a clip, 0 for the padding behind it.
            mask_time_indices (`torch.BoolTensor` of shape `(batch_size, encoder_frames)`, *optional*):
                Encoder frames to hide. The segments of the clip without them are returned as
                `masked_last_hidden_state`, beside those of the whole clip.
            mask_time (`bool`, *optional*, defaults to `False`):
                Hide `config.mask_ratio` of the encoder frames where `mask_time_indices` is not given: random ones in
                training, the same ones at each call in evaluation.

        Raises:
            ValueError: for inputs whose shapes do not fit the configuration or each other.
        """
        hidden_states = self._check_input(input_values, attention_mask)
        frame_mask = attention_mask.bool() if attention_mask is not None else None
        frames, frame_mask = self.encoder(hidden_states, frame_mask)

        if mask_time_indices is None and mask_time:
            every_frame = torch.ones(frames.shape[:2], dtype=torch.bool, device=frames.device)
            mask_time_indices = choose_time_mask(
                every_frame if frame_mask is None else frame_mask, self.config.mask_ratio, at_random=self.training
            )
        if mask_time_indices is not None and mask_time_indices.shape != frames.shape[:2]:
            raise ValueError(
                f"mask_time_indices has shape {tuple(mask_time_indices.shape)}, but this input has "
                f"{tuple(frames.shape[:2])} encoder frames."
            )

        segments = self.segment_tokens.expand(frames.shape[0], -1, -1)
        masked_segments = None
        attention_mask = create_bidirectional_mask(
            config=self.config, inputs_embeds=segments, attention_mask=frame_mask, encoder_hidden_states=frames
        )
        for layer in self.layers:
            segments, masked_segments = layer(
                segments, frames, attention_mask, masked_segments, mask_time_indices, **kwargs
            )
        return SAMAudioModelOutput(
            last_hidden_state=segments,
            pooler_output=segments.mean(1),
            encoder_last_hidden_state=frames,
            masked_last_hidden_state=masked_segments,
        )

    def _check_input(self, input_values: torch.Tensor, attention_mask: torch.Tensor | None) -> torch.Tensor:
        """The input as `(batch_size, feature_size, frames)`."""
        if self.config.frontend == "waveform":
            expected, fits = "(batch_size, samples)", input_values.ndim == 2
        else:
            expected = f"(batch_size, frames, {self.config.feature_size})"
            fits = input_values.ndim == 3 and input_values.shape[2] == self.config.feature_size
        if not fits:
            raise ValueError(
                f"A SAMAudio model with frontend={self.config.frontend!r} takes input_values of shape {expected}, got "
                f"{tuple(input_values.shape)}."
            )
        if attention_mask is not None and attention_mask.shape != input_values.shape[:2]:
            raise ValueError(
                f"attention_mask has shape {tuple(attention_mask.shape)}, but input_values needs "
                f"{tuple(input_values.shape[:2])}."
            )
        return input_values[:, None] if self.config.frontend == "waveform" else input_values.transpose(1, 2)


class SAMAudioForPreTraining(SAMAudioPreTrainedModel):
    """SAMAudio with its two self-supervised objectives, masked segment prediction and contrastive segments."""

    def __init__(self, config: SAMAudioConfig):
        super().__init__(config)
        self.sam_audio = SAMAudioModel(config)
        self.objectives = SAMAudioSegmentObjectives(config)
        self.post_init()

    @can_return_tuple
    def forward(
        self,
        input_values: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        mask_time_indices: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        tonic: torch.Tensor | None = None,
        tonic_confidence: torch.Tensor | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> SAMAudioForPreTrainingOutput:
        r"""
        Args:
            input_values, attention_mask, mask_time_indices:
                As in [`SAMAudioModel.forward`], with `mask_time=True`.
            labels (`torch.LongTensor` of shape `(batch_size,)`, *optional*):
                Classes of the clips; used only by `config.contrastive_mode="label"`.
            tonic, tonic_confidence:
                Ignored: they let `model(**features)` work on what the extractor gives.
        """
        outputs = self.sam_audio(
            input_values,
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


class SAMAudioForAudioClassification(SAMAudioPreTrainedModel):
    """SAMAudio with a classifier over the mean of its segments, trained beside both self-supervised objectives."""

    def __init__(self, config: SAMAudioConfig):
        super().__init__(config)
        self.num_labels = config.num_labels
        self.sam_audio = SAMAudioModel(config)
        self.objectives = SAMAudioSegmentObjectives(config)
        self.classifier = SAMAudioClassificationHead(config)
        self.post_init()

    def pool(self, hidden_states: torch.Tensor, attention_mask: torch.Tensor | None = None) -> torch.Tensor:
        """One vector a clip, `(batch_size, hidden_size)`: the mean of its segments."""
        return hidden_states.mean(dim=1)

    def classify(self, pooled: torch.Tensor) -> torch.Tensor:
        """The logits of what [`pool`] gives, `(batch_size, num_labels)`."""
        return self.classifier(pooled)

    def compute_loss(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """[`classification_loss`] as the configuration says, without the self-supervised objectives."""
        return classification_loss(logits, labels, self.config, label_smoothing=self.config.label_smoothing)

    @can_return_tuple
    def forward(
        self,
        input_values: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        mask_time_indices: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        tonic: torch.Tensor | None = None,
        tonic_confidence: torch.Tensor | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> SAMAudioClassifierOutput:
        r"""
        Args:
            input_values, attention_mask, mask_time_indices:
                As in [`SAMAudioModel.forward`]. In training frames are hidden at random where `mask_time_indices` is
                not given; in evaluation nothing is hidden.
            labels (`torch.Tensor`, *optional*):
                int64 of shape `(batch_size,)`, or the probability of each class, for single-label classification,
                float of shape `(batch_size, num_labels)` for multi-label classification, float for regression.
            tonic, tonic_confidence:
                Ignored: they let `model(**features)` work on what the extractor gives.
        """
        # The objectives train the encoder: one in evaluation mode, as a frozen one is, has none
        with_objectives = self.sam_audio.training and labels is not None
        outputs = self.sam_audio(
            input_values,
            attention_mask=attention_mask,
            mask_time_indices=mask_time_indices if with_objectives else None,
            mask_time=with_objectives and self.config.mask_weight != 0,
            **kwargs,
        )
        logits = self.classify(self.pool(outputs.last_hidden_state))

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
