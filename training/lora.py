# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""LoRA (https://arxiv.org/abs/2106.09685): adapters that train small matrices instead of the weights of a model."""

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

from peft import LoraConfig, PeftModel
from peft.tuners.tuners_utils import BaseTunerLayer
from peft.utils import ModulesToSaveWrapper
from torch import nn
from transformers import (
    AutoModelForAudioClassification,
    AutoModelForAudioFrameClassification,
    PreTrainedModel,
)

from ..integration.saving import PortableModelMixin, save_whole
from ..modeling.loading import labels_frames, load_config, load_feature_extractor, load_model
from ..modeling.traits import traits_of


class LoraClassifier(PeftModel):
    """
    A `PeftModel` that also saves `config.json`. A save that fails leaves no incomplete folder.

    The Auto classes and `pipeline` need `config.json` to load the adapter with its own labels instead of those of the
    base model.
    """

    def save_pretrained(self, save_directory: str, *args: Any, **kwargs: Any) -> None:
        # PEFT would look up the base model on the Hub at each save, to find out whether its vocabulary has grown
        kwargs = {"save_embedding_layers": False, **kwargs}
        save = super().save_pretrained
        if not kwargs.get("is_main_process", True):
            save(save_directory, *args, **kwargs)
            return

        def write(folder: Path) -> None:
            save(str(folder), *args, **kwargs)
            (folder / "README.md").unlink()  # PEFT's template of a model card
            model = cast(PreTrainedModel, self.get_base_model())  # PEFT annotates it as a plain module
            if isinstance(model, PortableModelMixin):
                model.save_code(folder)
            model.config.architectures = [type(model).__name__]
            model.config.save_pretrained(folder)

        save_whole(save_directory, write)


def lora_config(
    model: PreTrainedModel,
    modules: Sequence[str] = ("attention",),
    rank: int = 8,
    alpha: int = 16,
    dropout: float = 0.0,
) -> LoraConfig:
    """
    The LoRA configuration of a classifier.

    The head (`classifier`, and the `fc_norm` before it if there is one) is trained and saved as a whole. So are batch
    normalisations, because their running statistics change in training even if their weights are frozen. Of a
    SAMAudio model over another encoder, that encoder is adapted, and the segment layers are trained as a whole.

    Args:
        model: a SAMAudio or SSLAM classifier.
        modules: parts of the encoder to adapt: `attention`, `mlp` (SSLAM and others) or `convolutions` (SAMAudio).
        rank: rank of the matrices.
        alpha: the adapter is scaled by `alpha / rank`.
        dropout: dropout of the input of the adapter, in training.

    Raises:
        ValueError: `modules` is empty or has a part that the model does not have, or polyaudio does not know the parts
            of models of this type.
    """
    traits = traits_of(model.config)
    model_type, parts = traits.input_config(model.config).model_type, traits.lora_modules
    if not parts:
        raise ValueError(f"polyaudio does not know which modules of a model of type {model_type} LoRA can adapt.")
    unknown = [name for name in modules if name not in parts]
    if unknown or not modules:
        what = f"has no modules {unknown[0]!r}" if unknown else "needs modules to adapt"
        raise ValueError(f"LoRA for a model of type {model_type} {what}. Choose from {' and '.join(parts)}.")
    trained_whole = ["classifier"]
    if isinstance(getattr(model, "fc_norm", None), nn.LayerNorm):
        trained_whole.append("fc_norm")
    trained_whole += [name for name, module in model.named_modules() if isinstance(module, nn.BatchNorm1d)]
    targets: list[str] | str = [target for name in dict.fromkeys(modules) for target in parts[name]]
    if traits.inner_encoder is not None:
        encoder = f"{model.base_model_prefix}.{traits.inner_encoder}"
        targets = rf"{re.escape(encoder)}\.(.*\.)?({'|'.join(targets)})"
        trained_whole += _modules_beside(model, encoder)
    return LoraConfig(
        r=rank,
        lora_alpha=alpha,
        lora_dropout=dropout,
        target_modules=targets,
        modules_to_save=trained_whole,
    )


def _modules_beside(model: PreTrainedModel, encoder: str) -> list[str]:
    """The names of the largest modules with weights beside an encoder and `classifier`. PEFT takes no `ModuleList`."""
    names: list[str] = []
    for name, module in model.named_modules():
        holds_encoder = f"{encoder}.".startswith(f"{name}." if name else "")
        is_part = any(name.startswith(f"{other}.") for other in [encoder, "classifier", *names])
        has_weights = next(module.parameters(), None) is not None
        if has_weights and not (holds_encoder or is_part or name == "classifier" or isinstance(module, nn.ModuleList)):
            names.append(name)
    return names


def add_lora(model: PreTrainedModel, config: LoraConfig, base_model_name: str) -> LoraClassifier:
    """
    Add a LoRA adapter to a classifier. Only the adapter and the head are trained then.

    Args:
        model: the classifier; it is changed in place.
        config: the result of [`lora_config`]; `base_model_name_or_path` is set in it.
        base_model_name: the folder or Hub name that the model was loaded from, which is saved with the adapter. Of a
            folder, the absolute path is saved.

    Raises:
        ValueError: the model already has an adapter.
    """
    if model._hf_peft_config_loaded:
        raise ValueError(
            f"{base_model_name} is an adapter itself. Merge it into its base first: polyaudio.training.lora."
            f"merge_adapter({base_model_name!r}, 'merged')."
        )
    is_folder = os.path.isdir(base_model_name)
    config.base_model_name_or_path = os.path.abspath(base_model_name) if is_folder else base_model_name
    return LoraClassifier(model, config)


def merge_adapter(adapter: str | os.PathLike, output: str | os.PathLike) -> None:
    """
    Merge an adapter into the weights of its classifier, and save the classifier and its feature extractor.

    Args:
        adapter: folder or Hub name of the adapter.
        output: folder for the model.

    Raises:
        ValueError: `adapter` is not an adapter.
    """
    adapter_name = os.fspath(adapter)
    config = load_config(adapter_name)
    auto_class = AutoModelForAudioFrameClassification if labels_frames(config) else AutoModelForAudioClassification
    model: Any = load_model(auto_class, adapter_name)[0]
    if not model._hf_peft_config_loaded:
        raise ValueError(f"{adapter} is not an adapter.")
    for name, module in list(model.named_modules()):
        if isinstance(module, BaseTunerLayer):
            module.merge()
            model.set_submodule(name, module.get_base_layer())
        elif isinstance(module, ModulesToSaveWrapper):
            model.set_submodule(name, module.modules_to_save[module.active_adapters[0]])
    model._hf_peft_config_loaded = False
    model._weight_conversions = None  # saving would restore the names of the adapter
    del model.peft_config
    model.save_pretrained(output)
    load_feature_extractor(adapter_name, config).save_pretrained(output)


__all__ = ["LoraClassifier", "add_lora", "lora_config", "merge_adapter"]
