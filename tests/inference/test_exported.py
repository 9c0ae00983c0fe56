# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Exports are run by onnxruntime: windows, padding, joined answers, typed results, and clear errors."""

import json
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import soundfile
from exports import ANSWER, FRAME, HOP, RATE, WINDOW, write_export

from polyaudio import Annotator, EventRules, annotate, embed, evaluate, load_audio, predict
from polyaudio.inference.annotation import Annotation
from polyaudio.inference.embedding import FileFeatures
from polyaudio.inference.prediction import FilePrediction


pytest.importorskip("onnx", reason="the graphs of these tests are made with onnx: pip install polyaudio[test]")
pytest.importorskip("onnxruntime", reason="onnxruntime is not installed: pip install polyaudio[onnx]")

SECONDS = {"short.wav": 0.3, "same.wav": 0.3, "other.wav": 0.45, "window.wav": WINDOW / RATE, "long.wav": 3.7}
SECONDS |= {"tail.wav": 2.02, "even.wav": 3.0}


def sigmoid(values):
    return 1 / (1 + np.exp(-np.asarray(values, dtype=np.float64)))


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Recordings of noise that grows louder."""
    folder = tmp_path_factory.mktemp("recordings")
    rng = np.random.default_rng(0)
    for name, seconds in SECONDS.items():
        samples = rng.uniform(-1, 1, round(seconds * RATE))
        soundfile.write(folder / name, samples * np.linspace(0.1, 0.6, len(samples)), RATE, subtype="FLOAT")
    return folder


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> str:
    return write_export(tmp_path_factory.mktemp("clips") / "model")


@pytest.fixture(scope="module")
def events(tmp_path_factory) -> str:
    return write_export(tmp_path_factory.mktemp("frames") / "model", "frames")


@pytest.fixture(scope="module")
def encoder(tmp_path_factory) -> str:
    return write_export(tmp_path_factory.mktemp("encoder") / "model", "encoder")


def windows_of(samples: np.ndarray) -> list[np.ndarray]:
    """The windows of a clip, each a second further, without a rest shorter than a frame."""
    starts = [start for start in range(0, len(samples), RATE) if start == 0 or len(samples) - start >= FRAME]
    return [samples[start : start + WINDOW] for start in starts]


def features_of(window: np.ndarray, is_padded: bool) -> list[float]:
    return [10 * np.abs(window).mean() - 1, float(is_padded)]


def scores_of(samples: np.ndarray) -> np.ndarray:
    windows = windows_of(samples)
    is_part = len(windows) > 1
    scores = sigmoid([features_of(one, is_part and len(one) < WINDOW) for one in windows])
    frames = [max(1, 1 + (len(one) - FRAME) // HOP) for one in windows]
    return np.average(scores, axis=0, weights=frames)


@pytest.mark.parametrize("batch_size", [1, 2, 8])
def test_predict_joins_the_windows_of_each_file(folder, model, batch_size):
    predictions = predict(folder, model, batch_size=batch_size)
    assert [Path(one.file).name for one in predictions] == sorted(SECONDS)
    for prediction in predictions:
        assert type(prediction) is FilePrediction
        found = {label.label: label.score for label in prediction.labels}
        assert list(found.values()) == sorted(found.values(), reverse=True)
        expected = scores_of(load_audio(prediction.file, RATE))
        np.testing.assert_allclose([found["loud"], found["padded"]], expected, atol=1e-6)


def test_labels_of_single_label_classifiers_sum_to_one(folder, tmp_path):
    model = write_export(tmp_path, problem_type="single_label_classification")
    (prediction,) = predict(folder / "short.wav", model, top_k=1)
    (best,) = prediction.labels
    logits = features_of(load_audio(folder / "short.wav", RATE), False)
    assert best.score == pytest.approx(np.exp(max(logits)) / np.exp(logits).sum(), abs=1e-6)


def test_a_model_without_windows_hears_whole_clips(folder, tmp_path):
    model = write_export(tmp_path, window=None)
    (prediction,) = predict(folder / "long.wav", model)
    found = {label.label: label.score for label in prediction.labels}
    expected = sigmoid(features_of(load_audio(folder / "long.wav", RATE), False))
    np.testing.assert_allclose([found["loud"], found["padded"]], expected, atol=1e-6)


def test_a_frame_classifier_predicts_events(tmp_path, events):
    samples = np.zeros(round(3.7 * RATE), dtype=np.float32)
    samples[8 * ANSWER : 14 * ANSWER] = 0.5  # beyond the end of a window
    samples[-ANSWER:] = 0.5
    soundfile.write(tmp_path / "x.wav", samples, RATE, subtype="FLOAT")
    (prediction,) = predict(tmp_path / "x.wav", events, threshold=0.6)
    found = [(round(one.onset, 6), round(one.offset, 6)) for one in prediction.events if one.label == "loud"]
    assert found == [(0.8, 1.4), (3.6, 3.7)]
    assert prediction.labels is None


def test_event_rules_of_the_export_decide(tmp_path, folder):
    rules = EventRules(threshold=[0.99, 0.99]).to_dict()
    assert predict(folder / "long.wav", write_export(tmp_path, "frames", event_rules=rules))[0].events == []
    with pytest.raises(ValueError, match="one for each of 2 classes"):
        predict(folder / "long.wav", write_export(tmp_path, "frames", event_rules={"threshold": [0.1, 0.2, 0.3]}))


def test_files_that_cannot_be_read_have_an_error(folder, model, tmp_path):
    (tmp_path / "bad.wav").write_text("no sound")
    bad, good = predict([tmp_path / "bad.wav", folder / "short.wav"], model)
    assert "bad.wav is not audio" in bad.error
    assert good.error is None


def test_annotate_joins_overlapping_windows(folder, model):
    (annotation,) = annotate(folder / "even.wav", model, join="mean")
    assert type(annotation) is Annotation
    samples, half = load_audio(folder / "even.wav", RATE), RATE // 2
    windows = [samples[start : start + WINDOW] for start in range(0, 2 * RATE + 1, half)]
    loud = sigmoid([features_of(one, len(one) < WINDOW)[0] for one in windows])
    expected = [loud[0], *(loud[:-1] + loud[1:]) / 2, loud[-1]]
    np.testing.assert_allclose(annotation.overview.scores[:, 0], expected, atol=1e-6)
    # Only the last window ends before its last frame is full, and is a part
    assert (annotation.overview.scores[:-2, 1] == 0.5).all()


def test_a_recording_of_one_window_is_whole(folder, model):
    (annotation,) = annotate(folder / "short.wav", model)
    expected = sigmoid(features_of(load_audio(folder / "short.wav", RATE), False))
    np.testing.assert_allclose(annotation.overview.scores, [expected], atol=1e-6)


def test_a_timeline_has_windows_and_steps_of_ones_own(folder, events):
    annotator = Annotator(events, window=0.5, hop=0.1, resolution=0.05)
    assert annotator.cell_seconds == 0.05
    assert annotator.timeline.layout.length == RATE // 2
    with pytest.raises(ValueError, match="reads 1 s at once"):
        Annotator(events, window=2.0)


def test_live_gives_what_the_file_gives(folder, events):
    annotator = Annotator(events)
    (annotation,) = annotator.run([str(folder / "long.wav")])
    live, found = annotator.live(), []
    for block in np.array_split(load_audio(folder / "long.wav", RATE), 9):
        found.append(live.push(block).scores)
    found.append(live.finish().scores)
    np.testing.assert_allclose(np.concatenate(found), annotation.overview.scores, atol=1e-6)


@pytest.mark.parametrize("name", ["short.wav", "long.wav", "tail.wav"])
def test_embed_gives_vectors_and_frames(folder, encoder, name):
    samples = load_audio(folder / name, RATE)
    (vector,) = embed(folder / name, encoder)
    assert type(vector) is FileFeatures
    assert vector.features.dtype == np.float32
    windows = windows_of(samples)
    weights = [max(1, 1 + (len(one) - FRAME) // HOP) for one in windows]
    expected = np.average([features_of(one, False) for one in windows], axis=0, weights=weights)
    np.testing.assert_allclose(vector.features, expected, atol=1e-5)
    (frames,) = embed(folder / name, encoder, granularity="frame")
    assert frames.frame_seconds == ANSWER / RATE
    assert frames.features.shape == (sum(-(-len(one) // ANSWER) for one in windows), 2)


def test_evaluate_measures_what_predict_answers(tmp_path):
    rng = np.random.default_rng(0)
    for label, volume in {"loud": 0.5, "quiet": 0.02}.items():
        (tmp_path / "clips" / label).mkdir(parents=True)
        for index in range(4):
            samples = volume * rng.uniform(-1, 1, round(rng.uniform(0.2, 2.5) * RATE))
            soundfile.write(tmp_path / "clips" / label / f"{index}.wav", samples, RATE)
    model = write_export(tmp_path / "model", labels=["loud", "quiet"], problem_type="single_label_classification")
    evaluation = evaluate(model, str(tmp_path / "clips"), output=tmp_path / "report")
    predictions = predict(tmp_path / "clips", model, top_k=1)
    right = [one.labels[0].label == Path(one.file).parent.name for one in predictions]
    assert evaluation.clips["accuracy"] == np.mean(right)
    assert evaluation.clips["count"] == 8
    assert (tmp_path / "report" / "evaluation.json").is_file()
    with pytest.raises(ValueError, match="does not know the labels quiet"):
        evaluate(write_export(tmp_path / "other"), str(tmp_path / "clips"))
    with pytest.raises(ValueError, match="labels events, but the dataset has labels of whole clips"):
        evaluate(write_export(tmp_path / "frames", "frames"), str(tmp_path / "clips"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format_version": 2}, "newer polyaudio.*version 2.*Upgrade"),
        ({"format": "openvino"}, "export to openvino.*--format onnx"),
        ({"input": "features"}, "takes features.*--front-end"),
        ({"task": "encoder", "embedding": {"size": 2, "seconds_per_frame": 0.1}}, "not a trained classifier"),
        ({"window": {"samples": 1}}, "polyaudio_export.json is damaged"),
        ({"labels": None}, "polyaudio_export.json is damaged"),
        ({"format_version": "one"}, "polyaudio_export.json is damaged"),
    ],
)
def test_other_folders_are_refused(folder, tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        predict(folder / "short.wav", write_export(tmp_path, **changes))


def test_a_classifier_has_no_features(folder, model, encoder):
    with pytest.raises(ValueError, match="gives no features"):
        embed(folder / "short.wav", model)
    with pytest.raises(ValueError, match="no features of granularity 'all'"):
        embed(folder / "short.wav", encoder, granularity="all")
    with pytest.raises(ValueError, match="A timeline needs one"):
        Annotator(encoder)


def test_a_damaged_graph_is_named(folder, tmp_path):
    model = write_export(tmp_path)
    (tmp_path / "model.onnx").write_bytes(b"no graph")
    with pytest.raises(ValueError, match=r"cannot read .*model\.onnx.*Export the model again"):
        predict(folder / "short.wav", model)
    (tmp_path / "polyaudio_export.json").write_text("{")
    with pytest.raises(ValueError, match="is not valid JSON"):
        predict(folder / "short.wav", model)


def test_a_graph_that_returns_no_numbers_is_an_error(tmp_path, model):
    soundfile.write(tmp_path / "x.wav", np.full(RATE // 2, 0.1), RATE)
    assert predict(tmp_path / "x.wav", model)[0].error is None
    import onnx

    graph = onnx.load(Path(model, "model.onnx"))
    (ten,) = [one for one in graph.graph.initializer if one.name == "ten"]
    ten.CopyFrom(onnx.numpy_helper.from_array(np.array([np.inf], dtype=np.float32), "ten"))
    broken = write_export(tmp_path / "broken")
    onnx.save(graph, Path(broken, "model.onnx"))
    with pytest.raises(ValueError, match="NaN or infinite"):
        predict(tmp_path / "x.wav", broken)


@pytest.mark.parametrize(
    "options", [{"device": "cuda"}, {"padding": "longest"}, {"window": 5.0}, {"feature_extractor": object()}]
)
def test_options_without_a_meaning_are_refused(folder, model, options):
    with pytest.raises(ValueError, match=f"is an export, .*{next(iter(options))}"):
        predict(folder / "short.wav", model, **options)
    assert predict(folder / "short.wav", model, device="cpu")[0].error is None


def test_where_onnxruntime_is_missing_the_error_says_how_to_get_it(folder, model, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ValueError, match=r"pip install polyaudio\[onnx\]"):
        predict(folder / "short.wav", model)


def test_memory_does_not_grow_with_the_length(tmp_path, model):
    peaks = []
    for minutes in (1, 4):
        rng = np.random.default_rng(0)
        with soundfile.SoundFile(tmp_path / f"{minutes}.wav", "w", RATE, 1) as file:
            for _ in range(minutes * 6):
                file.write(rng.uniform(-0.1, 0.1, 10 * RATE))
        tracemalloc.start()
        predict(tmp_path / f"{minutes}.wav", model)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.2 * peaks[0]


def test_features_of_another_export_are_not_mixed(folder, encoder, tmp_path, capsys):
    from polyaudio.scripts.embed import main

    command = [str(folder / "short.wav"), "--granularity", "utterance", "--output", str(tmp_path / "features")]
    assert main([*command, "--model", encoder]) == 0
    assert main([*command, "--model", encoder]) == 0
    assert "1 existed already" in capsys.readouterr().out
    settings = json.loads((tmp_path / "features" / "embed.json").read_text())
    assert settings["model"] == encoder
    other = write_export(tmp_path / "other", "encoder", check={"other": True})
    assert main([*command, "--model", other]) == 2
    assert "features of other weights" in capsys.readouterr().err
