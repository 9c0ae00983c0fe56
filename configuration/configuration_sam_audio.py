# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""SAMAudio model configuration"""

import copy
import math
from typing import Any, Literal

from huggingface_hub.dataclasses import strict
from transformers import CONFIG_MAPPING, AutoConfig, PreTrainedConfig

from ..integration.limits import CheckedConfigMixin, check_sizes, settings_of_files


# Number of values in a frame of each front end, if the configuration does not say
FRONTENDS = {"log_mel": 80, "tonic_chroma": 36, "tonic_pitch": 64, "tonic_pitch+chroma": 100, "waveform": 1}

# Front ends that measure pitch from the tonic. Their features follow from the tonic and the level of the whole clip.
TONIC_FRONTENDS = ("tonic_chroma", "tonic_pitch", "tonic_pitch+chroma")

# Number of frames that a classifier reads in one pass, 122.88 s with the defaults of the feature extractor. 0 does not
# cut clips.
WINDOW_FRAMES = {"log_mel": 7680, "waveform": 1_966_080} | dict.fromkeys(TONIC_FRONTENDS, 0)

# The value of the padding of each front end. No frame of a clip has it: log(mel + 1e-8) is at least -18.43, and all
# values relative to the tonic are at least 0. bfloat16 keeps both. Padding of a waveform looks like silence.
PADDING_VALUES = {"log_mel": -18.5, "waveform": None} | dict.fromkeys(TONIC_FRONTENDS, -1.0)

# Configurations of encoders that the Auto classes do not know, by model type. The code beside a model adds its own.
ENCODERS: dict[str, type[PreTrainedConfig]] = {}


def read_encoder_config(given: dict[str, Any] | PreTrainedConfig) -> PreTrainedConfig:
    """
    The configuration of the encoder of a [`SAMAudioModel`].

    Args:
        given: a configuration, which is copied, or its settings with the `model_type` among them.

    Raises:
        ValueError: there is no such type, a size is outside the limits, or the model cannot be an encoder.
    """
    if isinstance(given, PreTrainedConfig):
        config = copy.deepcopy(given)
    else:
        model_type = str(given.get("model_type"))
        if model_type not in ENCODERS and model_type not in CONFIG_MAPPING:
            raise ValueError(
                "`encoder_config` must have the `model_type` of an audio encoder, such as 'sslam' or 'wav2vec2', got "
                f"{model_type!r:.40}."
            )
        check_sizes(given)
        config_class: Any = ENCODERS.get(model_type) or CONFIG_MAPPING[model_type]
        config = config_class.from_dict(settings_of_files(given))
    if hasattr(config, "to_sslam"):  # the layout of published models
        config = config.to_sslam()
    if isinstance(config, SAMAudioConfig):
        raise ValueError(
            "`encoder_config` must not be that of a SAMAudio model. Use the configuration of its encoder."
        )
    if not isinstance(getattr(config, "hidden_size", None), int):
        raise ValueError(
            f"`encoder_config` must have a `hidden_size`, but that of type {config.model_type} has none. "
            "Use that of an audio encoder."
        )
    for name in ("auto_map", "custom_pipelines"):  # of the repository that the encoder came from
        vars(config).pop(name, None)
    config.name_or_path = ""
    return config


@strict
class SAMAudioConfig(CheckedConfigMixin, PreTrainedConfig):
    r"""
    Configuration of [`SAMAudioModel`] and of the models built on it: a convolutional encoder over the frames of a
    clip, learnable segment tokens that attend to the frames, masked segment prediction, contrastive segment learning
    and a light classifier. The defaults give the original classifier of Carnatic ragas. The model is not Meta's
    separation model of the same name.

    Args:
        encoder_config (`dict` or `PreTrainedConfig`, *optional*):
            Configuration of another encoder in place of the convolutions: SSLAM, or an audio model of transformers
            whose `last_hidden_state` is a sequence of frames, such as Wav2Vec2, HuBERT or AST. A `dict` has its
            `model_type`. The input is then that of the encoder's own feature extractor: `frontend`, `feature_size`
            and `padding_value` are `None`, and the settings of the convolutions have no effect.
        frontend (`str`, *optional*, defaults to `"log_mel"`):
            Input of the convolutions: `"log_mel"`, `"tonic_chroma"`, `"tonic_pitch"` or `"tonic_pitch+chroma"` frames
            of shape `(batch_size, frames, feature_size)`, or the `"waveform"` of shape `(batch_size, samples)`.
        feature_size (`int`, *optional*):
            Number of values in a frame. The default is 80 mel bins, 36 pitch classes of `"tonic_chroma"`, 64 values of
            `"tonic_pitch"`, 100 of both, or 1 sample of a waveform.
        padding_value (`float`, *optional*):
            Value of the frames with which the feature extractor pads, by default that of the front end. Where the
            `attention_mask` is missing, the model takes these frames for padding. `None` for a waveform, whose
            padding the model cannot tell from silence.
        window_frames (`int`, *optional*):
            Number of input frames (samples of a waveform) that the classifier reads in one pass in evaluation, a
            multiple of `inputs_to_logits_ratio`. It cuts longer clips into windows of this length and answers with the
            mean over the windows. 0 reads whole clips, as the original does. The default is 122.88 s, rounded up to
            such a multiple, and 0 for features relative to the tonic, of which a clip has one. With `encoder_config`,
            it is the window of the encoder, or 0 if that has none. In training the model always reads whole clips.
        conv_dim (`list[int]`, *optional*, defaults to `[64, 128, 256, 512]`):
            Output channels of each convolution of the encoder.
        conv_kernel (`list[int]`, *optional*, defaults to `[3, 3, 3, 3]`):
            Kernel size of each convolution; half of it is the padding at either end.
        conv_stride (`list[int]`, *optional*, defaults to `[2, 2, 2, 2]`):
            Stride of each convolution.
        feat_extract_norm (`str`, *optional*, defaults to `"group"`):
            Normalisation after each convolution: `"group"` over the frames of a clip and groups of channels,
            `"layer"` over the channels of a frame, or `"batch"`.
        num_feat_extract_norm_groups (`int`, *optional*, defaults to 1):
            Number of groups of the group normalisation.
        feat_extract_activation (`str`, *optional*, defaults to `"gelu"`):
            Activation after each normalisation.
        feat_extract_dropout (`float`, *optional*, defaults to 0.25):
            Dropout after each activation.
        hidden_size (`int`, *optional*):
            Width of the segment representations, by default that of the encoder. If the two differ, a linear
            projection connects them.
        num_hidden_layers (`int`, *optional*, defaults to 1):
            Number of layers in which the segment tokens attend to the frames. The original has one.
        num_attention_heads (`int`, *optional*, defaults to 8):
            Number of attention heads of each of those layers.
        attention_probs_dropout_prob (`float`, *optional*, defaults to 0.1):
            Dropout on the attention weights.
        layer_norm_eps (`float`, *optional*, defaults to 1e-5):
            Epsilon of the layer norms.
        initializer_range (`float`, *optional*, defaults to 0.02):
            Standard deviation of fresh segment tokens.
        num_segments (`int`, *optional*, defaults to 64):
            Number of segment tokens.
        projection_dim (`int`, *optional*, defaults to 128):
            Width of the space in which the contrastive loss compares segments.
        classifier_proj_size (`int`, *optional*):
            Width of the classifier's hidden layer, by default half of `hidden_size`.
        classifier_dropout (`float`, *optional*, defaults to 0.1):
            Dropout before each of the classifier's two linear layers.
        mask_ratio (`float`, *optional*, defaults to 0.15):
            Share of a clip's encoder frames that masked segment prediction hides.
        temperature (`float`, *optional*, defaults to 0.07):
            Temperature of the contrastive loss.
        contrastive_mode (`str`, *optional*, defaults to `"clip"`):
            Which segments the contrastive loss attracts to each other: those of the same `"clip"`, as in the original,
            or those of all clips with the same `"label"` (supervised contrastive learning,
            https://arxiv.org/abs/2004.11362).
        mask_weight (`float`, *optional*, defaults to 0.5):
            Weight of the masked segment loss in the total loss; 0 leaves it out.
        contrastive_weight (`float`, *optional*, defaults to 0.3):
            Weight of the contrastive loss in the total loss; 0 leaves it out.
        label_smoothing (`float`, *optional*, defaults to 0.1):
            Label smoothing of the single-label classification loss.
        calibration (`dict`, *optional*):
            How `polyaudio calibrate` calibrated the classifier: the `temperature` by which its last layer was divided,
            the `threshold` of the highest score below which a recording belongs to none of the classes, and
            `false_refusals`, the share of recordings for which that was allowed to be wrong.

    Example:

    ```python
    >>> from polyaudio import SAMAudioConfig, SAMAudioModel

    >>> configuration = SAMAudioConfig()
    >>> model = SAMAudioModel(configuration)
    >>> configuration = model.config

    >>> over_sslam = SAMAudioConfig(encoder_config={"model_type": "sslam", "num_hidden_layers": 2})
    >>> over_sslam.hidden_size
    768
    ```"""

    model_type = "sam_audio"
    sub_configs = {"encoder_config": AutoConfig}
    keys_to_ignore_at_inference = ["classification_loss", "masked_segment_loss", "contrastive_loss"]

    problem_type: Literal["regression", "single_label_classification", "multi_label_classification"] | None = None
    encoder_config: dict | PreTrainedConfig | None = None
    frontend: Literal["log_mel", "tonic_chroma", "tonic_pitch", "tonic_pitch+chroma", "waveform"] | None = "log_mel"
    feature_size: int | None = None
    padding_value: float | int | None = None
    window_frames: int | None = None
    conv_dim: list[int] | tuple[int, ...] = (64, 128, 256, 512)
    conv_kernel: list[int] | tuple[int, ...] = (3, 3, 3, 3)
    conv_stride: list[int] | tuple[int, ...] = (2, 2, 2, 2)
    feat_extract_norm: Literal["group", "layer", "batch"] = "group"
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
    contrastive_mode: Literal["clip", "label"] = "clip"
    mask_weight: float | int = 0.5
    contrastive_weight: float | int = 0.3
    label_smoothing: float | int = 0.1
    calibration: dict | None = None

    def __post_init__(self, **kwargs):
        # JSON has no tuples, and a configuration must equal itself after it was saved and loaded
        self.conv_dim = list(self.conv_dim)
        self.conv_kernel = list(self.conv_kernel)
        self.conv_stride = list(self.conv_stride)
        if self.encoder_config is not None:
            self._take_encoder(self.encoder_config)
        elif self.frontend is None:
            raise ValueError("`frontend` can be `None` only with an `encoder_config`.")
        if self.feature_size is None and self.frontend is not None:
            self.feature_size = FRONTENDS.get(self.frontend, 0)
        if self.padding_value is None:
            self.padding_value = PADDING_VALUES.get(self.frontend)
        if self.hidden_size is None:
            self.hidden_size = self.conv_dim[-1] if self.conv_dim else 0
        if self.classifier_proj_size is None:
            self.classifier_proj_size = self.hidden_size // 2
        super().__post_init__(**kwargs)
        if self.window_frames is None:
            ratio = self.inputs_to_logits_ratio
            self.window_frames = -(-WINDOW_FRAMES[self.frontend] // ratio) * ratio

    def _take_encoder(self, given: dict[str, Any] | PreTrainedConfig) -> None:
        """Set `encoder_config`, and what follows from it."""
        if self.frontend not in (None, "log_mel") or self.feature_size is not None or self.padding_value is not None:
            raise ValueError(
                "The input of an encoder is that of its own feature extractor: leave out `frontend`, `feature_size` "
                "and `padding_value`, or `encoder_config`."
            )
        self.encoder_config = encoder = read_encoder_config(given)
        self.frontend = None
        if self.hidden_size is None:
            self.hidden_size = encoder.hidden_size
        if self.window_frames is None:
            self.window_frames = getattr(encoder, "frames_of_one_pass", 0)

    @property
    def inputs_to_logits_ratio(self) -> int:
        """Number of frames or samples of the input for each encoder frame; 1 where an encoder does not say."""
        if self.encoder_config is not None:
            return getattr(self.encoder_config, "inputs_to_logits_ratio", 1)
        return math.prod(self.conv_stride)

    def validate_architecture(self):
        """Raise `ValueError` for values that do not fit together."""
        super().validate_architecture()
        if not self.conv_dim or not len(self.conv_dim) == len(self.conv_kernel) == len(self.conv_stride):
            raise ValueError(
                "`conv_dim`, `conv_kernel` and `conv_stride` must have one value for each convolution, at least one; "
                f"got {len(self.conv_dim)}, {len(self.conv_kernel)} and {len(self.conv_stride)}."
            )
        if self.window_frames < 0 or self.window_frames % self.inputs_to_logits_ratio:
            raise ValueError(
                f"`window_frames` must be 0 or a multiple of {self.inputs_to_logits_ratio}, the input frames of an "
                f"encoder frame, got {self.window_frames}."
            )
        longest = getattr(self.encoder_config, "max_frames", None)
        if longest is not None and self.window_frames > longest:
            raise ValueError(
                f"`window_frames` must be at most {longest}, the frames that the encoder has positions for, got "
                f"{self.window_frames}."
            )
        if self.frontend == "waveform" and self.feature_size != 1:
            raise ValueError(f"`frontend='waveform'` has `feature_size=1`, got {self.feature_size}.")
        if self.hidden_size % self.num_attention_heads:
            raise ValueError(
                f"`hidden_size` must be a multiple of `num_attention_heads`, got {self.hidden_size} and "
                f"{self.num_attention_heads}."
            )
        if self.feat_extract_norm == "group" and any(dim % self.num_feat_extract_norm_groups for dim in self.conv_dim):
            raise ValueError(
                "Every value of `conv_dim` must be a multiple of `num_feat_extract_norm_groups`, got "
                f"{self.conv_dim} and {self.num_feat_extract_norm_groups}."
            )
        if not 0 <= self.mask_ratio < 1:
            raise ValueError(f"`mask_ratio` must be at least 0 and below 1, got {self.mask_ratio}.")
        if self.temperature <= 0:
            raise ValueError(f"`temperature` must be above 0, got {self.temperature}.")


__all__ = ["SAMAudioConfig"]
