"""Padding is known by its value."""

import pytest
import torch

from polyaudio import SAMAudioConfig, SAMAudioFeatureExtractor, SSLAMConfig, SSLAMFeatureExtractor
from polyaudio.feature_extraction.padding import frames_to_hear


RATE = 16000
EXTRACTORS = {
    "log_mel": SAMAudioFeatureExtractor(),
    "tonic_chroma": SAMAudioFeatureExtractor("tonic_chroma"),
    "tonic_pitch": SAMAudioFeatureExtractor("tonic_pitch"),
    "tonic_pitch+chroma": SAMAudioFeatureExtractor("tonic_pitch+chroma"),
    "sslam": SSLAMFeatureExtractor(max_length=64, mask_padding=True),
    "sslam_that_hears_padding": SSLAMFeatureExtractor(max_length=64),
}


@pytest.fixture(params=EXTRACTORS)
def extractor(request):
    return EXTRACTORS[request.param]


def clips() -> list[torch.Tensor]:
    """Noise of several lengths, some longer than 64 frames of 10 ms, that begins and ends with digital silence."""
    generator = torch.Generator().manual_seed(0)
    noise = [0.1 * torch.randn(samples, generator=generator) for samples in (100, 4000, 9000, 12000, 24000)]
    silence = torch.zeros(6000)
    return [*noise, silence, torch.cat([silence, noise[2], silence])]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_the_mask_is_that_of_the_extractor(extractor, dtype):
    inputs = extractor(clips(), sampling_rate=RATE, return_tensors="pt")
    found = extractor.infer_attention_mask(inputs["input_values"].to(dtype))
    assert torch.equal(found, inputs["attention_mask"].bool())
    assert 0 < found.sum() < found.numel()


@pytest.mark.parametrize("batch", [1, 3])
def test_pad_finds_the_padding_of_features_without_a_mask(extractor, batch):
    expected = extractor(clips(), sampling_rate=RATE, return_tensors="pt")
    rows = [
        {"input_values": values}
        for start in range(0, len(clips()), batch)
        for values in extractor(clips()[start : start + batch], sampling_rate=RATE)["input_values"]
    ]
    padded = extractor.pad(rows, return_tensors="pt")
    torch.testing.assert_close(padded["input_values"], expected["input_values"], atol=1e-3, rtol=1e-3)
    assert torch.equal(padded["attention_mask"], expected["attention_mask"])
    assert "attention_mask" not in extractor.pad(rows, return_attention_mask=False)
    # A mask that is given counts
    ones = [{**row, "attention_mask": [1] * len(row["input_values"])} for row in rows]
    lengths = torch.tensor([len(row["input_values"]) for row in rows])
    assert torch.equal(extractor.pad(ones, return_tensors="pt")["attention_mask"].sum(1), lengths)


def test_models_know_the_padding_of_new_extractors():
    for frontend in ("log_mel", "tonic_chroma", "tonic_pitch", "tonic_pitch+chroma"):
        assert SAMAudioConfig(frontend=frontend).padding_value == SAMAudioFeatureExtractor(frontend).padding_value
    assert SAMAudioConfig(frontend="waveform").padding_value is None
    assert SSLAMConfig().padding_value == SSLAMFeatureExtractor().padding_value
    assert SSLAMConfig().mask_padding == SSLAMFeatureExtractor().mask_padding


def test_a_waveform_has_no_padding_of_its_own():
    extractor = SAMAudioFeatureExtractor("waveform")
    rows = [{"input_values": torch.zeros(3).numpy()}, {"input_values": torch.ones(5).numpy()}]
    assert extractor.pad(rows, return_tensors="pt")["attention_mask"].sum(1).tolist() == [3, 5]


def test_a_clip_of_nothing_but_padding_is_heard():
    assert frames_to_hear(torch.full((2, 5, 3), -18.5), -18.5).all()
