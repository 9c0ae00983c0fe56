# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""How to load a model: the code blocks of its card."""

import re
import shlex
from collections.abc import Mapping

from huggingface_hub import ModelCard, ModelCardData

from .markdown import fenced, inline_code


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


CLIPS, FRAMES, PRETRAINING = "audio-classification", "audio-frame-classification", "pretraining"


# The class that loads each kind of model that no pipeline is for, and what it gives
_LOADED_BY = {
    FRAMES: (
        "AutoModelForAudioFrameClassification",
        "logits = model(**inputs).logits[0]  # (frames, classes), in the order of model.config.id2label",
    ),
    PRETRAINING: ("AutoModel", "hidden_states = model(**inputs).last_hidden_state"),
}


SEVERAL_LABELS = "multi-label-classification"


USAGE_TITLE, DATA_TITLE = "## How to use", "## Data"


def card_on_hub(card: str, repo: str, base_model: str | None = None, examples: Mapping[str, str] | None = None) -> str:
    """
    A card of [`write_model_card`] as it is to stand on the Hub. The card of somebody else gets the examples only.

    Args:
        card: the text of `README.md`.
        repo: name of the model on the Hub, which stands in for the folder where the card tells how to load it.
        base_model: name on the Hub of the model that an adapter belongs to.
        examples: title -> address of clips that the Hub's page lets a visitor try.
    """
    whole = ModelCard(card)
    parts = re.fullmatch(rf"(.*\n{USAGE_TITLE}\n\n)(.*?)(\n\n{DATA_TITLE}\n.*)", whole.text, re.DOTALL)
    is_ours = parts is not None and "polyaudio" in (whole.data.tags or [])
    if not is_ours and not examples:
        return card
    if is_ours:
        before, usage, after = parts.groups()
        if base_model is not None:
            whole.data.base_model, whole.data.base_model_relation = base_model, "adapter"
        usage = "\n\n".join(usage_sections(repo, whole.data, has_code="trust_remote_code" in usage))
        whole.text = before + usage + after
    if examples:
        whole.data.widget = [{"example_title": title, "src": address} for title, address in examples.items()]
    return str(whole)


def usage_sections(name: str, data: ModelCardData, has_code: bool) -> list[str]:
    """How to load a model by its name or from its folder, with polyaudio and without."""
    # Where the Hub has an adapter, a pipeline would take its base's labels
    arguments = f"model={name!r}" + (f", config={name!r}" if data.library_name == "peft" else "")
    # Before 5.23 transformers takes softmax whatever the model is
    options = ', function_to_apply="sigmoid"' if SEVERAL_LABELS in data.tags else ""
    if CLIPS in data.tags:
        usages, words = (_CLIP_USAGE, _CLIP_USAGE_ANYWHERE), {"arguments": arguments, "options": options}
    else:
        auto_class, answer = next(_LOADED_BY[kind] for kind in _LOADED_BY if kind in data.tags)
        usages, words = (_MODEL_USAGE, _MODEL_USAGE_ANYWHERE), {"auto_class": auto_class, "answer": answer}
    here, anywhere = (fenced(usage.format(name=repr(name), **words), "python") for usage in usages)
    model = shlex.quote(name)
    if PRETRAINING in data.tags:
        embed = inline_code(f"polyaudio embed FILES... --model {model} --granularity utterance --output DIR")
        commands = f"{embed} writes features of audio files; `polyaudio train` can start from the model."
    else:
        commands = f"{inline_code(f'polyaudio predict FILES... --model {model}')} does the same for audio files."
    needed = "transformers, torch" + (", torchaudio and peft" if data.library_name == "peft" else " and torchaudio")
    elsewhere = [f"Where polyaudio is not installed, {needed} are enough, if you trust the code beside the weights:"]
    return [here, commands, *([*elsewhere, anywhere] if has_code else [])]
