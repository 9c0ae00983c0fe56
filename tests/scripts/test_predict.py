"""`polyaudio predict` with frame classifiers: events that are those of the model's own logits."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from transformers import Wav2Vec2Config, Wav2Vec2FeatureExtractor, Wav2Vec2ForAudioFrameClassification

from polyaudio import (
    SSLAMConfig,
    SSLAMFeatureExtractor,
    SSLAMForAudioClassification,
    SSLAMForAudioFrameClassification,
    load_audio,
)
from polyaudio.scripts.predict import main as predict


RATE = 16000
PATCH = 0.16  # seconds
WINDOW = 16  # patches that the model is set to take at a time
NAMES = ["cat", "dog", "rain"]
SIZES = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
SECONDS = {"a.wav": 7.3, "b.wav": 2.0, "c.wav": 0.7, "d.flac": 2.56, "e.wav": 0.3, "tick.wav": 0.01, "f.wav": 5.135}
# A little longer than whole patches, too little for one more, which a padded batch has all the same
SECONDS |= {"g.wav": 0.4925, "h.wav": 1.77, "i.wav": 0.17, "j.wav": 2.41}


def save_model(folder: Path, problem_type: str = "multi_label_classification") -> None:
    """A classifier whose answers change from patch to patch, with some class on about every second one."""
    torch.manual_seed(1)
    labels = dict(enumerate(NAMES))
    config = SSLAMConfig(
        **SIZES,
        max_time_patches=2 * WINDOW,
        window_frames=16 * WINDOW,
        id2label=labels,
        label2id={name: index for index, name in labels.items()},
        problem_type=problem_type,
    )
    model = SSLAMForAudioFrameClassification(config)
    torch.nn.init.normal_(model.classifier.weight, std=0.7)
    model.save_pretrained(folder)
    SSLAMFeatureExtractor(max_length=16 * WINDOW, mask_padding=True).save_pretrained(folder)


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    save_model(folder)
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Noise whose level and colour change all the time, in files of uneven lengths."""
    folder, rng = tmp_path_factory.mktemp("files"), np.random.default_rng(0)
    for name, seconds in SECONDS.items():
        noise = rng.standard_normal(round(seconds * RATE))
        parts = np.array_split(noise, max(1, int(seconds / 0.3)))
        parts = [10 ** rng.uniform(-3, -1) * (np.cumsum(part) / 30 if rng.random() < 0.5 else part) for part in parts]
        soundfile.write(folder / name, np.concatenate(parts).clip(-1, 1), RATE)
    return folder


def events_of(capsys) -> dict[str, list[dict]]:
    """What `predict --json` printed."""
    return {Path(one["file"]).name: one["events"] for one in json.loads(capsys.readouterr().out)}


def scores_of(model: Path, file: Path, patches: int = WINDOW, padding: str = "longest") -> np.ndarray:
    """The scores of a file's patches, window by window, with no batches."""
    classifier = SSLAMForAudioFrameClassification.from_pretrained(model).eval()
    extractor = SSLAMFeatureExtractor.from_pretrained(model)
    waveform = load_audio(file, RATE)
    scores, hop, start = [], 160, 0
    is_heard = padding == "max_length" and len(waveform) < patches * 16 * hop + 240 + 400  # a clip of one window
    while start == 0 or len(waveform) - start >= 400:
        part = waveform[start : start + patches * 16 * hop + 240]
        kwargs = {"padding": padding, "max_length": 16 * patches} if is_heard else {"padding": False}
        inputs = extractor(part, sampling_rate=RATE, return_tensors="pt", return_attention_mask=False, **kwargs)
        with torch.no_grad():
            logits = classifier(**inputs).logits[0].double()
        if classifier.config.problem_type == "multi_label_classification":
            scores.append(logits.sigmoid().numpy())
        else:
            scores.append(logits.softmax(-1).numpy())
        start += patches * 16 * hop
    return np.concatenate(scores)


def events_by_hand(scores: np.ndarray, seconds: float, threshold: float) -> list[dict]:
    """Patch by patch: an event is open as long as its class is above the threshold."""
    events = []
    for label, name in enumerate(NAMES):
        inside: list[float] = []
        for patch in range(len(scores) + 1):
            if patch < len(scores) and scores[patch, label] > threshold:
                inside.append(scores[patch, label])
            elif inside:
                onset, offset = PATCH * (patch - len(inside)), min(PATCH * patch, seconds)
                events.append({"onset": onset, "offset": offset, "label": name, "score": np.mean(inside)})
                inside = []
    return events


def assert_same(found: list[dict], expected: list[dict]) -> None:
    assert [set(event) for event in found] == [{"onset", "offset", "label", "score"}] * len(found)
    assert [event["onset"] for event in found] == sorted(event["onset"] for event in found)
    found, expected = (
        sorted(events, key=lambda event: (event["label"], event["onset"])) for events in (found, expected)
    )
    assert [event["label"] for event in found] == [event["label"] for event in expected]
    for key in ("onset", "offset", "score"):
        assert [event[key] for event in found] == pytest.approx([event[key] for event in expected], abs=1e-4)


@pytest.mark.parametrize(
    ("flags", "patches", "threshold"),
    [
        (["--batch-size", "1"], WINDOW, 0.5),
        (["--batch-size", "16", "--workers", "0"], WINDOW, 0.5),
        (["--window", "0.8", "--batch-size", "3", "--threshold", "0.6"], 5, 0.6),
    ],
)
def test_events_are_those_of_the_logits(model, folder, flags, patches, threshold, capsys):
    """Files of several windows and of one, alone and in padded batches."""
    assert predict([str(folder), "--model", str(model), "--json", *flags]) == 0
    found = events_of(capsys)
    assert set(found) == set(SECONDS)
    for name, seconds in SECONDS.items():
        scores = scores_of(model, folder / name, patches)
        assert np.abs(scores - threshold).min() > 1e-4, "no answer so close that rounding decides it"
        assert_same(found[name], events_by_hand(scores, seconds, threshold))
    assert sum(map(len, found.values())) > 10
    assert all(event["offset"] <= SECONDS[name] for name, events in found.items() for event in events)
    edges = [PATCH * patches * number for number in range(1, 9)]
    onsets, offsets = (np.array([e[key] for events in found.values() for e in events]) for key in ("onset", "offset"))
    assert any(((onsets < edge - 0.1) & (offsets > edge + 0.1)).any() for edge in edges), "some go over windows"


def test_padding_that_the_model_hears_has_no_events(model, folder, capsys):
    assert predict([str(folder), "--model", str(model), "--json", "--padding", "max_length"]) == 0
    found = events_of(capsys)
    for name, seconds in SECONDS.items():
        scores = scores_of(model, folder / name, padding="max_length")
        scores = scores[: int(np.ceil(round(seconds / PATCH, 6)))]
        assert_same(found[name], events_by_hand(scores, seconds, 0.5))


def test_one_class_a_frame(folder, tmp_path, capsys):
    """A model that was trained on class indices has probabilities of classes that exclude each other."""
    save_model(tmp_path, "single_label_classification")
    assert predict([str(folder / "a.wav"), "--model", str(tmp_path), "--json", "--threshold", "0.4"]) == 0
    scores = scores_of(tmp_path, folder / "a.wav")
    assert scores.sum(axis=1) == pytest.approx(1)
    assert_same(events_of(capsys)["a.wav"], events_by_hand(scores, SECONDS["a.wav"], 0.4))


def test_table(model, folder, capsys):
    files = [str(folder / name) for name in ("b.wav", "a.wav")]
    assert predict([*files, "--model", str(model), "--json"]) == 0
    events = events_of(capsys)
    assert predict([*files, "--model", str(model)]) == 0
    expected = []
    for file in files:
        expected.append([file])
        for event in events[Path(file).name]:
            times = [f"{event['onset']:.2f}", f"{event['offset']:.2f}"]
            expected.append([*times, f"{100 * event['score']:.2f}%", event["label"]])
    assert [line.split() for line in capsys.readouterr().out.splitlines()] == expected


def test_a_file_without_events_and_one_that_cannot_be_read(model, folder, tmp_path, capsys):
    (tmp_path / "broken.wav").write_bytes(b"no sound")
    files = [str(tmp_path / "broken.wav"), str(folder / "a.wav")]
    assert predict([*files, "--model", str(model), "--json", "--threshold", "0.99999"]) == 1
    out, err = capsys.readouterr()
    assert json.loads(out) == [{"file": files[1], "events": []}]
    assert "broken.wav" in err
    assert "1 of 2 files could not be read" in err


def test_arguments_of_the_other_kind_are_refused(model, folder, tmp_path, capsys):
    file = str(folder / "c.wav")
    assert predict([file, "--model", str(model), "--top-k", "3"]) == 2
    assert "instead of top_k" in capsys.readouterr().err
    SSLAMForAudioClassification(SSLAMConfig(**SIZES, num_labels=3)).save_pretrained(tmp_path / "clips")
    SSLAMFeatureExtractor().save_pretrained(tmp_path / "clips")
    assert predict([file, "--model", str(tmp_path / "clips"), "--threshold", "0.3"]) == 2
    assert "instead of threshold" in capsys.readouterr().err
    assert predict([file, "--model", str(tmp_path / "clips"), "--json", "--top-k", "2"]) == 0
    assert len(json.loads(capsys.readouterr().out)[0]["labels"]) == 2
    for threshold in ("1", "-0.1", "nan"):
        with pytest.raises(SystemExit) as error:
            predict([file, "--model", str(model), f"--threshold={threshold}"])
        assert error.value.code == 2

    small = {"conv_dim": (8,), "conv_kernel": (10,), "conv_stride": (5,), "num_conv_pos_embedding_groups": 2}
    other = Wav2Vec2ForAudioFrameClassification(Wav2Vec2Config(**SIZES, **small))
    other.save_pretrained(tmp_path / "other")
    Wav2Vec2FeatureExtractor().save_pretrained(tmp_path / "other")
    assert predict([file, "--model", str(tmp_path / "other")]) == 2
    assert "no frame classifier for models of type wav2vec2" in capsys.readouterr().err
