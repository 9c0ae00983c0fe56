# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""
Speed of SAMAudio on a batch of 32 clips of 16 s: training step, feature extraction, data loading.

    python benchmarks/sam_audio.py [--against CHECKOUT] [--threads 2]

CHECKOUT is a checkout of sarayusapa/sam-carnatic, whose model is then timed beside ours in the same run.
"""

import argparse
import importlib.util
import statistics
import sys
import time
import types
from collections import defaultdict
from pathlib import Path

import torch
import torchaudio
from timing import compare, machine

from polyaudio import SAMAudioConfig, SAMAudioFeatureExtractor, SAMAudioForAudioClassification
from polyaudio.training.clips import AudioClips, AudioCollator
from polyaudio.training.data import load_clips
from polyaudio.training.labels import Targets


BATCH, SECONDS, RATE, CLASSES = 32, 16, 16000, 8


def optimizer_for(model: torch.nn.Module) -> torch.optim.Optimizer:
    return torch.optim.AdamW(model.parameters(), lr=3e-4, weight_decay=0.05, fused=True)


def training_step(model, optimizer, forward) -> None:
    forward().backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)


def original_step(checkout: Path, waveforms: torch.Tensor, labels: torch.Tensor):
    """A training step of the original model with the settings of its config.yaml."""
    sys.modules.setdefault("wandb", types.ModuleType("wandb"))  # it is imported, but a step does not use it
    spec = importlib.util.spec_from_file_location("sam_carnatic_train", checkout / "train.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    encoder = {"hidden_dims": [64, 128, 256, 512], "kernel_size": 3, "stride": 2, "dropout_rate": 0.25}
    model = module.SAMAudioModel(encoder, num_classes=CLASSES).train()
    optimizer = optimizer_for(model)

    def forward() -> torch.Tensor:
        out = model(waveforms, labels=labels)
        return out["classification_loss"] + 0.5 * out["masked_lm_loss"] + 0.3 * out["contrastive_loss"]

    return lambda: training_step(model, optimizer, forward)


def share_of_each_part(model, optimizer, forward, rounds: int = 5) -> None:
    """Where the time of a training step goes."""
    parts = {
        "encoder, forward": model.sam_audio.encoder,
        "segment attention, forward": model.sam_audio.layers[0],
        "masked and contrastive loss, forward": model.objectives,
        "classifier, forward": model.classifier,
    }
    taken: dict[str, float] = defaultdict(float)
    hooks = []
    for name, part in parts.items():
        hooks.append(part.register_forward_pre_hook(lambda *_, n=name: taken.__setitem__(n, taken[n] - now())))
        hooks.append(part.register_forward_hook(lambda *_, n=name: taken.__setitem__(n, taken[n] + now())))
    now = time.perf_counter
    for _ in range(rounds):
        start = now()
        loss = forward()
        after_forward = now()
        loss.backward()
        after_backward = now()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        taken["forward"] += after_forward - start
        taken["backward"] += after_backward - after_forward
        taken["clipping and optimizer"] += now() - after_backward
    for hook in hooks:
        hook.remove()
    whole = taken["forward"] + taken["backward"] + taken["clipping and optimizer"]
    taken["the rest, forward"] = taken.pop("forward") - sum(taken[name] for name in parts)
    print("share of each part of our step:")
    for name, part in taken.items():
        print(f"  {name:<44}{part / whole:8.1%}")


def data_loading(step, seconds_of_a_step: float) -> None:
    """Whether two workers, which decode and extract, keep a training process fed."""
    clips = load_clips("ragas")["train"]
    feature_extractor = SAMAudioFeatureExtractor()
    loader = torch.utils.data.DataLoader(
        AudioClips(clips, RATE, crop_seconds=SECONDS),
        batch_size=BATCH,
        shuffle=True,
        drop_last=True,
        num_workers=2,
        collate_fn=AudioCollator(feature_extractor, Targets(clips.features["label"])),
        persistent_workers=True,
    )
    waits, steps = [], []
    for epoch in range(2):
        start = time.perf_counter()
        for _ in loader:
            fetched = time.perf_counter()
            step()
            done = time.perf_counter()
            if epoch:  # in the first one the workers start
                waits.append(fetched - start)
                steps.append(done - fetched)
            start = time.perf_counter()
    share = sum(waits) / (sum(waits) + sum(steps))
    print(f"data loading in 2 workers beside training, {len(waits)} batches of {BATCH} random {SECONDS} s crops:")
    print(f"  waiting for data{share:36.1%} of the time; {statistics.median(waits):.4f} s a batch (median)")
    print(f"  a step beside the workers{statistics.median(steps):27.3f} s, alone {seconds_of_a_step:.3f} s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--against", type=Path, metavar="CHECKOUT", help="checkout of sarayusapa/sam-carnatic")
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    print(machine())

    waveforms = 0.1 * torch.randn(BATCH, SECONDS * RATE)
    labels = torch.randint(0, CLASSES, (BATCH,))
    feature_extractor = SAMAudioFeatureExtractor()
    features = feature_extractor(waveforms, sampling_rate=RATE, return_tensors="pt").input_values
    model = SAMAudioForAudioClassification(SAMAudioConfig(num_labels=CLASSES)).train()
    optimizer = optimizer_for(model)

    def forward() -> torch.Tensor:
        return model(features, labels=labels).loss

    def step() -> None:
        training_step(model, optimizer, forward)

    runs = {"ours, from given log-mels": step}
    if args.against is not None:
        runs = {"original, mel inside the forward": original_step(args.against, waveforms, labels), **runs}
    print(f"training step, {BATCH} clips of {SECONDS} s:")
    step_seconds = compare(runs)["ours, from given log-mels"]
    share_of_each_part(model, optimizer, forward)

    transform = torchaudio.transforms.MelSpectrogram(RATE, n_fft=1024, hop_length=256, n_mels=80)
    clips = list(waveforms)
    tonic_chroma = SAMAudioFeatureExtractor("tonic_chroma")
    print(f"feature extraction, {BATCH} clips of {SECONDS} s:")
    compare(
        {
            "torchaudio MelSpectrogram and log, one tensor": lambda: torch.log(transform(waveforms) + 1e-8),
            "ours, one tensor": lambda: feature_extractor(waveforms, sampling_rate=RATE, return_tensors="pt"),
            "ours, a list of clips": lambda: feature_extractor(clips, sampling_rate=RATE, return_tensors="pt"),
            "ours, tonic_chroma": lambda: tonic_chroma(clips, sampling_rate=RATE, return_tensors="pt"),
        }
    )
    data_loading(step, step_seconds)


if __name__ == "__main__":
    main()
