# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""The attentive probe: it finds what a mean over time or over layers hides."""

import numpy as np
import pytest
import torch

from polyaudio.evaluation.attentive_probe import AttentiveProbe, count_parameters, fit_attentive
from polyaudio.evaluation.probe import make_folds, run_probe
from polyaudio.evaluation.probe_kinds import fit_linear
from polyaudio.inference.frame_features import FrameFeatures, FrameWriter


NUMBERS = np.arange(300)
LABELS = NUMBERS % 2
GROUPS = np.array([f"recording {number // 2 // 2}-{number % 2}" for number in NUMBERS])
NAMES = {0: "a", 1: "b"}


def write(path, clips) -> FrameFeatures:
    writer = FrameWriter(path)
    for frames in clips:
        writer.add(frames)
    return writer.finish()


@pytest.fixture
def clips(tmp_path) -> list[np.ndarray]:
    """Noise of two layers. In the first one, a frame with a marker has the class, among noise that hides it."""
    rng = np.random.default_rng(0)
    clips = []
    for label in LABELS:
        frames = rng.standard_normal((rng.integers(8, 14), 2, 16)).astype(np.float32)
        frames[:, 0, 1] *= 4
        frames[rng.integers(len(frames)), 0, :2] = 8, 10 * (2 * label - 1)
        clips.append(frames)
    return clips


def test_attention_finds_the_frame_that_a_mean_hides(clips, tmp_path):
    features = write(tmp_path / "frames", clips)
    folds = make_folds(LABELS, GROUPS, is_test=NUMBERS >= 200)
    attentive = run_probe(features, LABELS, GROUPS, folds, fit_attentive, id2label=NAMES)
    means = np.stack([frames.mean(axis=0).ravel() for frames in clips]).astype(float)
    linear = run_probe(means, LABELS, GROUPS, folds, fit_linear, id2label=NAMES)
    assert attentive.scores.accuracy.mean > 0.9
    assert linear.scores.accuracy.mean < 0.85
    (fold,) = attentive.scores.folds
    assert fold.layer_weights[0] > 0.6
    assert sum(fold.layer_weights) == pytest.approx(1)
    assert all(fold.chosen["epochs"] > 0 for fold in attentive.scores.folds)


def test_several_labels_a_clip(tmp_path):
    numbers = np.arange(60)
    labels = np.stack([numbers % 2 == 0, numbers % 3 == 0], axis=1).astype(int)
    groups = np.array([f"recording {number // 2}" for number in numbers])
    noise = np.random.default_rng(0).standard_normal((60, 5, 1, 8))
    noise[..., :2] += 4 * labels[:, None, None]
    features = write(tmp_path / "frames", noise)
    result = run_probe(
        features, labels, groups, make_folds(labels, groups, num_folds=2), fit_attentive, id2label=NAMES
    )
    assert result.scores.map.mean > 0.95
    assert result.scores.f1_macro.mean > 0.9


def test_padding_has_no_part_in_the_answer():
    generator = torch.Generator().manual_seed(0)
    probe = AttentiveProbe(torch.zeros(2, 16), torch.ones(2, 16), 3)
    for parameter in probe.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator)
    frames = torch.randn(2, 9, 2, 16, generator=generator)
    mask = torch.arange(9) < torch.tensor([[9], [4]])
    alone = probe(frames[1:, :4], mask[1:, :4])
    torch.testing.assert_close(probe(frames, mask)[1:], alone)


def test_parameters_are_counted(tmp_path):
    features = write(tmp_path / "frames", [np.zeros((3, 2, 16))])
    assert count_parameters(features, 5) == 2 + 8 * 16 + 5 * 17


def test_clips_are_read_from_the_file(clips, tmp_path):
    features = write(tmp_path / "frames", clips)
    assert (len(features), features.layers, features.size) == (300, 2, 16)
    assert features.lengths.tolist() == [len(frames) for frames in clips]
    some = features[np.array([70, 3])]
    assert len(some) == 2
    np.testing.assert_array_equal(some.clip(0), clips[70].astype(np.float16))
    np.testing.assert_array_equal(some.clip(1), clips[3].astype(np.float16))


def test_numbers_that_float16_does_not_hold_are_an_error(tmp_path):
    for number in (np.nan, 1e6):
        with pytest.raises(ValueError, match="NaN, infinite or above"):
            write(tmp_path / "frames", [np.full((3, 1, 4), number)])
