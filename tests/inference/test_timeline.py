# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Scores over time: windows that overlap, blocks of any length, finer cells, and the ends of recordings."""

import itertools

import numpy as np
import pytest
import torch
from transformers import ASTConfig, ASTFeatureExtractor, ASTForAudioClassification
from transformers.modeling_outputs import TokenClassifierOutput

from builders import RATE, SAM_AUDIO, SSLAM
from polyaudio import (
    SAMAudioConfig,
    SAMAudioFeatureExtractor,
    SAMAudioForAudioClassification,
    SSLAMConfig,
    SSLAMFeatureExtractor,
    SSLAMForAudioClassification,
    SSLAMForAudioFrameClassification,
)
from polyaudio.inference.timeline_model import TimelineModel


LABELS = {"num_labels": 3, "initializer_range": 0.3}
MULTI_LABEL = {"problem_type": "multi_label_classification"}
FRAME = 2560  # samples of a frame of the classifier


def sslam(model_class: type, **settings):
    torch.manual_seed(0)
    return model_class(SSLAMConfig(**SSLAM, **LABELS, **settings)).eval(), SSLAMFeatureExtractor(max_length=256)


def frames():
    return sslam(SSLAMForAudioFrameClassification, **MULTI_LABEL)


def clips():
    return sslam(SSLAMForAudioClassification)


def sam_audio():
    torch.manual_seed(0)
    model = SAMAudioForAudioClassification(SAMAudioConfig(**SAM_AUDIO, **LABELS)).eval()
    return model, SAMAudioFeatureExtractor()


def sound(samples: int, seed: int = 0) -> np.ndarray:
    """Noise whose loudness changes every 50 ms."""
    rng = np.random.default_rng(seed)
    loudness = np.repeat(rng.random(samples // 800 + 1), 800)[:samples]
    return (loudness * rng.standard_normal(samples)).astype(np.float32)


def in_blocks(timeline: TimelineModel, samples: np.ndarray, longest: int, batch_size: int = 8) -> np.ndarray:
    rng = np.random.default_rng(len(samples))
    stream, parts, start = timeline.stream(batch_size), [], 0
    while start < len(samples):
        stop = start + int(rng.integers(0, longest))
        parts.append(stream.push(samples[start:stop]))
        start = stop
    return np.concatenate([*parts, stream.finish()])


WINDOWS = [
    {},
    {"window": 1.6, "hop": 1.6, "join": "mean"},
    {"window": 1.6, "hop": 0.48},
    {"window": 2.0, "overlap": 0.4, "join": "max"},
]
CASES = [(build, settings) for build in (frames, clips, sam_audio) for settings in WINDOWS]


@pytest.mark.parametrize(("build", "settings"), [*CASES, (frames, {"window": 1.6, "resolution": 0.04})])
@pytest.mark.parametrize("samples", [200, 3000, 40_000, 41_200, 123_457])
def test_blocks_of_any_length_give_the_scores_of_the_whole_recording(build, settings, samples):
    timeline = TimelineModel(*build(), **settings)
    recording = sound(samples)
    whole = timeline.scores(recording)
    assert whole.shape == (-(-samples // timeline.layout.cell), 3)
    assert whole.dtype == np.float32
    assert np.isfinite(whole).all()
    for longest, batch_size in ((500, 1), (100_000, 8)):
        assert np.abs(in_blocks(timeline, recording, longest, batch_size) - whole).max() < 1e-5


@pytest.mark.parametrize("settings", [{"window": 1.6}, {"window": 1.6, "resolution": 0.04}])
def test_a_first_block_as_long_as_a_window_is_not_taken_for_the_whole_recording(settings):
    timeline = TimelineModel(*frames(), **settings)
    recording, size = sound(40_000), timeline.layout.size
    for first in (size, size - timeline.stream().lead):
        stream = timeline.stream(batch_size=1)
        parts = [stream.push(recording[:first]), stream.push(recording[first:]), stream.finish()]
        np.testing.assert_allclose(np.concatenate(parts), timeline.scores(recording), atol=1e-5)


def test_adjacent_windows_give_what_the_model_gives_for_a_long_clip():
    model, extractor = frames()
    recording = sound(5 * 256 * 160 + 9_000)
    timeline = TimelineModel(model, extractor, hop=2.56, join="mean")
    inputs = extractor(recording, sampling_rate=RATE, return_tensors="pt", padding="longest")
    with torch.no_grad():
        expected = model(**inputs).logits.sigmoid()[0].numpy()
    assert np.abs(timeline.scores(recording)[: len(expected)] - expected).max() < 1e-5


def test_a_clip_classifier_gives_each_cell_the_mean_of_its_windows():
    model, extractor = clips()
    recording = sound(6 * RATE)
    timeline = TimelineModel(model, extractor, window=2.0, hop=1.0, join="mean")
    scores = timeline.scores(recording)
    assert scores.shape == (6, 3)
    assert timeline.cell_seconds == 1.0

    def answer(start: int) -> np.ndarray:
        window = recording[start * RATE : start * RATE + timeline.layout.size]
        inputs = extractor(window, sampling_rate=RATE, return_tensors="pt", padding="longest")
        with torch.no_grad():
            return model(**inputs).logits.softmax(-1)[0].numpy()

    answers = [answer(start) for start in range(5)]
    expected = [answers[0], *((a + b) / 2 for a, b in itertools.pairwise(answers)), answers[-1]]
    assert np.abs(scores - np.stack(expected)).max() < 1e-5
    highest = TimelineModel(model, extractor, window=2.0, hop=1.0, join="max").scores(recording)
    assert np.abs(highest[1] - np.maximum(answers[0], answers[1])).max() < 1e-5


def test_fading_hides_the_seams_of_windows():
    """Cross-faded windows change little from cell to cell where one window ends and the next goes on."""
    model, extractor = frames()
    recording = np.tile(sound(FRAME, seed=1), 80)  # the same in each frame: all changes come from the windows
    jumps = {}
    for hop in (1.6, 0.16):
        scores = TimelineModel(model, extractor, window=1.6, hop=hop).scores(recording)[20:-20]
        jumps[hop] = np.abs(np.diff(scores, axis=0)).max()
    assert jumps[0.16] < 0.2 * jumps[1.6]


def test_a_finer_resolution_finds_an_onset_closer_to_where_it_is():
    """The frames of shifted passes stand in the middle of their cells."""
    model, extractor = frames()

    class Loudness(torch.nn.Module):  # answers with the mean energy of each frame
        config = model.config
        device, dtype = torch.device("cpu"), torch.float32

        def forward(self, input_values, attention_mask=None):
            padded = torch.nn.functional.pad(input_values, (0, 0, 0, -input_values.shape[1] % 16))
            energies = padded.unflatten(1, (-1, 16)).mean((2, 3))
            return TokenClassifierOutput(logits=energies[..., None].expand(-1, -1, 3))

    Loudness.__name__ = "LoudnessForAudioFrameClassification"
    recording = np.zeros(5 * RATE, dtype=np.float32)
    onset = 2.0 + 0.052
    recording[round(onset * RATE) :] = sound(len(recording))[round(onset * RATE) :]
    errors = []
    for resolution in (0.16, 0.08, 0.04):
        timeline = TimelineModel(Loudness(), extractor, window=1.6, resolution=resolution)
        scores = timeline.scores(recording)[:, 0]
        middle = (scores[: RATE // FRAME].mean() + scores[-10:].mean()) / 2
        found = np.flatnonzero(scores > middle)[0] * timeline.cell_seconds
        errors.append(abs(found - onset))
        assert errors[-1] <= timeline.cell_seconds
    assert errors[2] <= 0.04


def test_a_model_of_another_library_has_a_timeline():
    torch.manual_seed(0)
    small = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    model = ASTForAudioClassification(ASTConfig(**small, num_labels=3)).eval()
    timeline = TimelineModel(model, ASTFeatureExtractor(), hop=2.0)
    assert timeline.scores(sound(20 * RATE)).shape == (10, 3)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"window": -1}, "window must be above 0"),
        ({"window": 1.6, "hop": 2.0}, "would leave out what is between windows"),
        ({"window": 1.6, "overlap": 1.6}, "is not shorter than the window"),
        ({"window": 20.0}, "reads 2.56 s at once"),
        ({"resolution": 0.05}, "has no resolution of 0.05 s. Use 0.16, 0.08, 0.04"),
        ({"join": "median"}, "join must be one of fade, mean, max"),
        ({"batch_size": 0}, "batch_size must be at least 1"),
    ],
    ids=str,
)
def test_what_a_model_cannot_take_is_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        TimelineModel(*frames(), **settings)


def test_what_is_no_classifier_or_no_sound_is_refused():
    with pytest.raises(ValueError, match="resolution of its timeline is the hop"):
        TimelineModel(*clips(), resolution=0.04)
    with pytest.raises(ValueError, match="A timeline needs a classifier"):
        TimelineModel(*sslam(SSLAMForAudioClassification, problem_type="regression"))
    timeline = TimelineModel(*frames())
    with pytest.raises(ValueError, match="no samples"):
        timeline.stream().finish()
    for samples, message in (
        (np.zeros((2, 100), np.float32), "mono"),
        (np.zeros(100, np.int16), "floats from -1 to 1"),
        (np.full(100, np.nan, np.float32), "NaN"),
    ):
        with pytest.raises(ValueError, match=message):
            timeline.stream().push(samples)
    model, extractor = frames()
    torch.nn.init.constant_(model.classifier.weight, torch.nan)
    with pytest.raises(ValueError, match="NaN or infinite"):
        TimelineModel(model, extractor).scores(sound(RATE))
