# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.

# %% [markdown]
# # Ragas: tonic, melody, training
#
# A raga is a set of intervals above a tonic, with its own phrases. Two performers rarely share a tonic, so a model has
# to hear intervals, not frequencies. This notebook finds the tonic of a performance, draws its melody on the swaras,
# and trains a classifier that recognises ragas in keys and on an instrument that it has never heard.

# %%
from pathlib import Path

import matplotlib.pyplot as plt
import soundfile

from polyaudio import AudioTrainingArguments, DataArguments, SAMAudioConfig, estimate_tonic, evaluate, fine_tune
from polyaudio.data.ragas import SAMPLING_RATE, synthesize_recording
from polyaudio.inference.melody_picture import compute_melody, swara_places

# %% [markdown]
# ## A performance
#
# polyaudio synthesises performances in Carnatic ragas over a tanpura: phrases, oscillations and glides follow the
# raga, and everything else is random. This one is Hamsanadam on a voice, with its tonic at 187 Hz.

# %%
samples = synthesize_recording("Hamsanadam", tonic=187, timbre="voice", seconds=12, seed=5)
soundfile.write("performance.wav", samples, SAMPLING_RATE)

# %% [markdown]
# ## Tonic
#
# `estimate_tonic` looks for the pitch that the drone and the melody rest on. It returns several candidates with
# probabilities, because a tonic is sometimes ambiguous.

# %%
for tonic in estimate_tonic("performance.wav"):
    print(f"{tonic.frequency:6.1f} Hz  {tonic.note:<3}  {tonic.probability:.0%}")

# %% [markdown]
# ## Melody
#
# The melody over time. The lines are the twelve swarasthanas of the octave above the tonic. Hamsanadam has five of
# them, S, R2, M2, P and N3: the melody rests on these, here and an octave higher.

# %%
melody = compute_melody("performance.wav", duration=12)
plt.figure(figsize=(12, 4))
plt.imshow(
    melody.shares, aspect="auto", origin="lower", cmap="gray_r", extent=(0, 12, melody.cents[0], melody.cents[-1])
)
plt.yticks(list(swara_places().values()), list(swara_places()))
plt.ylim(-200, 2000)
plt.grid(axis="y", alpha=0.4)
plt.xlabel("seconds")
plt.show()

# %% [markdown]
# ## Train
#
# Three ragas, each played on three instruments in six keys. The features `tonic_chroma` find the tonic of each clip
# and measure pitch from it.

# %%
RAGAS = ("Hamsanadam", "Kalyani", "Mayamalavagowla")
INSTRUMENTS = ("plucked string", "bowed string", "flute")


def perform(folder: str, raga: str, number: int, tonic: float, instrument: str) -> None:
    """Write a performance of 10 seconds."""
    place = Path(folder, raga)
    place.mkdir(parents=True, exist_ok=True)
    seed = 100 * RAGAS.index(raga) + number
    samples = synthesize_recording(raga, tonic=tonic, timbre=instrument, seconds=10, seed=seed)
    soundfile.write(place / f"{number}.wav", samples, SAMPLING_RATE)


for raga in RAGAS:
    for number in range(9):
        perform("learn", raga, number, 120 + 12 * number, INSTRUMENTS[number % 3])
    for number in range(9, 13):
        perform("test", raga, number, 126 + 24 * (number - 9), "voice")

result = fine_tune(
    "learn",
    SAMAudioConfig(frontend="tonic_chroma", conv_dim=[32, 64], conv_kernel=[5, 5], conv_stride=[2, 2], num_segments=8),
    AudioTrainingArguments(
        "runs/ragas",
        num_train_epochs=12,
        per_device_train_batch_size=8,
        learning_rate=2e-3,
        dataloader_num_workers=0,
        metric_for_best_model="loss",
    ),
    data=DataArguments(test_size=0.2, cache_features=True),
    overwrite=True,
)

# %% [markdown]
# ## Test in other keys, on a voice
#
# None of these tonics and no voice was in the training. With three ragas, chance would be right in a third.

# %%
evaluation = evaluate("runs/ragas", "test")
print(f"accuracy {evaluation.clips['accuracy']:.2f} on {evaluation.clips['count']} performances")

# %% [markdown]
# The whole dataset has eight ragas, more keys and longer recordings. `polyaudio demo` trains on it in a few minutes:
#
# ```bash
# polyaudio demo
# polyaudio train --config carnatic_ragas --dataset ragas:40+concert=0.5
# ```
