# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""The features of SSLAM: those of the original, for any batch, and the manners of a transformers feature extractor."""

import json
import math

import numpy as np
import pytest
import torch
import torchaudio.compliance.kaldi as kaldi
from safetensors import safe_open
from transformers import AutoFeatureExtractor

from polyaudio import SSLAMFeatureExtractor
from polyaudio.feature_extraction import feature_extraction_sslam


GOLDEN_CASES = [
    "noise_0.03s",
    "tones_dc_0.5s",
    "chirp_1.0s",
    "half_silent_3.7s",
    "mix_10.0s",
    "am_noise_12.3s",
    "short_target_1.0s",
    "esc50_stats_0.5s",
    "resample_32k_1.5s",
    "resample_44k1_0.7s",
    "clip_wav",
]
# The value of a padded frame: zero, normalised.
SILENCE = 4.268 / (2 * 4.569)


def waveform(num_samples: int, seed: int = 0) -> torch.Tensor:
    return 0.1 * torch.randn(num_samples, generator=torch.Generator().manual_seed(seed))


def extract(audio, extractor: SSLAMFeatureExtractor | None = None, **kwargs):
    kwargs = {"sampling_rate": 16000, "return_tensors": "pt", **kwargs}
    return (extractor or SSLAMFeatureExtractor())(audio, **kwargs)


def unnormalized(features: torch.Tensor, extractor: SSLAMFeatureExtractor) -> torch.Tensor:
    """The log-mel energies that were normalised."""
    return features * 2 * extractor.std + extractor.mean


def assert_features_of_the_original(reference, assert_same_energies, case: str, change=None) -> None:
    """
    Args:
        reference, assert_same_energies: the fixtures.
        case: one of `GOLDEN_CASES`.
        change: is called with the extractor before it is used.
    """
    settings = json.loads((reference / "sslam" / "fbank.json").read_text())["cases"][case]
    with safe_open(reference / "sslam" / "fbank.safetensors", "pt") as golden:
        resampled = f"{case}.resampled"
        audio = golden.get_tensor(resampled if settings["sample_rate"] != 16000 else f"{case}.waveform_int16")
        expected = golden.get_tensor(f"{case}.input_values").view(settings["target_length"], -1)
    names = {"mean", "std"} & settings.keys()
    extractor = SSLAMFeatureExtractor(**{name: settings[name] for name in names})
    if change is not None:
        change(extractor)
    (features,) = extract(audio, extractor, max_length=settings["target_length"], truncation=True)["input_values"]
    assert features.shape == expected.shape
    num_frames = settings["num_frames"]
    assert_same_energies(*(unnormalized(values[:num_frames], extractor) for values in (features, expected)))
    torch.testing.assert_close(features[num_frames:], expected[num_frames:])


@pytest.mark.parametrize("case", GOLDEN_CASES)
def test_features_are_those_of_the_original(reference, assert_same_energies, case):
    assert_features_of_the_original(reference, assert_same_energies, case)


def use_a_periodic_window(extractor: SSLAMFeatureExtractor) -> None:
    """That of one sample more, without its last sample."""
    extractor.window = torch.hann_window(extractor.window_length)


@pytest.mark.parametrize("case", GOLDEN_CASES)
def test_the_comparison_notices_another_window(reference, assert_same_energies, case):
    with pytest.raises(AssertionError, match="not close"):
        assert_features_of_the_original(reference, assert_same_energies, case, use_a_periodic_window)


@pytest.mark.parametrize("case", GOLDEN_CASES)
def test_the_comparison_notices_filters_that_are_shifted_by_a_bin(reference, assert_same_energies, case, monkeypatch):
    filters = feature_extraction_sslam.kaldi_mel_filters
    monkeypatch.setattr(feature_extraction_sslam, "kaldi_mel_filters", lambda *sizes: filters(*sizes).roll(1, dims=0))
    with pytest.raises(AssertionError, match="not close"):
        assert_features_of_the_original(reference, assert_same_energies, case)


@pytest.mark.parametrize("num_samples", [400, 559, 560, 16000, 163999, 200001])
def test_features_are_those_of_torchaudio(num_samples, assert_same_energies):
    audio = waveform(num_samples) + 0.3
    expected = kaldi.fbank((audio - audio.mean())[None], window_type="hanning", num_mel_bins=128)
    extractor = SSLAMFeatureExtractor()
    features = extract(audio, extractor, padding=False, truncation=False)["input_values"][0]
    assert features.shape == expected.shape
    assert_same_energies(unnormalized(features, extractor), expected)


def test_a_batch_of_any_lengths_gives_what_its_clips_give_alone():
    clips = [waveform(n, seed=n) + 0.2 for n in (160, 399, 401, 16000, 40000, 170000)]
    for settings in (
        {"padding": "max_length", "mask_padding": True},
        {"padding": True},
        {"padding": True, "pad_to_multiple_of": 16},
    ):
        batch = extract(clips, return_attention_mask=True, **settings)
        for features, mask, clip in zip(batch["input_values"], batch["attention_mask"], clips, strict=True):
            alone = extract(clip, padding=False)["input_values"][0]
            torch.testing.assert_close(features[: len(alone)], alone, atol=1e-4, rtol=0)
            assert mask.tolist() == [1] * len(alone) + [0] * (len(mask) - len(alone))
            torch.testing.assert_close(features[len(alone) :], torch.full_like(features[len(alone) :], SILENCE))


@pytest.mark.parametrize("kind", ["list", "numpy", "float64", "int16", "torch", "list of numpy", "list of torch"])
def test_kinds_of_input_agree(kind):
    pcm = (waveform(8000) * 32767).clamp(-32768, 32767).to(torch.int16)
    audio = pcm / 2**15
    inputs = {
        "list": audio.tolist(),
        "numpy": audio.numpy(),
        "float64": audio.double().numpy(),
        "int16": pcm.numpy(),
        "torch": audio,
        "list of numpy": [audio.numpy()],
        "list of torch": [audio],
    }
    before = audio.clone()
    features = extract(inputs[kind])["input_values"]
    torch.testing.assert_close(features, extract(audio[None])["input_values"], atol=1e-5, rtol=0)
    assert torch.equal(audio, before), "the caller's audio was changed"


@pytest.mark.parametrize(
    ("settings", "lengths"),
    [
        ({}, [1024, 1024, 1024]),
        ({"max_length": 50, "truncation": True}, [50, 50, 50]),
        ({"max_length": 50, "truncation": True, "pad_to_multiple_of": 16}, [64, 64, 64]),
        ({"padding": True}, [498, 498, 498]),
        ({"padding": "longest", "max_length": 120, "truncation": True}, [120, 120, 120]),
        ({"padding": True, "pad_to_multiple_of": 16}, [512, 512, 512]),
        ({"padding": False}, [48, 98, 498]),
        ({"padding": False, "max_length": 60, "truncation": True}, [48, 60, 60]),
        ({"max_length": 60}, [498, 498, 498]),
    ],
)
def test_padding_and_truncation(settings, lengths):
    clips = [waveform(n) for n in (8000, 16000, 80000)]
    inputs = extract(clips, return_tensors=None, mask_padding=True, **settings)
    assert [len(features) for features in inputs["input_values"]] == lengths
    assert [len(mask) for mask in inputs["attention_mask"]] == lengths
    kept = [min(n, length) for n, length in zip((48, 98, 498), lengths, strict=True)]
    assert [int(mask.sum()) for mask in inputs["attention_mask"]] == kept
    for values in inputs.values():
        assert isinstance(values, list)
        assert all(isinstance(row, np.ndarray) for row in values)


def test_the_mask_says_what_the_model_hears():
    short, long = waveform(8000), waveform(200_000)  # 48 and 1248 frames
    hears = SSLAMFeatureExtractor()
    assert extract(short, hears)["attention_mask"].sum(1).tolist() == [1024]
    assert extract([short, long], hears)["attention_mask"].sum(1).tolist() == [1024, 1248]
    assert extract([short, long], hears, mask_padding=[True, True])["attention_mask"].sum(1).tolist() == [48, 1248]
    assert extract([short, long], hears, padding=True)["attention_mask"].sum(1).tolist() == [48, 1248]
    masks = SSLAMFeatureExtractor(mask_padding=True)
    assert extract(short, masks)["input_values"].shape == (1, 48, 128)
    assert extract([short, long], masks)["attention_mask"].sum(1).tolist() == [48, 1248]
    assert set(extract(short, hears, return_attention_mask=False)) == {"input_values"}


def test_the_padding_value_is_that_of_every_padding():
    short, long = waveform(8000), waveform(80_000)
    for extractor in (SSLAMFeatureExtractor(mask_padding=True), SSLAMFeatureExtractor(mean=-6.6, mask_padding=True)):
        together = extract([short, long], extractor)
        alone = [extract(clip, extractor, return_tensors=None) for clip in (short, long)]
        alone = [{name: values[0] for name, values in inputs.items()} for inputs in alone]
        padded = extractor.pad(alone, return_tensors="pt")
        torch.testing.assert_close(padded["input_values"], together["input_values"])
        assert torch.equal(padded["attention_mask"], together["attention_mask"])


@pytest.mark.parametrize("masks", [False, True])
def test_files_of_the_first_version_keep_their_meaning(tmp_path, masks):
    settings = {"padding_value": 0.0, "mean": -6.627, "std": 5.359, "max_length": 512, "return_attention_mask": masks}
    settings |= {"feature_extractor_type": "SSLAMFeatureExtractor", "feature_size": 128, "sampling_rate": 16000}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(settings))
    extractor = SSLAMFeatureExtractor.from_pretrained(tmp_path)
    assert extractor.mask_padding == masks
    assert extractor.return_attention_mask
    assert extractor.padding_value == pytest.approx(6.627 / (2 * 5.359))
    extractor.save_pretrained(tmp_path)
    assert SSLAMFeatureExtractor.from_pretrained(tmp_path).to_dict() == extractor.to_dict()


def test_a_clip_shorter_than_a_window_is_padded_with_silence():
    short = waveform(300) + 0.5
    padded = torch.nn.functional.pad(short - short.mean(), (0, 100))
    features = extract(short, padding=False)["input_values"]
    assert features.shape == (1, 1, 128)
    torch.testing.assert_close(features, extract(padded, padding=False)["input_values"], atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    ("audio", "settings", "message"),
    [
        (np.zeros(0, np.float32), {}, "no samples"),
        ([], {}, "no clip"),
        (np.full(800, np.nan, np.float32), {}, "NaN"),
        (np.zeros((2, 3, 800), np.float32), {}, "mono"),
        (np.zeros(800, np.float32), {"sampling_rate": 44100}, "44100"),
        ([np.zeros(800, np.float32), np.zeros(1600, np.float32)], {"padding": False}, "do not fit into one tensor"),
    ],
)
def test_errors_say_what_is_wrong(audio, settings, message):
    with pytest.raises(ValueError, match=message):
        extract(audio, **settings)


def test_padding_on_the_left_is_refused():
    with pytest.raises(ValueError, match="right"):
        SSLAMFeatureExtractor(padding_side="left")


def test_saved_extractors_load_as_they_were(tmp_path):
    extractor = SSLAMFeatureExtractor(mean=-6.627, std=5.359, max_length=512, mask_padding=True)
    extractor.save_pretrained(tmp_path)
    saved = json.loads((tmp_path / "preprocessor_config.json").read_text())
    assert not {"window", "mel_filters", "filter_groups"} & saved.keys()
    loaded = AutoFeatureExtractor.from_pretrained(tmp_path)
    assert type(loaded) is SSLAMFeatureExtractor
    assert loaded.to_dict() == extractor.to_dict()
    audio = waveform(16000)
    for name, values in extract(audio, extractor).items():
        assert torch.equal(values, extract(audio, loaded)[name])


@pytest.mark.parametrize("settings", [{"std": 0}, {"std": -1.0}, {"std": math.nan}, {"mean": math.inf}])
def test_what_cannot_normalise_is_refused(settings, tmp_path):
    with pytest.raises(ValueError, match=r"`(mean|std)` must be (a finite number|above 0), got"):
        SSLAMFeatureExtractor(**settings)
    SSLAMFeatureExtractor().save_pretrained(tmp_path)
    saved = json.loads((tmp_path / "preprocessor_config.json").read_text())
    (tmp_path / "preprocessor_config.json").write_text(json.dumps({**saved, **settings}))
    with pytest.raises(ValueError, match=r"`(mean|std)` must be (a finite number|above 0), got"):
        SSLAMFeatureExtractor.from_pretrained(tmp_path)
