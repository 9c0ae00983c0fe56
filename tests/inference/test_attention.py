# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""The attention of segment tokens: its numbers, long recordings, models without segments, files and plots."""

import dataclasses
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest
import soundfile
import torch
from transformers import ASTConfig, ASTFeatureExtractor, ASTModel

from builders import RATE, SAM_AUDIO, SSLAM
from polyaudio import (
    SAMAudioConfig,
    SAMAudioFeatureExtractor,
    SAMAudioForAudioClassification,
    SAMAudioModel,
    SegmentAttention,
    SSLAMConfig,
    SSLAMFeatureExtractor,
    SSLAMModel,
    load_audio,
    plot_segment_attention,
    save_segment_attention,
    segment_attention,
)


FRAME = 16 * 256 / RATE  # seconds of an encoder frame


def make_model(model_class: type = SAMAudioForAudioClassification, **settings):
    torch.manual_seed(0)
    model = model_class(SAMAudioConfig(**SAM_AUDIO, initializer_range=1.0, **settings)).eval()
    with torch.no_grad():
        for layer in model.base_model.layers:
            layer.attention.q_proj.weight.mul_(20)  # so that attention is far from even
    return model


def expected_weights(model, features: torch.Tensor) -> np.ndarray:
    """The attention for the features of one window, `(1, frames, bins)`."""
    eager = type(model)(model.config)
    eager.load_state_dict(model.state_dict())
    eager.set_attn_implementation("eager")
    with torch.inference_mode():
        return eager.eval()(features, output_attentions=True).attentions[-1][0].mean(0).numpy()


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> str:
    folder = tmp_path_factory.mktemp("model")
    make_model(num_hidden_layers=2).save_pretrained(folder)
    SAMAudioFeatureExtractor().save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def recordings(tmp_path_factory) -> Path:
    """Noise whose loudness changes: at the rate of the model, at another one, and shorter than a frame."""
    folder, rng = tmp_path_factory.mktemp("recordings"), np.random.default_rng(0)
    for name, rate, seconds in (("long.wav", RATE, 11.3), ("stereo.flac", 44_100, 5.01), ("short.wav", RATE, 0.1)):
        loudness = np.repeat(rng.random(round(seconds * 20) + 1), rate // 20)[: round(seconds * rate)]
        soundfile.write(folder / name, 0.3 * loudness[:, None] * rng.standard_normal((len(loudness), 2)), rate)
    return folder


def test_the_weights_are_those_of_the_last_layer_of_the_model(model, recordings):
    files = [recordings / name for name in ("stereo.flac", "short.wav", "long.wav")]
    found = list(segment_attention(files, model))
    assert [one.file for one in found] == [str(file) for file in files]
    loaded = SAMAudioForAudioClassification.from_pretrained(model)
    for one, seconds in zip(found, (5.01, 0.1, 11.3), strict=True):
        assert type(one) is SegmentAttention
        assert one.error is None
        assert one.duration == pytest.approx(seconds, abs=1e-4)
        assert one.frame_seconds == FRAME
        features = SAMAudioFeatureExtractor()(load_audio(one.file, RATE), sampling_rate=RATE, return_tensors="pt")
        expected = expected_weights(loaded, features["input_values"])
        assert one.weights.dtype == np.float32
        assert one.window_frames == (one.weights.shape[1],) == (int(seconds / FRAME) + 1,)
        np.testing.assert_allclose(one.weights, expected, atol=1e-5)
        np.testing.assert_allclose(one.weights.sum(axis=1), 1, atol=1e-5)
    assert found[2].weights.max() > 3 / found[2].weights.shape[1]


@pytest.mark.parametrize("batch_size", [1, 4])
@pytest.mark.parametrize(
    ("window_frames", "window"),
    [(160, None), (0, 2.5)],  # 160 frames are 2.56 s, and 2.5 s are rounded up to whole encoder frames
)
def test_a_long_recording_has_the_attention_of_adjacent_windows(recordings, window_frames, window, batch_size):
    model = make_model(SAMAudioModel, window_frames=window_frames)
    extractor = SAMAudioFeatureExtractor()
    file = recordings / "long.wav"
    (found,) = segment_attention(file, model, extractor, window=window, batch_size=batch_size)
    assert found.window_frames == (10, 10, 10, 10, 5)
    features = extractor(load_audio(file, RATE), sampling_rate=RATE, return_tensors="pt")["input_values"]
    expected = [expected_weights(model, one) for one in features.split(160, dim=1)]
    np.testing.assert_allclose(found.weights, np.concatenate(expected, axis=1), atol=1e-4)
    for start, frames in zip((0, 10, 20, 30, 40), found.window_frames, strict=True):
        np.testing.assert_allclose(found.weights[:, start : start + frames].sum(axis=1), 1, atol=1e-5)


@pytest.mark.parametrize("settings", [{"frontend": "tonic_chroma"}, {"frontend": "waveform", "window_frames": 16_000}])
def test_other_front_ends(recordings, settings):
    model, extractor = make_model(**settings), SAMAudioFeatureExtractor(frontend=settings["frontend"])
    (found,) = segment_attention(recordings / "long.wav", model, extractor)
    assert len(found.window_frames) == (1 if settings["frontend"] == "tonic_chroma" else 12)
    assert sum(found.window_frames) == found.weights.shape[1]
    assert found.weights.shape[1] * found.frame_seconds == pytest.approx(11.3, abs=found.frame_seconds)
    np.testing.assert_allclose(found.weights.sum(axis=1), len(found.window_frames), atol=1e-4)


def test_a_model_that_is_passed_stays_as_it_was(model, recordings):
    loaded = SAMAudioForAudioClassification.from_pretrained(model).train()
    settings = loaded.config.to_dict()
    (expected,) = segment_attention(recordings / "long.wav", model)
    found = segment_attention(recordings / "long.wav", loaded)
    assert loaded.config._attn_implementation == "sdpa"
    np.testing.assert_array_equal(next(found).weights, expected.weights)
    assert loaded.training
    assert loaded.base_model.training
    assert loaded.config._attn_implementation == loaded.base_model.config._attn_implementation == "sdpa"
    assert loaded.config.to_dict() == settings


@pytest.mark.parametrize(
    ("other", "extractor"),
    [
        (lambda: SSLAMModel(SSLAMConfig(**SSLAM)), SSLAMFeatureExtractor),
        (
            lambda: ASTModel(
                ASTConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8)
            ),
            ASTFeatureExtractor,
        ),
    ],
)
def test_a_model_without_segment_tokens_is_refused_before_anything_is_read(other, extractor):
    with pytest.raises(ValueError, match="has no segment tokens"):
        segment_attention("missing.wav", other(), extractor())


def test_wrong_arguments(model, recordings):
    with pytest.raises(ValueError, match="batch_size must be at least 1, got 0"):
        segment_attention(recordings, model, batch_size=0)
    with pytest.raises(ValueError, match="pass its feature_extractor too"):
        segment_attention(recordings, make_model())


def test_a_file_that_cannot_be_read_has_an_error(model, recordings, tmp_path):
    (tmp_path / "text.wav").write_text("no audio")
    broken, short = segment_attention([tmp_path / "text.wav", recordings / "short.wav"], model)
    assert "text.wav" in broken.error
    assert broken.weights is None
    assert short.error is None
    with pytest.raises(ValueError, match=r"nothing to plot: .*text\.wav"):
        plot_segment_attention(broken, tmp_path / "plot.png")
    with pytest.raises(ValueError, match=r"nothing to save: .*text\.wav"):
        save_segment_attention(broken, tmp_path / "data.npz")
    assert {path.name for path in tmp_path.iterdir()} == {"text.wav"}


def test_saved_attention_reads_back(model, recordings, tmp_path):
    (found,) = segment_attention(recordings / "long.wav", model, window=2.56)
    save_segment_attention(found, tmp_path / "a.npz")
    assert {path.name for path in tmp_path.iterdir()} == {"a.npz"}
    with np.load(tmp_path / "a.npz") as saved:
        assert set(saved) == {"weights", "frame_seconds", "window_frames", "duration"}
        np.testing.assert_array_equal(saved["weights"], found.weights)
        assert saved["weights"].dtype == np.float32
        assert saved["frame_seconds"] == found.frame_seconds
        assert saved["window_frames"].tolist() == [10, 10, 10, 10, 5]
        assert saved["duration"] == found.duration


def attention(folder: Path, seconds: float, segments: int, window: int, *, rate: int = RATE) -> SegmentAttention:
    """A quiet recording, whose segments attend to frames one after the other in each window."""
    path = folder / "$a_b$.wav"
    soundfile.write(path, np.full(round(seconds * rate), 0.1), rate)
    frames = int(seconds / FRAME) + 1
    lengths = tuple(min(window, frames - start) for start in range(0, frames, window))
    places = np.concatenate([np.linspace(0, 1, length) for length in lengths])
    weights = np.exp(-32 * (places - np.linspace(0, 1, segments)[:, None]) ** 2)
    for start, length in zip(range(0, frames, window), lengths, strict=True):
        weights[:, start : start + length] /= weights[:, start : start + length].sum(axis=1, keepdims=True)
    return SegmentAttention(str(path), seconds, weights.astype(np.float32), FRAME, lengths)


def plotted(one: SegmentAttention, folder: Path) -> np.ndarray:
    plot_segment_attention(one, folder / "plot.png")
    return matplotlib.image.imread(folder / "plot.png")


@pytest.mark.parametrize(
    ("seconds", "segments", "window"), [(0.1, 1, 480), (0.1, 64, 480), (3.0, 4, 480), (600.0, 64, 480), (600.0, 9, 4)]
)
def test_a_plot_of_any_attention(tmp_path, seconds, segments, window):
    height, width, _ = plotted(attention(tmp_path, seconds, segments, window, rate=4000), tmp_path).shape
    assert width == 1400
    assert 300 < height < 1500


def test_the_plot_sorts_the_segments_by_time(tmp_path):
    one = attention(tmp_path, 20.0, 6, 480)
    shuffled = dataclasses.replace(one, weights=one.weights[[3, 0, 5, 1, 4, 2]])
    expected, found = plotted(one, tmp_path), plotted(shuffled, tmp_path)
    assert not np.array_equal(found, expected)  # the numbers of the segments
    assert np.array_equal(found[:, 120:], expected[:, 120:])
    # Early segments stand above: the brightest places go from the upper left to the lower right
    reversed_in_time = dataclasses.replace(one, weights=np.ascontiguousarray(one.weights[:, ::-1]))
    assert np.array_equal(plotted(reversed_in_time, tmp_path)[:, 120:], expected[:, 120:])


def test_the_plot_shows_a_short_last_window_like_the_others(tmp_path):
    """Even attention has one colour everywhere, although its weights are larger in a shorter window."""
    one = attention(tmp_path, 25.0, 4, 64)
    assert one.window_frames == (64, 34)
    even = np.concatenate([np.full((4, length), 1 / length, dtype=np.float32) for length in one.window_frames], axis=1)
    image = plotted(dataclasses.replace(one, weights=even), tmp_path)
    brightest = (image[:, 120:1200] == image[-100, 300]).all(axis=2)
    assert brightest[-100, :300].all()
    assert brightest[-100].sum() > 1000


def test_a_long_attention_is_pooled_by_the_mean(tmp_path):
    """Frames that alternate look as their mean does, once a column has several of them."""
    file = attention(tmp_path, 0.1, 1, 1).file
    lengths = (8000,)
    even = np.full((2, 8000), 1 / 8000, dtype=np.float32)
    alternating = even * np.tile([0.5, 1.5], 4000).astype(np.float32)
    images = [
        plotted(SegmentAttention(file, 8000 * 0.01, weights, 0.01, lengths), tmp_path)
        for weights in (even, alternating)
    ]
    np.testing.assert_allclose(images[0], images[1], atol=0.02)
