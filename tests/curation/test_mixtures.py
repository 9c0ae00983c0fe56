"""`polyaudio dataset mix`: soundscapes in which the recordings sound where and as loud as they are said to."""

import csv
import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile

from polyaudio.curation.leaks import find_leaks
from polyaudio.curation.mixtures import mix_dataset, write_mixtures
from polyaudio.data.labels import FRAMES, MULTI_LABEL, task_of
from polyaudio.data.loading import load_clips
from polyaudio.scripts.dataset import main
from polyaudio.scripts.train import main as train


RATE = 8000
CLASSES = ["cat", "dog", "rain"]
PER_CLASS = 8


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Noise between silence, each recording of another length and level."""
    folder = tmp_path_factory.mktemp("sounds")
    for number in range(len(CLASSES) * PER_CLASS):
        rng = np.random.default_rng(number)
        sound = rng.uniform(0.01, 0.3) * rng.uniform(-1, 1, length_of(number))
        silence = [np.zeros(80 * int(frames)) for frames in rng.integers(0, 30, 2)]
        path = folder / CLASSES[number % len(CLASSES)] / f"{number}.wav"
        path.parent.mkdir(exist_ok=True)
        soundfile.write(path, np.concatenate([silence[0], sound, silence[1]]), RATE)
    return folder


def length_of(number: int) -> int:
    """Samples of a recording's sound, whole frames of 10 ms, by which a recording is known again."""
    return 80 * (20 + 3 * number)


def recording_of(samples: int) -> int:
    number = (samples // 80 - 20) // 3
    assert length_of(number) == samples
    return number


def sound_of(folder: Path, number: int) -> np.ndarray:
    waveform, _ = soundfile.read(folder / CLASSES[number % len(CLASSES)] / f"{number}.wav")
    heard = np.flatnonzero(waveform)
    return waveform[heard[0] // 80 * 80 :][: length_of(number)]


def rows_of(folder: Path) -> list[dict[str, str]]:
    with open(folder / "metadata.csv", newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def events_of(folder: Path) -> dict[str, list[tuple[int, int, str]]]:
    """For each file of a mixed folder its events, in samples."""
    events: dict[str, list[tuple[int, int, str]]] = {}
    for row in rows_of(folder):
        onset, offset = (round(float(row[key]) * RATE) for key in ("onset", "offset"))
        events.setdefault(row["file_name"], []).append((onset, offset, row["label"]))
    return events


def mix(source: Path, output: Path, *arguments: object) -> int:
    return main(["mix", str(source), "--output", str(output), "--sampling-rate", str(RATE), *map(str, arguments)])


@pytest.fixture(scope="module")
def mixed(folder, tmp_path_factory) -> Path:
    output = tmp_path_factory.mktemp("mixed") / "events"
    clips = ["--clips", 30, "--validation-clips", 12, "--test-clips", 12]
    assert mix(folder, output, *clips, "--seconds", 3) == 0
    return output


def test_recordings_sound_where_and_as_loud_as_they_are_said_to(folder, tmp_path):
    """What is left of a clip when the recordings are taken out at their onsets is the soft noise."""
    recordings = load_clips(str(folder))["train"]
    assert write_mixtures(recordings, tmp_path / "a", num_clips=40, seconds=3.0, sampling_rate=RATE, seed=3) == []
    clips = events_of(tmp_path / "a")
    assert list(clips) == sorted(path.name for path in (tmp_path / "a").glob("*.flac"))
    assert {len(events) for events in clips.values()} == {1, 2, 3, 4}
    spreads = []
    for file, events in clips.items():
        waveform, rate = soundfile.read(tmp_path / "a" / file)
        assert (len(waveform), rate) == (3 * RATE, RATE)
        assert np.abs(waveform).max() == pytest.approx(0.5, abs=1e-3)
        assert [onset for onset, _, _ in events] == sorted(onset for onset, _, _ in events)
        columns, levels = [], []
        for onset, offset, label in events:
            number = recording_of(offset - onset)
            assert label == CLASSES[number % len(CLASSES)]
            sound = sound_of(folder, number)
            columns.append(np.zeros(len(waveform)))
            columns[-1][onset:offset] = sound
            levels.append(np.sqrt(np.mean(sound**2)))
        gains = np.linalg.lstsq(np.stack(columns, 1), waveform, rcond=None)[0]
        levels = np.log10(gains * levels)
        spreads.append(20 * (levels.max() - levels.min()))
        noise = waveform - np.stack(columns, 1) @ gains
        assert -61 < 20 * (np.log10(noise.std()) - levels.max()) < -48
    assert 5 < max(spreads) < 10.2
    uses = Counter(recording_of(offset - onset) for events in clips.values() for onset, offset, _ in events)
    assert len(uses) == len(recordings)
    assert max(uses.values()) - min(uses.values()) <= 1

    assert np.std([onset for events in clips.values() for onset, _, _ in events]) > 0.4 * RATE
    write_mixtures(
        recordings, tmp_path / "b", num_clips=10, seconds=3.0, sampling_rate=RATE, level_range=0, max_sources=2
    )
    two = [file for file, events in events_of(tmp_path / "b").items() if len(events) == 2]
    assert two
    for file in two:
        waveform, _ = soundfile.read(tmp_path / "b" / file)
        first, second = events_of(tmp_path / "b")[file]
        if first[1] <= second[0]:  # they do not sound together
            powers = [np.mean(waveform[onset:offset] ** 2) for onset, offset, _ in (first, second)]
            assert powers[0] == pytest.approx(powers[1], rel=0.01)


def test_other_rates_and_channels(tmp_path):
    """A tone between faint noise, at 44.1 kHz on one of two channels."""
    rng = np.random.default_rng(0)
    for number in range(4):
        seconds = 0.5 + 0.1 * number
        tone = 0.4 * np.sin(2 * np.pi * (500 + 100 * number) * np.arange(round(seconds * 44100)) / 44100)
        waveform = np.concatenate([np.zeros(22050), tone, np.zeros(11025)])
        noise = 1e-4 * rng.standard_normal(len(waveform))
        (tmp_path / "in" / "ab"[number % 2]).mkdir(parents=True, exist_ok=True)
        soundfile.write(tmp_path / "in" / "ab"[number % 2] / f"{number}.flac", np.stack([waveform, noise], 1), 44100)
    recordings = load_clips(str(tmp_path / "in"))["train"]
    write_mixtures(recordings, tmp_path / "out", num_clips=8, seconds=2.0, sampling_rate=RATE, max_sources=1)
    found = []
    for file, [(onset, offset, label)] in events_of(tmp_path / "out").items():
        waveform, _ = soundfile.read(tmp_path / "out" / file)
        heard = np.flatnonzero(np.abs(waveform) > 0.05)
        assert abs(heard[0] - onset) < 0.02 * RATE
        assert abs(heard[-1] - offset) < 0.02 * RATE
        number = round((offset - onset) / RATE * 10) - 5
        assert label == "ab"[number % 2]
        spectrum = np.abs(np.fft.rfft(waveform[onset:offset]))
        assert np.argmax(spectrum) * RATE / (offset - onset) == pytest.approx(500 + 100 * number, abs=3)
        found.append(number)
    assert Counter(found) == dict.fromkeys(range(4), 2)


def test_recordings_longer_than_a_clip(tmp_path):
    """Their beginning is taken, without the silence that it may end with."""
    rng = np.random.default_rng(0)
    burst, pause = 0.1 * rng.uniform(-1, 1, 4 * RATE), np.zeros(3 * RATE)
    (tmp_path / "in" / "long").mkdir(parents=True)
    (tmp_path / "in" / "pauses").mkdir()
    soundfile.write(tmp_path / "in" / "long" / "0.wav", np.concatenate([pause, burst]), RATE)
    soundfile.write(tmp_path / "in" / "pauses" / "0.wav", np.concatenate([pause, burst[:RATE], pause, burst]), RATE)
    recordings = load_clips(str(tmp_path / "in"))["train"]
    assert write_mixtures(recordings, tmp_path / "out", num_clips=4, seconds=2.0, sampling_rate=RATE) == []
    lengths = {(label, offset - onset) for one in events_of(tmp_path / "out").values() for onset, offset, label in one}
    assert lengths == {("long", 2 * RATE), ("pauses", RATE)}
    alone = next(file for file, [event, *more] in events_of(tmp_path / "out").items() if not more)
    [(onset, offset, _)] = events_of(tmp_path / "out")[alone]
    waveform, _ = soundfile.read(tmp_path / "out" / alone)
    assert np.corrcoef(waveform[onset:offset], burst[: offset - onset])[0, 1] > 0.999


def test_no_recording_sounds_in_two_splits(folder, mixed, capsys):
    splits = ("train", "validation", "test")
    assert sorted(path.name for path in mixed.iterdir()) == ["mixtures.json", "test", "train", "validation"]
    heard = {
        split: {recording_of(b - a) for events in events_of(mixed / split).values() for a, b, _ in events}
        for split in splits
    }
    assert sum(map(len, heard.values())) == len(set().union(*heard.values())) == len(CLASSES) * PER_CLASS
    assert {split: len(numbers) for split, numbers in heard.items()} == {"train": 12, "validation": 6, "test": 6}
    assert {split: len(events_of(mixed / split)) for split in splits} == {"train": 30, "validation": 12, "test": 12}
    for numbers in heard.values():
        assert {number % len(CLASSES) for number in numbers} == {0, 1, 2}
    record = json.loads((mixed / "mixtures.json").read_text())
    assert record["clips"] == {"train": 30, "validation": 12, "test": 12}
    assert {split: {int(name.split("/")[1]) for name in record["recordings"][split]} for split in splits} == heard
    assert find_leaks(load_clips(str(mixed))).leaks == []


def test_the_seed_decides(folder, mixed, tmp_path):
    clips = ["--clips", 30, "--validation-clips", 12, "--test-clips", 12]
    for name, seed in (("same", 0), ("other", 1)):
        assert mix(folder, tmp_path / name, *clips, "--seconds", 3, "--seed", seed) == 0
    files = {
        name: {str(path.relative_to(output)): path.read_bytes() for path in output.rglob("*") if path.is_file()}
        for name, output in (("mixed", mixed), ("same", tmp_path / "same"), ("other", tmp_path / "other"))
    }
    assert len(files["mixed"]) == 54 + 3 + 1
    assert files["same"] == files["mixed"]
    assert files["other"].keys() == files["mixed"].keys()
    assert all(files["other"][name] != files["mixed"][name] for name in files["mixed"])

    def noise(split: str) -> np.ndarray:
        """Of the first clip, where nothing sounds in it."""
        file, events = next(iter(events_of(mixed / split).items()))
        waveform, _ = soundfile.read(mixed / split / file)
        for onset, offset, _ in events:
            waveform[onset:offset] = 0
        return waveform

    # Made of as many recordings, and so with the same random numbers if the seed were the same
    assert abs(np.corrcoef(noise("validation"), noise("test"))[0, 1]) < 0.1


RECIPE = """
model: {model_type: sslam, hidden_size: 16, num_hidden_layers: 1, num_attention_heads: 2, intermediate_size: 16}
feature_extractor: {sampling_rate: 8000}
training: {max_steps: 1, per_device_train_batch_size: 4, dataloader_num_workers: 0, disable_tqdm: true}
"""


def test_events_are_read_and_trained_on(mixed, tmp_path):
    clips = load_clips(str(mixed))
    assert {split: len(rows) for split, rows in clips.items()} == {"train": 30, "validation": 12, "test": 12}
    assert task_of(clips["train"].features["label"]) == FRAMES
    for split, rows in clips.items():
        expected = events_of(mixed / split)
        for clip in rows:
            events = [
                (round(one["onset"] * RATE), round(one["offset"] * RATE), CLASSES[one["label"]])
                for one in clip["label"]
            ]
            assert events == sorted(expected[Path(clip["audio"]["path"]).name])
            assert events
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(RECIPE)
    assert train(["--config", str(recipe), "--dataset", str(mixed), "--output-dir", str(tmp_path / "run")]) == 0
    result = json.loads((tmp_path / "run" / "evaluation.json").read_text())
    assert (result["task"], result["clips"]["count"]) == ("frame_classification", 12)


def test_classes_of_clips_are_read_and_trained_on(folder, mixed, tmp_path):
    output = tmp_path / "tags"
    clips = ["--clips", 30, "--validation-clips", 12, "--test-clips", 12]
    assert mix(folder, output, *clips, "--seconds", 3, "--labels", "clip") == 0
    clips = load_clips(str(output), label_separator=";")
    assert task_of(clips["train"].features["label"]) == MULTI_LABEL
    for split, rows in clips.items():
        assert set(rows_of(output / split)[0]) == {"file_name", "label"}
        events = events_of(mixed / split)
        for clip in rows:
            name = Path(clip["audio"]["path"]).name
            assert [CLASSES[label] for label in clip["label"]] == sorted({label for _, _, label in events[name]})
            assert Path(clip["audio"]["path"]).read_bytes() == (mixed / split / name).read_bytes()
    assert max(len(labels) for labels in clips["train"]["label"]) > 1
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(RECIPE)
    arguments = ["--config", str(recipe), "--dataset", str(output), "--output-dir", str(tmp_path / "run")]
    assert train([*arguments, "--label-separator", ";"]) == 0
    result = json.loads((tmp_path / "run" / "evaluation.json").read_text())
    assert (result["task"], result["clips"]["count"]) == ("multi_label_classification", 12)


def copied(folder: Path, to: Path, split_of=lambda number: "") -> Path:
    """The recordings in folders of splits."""
    for path in folder.rglob("*.wav"):
        copy = to / split_of(int(path.stem)) / path.parent.name / path.name
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(path.read_bytes())
    return to


def test_what_cannot_be_used_is_reported(folder, tmp_path, capsys):
    source = copied(folder, tmp_path / "in")
    soundfile.write(source / "cat" / "zeros.wav", np.zeros(RATE), RATE)
    soundfile.write(source / "dog" / "hiss.wav", 1e-4 * np.random.default_rng(0).standard_normal(RATE), RATE)
    data = (source / "rain" / "2.wav").read_bytes()
    (source / "rain" / "2.wav").write_bytes(data[: len(data) // 2])
    (source / "rain" / "empty.wav").write_bytes(b"")
    assert mix(source, tmp_path / "out", "--clips", 16, "--seconds", 2) == 0
    out, err = capsys.readouterr()
    assert "4 clips cannot be read" in err
    left_out = {
        Path(clip["name"]).name: clip["reason"]
        for clip in json.loads((tmp_path / "out" / "mixtures.json").read_text())["left_out"]
    }
    assert left_out.keys() == {"zeros.wav", "hiss.wav", "2.wav", "empty.wav"}
    assert all(name in err for name in left_out)
    assert "silent" in left_out["zeros.wav"]
    assert "silent" in left_out["hiss.wav"]
    assert "cut off" in left_out["2.wav"]
    assert "validation: 4 clips made of" in out, "a fourth, where nothing else is asked for"
    assert sum(int(words.split()[0]) for words in out.split("made of ")[1:]) == 23
    assert not (tmp_path / "out" / "test").exists()

    (tmp_path / "silent" / "cat").mkdir(parents=True)
    (source / "cat" / "zeros.wav").rename(tmp_path / "silent" / "cat" / "zeros.wav")
    silent = load_clips(str(tmp_path / "silent"))["train"]
    with pytest.raises(ValueError, match=r"None of the 1 recordings can be mixed\. The first: It is silent"):
        write_mixtures(silent, tmp_path / "none", num_clips=1)


def test_splits_of_the_data_are_kept(folder, tmp_path, capsys):
    source = copied(folder, tmp_path / "in", lambda number: "test" if number < 9 else "train")
    assert mix(source, tmp_path / "out", "--clips", 12, "--test-clips", 8, "--validation-clips", 0) == 0
    heard = {
        split: {recording_of(b - a) for events in events_of(tmp_path / "out" / split).values() for a, b, _ in events}
        for split in ("train", "test")
    }
    assert not (tmp_path / "out" / "validation").exists()
    assert heard["test"] == set(range(9))
    assert heard["train"] == set(range(9, 24))
    assert mix(source, tmp_path / "cut", "--clips", 12, "--test-clips", 8) == 0
    record = json.loads((tmp_path / "cut" / "mixtures.json").read_text())["recordings"]
    assert {int(name.split("/")[-1]) for name in record["test"]} == set(range(9))
    assert len(record["validation"]) == 3
    assert len(record["train"]) == 12

    capsys.readouterr()
    (source / "test" / "cat" / "21.wav").write_bytes((source / "train" / "cat" / "21.wav").read_bytes())
    assert mix(source, tmp_path / "none", "--clips", 12, "--test-clips", 8) == 2
    assert "21.wav, which hold the same audio. Remove one" in capsys.readouterr().err
    other = copied(folder, tmp_path / "other", lambda number: "test" if number < 9 else "validation")
    assert mix(other, tmp_path / "none", "--clips", 12, "--test-clips", 8) == 2
    assert "no split 'train'" in capsys.readouterr().err
    assert not (tmp_path / "none").exists()


def test_recordings_of_several_classes_are_refused(folder, mixed, tmp_path, capsys):
    for source, flags in ((mixed, []), (tags(folder, tmp_path), ["--label-separator", ";"])):
        assert mix(source, tmp_path / "out", "--clips", 4, *flags) == 2
        assert "one class each" in capsys.readouterr().err
        assert not (tmp_path / "out").exists()


def tags(folder: Path, tmp_path: Path) -> Path:
    source = copied(folder, tmp_path / "tags")
    rows = ["file_name,label"] + [f"{path.relative_to(source)},cat;dog" for path in sorted(source.rglob("*.wav"))]
    (source / "metadata.csv").write_text("\n".join(rows) + "\n")
    return source


def test_names_of_classes_that_would_not_be_read_back(folder, tmp_path, capsys):
    source = copied(folder, tmp_path / "in")
    (source / "cat").rename(source / "cat;kitten")
    assert mix(source, tmp_path / "out", "--clips", 8, "--labels", "clip") == 2
    assert "rename cat;kitten" in capsys.readouterr().err
    assert mix(source, tmp_path / "events", "--clips", 8) == 0
    assert load_clips(str(tmp_path / "events"))["train"].features["label"].feature["label"].names == [
        "cat;kitten",
        "dog",
        "rain",
    ]
    for name, number in (("cat;kitten", "01"), ("dog", "02"), ("rain", "10")):
        (source / name).rename(source / number)
    capsys.readouterr()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["events", "in"], "nothing is left of what failed"
    assert mix(source, tmp_path / "numbers", "--clips", 8) == 0
    names = load_clips(str(tmp_path / "numbers"))["train"].features["label"].feature["label"].names
    assert names == ["01", "02", "10"]


def test_what_is_there_is_kept(folder, tmp_path, capsys):
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "thesis.txt").write_text("three years")
    assert mix(folder, tmp_path / "out", "--clips", 4, "--seconds", 2) == 0
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    for output in (tmp_path / "home", tmp_path / "out"):
        assert mix(folder, output, "--clips", 4) == 2
        assert "name another folder" in capsys.readouterr().err
    source = copied(folder, tmp_path / "in")
    for output in (source, tmp_path):
        assert mix(source, output, "--clips", 4, "--overwrite") == 2
        assert "would replace the dataset that it is made from" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in before} == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--clips", 0], "training clips must be at least 1"),
        (["--clips", 4, "--test-clips", -1], "at least 0"),
        (["--clips", 4, "--seed", -1], "at least 0"),
        (["--clips", 4, "--seconds", 0], "seconds above 0"),
        (["--clips", 4, "--seconds", "inf"], "seconds above 0"),
        (["--clips", 4, "--seconds", "nan"], "seconds above 0"),
        (["--clips", 4, "--sampling-rate", 0], "sampling_rate must be from 1000"),
        (["--clips", 4, "--sampling-rate", 10**6], "sampling_rate must be from 1000 to 655350"),
        (["--clips", 4, "--max-sources", 0], "max_sources must be at least 1"),
        (["--clips", 4, "--level-range", -3], "level_range at least 0"),
        (["--clips", 4, "--test-clips", 4, "--test-size", 0.5], "must leave some"),
        (["--clips", 4, "--test-size", 0], "must leave some"),
    ],
)
def test_arguments_out_of_range(folder, tmp_path, capsys, arguments, message):
    assert mix(folder, tmp_path / "out", *arguments) == 2
    assert message in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_told(folder, tmp_path, monkeypatch, capsys):
    """soundfile raises a RuntimeError."""

    def refuse(*arguments) -> None:
        raise soundfile.LibsndfileError(2)

    monkeypatch.setattr(soundfile, "write", refuse)
    assert mix(folder, tmp_path / "out", "--clips", 2) == 2
    assert "cannot be written: System error" in capsys.readouterr().err.replace("Error : ", "")
    assert not list(tmp_path.iterdir())


def test_mix_dataset_from_python(folder, mixed, tmp_path, capsys):
    clips = load_clips(str(folder))
    counts = {"num_clips": 30, "num_validation_clips": 12, "num_test_clips": 12}
    result = mix_dataset(clips, tmp_path / "out", **counts, seconds=3.0, sampling_rate=RATE, name=str(folder))
    assert result.clips == {"train": 30, "validation": 12, "test": 12}
    assert result.num_used == {"train": 12, "validation": 6, "test": 6}
    assert result.left_out == []
    assert (tmp_path / "out" / "mixtures.json").read_bytes() == (mixed / "mixtures.json").read_bytes()
    with pytest.raises(ValueError, match="already holds a dataset"):
        mix_dataset(clips, tmp_path / "out", num_clips=1)
    assert capsys.readouterr().out == ""
