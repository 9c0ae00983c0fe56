# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""What a training run learns from: datasets and collators."""

from .arguments import AudioTrainingArguments
from .fine_tuning import Settings
from .models import longest_window


def make_datasets(settings: Settings, splits, config, feature_extractor, seed: int) -> tuple:
    """The splits as the model is to get them, the training split with its augmentation, and the two collators."""
    from ..augmentation.arguments import batch_augmentation, check_augmentation, waveform_augmentation
    from ..data.cached_features import CachedFeatures
    from ..data.collators import AudioCollator, AugmentingCollator, FeatureCollator
    from ..data.windows import AudioClips
    from ..evaluation.classifier import evaluation_clips, make_targets

    data = settings.data
    label = splits["train"].features["label"]
    check_augmentation(settings.augmentation, label, cached=data.cache_features)
    augmentation = batch_augmentation(settings.augmentation)
    targets = make_targets(label, config, feature_extractor, padding=-100.0)
    train_targets = make_targets(label, config, feature_extractor, soft=settings.augmentation.mixes)
    rate = feature_extractor.sampling_rate
    if data.cache_features:
        if getattr(feature_extractor, "max_length", None) is not None:
            raise ValueError("this model's feature extractor cuts clips before they could be cached whole")
        datasets = {
            name: CachedFeatures(
                clips,
                feature_extractor,
                crop_seconds=(data.crop_seconds or None) if name == "train" else None,
                seed=seed,
                num_workers=2,
            )
            for name, clips in splits.items()
        }
        collator, train_collator = (FeatureCollator(feature_extractor, one) for one in (targets, train_targets))
    else:
        datasets = {name: evaluation_clips(clips, config, feature_extractor) for name, clips in splits.items()}
        datasets["train"] = AudioClips(
            splits["train"],
            rate,
            transform=waveform_augmentation(settings.augmentation, rate),
            crop_seconds=data.crop_seconds or longest_window(config, feature_extractor),
            seed=seed,
        )
        collator, train_collator = (AudioCollator(feature_extractor, one) for one in (targets, train_targets))
    if augmentation is not None:
        train_collator = AugmentingCollator(train_collator, augmentation)
    return datasets, collator, train_collator


def nothing_is_random(settings: Settings) -> bool:
    """Whether a training clip is the same in each epoch."""
    from ..augmentation.arguments import AugmentationArguments

    return not settings.data.crop_seconds and settings.augmentation == AugmentationArguments()


def encode(model, datasets: dict, collator, training_args: "AudioTrainingArguments") -> tuple:
    """The head alone, what the frozen encoder makes of the clips, and the collator for it."""
    from .frozen import HeadModel, collate_encoded, encode_clips

    encoded = {
        name: encode_clips(
            model,
            datasets[name],
            collator,
            batch_size=training_args.per_device_eval_batch_size,
            num_workers=training_args.dataloader_num_workers,
            device=training_args.device,
        )
        for name in ("train", "validation")
        if name in datasets
    }
    return HeadModel(model), encoded, collate_encoded
