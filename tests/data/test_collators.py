# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Batches of clips with the extractor's features and labels."""

import numpy as np
import torch
from torch.utils.data import DataLoader
from transformers import Wav2Vec2FeatureExtractor

from builders import write_clip
from polyaudio.data.collators import AudioCollator
from polyaudio.data.loading import load_clips
from polyaudio.data.targets import Targets
from polyaudio.data.windows import AudioClips


def test_collator(tmp_path):
    write_clip(tmp_path / "a" / "1.wav", seconds=0.5, rate=16_000)
    write_clip(tmp_path / "b" / "2.wav", seconds=0.25, rate=16_000)
    clips = load_clips(str(tmp_path))["train"]
    data, targets = AudioClips(clips, 16_000), Targets(clips.features["label"])
    extractor = Wav2Vec2FeatureExtractor(return_attention_mask=True, do_normalize=False)
    batch = next(iter(DataLoader(data, batch_size=2, collate_fn=AudioCollator(extractor, targets), num_workers=1)))
    assert set(batch) == {"input_values", "attention_mask", "labels"}
    assert batch["input_values"].shape == (2, 8000)
    assert batch["attention_mask"].sum(1).tolist() == [8000, 4000]
    assert batch["labels"].dtype == torch.int64
    assert batch["labels"].tolist() == [0, 1]
    np.testing.assert_array_equal(batch["input_values"][1, :4000], data[1]["waveform"])
    extractor.model_input_names = ["input_values"]
    assert set(AudioCollator(extractor, targets)([data[0]])) == {"input_values", "labels"}
