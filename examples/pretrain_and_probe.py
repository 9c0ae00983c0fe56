# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.

# %% [markdown]
# # Pre-train SSLAM and probe what it learned
#
# SSLAM learns from recordings without labels: a student sees a part of a spectrogram, and predicts what a teacher
# makes of all of it. In the second stage it hears mixtures of two clips. This notebook runs both stages at a very
# small size, and measures what the frozen features know.

# %%
from pathlib import Path

import soundfile

from polyaudio import PretrainingArguments, SSLAMConfig, SSLAMForPreTraining, WindowArguments, pretrain, probe
from polyaudio.data.ragas import SAMPLING_RATE, TIMBRES, synthesize_recording

# %% [markdown]
# ## Recordings
#
# Four instruments play. The folders are the labels, which only the probe at the end will see.

# %%
for place, instrument in enumerate(TIMBRES):
    folder = Path("recordings", instrument)
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(8):
        samples = synthesize_recording(
            "Todi", tonic=125 + 9 * number, timbre=instrument, seconds=3, seed=100 * place + number
        )
        soundfile.write(folder / f"{number}.wav", samples, SAMPLING_RATE)

# %% [markdown]
# ## Stage 1: masked clips
#
# The objective of EAT. `clone_batch` is the number of masked views of each clip. A run of 40 updates is a taste: the
# recipe `sslam_tiny_stage1` has 800, and the published model 400,000.

# %%
SIZE = {
    "hidden_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "intermediate_size": 192,
    "decoder_hidden_size": 48,
    "decoder_num_layers": 2,
    "average_top_k_layers": 2,
    "utterance_loss_reduction": "mean",
    "ema_decay": 0.99,
    "ema_end_decay": 0.999,
    "ema_anneal_end_step": 40,
}


def settings(output: str, steps: int) -> PretrainingArguments:
    return PretrainingArguments(
        output,
        max_steps=steps,
        per_device_train_batch_size=8,
        learning_rate=1e-3,
        warmup_steps=5,
        logging_steps=10,
        dataloader_num_workers=0,
    )


windows = WindowArguments(crop_seconds=1.12)
first = pretrain(
    "recordings",
    SSLAMConfig(**SIZE, pretraining_stage=1, clone_batch=4),
    settings("runs/stage1", steps=40),
    windows=windows,
    overwrite=True,
)
losses = [entry["loss"] for entry in first.history if "loss" in entry]
print("loss:", [round(loss, 3) for loss in losses])

# %% [markdown]
# ## Stage 2: mixtures
#
# Two clips are mixed, and the student has to keep apart what belongs to which. The stage begins with the weights of
# the first.

# %%
student = SSLAMForPreTraining.from_pretrained("runs/stage1", pretraining_stage=2, clone_batch=2)
pretrain("recordings", student, settings("runs/stage2", steps=10), windows=windows, overwrite=True)

# %% [markdown]
# ## Probe
#
# A logistic regression learns the instruments from the frozen features of some recordings, and is tested on others.
# The same architecture with random weights goes through the same test. Only the difference is due to training. After
# so few updates it is small, and it may be negative: the figures of real runs are in the documentation.

# %%
report = probe("runs/stage2", "recordings", folds=2)
print(f"pre-trained: accuracy {report.probe.accuracy.mean:.2f}")
for baseline in report.untrained.values():
    print(f"untrained:   accuracy {baseline.accuracy.mean:.2f}")

# %% [markdown]
# The sizes of the recipes, on the command line:
#
# ```bash
# polyaudio pretrain --config sslam_tiny_stage1 --dataset recordings --output-dir runs/stage1
# polyaudio pretrain --config sslam_tiny_stage2 --dataset recordings --output-dir runs/stage2 \
#     --model-name-or-path runs/stage1
# polyaudio probe runs/stage2 --dataset recordings
# ```
