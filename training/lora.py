# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""LoRA (https://arxiv.org/abs/2106.09685): small trained matrices beside the frozen weights of a classifier."""

import os
from collections.abc import Sequence
from pathlib import Path

from peft import LoraConfig, PeftModel
from peft.tuners.tuners_utils import BaseTunerLayer
from peft.utils import ModulesToSaveWrapper
from torch import nn
from transformers import (
    AutoConfig,
    AutoFeatureExtractor,
    AutoModelForAudioClassification,
    AutoModelForAudioFrameClassification,
    PreTrainedModel,
)

from ..integration.saving import PortableModelMixin, save_whole
from ..modeling.traits import traits_of


class LoraClassifier(PeftModel):
    """
    A `PeftModel` that saves `config.json` beside the adapter, in a Trainer's checkpoints too, and whole or not at all.

    The Auto classes and `pipeline` need it to load the adapter with its own labels instead of those of the base.
    """

    def save_pretrained(self, save_directory: str, *, is_main_process: bool = True, **kwargs) -> None:
        # peft would look up the base on the Hub at each save, for a vocabulary that may have grown
        kwargs = {"save_embedding_layers": False, **kwargs}
        save = super().save_pretrained
        if not is_main_process:
            save(save_directory, is_main_process=False, **kwargs)
            return

        def write(folder: Path) -> None:
            save(str(folder), **kwargs)
            (folder / "README.md").unlink()  # peft's, which is a form to be filled in
            model = self.get_base_model()
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
    The LoRA of a classifier: which modules are adapted, and which are trained and saved whole.

    Trained whole are the head (`classifier`, and the `fc_norm` before it where there is one) and batch normalisations,
    whose running statistics change in training whether their weights are frozen or not.

    Args:
        model: a SAMAudio or SSLAM classifier.
        modules: parts of the encoder to adapt: `attention`, `mlp` (SSLAM) or `convolutions` (SAMAudio).
        rank: of the matrices.
        alpha: the adapter is scaled by `alpha / rank`.
        dropout: before the adapter, in training.

    Raises:
        ValueError: for a part that the model does not have, or none at all.
    """
    model_type, parts = model.config.model_type, traits_of(model.config).lora_modules
    if not parts:
        raise ValueError(f"LoRA needs to know the modules of a model, and does not know those of type {model_type}.")
    unknown = [name for name in modules if name not in parts]
    if unknown or not modules:
        what = f"has no modules {unknown[0]!r}" if unknown else "needs modules to adapt"
        raise ValueError(f"LoRA of a model of type {model_type} {what}: choose among {' and '.join(parts)}.")
    trained_whole = ["classifier"]
    if isinstance(getattr(model, "fc_norm", None), nn.LayerNorm):
        trained_whole.append("fc_norm")
    trained_whole += [name for name, module in model.named_modules() if isinstance(module, nn.BatchNorm1d)]
    return LoraConfig(
        r=rank,
        lora_alpha=alpha,
        lora_dropout=dropout,
        target_modules=[target for name in dict.fromkeys(modules) for target in parts[name]],
        modules_to_save=trained_whole,
    )


def add_lora(model: PreTrainedModel, config: LoraConfig, base_model_name: str) -> LoraClassifier:
    """
    Freeze a classifier but for its LoRA and its head.

    Args:
        model: the classifier; it is changed in place.
        config: as [`lora_config`] makes it.
        base_model_name: the folder or Hub name that the model was loaded from, which the adapter will name as its
            base. A folder is named by its absolute path.

    Raises:
        ValueError: the model has an adapter already.
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
    Save a classifier with its adapter added to its weights, and its feature extractor: a model like any other.

    Args:
        adapter: folder or Hub name of the adapter.
        output: folder for the model.

    Raises:
        ValueError: there is no adapter.
    """
    is_frames = "Frame" in AutoConfig.from_pretrained(adapter).architectures[0]
    auto_class = AutoModelForAudioFrameClassification if is_frames else AutoModelForAudioClassification
    model = auto_class.from_pretrained(adapter)
    if not model._hf_peft_config_loaded:
        raise ValueError(f"{adapter} is no adapter that could be merged into its base.")
    for name, module in list(model.named_modules()):
        if isinstance(module, BaseTunerLayer):
            module.merge()
            model.set_submodule(name, module.get_base_layer())
        elif isinstance(module, ModulesToSaveWrapper):
            model.set_submodule(name, module.modules_to_save[module.active_adapters[0]])
    model._hf_peft_config_loaded = False
    model._weight_conversions = None  # of the adapter's names, which saving would undo
    del model.peft_config
    model.save_pretrained(output)
    AutoFeatureExtractor.from_pretrained(adapter).save_pretrained(output)


__all__ = ["LoraClassifier", "add_lora", "lora_config", "merge_adapter"]
