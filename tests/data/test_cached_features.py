"""Features that are extracted once give what extraction at each step gives."""

import numpy as np
import pytest
import soundfile
import torch
from datasets import concatenate_datasets

from polyaudio import SAMAudioFeatureExtractor
from polyaudio.data.cached_features import CachedFeatures, ShortClipFeatures
from polyaudio.data.collators import AudioCollator, FeatureCollator
from polyaudio.data.loading import load_clips
from polyaudio.data.targets import Targets
from polyaudio.data.windows import AudioClips


RATE = 16000


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clips")
    rng = np.random.default_rng(0)
    for name, seconds in (("a", (0.3, 1.2, 0.01)), ("b", (0.7, 2.0))):
        (folder / name).mkdir()
        for number, length in enumerate(seconds):
            soundfile.write(folder / name / f"{number}.wav", 0.1 * rng.standard_normal(int(length * RATE)), RATE)
    return load_clips(str(folder))["train"]


@pytest.mark.parametrize("frontend", ["log_mel", "tonic_chroma", "tonic_pitch"])
@pytest.mark.parametrize(("num_workers", "copies"), [(0, 1), (2, 7)])  # few clips are extracted without workers
def test_whole_clips(clips, frontend, num_workers, copies):
    feature_extractor = SAMAudioFeatureExtractor(frontend)
    clips = concatenate_datasets([clips] * copies)
    cached = CachedFeatures(clips, feature_extractor, num_workers=num_workers)
    extracted = AudioClips(clips, RATE)
    targets = Targets(clips.features["label"])
    one = FeatureCollator(feature_extractor, targets)([cached[i] for i in range(len(cached))])
    other = AudioCollator(feature_extractor, targets)([extracted[i] for i in range(len(extracted))])
    assert one.keys() == other.keys()
    for name in one:
        torch.testing.assert_close(one[name], other[name], atol=1e-4, rtol=1e-4)


def test_crops(clips):
    feature_extractor = SAMAudioFeatureExtractor()
    cached = CachedFeatures(clips, feature_extractor, crop_seconds=0.5)
    frames = [len(cached[i]["input_values"]) for i in range(len(cached))]
    assert frames == [19, 32, 5, 31, 32]  # 0.5 s are 31.25 hops of 256 samples; shorter clips stay whole
    first = [cached[i]["input_values"] for i in range(len(cached))]
    cached.set_epoch(1)
    second = [cached[i]["input_values"] for i in range(len(cached))]
    cached.set_epoch(0)
    again = [cached[i]["input_values"] for i in range(len(cached))]
    assert all(torch.equal(one, other) for one, other in zip(first, again, strict=True))
    assert not torch.equal(first[4], second[4])
    assert torch.equal(first[0], second[0])
    whole = CachedFeatures(clips, feature_extractor)[4]["input_values"]
    assert any(torch.equal(first[4], whole[start : start + 32]) for start in range(len(whole) - 31))


@pytest.mark.parametrize("epoch", [0, 1])
def test_short_clips_are_kept_and_longer_ones_cropped_as_without_a_cache(clips, epoch):
    feature_extractor = SAMAudioFeatureExtractor()
    mixed = ShortClipFeatures(
        AudioClips(clips, RATE, crop_seconds=0.5, seed=3), feature_extractor, [True, False, True, False, False]
    )
    extracted = AudioClips(clips, RATE, crop_seconds=0.5, seed=3)
    mixed.set_epoch(epoch)
    extracted.set_epoch(epoch)
    targets = Targets(clips.features["label"])
    items = [mixed[i] for i in range(len(mixed))]
    one = FeatureCollator(feature_extractor, targets)(items)
    other = AudioCollator(feature_extractor, targets)([extracted[i] for i in range(len(extracted))])
    assert one.keys() == other.keys()
    for name in one:
        torch.testing.assert_close(one[name], other[name], atol=1e-4, rtol=1e-4)
    assert [item["seed"] for item in items] == [extracted[i]["seed"] for i in range(len(extracted))]
    assert mixed[0]["input_values"] is items[0]["input_values"]
