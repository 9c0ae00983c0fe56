# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""SSLAM: a Transformer on patches of a mel spectrogram, pre-trained on mixtures (https://arxiv.org/abs/2506.12222)."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn
from transformers import initialization as init
from transformers.activations import ACT2FN
from transformers.masking_utils import create_bidirectional_mask
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.modeling_outputs import BaseModelOutputWithPooling, SequenceClassifierOutput, TokenClassifierOutput
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS, PreTrainedModel
from transformers.processing_utils import Unpack
from transformers.utils import ModelOutput, TransformersKwargs, auto_docstring, torch_compilable_check
from transformers.utils.generic import can_return_tuple, merge_with_config_defaults
from transformers.utils.output_capturing import capture_outputs

from ..configuration.configuration_sslam import SSLAMConfig
from ..feature_extraction.padding import frames_to_hear
from ..integration.adapters import AdapterLoadingMixin
from ..integration.saving import PortableModelMixin
from .classification_loss import classification_loss
from .onednn_linear import onednn_linear
from .window_folding import cut_into_windows, join_window_logits, log_sigmoid


def sincos_position_table(num_time_patches: int, num_mel_patches: int, hidden_size: int) -> torch.Tensor:
    """
    The fixed 2-D position table of EAT (https://arxiv.org/abs/2401.03497, section 3.1).

    The first half of the channels encodes the mel index of a patch, the second half its time index. Each half holds
    the sines of the index at `hidden_size / 4` frequencies from 1 down to 1/10000, then the cosines.

    Returns:
        `(1, num_time_patches * num_mel_patches, hidden_size)`, float32; the mel index runs fastest.
    """
    steps = torch.arange(hidden_size // 4, dtype=torch.float64) / (hidden_size // 4)
    frequencies = 10000.0**-steps

    def encode(length: int) -> torch.Tensor:
        angles = torch.arange(length, dtype=torch.float64)[:, None] * frequencies
        return torch.cat([angles.sin(), angles.cos()], dim=-1)

    shape = (num_time_patches, num_mel_patches, -1)
    mel = encode(num_mel_patches)[None].expand(shape)
    time = encode(num_time_patches)[:, None].expand(shape)
    return torch.cat([mel, time], dim=-1).flatten(0, 1)[None].float()


def count_time_patches(num_frames: int, patch_size: int) -> int:
    """The number of patches that `num_frames` frames fill, the last one perhaps in part."""
    # Not -(-num_frames // patch_size): in ONNX the division of integers rounds towards zero
    return (num_frames + patch_size - 1) // patch_size


def sounding_time_patches(attention_mask: torch.Tensor, patch_size: int) -> torch.Tensor:
    """
    The time patches with at least one frame that is not padding.

    Args:
        attention_mask: `(batch_size, num_frames)`, nonzero for frames that are not padding.
        patch_size: number of frames in a patch.

    Returns:
        `(batch_size, ceil(num_frames / patch_size))`, bool.
    """
    num_frames = attention_mask.shape[1]
    missing_frames = count_time_patches(num_frames, patch_size) * patch_size - num_frames
    frames = nn.functional.pad(attention_mask.bool(), (0, missing_frames))
    return frames.unflatten(1, (-1, patch_size)).any(dim=-1)


class SSLAMPatchEmbeddings(nn.Conv2d):
    """
    A convolution whose kernels lie next to each other, without padding, computed as a linear layer on the patches.

    `torch.compile` cannot compile the backward of a convolution over a time that varies.
    """

    def __init__(self, out_channels: int, patch_size: int):
        super().__init__(1, out_channels, patch_size, stride=patch_size)

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """
        Args:
            input: `(batch_size, 1, num_frames, num_mel_bins)`, both sizes multiples of `patch_size`.

        Returns:
            `(batch_size, out_channels, num_time_patches, num_mel_patches)`.
        """
        height, width = self.kernel_size
        patches = input.squeeze(1).unflatten(2, (-1, width)).unflatten(1, (-1, height)).transpose(2, 3).flatten(3)
        return nn.functional.linear(patches, self.weight.flatten(1), self.bias).permute(0, 3, 1, 2)


class SSLAMEmbeddings(nn.Module):
    """
    Turns mel spectrograms `(batch_size, num_frames, num_mel_bins)` into tokens
    `(batch_size, 1 + num_patches, hidden_size)`. The class token comes first and has no position. The patches follow
    in the order of time, and within a time patch from the lowest mel bins to the highest.
    """

    def __init__(self, config: SSLAMConfig):
        super().__init__()
        self.patch_size = config.patch_size
        self.num_mel_patches = config.num_mel_bins // config.patch_size
        self.max_time_patches = config.max_time_patches
        self.cls_token = nn.Parameter(torch.empty(1, 1, config.hidden_size))
        self.patch_embeddings = SSLAMPatchEmbeddings(config.hidden_size, config.patch_size)
        # Persistent, because converted checkpoints hold a table that was rounded to float16
        table = sincos_position_table(self.max_time_patches, self.num_mel_patches, config.hidden_size)
        self.register_buffer("position_embeddings", table.to(self.cls_token.dtype))

    def forward(self, input_values: torch.Tensor) -> torch.Tensor:
        input_values = input_values.to(self.cls_token.dtype)
        num_time_patches = count_time_patches(input_values.shape[1], self.patch_size)
        if num_time_patches > self.max_time_patches:
            raise ValueError(
                f"The clips have {input_values.shape[1]} frames, but the position table ends at "
                f"{self.max_time_patches} patches of {self.patch_size} frames. Cut the clips, run the model on "
                "windows of them, or load the model with a larger `max_time_patches` and with "
                "`ignore_mismatched_sizes=True`, which computes a longer table."
            )
        # The original drops the last frames if they do not fill a patch
        missing_frames = num_time_patches * self.patch_size - input_values.shape[1]
        input_values = nn.functional.pad(input_values, (0, 0, 0, missing_frames))
        patches = self.patch_embeddings(input_values.unsqueeze(1)).flatten(2).transpose(1, 2)
        patches = patches + self.position_embeddings[:, : patches.shape[1]]
        return torch.cat([self.cls_token.expand(patches.shape[0], -1, -1), patches], dim=1)


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
    attn_weights = torch.matmul(query * scaling, key.transpose(2, 3))
    if attention_mask is not None:
        attn_weights = attn_weights + attention_mask
    attn_weights = nn.functional.softmax(attn_weights, dim=-1, dtype=torch.float32).to(query.dtype)
    attn_weights = nn.functional.dropout(attn_weights, p=dropout, training=module.training)
    attn_output = torch.matmul(attn_weights, value).transpose(1, 2).contiguous()
    return attn_output, attn_weights


class SSLAMAttention(nn.Module):
    """Multi-head self-attention."""

    def __init__(self, config: SSLAMConfig):
        super().__init__()
        self.config = config
        self.head_dim = config.hidden_size // config.num_attention_heads
        self.attention_dropout = config.attention_probs_dropout_prob
        self.scaling = self.head_dim**-0.5
        self.is_causal = False

        self.q_proj = onednn_linear(config.hidden_size, config.hidden_size)
        self.k_proj = onednn_linear(config.hidden_size, config.hidden_size)
        self.v_proj = onednn_linear(config.hidden_size, config.hidden_size)
        self.o_proj = onednn_linear(config.hidden_size, config.hidden_size)

    def forward(
        self,
        hidden_states: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        input_shape = hidden_states.shape[:-1]
        hidden_shape = (*input_shape, -1, self.head_dim)

        query_states = self.q_proj(hidden_states).view(hidden_shape).transpose(1, 2)
        key_states = self.k_proj(hidden_states).view(hidden_shape).transpose(1, 2)
        value_states = self.v_proj(hidden_states).view(hidden_shape).transpose(1, 2)

        attention_interface: Callable = ALL_ATTENTION_FUNCTIONS.get_interface(
            self.config._attn_implementation, eager_attention_forward
        )
        attn_output, attn_weights = attention_interface(
            self,
            query_states,
            key_states,
            value_states,
            attention_mask,
            dropout=self.attention_dropout if self.training else 0.0,
            scaling=self.scaling,
            **kwargs,
        )
        attn_output = attn_output.reshape(*input_shape, -1).contiguous()
        return self.o_proj(attn_output), attn_weights


class SSLAMMLP(nn.Module):
    """Two linear layers with dropout after each of them, as in timm's `Mlp`."""

    def __init__(self, config: SSLAMConfig):
        super().__init__()
        self.fc1 = onednn_linear(config.hidden_size, config.intermediate_size)
        self.activation_fn = ACT2FN[config.hidden_act]
        self.fc2 = onednn_linear(config.intermediate_size, config.hidden_size)
        self.dropout = nn.Dropout(config.activation_dropout)

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        hidden_states = self.dropout(self.activation_fn(self.fc1(hidden_states)))
        return self.dropout(self.fc2(hidden_states))


class SSLAMDropPath(nn.Module):
    """Stochastic depth: in training drops a residual branch for some clips of a batch and scales up the others."""

    def __init__(self, drop_prob: float):
        super().__init__()
        self.drop_prob = drop_prob

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        if self.drop_prob == 0.0 or not self.training:
            return hidden_states
        keep_prob = 1.0 - self.drop_prob
        kept = hidden_states.new_empty(hidden_states.shape[0], 1, 1).bernoulli_(keep_prob)
        return hidden_states * kept / keep_prob


class SSLAMLayer(GradientCheckpointingLayer):
    """
    A Transformer block that normalises after each residual. It also returns the output of the MLP before the residual
    is added, from which the teacher's targets are computed in pre-training (data2vec 2.0's "layer results").
    """

    def __init__(self, config: SSLAMConfig, drop_path_rate: float):
        super().__init__()
        self.attention = SSLAMAttention(config)
        self.attention_layernorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.mlp = SSLAMMLP(config)
        self.mlp_layernorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.attention_dropout = nn.Dropout(config.hidden_dropout_prob)
        self.mlp_dropout = nn.Dropout(config.post_mlp_dropout)
        self.drop_path = SSLAMDropPath(drop_path_rate)

    def forward(
        self,
        hidden_states: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> tuple[torch.Tensor, torch.Tensor]:
        attn_output, _ = self.attention(hidden_states, attention_mask, **kwargs)
        hidden_states = hidden_states + self.drop_path(self.attention_dropout(attn_output))
        hidden_states = self.attention_layernorm(hidden_states)

        layer_result = self.mlp(hidden_states)
        hidden_states = hidden_states + self.drop_path(self.mlp_dropout(layer_result))
        hidden_states = self.mlp_layernorm(hidden_states)
        return hidden_states, layer_result


@auto_docstring
class SSLAMPreTrainedModel(PortableModelMixin, AdapterLoadingMixin, PreTrainedModel):
    config: SSLAMConfig
    base_model_prefix = "sslam"
    main_input_name = "input_values"
    input_modalities = ("audio",)
    supports_gradient_checkpointing = True
    # The losses are means over the batch at hand, so the Trainer has to divide for gradient accumulation.
    accepts_loss_kwargs = False
    _no_split_modules = ["SSLAMEmbeddings", "SSLAMLayer"]
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_flex_attn = True
    _supports_attention_backend = True
    _can_compile_fullgraph = True
    _can_record_outputs = {"hidden_states": SSLAMLayer, "attentions": SSLAMAttention}
    _input_embed_layer = "patch_embeddings"
    # Loading an encoder from a pre-training checkpoint gives no warning about the rest of that checkpoint
    _keys_to_ignore_on_load_unexpected = [r"^teacher\.", r"^decoder\."]

    @torch.no_grad()
    def _init_weights(self, module: nn.Module):
        super()._init_weights(module)
        if isinstance(module, SSLAMEmbeddings):
            init.normal_(module.cls_token)
            # Xavier's bound for the patch projection as a linear layer, as in MAE
            patch_area, hidden_size = module.patch_size**2, module.cls_token.shape[-1]
            bound = math.sqrt(6 / (patch_area + hidden_size))
            init.uniform_(module.patch_embeddings.weight, -bound, bound)
            table = sincos_position_table(module.max_time_patches, module.num_mel_patches, hidden_size)
            init.copy_(module.position_embeddings, table)

    def freeze_feature_encoder(self):
        """Disable the gradients of the patch embeddings and of the class token."""
        self.base_model.embeddings.requires_grad_(False)

    def get_time_patch_mask(self, attention_mask: torch.Tensor) -> torch.Tensor:
        """[`sounding_time_patches`] for the patch size of this model."""
        return sounding_time_patches(attention_mask, self.config.patch_size)

    def get_patch_mask(self, attention_mask: torch.Tensor) -> torch.Tensor:
        """
        The patches with at least one frame that is not padding.

        Args:
            attention_mask: `(batch_size, num_frames)`, nonzero for frames that are not padding.

        Returns:
            `(batch_size, num_patches)`, bool.
        """
        num_mel_patches = self.config.num_mel_bins // self.config.patch_size
        return self.get_time_patch_mask(attention_mask).repeat_interleave(num_mel_patches, dim=1)

    def cut_into_windows(
        self, input_values: torch.Tensor, attention_mask: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor | None, torch.Tensor]:
        """[`cut_into_windows`] for the windows of this model, which end with the position table at the latest."""
        window_frames = None if self.config.window_frames is None else self.config.frames_of_one_pass
        return cut_into_windows(input_values, attention_mask, window_frames)

    def resolve_attention_mask(
        self, input_values: torch.Tensor, attention_mask: torch.Tensor | None
    ) -> torch.Tensor | None:
        """
        Check the input, and find the padding by `config.padding_value` if there is no `attention_mask`. The result is
        the mask of the feature extractor, which many clients drop.

        Args:
            input_values: `(batch_size, num_frames, num_mel_bins)`.
            attention_mask: `(batch_size, num_frames)`, nonzero for frames that are not padding, or `None`.

        Returns:
            `(batch_size, num_frames)`, or `None` if the model hears all frames.
        """
        self.check_input(input_values, attention_mask)
        if attention_mask is not None:
            return attention_mask
        heard_length = None if self.config.mask_padding else self.config.frames_of_one_pass
        # An exported program does not branch on the length of its input
        if heard_length and not torch.compiler.is_exporting() and input_values.shape[1] <= heard_length:
            return None
        return frames_to_hear(input_values, self.config.padding_value, heard_length)

    def check_input(self, input_values: torch.Tensor, attention_mask: torch.Tensor | None) -> None:
        """
        Raise `ValueError` unless `input_values` are mel spectrograms `(batch_size, num_frames, num_mel_bins)` and
        `attention_mask`, if there is one, has the shape `(batch_size, num_frames)`.
        """
        if input_values.ndim != 3 or input_values.shape[2] != self.config.num_mel_bins:
            raise ValueError(
                f"`input_values` must have the shape (batch_size, num_frames, {self.config.num_mel_bins}), got "
                f"{tuple(input_values.shape)}."
            )
        if attention_mask is not None and attention_mask.shape != input_values.shape[:2]:
            raise ValueError(
                f"`attention_mask` must have the shape {tuple(input_values.shape[:2])} of the frames of "
                f"`input_values`, got {tuple(attention_mask.shape)}."
            )


@auto_docstring(
    custom_intro="""
    The bare SSLAM model, which turns a mel spectrogram into a class token and a token for each patch.
    """
)
class SSLAMModel(SSLAMPreTrainedModel):
    def __init__(self, config: SSLAMConfig):
        super().__init__(config)
        self.embeddings = SSLAMEmbeddings(config)
        self.context_layernorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.dropout = nn.Dropout(config.embedding_dropout)
        last = max(config.num_hidden_layers - 1, 1)
        self.layers = nn.ModuleList(
            [SSLAMLayer(config, config.drop_path_rate * index / last) for index in range(config.num_hidden_layers)]
        )
        self.post_init()

    def get_input_embeddings(self) -> nn.Conv2d:
        return self.embeddings.patch_embeddings

    def encode(
        self,
        hidden_states: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> torch.Tensor:
        """
        Run the context norm and the blocks on any set of tokens, for example on the visible patches only.

        Args:
            hidden_states: `(batch_size, num_tokens, hidden_size)`, tokens from `self.embeddings`.
            attention_mask: a mask made by `create_bidirectional_mask` for these tokens.

        Returns:
            `(batch_size, num_tokens, hidden_size)`.
        """
        hidden_states = self.dropout(self.context_layernorm(hidden_states))
        for layer in self.layers:
            if self.training and self.config.layerdrop > 0 and torch.rand(()) < self.config.layerdrop:
                continue
            hidden_states, _ = layer(hidden_states, attention_mask, **kwargs)
        return hidden_states

    @merge_with_config_defaults
    @capture_outputs(tie_last_hidden_states=False)
    @auto_docstring
    def forward(
        self,
        input_values: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> BaseModelOutputWithPooling:
        r"""
        input_values (`torch.Tensor` of shape `(batch_size, num_frames, num_mel_bins)`):
            Log-mel frames from [`SSLAMFeatureExtractor`]. The model pads the last patch with zeros.
        attention_mask (`torch.Tensor` of shape `(batch_size, num_frames)`, *optional*):
            1 for frames of the clip and 0 for padding, which is ignored. Without it, the model finds the padding by
            its value if `config.mask_padding` is set. Otherwise padding counts as sound: the published checkpoints
            were trained that way on clips padded to 1024 frames.

        Example:

        ```python
        >>> import torch
        >>> from polyaudio import SSLAMConfig, SSLAMFeatureExtractor, SSLAMModel

        >>> model = SSLAMModel(SSLAMConfig(num_hidden_layers=2)).eval()
        >>> inputs = SSLAMFeatureExtractor()(torch.randn(16000), sampling_rate=16000, return_tensors="pt")
        >>> model(**inputs).last_hidden_state.shape
        torch.Size([1, 513, 768])
        ```"""
        attention_mask = self.resolve_attention_mask(input_values, attention_mask)
        patch_mask = None
        if attention_mask is not None:
            patch_mask = self.get_patch_mask(attention_mask)
            patch_mask = nn.functional.pad(patch_mask, (1, 0), value=True)  # the class token
            # Zeros fill the last patch of a clip then, as they do when the clip is alone
            input_values = input_values.masked_fill(~attention_mask.bool()[..., None], 0.0)

        hidden_states = self.embeddings(input_values)
        attention_mask = create_bidirectional_mask(
            config=self.config, inputs_embeds=hidden_states, attention_mask=patch_mask
        )
        hidden_states = self.encode(hidden_states, attention_mask, **kwargs)
        return BaseModelOutputWithPooling(last_hidden_state=hidden_states, pooler_output=hidden_states[:, 0])

    def frame_features(self, hidden_states: torch.Tensor, mel_patches: str = "mean") -> torch.Tensor:
        """
        One vector for each time patch.

        Args:
            hidden_states: `(batch_size, 1 + num_patches, hidden_size)`, the `last_hidden_state`.
            mel_patches: `"mean"` over the mel patches of a time patch, or `"concatenate"`, from the lowest to the
                highest.

        Returns:
            `(batch_size, num_time_patches, feature_size)`, with the `hidden_size`, or with `"concatenate"`
            `num_mel_patches * hidden_size`, as `feature_size`.

        Raises:
            ValueError: `mel_patches` is neither of the two.
        """
        if mel_patches not in ("mean", "concatenate"):
            raise ValueError(f"`mel_patches` must be 'mean' or 'concatenate', got {mel_patches!r}.")
        time_patches = hidden_states[:, 1:].unflatten(1, (-1, self.embeddings.num_mel_patches))
        return time_patches.mean(dim=2) if mel_patches == "mean" else time_patches.flatten(2)

    def get_frame_features(
        self, input_values: torch.Tensor, attention_mask: torch.Tensor | None = None, mel_patches: str = "mean"
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """
        Features along time, `config.patch_size` input frames apart: 160 ms by default.

        Args:
            input_values: `(batch_size, num_frames, num_mel_bins)`.
            attention_mask: `(batch_size, num_frames)`, nonzero for frames that are not padding.
            mel_patches: as for [`frame_features`].

        Returns:
            The features `(batch_size, num_time_patches, feature_size)`, and the mask `(batch_size, num_time_patches)`,
            bool, `False` for padding, or `None` if the model hears all frames.
        """
        attention_mask = self.resolve_attention_mask(input_values, attention_mask)
        features = self.frame_features(self(input_values, attention_mask).last_hidden_state, mel_patches)
        return features, None if attention_mask is None else self.get_time_patch_mask(attention_mask)

    def extract_features(self, mel: torch.Tensor) -> torch.Tensor:
        """
        The tokens of clips, under the name and with the input shape of the published EAT models.

        Args:
            mel: `(batch_size, 1, num_frames, num_mel_bins)`.

        Returns:
            `(batch_size, 1 + num_patches, hidden_size)`, the class token first.
        """
        return self(mel.squeeze(1)).last_hidden_state


def masked_mean(hidden_states: torch.Tensor, patch_mask: torch.Tensor | None) -> torch.Tensor:
    """
    Mean over the patches.

    Args:
        hidden_states: `(batch_size, num_patches, hidden_size)`.
        patch_mask: `(batch_size, num_patches)`, bool, `False` for padding.

    Returns:
        `(batch_size, hidden_size)`.
    """
    if patch_mask is None:
        return hidden_states.mean(dim=1)
    hidden_states = hidden_states.masked_fill(~patch_mask[..., None], 0.0)
    return hidden_states.sum(dim=1) / patch_mask.sum(dim=1, keepdim=True).clamp(min=1)


def linear_softmax_pooling(hidden_states: torch.Tensor, patch_mask: torch.Tensor | None) -> torch.Tensor:
    """
    Linear softmax pooling (https://arxiv.org/abs/1810.09050): the mean of probabilities, weighted by themselves. The
    channels are taken as log-odds, and the result is returned as log-odds.

    Args:
        hidden_states: `(batch_size, num_patches, hidden_size)`.
        patch_mask: `(batch_size, num_patches)`, bool, `False` for padding.

    Returns:
        `(batch_size, hidden_size)`.
    """
    log_probs = log_sigmoid(hidden_states.float())
    if patch_mask is not None:
        log_probs = log_probs.masked_fill(~patch_mask[..., None], -torch.inf)
    # log(sum p^2 / sum p), with the epsilon of the original
    pooled = torch.logsumexp(2 * log_probs, dim=1) - torch.logsumexp(log_probs + 1e-6, dim=1)
    pooled = pooled.clamp(max=0)
    log_odds = pooled - torch.log(-torch.expm1(pooled))
    return torch.nan_to_num(log_odds, nan=0.0, posinf=0.0, neginf=0.0).to(hidden_states.dtype)


@auto_docstring(
    custom_intro="""
    SSLAM with a linear layer on the pooled tokens, for audio classification, for example on AudioSet or ESC-50.

    Clips longer than `config.window_frames` are cut into adjacent windows. The probabilities of a clip are the means
    over its windows, weighted by their frames. Hidden states and attentions are those of the windows.
    """
)
class SSLAMForAudioClassification(SSLAMPreTrainedModel):
    def __init__(self, config: SSLAMConfig):
        super().__init__(config)
        self.num_labels = config.num_labels
        self.sslam = SSLAMModel(config)
        self.fc_norm = (
            nn.LayerNorm(config.hidden_size, eps=config.fc_norm_eps) if config.use_fc_norm else nn.Identity()
        )
        self.classifier = nn.Linear(config.hidden_size, config.num_labels)
        self.post_init()

    def freeze_base_model(self):
        """Disable the gradients of the base model, so that training changes the classification head only."""
        self.sslam.requires_grad_(False)

    def pool(self, hidden_states: torch.Tensor, attention_mask: torch.Tensor | None = None) -> torch.Tensor:
        """
        One vector for each clip, computed as `config.prediction_mode` says.

        Args:
            hidden_states: `(batch_size, 1 + num_patches, hidden_size)`, the `last_hidden_state` of the base model.
            attention_mask: `(batch_size, num_frames)`, nonzero for frames that are not padding.

        Returns:
            `(batch_size, hidden_size)`.
        """
        if self.config.prediction_mode == "cls_token":
            return hidden_states[:, 0]
        patches, patch_mask = hidden_states[:, 1:], None
        if attention_mask is not None:
            patch_mask = self.get_patch_mask(attention_mask)
        if self.config.prediction_mode == "lin_softmax":
            return linear_softmax_pooling(patches, patch_mask)
        return masked_mean(patches, patch_mask)

    def classify(self, pooled: torch.Tensor) -> torch.Tensor:
        """The logits `(batch_size, num_labels)` of what [`pool`] returns."""
        return self.classifier(self.fc_norm(pooled))

    def compute_loss(
        self, logits: torch.Tensor, labels: torch.Tensor, attention_mask: torch.Tensor | None = None
    ) -> torch.Tensor:
        """
        The [`classification_loss`] that the configuration describes.

        Args:
            logits: `(batch_size, num_labels)`.
            labels: as `forward` takes them.
            attention_mask: not needed, since a clip has one answer.
        """
        return classification_loss(
            logits,
            labels,
            self.config,
            label_smoothing=self.config.label_smoothing if self.training else 0.0,
            single_label_loss=self.config.single_label_loss,
            multi_label_reduction=self.config.multi_label_reduction,
        )

    @can_return_tuple
    @auto_docstring
    def forward(
        self,
        input_values: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> SequenceClassifierOutput:
        r"""
        input_values (`torch.Tensor` of shape `(batch_size, num_frames, num_mel_bins)`):
            Log-mel frames from [`SSLAMFeatureExtractor`].
        attention_mask (`torch.Tensor` of shape `(batch_size, num_frames)`, *optional*):
            1 for frames of the clip and 0 for padding.
        labels (`torch.Tensor` of shape `(batch_size,)` or `(batch_size, num_labels)`, *optional*):
            Class indices, or the probability of each class, for single-label classification, floats from 0 to 1 for
            each class for multi-label classification, or values for regression, as `config.problem_type` says. If
            that is unset, the dtype of the first labels sets it.

        Example:

        ```python
        >>> import torch
        >>> from polyaudio import SSLAMConfig, SSLAMForAudioClassification

        >>> model = SSLAMForAudioClassification(SSLAMConfig(num_hidden_layers=2, num_labels=5)).eval()
        >>> model(torch.randn(1, 1024, 128)).logits.shape
        torch.Size([1, 5])
        ```"""
        attention_mask = self.resolve_attention_mask(input_values, attention_mask)
        windows, window_mask, num_frames = self.cut_into_windows(input_values, attention_mask)
        outputs: BaseModelOutputWithPooling = self.sslam(windows, attention_mask=window_mask, **kwargs)
        logits = self.classify(self.pool(outputs.last_hidden_state, window_mask))
        logits = join_window_logits(logits, num_frames, self.config.problem_type)

        loss = None
        if labels is not None:
            loss = self.compute_loss(logits, labels)

        return SequenceClassifierOutput(
            loss=loss, logits=logits, hidden_states=outputs.hidden_states, attentions=outputs.attentions
        )


@auto_docstring(
    custom_intro="""
    SSLAM with a linear layer on each time patch (the mean over its mel patches), for sound event detection. It gives
    `config.frame_upsampling` answers for each time patch, and so one every `config.inputs_to_logits_ratio` frames: 160
    ms by default.

    Clips longer than `config.window_frames` are cut into adjacent windows, whose answers are joined in time. Hidden
    states and attentions are those of the windows.
    """
)
class SSLAMForAudioFrameClassification(SSLAMPreTrainedModel):
    def __init__(self, config: SSLAMConfig):
        super().__init__(config)
        if config.problem_type == "regression":
            raise ValueError("A frame classifier does not support `problem_type='regression'`.")
        self.num_labels = config.num_labels
        self.sslam = SSLAMModel(config)
        self.fc_norm = (
            nn.LayerNorm(config.hidden_size, eps=config.fc_norm_eps) if config.use_fc_norm else nn.Identity()
        )
        self.classifier = nn.Linear(config.hidden_size, config.frame_upsampling * config.num_labels)
        self.post_init()

    def freeze_base_model(self):
        """Disable the gradients of the base model, so that training changes the classification head only."""
        self.sslam.requires_grad_(False)

    def pool(self, hidden_states: torch.Tensor, attention_mask: torch.Tensor | None = None) -> torch.Tensor:
        """
        One vector for each time patch: the mean over its mel patches.

        Args:
            hidden_states: `(batch_size, 1 + num_patches, hidden_size)`, the `last_hidden_state` of the base model.
            attention_mask: not needed, since time patches are not mixed.

        Returns:
            `(batch_size, num_time_patches, hidden_size)`.
        """
        return self.sslam.frame_features(hidden_states)

    def classify(self, pooled: torch.Tensor) -> torch.Tensor:
        """The logits `(batch_size, frame_upsampling * num_time_patches, num_labels)` of what [`pool`] returns."""
        logits = self.classifier(self.fc_norm(pooled))
        return logits.reshape(logits.shape[0], -1, self.num_labels)

    def compute_loss(
        self, logits: torch.Tensor, labels: torch.Tensor, attention_mask: torch.Tensor | None = None
    ) -> torch.Tensor:
        """
        Mean cross entropy (integer labels) or binary cross entropy (float labels) over the answers.

        Args:
            logits: `(batch_size, num_answers, num_labels)`.
            labels: as `forward` takes them; -100 for answers to leave out.
            attention_mask: `(batch_size, num_frames)`, zero for padding, which is left out as well.

        Raises:
            ValueError: `labels` have another shape, or a dtype that does not fit `config.problem_type`.
        """
        expected = logits.shape if labels.is_floating_point() else logits.shape[:2]
        if labels.shape != expected:
            raise ValueError(
                f"`labels` of dtype {labels.dtype} must have the shape {tuple(expected)} for {logits.shape[1]} "
                f"answers, got {tuple(labels.shape)}."
            )
        multi_label = self.config.problem_type == "multi_label_classification"
        if self.config.problem_type is not None and multi_label != labels.is_floating_point():
            raise ValueError(
                f"`problem_type={self.config.problem_type!r}` takes {'float' if multi_label else 'integer'} labels, "
                f"got {labels.dtype}."
            )
        if attention_mask is None:
            is_real = torch.ones_like(logits[..., 0], dtype=torch.bool)
        else:
            is_real = sounding_time_patches(attention_mask, self.config.inputs_to_logits_ratio)
        if not labels.is_floating_point():
            labels = labels.masked_fill(~is_real, -100)
            return nn.functional.cross_entropy(logits.float().transpose(1, 2), labels)
        is_real = is_real & (labels != -100).all(dim=-1)
        losses = nn.functional.binary_cross_entropy_with_logits(logits.float(), labels.float(), reduction="none")
        return losses.mean(dim=-1).masked_fill(~is_real, 0.0).sum() / is_real.sum()

    @can_return_tuple
    @auto_docstring
    def forward(
        self,
        input_values: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> TokenClassifierOutput:
        r"""
        input_values (`torch.Tensor` of shape `(batch_size, num_frames, num_mel_bins)`):
            Log-mel frames from [`SSLAMFeatureExtractor`].
        attention_mask (`torch.Tensor` of shape `(batch_size, num_frames)`, *optional*):
            1 for frames of the clip and 0 for padding.
        labels (`torch.Tensor` of shape `(batch_size, num_answers[, num_labels])`, *optional*):
            For each of the `ceil(num_frames / inputs_to_logits_ratio)` answers a class index, or a float from 0 to 1
            for each class for multi-label classification. -100 leaves an answer out of the loss; padding is left out
            anyway.

        Example:

        ```python
        >>> import torch
        >>> from polyaudio import SSLAMConfig, SSLAMForAudioFrameClassification

        >>> model = SSLAMForAudioFrameClassification(SSLAMConfig(num_hidden_layers=2, num_labels=5)).eval()
        >>> model(torch.randn(1, 1024, 128)).logits.shape
        torch.Size([1, 64, 5])
        ```"""
        attention_mask = self.resolve_attention_mask(input_values, attention_mask)
        windows, window_mask, _ = self.cut_into_windows(input_values, attention_mask)
        outputs: BaseModelOutputWithPooling = self.sslam(windows, attention_mask=window_mask, **kwargs)
        logits = self.classify(self.pool(outputs.last_hidden_state))
        logits = logits.reshape(input_values.shape[0], -1, self.num_labels)
        logits = logits[:, : count_time_patches(input_values.shape[1], self.config.inputs_to_logits_ratio)]

        loss = None
        if labels is not None:
            loss = self.compute_loss(logits, labels, attention_mask)

        return TokenClassifierOutput(
            loss=loss, logits=logits, hidden_states=outputs.hidden_states, attentions=outputs.attentions
        )


def draw_block_mask(
    patch_mask: torch.Tensor,
    mask_ratio: float,
    mask_length: int,
    mask_adjust: float,
    generator: torch.Generator | None = None,
) -> torch.Tensor:
    """
    Draw EAT's inverse block masks (https://arxiv.org/abs/2401.03497), which hide all patches but a few square blocks.

    Block centres are drawn with replacement, and blocks are cut off at the borders of the grid. Then single patches
    are added or removed at random, so that all masks leave the same share of patches visible.

    Args:
        patch_mask: `(num_masks, num_time_patches, num_mel_patches)`, bool, `False` for padding. One mask is drawn for
            each entry of the first dimension.
        mask_ratio: share of the patches to hide.
        mask_length: height and width of a block, in patches.
        mask_adjust: share of the patches that the blocks would cover beyond `1 - mask_ratio` if none overlapped.
        generator: random generator on the device of `patch_mask`.

    Returns:
        `(num_masks, num_patches)`, bool, `True` for hidden patches. Without padding `int((1 - mask_ratio) *
        num_patches)` patches are visible. Padding is hidden.
    """
    visible_ratio = 1 - mask_ratio
    real = patch_mask.flatten(1)
    lengths = real.sum(dim=1, keepdim=True)
    device, size = real.device, real.shape[1]

    def share_of_lengths(ratio: float) -> tuple[int, torch.Tensor]:
        # Rounded down in double precision as in the original, except on Apple GPUs, which do not support it
        dtype = torch.float32 if device.type == "mps" else torch.float64
        return int(size * ratio), (lengths.to(dtype) * ratio).long()

    max_centres, num_centres = share_of_lengths((visible_ratio + mask_adjust) / mask_length**2)
    _, num_visible = share_of_lengths(visible_ratio)

    drawable = (real | (lengths == 0)).float()  # multinomial needs something to draw, also in an empty clip
    centres = torch.multinomial(drawable, max(max_centres, 1), replacement=True, generator=generator)
    is_used = torch.arange(centres.shape[1], device=device) < num_centres
    grid = torch.zeros(real.shape, dtype=torch.float32, device=device).scatter_add(1, centres, is_used.float())
    before = mask_length - 1 - mask_length // 2
    grid = nn.functional.pad(grid.view_as(patch_mask), (before, mask_length // 2) * 2)
    blocks = nn.functional.max_pool2d(grid.unsqueeze(1), mask_length, stride=1).clamp(max=1).flatten(1)

    order = (blocks + torch.empty_like(blocks).uniform_(generator=generator)).masked_fill(~real, -1.0)
    rank = order.argsort(dim=1, descending=True).argsort(dim=1)
    return rank >= num_visible


def draw_view_masks(
    config: SSLAMConfig, attention_mask: torch.Tensor, generator: torch.Generator | None = None
) -> torch.Tensor:
    """
    Draw the masks of a pre-training batch by [`draw_block_mask`].

    Args:
        config: number of masks for each clip, share of hidden patches and size of the blocks.
        attention_mask: `(batch_size, num_frames)`, nonzero for frames that are not padding.
        generator: random generator on the device of `attention_mask`.

    Returns:
        `(batch_size * clone_batch, num_patches)`, bool, `True` for hidden patches. The views of a clip are neighbours.
    """
    time_patches = sounding_time_patches(attention_mask, config.patch_size)
    patch_mask = time_patches[..., None].expand(-1, -1, config.num_mel_bins // config.patch_size)
    patch_mask = patch_mask.repeat_interleave(config.clone_batch, dim=0)
    return draw_block_mask(patch_mask, config.mask_ratio, config.mask_length, config.mask_adjust, generator)


def num_unmixed_patches(config: SSLAMConfig, num_time_patches: int) -> int:
    """Length of each of the two regions of a mixture that hold a single clip, in time patches."""
    return int(num_time_patches * config.unmixed_region_ratio)


def draw_mix_starts(
    config: SSLAMConfig,
    num_frames: int,
    generator: torch.Generator | None = None,
    device: torch.device | None = None,
) -> torch.Tensor:
    """
    Draw where the two unmixed regions of a batch begin. The first begins in the first `config.unmixed_region_range` of
    the clip, the second anywhere after the end of the first. For 1024 frames the ranges are those of the original.

    Args:
        config: length and range of the regions.
        num_frames: length of the clips.
        generator: random generator on `device`.
        device: device of the result.

    Returns:
        `(2,)`, int64, in frames; multiples of `config.patch_size`.
    """
    num_time_patches = count_time_patches(num_frames, config.patch_size)
    region = num_unmixed_patches(config, num_time_patches)
    num_first = max(1, int(num_time_patches * config.unmixed_region_range))
    num_first = min(num_first, num_time_patches - 2 * region)
    draw = torch.rand(2, generator=generator, device=device, dtype=torch.float32)
    first = (draw[0] * num_first).long()
    # The last possible place of the second region is never drawn, as in the original
    num_second = (num_time_patches - 2 * region - first).clamp(min=1)
    second = first + region + (draw[1] * num_second).long()
    return torch.stack([first, second]) * config.patch_size


def normalize_over_patches(hidden_states: torch.Tensor, patch_mask: torch.Tensor | None) -> torch.Tensor:
    """
    Instance norm without weights: each channel of each clip gets mean 0 and variance 1 over its patches.

    Args:
        hidden_states: `(batch_size, num_patches, hidden_size)`.
        patch_mask: `(batch_size, num_patches)`, bool, `False` for padding.

    Returns:
        The shape of `hidden_states`; zeros for padding.
    """
    if patch_mask is None:
        centred = hidden_states - hidden_states.mean(dim=1, keepdim=True)
        count = hidden_states.shape[1]
    else:
        mask = patch_mask[..., None]
        count = mask.sum(dim=1, keepdim=True).clamp(min=1)
        mean = hidden_states.masked_fill(~mask, 0.0).sum(dim=1, keepdim=True) / count
        centred = (hidden_states - mean).masked_fill(~mask, 0.0)
    # On a CPU several times as fast as `torch.var` over a dimension that is not the last
    variance = torch.linalg.vector_norm(centred, dim=1, keepdim=True).square() / count
    return centred * torch.rsqrt(variance + 1e-5)


def scaled_error(
    predictions: torch.Tensor, targets: torch.Tensor, is_target: torch.Tensor | None = None
) -> torch.Tensor:
    """
    Sum of the squared errors divided by `sqrt(hidden_size)`, the scale of data2vec 2.0.

    Args:
        predictions: `(num_views, ..., hidden_size)`, the views of a clip next to each other.
        targets: `(num_clips, ..., hidden_size)`, each shared by the views of the clip.
        is_target: `(num_views, ...)`, bool, `False` for errors to leave out.

    Returns:
        A scalar.
    """
    errors = predictions.float().unflatten(0, (targets.shape[0], -1)) - targets.unsqueeze(1)
    errors = errors.square().sum(dim=-1).flatten(0, 1)
    if is_target is not None:
        errors = errors.masked_fill(~is_target, 0.0)
    return errors.sum() / math.sqrt(predictions.shape[-1])


def mean_deviation(values: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """
    Standard deviation of each channel over all tokens, averaged over the channels. It is near 0 if the model has
    collapsed and returns the same for every patch. The original logs it as `target_var` and `pred_var`.

    Args:
        values: `(..., hidden_size)`.
        weights: `(...)`, weight of each token.

    Returns:
        A scalar.
    """
    values, weights = values.detach().flatten(0, -2).float(), weights.flatten().float()
    count = weights.sum()
    mean = weights @ values / count
    variance = weights @ (values - mean).square() / (count - 1)
    return torch.sqrt(variance + 1e-6).mean()


class SSLAMTeacher(SSLAMModel):
    """The encoder whose features are the targets of pre-training. It is always in evaluation mode."""

    _can_record_outputs = {}  # the output has the hidden states and attentions of the student only

    def train(self, mode: bool = True):
        return super().train(False)

    def features(self, tokens: torch.Tensor, patch_mask: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor]:
        """
        The outputs of the MLPs of the blocks, each normalised over the patches of a clip.

        Args:
            tokens: `(batch_size, 1 + num_patches, hidden_size)`, from `self.embeddings`.
            patch_mask: `(batch_size, num_patches)`, bool, `False` for padding.

        Returns:
            The average over the last `config.average_top_k_layers` blocks and the features of the last block, both
            with a layer norm, `(batch_size, num_patches, hidden_size)`, float32.
        """
        token_mask = None if patch_mask is None else nn.functional.pad(patch_mask, (1, 0), value=True)
        attention_mask = create_bidirectional_mask(config=self.config, inputs_embeds=tokens, attention_mask=token_mask)
        hidden_states = self.context_layernorm(tokens)
        num_layers = min(self.config.average_top_k_layers, len(self.layers))
        total = 0.0
        for index, layer in enumerate(self.layers[:-1]):
            hidden_states, layer_result = layer(hidden_states, attention_mask)
            if index >= len(self.layers) - num_layers:
                total = total + normalize_over_patches(layer_result[:, 1:].float(), patch_mask)
        _, last_result = self.layers[-1](hidden_states, attention_mask)
        last = normalize_over_patches(last_result[:, 1:].float(), patch_mask)
        average = (total + last) / num_layers
        return nn.functional.layer_norm(average, average.shape[-1:]), nn.functional.layer_norm(last, last.shape[-1:])


class SSLAMDecoderLayer(GradientCheckpointingLayer):
    """Convolution over the patch grid, layer norm without weights, GELU, and a residual if the widths agree."""

    def __init__(self, in_channels: int, config: SSLAMConfig):
        super().__init__()
        self.conv = nn.Conv2d(
            in_channels,
            config.decoder_hidden_size,
            config.decoder_kernel_size,
            padding=config.decoder_kernel_size // 2,
            groups=config.decoder_groups,
        )

    def forward(self, hidden_states: torch.Tensor, grid_mask: torch.Tensor | None = None) -> torch.Tensor:
        if grid_mask is not None:
            hidden_states = hidden_states.masked_fill(~grid_mask, 0.0)
        num_time_patches, num_mel_patches = hidden_states.shape[1:3]
        # The channels stay last in memory. An even kernel gives one row and one column too many.
        convolved = self.conv(hidden_states.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        convolved = convolved[:, :num_time_patches, :num_mel_patches]
        output = nn.functional.gelu(nn.functional.layer_norm(convolved, convolved.shape[-1:]))
        return output + hidden_states if output.shape == hidden_states.shape else output


class SSLAMDecoder(nn.Module):
    """Predicts the teacher's features of all patches from the student's features of the visible patches."""

    def __init__(self, config: SSLAMConfig):
        super().__init__()
        widths = [config.hidden_size] + [config.decoder_hidden_size] * (config.decoder_num_layers - 1)
        self.layers = nn.ModuleList([SSLAMDecoderLayer(width, config) for width in widths])
        self.projection = onednn_linear(config.decoder_hidden_size, config.hidden_size)

    def forward(self, hidden_states: torch.Tensor, grid_mask: torch.Tensor | None = None) -> torch.Tensor:
        """
        Args:
            hidden_states: `(batch_size, num_time_patches, num_mel_patches, hidden_size)`.
            grid_mask: `(batch_size, num_time_patches, 1, 1)`, bool, `False` for padding, which is set to zero like
                the outside of the grid.

        Returns:
            `(batch_size, num_patches, hidden_size)`.
        """
        for layer in self.layers:
            hidden_states = layer(hidden_states, grid_mask)
        return self.projection(hidden_states).flatten(1, 2)


@dataclass
@auto_docstring(
    custom_intro="""
    Output of [`SSLAMForPreTraining`]. `num_clips` is `batch_size` in stage 1 and `2 * batch_size` in stage 2, where
    the mixed clips follow the plain clips. `num_views` is `num_clips * config.clone_batch`; the masked views of a clip
    are neighbours.
    """
)
class SSLAMForPreTrainingOutput(ModelOutput):
    r"""
    loss (`torch.FloatTensor` of shape `()`):
        Sum of the losses below.
    frame_loss (`torch.FloatTensor` of shape `()`):
        Squared error at the masked patches, divided by the square root of the width and by the number of masked
        patches.
    utterance_loss (`torch.FloatTensor` of shape `()`):
        Squared error of the class token, divided by the square root of the width: the sum or the mean over the views,
        as `config.utterance_loss_reduction` says.
    source_retention_loss (`torch.FloatTensor` of shape `()`, *optional*, returned in stage 2):
        Squared error of the mixed clips against the average of the features of their two sources, divided by the
        square root of the width and by the number of masked patches of all clips.
    masked_share (`torch.FloatTensor` of shape `()`):
        Share of the patches that are masked.
    pred_var (`torch.FloatTensor` of shape `()`):
        Standard deviation of the predictions over the masked patches, averaged over the channels.
    target_var (`torch.FloatTensor` of shape `()`):
        Standard deviation of the targets over the masked patches, averaged over the channels.
    bool_masked_pos (`torch.BoolTensor` of shape `(num_views, num_patches)`, *optional*):
        The masked patches. Returned with `output_targets=True`.
    mixed_input_values (`torch.FloatTensor` of shape `(batch_size, num_frames, num_mel_bins)`, *optional*):
        The mixed clips. Returned in stage 2 with `output_targets=True`.
    frame_targets (`torch.FloatTensor` of shape `(num_clips, num_patches, hidden_size)`, *optional*):
        The teacher's features of the patches. Returned with `output_targets=True`.
    utterance_targets (`torch.FloatTensor` of shape `(num_clips, hidden_size)`, *optional*):
        The teacher's features of the clips. Returned with `output_targets=True`.
    source_retention_targets (`torch.FloatTensor` of shape `(batch_size, num_patches, hidden_size)`, *optional*):
        The average of the teacher's features of the two sources of each mixed clip. Returned in stage 2 with
        `output_targets=True`.
    frame_predictions (`torch.FloatTensor` of shape `(num_views, num_patches, hidden_size)`, *optional*):
        The output of the decoder. Returned with `output_targets=True`.
    utterance_predictions (`torch.FloatTensor` of shape `(num_views, hidden_size)`, *optional*):
        The class token of the student. Returned with `output_targets=True`.
    hidden_states (`tuple(torch.FloatTensor)`, *optional*, returned when `output_hidden_states=True` is passed):
        The student's tokens before the first block and after each block, each of shape
        `(num_views, 1 + num_visible, hidden_size)`.
    attentions (`tuple(torch.FloatTensor)`, *optional*, returned when `output_attentions=True` is passed):
        The student's attention weights of each block, of shape
        `(num_views, num_attention_heads, 1 + num_visible, 1 + num_visible)`.
    """

    loss: torch.FloatTensor | None = None
    frame_loss: torch.FloatTensor | None = None
    utterance_loss: torch.FloatTensor | None = None
    source_retention_loss: torch.FloatTensor | None = None
    masked_share: torch.FloatTensor | None = None
    pred_var: torch.FloatTensor | None = None
    target_var: torch.FloatTensor | None = None
    bool_masked_pos: torch.BoolTensor | None = None
    mixed_input_values: torch.FloatTensor | None = None
    frame_targets: torch.FloatTensor | None = None
    utterance_targets: torch.FloatTensor | None = None
    source_retention_targets: torch.FloatTensor | None = None
    frame_predictions: torch.FloatTensor | None = None
    utterance_predictions: torch.FloatTensor | None = None
    hidden_states: tuple[torch.FloatTensor, ...] | None = None
    attentions: tuple[torch.FloatTensor, ...] | None = None


@auto_docstring(
    custom_intro="""
    SSLAM for self-supervised pre-training. A student sees a fifth of the patches of a clip and predicts the features
    that a teacher, the moving average of the student, computes from the whole clip. Stage 1 is the objective of EAT.
    Stage 2 adds mixtures of two clips and the source retention loss.

    Call `update_teacher` after each optimizer step; [`PreTrainer`] does so.
    """
)
class SSLAMForPreTraining(SSLAMPreTrainedModel):
    _keys_to_ignore_on_load_unexpected = None
    _keys_to_ignore_on_load_missing = [r"^teacher\."]  # `initialize_weights` copies the student
    _keep_in_fp32_modules_strict = ["teacher"]
    _supports_flash_attn = False  # it has no float32, in which the teacher computes

    def __init__(self, config: SSLAMConfig):
        super().__init__(config)
        self.sslam = SSLAMModel(config)
        self.decoder = SSLAMDecoder(config)
        # In float32 also where the student is created in half precision: `update_teacher` needs it
        self.teacher = SSLAMTeacher(config).to(torch.float32).eval().requires_grad_(False)
        self.post_init()

    @torch.no_grad()
    def _init_weights(self, module: nn.Module):
        # Student and teacher have their own `_init_weights`, so these are the layers of the decoder. As in the
        # original they get torch's default initialisation.
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            init.kaiming_uniform_(module.weight, a=math.sqrt(5))
            bound = 1 / math.sqrt(module.weight[0].numel())
            init.uniform_(module.bias, -bound, bound)
        else:
            super()._init_weights(module)

    @torch.no_grad()
    def initialize_weights(self):
        """Initialise the weights that were not loaded. The teacher's become copies of the student's."""
        super().initialize_weights()
        student = self.sslam.state_dict(keep_vars=True)
        for name, tensor in self.teacher.state_dict(keep_vars=True).items():
            init.copy_(tensor, student[name])
        self.teacher.requires_grad_(False)  # loading replaces the parameters

    def ema_decay(self, num_updates: int) -> float:
        """The decay of the teacher's moving average at update `num_updates`, counted from 1."""
        config = self.config
        if num_updates >= config.ema_anneal_end_step:
            return config.ema_end_decay
        return config.ema_decay + (config.ema_end_decay - config.ema_decay) * num_updates / config.ema_anneal_end_step

    @torch.no_grad()
    def update_teacher(self, num_updates: int) -> float:
        """
        Update the teacher: the moving average of the trained weights of the student, a copy of all its other weights.

        Args:
            num_updates: number of optimizer steps so far, including the last one.

        Returns:
            The decay of this update.

        Raises:
            ValueError: the teacher is not in float32. Rounding would lose the small steps of the average.
        """
        if self.teacher.dtype != torch.float32:
            raise ValueError(
                f"The teacher is in {self.teacher.dtype}, where rounding loses the steps of its moving average. Keep "
                "the model in float32 and train with automatic mixed precision (`bf16=True`) instead."
            )
        decay = self.ema_decay(num_updates)
        averages, trained = [], []
        for average, parameter in zip(self.teacher.parameters(), self.sslam.parameters(), strict=True):
            if parameter.requires_grad:
                averages.append(average)
                trained.append(parameter.float())
            else:
                average.copy_(parameter)
        torch._foreach_mul_(averages, decay)
        torch._foreach_add_(averages, trained, alpha=1 - decay)
        for average, buffer in zip(self.teacher.buffers(), self.sslam.buffers(), strict=True):
            average.copy_(buffer)
        return decay

    def mix(
        self, input_values: torch.Tensor, is_mixed: torch.Tensor, attention_mask: torch.Tensor | None = None
    ) -> torch.Tensor:
        """
        Mix the previous clip of the batch into each clip. Each time-frequency bin is the louder one of the two clips
        (https://arxiv.org/abs/2506.12222).

        Args:
            input_values: `(batch_size, num_frames, num_mel_bins)`.
            is_mixed: `(num_time_patches,)`, bool, `False` in the unmixed regions.
            attention_mask: `(batch_size, num_frames)`, nonzero for frames that are not padding. A frame that is
                padding in one of the two clips is not mixed.

        Returns:
            `(batch_size, num_frames, num_mel_bins)`.
        """
        is_mixed = is_mixed.repeat_interleave(self.config.patch_size)[None, : input_values.shape[1]]
        if attention_mask is not None:
            is_real = attention_mask.bool()
            is_mixed = is_mixed & is_real & is_real.roll(1, 0)
        return torch.where(is_mixed[..., None], torch.maximum(input_values, input_values.roll(1, 0)), input_values)

    @torch.no_grad()
    def compute_targets(
        self, clips: torch.Tensor, patch_mask: torch.Tensor | None, is_mixed: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
        """
        Compute the targets of the three losses with the teacher.

        Args:
            clips: `(num_clips, num_frames, num_mel_bins)`; in stage 2 the plain clips and then the mixed clips.
            patch_mask: `(num_clips, num_patches)`, bool, `False` for padding.
            is_mixed: `(num_time_patches,)`, bool, `False` in the unmixed regions; in stage 2 only.

        Returns:
            The targets of the frame loss `(num_clips, num_patches, hidden_size)`, of the utterance loss
            `(num_clips, hidden_size)` and, in stage 2 only, of the source retention loss
            `(num_clips / 2, num_patches, hidden_size)`.
        """
        use_autocast = torch.is_autocast_enabled(clips.device.type) and not self.config.teacher_in_float32
        with torch.autocast(clips.device.type, enabled=use_autocast):
            tokens = self.teacher.embeddings(clips.to(self.teacher.dtype))
            frame_targets, last_layer = self.teacher.features(tokens, patch_mask)
            # As in the original, the utterance target averages the layers in stage 1 and uses the last one in stage 2
            features = frame_targets if is_mixed is None else last_layer
            utterance_targets = masked_mean(features, patch_mask)
            if is_mixed is None:
                return frame_targets, utterance_targets, None

            # The teacher's features of the other source, computed from the mixed steps of that source only
            grid = (is_mixed.shape[0], self.teacher.embeddings.num_mel_patches)
            num_mixed = grid[0] - 2 * num_unmixed_patches(self.config, grid[0])
            mixed_steps = torch.argsort(is_mixed.int(), descending=True, stable=True)[:num_mixed]
            tokens, clean = tokens.chunk(2)[0], frame_targets.chunk(2)[0].unflatten(1, grid)
            heard = tokens[:, 1:].unflatten(1, grid).index_select(1, mixed_steps).flatten(1, 2)
            heard_mask = None
            if patch_mask is not None:
                own_mask = patch_mask.chunk(2)[0].unflatten(1, grid)
                heard_mask = own_mask.index_select(1, mixed_steps).flatten(1, 2)
            other, _ = self.teacher.features(torch.cat([tokens[:, :1], heard], dim=1), heard_mask)
            other = other.roll(1, 0).unflatten(1, (num_mixed, grid[1]))
            other = clean.index_copy(1, mixed_steps, other)
            if patch_mask is not None:  # after the end of the other clip only the clip itself is heard
                other = torch.where(own_mask.roll(1, 0)[..., None], other, clean)
            return frame_targets, utterance_targets, ((clean + other) / 2).flatten(1, 2)

    def encode_visible(
        self, clips: torch.Tensor, is_visible: torch.Tensor, has_padding: bool, **kwargs: Unpack[TransformersKwargs]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """
        Run the student on the visible patches.

        Args:
            clips: `(num_clips, num_frames, num_mel_bins)`.
            is_visible: `(num_views, num_patches)`, bool.
            has_padding: whether views may have fewer visible patches than others. They are then filled up with hidden
                patches, to which no token attends.

        Returns:
            The tokens `(num_views, 1 + num_visible, hidden_size)` and the indices of their patches
            `(num_views, num_visible)`.
        """
        tokens = self.sslam.embeddings(clips)
        num_views, num_patches = is_visible.shape
        num_visible = int(num_patches * (1 - self.config.mask_ratio))
        visible = torch.argsort(is_visible.int(), dim=1, descending=True, stable=True)[:, :num_visible]
        clip_of_view = torch.arange(num_views, device=clips.device) // (num_views // clips.shape[0])
        # The gradient of a lookup sums over the views without a copy of all patches for each view
        patches = nn.functional.embedding(clip_of_view[:, None] * num_patches + visible, tokens[:, 1:].flatten(0, 1))
        tokens = torch.cat([tokens[:1, :1].expand(num_views, -1, -1), patches], dim=1)
        token_mask = None
        if has_padding:
            token_mask = nn.functional.pad(is_visible.gather(1, visible), (1, 0), value=True)
        attention_mask = create_bidirectional_mask(config=self.config, inputs_embeds=tokens, attention_mask=token_mask)
        return self.sslam.encode(tokens, attention_mask, **kwargs), visible

    def decode(
        self,
        hidden_states: torch.Tensor,
        visible: torch.Tensor,
        is_visible: torch.Tensor,
        grid_mask: torch.Tensor | None,
        generator: torch.Generator | None,
    ) -> torch.Tensor:
        """
        Put the student's tokens back in their places, fill all other places with noise, and run the decoder.

        Args:
            hidden_states: `(num_views, num_visible, hidden_size)`.
            visible: `(num_views, num_visible)`, the indices of their patches.
            is_visible: `(num_views, num_patches)`, bool.
            grid_mask: `(num_views, num_time_patches, 1, 1)`, bool, `False` for padding.
            generator: random generator of the noise.

        Returns:
            `(num_views, num_patches, hidden_size)`.
        """
        noise = hidden_states.new_empty(*is_visible.shape, hidden_states.shape[-1])
        noise.normal_(0.0, self.config.mask_noise_std, generator=generator)
        index = visible[..., None].expand_as(hidden_states)
        if grid_mask is not None:
            is_filled_up = ~is_visible.gather(1, visible)
            hidden_states = torch.where(is_filled_up[..., None], noise.gather(1, index), hidden_states)
        grid = noise.scatter(1, index, hidden_states)
        return self.decoder(grid.unflatten(1, (-1, self.sslam.embeddings.num_mel_patches)), grid_mask)

    def compute_losses(
        self,
        predictions: tuple[torch.Tensor, torch.Tensor],
        targets: tuple[torch.Tensor, torch.Tensor, torch.Tensor | None],
        is_target: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
        """
        Frame, utterance and source retention loss. Each is the sum of the original divided by its `sample_size`: the
        trainer of the original divides the gradient by it.

        Args:
            predictions: of the decoder `(num_views, num_patches, hidden_size)` and of the class token
                `(num_views, hidden_size)`.
            targets: the output of `compute_targets`.
            is_target: `(num_views, num_patches)`, bool, `True` for masked patches that are not padding.

        Returns:
            The three losses, scalars; the source retention loss is `None` in stage 1.
        """
        config = self.config
        frames, utterances = predictions
        frame_targets, utterance_targets, retention_targets = targets
        num_targets = is_target.sum()
        frame_loss = config.frame_loss_weight * scaled_error(frames, frame_targets, is_target) / num_targets
        utterance_loss = config.utterance_loss_weight * scaled_error(utterances, utterance_targets)
        if config.utterance_loss_reduction == "mean":
            utterance_loss = utterance_loss / utterances.shape[0]
        if retention_targets is None:
            return frame_loss, utterance_loss, None
        retention_loss = scaled_error(frames.chunk(2)[1], retention_targets, is_target.chunk(2)[1])
        return frame_loss, utterance_loss, config.source_retention_loss_weight * retention_loss / num_targets

    @merge_with_config_defaults
    @capture_outputs(tie_last_hidden_states=False)
    @auto_docstring
    def forward(
        self,
        input_values: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        bool_masked_pos: torch.Tensor | None = None,
        mix_starts: torch.Tensor | None = None,
        generator: torch.Generator | None = None,
        output_targets: bool = False,
        **kwargs: Unpack[TransformersKwargs],
    ) -> SSLAMForPreTrainingOutput:
        r"""
        input_values (`torch.Tensor` of shape `(batch_size, num_frames, num_mel_bins)`):
            Log-mel frames from [`SSLAMFeatureExtractor`]; at least two clips in stage 2.
        attention_mask (`torch.Tensor` of shape `(batch_size, num_frames)`, *optional*):
            1 for frames of the clip and 0 for padding, which takes part neither in the losses nor in mixtures. Without
            a mask padding counts as sound, as in the original.
        bool_masked_pos (`torch.Tensor` of shape `(batch_size * clone_batch, num_patches)`, *optional*):
            `True` for patches to hide, the views of a clip next to each other. Each view must leave
            `int((1 - mask_ratio) * num_patches)` patches visible, or fewer in clips with padding. Drawn by
            [`draw_view_masks`] if not given.
        mix_starts (`torch.Tensor` of shape `(2,)`, *optional*):
            The first frames of the two unmixed regions in stage 2, multiples of `patch_size`. Drawn by
            [`draw_mix_starts`] if not given.
        generator (`torch.Generator`, *optional*):
            Random generator of masks, regions and noise, on the device of `input_values`. The default is the generator
            of the device in training, and a generator with a fixed seed in evaluation, so that losses can be compared.
        output_targets (`bool`, *optional*, defaults to `False`):
            Whether to return masks, mixed clips, targets and predictions.

        Example:

        ```python
        >>> import torch
        >>> from polyaudio import SSLAMConfig, SSLAMForPreTraining

        >>> model = SSLAMForPreTraining(SSLAMConfig(num_hidden_layers=2, clone_batch=2, pretraining_stage=2))
        >>> outputs = model(torch.randn(2, 1024, 128))
        >>> outputs.loss.backward()
        >>> decay = model.update_teacher(num_updates=1)  # after a step of the optimizer
        ```"""
        config = self.config
        self.check_input(input_values, attention_mask)
        patch_mask = None
        if attention_mask is not None:
            patch_mask = self.get_patch_mask(attention_mask)
            input_values = input_values.masked_fill(~attention_mask.bool()[..., None], 0.0)

        if generator is None and not self.training:
            generator = torch.Generator(input_values.device).manual_seed(0)
        if bool_masked_pos is None:
            is_real = torch.ones_like(input_values[..., 0]) if attention_mask is None else attention_mask
            bool_masked_pos = draw_view_masks(config, is_real, generator)
        else:
            bool_masked_pos = bool_masked_pos.bool()
            self.check_masks(bool_masked_pos, input_values, patch_mask)

        clips, is_mixed = input_values, None
        if config.pretraining_stage == 2:
            if input_values.shape[0] < 2:
                raise ValueError(
                    "Stage 2 mixes each clip with another one of the batch, so a batch needs at least two clips, got "
                    f"{input_values.shape[0]}."
                )
            is_mixed = self.mixed_time_patches(input_values, mix_starts, generator)
            clips = torch.cat([input_values, self.mix(input_values, is_mixed, attention_mask)])
            bool_masked_pos = torch.cat([bool_masked_pos, bool_masked_pos])
            patch_mask = None if patch_mask is None else torch.cat([patch_mask, patch_mask])

        is_visible, is_target, grid_mask = ~bool_masked_pos, bool_masked_pos, None
        if patch_mask is not None:
            view_mask = patch_mask.repeat_interleave(config.clone_batch, dim=0)
            is_visible, is_target = is_visible & view_mask, is_target & view_mask
            grid_mask = view_mask.unflatten(1, (-1, self.sslam.embeddings.num_mel_patches, 1))

        frame_targets, utterance_targets, retention_targets = self.compute_targets(clips, patch_mask, is_mixed)
        hidden_states, visible = self.encode_visible(clips, is_visible, patch_mask is not None, **kwargs)
        frame_predictions = self.decode(hidden_states[:, 1:], visible, is_visible, grid_mask, generator)
        utterance_predictions = hidden_states[:, 0]

        frame_loss, utterance_loss, retention_loss = self.compute_losses(
            (frame_predictions, utterance_predictions),
            (frame_targets, utterance_targets, retention_targets),
            is_target,
        )
        loss = frame_loss + utterance_loss
        if retention_loss is not None:
            loss = loss + retention_loss

        num_targets = is_target.sum()
        target_counts = is_target.unflatten(0, (-1, config.clone_batch)).sum(dim=1)
        output = SSLAMForPreTrainingOutput(
            loss=loss,
            frame_loss=frame_loss,
            utterance_loss=utterance_loss,
            source_retention_loss=retention_loss,
            masked_share=num_targets / (num_targets + is_visible.sum()),
            pred_var=mean_deviation(frame_predictions, is_target),
            target_var=mean_deviation(frame_targets, target_counts),
        )
        if output_targets:
            output.bool_masked_pos = bool_masked_pos
            output.mixed_input_values = None if is_mixed is None else clips.chunk(2)[1]
            output.frame_targets = frame_targets
            output.utterance_targets = utterance_targets
            output.source_retention_targets = retention_targets
            output.frame_predictions = frame_predictions
            output.utterance_predictions = utterance_predictions
        return output

    def mixed_time_patches(
        self, input_values: torch.Tensor, mix_starts: torch.Tensor | None, generator: torch.Generator | None
    ) -> torch.Tensor:
        """
        The time patches into which another clip is mixed.

        Args:
            input_values: `(batch_size, num_frames, num_mel_bins)`.
            mix_starts: `(2,)`, the first frames of the unmixed regions; drawn if `None`.
            generator: random generator of the draw.

        Returns:
            `(num_time_patches,)`, bool.

        Raises:
            ValueError: `mix_starts` do not describe two regions within the clip.
        """
        num_frames, patch_size = input_values.shape[1], self.config.patch_size
        num_time_patches = count_time_patches(num_frames, patch_size)
        region = num_unmixed_patches(self.config, num_time_patches)
        is_drawn = mix_starts is None
        if is_drawn:
            mix_starts = draw_mix_starts(self.config, num_frames, generator, input_values.device)
        mix_starts = torch.as_tensor(mix_starts, device=input_values.device)
        if mix_starts.shape != (2,):
            raise ValueError(f"`mix_starts` must have the shape (2,), got {tuple(mix_starts.shape)}.")
        starts = mix_starts // patch_size
        steps = torch.arange(num_time_patches, device=input_values.device)
        is_unmixed = ((steps >= starts[:, None]) & (steps < starts[:, None] + region)).any(dim=0)
        if not is_drawn:
            torch_compilable_check(
                (mix_starts % patch_size == 0).all() & (is_unmixed.sum() == 2 * region),
                "`mix_starts` must be two multiples of `patch_size` frames, and the two regions of the share "
                "`unmixed_region_ratio` that begin there must not overlap and must end within the clip.",
            )
        return ~is_unmixed

    def check_masks(
        self, bool_masked_pos: torch.Tensor, input_values: torch.Tensor, patch_mask: torch.Tensor | None
    ) -> None:
        """
        Check masks that the caller passes.

        Args:
            bool_masked_pos: `(batch_size * clone_batch, num_patches)`, bool, `True` for hidden patches.
            input_values: `(batch_size, num_frames, num_mel_bins)`.
            patch_mask: `(batch_size, num_patches)`, bool, `False` for padding.

        Raises:
            ValueError: the masks have another shape or leave another number of patches visible.
        """
        config = self.config
        num_time_patches = count_time_patches(input_values.shape[1], config.patch_size)
        num_patches = num_time_patches * self.sslam.embeddings.num_mel_patches
        num_views = input_values.shape[0] * config.clone_batch
        if bool_masked_pos.shape != (num_views, num_patches):
            raise ValueError(
                f"`bool_masked_pos` must have the shape {(num_views, num_patches)}: {config.clone_batch} views "
                f"of each clip (`clone_batch`) and {num_patches} patches; got {tuple(bool_masked_pos.shape)}."
            )
        num_visible = int(num_patches * (1 - config.mask_ratio))
        if patch_mask is None:
            is_right = (~bool_masked_pos).sum(dim=1) == num_visible
        else:
            view_mask = patch_mask.repeat_interleave(config.clone_batch, dim=0)
            is_right = (~bool_masked_pos & view_mask).sum(dim=1) <= num_visible
        torch_compilable_check(
            is_right.all(),
            f"`bool_masked_pos` must leave 1 - `mask_ratio` ({1 - config.mask_ratio:g}) of the patches, rounded down, "
            "visible in each view, or fewer in clips with padding.",
        )


__all__ = [
    "SSLAMForAudioClassification",
    "SSLAMForAudioFrameClassification",
    "SSLAMForPreTraining",
    "SSLAMModel",
    "SSLAMPreTrainedModel",
]
