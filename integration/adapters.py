# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Loads PEFT adapters that keep their own configuration, with the labels and the head's settings, beside them."""

import contextlib
import json
import os
from collections.abc import Iterator
from importlib import import_module
from typing import Any, TypeVar

import torch
from transformers import PreTrainedConfig
from transformers.utils import (
    CONFIG_NAME,
    SAFE_WEIGHTS_INDEX_NAME,
    SAFE_WEIGHTS_NAME,
    WEIGHTS_INDEX_NAME,
    WEIGHTS_NAME,
    cached_file,
    find_adapter_config_file,
    logging,
)


logger = logging.get_logger(__name__)

_Model = TypeVar("_Model", bound="AdapterLoadingMixin")

_DOWNLOAD_ARGUMENTS = ("cache_dir", "force_download", "local_files_only", "proxies", "revision", "token")


class AdapterLoadingMixin:
    """
    Makes `from_pretrained` and `save_pretrained` of a `PreTrainedModel` keep an adapter's own `config.json`.

    transformers takes the configuration of an adapter from the base that `adapter_config.json` names, and so the
    base's labels; a local adapter with a `config.json` it takes for a complete model and misses the weights. Here the
    adapter's `config.json` is the configuration, and the base gives weights only.
    """

    @classmethod
    def from_pretrained(
        cls: type[_Model],
        pretrained_model_name_or_path: str | os.PathLike | None,
        *model_args,
        config: PreTrainedConfig | None = None,
        adapter_kwargs: dict[str, Any] | None = None,
        **kwargs,
    ) -> _Model:
        """
        Load a model, or an adapter with its base; the arguments are those of any model.

        Raises:
            OSError: the base of an adapter cannot be read.
            ValueError: the base has not the encoder that the adapter was trained on.
        """
        download = {name: kwargs[name] for name in _DOWNLOAD_ARGUMENTS if name in kwargs} | (adapter_kwargs or {})
        # Given an adapter on the Hub, the Auto classes pass its base as the model and the adapter itself in here
        adapter = download.pop("_adapter_model_path", pretrained_model_name_or_path)
        adapter_config = _read_adapter_config(adapter, download)
        if adapter_config is None:
            return super().from_pretrained(
                pretrained_model_name_or_path, *model_args, config=config, adapter_kwargs=adapter_kwargs, **kwargs
            )

        base = adapter_config["base_model_name_or_path"]
        if config is None:
            dtype = {name: kwargs.pop(name) for name in ("dtype", "torch_dtype") if name in kwargs}  # may be "auto"
            config, kwargs = cls.config_class.from_pretrained(
                adapter, return_unused_kwargs=True, **{**kwargs, **download}
            )
            kwargs |= dtype
        elif config.name_or_path == base:
            attn_implementation = config._attn_implementation
            config = cls.config_class.from_pretrained(adapter, **download)
            config._attn_implementation = attn_implementation

        output_loading_info = kwargs.pop("output_loading_info", False)
        adapter_name = kwargs.pop("adapter_name", "default")
        load_base = super().from_pretrained
        if pretrained_model_name_or_path == adapter:
            pretrained_model_name_or_path = base
            kwargs |= {**download, "revision": adapter_config.get("revision")}
            model_type = _read_model_type(base, adapter, kwargs)
            if model_type != config.model_type:  # "eat", whose own class translates the weights
                from transformers import AutoConfig, AutoModelForAudioClassification

                load_base = AutoModelForAudioClassification.from_pretrained
                fields = {name: value for name, value in config.to_dict().items() if name != "model_type"}
                config = AutoConfig.for_model(model_type, **fields, attn_implementation=config._attn_implementation)
        # The base's head may be missing or have other labels: the adapter brings its own
        kwargs |= {"ignore_mismatched_sizes": True, "output_loading_info": True}
        with _no_loading_report():
            model, base_info = load_base(pretrained_model_name_or_path, *model_args, config=config, **kwargs)
        info = model.load_adapter(adapter, adapter_name=adapter_name, adapter_kwargs=download, dtype=model.dtype)
        info.missing_keys |= _check_base(model, base, base_info, model.peft_config[adapter_name].modules_to_save or [])
        return (model, info.to_dict()) if output_loading_info else model

    # In transformers 5.24 these two refuse every released PEFT, though saving needs nothing newer. PEFT is imported by
    # name, since a copy of this file beside a model may not ask for it: transformers would refuse to load the model.

    def active_adapters(self) -> list[str]:
        """
        Return the names of the adapters that take part in a forward pass.

        Raises:
            ValueError: the model has no adapter.
        """
        if not self._hf_peft_config_loaded:
            raise ValueError("The model has no adapter. Load one with `load_adapter` first.")
        tuner_layer = import_module("peft.tuners.tuners_utils").BaseTunerLayer
        return next(module for module in self.modules() if isinstance(module, tuner_layer)).active_adapters

    def get_adapter_state_dict(
        self, adapter_name: str | None = None, state_dict: dict[str, torch.Tensor] | None = None
    ) -> dict[str, torch.Tensor]:
        """
        Return the weights of an adapter.

        Args:
            adapter_name: the active adapter if not given.
            state_dict: the weights of the whole model, if they have to be gathered first.

        Raises:
            ValueError: the model has no adapter.
        """
        adapter_name = adapter_name or self.active_adapters()[0]
        # For "auto", the default, PEFT looks up the base on the Hub
        return import_module("peft").get_peft_model_state_dict(
            self, state_dict, adapter_name, save_embedding_layers=False
        )

    def save_pretrained(
        self, save_directory: str | os.PathLike, is_main_process: bool = True, *args, **kwargs
    ) -> None:
        """Save a model, or the adapter of one with its `config.json`; the arguments are those of any model."""
        super().save_pretrained(save_directory, is_main_process, *args, **kwargs)
        if self._hf_peft_config_loaded and is_main_process:
            self.config.save_pretrained(save_directory)


def _read_adapter_config(adapter: str | os.PathLike | None, download: dict[str, Any]) -> dict[str, Any] | None:
    """The `adapter_config.json` of an adapter that has a `config.json` too, and no weights of a complete model."""
    adapter_config_file = find_adapter_config_file(adapter, **download)
    if adapter_config_file is None:
        return None
    if cached_file(adapter, CONFIG_NAME, _raise_exceptions_for_missing_entries=False, **download) is None:
        return None
    weights = (SAFE_WEIGHTS_NAME, SAFE_WEIGHTS_INDEX_NAME, WEIGHTS_NAME, WEIGHTS_INDEX_NAME)
    if any(os.path.isfile(os.path.join(adapter, name)) for name in weights):
        return None
    with open(adapter_config_file, encoding="utf-8") as file:
        return json.load(file)


def _read_model_type(base: str, adapter: str | os.PathLike, download: dict[str, Any]) -> str:
    """The model type of an adapter's base."""
    arguments = {name: download[name] for name in _DOWNLOAD_ARGUMENTS if name in download}
    try:
        return PreTrainedConfig.get_config_dict(base, **arguments)[0]["model_type"]
    except OSError as error:
        raise OSError(
            f"{adapter} is an adapter for the model {base}, which cannot be read. Put that model there, or name the "
            "place where it is as `base_model_name_or_path` in adapter_config.json."
        ) from error


@contextlib.contextmanager
def _no_loading_report() -> Iterator[None]:
    """Hold back transformers' report on loaded weights, in which a head that the adapter brings counts as missing."""
    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)


def _check_base(model, base: str, info: dict[str, Any], modules_to_save: list[str]) -> set[str]:
    """
    Say which weights neither the base nor the adapter gives.

    Args:
        model: with the adapter.
        info: what `from_pretrained` reports on the loading of the base.
        modules_to_save: ends of the names of the modules that the adapter brings.

    Raises:
        ValueError: if weights of the encoder are among them.
    """
    missing = {key for key, *_ in info["mismatched_keys"]} | set(info["missing_keys"])
    missing = {key for key in missing if not any(f".{name}." in f".{key}" for name in modules_to_save)}
    encoder = sorted(key for key in missing if key.startswith(f"{model.base_model_prefix}."))
    if encoder:
        raise ValueError(
            f"{base} is not the model that the adapter was trained on: {len(encoder)} weights of the encoder are "
            f"missing there or have another shape, such as {encoder[0]}."
        )
    if missing:
        logger.warning(f"Newly initialized, as neither {base} nor the adapter has them: {', '.join(sorted(missing))}.")
    return missing


__all__ = ["AdapterLoadingMixin"]
