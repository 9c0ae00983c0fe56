# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""The datasets and collators of a training run."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from datasets import Dataset, DatasetDict
from transformers import PreTrainedConfig, PreTrainedModel, SequenceFeatureExtractor, TrainingArguments

from ..augmentation.arguments import (
    AugmentationArguments,
    batch_augmentation,
    check_augmentation,
    waveform_augmentation,
)
from ..data.cached_features import CachedFeatures
from ..data.collators import AudioCollator, AugmentingCollator, FeatureCollator
from ..data.given import check_front_end, given_columns
from ..data.outliers import WithOutliers
from ..data.windows import AudioClips
from ..modeling.inputs import make_targets, whole_clips
from ..modeling.traits import traits_of
from .arguments import DataArguments
from .frozen import HeadModel, collate_encoded, encode_clips


# The parts of a dataset whose clips are augmented and cropped
_TRAINED_ON = ("train", "outliers")


@dataclass(frozen=True)
class Inputs:
    """
    Args:
        datasets: the splits, by name, with the items that the collators take. `train` is augmented.
        collator: makes batches for evaluation.
        train_collator: makes batches for training.
    """

    datasets: Mapping[str, torch.utils.data.Dataset]
    collator: Callable
    train_collator: Callable


def make_inputs(
    splits: DatasetDict,
    config: PreTrainedConfig,
    feature_extractor: SequenceFeatureExtractor,
    data: DataArguments,
    augmentation: AugmentationArguments,
    seed: int,
    *,
    outliers: Dataset | None = None,
) -> Inputs:
    """
    The datasets and collators of a run.

    Args:
        splits: columns `audio`, `label` and `recording`.
        config: the configuration of the model.
        feature_extractor: the feature extractor of the model.
        data: length of the crops, and whether features are cached.
        augmentation: the augmentation of training clips.
        seed: seed of the crops, the augmentation and the outliers.
        outliers: clips of none of the classes, to train on too; columns as in `splits`.

    Raises:
        ValueError: the augmentation cannot be used with these labels, features of this model cannot be cached, or
            `data.outlier_ratio` is too small.
    """
    label = splits["train"].features["label"]
    check_augmentation(augmentation, label, cached=data.cache_features, given=given_columns(splits["train"]))
    check_front_end(splits["train"], feature_extractor)
    targets = make_targets(label, config, feature_extractor, padding=-100.0)
    is_soft = augmentation.mixes or outliers is not None
    train_targets = make_targets(label, config, feature_extractor, soft=is_soft)
    clips = {**splits, **({} if outliers is None else {"outliers": outliers})}
    make_datasets = _cached if data.cache_features else _decoded
    datasets = make_datasets(clips, config, feature_extractor, data, augmentation, seed)
    if outliers is not None:
        datasets["train"] = WithOutliers(
            datasets["train"], datasets.pop("outliers"), ratio=data.outlier_ratio, seed=seed
        )
    make_collator = FeatureCollator if data.cache_features else AudioCollator
    collator = make_collator(feature_extractor, targets)
    train_collator: Callable = make_collator(feature_extractor, train_targets)
    change = batch_augmentation(augmentation)
    if change is not None:
        train_collator = AugmentingCollator(train_collator, change)
    return Inputs(datasets, collator, train_collator)


def _cached(
    clips: Mapping[str, Dataset],
    config: PreTrainedConfig,
    feature_extractor: SequenceFeatureExtractor,
    data: DataArguments,
    augmentation: AugmentationArguments,
    seed: int,
) -> dict[str, torch.utils.data.Dataset]:
    """The splits as features that are extracted once; those to train on are cropped."""
    if not traits_of(config).reads_any_length:
        raise ValueError(
            f"A model of type {config.model_type} reads windows of a limited length, and features are cached for "
            "whole clips. Leave out cache_features (--cache-features)."
        )
    return {
        name: CachedFeatures(
            rows,
            feature_extractor,
            crop_seconds=(data.crop_seconds or None) if name in _TRAINED_ON else None,
            seed=seed,
            num_workers=2,
        )
        for name, rows in clips.items()
    }


def _decoded(
    clips: Mapping[str, Dataset],
    config: PreTrainedConfig,
    feature_extractor: SequenceFeatureExtractor,
    data: DataArguments,
    augmentation: AugmentationArguments,
    seed: int,
) -> dict[str, torch.utils.data.Dataset]:
    """The splits as waveforms that are decoded on access; those to train on are augmented and cropped."""
    rate = feature_extractor.sampling_rate
    traits = traits_of(config)
    grid = None if traits.reads_any_length else traits.window_grid(config, feature_extractor)
    longest = None if grid is None else grid.step / rate
    return {
        name: AudioClips(
            rows,
            rate,
            transform=waveform_augmentation(augmentation, rate),
            crop_seconds=data.crop_seconds or longest,
            seed=seed,
        )
        if name in _TRAINED_ON
        else whole_clips(rows, config, feature_extractor)
        for name, rows in clips.items()
    }


def nothing_is_random(data: DataArguments, augmentation: AugmentationArguments) -> bool:
    """Whether each epoch has the same training clips, without crops, augmentation and outliers."""
    return not data.crop_seconds and data.outliers is None and augmentation == AugmentationArguments()


def encode(
    model: PreTrainedModel,
    datasets: Mapping[str, torch.utils.data.Dataset],
    collator: Callable,
    args: TrainingArguments,
) -> tuple[HeadModel, Inputs]:
    """
    The head of a model, and the features of the clips for it, which the frozen encoder computes once.

    Args:
        model: a classifier with a frozen encoder. It is moved to `args.device` and set to evaluation mode.
        datasets: the splits; `train` and `validation` are encoded.
        collator: makes batches of their items.
        args: batch size, workers and device.
    """
    encoded = {
        name: encode_clips(
            model,
            datasets[name],
            collator,
            batch_size=args.per_device_eval_batch_size,
            num_workers=args.dataloader_num_workers,
            device=args.device,
        )
        for name in ("train", "validation")
        if name in datasets
    }
    return HeadModel(model), Inputs(encoded, collate_encoded, collate_encoded)
