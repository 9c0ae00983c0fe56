# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
# Copied from polyaudio 0.1.0. The MIT License: https://opensource.org/license/mit
"""SAMAudio model configuration"""

from huggingface_hub.dataclasses import strict
from transformers import PreTrainedConfig


# Front ends, and the values in a frame of each
FRONTENDS = {"log_mel": 80, "tonic_chroma": 36, "waveform": 1}
CONV_NORMS = ("group", "layer", "batch")
CONTRASTIVE_MODES = ("clip", "label")
PROBLEM_TYPES = (None, "single_label_classification", "multi_label_classification", "regression")


@strict
class SAMAudioConfig(PreTrainedConfig):
    r"""
    Configuration of a SAMAudio model: a convolutional encoder over the frames of a clip, learnable segment tokens that
    attend to the frames, masked segment prediction, contrastive segment learning and a light classifier. The defaults
    are those of the original Carnatic raga classifier. The model is not Meta's separation model of the same name.

    Args:
        frontend (`str`, *optional*, defaults to `"log_mel"`):
            What the model is fed: `"log_mel"` or `"tonic_chroma"` frames of shape
            `(batch_size, frames, feature_size)`, or the `"waveform"` itself, `(batch_size, samples)`.
        feature_size (`int`, *optional*):
            Values in a frame: by default 80 mel bins, 36 pitch classes, or the 1 sample of a waveform.
        conv_dim (`list[int]`, *optional*, defaults to `[64, 128, 256, 512]`):
            Output channels of each convolution of the encoder.
        conv_kernel (`list[int]`, *optional*, defaults to `[3, 3, 3, 3]`):
            Kernel size of each convolution; half of it is the padding at either end.
        conv_stride (`list[int]`, *optional*, defaults to `[2, 2, 2, 2]`):
            Stride of each convolution.
        feat_extract_norm (`str`, *optional*, defaults to `"group"`):
            Normalisation after each convolution: `"group"` over frames and channels of a clip in
            `num_feat_extract_norm_groups` groups, `"layer"` over the channels of a frame, or `"batch"`.
        num_feat_extract_norm_groups (`int`, *optional*, defaults to 1):
            Groups of the group normalisation.
        feat_extract_activation (`str`, *optional*, defaults to `"gelu"`):
            Activation after each normalisation.
        feat_extract_dropout (`float`, *optional*, defaults to 0.25):
            Dropout after each activation.
        hidden_size (`int`, *optional*):
            Width of the segment representations, by default that of the last convolution. Where the two differ, a
            linear projection stands between them.
        num_hidden_layers (`int`, *optional*, defaults to 1):
            Layers in which the segment tokens attend to the frames. The original has one.
        num_attention_heads (`int`, *optional*, defaults to 8):
            Attention heads of each of those layers.
        num_segments (`int`, *optional*, defaults to 64):
            Segment tokens.
        projection_dim (`int`, *optional*, defaults to 128):
            Width of the space in which segments are compared by the contrastive loss.
        classifier_proj_size (`int`, *optional*):
            Width of the classifier's hidden layer, by default half of `hidden_size`.
        classifier_dropout (`float`, *optional*, defaults to 0.1):
            Dropout before each of the classifier's two linear layers.
        mask_ratio (`float`, *optional*, defaults to 0.15):
            Share of a clip's encoder frames that masked segment prediction hides.
        temperature (`float`, *optional*, defaults to 0.07):
            Temperature of the contrastive loss.
        contrastive_mode (`str`, *optional*, defaults to `"clip"`):
            Which segments the contrastive loss draws together: those of the same `"clip"` (the original's), or those
            of all clips with the same `"label"` (supervised contrastive learning, arXiv 2004.11362).
        mask_weight (`float`, *optional*, defaults to 0.5):
            Weight of the masked segment loss in the total loss; 0 leaves it out.
        contrastive_weight (`float`, *optional*, defaults to 0.3):
            Weight of the contrastive loss in the total loss; 0 leaves it out.
        label_smoothing (`float`, *optional*, defaults to 0.1):
            Label smoothing of the single-label classification loss.

    Example:

    ```python
    >>> from polyaudio import SAMAudioConfig, SAMAudioModel

    >>> configuration = SAMAudioConfig()
    >>> model = SAMAudioModel(configuration)
    >>> configuration = model.config
    ```"""

    model_type = "sam_audio"
    keys_to_ignore_at_inference = ["classification_loss", "masked_segment_loss", "contrastive_loss"]

    frontend: str = "log_mel"
    feature_size: int | None = None
    conv_dim: list[int] | tuple[int, ...] = (64, 128, 256, 512)
    conv_kernel: list[int] | tuple[int, ...] = (3, 3, 3, 3)
    conv_stride: list[int] | tuple[int, ...] = (2, 2, 2, 2)
    feat_extract_norm: str = "group"
    num_feat_extract_norm_groups: int = 1
    feat_extract_activation: str = "gelu"
    feat_extract_dropout: float | int = 0.25
    hidden_size: int | None = None
    num_hidden_layers: int = 1
    num_attention_heads: int = 8
    attention_probs_dropout_prob: float | int = 0.1
    layer_norm_eps: float = 1e-5
    initializer_range: float = 0.02
    num_segments: int = 64
    projection_dim: int = 128
    classifier_proj_size: int | None = None
    classifier_dropout: float | int = 0.1
    mask_ratio: float | int = 0.15
    temperature: float | int = 0.07
    contrastive_mode: str = "clip"
    mask_weight: float | int = 0.5
    contrastive_weight: float | int = 0.3
    label_smoothing: float | int = 0.1

    def __post_init__(self, **kwargs):
        # JSON knows no tuples: a configuration that was saved and loaded must equal itself
        self.conv_dim = list(self.conv_dim)
        self.conv_kernel = list(self.conv_kernel)
        self.conv_stride = list(self.conv_stride)
        if self.feature_size is None:
            self.feature_size = FRONTENDS.get(self.frontend, 0)
        if self.hidden_size is None:
            self.hidden_size = self.conv_dim[-1] if self.conv_dim else 0
        if self.classifier_proj_size is None:
            self.classifier_proj_size = self.hidden_size // 2
        super().__post_init__(**kwargs)

    def validate_architecture(self):
        """Part of `@strict`-powered validation: whether the fields fit together."""
        super().validate_architecture()
        _check_choice("frontend", self.frontend, tuple(FRONTENDS))
        _check_choice("feat_extract_norm", self.feat_extract_norm, CONV_NORMS)
        _check_choice("contrastive_mode", self.contrastive_mode, CONTRASTIVE_MODES)
        _check_choice("problem_type", self.problem_type, PROBLEM_TYPES)
        if not self.conv_dim or not len(self.conv_dim) == len(self.conv_kernel) == len(self.conv_stride):
            raise ValueError(
                "conv_dim, conv_kernel and conv_stride need one value for each convolution, at least one, but have "
                f"{len(self.conv_dim)}, {len(self.conv_kernel)} and {len(self.conv_stride)}."
            )
        if self.frontend == "waveform" and self.feature_size != 1:
            raise ValueError(f"frontend='waveform' has feature_size=1, not {self.feature_size}.")
        if self.hidden_size % self.num_attention_heads:
            raise ValueError(
                f"hidden_size ({self.hidden_size}) must be a multiple of num_attention_heads "
                f"({self.num_attention_heads})."
            )
        if self.feat_extract_norm == "group" and any(dim % self.num_feat_extract_norm_groups for dim in self.conv_dim):
            raise ValueError(
                f"Every width in conv_dim ({self.conv_dim}) must be a multiple of num_feat_extract_norm_groups "
                f"({self.num_feat_extract_norm_groups})."
            )
        if not 0 <= self.mask_ratio < 1:
            raise ValueError(f"mask_ratio must be at least 0 and below 1, not {self.mask_ratio}.")
        if self.temperature <= 0:
            raise ValueError(f"temperature must be above 0, not {self.temperature}.")


def _check_choice(name: str, value: str | None, choices: tuple) -> None:
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, choices))}, not {value!r}.")


__all__ = ["SAMAudioConfig"]
