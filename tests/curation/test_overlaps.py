# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Clips that hold the same audio are found, whatever was done to them, and others are not."""

import json
from collections.abc import Mapping
from pathlib import Path

import datasets
import numpy as np
import pytest
import soundfile
import torch
import torchaudio

from polyaudio.augmentation.waveforms import PitchShift
from polyaudio.curation.leaks import check_dataset
from polyaudio.curation.overlaps import Overlap, find_overlaps, infer_groups, infer_recordings
from polyaudio.data.loading import load_clips
from polyaudio.data.locks import locked
from polyaudio.data.ragas import synthesize_recording
from polyaudio.scripts.dataset import main


RATE = 16000


def noise(seed: int, seconds: float) -> np.ndarray:
    """Noise that falls by 3 dB an octave, its level changing all the time."""
    rng = np.random.default_rng(seed)
    spectrum = np.fft.rfft(rng.standard_normal(round(seconds * RATE)))
    samples = np.fft.irfft(spectrum / np.sqrt(50 + np.arange(len(spectrum))), round(seconds * RATE))
    levels = rng.uniform(0.05, 1, round(5 * seconds) + 2)
    return to_peak(samples * np.interp(np.arange(len(samples)) * 5 / RATE, np.arange(len(levels)), levels))


def melody(seed: int, seconds: float) -> np.ndarray:
    """Notes of one instrument on the keys of two octaves."""
    rng, notes = np.random.default_rng(seed), []
    while sum(map(len, notes)) < seconds * RATE:
        time = np.arange(round(rng.uniform(0.1, 0.6) * RATE)) / RATE
        phase = 2 * np.pi * 220 * 2 ** (rng.integers(24) / 12) * time
        notes.append(np.exp(-3 * time) * sum(np.sin(number * phase) / number for number in range(1, 6)))
    return to_peak(np.concatenate(notes)[: round(seconds * RATE)])


def drone(seconds: float) -> np.ndarray:
    phase = 2 * np.pi * 146.8 * np.arange(round(seconds * RATE)) / RATE
    return to_peak(sum(np.sin(number * phase) / number for number in range(1, 6)))


def raga(seed: int, seconds: float = 10, name: str = "Kalyani", tonic: float = 150.0) -> np.ndarray:
    timbre = ("flute", "plucked string", "bowed string", "voice")[seed % 4]
    return synthesize_recording(name, tonic=tonic, timbre=timbre, seconds=seconds, seed=seed)


def shift(samples: np.ndarray, semitones: float) -> np.ndarray:
    return PitchShift(3, RATE).shift(torch.from_numpy(samples).float(), semitones).numpy()


def faster(samples: np.ndarray, semitones: float) -> np.ndarray:
    """Higher because it is played faster."""
    ratio = 2 ** (semitones / 12)
    return np.interp(np.arange(0, len(samples) - 1, ratio), np.arange(len(samples)), samples)


def to_peak(samples: np.ndarray, peak: float = 0.9) -> np.ndarray:
    return peak * samples / np.abs(samples).max()


def write(folder: Path, waveforms: Mapping[str, np.ndarray], rate: int = RATE) -> datasets.Dataset:
    """The clips in the order of `waveforms`."""
    for name, samples in waveforms.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(folder / name, samples, rate)
    paths = [str(folder / name) for name in waveforms]
    return datasets.Dataset.from_dict({"audio": paths}).cast_column("audio", datasets.Audio(decode=False))


@pytest.mark.parametrize("make", [noise, melody])
@pytest.mark.parametrize("ending", ["wav", "ogg", "mp3"])
def test_copies_are_found(make, ending, tmp_path):
    clips = {f"{seed}.wav": make(seed, 5) for seed in range(4)}
    clips |= {f"copy.{ending}": clips["1.wav"], f"soft.{ending}": 0.3 * clips["2.wav"]}
    overlaps, unreadable = find_overlaps(write(tmp_path, clips))
    assert [overlap[:2] for overlap in overlaps] == [(1, 4), (2, 5)]
    assert not unreadable
    for overlap in overlaps:
        assert overlap.offset == pytest.approx(0, abs=0.001)
        assert overlap.seconds == pytest.approx(5, abs=0.1)
        assert 0.9 < overlap.similarity <= 1.0001


@pytest.mark.parametrize("make", [raga, melody])
def test_copies_of_another_pitch_are_found(make, tmp_path):
    clips = {f"{seed}.wav": make(seed, 10) for seed in range(5)}
    semitones = [-2, -1, -0.5, 1, 2]
    clips |= {f"copy {seed}.wav": 0.3 * shift(clips[f"{seed}.wav"], semitones[seed]) for seed in range(5)}
    rows = write(tmp_path, clips)
    overlaps, unreadable = find_overlaps(rows)
    assert [overlap[:2] for overlap in overlaps] == [(seed, seed + 5) for seed in range(5)]
    assert not unreadable
    for overlap in overlaps:
        assert overlap.semitones == pytest.approx(semitones[overlap.first], abs=0.1)
        assert overlap.offset == pytest.approx(0, abs=0.05)
        assert overlap.seconds == pytest.approx(10, abs=0.05)
        assert 0.6 < overlap.similarity <= 1.0001
    assert infer_groups(10, overlaps).tolist() == [0, 1, 2, 3, 4, 0, 1, 2, 3, 4]
    assert find_overlaps(rows, max_semitones=0)[0] == []
    assert [overlap[:2] for overlap in find_overlaps(rows, max_semitones=1)[0]] == [(1, 6), (2, 7), (3, 8)]


@pytest.mark.parametrize("semitones", [-2, 2])
def test_pitch_shift_of_torchaudio(semitones, tmp_path):
    samples = torchaudio.functional.resample(torch.from_numpy(raga(0, 6)), RATE, 44100)
    shifted = torchaudio.functional.pitch_shift(samples, 44100, semitones)
    clips = {"0.wav": samples.numpy(), "copy.wav": 0.5 * shifted.numpy()}
    (overlap,), _ = find_overlaps(write(tmp_path, clips, 44100))
    assert overlap.semitones == pytest.approx(semitones, abs=0.1)
    assert overlap.seconds == pytest.approx(6, abs=0.05)


def test_chunks_of_another_pitch_are_grouped(tmp_path):
    """The second chunk is higher, the third lower because it is slower."""
    clips = {}
    for seed in range(3):
        samples = raga(seed, 14)
        clips[f"{seed} a.wav"] = samples[: 8 * RATE]
        clips[f"{seed} b.wav"] = to_peak(shift(samples, 1.5)[3 * RATE : 11 * RATE], 0.2)
        clips[f"{seed} c.wav"] = to_peak(faster(samples[4 * RATE : 12 * RATE], -1))
    overlaps, _ = find_overlaps(write(tmp_path, clips))
    assert infer_groups(9, overlaps).tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    found = {overlap[:2]: overlap for overlap in overlaps}
    for first in (0, 3, 6):
        higher, slower = found[first, first + 1], found[first, first + 2]
        assert higher.semitones == pytest.approx(1.5, abs=0.1)
        assert (higher.offset, higher.seconds) == pytest.approx((3, 5), abs=0.05)
        assert slower.semitones == pytest.approx(-1, abs=0.1)
        assert (slower.offset, slower.seconds) == pytest.approx((4, 4), abs=0.1)


def test_recordings_of_a_raga_are_no_copies(tmp_path):
    """One raga and instrument over drones in unison and by semitones apart."""
    tonics = 150 * 2 ** (np.array([0, 0, 1, 2, -1]) / 12)
    clips = {f"{number}.wav": raga(4 * number, tonic=tonic) for number, tonic in enumerate(tonics)}
    clips |= {
        f"slow {number}.wav": raga(4 * number + 1, name="Todi", tonic=tonic) for number, tonic in enumerate(tonics)
    }
    assert find_overlaps(write(tmp_path, clips)) == ([], [])


def test_a_copy_of_the_same_pitch_is_reported_as_that(tmp_path):
    samples = raga(1)
    (overlap,), _ = find_overlaps(write(tmp_path, {"0.wav": samples, "1.wav": 0.2 * samples[2 * RATE :]}))
    assert overlap.semitones == 0
    assert overlap.offset == pytest.approx(2, abs=0.001)


def test_a_shifted_copy_in_the_other_set_is_a_leak(tmp_path):
    samples = [raga(seed, 8) for seed in range(3)]
    train = write(tmp_path / "train", {"0.wav": samples[0], "1.wav": samples[1], "again.wav": shift(samples[0], 1)})
    test = write(tmp_path / "test", {"2.wav": samples[2], "3.wav": shift(samples[1], -1)})
    both, sides = datasets.concatenate_datasets([train, test]), [0, 0, 0, 1, 1]
    (overlap,), _ = find_overlaps(both, sides=sides)
    assert overlap[:2] == (1, 4)
    assert overlap.semitones == pytest.approx(-1, abs=0.1)
    assert find_overlaps(both, sides=sides, max_semitones=0) == ([], [])


@pytest.mark.parametrize("make", [noise, melody])
def test_chunks_that_overlap_are_grouped(make, tmp_path):
    """Three recordings in chunks of 4 s, each at its own level, every other one at another rate."""
    clips, expected = {}, []
    for seed in range(3):
        samples = make(seed, 10)
        for start in (0, 2, 4, 6):
            clips[f"{len(clips)}.flac"] = to_peak(samples[start * RATE : (start + 4) * RATE])
            expected.append(seed)
    rows = write(tmp_path, clips)
    for row in range(1, len(rows), 2):
        other_rate = np.fft.irfft(np.fft.rfft(clips[f"{row}.flac"]), 4 * 22050) * 22050 / RATE
        write(tmp_path, {f"{row}.flac": other_rate}, 22050)
    overlaps, _ = find_overlaps(rows)
    assert infer_groups(len(rows), overlaps).tolist() == expected
    assert len(overlaps) == 9
    for overlap in overlaps:
        assert overlap.offset == pytest.approx(2, abs=0.001)
        assert overlap.seconds == pytest.approx(2, abs=0.001)
    assert find_overlaps(rows)[0] == overlaps


def test_a_short_overlap_has_the_sign_of_its_offset(tmp_path):
    samples = noise(0, 19)
    clips = write(tmp_path, {"late.wav": samples[9 * RATE :], "early.wav": samples[: 10 * RATE + RATE // 2]})
    (overlap,), _ = find_overlaps(clips)
    assert overlap.offset == pytest.approx(-9, abs=0.001)
    assert overlap.seconds == pytest.approx(1.5, abs=0.001)


def test_a_drone_and_silence_are_no_overlap(tmp_path):
    rng = np.random.default_rng(0)
    clips = {f"{seed}.wav": drone(6) + 0.1 * melody(seed, 6) for seed in range(3)}
    clips |= {f"hiss {seed}.wav": drone(6) + 0.003 * rng.standard_normal(6 * RATE) for seed in range(3)}
    clips |= {"silence.wav": np.zeros(5 * RATE), "more.wav": np.zeros(5 * RATE)}
    clips |= {f"dither {seed}.wav": rng.integers(-1, 2, 5 * RATE) / 2**15 for seed in range(2)}
    assert find_overlaps(write(tmp_path, {name: 0.5 * samples for name, samples in clips.items()})) == ([], [])


def test_short_and_unreadable_clips(tmp_path):
    hit = noise(5, 0.4) * np.exp(-8 * np.linspace(0, 1, round(0.4 * RATE)))
    clips = {"hit.wav": hit, "other.wav": noise(6, 0.4), "copy.wav": 0.5 * hit, "one.wav": np.ones(1), "bad.wav": hit}
    rows = write(tmp_path, clips)
    (tmp_path / "bad.wav").write_bytes(b"")
    (overlap,), (bad,) = find_overlaps(rows)
    assert overlap[:2] == (0, 2)
    assert overlap.seconds == pytest.approx(0.4)
    assert bad.name.endswith("bad.wav")
    assert "is empty" in bad.reason


def test_bad_arguments(tmp_path):
    rows = write(tmp_path, {"a.wav": np.zeros(100)})
    with pytest.raises(ValueError, match="2 sides"):
        find_overlaps(rows, sides=[0, 1])
    with pytest.raises(ValueError, match="min_similarity"):
        find_overlaps(rows, min_similarity=1.5)
    for semitones in (-1, 7, float("nan")):
        with pytest.raises(ValueError, match="max_semitones"):
            find_overlaps(rows, max_semitones=semitones)
    (tmp_path / "a.wav").unlink()
    with pytest.raises(ValueError, match=r"None of the 1 clips can be read.*does not exist"):
        find_overlaps(rows)


def test_only_what_two_sets_share_is_a_leak(tmp_path):
    samples = [noise(seed, 4) for seed in range(3)]
    train = write(tmp_path / "train", {"0.wav": samples[0], "1.wav": samples[1], "again.wav": samples[0]})
    test = write(tmp_path / "test", {"2.wav": samples[2], "3.wav": samples[1]})
    both = datasets.concatenate_datasets([train, test])
    (overlap,), _ = find_overlaps(both, sides=[0, 0, 0, 1, 1])
    assert overlap[:2] == (1, 4)
    assert find_overlaps(both.select(range(4)), sides=[0, 0, 0, 1]) == ([], [])


def test_groups_are_connected_components():
    overlaps = [Overlap(first, second, 0.0, 1.0, 1.0) for first, second in ((3, 5), (1, 4), (2, 3), (2, 5))]
    assert infer_groups(7, overlaps).tolist() == [0, 1, 2, 2, 1, 2, 3]


def test_command_on_splits(tmp_path, capsys):
    data = tmp_path / "data"
    samples = {seed: noise(seed, 3) for seed in range(4)}
    write(data, {"train/a/1.wav": samples[0], "train/b/2.wav": samples[1], "train/b/3.wav": samples[1]})
    write(data, {"test/a/4.wav": samples[2], "test/b/5.wav": samples[3]})
    (data / "train" / "a" / "bad.wav").write_bytes(b"")
    assert main(["check", str(data)]) == 0
    out, err = capsys.readouterr()
    assert "No leak found" in out
    assert "1 clips cannot be read" in err
    write(data, {"test/a/6.flac": 0.3 * samples[0][RATE:]})
    output = tmp_path / "new" / "check.json"
    assert main(["check", str(data), "--output", str(output)]) == 1
    out = capsys.readouterr().out
    assert "LEAK: 1 pairs" in out
    assert "train/a/1.wav" in out
    assert "2.00 s in common, from 0.00 s of the first and 1.00 s of the second" in out
    report = json.loads(output.read_text())
    assert report["leak"] is True
    clips = report["clips"]
    pairs = [
        [Path(clips[pair[side]]["name"]).name for side in ("first", "second")]
        for pair in report["pairs"]
        if pair["across_splits"]
    ]
    assert [sorted(pair) for pair in pairs] == [["1.wav", "6.flac"]]
    group_of = {Path(clip["name"]).name: clip["group"] for clip in clips}
    assert group_of["2.wav"] == group_of["3.wav"] != group_of["1.wav"] == group_of["6.flac"]
    assert len(set(group_of.values())) == 5


def test_command_on_data_without_splits(tmp_path, capsys):
    data = tmp_path / "data"
    for seed in range(4):
        samples = noise(seed, 5)
        chunks = {f"{part}": samples[part * RATE : (part + 3) * RATE] for part in (0, 1, 2)}
        write(data / "ab"[seed % 2], {f"{seed}_chunk{part}.wav": chunk for part, chunk in chunks.items()})
    assert main(["check", str(data), "--test-size", "0.5"]) == 0
    assert "12 pairs of them have the same audio" in capsys.readouterr().out
    for path in data.rglob("*.wav"):
        path.rename(path.with_name(path.name.replace("_chunk", "take")))
    assert main(["check", str(data), "--test-size", "0.5"]) == 1
    out = capsys.readouterr().out
    assert "12 pairs come from different recordings" in out
    assert "and 2 more" in out
    output = tmp_path / "check.json"
    assert main(["check", str(data), "--test-size", "0.5", "--infer-groups", "--output", str(output)]) == 0
    assert "0 pairs cross a split by recording" in capsys.readouterr().out
    clips = json.loads(output.read_text())["clips"]
    assert len({clip["group"] for clip in clips}) == len({(clip["group"], clip["split"]) for clip in clips}) == 4


def test_bad_usage(tmp_path, capsys):
    write(tmp_path / "data", {"train/a/1.wav": noise(0, 1), "test/a/2.wav": noise(1, 1)})
    for arguments, message in (
        ([str(tmp_path / "missing")], "neither 'ragas' nor a folder"),
        ([str(tmp_path / "data"), "--infer-groups"], "is divided"),
        ([str(tmp_path / "data"), "--group-column", "concert"], "no column 'concert'"),
        ([str(tmp_path / "data" / "train")], "no class has two recordings"),
    ):
        assert main(["check", *arguments]) == 2
        assert message in capsys.readouterr().err


def test_recordings_are_inferred_from_python(tmp_path, caplog):
    samples = {seed: noise(seed, 4) for seed in range(2)}
    clips = {"0.wav": samples[0], "1.wav": samples[1], "2.wav": 0.5 * samples[0][RATE:], "bad.wav": samples[0]}
    rows = write(tmp_path, clips)
    (tmp_path / "bad.wav").write_bytes(b"")
    rows = rows.add_column("recording", ["one"] * 4)
    with caplog.at_level("INFO", logger="polyaudio"):
        inferred = infer_recordings(rows)
    assert inferred.clips["recording"][:] == ["group_0", "group_1", "group_0", "group_2"]
    assert [overlap[:2] for overlap in inferred.overlaps] == [(0, 2)]
    assert [Path(clip.name).name for clip in inferred.unreadable] == ["bad.wav"]
    assert "3 recordings inferred from the audio of 4 clips" in caplog.text
    assert rows["recording"][:] == ["one"] * 4


def test_check_dataset_from_python(tmp_path, capsys):
    samples = [noise(seed, 3) for seed in range(4)]
    for number, one in enumerate([*samples, 0.5 * samples[0]]):
        write(tmp_path / "ab"[number % 2], {f"{number}.wav": one})
    clips = load_clips(str(tmp_path))
    check = check_dataset(clips, test_size=0.5)
    assert (check.has_splits, check.has_leak, check.num_clips) == (False, True, 5)
    assert [pair[:2] for pair in check.across_recordings] == [(0, 2)]
    assert check.groups == [0, 1, 0, 2, 3]
    (leak,) = check.report.leaks
    assert (Path(leak.first).name, Path(leak.second).name) == ("0.wav", "4.wav")
    inferred = check_dataset(clips, infer_groups=True, test_size=0.5)
    assert not inferred.has_leak
    assert inferred.across_splits == inferred.across_recordings == []
    assert inferred.overlaps == check.overlaps
    assert capsys.readouterr().out == ""


def test_clips_with_one_jingle_are_connected(tmp_path):
    """They are more than a key pairs with each other."""
    jingle = melody(0, 1)
    clips = {f"{number:02}.wav": (0.5 + number / 100) * jingle for number in range(36)}
    overlaps, _ = find_overlaps(write(tmp_path, clips | {"other.wav": melody(1, 1)}), max_semitones=0)
    assert infer_groups(37, overlaps).tolist() == [0] * 36 + [1]


@pytest.fixture(scope="module")
def collection(tmp_path_factory) -> datasets.Dataset:
    """Clips with a copy, an overlap and a copy of another pitch, a jingle in three of them, and two without sound."""
    folder, jingle, long = tmp_path_factory.mktemp("collection"), melody(100, 2), noise(50, 8)
    samples = [np.concatenate([noise(seed, 1), jingle]) for seed in range(3)]
    samples += [melody(seed, 5) for seed in range(3)]
    samples += [0.3 * samples[3], long[: 5 * RATE], long[3 * RATE :], shift(samples[4], 1.5), np.zeros(RATE)]
    rows = write(folder, {f"{number:02}.wav": one for number, one in enumerate(samples)} | {"bad.wav": long})
    (folder / "bad.wav").write_bytes(b"RIFF")
    return rows


@pytest.fixture(scope="module")
def pairs(collection) -> tuple[list[Overlap], list]:
    found = find_overlaps(collection)
    assert [overlap[:2] for overlap in found[0]] == [(0, 1), (0, 2), (1, 2), (3, 6), (4, 9), (7, 8)]
    assert [Path(clip.name).name for clip in found[1]] == ["bad.wav"]
    return found


@pytest.mark.parametrize("num_workers", [1, 2])
def test_processes_find_what_threads_find(collection, pairs, num_workers):
    assert find_overlaps(collection, num_workers=num_workers) == pairs


def test_what_does_not_fit_in_memory_is_found_too(collection, pairs, monkeypatch):
    """The keys of each clip are written apart, and few rows of a table are in memory at a time."""
    monkeypatch.setattr("polyaudio.curation.fingerprint_shards._KEYS", 1)
    monkeypatch.setattr("polyaudio.curation.candidates._KEY_ROWS", 2048)
    monkeypatch.setattr("polyaudio.curation.candidates._ROWS", 2048)
    assert find_overlaps(collection) == pairs


def test_without_room_to_sort(collection, monkeypatch, tmp_path):
    monkeypatch.setattr("polyaudio.curation.candidates._MEMORY", "1KB")
    with pytest.raises(OSError, match=r"cannot be sorted in .*Make room there"):
        find_overlaps(collection, cache=tmp_path)


def test_of_doubtful_pairs_only_some_are_compared(collection, pairs, monkeypatch, caplog):
    monkeypatch.setattr("polyaudio.curation.candidates._MOST_DOUBTFUL", 0)
    with caplog.at_level("INFO", logger="polyaudio"):
        assert find_overlaps(collection) == pairs
    assert "alignments of two clips were not compared" in caplog.text


def test_a_run_continues_with_its_cache(collection, pairs, tmp_path):
    cache = tmp_path / "new" / "cache"
    assert find_overlaps(collection, cache=cache) == pairs
    shards = {path: path.stat().st_mtime_ns for path in cache.iterdir()}
    missing = sorted(shards)[:3]
    for path in missing:
        path.unlink()
    (cache / f".{missing[0].name}.1.incomplete").write_bytes(b"of a run that was killed")
    (cache / "tmp123").mkdir()
    assert find_overlaps(collection, cache=cache, num_workers=1) == pairs
    assert set(cache.iterdir()) == set(shards)
    assert {path for path in shards if path.stat().st_mtime_ns != shards[path]} == set(missing)


def test_a_cache_knows_the_audio(tmp_path):
    clips = {name: noise(seed, 3) for seed, name in enumerate(("0.wav", "1.wav", "2.wav"))}
    rows, cache = write(tmp_path, clips), tmp_path / "cache"
    assert find_overlaps(rows, cache=cache) == ([], [])
    write(tmp_path, {"2.wav": clips["0.wav"]})
    assert [overlap[:2] for overlap in find_overlaps(rows, cache=cache)[0]] == [(0, 2)]
    (tmp_path / "2.wav").unlink()
    overlaps, (bad,) = find_overlaps(rows, cache=cache)
    assert (overlaps, Path(bad.name).name) == ([], "2.wav")


def test_a_cache_is_for_one_process(tmp_path):
    rows = write(tmp_path, {"0.wav": noise(0, 1)})
    with (
        locked(tmp_path / "cache" / ".lock"),
        pytest.raises(ValueError, match="Another process uses the cache"),
    ):
        find_overlaps(rows, cache=tmp_path / "cache")
