# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""The check of a Trainer's checkpoint before a run continues from it."""

import fnmatch
import os
from pathlib import Path

from safetensors import SafetensorError, safe_open

from ..modeling.checkpoint_io import read_torch_checkpoint


# Files of a Trainer that are pickles. It reads them without running code, but into as much memory as they ask for.
_PICKLES = ("optimizer.pt", "scheduler.pt", "scaler.pt", "rng_state*.pth")


def check_checkpoint(folder: str | os.PathLike) -> None:
    """
    Check the weights and the states in a checkpoint folder, which can be damaged, or come from a stranger.

    Raises:
        ValueError: a file is damaged, contains other objects than tensors and numbers, or is larger when it is read.
    """
    for path in sorted(Path(folder).iterdir()):
        try:
            if path.suffix == ".safetensors":
                with safe_open(path, "pt"):  # compares the header with the size of the file
                    pass
            elif any(fnmatch.fnmatch(path.name, pattern) for pattern in _PICKLES):
                read_torch_checkpoint(path, arrays=True)
        except (ValueError, SafetensorError) as error:
            raise ValueError(
                f"The run cannot continue from {folder}: {path.name} is damaged or unsafe ({error}). Remove this "
                "folder, and the run continues from the checkpoint before it."
            ) from error
