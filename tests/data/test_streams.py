# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Streams of windows: shared by processes and workers, and the same for a seed."""

import itertools
import json
import os
import re
import subprocess

import fsspec
import numpy as np
import pytest
import soundfile
from torch.utils.data import DataLoader

from builders import RAMP_RATE, audio_column, expected_window, write_ramps
from polyaudio.data.loading import load_recordings
from polyaudio.data.streams import StreamedWindows
from prepared_python import python


def clip_of(item: dict) -> int:
    return int(item["waveform"][0] * 64)


def test_streamed_files_are_fetched():
    memory = fsspec.filesystem("memory")
    samples = np.linspace(-0.5, 0.5, 800, dtype=np.float32)
    with memory.open("/fetched.wav", "wb") as file:
        soundfile.write(file, samples, 8_000, format="WAV", subtype="FLOAT")
    clips = audio_column(["memory://fetched.wav", "memory://missing.wav"]).to_iterable_dataset()
    (item,) = StreamedWindows(clips, 8_000, endless=False)
    np.testing.assert_array_equal(item["waveform"], samples)


def items_of(items: list[dict]) -> list[tuple[int, int]]:
    """A collator of clips and seeds."""
    return [(clip_of(item), item["seed"]) for item in items]


def read_stream(clips, *, epoch: int = 0, processes: int = 1, workers: int = 0, **kwargs) -> list[list[tuple]]:
    """Clips and seeds that each process reads in one pass."""
    read = []
    for process in range(processes):
        data = StreamedWindows(
            clips, RAMP_RATE, endless=False, process_index=process, num_processes=processes, **kwargs
        )
        data.set_epoch(epoch)
        loader = DataLoader(data, batch_size=2, num_workers=workers, collate_fn=items_of)
        read.append([item for batch in loader for item in batch])
    return read


@pytest.mark.parametrize("shards", [1, 3, 20])
def test_processes_and_workers_share_a_stream(tmp_path, shards):
    """Two processes of two workers read each clip once, whether there are shards enough for all four or not."""
    write_ramps(tmp_path, 23)
    clips = load_recordings(str(tmp_path)).to_iterable_dataset(num_shards=shards)
    passes = [read_stream(clips, epoch=epoch, processes=2, workers=2) for epoch in (0, 1)]
    for read in passes:
        assert sorted(clip for process in read for clip, _ in process) == list(range(23))
        assert len({seed for process in read for _, seed in process}) == 23
        assert min(map(len, read)) >= 10
    assert passes[0] != passes[1]
    assert read_stream(clips, processes=2, workers=2) == passes[0]
    assert read_stream(clips, processes=2, workers=1) != passes[0]


def test_stream_follows_from_seed_and_epoch(tmp_path):
    ramps = write_ramps(tmp_path, 12)
    clips = load_recordings(str(tmp_path), streaming=True)
    data = StreamedWindows(clips, RAMP_RATE, crop_seconds=0.1, seed=3, buffer_size=4, endless=False)

    def epoch(number: int) -> list[dict]:
        data.set_epoch(number)
        return list(data)

    first, second = epoch(0), epoch(1)
    for item in first + second:
        window = expected_window(ramps[clip_of(item)], item["seed"], 0.1)
        np.testing.assert_array_equal(item["waveform"], window)
    assert items_of(epoch(0)) == items_of(first)
    assert sorted(map(clip_of, first)) == sorted(map(clip_of, second)) == list(range(12))
    assert [clip_of(item) for item in first] != [clip_of(item) for item in second]
    assert not {item["seed"] for item in first} & {item["seed"] for item in second}
    (other,) = read_stream(clips, crop_seconds=0.1, seed=4, buffer_size=4)
    assert [clip for clip, _ in other] != [clip_of(item) for item in first]
    with pytest.raises(ValueError, match="crop_seconds"):
        StreamedWindows(clips, RAMP_RATE, crop_seconds=-1.0)
    with pytest.raises(ValueError, match="buffer_size"):
        StreamedWindows(clips, RAMP_RATE, buffer_size=0)


def test_a_stream_goes_on_with_the_next_pass(tmp_path):
    write_ramps(tmp_path, 7)
    clips = load_recordings(str(tmp_path), streaming=True)
    data = StreamedWindows(clips, RAMP_RATE)
    read = items_of(list(itertools.islice(data, 21)))
    for epoch in range(3):
        assert [read[7 * epoch : 7 * epoch + 7]] == read_stream(clips, epoch=epoch)
    data.set_epoch(1)
    assert items_of(list(itertools.islice(data, 14))) == read[7:]


def test_a_buffer_mixes_clips_of_one_shard(tmp_path):
    write_ramps(tmp_path, 30)
    clips = load_recordings(str(tmp_path)).to_iterable_dataset()
    orders = {size: [clip for clip, _ in read_stream(clips, buffer_size=size)[0]] for size in (1, 5, 100)}
    in_order = [clip["audio"]["path"] for clip in clips]
    assert [str(tmp_path / f"{clip}.wav") for clip in orders[1]] == in_order
    for size in (5, 100):
        assert sorted(orders[size]) == list(range(30))
        assert orders[size] != orders[1]
    assert all(orders[5].index(clip) >= place - 4 for place, clip in enumerate(orders[1]))


def test_a_stream_leaves_out_what_it_cannot_read(tmp_path, caplog):
    write_ramps(tmp_path, 6)
    (tmp_path / "2.wav").write_bytes(b"")
    (tmp_path / "4.wav").write_text("no sound")
    clips = load_recordings(str(tmp_path), streaming=True)
    (read,) = read_stream(clips)
    assert sorted(clip for clip, _ in read) == [0, 1, 3, 5]
    named = [message for message in caplog.messages if "is left out" in message]
    assert len(named) == 2
    assert any(re.search(r"2\.wav is left out: .*is empty", message) for message in named)
    assert any(re.search(r"4\.wav is left out: .*is not audio", message) for message in named)
    assert caplog.messages[-1].startswith("2 of the 6 clips of reader 1 of 1")
    for path in tmp_path.iterdir():
        path.write_bytes(b"")
    for endless in (False, True):
        with pytest.raises(ValueError, match=r"None of the 6 clips of reader 1 of 1 .*The first: .*is empty"):
            list(StreamedWindows(clips, RAMP_RATE, endless=endless))


def test_a_stream_of_fewer_clips_than_readers(tmp_path):
    write_ramps(tmp_path, 2)
    clips = load_recordings(str(tmp_path), streaming=True)
    assert sorted(map(len, read_stream(clips, processes=3))) == [0, 1, 1]
    with pytest.raises(ValueError, match="no clips for reader 3 of 3"):
        next(iter(StreamedWindows(clips, RAMP_RATE, process_index=2, num_processes=3)))


STREAM_TRAINING = """
import json, sys, torch
from polyaudio.data.streams import StreamedWindows
from polyaudio.data.loading import load_recordings
from polyaudio.training.arguments import PretrainingArguments
from polyaudio.training.pretrainer import PreTrainer

class Recorder(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.weight, self.seen = torch.nn.Parameter(torch.zeros(())), []

    def forward(self, clip, seed):
        self.seen += zip(clip.tolist(), seed.tolist())
        return {"loss": (self.weight - clip.float().mean()).square()}

def collate(items):
    return {
        "clip": torch.tensor([int(item["waveform"][0] * 64) for item in items]),
        "seed": torch.tensor([item["seed"] for item in items]),
    }

def train(resume_from_checkpoint=None):
    args = PretrainingArguments(
        output_dir=output, max_steps=8, per_device_train_batch_size=2, save_steps=3, save_total_limit=None,
        dataloader_num_workers=1, report_to="none", disable_tqdm=True,
    )
    data = StreamedWindows(
        load_recordings(folder, streaming=True), 8000, process_index=args.process_index, num_processes=args.world_size
    )
    trainer = PreTrainer(model=Recorder(), args=args, train_dataset=data, data_collator=collate)
    trainer.train(resume_from_checkpoint=resume_from_checkpoint)
    return args.process_index, trainer.model.seen

folder, output = sys.argv[1:]
process, seen = train()
_, resumed = train(output + "/checkpoint-3")
with open(f"{output}/{process}.json", "w") as file:
    json.dump([seen, resumed], file)
"""


@pytest.mark.slow
def test_two_processes_train_on_a_stream(tmp_path):
    """Each trains on clips of its own, though one has more of them, and after a resumption goes on where it was."""
    write_ramps(tmp_path / "clips", 11)
    (tmp_path / "program.py").write_text(STREAM_TRAINING)
    command = [python(), "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2"]
    command += ["--mixed_precision", "no", "--num_machines", "1", "--dynamo_backend", "no", "--main_process_port", "0"]
    command += [str(tmp_path / "program.py"), str(tmp_path / "clips"), str(tmp_path)]
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "PYTHON_EXEC": python()}
    result = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert result.returncode == 0, result.stderr[-3000:]
    runs = [json.loads((tmp_path / f"{process}.json").read_text()) for process in range(2)]
    for seen, resumed in runs:
        assert len(seen) == 8 * 2
        assert resumed == seen[3 * 2 :]
    (first, _), (second, _) = runs
    for one_pass in (first[:6] + second[:5], first[6:12] + second[5:10]):
        assert sorted(clip for clip, _ in one_pass) == list(range(11))
