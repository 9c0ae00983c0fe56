# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.

# %% [markdown]
# # Fine-tune on your own folder, with honest splits
#
# A classifier that has heard a recording recognises it again, whatever its class. If a part of that recording is in
# the test, the score is too good. polyaudio keeps the clips of one recording together, compares the audio of both
# sides, and refuses to train on a leak. This notebook shows all three, and how sure the score is.

# %%
import shutil
from pathlib import Path

import soundfile
from transformers import pipeline

from polyaudio import AudioTrainingArguments, DataArguments, SAMAudioConfig, fine_tune, load_audio
from polyaudio.data.ragas import SAMPLING_RATE, synthesize_recording

# %% [markdown]
# ## A folder of recordings
#
# A dataset can be a folder with one subfolder for each class. Here the classes are instruments, which polyaudio plays
# itself. Each recording is cut into two clips. The ending `_chunk0` of the file names says that they belong together,
# so both clips will be on the same side.

# %%
for place, instrument in enumerate(("flute", "plucked string", "voice")):
    folder = Path("instruments", instrument)
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(8):
        recording = synthesize_recording(
            "Kalyani", tonic=130 + 11 * number, timbre=instrument, seconds=6, seed=100 * place + number
        )
        for chunk in range(2):
            clip = recording[chunk * 3 * SAMPLING_RATE : (chunk + 1) * 3 * SAMPLING_RATE]
            soundfile.write(folder / f"take{number}_chunk{chunk}.wav", clip, SAMPLING_RATE)

MODEL = SAMAudioConfig(conv_dim=[16, 32], conv_kernel=[5, 3], conv_stride=[4, 4], num_segments=4)


def settings(output: str) -> AudioTrainingArguments:
    return AudioTrainingArguments(
        output, num_train_epochs=12, per_device_train_batch_size=8, learning_rate=5e-3, dataloader_num_workers=0
    )


# %% [markdown]
# ## A leak is refused
#
# A copy of a recording under another name is a typical leak: the names do not tell. The search compares the audio
# itself, so it finds the copy, and training does not begin.

# %%
copies = Path("with_copies")
shutil.copytree("instruments", copies, dirs_exist_ok=True)
for number in range(8):
    shutil.copy(copies / f"flute/take{number}_chunk0.wav", copies / f"flute/another{number}.wav")
try:
    fine_tune(copies, MODEL, settings("runs/leak"), data=DataArguments(test_size=0.34), overwrite=True)
except ValueError as error:
    print(error)

# %% [markdown]
# ## Let the audio say what belongs together
#
# With `infer_groups=True` the recordings come from the audio: clips that share sound are one recording, and stay on
# one side. The same folder, copies included, is now divided honestly.

# %%
result = fine_tune(
    copies, MODEL, settings("runs/instruments"), data=DataArguments(test_size=0.34, infer_groups=True), overwrite=True
)

# %% [markdown]
# ## How sure is the score?
#
# The interval is a bootstrap over recordings. With so few of them it is wide, and it says so. The last line is the
# score of an answer that is always the most frequent class.

# %%
scores = result.evaluation.clips
low, high = scores.intervals["accuracy"]
print(f"accuracy {scores['accuracy']:.2f} (95 % interval {low:.2f} to {high:.2f})")
print(f"an answer that never listens: {scores['majority_accuracy']:.2f}")

# %% [markdown]
# ## Use the model
#
# The folder is a model of transformers like any other, with a model card that states the split and the score.

# %%
classify = pipeline("audio-classification", model="runs/instruments")
clip = load_audio("instruments/voice/take0_chunk0.wav", sampling_rate=16000)
for answer in classify({"array": clip, "sampling_rate": 16000}, top_k=2):
    print(f"{answer['score']:.0%}  {answer['label']}")
