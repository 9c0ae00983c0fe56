# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""`polyaudio dataset`: what it measures is what a loop over the files measures."""

import json
import re
from pathlib import Path

import datasets
import numpy as np
import pytest
import soundfile
import yaml

from polyaudio import SSLAMFeatureExtractor, load_audio
from polyaudio.curation.statistics import measure_log_mel
from polyaudio.data.loading import load_recordings
from polyaudio.scripts.dataset import main


SECONDS = {"loose.wav": 1.5, "a/one.wav": 0.7, "a/b/two.flac": 0.31, "c/tick.wav": 0.01, "c/other rate.wav": 0.9}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Recordings without labels, of several lengths, levels and rates; three of them cannot be read."""
    folder = tmp_path_factory.mktemp("recordings")
    rng = np.random.default_rng(0)
    for level, (name, seconds) in enumerate(SECONDS.items(), 1):
        rate = 44100 if "rate" in name else 16000
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(folder / name, 0.02 * level * rng.standard_normal(round(seconds * rate)), rate)
    (folder / "a" / "empty.wav").write_bytes(b"")
    (folder / "c" / "text.mp3").write_text("no sound")
    data = (folder / "a" / "b" / "two.flac").read_bytes()
    (folder / "cut.flac").write_bytes(data[: len(data) // 2])
    return folder


def energies(folder: Path, seconds: float | None = None) -> list[np.ndarray]:
    """The log-mel frames of each readable file, one by one and with nothing padded."""
    extractor = SSLAMFeatureExtractor(mean=0.0, std=0.5)
    return [
        extractor(
            load_audio(folder / name, 16000, duration=seconds), sampling_rate=16000, padding=False, truncation=False
        )["input_values"][0]
        for name in SECONDS
    ]


def test_stats_are_those_of_all_frames(folder, tmp_path, capsys):
    output = tmp_path / "new" / "stats.json"
    assert main(["stats", str(folder), "--num-workers", "2", "--output", str(output)]) == 0
    frames = np.concatenate(energies(folder)).astype(np.float64)
    stats = json.loads(output.read_text())
    assert stats["mean"] == pytest.approx(frames.mean(), abs=1e-6)
    assert stats["std"] == pytest.approx(frames.std(), abs=1e-6)
    assert stats["frames"] == len(frames)
    assert stats["clips"] == 5
    assert stats["hours"] == pytest.approx(sum(SECONDS.values()) / 3600, rel=1e-3)
    assert (stats["dataset"], stats["split"], stats["crop_seconds"]) == (str(folder), "train", 10.0)
    bad = {Path(clip["name"]).name: clip["reason"] for clip in stats["unreadable"]}
    assert set(bad) == {"empty.wav", "text.mp3", "cut.flac"}
    assert "is empty" in bad["empty.wav"]

    out, err = capsys.readouterr()
    assert "3 clips cannot be read" in err
    assert all(name in err for name in bad)
    assert out.startswith("5 clips, 0.001 hours measured\n")
    recipe = yaml.safe_load(out[out.index("feature_extractor:") :])
    assert recipe == {"feature_extractor": {"mean": round(stats["mean"], 4), "std": round(stats["std"], 4)}}
    normalised = SSLAMFeatureExtractor(**recipe["feature_extractor"])
    rows = [
        normalised(load_audio(folder / name, 16000), sampling_rate=16000, padding=False)["input_values"][0]
        for name in SECONDS
    ]
    assert np.concatenate(rows).mean() == pytest.approx(0, abs=1e-4)
    assert np.concatenate(rows).std() == pytest.approx(0.5, abs=1e-4)


def test_long_clips_are_measured_by_a_window(folder, tmp_path):
    def measure(seconds: float, output: str) -> dict:
        path = tmp_path / output
        arguments = ["stats", str(folder), "--crop-seconds", str(seconds), "--num-workers", "0"]
        assert main([*arguments, "--output", str(path)]) == 0
        return json.loads(path.read_text())

    stats = measure(0.5, "half.json")
    assert stats["hours"] == pytest.approx(sum(min(0.5, seconds) for seconds in SECONDS.values()) / 3600, rel=1e-3)
    assert stats["frames"] == sum(map(len, energies(folder, 0.5)))
    assert stats == measure(0.5, "again.json")
    whole = measure_log_mel(load_recordings(str(folder)))
    assert whole.frames == sum(map(len, energies(folder)))
    assert stats["mean"] != whole.mean


def test_a_clip_of_many_frames_is_not_cut(tmp_path):
    """The feature extractor cuts at 1024 frames, unless it is told not to."""
    samples = np.random.default_rng(0).uniform(-0.1, 0.1, 16000 * 12)
    soundfile.write(tmp_path / "long.wav", samples, 16000)
    stats = measure_log_mel(load_recordings(str(tmp_path)), crop_seconds=11.0)
    assert stats.frames == 1 + (16000 * 11 - 400) // 160
    assert stats.seconds == 11.0


def test_stats_of_another_split_and_column(folder, tmp_path, capsys):
    storage = [{"bytes": (folder / name).read_bytes(), "path": None} for name in ("loose.wav", "a/empty.wav")]
    features = {"bytes": datasets.Value("binary"), "path": datasets.Value("string")}
    rows = datasets.Dataset.from_dict({"sound": storage}, features=datasets.Features({"sound": features}))
    datasets.DatasetDict(dev=rows).save_to_disk(tmp_path / "saved")
    saved = str(tmp_path / "saved")
    assert main(["stats", saved, "--split", "dev", "--audio-column", "sound", "--num-workers", "0"]) == 0
    out, err = capsys.readouterr()
    assert out.startswith("1 clips")
    assert "row 1: The clip has no audio" in err
    frames = energies(folder)[0].astype(np.float64)
    assert f"mean {frames.mean():.4f}, standard deviation {frames.std():.4f}" in out
    assert main(["stats", saved, "--audio-column", "sound"]) == 2
    assert "no split 'train', only dev" in capsys.readouterr().err


def test_bad_usage_ends_with_one_line(folder, tmp_path, capsys):
    (tmp_path / "silent").mkdir()
    soundfile.write(tmp_path / "silent" / "1.wav", np.zeros(8000), 16000)
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "1.wav").write_bytes(b"")
    for arguments, message in (
        ([str(tmp_path / "missing")], "neither 'ragas' nor a folder"),
        ([str(tmp_path / "bad")], "None of the 1 clips can be read. The first: .*is empty"),
        ([str(tmp_path / "silent")], "All clips are silent"),
        ([str(folder), "--audio-column", "sound"], "no column 'sound'"),
        ([str(folder), "--crop-seconds", "0"], "crop_seconds must be above 0"),
        ([str(folder), "--num-workers", "-1"], "num_workers"),
    ):
        capsys.readouterr()
        assert main(["stats", "--num-workers", "0", *arguments]) == 2
        err = capsys.readouterr().err.splitlines()
        assert err[-1].startswith("polyaudio dataset: ")
        assert re.search(message, err[-1])
    for arguments in ([], ["measure"], ["stats"], ["stats", str(folder), "--crop", "1"]):
        with pytest.raises(SystemExit) as exit:
            main(arguments)
        assert exit.value.code == 2
