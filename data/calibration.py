# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""What the configuration of a classifier says about its scores: how they were calibrated, and which say nothing."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Calibration:
    """
    The calibration of a classifier, as `polyaudio calibrate` chose it.

    Args:
        temperature: what its logits were divided by. Its weights hold this, so nobody has to divide again.
        threshold: a recording whose highest score is lower belongs to none of the classes.
        false_refusals: the share of recordings of its classes for which that was allowed to be wrong.

    Raises:
        ValueError: a value is not a number, or outside its limits.
    """

    temperature: float
    threshold: float
    false_refusals: float

    def __post_init__(self):
        for name, value in vars(self).items():
            if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
                raise ValueError(f"`{name}` of `calibration` must be a number, got {value!r:.40}.")
        if self.temperature <= 0:
            raise ValueError(f"`temperature` of `calibration` must be above 0, got {self.temperature}.")
        for name in ("threshold", "false_refusals"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"`{name}` of `calibration` must be from 0 to 1, got {getattr(self, name)}.")

    @classmethod
    def from_config(cls, config: Any) -> "Calibration | None":
        """
        The calibration in the configuration of a model, or `None`: `config.calibration`, a dict as
        [`Calibration.to_dict`] returns it.

        Raises:
            ValueError: the dict has other keys or values.
        """
        settings = getattr(config, "calibration", None)
        if settings is None:
            return None
        names = list(cls.__dataclass_fields__)
        if not isinstance(settings, Mapping) or sorted(settings) != sorted(names):
            raise ValueError(f"`calibration` must be a dict with {', '.join(names)}. Calibrate the model again.")
        return cls(**settings)

    def to_dict(self) -> dict[str, float]:
        """The calibration as a dict for JSON."""
        return asdict(self)

    def refuses(self, score: float) -> bool:
        """Whether a recording with this highest score belongs to none of the classes."""
        return score < self.threshold
