# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""What moved since 0.1 still imports from where it was, with a warning that says where it is now. 0.3 drops this."""

import importlib
import sys
import warnings
from collections.abc import Callable, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any


_PACKAGE = "polyaudio"

# A module of 0.1 -> the modules that have its names now. All are below `polyaudio`.
MODULES = {
    "modeling.adapters": ("integration.adapters",),
    "registration": ("integration.registration",),
    "saving": ("integration.saving",),
    "scripts.augmentations": ("augmentation.arguments",),
    "scripts.batches": ("inference.clip_reader", "inference.files"),
    "scripts.loading": (
        "modeling.loading",
        "scripts.options",
        "scripts.dataset_options",
        "data.readable",
        "training.runs",
    ),
    "scripts.recipe": ("training.recipes", "training.arguments", "augmentation.arguments"),
    "scripts.scoring": ("evaluation.classifier", "modeling.inputs"),
    "scripts.training_data": ("training.divisions",),
    "training.audio": ("data.audio",),
    "training.augmentation": ("augmentation.waveforms", "augmentation.batches"),
    "training.building": ("curation.chunks",),
    "training.clips": ("data.windows", "data.streams", "data.collators"),
    "training.data": ("data.loading", "data.readable", "data.audio"),
    "training.features": ("data.cached_features", "data.collators"),
    "training.inspection": ("curation.inspection", "curation.inspection_plots"),
    "training.interrupts": ("training.runs",),
    "training.intervals": ("evaluation.intervals",),
    "training.labels": ("data.labels", "data.events", "data.targets"),
    "training.leak_check": ("curation.leaks", "data.readable"),
    "training.leaks": ("curation.overlaps", "curation.comparison"),
    "training.metrics": ("evaluation.metrics", "evaluation.measures"),
    "training.mixtures": ("curation.mixtures",),
    "training.model_card": ("hub.model_card", "hub.usage"),
    "training.probe": ("evaluation.probe", "evaluation.probe_kinds"),
    "training.ragas": ("data.ragas", "data.ragas.instruments"),
    "training.report": (
        "evaluation.scores",
        "evaluation.tables",
        "evaluation.writing",
        "evaluation.summary",
        "evaluation.plots",
    ),
    "training.sampling": ("data.sampling",),
    "training.sound_events": ("evaluation.sound_events", "evaluation.plots", "data.events"),
    "training.splits": ("data.splits",),
    "training.statistics": ("curation.statistics",),
}

# The names that left modules which are still there -> the modules that have them now
NAMES = {
    "training.pretraining": {"CollapseError": "training.pretrainer"},
    "training.trainer": {"AudioTrainingArguments": "training.arguments"},
}


def find_moved_modules() -> None:
    """Let the modules of 0.1 be imported. Python asks for them only when it has found nothing else of that name."""
    sys.meta_path.append(_MovedModules())


def getter_of_moved_names(module: str) -> Callable[[str], Any]:
    """The `__getattr__` of a module for the names that left it."""
    places = NAMES[module.removeprefix(f"{_PACKAGE}.")]

    def get(name: str) -> Any:
        if name not in places:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        _warn(f"{module}.{name}", [places[name]], stacklevel=3)
        return getattr(_import(places[name]), name)

    return get


class _MovedModules(MetaPathFinder, Loader):
    """Finds and fills modules that have the names of others."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        package, _, old = name.partition(".")
        return ModuleSpec(name, self) if package == _PACKAGE and old in MODULES else None

    def create_module(self, spec: ModuleSpec) -> None:
        """Python creates it."""

    def exec_module(self, module: ModuleType) -> None:
        places = MODULES[module.__name__.removeprefix(f"{_PACKAGE}.")]
        _warn(module.__name__, places, stacklevel=3)
        for place in reversed(places):  # of two modules with a name, the first is the one that 0.1 had
            module.__dict__.update({name: value for name, value in vars(_import(place)).items() if name[0] != "_"})


def _import(place: str) -> ModuleType:
    return importlib.import_module(f"{_PACKAGE}.{place}")


def _warn(old: str, places: Sequence[str], stacklevel: int) -> None:
    new = " or ".join(f"{_PACKAGE}.{place}" for place in places)
    message = f"{old} has moved: import from {new}. This path works until polyaudio 0.3; see docs/upgrading.md."
    warnings.warn(message, FutureWarning, stacklevel=stacklevel)
