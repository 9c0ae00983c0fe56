# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Log-mel statistics: those of each clip alone, whatever stands beside it in a batch."""

import numpy as np

from builders import write_tones
from polyaudio import SAMAudioFeatureExtractor, load_audio
from polyaudio.data.loading import load_clips
from polyaudio.evaluation.log_mel_statistics import log_mel_statistics


def test_the_statistics_are_those_of_each_clip_without_padding(tmp_path):
    folder = write_tones(tmp_path / "tones", {"high": 2000.0, "low": 300.0}, number=5)  # of uneven lengths
    clips = load_clips(str(folder))["train"]
    statistics = log_mel_statistics(clips)
    extractor, expected = SAMAudioFeatureExtractor("log_mel"), []
    for audio in clips["audio"]:
        waveform = load_audio(audio["path"], sampling_rate=16_000)
        features = extractor(waveform, sampling_rate=16_000, return_tensors="np")["input_values"][0]
        expected.append([*features.mean(axis=0), *features.std(axis=0)])
    np.testing.assert_allclose(statistics, np.array(expected), rtol=1e-4, atol=1e-4)
    assert statistics.shape == (10, 160)
