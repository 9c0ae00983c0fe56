# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.

# %% [markdown]
# # Embed and search a collection
#
# An embedding is a vector that stands for a recording. Recordings that sound alike have vectors that point the same
# way. This notebook computes the vectors of a small collection, finds what sounds like a new recording, and finds
# near-duplicates. The same calls work for millions of recordings.

# %%
import shutil
from pathlib import Path

import soundfile

from polyaudio import (
    AudioTrainingArguments,
    DataArguments,
    SAMAudioConfig,
    build_index,
    embed_collection,
    find_duplicates,
    find_recordings,
    fine_tune,
    search,
)
from polyaudio.data.ragas import SAMPLING_RATE, TIMBRES, synthesize_recording

# %% [markdown]
# ## A collection
#
# Four instruments play, eight recordings each. With recordings of your own, name their folder below and leave out this
# cell.

# %%
for place, instrument in enumerate(TIMBRES):
    folder = Path("collection", instrument)
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(8):
        samples = synthesize_recording(
            "Todi", tonic=125 + 9 * number, timbre=instrument, seconds=3, seed=100 * place + number
        )
        soundfile.write(folder / f"{number}.wav", samples, SAMPLING_RATE)

# %% [markdown]
# ## A model
#
# Any audio model gives vectors, also those of the Hugging Face Hub: `ta012/SSLAM_pretrain` is a good start for all
# kinds of sound. To need no download, this notebook trains a small one on the labels of the collection.

# %%
fine_tune(
    "collection",
    SAMAudioConfig(conv_dim=[16, 32], conv_kernel=[5, 3], conv_stride=[4, 4], num_segments=4),
    AudioTrainingArguments(
        "runs/listener",
        num_train_epochs=8,
        per_device_train_batch_size=8,
        learning_rate=5e-3,
        dataloader_num_workers=0,
    ),
    data=DataArguments(test_size=0.25),
    overwrite=True,
)

# %% [markdown]
# ## Embed
#
# `embed_collection` writes Parquet files with one row for each recording: its name, its vector, and checksums of the
# sound and of the weights. A run that was stopped goes on where it was. DuckDB, polars and `datasets` read the files.

# %%
report = embed_collection(find_recordings(["collection"]), "runs/listener", "features")
print(f"{report.written} vectors written, {report.skipped} were there already")

# %% [markdown]
# ## Search
#
# `build_index` prepares the search. A query can be an audio file that is not in the collection: it is embedded by the
# same model. A score of 1 means that two vectors point the same way.

# %%
build_index("features", "index", approximate=False)
soundfile.write(
    "query.wav", synthesize_recording("Todi", tonic=150, timbre="flute", seconds=3, seed=999), SAMPLING_RATE
)
(result,) = search(["query.wav"], "index", top_k=4)
for hit in result.hits:
    print(f"{hit.score:.3f}  {hit.file}")

# %% [markdown]
# ## Near-duplicates
#
# Collections from the web hold many recordings twice. After a copy is added, only the new file is embedded, and
# `find_duplicates` finds the pair.

# %%
shutil.copy("collection/voice/3.wav", "collection/voice/copy.wav")
report = embed_collection(find_recordings(["collection"]), "runs/listener", "features")
build_index("features", "index", approximate=False)
for group in find_duplicates("index", threshold=0.99999):
    print(" = ".join(one.file for one in group))
