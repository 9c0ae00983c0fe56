# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Pictures of recordings and their annotations."""

import matplotlib.image
import numpy as np
import pytest
import soundfile

from polyaudio.data.audio import AudioFileError
from polyaudio.inference.annotation import Annotation, Gap, Overview
from polyaudio.inference.annotation_plots import plot_annotation
from polyaudio.inference.pictures import (
    MOST_COLUMNS,
    SpectrogramStream,
    compute_spectrogram,
    event_labels,
    leading_labels,
    narrowed,
)
from polyaudio.inference.prediction import ScoredEvent


RATE = 8_000


def write_tone(path, seconds: float, onset: float, hertz: float = 1000.0, rate: int = RATE):
    """A recording that is silent up to `onset`, and then a tone."""
    time = np.arange(round(seconds * rate)) / rate
    soundfile.write(path, np.where(time >= onset, 0.5 * np.sin(2 * np.pi * hertz * time), 0.0), rate)
    return path


def annotation(file, seconds: float, labels: int = 3, **changes) -> Annotation:
    names = ("speech", "$drum$", "a\nb <i>")[:labels] + tuple(f"label {index}" for index in range(3, labels))
    settings = {
        "events": [ScoredEvent(0.3 * seconds, 0.6 * seconds, name, 0.9) for name in names[::2]],
        "overview": Overview(np.random.default_rng(0).random((7, labels), dtype=np.float32), seconds / 7),
        "gaps": [],
    }
    return Annotation(str(file), seconds, names, **{**settings, **changes})


@pytest.mark.parametrize("seconds", [0.1, 3.0, 400.0])
def test_a_spectrogram_shows_when_and_how_high_a_tone_is(tmp_path, seconds):
    path = write_tone(tmp_path / "tone.wav", seconds, seconds / 2)
    spectrogram = compute_spectrogram(path, seconds)
    picture = spectrogram.decibels
    assert spectrogram.highest_frequency == 8000
    bins, columns = picture.shape
    assert picture.dtype == np.float32
    assert columns == MOST_COLUMNS if seconds > 10 else 10 < columns <= MOST_COLUMNS
    assert (picture.min(), picture.max()) == (-80, 0)
    # Bins are as far apart on the mel scale as the middles of filters up to 8 kHz
    mels = 2595 * np.log10(1 + np.array([1000, 8000]) / 700)
    row = picture[:, -columns // 8].argmax()
    assert abs(row - (mels[0] / mels[1] * (bins + 1) - 1)) <= 1
    # A frame lasts 64 ms
    first_loud = np.flatnonzero(picture[row] > -20)[0] / columns * seconds
    assert abs(first_loud - seconds / 2) < 0.04 + seconds / columns


def test_a_spectrogram_of_silence(tmp_path):
    soundfile.write(tmp_path / "silence.wav", np.zeros(RATE), RATE)
    assert (compute_spectrogram(tmp_path / "silence.wav", 1.0).decibels == -80).all()


@pytest.mark.parametrize("rate", [8_000, 32_000, 44_100])
def test_a_spectrogram_is_the_same_for_any_blocks(rate):
    generator = np.random.default_rng(0)
    waveform = generator.standard_normal(5 * rate + 17, dtype=np.float32)
    whole, parts = (SpectrogramStream(len(waveform) / rate, rate) for _ in range(2))
    whole.push(waveform)
    for part in np.split(waveform, np.sort(generator.integers(0, len(waveform), 300))):
        parts.push(part)
    expected, found = whole.finish(), parts.finish()
    assert found.highest_frequency == rate / 2
    np.testing.assert_allclose(found.decibels, expected.decibels, atol=1e-3)
    assert expected.decibels.min() > -40


def test_what_is_missing_of_a_recording_is_silent():
    stream = SpectrogramStream(10.0, RATE)
    stream.push(np.random.default_rng(0).standard_normal(5 * RATE, dtype=np.float32))
    decibels = stream.finish().decibels
    columns = decibels.shape[1]
    assert (decibels[:, columns // 2 + 20 :] == -80).all()
    assert (decibels[:, : columns // 2 - 20] > -40).all()


def test_leading_labels_have_the_highest_scores():
    scores = np.zeros((5, 4), dtype=np.float32)
    scores[1, 2], scores[3, 0], scores[4, 3] = 0.9, 0.5, 0.7
    assert leading_labels(annotation("a", 5, 4, overview=Overview(scores, 1.0)), 3) == [2, 3, 0]
    assert leading_labels(annotation("a", 5, overview=None), 3) == []
    assert leading_labels(annotation("a", 5, overview=Overview(scores[:0], 1.0)), 3) == []


def test_labels_with_long_events_come_first():
    times = [(0, 1, "a"), (1, 4, "b"), (5, 7, "a"), (5, 9, "c")]
    events = [ScoredEvent(onset, offset, label, 1.0) for onset, offset, label in times]
    assert event_labels(annotation("a", 10, events=events)) == ["c", "a", "b"]


def test_a_long_overview_is_narrowed_and_keeps_its_peaks():
    scores = np.zeros((2 * MOST_COLUMNS + 1, 2), dtype=np.float32)
    scores[-1, 0], scores[4, 1] = 0.8, 0.6
    narrow = narrowed(Overview(scores, 0.5))
    assert len(narrow.scores) <= MOST_COLUMNS
    assert narrow.scores.max(axis=0).tolist() == scores.max(axis=0).tolist()
    assert narrow.scores[:, 1].argmax() * narrow.column_seconds == pytest.approx(1.5)
    short = Overview(scores[:MOST_COLUMNS], 0.5)
    assert narrowed(short) is short


@pytest.mark.parametrize(
    ("seconds", "labels", "changes"),
    [
        (0.1, 1, {}),
        (0.1, 1, {"events": [], "overview": None}),
        (5.0, 527, {}),
        (5.0, 3, {"events": []}),
        (5.0, 30, {"overview": None, "gaps": [Gap(1.0, 1.5, "damaged")]}),
        (4000.0, 3, {}),
    ],
)
def test_a_plot_of_any_annotation(tmp_path, seconds, labels, changes):
    path = write_tone(tmp_path / "$a_b$.wav", seconds, 0.0, rate=1000 if seconds > 1000 else RATE)
    plot_annotation(annotation(path, seconds, labels, **changes), tmp_path / "plot.png")
    height, width, _ = matplotlib.image.imread(tmp_path / "plot.png").shape
    assert width == 1400
    assert 300 < height < 1500


def test_the_plot_shows_scores_events_and_gaps(tmp_path):
    path = write_tone(tmp_path / "a.wav", 5.0, 2.0)

    def plotted(**changes) -> np.ndarray:
        plot_annotation(annotation(path, 5.0, 1, **changes), tmp_path / "plot.png")
        return matplotlib.image.imread(tmp_path / "plot.png")

    plain = plotted()
    assert np.array_equal(plotted(), plain)
    assert not np.array_equal(plotted(gaps=[Gap(0.5, 1.0, "damaged")]), plain)
    assert not np.array_equal(plotted(events=[]), plain)
    assert not np.array_equal(plotted(overview=Overview(np.ones((7, 1), dtype=np.float32), 5 / 7)), plain)


def test_the_recording_may_be_elsewhere(tmp_path):
    path = write_tone(tmp_path / "a.wav", 1.0, 0.5)
    plot_annotation(annotation("gone.wav", 1.0), tmp_path / "plot.png", path)
    assert (tmp_path / "plot.png").exists()
    plot_annotation(annotation("gone.wav", 1.0), tmp_path / "same.png", spectrogram=compute_spectrogram(path, 1.0))
    assert (tmp_path / "same.png").read_bytes() == (tmp_path / "plot.png").read_bytes()
    with pytest.raises(AudioFileError, match="does not exist"):
        plot_annotation(annotation(tmp_path / "gone.wav", 1.0), tmp_path / "none.png")


def test_there_is_no_plot_of_an_error(tmp_path):
    broken = annotation("a.wav", 1.0, events=[], error="a.wav is empty.")
    with pytest.raises(ValueError, match=r"nothing to plot: a.wav is empty."):
        plot_annotation(broken, tmp_path / "plot.png")
    assert list(tmp_path.iterdir()) == []
