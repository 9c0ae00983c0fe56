# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Loading the configuration, the feature extractor and the weights of a model."""

import contextlib
import os
from collections.abc import Callable, Iterator
from typing import Any, cast

import torch
from huggingface_hub import constants
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from transformers import (
    AutoConfig,
    AutoFeatureExtractor,
    AutoModel,
    AutoModelForAudioClassification,
    AutoModelForAudioFrameClassification,
    PreTrainedConfig,
    PreTrainedModel,
    SequenceFeatureExtractor,
)
from transformers.models.auto.auto_factory import _BaseAutoModelClass
from transformers.models.auto.feature_extraction_auto import FEATURE_EXTRACTOR_MAPPING
from transformers.utils import (
    CONFIG_NAME,
    FEATURE_EXTRACTOR_NAME,
    PROCESSOR_NAME,
    SAFE_WEIGHTS_INDEX_NAME,
    cached_file,
)

from ..integration.adapters import read_adapter_config
from ..integration.hub_access import could_be_on_hub, hub_is_silent
from ..integration.limits import check_code, read_json, shards_of
from ..integration.quiet import no_bars_of_weights, no_loading_report
from ..integration.registry import MODEL_TYPES, load_class
from .traits import traits_of


def load_config(model_name: str, **settings: Any) -> PreTrainedConfig:
    """The configuration of a model folder or Hub name, with `settings`. Raises `ValueError` if it has none."""
    try:
        with _reading(model_name) as download:
            return AutoConfig.from_pretrained(model_name, trust_remote_code=False, **download, **settings)
    except (OSError, ValueError) as error:
        raise ValueError(
            f"{model_name} is neither a model folder nor a model on the Hugging Face Hub that can be read: {error}"
        ) from error


def load_model(
    auto_class: type[_BaseAutoModelClass], model_name: str, *, ignore_mismatched_sizes: bool = False, **kwargs: Any
) -> tuple[PreTrainedModel, dict[str, Any]]:
    """
    Load a model from a folder or the Hub. Code that comes with the model is never run.

    Args:
        auto_class: the Auto class that loads it.
        model_name: a folder or a Hub name.
        ignore_mismatched_sizes: whether to make weights new that have another shape in the checkpoint.
        kwargs: further arguments of `from_pretrained`.

    Returns:
        The model, and the loading info of `from_pretrained`.

    Raises:
        OSError: a file is missing or cannot be read.
        ValueError: a file is damaged, the weights do not fit the configuration, or some of them are NaN or infinite.
    """
    with _reading(model_name) as download, no_bars_of_weights(), no_loading_report():
        if download:
            kwargs["adapter_kwargs"] = download  # the Auto classes look for an adapter with arguments of its own
        model, info = auto_class.from_pretrained(
            model_name,
            trust_remote_code=False,
            output_loading_info=True,
            ignore_mismatched_sizes=True,
            **download,
            **kwargs,
        )
    if info["mismatched_keys"] and not ignore_mismatched_sizes:
        name, found, expected = sorted(info["mismatched_keys"])[0]
        raise ValueError(
            f"The weights in {model_name} do not fit its config.json: {name} has the shape {tuple(found)} instead of "
            f"{tuple(expected)}. Use the config.json that belongs to the weights."
        )
    for name, weight in model.state_dict().items():
        if weight.is_floating_point() and not torch.isfinite(weight).all():
            raise ValueError(
                f"The weights of {model_name} are broken: {name} holds NaN or infinite numbers. Its training "
                "diverged, or the file is damaged. Take an earlier checkpoint."
            )
    return model, info


def _check_settings(path: str) -> None:
    check_code(read_json(path), path)


_ADAPTER_CONFIG = "adapter_config.json"
_CHECKS: dict[str, Callable[[str], Any]] = {
    CONFIG_NAME: _check_settings,
    FEATURE_EXTRACTOR_NAME: _check_settings,
    PROCESSOR_NAME: _check_settings,
    SAFE_WEIGHTS_INDEX_NAME: shards_of,
    _ADAPTER_CONFIG: read_adapter_config,
}


@contextlib.contextmanager
def config_errors(name: str) -> Iterator[None]:
    """Turn errors of a configuration, which huggingface_hub defines, into `ValueError`, as all others are."""
    try:
        yield
    except StrictDataclassError as error:  # the reason is below the name of the check
        reason = str(error).strip().rpartition("\n")[2].strip()
        raise ValueError(f"The configuration of {name} is wrong. {reason}") from error


@contextlib.contextmanager
def _reading(model_name: str) -> Iterator[dict[str, bool]]:
    """
    Check the JSON files of a model before transformers reads them, and say of errors where they are.

    Gives further arguments of `from_pretrained`: without a network, only downloaded files are read.
    """
    if not os.path.isdir(model_name) and not could_be_on_hub(model_name):
        raise OSError(f"there is no folder {model_name}, and names on the Hub have another form. Correct the path.")
    is_silent = hub_is_silent(model_name)
    checked = _check_files(model_name, is_silent)
    if is_silent and not checked:
        raise OSError(
            f"{constants.ENDPOINT} does not answer, and {model_name} was not downloaded before. Correct the path, or "
            "connect to the network."
        )
    if _ADAPTER_CONFIG in checked:
        is_silent = is_silent or hub_is_silent(checked[_ADAPTER_CONFIG]["base_model_name_or_path"])
    try:
        with config_errors(model_name):
            yield {"local_files_only": True} if is_silent else {}
    except ImportError as error:
        if error.name is not None:  # a module that is really missing
            raise
        raise ValueError(f"{model_name} cannot be loaded here: {error}") from error
    except SafetensorError as error:
        raise ValueError(f"The weights in {model_name} are damaged ({error}). Copy or download them again.") from error


def _check_files(model_name: str, local_files_only: bool) -> dict[str, Any]:
    """Check the JSON files of a model. Returns what the check of each returned."""
    checked = {}
    for name, check in _CHECKS.items():
        path = cached_file(
            model_name, name, local_files_only=local_files_only, _raise_exceptions_for_missing_entries=False
        )
        if path is not None:
            checked[name] = check(path)
    return checked


def make_config(model_type: str, checkpoint: str | None, settings: dict[str, Any]) -> PreTrainedConfig:
    """
    The configuration of a model to train: that of a new model of this type, or of a checkpoint, with `settings`.

    Raises:
        ValueError: a model of this type has no such setting.
    """
    if checkpoint is None:
        with config_errors(f"a new model of type {model_type}"):
            config = AutoConfig.for_model(model_type, **settings)
    else:
        config = load_config(checkpoint, **settings)
    unknown = [name for name in settings if not hasattr(type(config)(), name)]
    if unknown:
        raise ValueError(
            f"The configuration of type {config.model_type} has no setting {unknown[0]!r}. Correct or remove it."
        )
    return config


def make_feature_extractor(config: PreTrainedConfig, settings: dict[str, Any]) -> SequenceFeatureExtractor:
    """
    A feature extractor for a model with this configuration.

    Args:
        settings: further arguments of the extractor.
    """
    traits = traits_of(config)
    own = traits.input_config(config)
    entry = MODEL_TYPES.get(own.model_type)
    if entry is not None and entry.feature_extractor is not None:
        extractor_class = load_class(entry.feature_extractor)
    else:
        extractor_class = FEATURE_EXTRACTOR_MAPPING[type(own)]
    return extractor_class(**{**traits.extractor_settings(config), **settings})


def load_feature_extractor(model_name: str, config: PreTrainedConfig) -> SequenceFeatureExtractor:
    """
    The feature extractor of a model folder or Hub name.

    Raises:
        OSError: the model has no feature extractor, and models of this type have no default.
    """
    with _reading(model_name) as download:
        return AutoFeatureExtractor.from_pretrained(model_name, config=config, trust_remote_code=False, **download)


def name_of_model(model: str | os.PathLike | PreTrainedModel) -> str:
    """
    The folder or Hub name of a model.

    Raises:
        ValueError: the model was not loaded from a folder or the Hub.
    """
    name = model.config.name_or_path if isinstance(model, PreTrainedModel) else os.fspath(model)
    if not name:
        raise ValueError("The model was not loaded from a folder or the Hub, so pass its feature_extractor too.")
    return name


def load_classifier(model: str | os.PathLike | PreTrainedModel, of_frames: bool | None = None) -> PreTrainedModel:
    """
    A classifier of clips or of frames, in evaluation mode.

    Args:
        model: a folder, a Hub name, or a classifier, which is returned as it is.
        of_frames: whether to load a classifier of frames. By default this follows from the saved model.

    Raises:
        ValueError: there is no such model, or its classifier has never been trained.
    """
    if isinstance(model, PreTrainedModel):
        return model.eval()
    name = os.fspath(model)
    config = load_config(name)
    of_frames = labels_frames(config) if of_frames is None else of_frames
    auto_class = AutoModelForAudioFrameClassification if of_frames else AutoModelForAudioClassification
    loaded, info = load_model(auto_class, name, config=config)
    if info["missing_keys"]:
        raise ValueError(
            f"{name} is not a trained classifier: it lacks {', '.join(sorted(info['missing_keys'])[:3])}. "
            "Fine-tune it first."
        )
    return loaded.eval()


def base_of(model: PreTrainedModel) -> PreTrainedModel:
    """The base model of a model."""
    return cast(PreTrainedModel, model.base_model)  # transformers annotates it as a plain module


def class_names_of(config: PreTrainedConfig) -> list[str]:
    """The names of the classes of a classifier, in the order of its outputs."""
    names = {int(index): str(name) for index, name in (config.id2label or {}).items()}
    return [names[index] for index in sorted(names)]


def labels_frames(config: PreTrainedConfig) -> bool:
    """Whether a configuration is that of a frame classifier."""
    return any(name.endswith("ForAudioFrameClassification") for name in config.architectures or ())


def load_encoder(model: str | os.PathLike | PreTrainedModel) -> PreTrainedModel:
    """
    The base model of a folder or Hub name, or of a model.

    Raises:
        ValueError: weights of the base model are missing in the folder.
    """
    if isinstance(model, PreTrainedModel):
        return base_of(model)
    name = os.fspath(model)
    loaded, info = load_model(AutoModel, name)
    if info["missing_keys"]:
        raise ValueError(f"{name} lacks weights of its encoder: {', '.join(sorted(info['missing_keys'])[:3])}.")
    return loaded


def initialise_like(model: PreTrainedModel, seed: int) -> PreTrainedModel:
    """A model of the same architecture with random weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return AutoModel.from_config(model.config)


def choose_device(name: str | None) -> torch.device:
    """The device with this name, by default the accelerator if there is one. Raises `ValueError` if it is missing."""
    accelerator = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    if name is None:
        return accelerator or torch.device("cpu")
    there = ["cpu"] + ([accelerator.type] if accelerator else [])
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ValueError(f"{name!r} is not the name of a device. This machine has {' and '.join(there)}.") from error
    if device.type not in there or (device.index or 0) >= max(1, torch.accelerator.device_count()):
        raise ValueError(f"This machine has no device {name!r}. It has {' and '.join(there)}.")
    return device
