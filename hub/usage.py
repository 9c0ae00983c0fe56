# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""The part of a model card that shows how to load the model."""

import re
import shlex
from collections.abc import Mapping
from typing import cast

from huggingface_hub import ModelCard, ModelCardData

from .markdown import fenced, inline_code


# Tags of cards: what a model is for
CLIPS, FRAMES, PRETRAINING = "audio-classification", "audio-frame-classification", "pretraining"
SEVERAL_LABELS = "multi-label-classification"

# Titles of the part that shows how to load the model, and of the part after it
USAGE_TITLE, DATA_TITLE = "## How to use", "## Data"

_CLIP_USAGE = """\
import polyaudio
from transformers import pipeline

classify = pipeline("audio-classification", {arguments})
sampling_rate = classify.feature_extractor.sampling_rate
waveform = polyaudio.load_audio("recording.wav", sampling_rate=sampling_rate)
classify({{"array": waveform, "sampling_rate": sampling_rate}}{options})"""

_CLIP_USAGE_ANYWHERE = """\
from transformers import pipeline

classify = pipeline("audio-classification", {arguments}, trust_remote_code=True)
classify({{"array": waveform, "sampling_rate": sampling_rate}}{options})  # one channel, as a NumPy array"""

_MODEL_USAGE = """\
import polyaudio
import torch
from transformers import AutoFeatureExtractor, {auto_class}

feature_extractor = AutoFeatureExtractor.from_pretrained({name})
model = {auto_class}.from_pretrained({name}).eval()
sampling_rate = feature_extractor.sampling_rate
waveform = polyaudio.load_audio("recording.wav", sampling_rate=sampling_rate)
inputs = feature_extractor(waveform, sampling_rate=sampling_rate, return_tensors="pt")
with torch.inference_mode():
    {answer}"""

_MODEL_USAGE_ANYWHERE = """\
import torch
from transformers import AutoFeatureExtractor, {auto_class}

feature_extractor = AutoFeatureExtractor.from_pretrained({name}, trust_remote_code=True)
model = {auto_class}.from_pretrained({name}, trust_remote_code=True).eval()
# One channel, as a NumPy array, at the model's rate: feature_extractor.sampling_rate
inputs = feature_extractor(waveform, sampling_rate=sampling_rate, return_tensors="pt")
with torch.inference_mode():
    {answer}"""

# For models without a pipeline: the class that loads them, and the line that computes their output
_LOADED_BY = {
    FRAMES: (
        "AutoModelForAudioFrameClassification",
        "logits = model(**inputs).logits[0]  # (frames, classes), in the order of model.config.id2label",
    ),
    PRETRAINING: ("AutoModel", "hidden_states = model(**inputs).last_hidden_state"),
}


def card_on_hub(card: str, repo: str, base_model: str | None = None, examples: Mapping[str, str] | None = None) -> str:
    """
    The card of a model as it appears on the Hub.

    In a card of [`write_model_card`] or [`write_pretraining_card`], the code that loads the model names the repository
    instead of the folder. Other cards only get the examples.

    Args:
        card: the text of `README.md`.
        repo: name of the model on the Hub.
        base_model: name on the Hub of an adapter's base model.
        examples: for each title the URL of a clip that visitors can try on the model's page.
    """
    whole = ModelCard(card)
    data = cast(ModelCardData, whole.data)  # a `ModelCard` parses its metadata into this class
    parts = re.fullmatch(rf"(.*\n{USAGE_TITLE}\n\n)(.*?)(\n\n{DATA_TITLE}\n.*)", whole.text, re.DOTALL)
    if parts is not None and "polyaudio" not in (data.tags or []):
        parts = None  # the card of another library
    if parts is None and not examples:
        return card
    if parts is not None:
        before, usage, after = parts.groups()
        if base_model is not None:
            data["base_model"], data["base_model_relation"] = base_model, "adapter"
        usage = "\n\n".join(usage_sections(repo, data, has_code="trust_remote_code" in usage))
        whole.text = before + usage + after
    if examples:
        data["widget"] = [{"example_title": title, "src": address} for title, address in examples.items()]
    return str(whole)


def usage_sections(name: str, data: ModelCardData, has_code: bool) -> list[str]:
    """How to load a model by its Hub name or from its folder, with polyaudio and without it."""
    tags = data.tags or []
    # For an adapter on the Hub, a pipeline would take the labels of the base model
    arguments = f"model={name!r}" + (f", config={name!r}" if data.library_name == "peft" else "")
    # Before transformers 5.23 the pipeline applies softmax to every model
    options = ', function_to_apply="sigmoid"' if SEVERAL_LABELS in tags else ""
    if CLIPS in tags:
        usages, words = (_CLIP_USAGE, _CLIP_USAGE_ANYWHERE), {"arguments": arguments, "options": options}
    else:
        auto_class, answer = next(_LOADED_BY[kind] for kind in _LOADED_BY if kind in tags)
        usages, words = (_MODEL_USAGE, _MODEL_USAGE_ANYWHERE), {"auto_class": auto_class, "answer": answer}
    here, anywhere = (fenced(usage.format(name=repr(name), **words), "python") for usage in usages)
    model = shlex.quote(name)
    if PRETRAINING in tags:
        embed = inline_code(f"polyaudio embed FILES... --model {model} --granularity utterance --output DIR")
        commands = f"{embed} writes features of audio files. `polyaudio train` can start from this model."
    else:
        commands = f"{inline_code(f'polyaudio predict FILES... --model {model}')} does the same for audio files."
    needed = "transformers, torch" + (", torchaudio and peft" if data.library_name == "peft" else " and torchaudio")
    elsewhere = [f"Without polyaudio, {needed} are enough, if you trust the code that comes with the weights:"]
    return [here, commands, *([*elsewhere, anywhere] if has_code else [])]
