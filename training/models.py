# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""The model of a training run and its feature extractor."""

import math

from ..modeling.loading import load_feature_extractor, make_config, make_feature_extractor
from .arguments import AudioTrainingArguments
from .fine_tuning import Settings


def build_model(settings: Settings, names: list[str], task: str) -> tuple:
    """The model and its feature extractor, from a checkpoint or from scratch."""
    from transformers import AutoModelForAudioClassification, AutoModelForAudioFrameClassification

    from ..data.labels import FRAMES, MULTI_LABEL

    recipe, checkpoint = settings.recipe, settings.model.model_name_or_path
    # A checkpoint that is named on the command line stands in for a model that the recipe describes from scratch
    describes_another = checkpoint is not None and recipe.arguments.get("model_name_or_path") is None
    fields = {
        **({} if describes_another else recipe.model),
        "id2label": dict(enumerate(names)),
        "label2id": {name: index for index, name in enumerate(names)},
        "problem_type": MULTI_LABEL if task == FRAMES else task,
    }
    for name in ("drop_path_rate", "label_smoothing"):
        if getattr(settings.model, name) is not None:
            fields[name] = getattr(settings.model, name)
    config = make_config(settings.model.model_type, checkpoint, fields)
    if task == FRAMES and config.model_type not in ("sslam", "eat"):
        raise ValueError(f"the data has onsets and offsets, but a model of type {config.model_type} has no frame head")
    auto_class = AutoModelForAudioFrameClassification if task == FRAMES else AutoModelForAudioClassification
    if checkpoint is None:
        feature_extractor = make_feature_extractor(config, recipe.feature_extractor)
        model = auto_class.from_config(config)
    else:
        feature_extractor = load_feature_extractor(checkpoint, config)
        for name, value in recipe.feature_extractor.items():
            setattr(feature_extractor, name, value)
        model = auto_class.from_pretrained(checkpoint, config=config, ignore_mismatched_sizes=True)
        if model._hf_peft_config_loaded:
            raise ValueError(
                f"{checkpoint} is an adapter: merge it into its base first, with "
                f"polyaudio.training.lora.merge_adapter({checkpoint!r}, 'merged')"
            )
    if model.config.model_type in ("sslam", "eat") and "max_length" not in recipe.feature_extractor:
        fit_to_crops(feature_extractor, model.config, settings.data.crop_seconds)
    return model, feature_extractor


def choose_trained_weights(model, settings: Settings, training_args: "AudioTrainingArguments"):
    """The model with LoRA, with a frozen encoder, or as it is."""
    if settings.model.freeze_encoder:
        from .frozen import freeze_encoder

        freeze_encoder(model)
        if training_args.process_index == 0:
            print(f"trainable params: {model.num_parameters(only_trainable=True):,} of {model.num_parameters():,}")
    if not settings.lora.lora:
        return model
    from .lora import add_lora, lora_config

    lora, base = settings.lora, settings.model.model_name_or_path
    if base is None:
        # There is no checkpoint that the adapter could name, so the folder holds the untouched model too
        base = training_args.output_dir
        if training_args.process_index == 0:
            model.save_pretrained(base)
    config = lora_config(model, lora.lora_modules, lora.lora_rank, lora.lora_alpha, lora.lora_dropout)
    model = add_lora(model, config, base)
    if training_args.process_index == 0:
        model.print_trainable_parameters()
    return model


def longest_window(config, feature_extractor) -> float | None:
    """Seconds of the longest window that an SSLAM model is to get; None for models that take any length."""
    if config.model_type not in ("sslam", "eat"):
        return None
    return feature_extractor.max_length * feature_extractor.hop_length / feature_extractor.sampling_rate


def fit_to_crops(feature_extractor, config, crop_seconds: float | None) -> None:
    """
    Set an SSLAM feature extractor to what the model is trained on: crops of this length, or of the one that it is set
    to as far as the model reaches, and padding hidden by a mask.

    So the crops reach the model whole, longer clips are cut into windows of that length in evaluation and by
    `polyaudio predict`, and a pipeline pads as training does.
    """
    feature_extractor.return_attention_mask = True
    if not crop_seconds:
        reach = config.max_time_patches * config.patch_size
        feature_extractor.max_length = min(feature_extractor.max_length, reach)
        return
    frames = crop_seconds * feature_extractor.sampling_rate / feature_extractor.hop_length
    patches = math.ceil(frames / config.patch_size)
    if patches > config.max_time_patches:
        raise ValueError(
            f"crop_seconds is {crop_seconds:g}, which takes {patches} patches of time, but the model reaches no more "
            f"than {config.max_time_patches}"
        )
    feature_extractor.max_length = patches * config.patch_size
