# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.

# %% [markdown]
# # Label recordings and see a timeline
#
# A classifier says what a recording is. A timeline says what is heard when, in a recording of any length. This
# notebook makes a few sounds, trains a small model on them, labels new files and draws the timeline of a longer one.
# It takes about a minute on a laptop and needs no data.

# %%
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import soundfile

from polyaudio import AudioTrainingArguments, DataArguments, SAMAudioConfig, annotate, fine_tune, predict
from polyaudio.inference.annotation_plots import plot_annotation

# %% [markdown]
# ## Sounds
#
# Four kinds of sound, each a little different every time: a siren, a bird, an engine, and the wind. For sounds of your
# own, put the files of each kind into a folder with the name of the kind, and leave out this cell.

# %%
RATE = 16000
random = np.random.default_rng(0)


def sound(kind: str, seconds: float) -> np.ndarray:
    """Mono samples from -1 to 1."""
    time = np.arange(round(seconds * RATE)) / RATE
    wind = np.convolve(random.standard_normal(len(time)), np.ones(20) / 20, "same")
    if kind == "siren":
        pitch = random.uniform(600, 900) + 250 * np.sin(2 * np.pi * random.uniform(0.4, 0.9) * time)
        tone = np.sin(2 * np.pi * np.cumsum(pitch) / RATE)
    elif kind == "bird":
        phrase = time * random.uniform(2, 4) % 1
        pitch = random.uniform(2500, 3500) + 1500 * phrase
        tone = np.sin(2 * np.pi * np.cumsum(pitch) / RATE) * np.sin(np.pi * phrase) ** 2
    elif kind == "engine":
        tone = 2 * (time * random.uniform(50, 90) % 1) - 1
    else:
        tone = 0 * time
    return 0.2 * tone + random.uniform(0.05, 0.2) * wind


for kind in ("siren", "bird", "engine", "wind"):
    folder = Path("sounds", kind)
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(12):
        soundfile.write(folder / f"{number}.wav", sound(kind, 2), RATE)

# %% [markdown]
# ## Train
#
# `fine_tune` divides the recordings into a part to learn from and a part to test on, trains, and writes a complete
# model folder. The score is that of recordings which the model has not learned from.

# %%
result = fine_tune(
    "sounds",
    SAMAudioConfig(conv_dim=[16, 32], conv_kernel=[5, 3], conv_stride=[4, 4], num_segments=4),
    AudioTrainingArguments(
        "runs/sounds",
        num_train_epochs=8,
        per_device_train_batch_size=8,
        learning_rate=5e-3,
        dataloader_num_workers=0,
    ),
    data=DataArguments(test_size=0.25),
    overwrite=True,
)
print(f"accuracy on held-out recordings: {result.evaluation.clips['accuracy']:.2f}")

# %% [markdown]
# ## Label files
#
# `predict` takes files, folders and models: the folder from above, or a name on the Hugging Face Hub such as
# `ta012/SSLAM_AS2M_Finetuned`, which knows the 527 sounds of AudioSet.

# %%
for kind in ("bird", "engine"):
    soundfile.write(f"new_{kind}.wav", sound(kind, 3), RATE)
for prediction in predict(["new_bird.wav", "new_engine.wav"], "runs/sounds", top_k=2):
    print(prediction.file, [f"{answer.label} {answer.score:.0%}" for answer in prediction.labels])

# %% [markdown]
# ## See a timeline
#
# `annotate` reads a recording of any length in windows that overlap, and joins the answers to events. A window should
# be about as long as the clips of the training. The picture shows the sound, the scores over time, and the events.

# %%
parts = [sound(kind, 4) for kind in ("wind", "bird", "wind", "siren", "engine", "wind")]
soundfile.write("walk.wav", np.concatenate(parts), RATE)

(annotation,) = annotate("walk.wav", "runs/sounds", window=2, hop=0.5)
for event in annotation.events:
    print(f"{event.onset:5.1f} to {event.offset:5.1f} s  {event.label}")
plot_annotation(annotation, "timeline.png")

plt.figure(figsize=(12, 5))
plt.imshow(plt.imread("timeline.png"))
plt.axis("off")
plt.show()

# %% [markdown]
# The same on the command line, with a page that plays the recording along its events:
#
# ```bash
# polyaudio annotate walk.wav --model runs/sounds --output annotations --window 2 --hop 0.5 --formats csv html
# ```
