# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Checkpoints of the authors of SSLAM and EAT as SSLAM models.

There are two layouts. The `.pt` files of fairseq have a pre-trained model (`data2vec_multi`, with its decoder and its
teacher) or a fine-tuned one (`mae_image_classification`). The folders on the Hub with the model type "eat" have an
encoder, with or without a classifier. The names of the encoder's weights differ in a prefix and in one layer norm.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import torch

from ..configuration.configuration_sslam import SSLAMConfig, label_fields, scaled_size
from ..integration.limits import check_sizes
from .checkpoint_io import section_of, weights_of


# source key -> target keys; a fused weight is cut along its first dimension into one part for each target
KeyMap = dict[str, tuple[str, ...]]

# Settings of `cfg.model` and their names in `SSLAMConfig`. Those of a fine-tuned model are in its pre-trained model.
_ENCODER_FIELDS = {
    "embed_dim": "hidden_size",
    "depth": "num_hidden_layers",
    "num_heads": "num_attention_heads",
    "norm_eps": "layer_norm_eps",
    "average_top_k_layers": "average_top_k_layers",
    "clone_batch": "clone_batch",
    "ema_decay": "ema_decay",
    "ema_end_decay": "ema_end_decay",
    "ema_anneal_end_step": "ema_anneal_end_step",
}
_MODALITY_FIELDS = {
    "patch_size": "patch_size",
    "mask_prob": "mask_ratio",
    "mask_length": "mask_length",
    "mask_prob_adjust": "mask_adjust",
    "mask_noise_std": "mask_noise_std",
}
_DECODER_FIELDS = {
    "decoder_dim": "decoder_hidden_size",
    "decoder_layers": "decoder_num_layers",
    "decoder_kernel": "decoder_kernel_size",
    "decoder_groups": "decoder_groups",
}
# Settings of `cfg.model` that fine-tuning overrides
_DROPOUT_FIELDS = {
    "dropout_input": "embedding_dropout",
    "encoder_dropout": "hidden_dropout_prob",
    "attention_dropout": "attention_probs_dropout_prob",
    "activation_dropout": "activation_dropout",
    "post_mlp_drop": "post_mlp_dropout",
    "layerdrop": "layerdrop",
}


@dataclass
class ConvertedCheckpoint:
    """
    The configuration and the weights of a converted checkpoint.

    Attributes:
        config: the configuration of the model.
        state_dict: its weights, with the names of [`SSLAMModel`] and the models with heads.
        report: what became of each key of the checkpoint: "used as is", "renamed to ..." or "dropped: ...".
    """

    config: SSLAMConfig
    state_dict: dict[str, torch.Tensor]
    report: dict[str, str] = field(default_factory=dict)


def encoder_key_map(num_hidden_layers: int, context_norm: str) -> KeyMap:
    """
    The keys of the encoder in either layout, without the prefix of the modules around it.

    Args:
        num_hidden_layers: number of blocks.
        context_norm: the layout's name of the norm before the first block.
    """
    names: KeyMap = {
        "extra_tokens": ("embeddings.cls_token",),
        "local_encoder.proj.weight": ("embeddings.patch_embeddings.weight",),
        "local_encoder.proj.bias": ("embeddings.patch_embeddings.bias",),
        "fixed_positional_encoder.positions": ("embeddings.position_embeddings",),
    }
    for kind in ("weight", "bias"):
        names[f"{context_norm}.{kind}"] = (f"context_layernorm.{kind}",)
        for index in range(num_hidden_layers):
            block, layer = f"blocks.{index}", f"layers.{index}"
            names |= {
                f"{block}.attn.qkv.{kind}": tuple(f"{layer}.attention.{part}_proj.{kind}" for part in "qkv"),
                f"{block}.attn.proj.{kind}": (f"{layer}.attention.o_proj.{kind}",),
                f"{block}.norm1.{kind}": (f"{layer}.attention_layernorm.{kind}",),
                f"{block}.mlp.fc1.{kind}": (f"{layer}.mlp.fc1.{kind}",),
                f"{block}.mlp.fc2.{kind}": (f"{layer}.mlp.fc2.{kind}",),
                f"{block}.norm2.{kind}": (f"{layer}.mlp_layernorm.{kind}",),
            }
    return names


def head_key_map(use_fc_norm: bool) -> KeyMap:
    """The keys of the classifier in either layout, without the prefix on the Hub."""
    names: KeyMap = {"head.weight": ("classifier.weight",), "head.bias": ("classifier.bias",)}
    if use_fc_norm:
        names |= {"fc_norm.weight": ("fc_norm.weight",), "fc_norm.bias": ("fc_norm.bias",)}
    return names


def decoder_key_map(num_layers: int) -> KeyMap:
    """The keys of the pre-training decoder of a fairseq checkpoint, without their prefix."""
    names: KeyMap = {}
    for kind in ("weight", "bias"):
        names[f"proj.{kind}"] = (f"projection.{kind}",)
        for index in range(num_layers):
            names[f"blocks.{index}.0.{kind}"] = (f"layers.{index}.conv.{kind}",)
    return names


def with_prefixes(key_map: KeyMap, source: str, target: str) -> KeyMap:
    """The same map with a prefix before each source key and another before each target key."""
    return {source + key: tuple(target + name for name in names) for key, names in key_map.items()}


def rename(state_dict: dict[str, torch.Tensor], key_map: KeyMap) -> dict[str, torch.Tensor]:
    """
    Rename the tensors in `key_map`, and cut fused ones apart. Other tensors are left out.

    Raises:
        ValueError: the state dict lacks keys of `key_map`.
    """
    missing = sorted(key_map.keys() - state_dict.keys())
    if missing:
        raise ValueError(f"The checkpoint lacks {len(missing)} keys: {', '.join(missing)}.")
    renamed: dict[str, torch.Tensor] = {}
    for key, names in key_map.items():
        parts = state_dict[key].chunk(len(names))
        # Cloned, because safetensors refuses to write tensors that share memory
        renamed.update(zip(names, (part.clone() for part in parts) if len(names) > 1 else parts, strict=True))
    return renamed


def is_fine_tuned(checkpoint: Mapping[str, Any]) -> bool:
    """
    Whether a fairseq checkpoint of SSLAM or EAT is fine-tuned, and not only pre-trained.

    Raises:
        ValueError: it is not a fairseq checkpoint of SSLAM or EAT.
    """
    missing = [key for key in ("cfg", "model") if checkpoint.get(key) is None]
    if missing:
        raise ValueError(
            f"This is not a fairseq checkpoint of SSLAM or EAT: it lacks {' and '.join(missing)}, and only has "
            f"{', '.join(map(str, checkpoint))}."
        )
    name = section_of(checkpoint, "cfg", "model").get("_name")
    if name not in ("data2vec_multi", "mae_image_classification"):
        raise ValueError(
            f"The checkpoint has a fairseq model of type {name!r}. SSLAM and EAT have the type 'data2vec_multi' "
            "(pre-trained) or 'mae_image_classification' (fine-tuned)."
        )
    return name == "mae_image_classification"


def convert_fairseq_checkpoint(
    checkpoint: Mapping[str, Any],
    what: Literal["encoder", "pretraining", "classifier"],
    weights: Literal["student", "teacher"] = "student",
) -> ConvertedCheckpoint:
    """
    Convert the weights of a pre-trained or a fine-tuned fairseq checkpoint.

    Args:
        checkpoint: what [`read_torch_checkpoint`] returns for the `.pt` file.
        what: `"encoder"` for [`SSLAMModel`], `"pretraining"` for [`SSLAMForPreTraining`] (the encoder under `sslam.`,
            `decoder.`, and the moving average under `teacher.`), `"classifier"` for [`SSLAMForAudioClassification`].
        weights: which encoder of a pre-trained checkpoint to use: the trained one (`"student"`), as the original does
            for inference and fine-tuning, or its moving average (`"teacher"`). `"pretraining"` uses both, so it takes
            `"student"` only.

    Raises:
        ValueError: the checkpoint does not have such a model, lacks keys, or has keys that such a model does not have.
    """
    is_classifier = is_fine_tuned(checkpoint)
    model_cfg, content = section_of(checkpoint, "cfg", "model"), section_of(checkpoint, "model")
    teacher = weights_of(content.pop("_ema", {}))
    state_dict = weights_of(content)
    if is_classifier and what == "pretraining":
        raise ValueError("A fine-tuned checkpoint has no decoder and no teacher. Convert a pre-trained one.")
    if not is_classifier and what == "classifier":
        raise ValueError("A pre-trained checkpoint has no classifier. Convert its encoder, and fine-tune that.")
    if is_classifier and weights == "teacher":
        raise ValueError("A fine-tuned checkpoint has no teacher. Convert the student.")
    if what == "pretraining" and weights == "teacher":
        raise ValueError("Continuing pre-training takes student and teacher: leave `weights` at 'student'.")

    prefix = "model." if is_classifier else ""
    positions_key = f"{prefix}modality_encoders.IMAGE.fixed_positional_encoder.positions"
    if positions_key not in state_dict or state_dict[positions_key].ndim != 3:
        raise ValueError(f"The checkpoint lacks {positions_key}, with 3 dimensions.")
    try:
        fields = _encoder_fields(model_cfg, is_classifier, state_dict[positions_key].shape[1])
        head_fields = _classifier_fields(model_cfg) if is_classifier else {}
    except KeyError as error:
        raise ValueError(f"The settings in the checkpoint (`cfg.model`) lack {error}.") from error
    config = SSLAMConfig(**fields, **(head_fields if what == "classifier" else {}))

    tensors = state_dict | {f"_ema.{key}": tensor for key, tensor in teacher.items()}
    encoder = _fairseq_encoder_key_map(config.num_hidden_layers)
    teacher_keys = with_prefixes(encoder, "_ema.", "teacher.")
    if is_classifier:
        rest = head_key_map(head_fields["use_fc_norm"])
    else:
        rest = with_prefixes(
            decoder_key_map(config.decoder_num_layers), "modality_encoders.IMAGE.decoder.", "decoder."
        )
    unexpected = tensors.keys() - with_prefixes(encoder, prefix, "").keys() - rest.keys() - teacher_keys.keys()
    if unexpected:
        raise ValueError(_unexpected_message(unexpected))

    if what == "encoder":
        key_map = with_prefixes(encoder, "_ema." if weights == "teacher" else prefix, "")
    else:
        key_map = with_prefixes(encoder, prefix, "sslam.") | rest
    if what == "pretraining":
        key_map |= teacher_keys
    converted = rename(tensors, key_map)

    report = {key: "dropped: state of the training run" for key in checkpoint if key != "model"}
    report["cfg"] = "used for the configuration"
    for key in tensors:
        names = key_map.get(key)
        if names is None:
            report[f"model.{key}"] = f"dropped: not part of the {weights}'s {what}"
        else:
            report[f"model.{key}"] = "used as is" if names == (key,) else f"renamed to {', '.join(names)}"
    return ConvertedCheckpoint(config, converted, report)


def convert_hub_state_dict(state_dict: dict[str, torch.Tensor], config: SSLAMConfig) -> dict[str, torch.Tensor]:
    """
    Convert the weights of a Hub folder with the model type "eat".

    Returns:
        The weights of [`SSLAMForAudioClassification`]. Without a classifier, those of [`SSLAMModel`] with the prefix
        `sslam.`.

    Raises:
        ValueError: keys are missing, or there are keys that such a model does not have.
    """
    key_map = with_prefixes(encoder_key_map(config.num_hidden_layers, "pre_norm"), "model.", "sslam.")
    if "model.head.weight" in state_dict:
        key_map |= with_prefixes(head_key_map(config.use_fc_norm), "model.", "")
    unexpected = state_dict.keys() - key_map.keys()
    if unexpected:
        raise ValueError(_unexpected_message(unexpected))
    return rename(state_dict, key_map)


def _unexpected_message(keys: set[str]) -> str:
    return f"The checkpoint has {len(keys)} keys that SSLAM lacks: {', '.join(sorted(keys))}."


def _fairseq_encoder_key_map(num_hidden_layers: int) -> KeyMap:
    return {
        key if key.startswith("blocks.") else f"modality_encoders.IMAGE.{key}": names
        for key, names in encoder_key_map(num_hidden_layers, "context_encoder.norm").items()
    }


def _encoder_fields(model_cfg: dict[str, Any], is_classifier: bool, num_positions: int) -> dict[str, Any]:
    """The settings of the encoder and its pre-training in `cfg.model`, as fields of [`SSLAMConfig`]."""
    encoder_cfg = section_of(model_cfg, "pretrained_model_args", "model") if is_classifier else model_cfg
    modality_cfg = section_of(encoder_cfg, "modalities", "image")
    unsupported = {
        "layer_norm_first": encoder_cfg["layer_norm_first"],
        "prenet_depth": modality_cfg["prenet_depth"],
        "use_alibi_encoder": modality_cfg["use_alibi_encoder"],
    }
    for name, value in unsupported.items():
        if value:
            raise ValueError(
                f"SSLAM does not support `{name}={value}`. No checkpoint that its authors published uses it."
            )

    fields: dict[str, Any] = {}
    for settings, names in (
        (encoder_cfg, _ENCODER_FIELDS),
        (modality_cfg, _MODALITY_FIELDS),
        (section_of(modality_cfg, "decoder"), _DECODER_FIELDS),
        (model_cfg, _DROPOUT_FIELDS),
    ):
        fields |= {name: settings[key] for key, name in names.items()}
    fields["intermediate_size"] = scaled_size(encoder_cfg["embed_dim"], encoder_cfg["mlp_ratio"])
    check_sizes({"patch_size": fields["patch_size"]})
    num_mel_patches = SSLAMConfig.num_mel_bins // fields["patch_size"]
    if not num_mel_patches:
        raise ValueError(f"`patch_size` must divide the {SSLAMConfig.num_mel_bins} mel bins.")
    fields["max_time_patches"] = num_positions // num_mel_patches
    fields["drop_path_rate"] = model_cfg["drop_path_rate" if is_classifier else "end_drop_path_rate"]
    return fields


def _classifier_fields(model_cfg: dict[str, Any]) -> dict[str, Any]:
    """The settings of the classifier in `cfg.model` of a fine-tuned checkpoint, as fields of [`SSLAMConfig`]."""
    is_single_label = model_cfg["esc50_eval"] or model_cfg["spcv2_eval"]
    return {
        "problem_type": "single_label_classification" if is_single_label else "multi_label_classification",
        # Saved as the name of an enumeration's member, with or without that of the enumeration before it
        "prediction_mode": str(model_cfg["prediction_mode"]).rpartition(".")[2].lower(),
        "use_fc_norm": model_cfg["use_fc_norm"],
        **label_fields(model_cfg["num_classes"]),
    }


__all__ = ["ConvertedCheckpoint", "convert_fairseq_checkpoint", "convert_hub_state_dict", "is_fine_tuned"]
