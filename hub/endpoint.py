# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""What lets a Hugging Face Inference Endpoint run the model of a repository."""

from pathlib import Path

from ..integration.limits import read_json
from ..integration.registry import MODEL_TYPES
from .requirements import package_requirements


# What endpoint_handler.py and the code that is saved with models import
_NEEDED = ("transformers", "torch", "torchaudio", "numpy", "soundfile")


def endpoint_files(folder: Path) -> dict[str, bytes]:
    """
    The files that a repository needs beside the model: `handler.py` and `requirements.txt`.

    Args:
        folder: the model's folder.

    Raises:
        ValueError: the folder holds no classifier, or no code that loads it without polyaudio.
    """
    is_adapter = (folder / "adapter_config.json").is_file()
    config = read_json(folder / "config.json") if (folder / "config.json").is_file() else {}
    names = config.get("architectures") or []
    if not any(name.endswith(("ForAudioClassification", "ForAudioFrameClassification")) for name in names):
        raise ValueError(f"{folder} holds no classifier. An endpoint needs one, so leave out --endpoint.")
    if config.get("model_type") in MODEL_TYPES and not config.get("auto_map"):
        raise ValueError(
            f"{folder} holds no code, so an endpoint could not load the model. Save it again, without "
            "POLYAUDIO_SAVE_CODE=0."
        )
    requirements = package_requirements()
    needed = [requirements[name] for name in (*_NEEDED, *(["peft"] if is_adapter else []))]
    return {
        "handler.py": Path(__file__).with_name("endpoint_handler.py").read_bytes(),
        "requirements.txt": "".join(f"{line}\n" for line in needed).encode(),
    }
