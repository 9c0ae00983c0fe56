# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""The largest sizes of configurations and feature extractors: no real model comes near, and nobody gets beyond."""

import json

import pytest
import torch
from transformers.activations import ACT2FN

from polyaudio import (
    EATConfig,
    SAMAudioConfig,
    SAMAudioFeatureExtractor,
    SSLAMConfig,
    SSLAMFeatureExtractor,
    SSLAMForAudioClassification,
    SSLAMModel,
)
from polyaudio.integration.limits import SIZES, read_json


CLASSES = (SAMAudioConfig, SSLAMConfig, SAMAudioFeatureExtractor, SSLAMFeatureExtractor)
SETTINGS = [(cls, name) for cls in CLASSES for name in SIZES if name in cls().to_dict() or name == "num_labels"]
SETTINGS = [(cls, name) for cls, name in SETTINGS if name != "num_labels" or cls in CLASSES[:2]]


@pytest.mark.parametrize(("cls", "name"), SETTINGS)
def test_no_size_is_beyond_its_limits(cls, name):
    smallest, largest = SIZES[name]
    count = len(getattr(cls(), name)) if name.startswith("conv_") else None
    for value in (largest + 1, 10**9, 10**30, smallest - 1, 2.5, "3", True):
        with pytest.raises(Exception, match=f"`({name}|hidden_size)` must be|Field '{name}'"):
            cls(**{name: value if count is None else [value] * count})


def test_every_size_of_a_configuration_has_limits():
    """A new integer in a configuration needs an entry, or a reason."""
    no_sizes = {"ema_anneal_end_step"}
    for config_class in (SAMAudioConfig, SSLAMConfig):
        fields = config_class.__annotations__
        sizes = {name for name, kind in fields.items() if kind in (int, int | None, list[int] | tuple[int, ...])}
        assert len(sizes) > 8
        assert sizes - no_sizes <= SIZES.keys()


def test_real_models_are_far_below():
    """ViT-Large and twice of it, two minutes of sound, and all classes of AudioSet."""
    config = SSLAMConfig(hidden_size=2048, num_hidden_layers=48, num_attention_heads=32, intermediate_size=8192)
    assert SSLAMConfig(**{**config.to_diff_dict(), "num_labels": 20_000}).num_labels == 20_000
    SSLAMFeatureExtractor(sampling_rate=96_000, max_length=12_288)
    SAMAudioFeatureExtractor("tonic_chroma", 120, sampling_rate=192_000, n_fft=32_768)


@pytest.mark.parametrize("ratio", ["4", None, [4], float("nan"), float("inf"), 10**9, -1])
def test_the_width_of_a_published_model(ratio):
    with pytest.raises(ValueError, match="mlp_ratio"):
        EATConfig.from_dict({"embed_dim": 768, "mlp_ratio": ratio})
    with pytest.raises(ValueError, match="hidden_size"):
        EATConfig.from_dict({"embed_dim": "a" * 100, "mlp_ratio": 4.0})


def test_every_activation_that_is_allowed_exists():
    for name in ("gelu", "relu", "silu", "prelu", "gelu_10"):
        assert SSLAMConfig(hidden_act=name).hidden_act in ACT2FN
    with pytest.raises(ValueError, match="`hidden_act` must be one of"):
        SSLAMConfig(hidden_act="xielu")


def test_a_file_does_not_choose_the_attention(tmp_path):
    """It could name a kernel, which is code that transformers downloads."""
    SSLAMConfig().save_pretrained(tmp_path)
    content = {**json.loads((tmp_path / "config.json").read_text()), "attn_implementation": "evil/kernel"}
    (tmp_path / "config.json").write_text(json.dumps(content))
    assert SSLAMConfig.from_pretrained(tmp_path)._attn_implementation is None
    assert SSLAMConfig.from_pretrained(tmp_path, attn_implementation="eager")._attn_implementation == "eager"


def test_weights_that_are_missing_are_not_made_in_gigabytes(tmp_path):
    """Each size is allowed, and the memory that they need together follows from the file of the weights."""
    small = SSLAMConfig(hidden_size=32, num_hidden_layers=1, num_attention_heads=4, intermediate_size=64)
    SSLAMForAudioClassification(small).save_pretrained(tmp_path)
    large = SSLAMConfig(hidden_size=4096, num_hidden_layers=48, num_attention_heads=32, intermediate_size=16_384)
    with pytest.raises(ValueError, match="but the checkpoint has only"):
        SSLAMModel.from_pretrained(tmp_path, config=large, ignore_mismatched_sizes=True)
    wider = SSLAMConfig(hidden_size=64, num_hidden_layers=1, num_attention_heads=4, intermediate_size=64)
    model = SSLAMModel.from_pretrained(tmp_path, config=wider, ignore_mismatched_sizes=True)
    assert model.layers[0].mlp.fc1.weight.shape == torch.Size([64, 64])


def test_json_of_strangers(tmp_path):
    path = tmp_path / "config.json"
    for content, message in (
        ("[" * 100_000, "nested too deeply"),
        ('{"a": "' + "x" * 2**24 + '"}', "no JSON file of a model is larger"),
        ("[1]", "must contain a JSON object"),
        ("{", "not valid JSON"),
    ):
        path.write_text(content)
        with pytest.raises(ValueError, match=message):
            read_json(path)
        with pytest.raises(ValueError, match=message):
            SSLAMConfig.from_pretrained(tmp_path)
