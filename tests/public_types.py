"""A user's program, never run: `make static` checks that the types of the public names are what it takes them for."""

import numpy as np
import torch
from transformers import BatchFeature
from typing_extensions import assert_type

import polyaudio


def configurations() -> None:
    encoder = polyaudio.SSLAMConfig(hidden_size=384, num_hidden_layers=6, prediction_mode="cls_token")
    assert_type(encoder.hidden_size, int)
    assert_type(polyaudio.SAMAudioConfig(num_segments=8).num_segments, int)
    assert_type(polyaudio.SSLAMConfig.from_pretrained("folder"), polyaudio.SSLAMConfig)


def features(path: str) -> BatchFeature:
    extractor = polyaudio.SSLAMFeatureExtractor(max_length=1024)
    waveform = polyaudio.load_audio(path, sampling_rate=extractor.sampling_rate)
    assert_type(waveform, np.ndarray)
    polyaudio.SAMAudioFeatureExtractor("tonic_chroma")([waveform, waveform], sampling_rate=16000, padding="longest")
    return extractor(waveform, sampling_rate=16000, return_attention_mask=True, return_tensors="pt")


def collections(path: str) -> None:
    report = polyaudio.build_index("features", "index", approximate=False)
    assert_type(report, polyaudio.IndexReport)
    (result,) = polyaudio.search(path, "index", top_k=3, where="label = 'dog'")
    assert_type(result.hits[0], polyaudio.Hit)
    assert_type(result.hits[0].start, float | None)
    assert_type(polyaudio.find_duplicates("index", threshold=0.99), list[list[polyaudio.Duplicate]])
    print(polyaudio.probe("folder", "dataset", kind="attentive", layer="weighted").probe.accuracy.mean)


def models(inputs: torch.Tensor, mask: torch.Tensor) -> None:
    classifier = polyaudio.SSLAMForAudioClassification.from_pretrained("folder", dtype="bfloat16")
    assert_type(classifier, polyaudio.SSLAMForAudioClassification)
    output = classifier(inputs, attention_mask=mask, labels=torch.tensor([0]))
    print(output.loss, output.logits)
    assert_type(polyaudio.SAMAudioModel(polyaudio.SAMAudioConfig()), polyaudio.SAMAudioModel)
    polyaudio.SSLAMForPreTraining(polyaudio.SSLAMConfig(pretraining_stage=2)).save_pretrained("folder")
