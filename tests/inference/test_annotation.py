# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Annotations of recordings: events, overviews, files that cannot be read, and live recordings."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from builders import RATE, SSLAM
from polyaudio import (
    Annotation,
    Annotator,
    EventRules,
    SSLAMConfig,
    SSLAMFeatureExtractor,
    SSLAMForAudioClassification,
    SSLAMForAudioFrameClassification,
    annotate,
    load_audio,
    predict,
)


LABELS = {"id2label": {0: "high", 1: "low", 2: "noise"}, "label2id": {"high": 0, "low": 1, "noise": 2}}


def save(folder: Path, model_class: type = SSLAMForAudioFrameClassification, **settings) -> str:
    torch.manual_seed(0)
    config = SSLAMConfig(**SSLAM, **LABELS, initializer_range=0.3, **settings)
    model_class(config).save_pretrained(folder)
    SSLAMFeatureExtractor(max_length=64, mask_padding=True).save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> str:
    return save(tmp_path_factory.mktemp("model"), problem_type="multi_label_classification", window_frames=64)


@pytest.fixture(scope="module")
def recordings(tmp_path_factory) -> Path:
    """Noise whose loudness changes: a file at the rate of the model, one at another rate, a short one, no audio."""
    folder, rng = tmp_path_factory.mktemp("recordings"), np.random.default_rng(0)
    for name, rate, seconds in (("long.wav", RATE, 11.3), ("stereo.flac", 44_100, 5.01), ("short.wav", RATE, 0.05)):
        loudness = np.repeat(rng.random(round(seconds * 20) + 1), rate // 20)[: round(seconds * rate)]
        noise = 0.3 * loudness[:, None] * rng.standard_normal((len(loudness), 2))
        soundfile.write(folder / name, noise, rate)
    (folder / "text.wav").write_text("no audio")
    return folder


def test_each_file_has_its_annotation_in_the_order_of_the_files(model, recordings):
    files = [str(recordings / name) for name in ("short.wav", "text.wav", "long.wav", "stereo.flac")]
    short, text, long, stereo = annotate(files, Path(model))
    assert [one.file for one in (short, text, long, stereo)] == files
    assert type(short) is Annotation
    assert short.labels == ("high", "low", "noise")
    assert text.error is not None
    assert "text.wav" in text.error
    assert text.events == []
    assert text.overview is None
    for one, seconds in ((short, 0.05), (long, 11.3), (stereo, 5.01)):
        assert one.error is None
        assert one.gaps == []
        assert one.duration == pytest.approx(seconds, abs=1e-9)
        assert all(0 <= event.onset < event.offset <= one.duration for event in one.events)
        assert [event.onset for event in one.events] == sorted(event.onset for event in one.events)
    assert len(long.events) > 3


def test_adjacent_windows_give_the_events_of_predict(model, recordings):
    file = str(recordings / "long.wav")
    (annotation,) = annotate(file, model, hop=0.64, join="mean")
    (prediction,) = predict(file, model)
    assert len(annotation.events) == len(prediction.events) > 3
    for found, expected in zip(annotation.events, prediction.events, strict=True):
        assert (found.label, found.onset) == (expected.label, pytest.approx(expected.onset))
        assert found.offset == pytest.approx(expected.offset)
        assert found.score == pytest.approx(expected.score, abs=1e-5)


def test_progress_grows_to_1(model, recordings):
    annotator, shares = Annotator(model, batch_size=4), []
    files = [str(recordings / name) for name in ("long.wav", "short.wav")]
    assert len(list(annotator.run(files, progress=shares.append))) == 2
    assert len(shares) >= 3
    assert shares == sorted(shares)
    assert shares[-1] == pytest.approx(1.0)


def test_a_threshold_replaces_the_rules_of_the_model(model, recordings, tmp_path):
    rules = EventRules(threshold=0.7, low_threshold=0.4, min_duration=0.3)
    own = save(tmp_path, problem_type="multi_label_classification", window_frames=64, event_rules=rules.to_dict())
    file = str(recordings / "long.wav")

    def events(model: str, **settings) -> list:
        return next(annotate(file, model, **settings)).events

    assert events(own) == events(model, rules=rules) != events(model)
    lower = EventRules(threshold=0.6, min_duration=0.3)
    assert events(own, threshold=0.6) == events(model, rules=lower)


@pytest.mark.parametrize("seconds", [40, 700])
def test_an_overview_of_any_length_keeps_every_peak(tmp_path, seconds):
    model = save(tmp_path / "model", problem_type="multi_label_classification", window_frames=64)
    rng = np.random.default_rng(0)
    soundfile.write(tmp_path / "recording.wav", 0.1 * rng.standard_normal(seconds * RATE), RATE)
    annotator = Annotator(model, hop=0.64, batch_size=32)
    (annotation,) = annotator.run([str(tmp_path / "recording.wav")])
    scores = annotator.timeline.scores(load_audio(tmp_path / "recording.wav", RATE))
    overview = annotation.overview
    cells = round(overview.column_seconds / annotator.cell_seconds)
    assert len(overview.scores) <= 2049
    assert len(overview.scores) == -(-len(scores) // cells)
    padded = np.pad(scores, ((0, -len(scores) % cells), (0, 0)))
    expected = padded.reshape(-1, cells, 3).max(1)
    assert np.abs(overview.scores - expected).max() < 1e-5


def test_a_live_recording_gives_what_the_file_gives_within_the_delay(model, recordings):
    file = str(recordings / "long.wav")
    samples = load_audio(file, RATE)
    annotator = Annotator(model, hop=0.16, resolution=0.08)
    (offline,) = annotator.run([file])
    live, events, parts, start = annotator.live(), [], [], 0
    rng = np.random.default_rng(0)
    while start < len(samples):
        block = samples[start : start + int(rng.integers(1, 3_000))]
        start += len(block)
        update = live.push(block)
        assert update.start == pytest.approx(sum(map(len, parts)) * annotator.cell_seconds)
        parts.append(update.scores)
        events += update.events
        seen = sum(map(len, parts)) * annotator.cell_seconds
        assert live.seconds == pytest.approx(start / RATE)
        assert live.seconds - seen <= annotator.delay + 1e-9
    last = live.finish()
    events = sorted([*events, *last.events], key=lambda event: (event.onset, event.offset, event.label))
    assert [(one.onset, one.offset, one.label) for one in events] == [
        (one.onset, one.offset, one.label) for one in offline.events
    ]
    assert np.allclose([one.score for one in events], [one.score for one in offline.events], atol=1e-4)
    assert annotator.delay == pytest.approx(0.64 + 0.015 + 0.04)


def test_a_clip_classifier_gives_events_in_steps_of_the_hop(tmp_path, recordings):
    model = save(tmp_path, SSLAMForAudioClassification, window_frames=64)
    annotator = Annotator(model, hop=0.32, threshold=0.4)
    (annotation,) = annotator.run([str(recordings / "long.wav")])
    assert annotator.cell_seconds == pytest.approx(0.32)
    assert annotation.events
    for event in annotation.events:
        assert event.onset / 0.32 == pytest.approx(round(event.onset / 0.32))


def test_a_recording_that_is_damaged_in_the_middle_is_answered_and_the_gap_named(model, recordings, tmp_path):
    whole = load_audio(recordings / "long.wav", RATE)
    path = tmp_path / "long.flac"
    soundfile.write(path, np.tile(whole, 3), RATE)
    (expected,) = annotate(path, model)
    data = bytearray(path.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 3_000] = bytes(3_000)
    path.write_bytes(data)
    (annotation,) = annotate(path, model)
    assert annotation.error is None
    assert annotation.duration == pytest.approx(expected.duration)
    (gap,) = annotation.gaps
    assert 0 < gap.stop - gap.start < 2
    assert abs((gap.start + gap.stop) / 2 - expected.duration / 2) < 2

    def away(annotation: Annotation) -> list[tuple]:
        near = gap.start - 1.5, gap.stop + 1.5
        events = [one for one in annotation.events if one.offset < near[0] or one.onset > near[1]]
        return [(one.label, pytest.approx(one.onset), pytest.approx(one.offset)) for one in events]

    assert len(away(annotation)) > 5
    assert away(annotation) == away(expected)


def test_rules_for_other_classes_are_refused(model):
    with pytest.raises(ValueError, match="each of 3 classes"):
        Annotator(model, rules=EventRules(threshold=[0.5, 0.4]))
