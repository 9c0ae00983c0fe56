# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""The settings that all features in a folder have in common, as `embed.json` records them."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..integration.limits import read_json


def read_settings(path: Path) -> dict[str, Any]:
    """
    Read the settings of a folder of features, with the `root` of its audio.

    Raises:
        ValueError: the file is damaged.
    """
    try:
        kept = read_json(path)
        os.fspath(kept["root"]), kept["model"]
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(
            f"{path} is damaged, so nobody knows what the features in {path.parent} were computed with. Choose "
            "another output folder."
        ) from error
    return kept


def check_settings(folder: Path, kept: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    """
    Check that the features in a folder have the wanted settings. A model that was moved or renamed is the same.

    Raises:
        ValueError: they have others.
    """
    if kept.get("weights") != wanted["weights"]:
        raise ValueError(
            f"{folder} has features of other weights than {wanted['model']} has now: those of {kept['model']}, as it "
            "was then. Choose another output folder."
        )
    for name, value in wanted.items():
        if name not in ("model", "weights", "root") and kept.get(name) != value:
            raise ValueError(
                f"{folder} has features with {name}={kept.get(name)} instead of {value}. Choose another output folder."
            )
