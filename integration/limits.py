# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""The largest sizes that a configuration, a feature extractor and a JSON file may have.

Files of a model come from strangers. A size in them is checked before anything of that size is built, so that a
damaged or hostile file ends in an error and not in a full memory. No model that is known comes near the limits.
"""

import json
import math
import os
import re
from collections.abc import Mapping
from numbers import Integral
from pathlib import Path
from typing import TYPE_CHECKING, Any


if TYPE_CHECKING:
    from transformers import PreTrainedConfig as _ConfigBase
else:
    _ConfigBase = object

# The smallest and the largest value of each setting that is a size. For a list, of each of its values.
SIZES = {
    "num_labels": (0, 2**18),
    "hidden_size": (1, 2**14),
    "intermediate_size": (1, 2**17),
    "num_hidden_layers": (0, 2**9),
    "num_attention_heads": (1, 2**10),
    # The same under the names of encoders with a decoder
    "d_model": (1, 2**14),
    "encoder_layers": (0, 2**9),
    "decoder_layers": (0, 2**9),
    "patch_size": (1, 2**10),
    "num_mel_bins": (1, 2**12),
    "max_time_patches": (1, 2**14),
    "window_frames": (0, 2**24),
    "frame_upsampling": (1, 4),
    "clone_batch": (1, 2**12),
    "mask_length": (1, 2**12),
    "average_top_k_layers": (1, 2**9),
    "decoder_hidden_size": (1, 2**14),
    "decoder_num_layers": (1, 2**9),
    "decoder_kernel_size": (1, 2**10),
    "decoder_groups": (1, 2**14),
    "conv_dim": (1, 2**14),
    "conv_kernel": (1, 2**12),
    "conv_stride": (1, 2**12),
    "num_feat_extract_norm_groups": (1, 2**14),
    "num_segments": (1, 2**14),
    "projection_dim": (1, 2**14),
    "classifier_proj_size": (1, 2**14),
    # Values of a frame, and the settings of the transforms before them
    "feature_size": (1, 2**10),
    "sampling_rate": (1_000, 1_000_000),
    "n_fft": (1, 2**16),
    "hop_length": (1, 2**16),
    "max_length": (1, 2**17),
    # The rank of an adapter
    "r": (1, 2**10),
    "init_r": (1, 2**10),
    "target_r": (1, 2**10),
}
_MOST_LAYERS = 64  # values of a list
# The names that transformers has for activations, except those of functions that it downloads
_ACTIVATIONS = (
    *("gelu", "gelu_10", "gelu_fast", "gelu_new", "gelu_python", "gelu_pytorch_tanh", "gelu_python_tanh"),
    *("gelu_accurate", "hardswish", "laplace", "leaky_relu", "linear", "mish", "quick_gelu", "relu", "relu2", "relu6"),
    *("sigmoid", "silu", "sqrtsoftplus", "swish", "tanh", "prelu"),
)
_ANY_SIGN = ("mean", "padding_value")  # other numbers are at least 0
_DTYPES = ("bfloat16", "float16", "float32", "float64")
_SHARD = re.compile(r"model[\w.]*-\d+-of-\d+\.safetensors")
# How attention is computed is the choice of whoever loads a model. These settings can name code that is downloaded.
_NOT_FROM_FILES: tuple[str, ...] = (
    *("attn_implementation", "_attn_implementation", "experts_implementation", "_experts_implementation"),
)
if (__package__ or "").endswith(".integration"):
    # polyaudio has the pipeline itself. Only copies of this file beside a model need the pipeline beside the model.
    _NOT_FROM_FILES += ("custom_pipelines",)
_LARGEST_JSON = 2**24  # bytes; the names of 2**18 classes need half of it


def check_sizes(settings: Mapping[str, Any]) -> None:
    """
    Check the sizes among the settings of a model or a feature extractor, and the numbers that audio is normalised
    with. Settings that are `None` are left out.

    Raises:
        ValueError: a size is not an integer or outside the limits in `SIZES`, or a number is not finite.
    """
    for name, (smallest, largest) in SIZES.items():
        value = settings.get(name)
        values = value if isinstance(value, list | tuple) else [value]
        if len(values) > _MOST_LAYERS:
            raise ValueError(f"`{name}` must have at most {_MOST_LAYERS} values, got {len(values)}.")
        for one in values:
            if one is None:
                continue
            if not isinstance(one, Integral) or isinstance(one, bool):
                raise ValueError(f"`{name}` must be an integer, got {_short(one)}.")
            if not smallest <= int(one) <= largest:
                raise ValueError(f"`{name}` must be from {smallest} to {largest}, got {_short(one)}.")
    for name in ("std", *_ANY_SIGN):
        value = settings.get(name)
        if value is not None and not (isinstance(value, int | float) and math.isfinite(value)):
            raise ValueError(f"`{name}` must be a finite number, got {_short(value)}.")
    if settings.get("std") is not None and settings["std"] <= 0:
        raise ValueError(f"`std` must be above 0, got {settings['std']}.")


def check_code(settings: Mapping[str, Any], path: str | os.PathLike) -> None:
    """
    Check the parts of a `config.json` or `preprocessor_config.json` that name classes.

    Raises:
        ValueError: `architectures`, `auto_map` or `custom_pipelines` has another form than transformers writes.
    """
    architectures, auto_map = settings.get("architectures") or [], settings.get("auto_map") or {}
    pipelines = settings.get("custom_pipelines") or {}
    if not isinstance(architectures, list) or not all(isinstance(name, str) for name in architectures):
        raise ValueError(f"`architectures` in {path} must be a list of names.")
    if not isinstance(auto_map, dict) or not all(isinstance(value, str | list) for value in auto_map.values()):
        raise ValueError(f"`auto_map` in {path} must give a class to each Auto class.")
    is_right = isinstance(pipelines, dict) and all(isinstance(one, dict) for one in pipelines.values())
    if not is_right or not all(isinstance(one.get("impl"), str) for one in pipelines.values()):
        raise ValueError(f"`custom_pipelines` in {path} must give a class, `impl`, to each task.")


def shards_of(path: str | os.PathLike) -> set[str]:
    """
    The names of the files that an index of weights, `model.safetensors.index.json`, names.

    Raises:
        OSError: the index cannot be opened.
        ValueError: it is damaged, or names other files than shards in its own folder.
    """
    weight_map = read_json(path).get("weight_map")
    names = list(weight_map.values()) if isinstance(weight_map, dict) else []
    shards = {name for name in names if isinstance(name, str) and _SHARD.fullmatch(name)}
    if not shards or not all(isinstance(name, str) and name in shards for name in names):
        raise ValueError(f"{path} must name files like model-00001-of-00002.safetensors in its folder, and no others.")
    return shards


def read_json(path: str | os.PathLike) -> dict[str, Any]:
    """
    Read an object from a JSON file of a stranger.

    Raises:
        OSError: the file cannot be opened.
        ValueError: the file is larger than 16 MiB, nested too deeply, not JSON, or not an object.
    """
    size = os.path.getsize(path)
    if size > _LARGEST_JSON:
        raise ValueError(f"{path} has {size} bytes, but no JSON file of a model is larger than {_LARGEST_JSON}.")
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except RecursionError:
        raise ValueError(f"{path} is nested too deeply for a JSON file of a model.") from None
    except ValueError as error:
        raise ValueError(f"{path} is not valid JSON: {error}. Copy or download the file again.") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} must contain a JSON object, not {type(content).__name__}.")
    return content


class CheckedConfigMixin(_ConfigBase):
    """Checks sizes and labels before anything is built from them. It must be the first base of a configuration."""

    def __post_init__(self, **kwargs):
        settings = {**vars(self), **kwargs}
        check_sizes(settings)
        labels = settings.get("id2label")
        if labels is not None:
            check_sizes({"num_labels": len(labels)})
            if not isinstance(labels, Mapping) or {str(key) for key in labels} != set(map(str, range(len(labels)))):
                raise ValueError("`id2label` must give a name to each class: {0: ..., 1: ..., ...}.")
            if not all(isinstance(label, str | int | float) for label in labels.values()):
                raise ValueError("The names in `id2label` must be text or numbers.")
        dtype = settings.get("torch_dtype") or settings.get("dtype")
        if dtype is not None and str(dtype).removeprefix("torch.") not in _DTYPES:
            raise ValueError(f"`dtype` must be one of {', '.join(_DTYPES)}, got {_short(dtype)}.")
        for name in ("hidden_act", "feat_extract_activation"):
            if settings.get(name) is not None and settings[name] not in _ACTIVATIONS:
                raise ValueError(f"`{name}` must be one of {', '.join(_ACTIVATIONS)}, got {_short(settings[name])}.")
        for name, value in vars(self).items():
            is_valid = not isinstance(value, float) or (math.isfinite(value) and (value >= 0 or name in _ANY_SIGN))
            if not is_valid:
                raise ValueError(f"`{name}` must be finite and at least 0, got {value}.")
        super().__post_init__(**kwargs)

    @classmethod
    def from_dict(cls, config_dict: dict[str, Any], **kwargs):
        """A configuration from the content of a `config.json`; see `PreTrainedConfig.from_dict`."""
        return super().from_dict(settings_of_files(config_dict), **kwargs)

    @classmethod
    def _dict_from_json_file(cls, json_file: str | os.PathLike):
        return cls._decode_special_floats(read_json(json_file))


def settings_of_files(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a `config.json`, without those that are no business of a file."""
    return {name: value for name, value in settings.items() if name not in _NOT_FROM_FILES}


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:37]}..."
