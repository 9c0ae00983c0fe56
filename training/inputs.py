# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""The datasets and collators of a training run."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from datasets import Dataset, DatasetDict
from transformers import PreTrainedConfig, PreTrainedModel, SequenceFeatureExtractor, TrainingArguments

from ..augmentation.arguments import (
    AugmentationArguments,
    batch_augmentation,
    check_augmentation,
    waveform_augmentation,
)
from ..data.audio import audio_info
from ..data.cached_features import CachedFeatures, ShortClipFeatures
from ..data.collators import AudioCollator, AugmentingCollator, FeatureCollator, hides_padding
from ..data.given import check_front_end, given_columns, has_audio
from ..data.outliers import WithOutliers
from ..data.readable import audio_file
from ..data.windows import AudioClips
from ..modeling.inputs import make_targets, whole_clips
from ..modeling.traits import traits_of
from .arguments import DataArguments
from .frozen import HeadModel, collate_encoded, encode_clips


# The features that are cached without being asked to: half a gigabyte of float32, from 100 frames a second
_MOST_VALUES = 2**27
_FRAME_RATE = 100
# Share of training clips in memory above which worker processes cost more than they save
_MOSTLY = 0.9

# The parts of a dataset whose clips are augmented and cropped
_TRAINED_ON = ("train", "outliers")


@dataclass(frozen=True)
class Inputs:
    """
    Args:
        datasets: the splits, by name, with the items that the collators take. `train` is augmented.
        collator: makes batches for evaluation.
        train_collator: makes batches for training.
        in_memory: whether the items are features in memory, so that worker processes would have nothing to do.
    """

    datasets: Mapping[str, torch.utils.data.Dataset]
    collator: Callable
    train_collator: Callable
    in_memory: bool = False


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
    clips = {**splits, **({} if outliers is None else {"outliers": outliers})}
    check_augmentation(augmentation, label, cached=bool(data.cache_features), given=given_columns(splits["train"]))
    check_front_end(splits["train"], feature_extractor)
    targets = make_targets(label, config, feature_extractor, padding=-100.0)
    is_soft = augmentation.mixes or outliers is not None
    train_targets = make_targets(label, config, feature_extractor, soft=is_soft)
    is_short = _short_clips(clips, config, feature_extractor, data, augmentation)
    if data.cache_features:
        datasets = _cached(clips, config, feature_extractor, data, seed)
    elif is_short is not None:
        datasets = _cached_where_short(clips, feature_extractor, data, seed, is_short)
    else:
        datasets = _decoded(clips, config, feature_extractor, data, augmentation, seed)
    if outliers is not None:
        datasets["train"] = WithOutliers(
            datasets["train"], datasets.pop("outliers"), ratio=data.outlier_ratio, seed=seed
        )
    has_features = bool(data.cache_features) or is_short is not None
    make_collator = FeatureCollator if has_features else AudioCollator
    collator = make_collator(feature_extractor, targets)
    train_collator: Callable = make_collator(feature_extractor, train_targets)
    change = batch_augmentation(augmentation)
    if change is not None:
        train_collator = AugmentingCollator(train_collator, change)
    in_memory = has_features and (is_short is None or bool(np.mean(is_short["train"]) > _MOSTLY))
    return Inputs(datasets, collator, train_collator, in_memory)


def _short_clips(
    clips: Mapping[str, Dataset],
    config: PreTrainedConfig,
    feature_extractor: SequenceFeatureExtractor,
    data: DataArguments,
    augmentation: AugmentationArguments,
) -> dict[str, list[bool]] | None:
    """
    For each clip, whether its features are the same in each epoch. `None` if those of a clip may change, or if caching
    was declined or would take too much memory.
    """
    is_changed = waveform_augmentation(augmentation, feature_extractor.sampling_rate) is not None
    can_be_cached = feature_extractor.feature_size > 1 and _why_not_cached(config, feature_extractor) is None
    if data.cache_features is not None or is_changed or not can_be_cached or not all(map(has_audio, clips.values())):
        return None
    is_short: dict[str, list[bool]] = {}
    most_seconds = _MOST_VALUES / feature_extractor.feature_size / _FRAME_RATE
    for name, rows in clips.items():
        longest = (data.crop_seconds if name in _TRAINED_ON else None) or float("inf")
        is_short[name] = []
        for row in rows.select_columns("audio"):
            seconds = audio_info(audio_file(row["audio"])).duration
            is_short[name].append(seconds <= longest)
            most_seconds -= seconds if is_short[name][-1] else 0
            if most_seconds < 0:
                return None
    return is_short


def _why_not_cached(config: PreTrainedConfig, feature_extractor: SequenceFeatureExtractor) -> str | None:
    """Why the features that a model is trained on cannot be those of whole clips, each extracted alone."""
    if not traits_of(config).reads_any_length:
        return "reads windows of a limited length"
    if not hides_padding(feature_extractor):
        return "hears the padding of clips"
    return None


def _cached_where_short(
    clips: Mapping[str, Dataset],
    feature_extractor: SequenceFeatureExtractor,
    data: DataArguments,
    seed: int,
    is_short: Mapping[str, list[bool]],
) -> dict[str, torch.utils.data.Dataset]:
    """The splits as features: of clips that are never cropped from memory, of the others as they are needed."""
    return {
        name: ShortClipFeatures(
            AudioClips(
                rows,
                feature_extractor.sampling_rate,
                crop_seconds=(data.crop_seconds or None) if name in _TRAINED_ON else None,
                seed=seed,
            ),
            feature_extractor,
            is_short[name],
        )
        for name, rows in clips.items()
    }


def _cached(
    clips: Mapping[str, Dataset],
    config: PreTrainedConfig,
    feature_extractor: SequenceFeatureExtractor,
    data: DataArguments,
    seed: int,
) -> dict[str, torch.utils.data.Dataset]:
    """The splits as features that are extracted once; those to train on are cropped."""
    reason = _why_not_cached(config, feature_extractor)
    if reason is not None:
        raise ValueError(
            f"A model of type {config.model_type} {reason}. Features are cached for whole clips. Leave out "
            "cache_features (--cache-features)."
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
    return HeadModel(model), Inputs(encoded, collate_encoded, collate_encoded, in_memory=True)
