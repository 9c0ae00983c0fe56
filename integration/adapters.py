# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Loads models with a check of their files and their task, and PEFT adapters with the settings of their own head."""

import contextlib
import os
from collections.abc import Callable, Iterator
from importlib import import_module
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from safetensors import SafetensorError
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

from .limits import check_sizes, read_json


if TYPE_CHECKING:
    # Every class with the mixin is also derived from it
    from transformers import PreTrainedModel as _ModelBase
else:
    _ModelBase = object

logger = logging.get_logger(__name__)

_Model = TypeVar("_Model", bound="AdapterLoadingMixin")

# The weights of a new head, decoder or teacher can be missing in a file. More than this is missing only if the
# configuration names the sizes of another model.
_LARGEST_MISSING = 2**29  # bytes, as float32
_LARGEST_SHARE = 8  # of the size of the file

# The classifiers by the ends of their names, and what they classify
_TASKS = {"ForAudioClassification": "clips", "ForAudioFrameClassification": "frames"}

_DOWNLOAD_ARGUMENTS = ("cache_dir", "force_download", "local_files_only", "proxies", "revision", "token")


class AdapterLoadingMixin(_ModelBase):
    """
    Makes `from_pretrained` and `save_pretrained` of a `PreTrainedModel` use an adapter's own `config.json`.

    For an adapter, transformers uses the configuration of the base model that `adapter_config.json` names, and thus
    the labels of the base model. It treats a local adapter with a `config.json` as a complete model and does not find
    the weights. Here the configuration is the adapter's `config.json`, and the base model provides only weights.
    """

    config_class: type[PreTrainedConfig]

    @classmethod
    def from_pretrained(
        cls: type[_Model],
        pretrained_model_name_or_path: str | os.PathLike | None,
        *model_args,
        config: PreTrainedConfig | str | os.PathLike | None = None,
        adapter_kwargs: dict[str, Any] | None = None,
        **kwargs,
    ) -> _Model:
        """
        Load a model, or an adapter with its base model. The arguments are those of `PreTrainedModel.from_pretrained`.

        Only safetensors are read, unless `use_safetensors=False` is passed.

        Raises:
            OSError: the base model of an adapter cannot be read.
            ValueError: the weights are damaged or far fewer than the configuration says, `adapter_config.json` names
                no base model, the base model lacks weights of the encoder that the adapter was trained on, or the
                model is a classifier for another task.
        """
        kwargs.setdefault("use_safetensors", True)
        with _readable_weights(pretrained_model_name_or_path):
            return cls._from_pretrained(
                pretrained_model_name_or_path, *model_args, config=config, adapter_kwargs=adapter_kwargs, **kwargs
            )

    @classmethod
    def _from_pretrained(
        cls: type[_Model],
        pretrained_model_name_or_path: str | os.PathLike | None,
        *model_args,
        config: PreTrainedConfig | str | os.PathLike | None,
        adapter_kwargs: dict[str, Any] | None,
        **kwargs,
    ) -> _Model:
        download = {name: kwargs[name] for name in _DOWNLOAD_ARGUMENTS if name in kwargs} | (adapter_kwargs or {})
        # For an adapter on the Hub, the Auto classes pass the base model, and the adapter in `adapter_kwargs`
        adapter = download.pop("_adapter_model_path", pretrained_model_name_or_path)
        adapter_config = None if adapter is None else _read_adapter_config(adapter, download)
        if adapter_config is None:
            loaded = super().from_pretrained(
                pretrained_model_name_or_path, *model_args, config=config, adapter_kwargs=adapter_kwargs, **kwargs
            )
            _check_task(loaded[0] if isinstance(loaded, tuple) else loaded, pretrained_model_name_or_path)
            return loaded

        base = adapter_config["base_model_name_or_path"]
        if isinstance(config, (str, os.PathLike)):
            config = cls.config_class.from_pretrained(config)
        own_config: PreTrainedConfig
        if config is None:
            # May be "auto", which only models understand
            dtype: dict[str, Any] = {name: kwargs.pop(name) for name in ("dtype", "torch_dtype") if name in kwargs}
            # With `return_unused_kwargs` it returns a pair, which its type leaves out
            own_config, kwargs = cls.config_class.from_pretrained(  # type: ignore[misc]
                adapter, return_unused_kwargs=True, **{**kwargs, **download}
            )
            kwargs |= dtype
        elif config.name_or_path == base:
            own_config = cls.config_class.from_pretrained(adapter, **download)
            own_config._attn_implementation = config._attn_implementation
        else:
            own_config = config

        output_loading_info = kwargs.pop("output_loading_info", False)
        adapter_name = kwargs.pop("adapter_name", "default")
        load_base: Callable[..., Any] = super().from_pretrained
        if pretrained_model_name_or_path == adapter:
            pretrained_model_name_or_path = base
            kwargs |= {**download, "revision": adapter_config.get("revision")}
            model_type = _read_model_type(base, adapter, kwargs)
            if model_type != own_config.model_type:  # "eat", whose own class converts the weights
                from transformers import (
                    AutoConfig,
                    AutoModelForAudioClassification,
                    AutoModelForAudioFrameClassification,
                )

                labels_frames = cls.__name__.endswith("ForAudioFrameClassification")
                auto_class = AutoModelForAudioFrameClassification if labels_frames else AutoModelForAudioClassification
                load_base = auto_class.from_pretrained
                fields = {name: value for name, value in own_config.to_dict().items() if name != "model_type"}
                own_config = AutoConfig.for_model(
                    model_type, **fields, attn_implementation=own_config._attn_implementation
                )
        # The adapter has its own head. The base model may have none, or one for other labels or another task.
        architectures, own_config.architectures = own_config.architectures, None
        kwargs |= {"ignore_mismatched_sizes": True, "output_loading_info": True}
        with _no_loading_report():
            model, base_info = load_base(pretrained_model_name_or_path, *model_args, config=own_config, **kwargs)
        model.config.architectures = architectures
        _check_task(model, adapter)
        info = model.load_adapter(adapter, adapter_name=adapter_name, adapter_kwargs=download, dtype=model.dtype)
        info.missing_keys |= _check_base(model, base, base_info, model.peft_config[adapter_name].modules_to_save or [])
        # As in transformers, the type leaves out the pair
        return (model, info.to_dict()) if output_loading_info else model  # type: ignore[return-value]

    @classmethod
    def _load_pretrained_model(cls, model, state_dict, checkpoint_files, *args, **kwargs):
        # transformers has built the model without memory for its weights, and would now make room for all of them
        _check_size(model, state_dict, checkpoint_files)
        return super()._load_pretrained_model(model, state_dict, checkpoint_files, *args, **kwargs)

    # In transformers 5.24, these two methods refuse every released version of PEFT, although saving needs no newer
    # one. PEFT is imported by name, because transformers requires what the copies of this file beside a model import.

    def active_adapters(self) -> list[str]:
        """
        Return the names of the active adapters.

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
            adapter_name: name of the adapter; by default the active one.
            state_dict: the weights of the whole model; by default those of `self.state_dict()`.

        Raises:
            ValueError: the model has no adapter.
        """
        adapter_name = adapter_name or self.active_adapters()[0]
        # With "auto", the default, PEFT would look up the base model on the Hub
        return import_module("peft").get_peft_model_state_dict(
            self, state_dict, adapter_name, save_embedding_layers=False
        )

    def save_pretrained(
        self, save_directory: str | os.PathLike, is_main_process: bool = True, *args, **kwargs
    ) -> None:
        """
        Save a model, or its adapter with the `config.json`.

        The arguments are those of `PreTrainedModel.save_pretrained`.
        """
        super().save_pretrained(save_directory, is_main_process, *args, **kwargs)
        if self._hf_peft_config_loaded and is_main_process:
            self.config.save_pretrained(save_directory)


def _check_task(model: Any, name: Any) -> None:
    """Raise `ValueError` if a model for one task was loaded from a classifier for the other one."""
    architectures = model.config.architectures or []
    if not (isinstance(architectures, list) and all(isinstance(one, str) for one in architectures)):
        raise ValueError(f"The config.json of {name} must have a list of class names in `architectures`.")
    names = [base.__name__ for base in type(model).__mro__]
    tasks = {task for task in _TASKS for name in names if name.endswith(task)}
    saved = {task for task in _TASKS for one in architectures if one.endswith(task)}
    if tasks and saved and not tasks & saved:
        (task,), (other,) = tasks, saved
        raise ValueError(
            f"{name} is a classifier of {_TASKS[other]}, not of {_TASKS[task]}. Load it with AutoModel{other}. To "
            f"train its encoder for the other task, save the encoder alone, AutoModel.from_pretrained({str(name)!r})"
            f".save_pretrained(FOLDER), and load AutoModel{task} from that folder."
        )


def _read_adapter_config(adapter: str | os.PathLike, download: dict[str, Any]) -> dict[str, Any] | None:
    """The `adapter_config.json` of an adapter with a `config.json` and without the weights of a complete model."""
    adapter_config_file = find_adapter_config_file(os.fspath(adapter), **download)
    if adapter_config_file is None:
        return None
    if cached_file(adapter, CONFIG_NAME, _raise_exceptions_for_missing_entries=False, **download) is None:
        return None
    weights = (SAFE_WEIGHTS_NAME, SAFE_WEIGHTS_INDEX_NAME, WEIGHTS_NAME, WEIGHTS_INDEX_NAME)
    if any(os.path.isfile(os.path.join(adapter, name)) for name in weights):
        return None
    return read_adapter_config(adapter_config_file)


def read_adapter_config(path: str | os.PathLike) -> dict[str, Any]:
    """
    Read an `adapter_config.json`.

    Raises:
        OSError: the file cannot be opened.
        ValueError: it is damaged, has another type than PEFT knows, names no base model, or asks for a rank that would
            fill the memory or for a module to import.
    """
    adapter_config = read_json(path)
    known = [str(getattr(kind, "value", kind)) for kind in import_module("peft").PEFT_TYPE_TO_CONFIG_MAPPING]
    if adapter_config.get("peft_type") not in known:
        raise ValueError(f"`peft_type` in {path} is none that PEFT knows: {', '.join(sorted(known))}.")
    if not isinstance(adapter_config.get("base_model_name_or_path"), str):
        raise ValueError(f"{path} names no base model. Set `base_model_name_or_path` in it.")
    if adapter_config.get("megatron_config") is not None:
        raise ValueError(f"{path} has a `megatron_config`, for which PEFT would import any module. Remove it.")
    ranks = adapter_config.get("rank_pattern") or {}
    check_sizes(adapter_config)
    check_sizes({"r": list(ranks.values()) if isinstance(ranks, dict) else ranks})
    return adapter_config


def _check_size(model: torch.nn.Module, state_dict: dict | None, checkpoint_files: list[str] | None) -> None:
    tensors = [*model.parameters(), *model.buffers()]
    needed = 4 * sum(tensor.numel() for tensor in tensors if tensor.is_meta)  # the rest has its memory already
    if state_dict is not None:
        given = sum(tensor.numel() * tensor.element_size() for tensor in state_dict.values())
    else:
        given = sum(map(os.path.getsize, checkpoint_files or ()))
    if needed > max(_LARGEST_MISSING, _LARGEST_SHARE * given):
        raise ValueError(
            f"A {type(model).__name__} with this configuration has weights of {needed} bytes, but the checkpoint has "
            f"only {given} bytes. Use the config.json that belongs to the weights."
        )


@contextlib.contextmanager
def _readable_weights(name: str | os.PathLike | None) -> Iterator[None]:
    try:
        yield
    except SafetensorError as error:
        raise ValueError(f"The weights in {name} are damaged ({error}). Copy or download the folder again.") from error


def _read_model_type(base: str, adapter: str | os.PathLike, download: dict[str, Any]) -> str:
    """The model type of an adapter's base model."""
    arguments = {name: download[name] for name in _DOWNLOAD_ARGUMENTS if name in download}
    try:
        return PreTrainedConfig.get_config_dict(base, **arguments)[0]["model_type"]
    except OSError as error:
        raise OSError(
            f"{adapter} is an adapter for the model {base}, which cannot be read. Put the model there, or set "
            "`base_model_name_or_path` in adapter_config.json to the folder or the Hub name of the model."
        ) from error


@contextlib.contextmanager
def _no_loading_report() -> Iterator[None]:
    """Suppress transformers' report on loaded weights, in which the head of the adapter counts as missing."""
    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)


def _check_base(model: AdapterLoadingMixin, base: str, info: dict[str, Any], modules_to_save: list[str]) -> set[str]:
    """
    Return the names of the weights that neither the base model nor the adapter has, and log them.

    Args:
        model: the model with the adapter.
        base: the name of the base model.
        info: the loading info of the base model, from `from_pretrained`.
        modules_to_save: ends of the names of the modules that the adapter contains.

    Raises:
        ValueError: weights of the encoder are among them.
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
