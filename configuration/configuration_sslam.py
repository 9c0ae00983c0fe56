# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""SSLAM model configuration, and the configuration of the checkpoints that its authors publish."""

from typing import Any, Literal

from huggingface_hub.dataclasses import strict
from transformers import PreTrainedConfig

from ..integration.limits import CheckedConfigMixin, check_sizes
from .audioset_labels import AUDIOSET_LABELS


# Whoever reads the rules checks their values, as they also depend on the number of classes
_EVENT_RULES = ("threshold", "low_threshold", "median_filter", "min_duration", "max_gap")


@strict
class SSLAMConfig(CheckedConfigMixin, PreTrainedConfig):
    r"""
    Configuration of [`SSLAMModel`] and of the models built on it. The defaults give the base model of SSLAM
    (https://arxiv.org/abs/2506.12222), which is also the base model of EAT (https://arxiv.org/abs/2401.03497).

    Args:
        hidden_size (`int`, *optional*, defaults to 768):
            Width of the tokens; a multiple of `num_attention_heads` and of 4.
        num_hidden_layers (`int`, *optional*, defaults to 12):
            Number of Transformer blocks.
        num_attention_heads (`int`, *optional*, defaults to 12):
            Number of attention heads of a block.
        intermediate_size (`int`, *optional*, defaults to 3072):
            Width of the hidden layer of a block's MLP.
        hidden_act (`str`, *optional*, defaults to `"gelu"`):
            Activation of the MLP.
        embedding_dropout (`float`, *optional*, defaults to 0.0):
            Dropout on the tokens before the first block.
        hidden_dropout_prob (`float`, *optional*, defaults to 0.0):
            Dropout after the output projection of the attention.
        attention_probs_dropout_prob (`float`, *optional*, defaults to 0.0):
            Dropout on the attention weights.
        activation_dropout (`float`, *optional*, defaults to 0.0):
            Dropout after each of the two layers of the MLP.
        post_mlp_dropout (`float`, *optional*, defaults to 0.0):
            Dropout on the output of the MLP where it joins the residual.
        drop_path_rate (`float`, *optional*, defaults to 0.0):
            Probability that the last block drops a branch for one clip (stochastic depth); it grows linearly from 0 in
            the first block.
        layerdrop (`float`, *optional*, defaults to 0.0):
            Probability that a block is left out in a training step.
        initializer_range (`float`, *optional*, defaults to 0.02):
            Standard deviation of fresh linear layers.
        layer_norm_eps (`float`, *optional*, defaults to 1e-6):
            Epsilon of the layer norms of the encoder.
        patch_size (`int`, *optional*, defaults to 16):
            Height and width of a patch, in frames and mel bins.
        num_mel_bins (`int`, *optional*, defaults to 128):
            Mel bins of a frame; a multiple of `patch_size`.
        max_time_patches (`int`, *optional*, defaults to 768):
            Length of the position table in time patches: 768 patches of 160 ms are about two minutes.
        window_frames (`int`, *optional*, defaults to 1024):
            Number of frames of a window, a multiple of `patch_size`. The classifiers cut longer clips into windows of
            this length and answer with the mean over the windows. `None` runs the model over whole clips, as the
            original does, up to the end of the position table.
        padding_value (`float`, *optional*, defaults to 0.46706062595753994):
            Value of the frames with which the feature extractor pads. Where the `attention_mask` is missing, the model
            takes these frames for padding.
        mask_padding (`bool`, *optional*, defaults to `False`):
            Whether the model ignores all padding. If not, it hears the padding of a clip up to the end of a window,
            as the published checkpoints do. The feature extractor has the same setting.
        prediction_mode (`str`, *optional*, defaults to `"cls_token"`):
            Input of the classifier in [`SSLAMForAudioClassification`]: the class token (`"cls_token"`), the mean of
            the patches (`"mean_pooling"`) or their linear softmax (`"lin_softmax"`).
        use_fc_norm (`bool`, *optional*, defaults to `True`):
            Whether to apply a layer norm before the classifier.
        fc_norm_eps (`float`, *optional*, defaults to 1e-6):
            Epsilon of that layer norm.
        label_smoothing (`float`, *optional*, defaults to 0.0):
            Label smoothing of the cross entropy, in training only.
        single_label_loss (`str`, *optional*, defaults to `"cross_entropy"`):
            Loss of single-label classification. `"binary_cross_entropy"` is the sum over the classes with which EAT
            trains on Speech Commands.
        multi_label_reduction (`str`, *optional*, defaults to `"mean"`):
            Reduction of the binary cross entropies of a multi-label batch: `"mean"`, or `"labels"`, the sum divided by
            the sum of the labels with which EAT and SSLAM train on AudioSet.
        frame_upsampling (`int`, *optional*, defaults to 1):
            Number of answers of [`SSLAMForAudioFrameClassification`] for each time patch: 1, 2 or 4, for answers every
            160, 80 or 40 ms by default. It must divide `patch_size`.
        event_rules (`dict`, *optional*):
            How [`SSLAMForAudioFrameClassification`] gets events from its scores: `threshold`, `low_threshold`,
            `median_filter`, `min_duration` and `max_gap`, each a number for all classes or a list with one for each
            class. The last three are in seconds. `None` takes every run of scores above 0.5 for an event.
        calibration (`dict`, *optional*):
            How `polyaudio calibrate` calibrated the classifier: the `temperature` by which its last layer was divided,
            the `threshold` of the highest score below which a recording belongs to none of the classes, and
            `false_refusals`, the share of recordings for which that was allowed to be wrong.
        pretraining_stage (`int`, *optional*, defaults to 1):
            1 for the objective of EAT, 2 for the objective of SSLAM with mixtures of two clips and the source
            retention loss.
        clone_batch (`int`, *optional*, defaults to 16):
            Number of masks drawn for each clip of a pre-training batch.
        mask_ratio (`float`, *optional*, defaults to 0.8):
            Share of the patches that are hidden from the student.
        mask_length (`int`, *optional*, defaults to 5):
            Height and width of a visible block, in patches.
        mask_adjust (`float`, *optional*, defaults to 0.07):
            Share of the patches that the drawn blocks would cover beyond `1 - mask_ratio` if none overlapped.
        mask_noise_std (`float`, *optional*, defaults to 0.01):
            Standard deviation of the noise that replaces masked patches in the input of the decoder.
        unmixed_region_ratio (`float`, *optional*, defaults to 0.234375):
            Stage 2: length of each of the two unmixed regions, as a share of the clip and below 0.5. The default is
            240 of 1024 frames, as in the original.
        unmixed_region_range (`float`, *optional*, defaults to 0.5):
            Stage 2: the first region begins in this share of the clip. The second begins after the end of the first.
        average_top_k_layers (`int`, *optional*, defaults to 12):
            Number of teacher blocks, counted from the last, that are averaged into the target.
        decoder_hidden_size (`int`, *optional*, defaults to 768):
            Channels of the convolutional decoder.
        decoder_num_layers (`int`, *optional*, defaults to 6):
            Number of convolutions of the decoder, at least 1.
        decoder_kernel_size (`int`, *optional*, defaults to 3):
            Kernel size of these convolutions, in patches.
        decoder_groups (`int`, *optional*, defaults to 16):
            Number of groups of these convolutions.
        frame_loss_weight (`float`, *optional*, defaults to 1.0):
            Weight of the frame loss. `d2v_loss`, its name in the original, is accepted too.
        utterance_loss_weight (`float`, *optional*, defaults to 1.0):
            Weight of the utterance loss. `cls_loss`, its name in the original, is accepted too.
        utterance_loss_reduction (`str`, *optional*, defaults to `"sum"`):
            Reduction of the utterance loss over the views of a batch: `"sum"`, which grows with the batch as in the
            original, or `"mean"`.
        source_retention_loss_weight (`float`, *optional*, defaults to 2.0):
            Stage 2: weight of the source retention loss.
        teacher_in_float32 (`bool`, *optional*, defaults to `True`):
            Whether the teacher computes in float32 under automatic mixed precision. `False` computes in half precision
            as the original does, which is faster and rounds the targets.
        ema_decay (`float`, *optional*, defaults to 0.9998):
            Decay of the teacher's moving average before the first update.
        ema_end_decay (`float`, *optional*, defaults to 0.99999):
            Decay from update `ema_anneal_end_step` on. It changes linearly until then.
        ema_anneal_end_step (`int`, *optional*, defaults to 100000):
            Update at which `ema_end_decay` is reached.

    Example:

    ```python
    >>> from polyaudio import SSLAMConfig, SSLAMModel

    >>> configuration = SSLAMConfig(num_hidden_layers=2)
    >>> model = SSLAMModel(configuration)
    >>> model.config.hidden_size
    768
    ```"""

    model_type = "sslam"
    attribute_map = {"d2v_loss": "frame_loss_weight", "cls_loss": "utterance_loss_weight"}

    hidden_size: int = 768
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    intermediate_size: int = 3072
    hidden_act: str = "gelu"
    embedding_dropout: float | int = 0.0
    hidden_dropout_prob: float | int = 0.0
    attention_probs_dropout_prob: float | int = 0.0
    activation_dropout: float | int = 0.0
    post_mlp_dropout: float | int = 0.0
    drop_path_rate: float | int = 0.0
    layerdrop: float | int = 0.0
    initializer_range: float = 0.02
    layer_norm_eps: float = 1e-6
    patch_size: int = 16
    num_mel_bins: int = 128
    max_time_patches: int = 768
    window_frames: int | None = 1024
    padding_value: float | int = 4.268 / (2 * 4.569)  # a log-mel energy of 0, normalised as for AudioSet
    mask_padding: bool = False

    problem_type: Literal["regression", "single_label_classification", "multi_label_classification"] | None = None
    prediction_mode: Literal["cls_token", "mean_pooling", "lin_softmax"] = "cls_token"
    use_fc_norm: bool = True
    fc_norm_eps: float = 1e-6
    label_smoothing: float | int = 0.0
    single_label_loss: Literal["cross_entropy", "binary_cross_entropy"] = "cross_entropy"
    multi_label_reduction: Literal["mean", "labels"] = "mean"
    frame_upsampling: int = 1
    event_rules: dict | None = None
    calibration: dict | None = None

    pretraining_stage: Literal[1, 2] = 1
    clone_batch: int = 16
    mask_ratio: float = 0.8
    mask_length: int = 5
    mask_adjust: float | int = 0.07
    mask_noise_std: float | int = 0.01
    unmixed_region_ratio: float | int = 0.234375
    unmixed_region_range: float | int = 0.5
    average_top_k_layers: int = 12
    decoder_hidden_size: int = 768
    decoder_num_layers: int = 6
    decoder_kernel_size: int = 3
    decoder_groups: int = 16
    frame_loss_weight: float | int = 1.0
    utterance_loss_weight: float | int = 1.0
    utterance_loss_reduction: Literal["sum", "mean"] = "sum"
    source_retention_loss_weight: float | int = 2.0
    teacher_in_float32: bool = True
    ema_decay: float | int = 0.9998
    ema_end_decay: float | int = 0.99999
    ema_anneal_end_step: int = 100000

    @property
    def max_frames(self) -> int:
        """Number of frames that the position table covers."""
        return self.max_time_patches * self.patch_size

    @property
    def frames_of_one_pass(self) -> int:
        """Number of frames that a classifier reads in one pass."""
        return min(self.window_frames or self.max_frames, self.max_frames)

    @property
    def inputs_to_logits_ratio(self) -> int:
        """Number of frames of the input for each answer of a frame classifier."""
        return self.patch_size // self.frame_upsampling

    def validate_architecture(self):
        """Raise `ValueError` for sizes that do not fit each other."""
        super().validate_architecture()
        if self.hidden_size % self.num_attention_heads != 0:
            raise ValueError(
                f"`hidden_size` must be a multiple of `num_attention_heads`, got {self.hidden_size} and "
                f"{self.num_attention_heads}."
            )
        if self.hidden_size % 4 != 0:
            raise ValueError(
                "`hidden_size` must be a multiple of 4, for a sine and a cosine half in time and in frequency; got "
                f"{self.hidden_size}."
            )
        if self.num_mel_bins % self.patch_size != 0:
            raise ValueError(
                f"`num_mel_bins` must be a multiple of `patch_size`, got {self.num_mel_bins} and {self.patch_size}."
            )
        if self.window_frames is not None and (self.window_frames < 1 or self.window_frames % self.patch_size != 0):
            raise ValueError(
                f"`window_frames` must be a positive multiple of `patch_size` ({self.patch_size} frames) or `None`, "
                f"got {self.window_frames}."
            )
        for name in ("clone_batch", "mask_length", "average_top_k_layers", "decoder_num_layers"):
            if getattr(self, name) < 1:
                raise ValueError(f"`{name}` must be at least 1, got {getattr(self, name)}.")
        if self.frame_upsampling not in (1, 2, 4) or self.patch_size % self.frame_upsampling != 0:
            raise ValueError(
                f"`frame_upsampling` must be 1, 2 or 4 and divide `patch_size` ({self.patch_size} frames), got "
                f"{self.frame_upsampling}."
            )
        if not 0 <= self.label_smoothing < 1:
            raise ValueError(f"`label_smoothing` must be at least 0 and below 1, got {self.label_smoothing}.")
        for name, value in (self.event_rules or {}).items():
            values = value if isinstance(value, list | tuple) else [value]
            if name not in _EVENT_RULES:
                raise ValueError(f"`event_rules` has no setting {name!r}. Its settings are {', '.join(_EVENT_RULES)}.")
            if not all(isinstance(one, int | float) for one in values):
                raise ValueError(
                    f"`event_rules` must have numbers or lists of numbers, got {value!r:.40} as {name!r}."
                )
        if not 0 < self.mask_ratio < 1:
            raise ValueError(f"`mask_ratio` must lie between 0 and 1, got {self.mask_ratio}.")
        if not 0 <= self.unmixed_region_ratio < 0.5 or not 0 < self.unmixed_region_range <= 1:
            raise ValueError(
                "Two unmixed regions must leave something to mix: `unmixed_region_ratio` must be at least 0 and below "
                f"0.5, and `unmixed_region_range` above 0 and at most 1; got {self.unmixed_region_ratio} and "
                f"{self.unmixed_region_range}."
            )


# Names in the published layout and their names here
_EAT_NAMES = {
    "embed_dim": "hidden_size",
    "depth": "num_hidden_layers",
    "num_heads": "num_attention_heads",
    "norm_eps": "layer_norm_eps",
    "mel_bins": "num_mel_bins",
    "max_length": "max_time_patches",
    "drop_rate": "hidden_dropout_prob",
    "attn_drop_rate": "attention_probs_dropout_prob",
    "post_mlp_drop": "post_mlp_dropout",
    "end_drop_path_rate": "drop_path_rate",
}
# Settings of the published layout that have the same value in every published checkpoint
_EAT_FIXED = {
    "in_chans": 1,
    "qkv_bias": True,
    "norm_affine": True,
    "layer_norm_first": False,
    "fixed_positions": True,
    "start_drop_path_rate": 0.0,
}


@strict
class EATConfig(SSLAMConfig):
    r"""
    A [`SSLAMConfig`] read from a `config.json` in the layout that the authors of EAT and SSLAM publish on the Hub
    (`model_type: "eat"`). [`EATConfig.from_dict`] translates it, so the Auto classes do so too.

    A classifier of 527 classes gets the class names of AudioSet and `problem_type="multi_label_classification"`.
    """

    model_type = "eat"

    @classmethod
    def from_dict(cls, config_dict: dict[str, Any], **kwargs):
        """
        Translate the published names. Names of [`SSLAMConfig`] are accepted too.

        Raises:
            ValueError: the architecture is one that [`SSLAMModel`] does not implement. No published checkpoint has it.
        """
        config_dict = {_EAT_NAMES.get(name, name): value for name, value in config_dict.items()}
        patch_size = config_dict.get("patch_size", cls.patch_size)
        for name, expected in {**_EAT_FIXED, "stride": patch_size}.items():
            value = config_dict.pop(name, expected)
            if value != expected:
                raise ValueError(f"SSLAM has no `{name}={value}`: a checkpoint of type 'eat' must have {expected}.")
        config_dict.pop("auto_map", None)  # remote code, which the classes here replace
        img_size = config_dict.pop("img_size", None)  # frames and mel bins of the clips in training
        if isinstance(img_size, (list, tuple)) and "window_frames" not in config_dict:
            config_dict["window_frames"] = img_size[0]

        if "mlp_ratio" in config_dict:
            hidden_size = config_dict.get("hidden_size", cls.hidden_size)
            config_dict["intermediate_size"] = scaled_size(hidden_size, config_dict.pop("mlp_ratio"))
        num_classes = config_dict.pop("num_classes", None)
        if config_dict.pop("model_variant", "pretrain") == "finetune":
            config_dict["fc_norm_eps"] = 1e-5  # nn.LayerNorm's default there, 1e-6 in the fairseq original
            if num_classes is not None and not {"num_labels", "id2label"} & {*config_dict, *kwargs}:
                config_dict.update(label_fields(num_classes))
        return super().from_dict(config_dict, **kwargs)

    def to_sslam(self) -> SSLAMConfig:
        """The same configuration as a [`SSLAMConfig`]."""
        fields = self.to_dict()
        del fields["model_type"]
        return SSLAMConfig(**fields, attn_implementation=self._attn_implementation, name_or_path=self.name_or_path)


def scaled_size(size: int, ratio: float) -> int:
    """
    The width of a layer that is `ratio` times as wide as another.

    Raises:
        ValueError: `size` is not an integer, `ratio` is not a number from 0 to 1024, or a size is outside `SIZES`.
    """
    if not isinstance(size, int):
        raise ValueError(f"`hidden_size` must be an integer, got {size!r:.40}.")
    check_sizes({"hidden_size": size})
    if not isinstance(ratio, int | float) or not 0 <= ratio <= 1024:
        raise ValueError(f"`mlp_ratio` must be a number from 0 to 1024, got {ratio!r:.40}.")
    return int(size * ratio)


def label_fields(num_labels: int) -> dict[str, Any]:
    """The label fields of a classifier of `num_labels` classes, with the names of AudioSet if there are 527."""
    if num_labels != len(AUDIOSET_LABELS):
        return {"num_labels": num_labels}
    return {
        "id2label": dict(enumerate(AUDIOSET_LABELS)),
        "label2id": {label: index for index, label in enumerate(AUDIOSET_LABELS)},
        "problem_type": "multi_label_classification",
    }


__all__ = ["EATConfig", "SSLAMConfig"]
