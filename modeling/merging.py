# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Adds the weights of adapters to those of their model."""

import copy
from importlib import import_module

from transformers import PreTrainedModel


def merged(model: PreTrainedModel) -> PreTrainedModel:
    """
    A copy of a model in which its active adapters are part of the weights. A model without adapters is copied as it
    is.

    Raises:
        ValueError: an adapter of this type cannot be merged.
    """
    model = copy.deepcopy(model)
    if not getattr(model, "_hf_peft_config_loaded", False):
        return model
    tuner_layer = import_module("peft.tuners.tuners_utils").BaseTunerLayer
    wrapper = import_module("peft.utils.other").AuxiliaryTrainingWrapper
    for name, module in list(model.named_modules()):
        if isinstance(module, tuner_layer):
            if not hasattr(module, "merge"):
                raise ValueError(f"An adapter of type {type(module).__name__} cannot be merged into its model.")
            module.merge(safe_merge=True)
            model.set_submodule(name, module.get_base_layer())
        elif isinstance(module, wrapper):
            (adapter,) = module.active_adapters
            model.set_submodule(name, module.modules_to_save[adapter])
    model._hf_peft_config_loaded = False
    model.peft_config = {}
    return model
