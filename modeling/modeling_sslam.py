# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""SSLAM: a Transformer on patches of a mel spectrogram, pre-trained on mixtures (https://arxiv.org/abs/2506.12222)."""

import math
from collections.abc import Callable

import torch
from torch import nn
from transformers import initialization as init
from transformers.activations import ACT2FN
from transformers.masking_utils import create_bidirectional_mask
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.modeling_outputs import BaseModelOutputWithPooling, SequenceClassifierOutput, TokenClassifierOutput
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS, PreTrainedModel
from transformers.processing_utils import Unpack
from transformers.utils import TransformersKwargs, auto_docstring
from transformers.utils.generic import can_return_tuple, merge_with_config_defaults
from transformers.utils.output_capturing import capture_outputs

from ..configuration.configuration_sslam import SSLAMConfig


def sincos_position_table(num_time_patches: int, num_mel_patches: int, hidden_size: int) -> torch.Tensor:
    """
    The fixed 2-D position table of EAT (https://arxiv.org/abs/2401.03497, section 3.1).

    The first half of the channels encodes the mel index of a patch, the second half its time index; each half holds
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


class SSLAMEmbeddings(nn.Module):
    """
    Turns mel spectrograms `(batch_size, num_frames, num_mel_bins)` into tokens
    `(batch_size, 1 + num_patches, hidden_size)`: the class token, which has no position, then the patches with theirs,
    those of one time step (from the lowest mel bins to the highest) next to each other.
    """

    def __init__(self, config: SSLAMConfig):
        super().__init__()
        self.patch_size = config.patch_size
        self.num_mel_bins = config.num_mel_bins
        self.num_mel_patches = config.num_mel_bins // config.patch_size
        self.max_time_patches = config.max_time_patches
        self.cls_token = nn.Parameter(torch.empty(1, 1, config.hidden_size))
        self.patch_embeddings = nn.Conv2d(1, config.hidden_size, config.patch_size, stride=config.patch_size)
        # Saved with the model: converted checkpoints hold a table that was rounded to float16 on its way.
        table = sincos_position_table(self.max_time_patches, self.num_mel_patches, config.hidden_size)
        self.register_buffer("position_embeddings", table.to(self.cls_token.dtype))

    def forward(self, input_values: torch.Tensor) -> torch.Tensor:
        if input_values.ndim != 3 or input_values.shape[2] != self.num_mel_bins:
            raise ValueError(
                f"`input_values` must have the shape (batch_size, num_frames, {self.num_mel_bins}), got "
                f"{tuple(input_values.shape)}."
            )
        num_time_patches = -(-input_values.shape[1] // self.patch_size)
        if num_time_patches > self.max_time_patches:
            raise ValueError(
                f"A clip has {input_values.shape[1]} frames, but the position table ends at {self.max_time_patches} "
                f"patches of {self.patch_size} frames. Cut the clip, run the model on windows of it, or extend the "
                "table, which is only a formula: load the model with a larger `max_time_patches` and with "
                "`ignore_mismatched_sizes=True`."
            )
        # The original cuts the last frames off where they do not fill a patch; here no sound is lost.
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

        self.q_proj = nn.Linear(config.hidden_size, config.hidden_size)
        self.k_proj = nn.Linear(config.hidden_size, config.hidden_size)
        self.v_proj = nn.Linear(config.hidden_size, config.hidden_size)
        self.o_proj = nn.Linear(config.hidden_size, config.hidden_size)

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
    """Two linear layers, with the dropout behind each of them that timm's `Mlp` has."""

    def __init__(self, config: SSLAMConfig):
        super().__init__()
        self.fc1 = nn.Linear(config.hidden_size, config.intermediate_size)
        self.activation_fn = ACT2FN[config.hidden_act]
        self.fc2 = nn.Linear(config.intermediate_size, config.hidden_size)
        self.dropout = nn.Dropout(config.activation_dropout)

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        hidden_states = self.dropout(self.activation_fn(self.fc1(hidden_states)))
        return self.dropout(self.fc2(hidden_states))


class SSLAMDropPath(nn.Module):
    """Drops a residual branch for some clips of a batch in training (stochastic depth) and scales up the others."""

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
    A Transformer block that normalises after each residual. Its second output, the MLP's output before it joins the
    residual, is what the teacher's targets are made of in pre-training (data2vec 2.0's "layer results").
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
class SSLAMPreTrainedModel(PreTrainedModel):
    config: SSLAMConfig
    base_model_prefix = "sslam"
    main_input_name = "input_values"
    input_modalities = ("audio",)
    supports_gradient_checkpointing = True
    # The losses are means over the batch at hand, so the Trainer has to divide for gradient accumulation.
    accepts_loss_kwargs = False
    _no_split_modules = ["SSLAMEmbeddings", "SSLAMLayer"]
    _supports_sdpa = True
    _supports_flex_attn = True
    _supports_attention_backend = True
    _can_compile_fullgraph = True
    _can_record_outputs = {"hidden_states": SSLAMLayer, "attentions": SSLAMAttention}
    _input_embed_layer = "patch_embeddings"

    @torch.no_grad()
    def _init_weights(self, module: nn.Module):
        super()._init_weights(module)
        if isinstance(module, SSLAMEmbeddings):
            init.normal_(module.cls_token)
            # Xavier's bound for the patch projection seen as a linear layer, as in MAE.
            patch_area, hidden_size = module.patch_size**2, module.cls_token.shape[-1]
            bound = math.sqrt(6 / (patch_area + hidden_size))
            init.uniform_(module.patch_embeddings.weight, -bound, bound)
            table = sincos_position_table(module.max_time_patches, module.num_mel_patches, hidden_size)
            init.copy_(module.position_embeddings, table)

    def get_time_patch_mask(self, attention_mask: torch.Tensor) -> torch.Tensor:
        """
        Tell which time patches hold sound: those with at least one real frame.

        Args:
            attention_mask: `(batch_size, num_frames)`, nonzero for real frames.

        Returns:
            `(batch_size, ceil(num_frames / patch_size))`, bool.
        """
        patch_size = self.config.patch_size
        missing_frames = -attention_mask.shape[1] % patch_size
        frames = nn.functional.pad(attention_mask.bool(), (0, missing_frames))
        return frames.unflatten(1, (-1, patch_size)).any(dim=-1)


@auto_docstring
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
        Run the context norm and the blocks on any set of tokens, for instance those that a mask leaves visible.

        Args:
            hidden_states: `(batch_size, num_tokens, hidden_size)`, tokens of `self.embeddings`.
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
            Log-mel frames from [`SSLAMFeatureExtractor`], padded with zeros up to a whole patch here.
        attention_mask (`torch.Tensor` of shape `(batch_size, num_frames)`, *optional*):
            1 for frames that hold sound and 0 for padding, which is then ignored. Without it padding counts as sound,
            which is how the published checkpoints were trained on clips padded to 1024 frames.

        Example:

        ```python
        >>> import torch
        >>> from polyaudio import SSLAMConfig, SSLAMFeatureExtractor, SSLAMModel

        >>> model = SSLAMModel(SSLAMConfig(num_hidden_layers=2)).eval()
        >>> inputs = SSLAMFeatureExtractor()(torch.randn(16000), sampling_rate=16000, return_tensors="pt")
        >>> model(**inputs).last_hidden_state.shape
        torch.Size([1, 513, 768])
        ```"""
        patch_mask = None
        if attention_mask is not None:
            if attention_mask.shape != input_values.shape[:2]:
                raise ValueError(
                    f"`attention_mask` must have the shape {tuple(input_values.shape[:2])} of the frames of "
                    f"`input_values`, got {tuple(attention_mask.shape)}."
                )
            # What pads the last patch of a clip is then the same alone and in a batch.
            input_values = input_values.masked_fill(~attention_mask.bool()[..., None], 0.0)
            patch_mask = self.get_time_patch_mask(attention_mask)
            patch_mask = patch_mask.repeat_interleave(self.embeddings.num_mel_patches, dim=1)
            patch_mask = nn.functional.pad(patch_mask, (1, 0), value=True)  # the class token

        hidden_states = self.embeddings(input_values)
        attention_mask = create_bidirectional_mask(
            config=self.config, inputs_embeds=hidden_states, attention_mask=patch_mask
        )
        hidden_states = self.encode(hidden_states, attention_mask, **kwargs)
        return BaseModelOutputWithPooling(last_hidden_state=hidden_states, pooler_output=hidden_states[:, 0])

    def extract_features(self, mel: torch.Tensor) -> torch.Tensor:
        """
        The tokens of clips, by the name and input shape that code written for the published EAT models uses.

        Args:
            mel: `(batch_size, 1, num_frames, num_mel_bins)`.

        Returns:
            `(batch_size, 1 + num_patches, hidden_size)`, class token first.
        """
        return self(mel.squeeze(1)).last_hidden_state


def linear_softmax_pooling(hidden_states: torch.Tensor, patch_mask: torch.Tensor | None) -> torch.Tensor:
    """
    Pool tokens as if every channel were the log-odds of an event: probabilities weighted by themselves (linear
    softmax, https://arxiv.org/abs/1810.09050), given back as log-odds.

    Args:
        hidden_states: `(batch_size, num_patches, hidden_size)`.
        patch_mask: `(batch_size, num_patches)`, bool, `False` for patches to leave out.

    Returns:
        `(batch_size, hidden_size)`.
    """
    log_probs = nn.functional.logsigmoid(hidden_states.float())
    if patch_mask is not None:
        log_probs = log_probs.masked_fill(~patch_mask[..., None], -torch.inf)
    # log(sum p^2 / sum p); the 1e-6 is the original's.
    pooled = torch.logsumexp(2 * log_probs, dim=1) - torch.logsumexp(log_probs + 1e-6, dim=1)
    pooled = pooled.clamp(max=0)
    log_odds = pooled - torch.log(-torch.expm1(pooled))
    return torch.nan_to_num(log_odds, nan=0.0, posinf=0.0, neginf=0.0).to(hidden_states.dtype)


@auto_docstring(
    custom_intro="""
    SSLAM with a linear layer on top of the pooled tokens, for instance for AudioSet or ESC-50.
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

    def pool(self, hidden_states: torch.Tensor, attention_mask: torch.Tensor | None) -> torch.Tensor:
        """One vector a clip, `(batch_size, hidden_size)`, by `config.prediction_mode`."""
        if self.config.prediction_mode == "cls_token":
            return hidden_states[:, 0]
        patches, patch_mask = hidden_states[:, 1:], None
        if attention_mask is not None:
            time_patch_mask = self.get_time_patch_mask(attention_mask)
            patch_mask = time_patch_mask.repeat_interleave(self.sslam.embeddings.num_mel_patches, dim=1)
        if self.config.prediction_mode == "lin_softmax":
            return linear_softmax_pooling(patches, patch_mask)
        if patch_mask is None:
            return patches.mean(dim=1)
        patches = patches.masked_fill(~patch_mask[..., None], 0.0)
        return patches.sum(dim=1) / patch_mask.sum(dim=1, keepdim=True).clamp(min=1)

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
            1 for frames that hold sound and 0 for padding.
        labels (`torch.Tensor` of shape `(batch_size,)` or `(batch_size, num_labels)`, *optional*):
            Class indices for cross entropy, floats of 0 and 1 for each class for multi-label classification, or values
            for regression, as `config.problem_type` says; where that is unset, the dtype of the first labels sets it.

        Example:

        ```python
        >>> import torch
        >>> from polyaudio import SSLAMConfig, SSLAMForAudioClassification

        >>> model = SSLAMForAudioClassification(SSLAMConfig(num_hidden_layers=2, num_labels=5)).eval()
        >>> model(torch.randn(1, 1024, 128)).logits.shape
        torch.Size([1, 5])
        ```"""
        outputs: BaseModelOutputWithPooling = self.sslam(input_values, attention_mask=attention_mask, **kwargs)
        logits = self.classifier(self.fc_norm(self.pool(outputs.last_hidden_state, attention_mask)))

        loss = None
        if labels is not None:
            loss = self.loss_function(labels, logits, self.config)

        return SequenceClassifierOutput(
            loss=loss, logits=logits, hidden_states=outputs.hidden_states, attentions=outputs.attentions
        )


@auto_docstring(
    custom_intro="""
    SSLAM with a linear layer on each time patch (the mean over its mel patches), for sound event detection: one answer
    every `patch_size` frames, which is 160 ms.
    """
)
class SSLAMForAudioFrameClassification(SSLAMPreTrainedModel):
    def __init__(self, config: SSLAMConfig):
        super().__init__(config)
        if config.problem_type == "regression":
            raise ValueError("Frames can be classified, but there is no `problem_type='regression'` for them.")
        self.num_labels = config.num_labels
        self.sslam = SSLAMModel(config)
        self.fc_norm = (
            nn.LayerNorm(config.hidden_size, eps=config.fc_norm_eps) if config.use_fc_norm else nn.Identity()
        )
        self.classifier = nn.Linear(config.hidden_size, config.num_labels)
        self.post_init()

    def frame_loss(
        self, logits: torch.Tensor, labels: torch.Tensor, attention_mask: torch.Tensor | None
    ) -> torch.Tensor:
        """Mean cross entropy (integer labels) or binary cross entropy (float labels) over the real time patches."""
        expected = logits.shape if labels.is_floating_point() else logits.shape[:2]
        if labels.shape != expected:
            raise ValueError(
                f"`labels` of dtype {labels.dtype} must have the shape {tuple(expected)} for {logits.shape[1]} time "
                f"patches, got {tuple(labels.shape)}."
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
            is_real = self.get_time_patch_mask(attention_mask)
        if not labels.is_floating_point():
            labels = labels.masked_fill(~is_real, -100)
            return nn.functional.cross_entropy(logits.float().transpose(1, 2), labels)
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
            1 for frames that hold sound and 0 for padding.
        labels (`torch.Tensor` of shape `(batch_size, num_time_patches[, num_labels])`, *optional*):
            For each time patch (there are `ceil(num_frames / patch_size)`) a class index, -100 for patches to leave
            out, or floats of 0 and 1 for each class for multi-label classification. Patches of padding do not count.

        Example:

        ```python
        >>> import torch
        >>> from polyaudio import SSLAMConfig, SSLAMForAudioFrameClassification

        >>> model = SSLAMForAudioFrameClassification(SSLAMConfig(num_hidden_layers=2, num_labels=5)).eval()
        >>> model(torch.randn(1, 1024, 128)).logits.shape
        torch.Size([1, 64, 5])
        ```"""
        outputs: BaseModelOutputWithPooling = self.sslam(input_values, attention_mask=attention_mask, **kwargs)
        patches = outputs.last_hidden_state[:, 1:]
        time_patches = patches.unflatten(1, (-1, self.sslam.embeddings.num_mel_patches)).mean(dim=2)
        logits = self.classifier(self.fc_norm(time_patches))

        loss = None
        if labels is not None:
            loss = self.frame_loss(logits, labels, attention_mask)

        return TokenClassifierOutput(
            loss=loss, logits=logits, hidden_states=outputs.hidden_states, attentions=outputs.attentions
        )


__all__ = [
    "SSLAMForAudioClassification",
    "SSLAMForAudioFrameClassification",
    "SSLAMModel",
    "SSLAMPreTrainedModel",
]
