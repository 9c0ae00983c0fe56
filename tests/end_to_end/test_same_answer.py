"""A file gets the same scores from every client, whatever its length."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from datasets import ClassLabel, List
from transformers import (
    AutoModelForAudioClassification,
    EvalPrediction,
    Trainer,
    TrainingArguments,
    pipeline,
)

import polyaudio
from builders import SAM_AUDIO, SSLAM
from polyaudio.data.collators import AudioCollator
from polyaudio.data.labels import class_names
from polyaudio.data.loading import load_clips
from polyaudio.data.windows import ClipWindows
from polyaudio.evaluation.classifier import predictions_of_clips
from polyaudio.modeling.inputs import make_targets, whole_clips
from polyaudio.modeling.loading import load_feature_extractor
from polyaudio.scripts.convert import main as convert
from polyaudio.training.lora import add_lora, lora_config


RATE = 16000
WINDOW = 64  # frames
SECONDS = (0.01, 0.1, 0.4, 0.64, 0.655, 0.66, 0.9, 1.28, 1.9, 3.3, 5.0, 6.0)
MODELS = ("sslam", "sslam_single_pass", "sam_audio", "sam_audio_whole", "converted", "published", "lora")


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> Path:
    """Clips of uneven lengths, half of them in stereo and at other rates, in two classes."""
    folder, rng = tmp_path_factory.mktemp("files"), np.random.default_rng(0)
    for index, seconds in enumerate(SECONDS):
        rate, channels = ((RATE, 1), (44100, 2))[index % 2]
        time = np.arange(round(seconds * rate))[:, None] / rate
        sweep = np.sin(2 * np.pi * (200 + 300 * index + 200 * time) * time) * rng.uniform(0.05, 0.4)
        path = folder / "01"[index % 2] / f"{index:02}.wav"
        path.parent.mkdir(exist_ok=True)
        soundfile.write(path, sweep + 0.02 * rng.standard_normal((len(time), channels)), rate)
    return folder


@pytest.fixture(scope="module", params=MODELS)
def model(request, reference, tmp_path_factory) -> str:
    """A folder with a classifier whose scores differ from clip to clip."""
    folder, kind = tmp_path_factory.mktemp("model"), request.param
    if kind == "converted":
        assert convert([str(reference / "sslam" / "finetuned.pt"), "--output", str(folder / "model")]) == 0
        return str(folder / "model")
    if kind == "published":
        shutil.copytree(reference / "hub_eat" / "finetuned", folder, dirs_exist_ok=True)
        return str(folder)
    torch.manual_seed(0)
    if kind in ("sam_audio", "sam_audio_whole"):
        window = WINDOW if kind == "sam_audio" else 0
        config = polyaudio.SAMAudioConfig(**SAM_AUDIO, window_frames=window, num_labels=4)
        new = polyaudio.SAMAudioForAudioClassification(config)
        extractor = polyaudio.SAMAudioFeatureExtractor()
    else:
        window = None if kind == "sslam_single_pass" else WINDOW
        padding = {"mask_padding": kind != "lora"}
        sizes = {**SSLAM, "max_time_patches": 64, "window_frames": window, **padding}
        config = polyaudio.SSLAMConfig(**sizes, num_labels=4, prediction_mode="mean_pooling")
        new = polyaudio.SSLAMForAudioClassification(config)
        extractor = polyaudio.SSLAMFeatureExtractor(max_length=WINDOW, **padding)
    for weight in new.parameters():
        torch.nn.init.normal_(weight, std=0.2)
    new.save_pretrained(folder)
    extractor.save_pretrained(folder)
    if kind == "lora":
        adapted = add_lora(new, lora_config(new), str(folder))
        for name, weight in adapted.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(weight, std=0.2)
        folder = folder / "adapter"
        adapted.save_pretrained(folder)
        extractor.save_pretrained(folder)
    return str(folder)


def paths_of(files: Path) -> list[Path]:
    return sorted(files.rglob("*.wav"), key=lambda path: path.name)


@pytest.fixture(scope="module")
def expected(model, files) -> np.ndarray:
    """The scores that `predict` gives, by clip and class."""
    predictions = polyaudio.predict(paths_of(files), model, top_k=1000, batch_size=5)
    names = AutoModelForAudioClassification.from_pretrained(model).config.id2label
    scores = [{one.label: one.score for one in prediction.labels} for prediction in predictions]
    table = np.array([[of_clip[names[index]] for index in sorted(names)] for of_clip in scores])
    assert spread(table) > 1e-4, "all clips have the same scores"
    return table


def waveforms(files: Path) -> list[np.ndarray]:
    return [polyaudio.load_audio(path, sampling_rate=RATE) for path in paths_of(files)]


def scores(logits: torch.Tensor | np.ndarray, model) -> np.ndarray:
    logits = torch.as_tensor(logits).float()
    multi_label = model.config.problem_type == "multi_label_classification"
    return (logits.sigmoid() if multi_label else logits.softmax(-1)).detach().numpy()


def spread(scores: np.ndarray) -> float:
    """How much the scores of a class differ from clip to clip."""
    return scores.std(axis=0).max()


def assert_scores(found, expected) -> None:
    np.testing.assert_allclose(found, expected, rtol=0, atol=min(1e-4, spread(expected) / 20))


@pytest.mark.parametrize("batch_size", [1, 5])
def test_a_pipeline(model, files, expected, batch_size):
    classifier = AutoModelForAudioClassification.from_pretrained(model)
    extractor = load_feature_extractor(model, classifier.config)
    classify = pipeline("audio-classification", model=classifier, feature_extractor=extractor, device="cpu")
    is_multi_label = classify.model.config.problem_type == "multi_label_classification"
    answers = classify(
        waveforms(files),
        batch_size=batch_size,
        top_k=1000,
        function_to_apply="sigmoid" if is_multi_label else "softmax",
    )
    ids = classify.model.config.label2id
    table = [[score for _, score in sorted((ids[one["label"]], one["score"]) for one in clip)] for clip in answers]
    assert_scores(table, expected)


def test_a_trainer_with_its_own_collator(model, files, expected, tmp_path):
    classifier = AutoModelForAudioClassification.from_pretrained(model)
    extractor = load_feature_extractor(model, classifier.config)
    clips = [
        {name: values[0] for name, values in extractor(waveform, sampling_rate=RATE).items()}
        for waveform in waveforms(files)
    ]
    arguments = TrainingArguments(tmp_path, per_device_eval_batch_size=5, use_cpu=True, report_to="none")
    trainer = Trainer(classifier, arguments, processing_class=extractor)
    predictions = trainer.predict(clips).predictions
    logits = predictions[0] if isinstance(predictions, tuple) else predictions
    assert_scores(scores(logits, classifier), expected)


def test_clients_that_drop_the_mask(model, files, expected, tmp_path):
    classifier = AutoModelForAudioClassification.from_pretrained(model).eval()
    extractor = load_feature_extractor(model, classifier.config)
    clips = waveforms(files)
    with torch.no_grad():
        logits = classifier(extractor(clips, sampling_rate=RATE, return_tensors="pt")["input_values"]).logits
    assert_scores(scores(logits, classifier), expected)
    # As transformers' script run_audio_classification.py: clips are padded in batches, and then by the Trainer
    rows = [
        {"input_values": values}
        for start in range(0, len(clips), 5)
        for values in extractor(clips[start : start + 5], sampling_rate=RATE)["input_values"]
    ]
    arguments = TrainingArguments(tmp_path, per_device_eval_batch_size=8, use_cpu=True, report_to="none")
    predictions = Trainer(classifier, arguments, processing_class=extractor).predict(rows).predictions
    logits = predictions[0] if isinstance(predictions, tuple) else predictions
    assert_scores(scores(logits, classifier), expected)


def test_an_evaluation(model, files, expected, tmp_path):
    classifier = AutoModelForAudioClassification.from_pretrained(model)
    extractor = load_feature_extractor(model, classifier.config)
    (clips,) = load_clips(files).values()
    clips = clips.sort("recording")
    names = [str(index) for index in range(classifier.config.num_labels)]
    assert class_names(clips.features["label"]) == names[:2]
    if classifier.config.problem_type == "multi_label_classification":
        lists = [[label] for label in clips["label"]]
        clips = clips.remove_columns("label").add_column("label", lists)
        clips = clips.cast_column("label", List(ClassLabel(names=names)))
    collator = AudioCollator(extractor, make_targets(clips.features["label"], classifier.config, extractor))
    arguments = TrainingArguments(
        tmp_path, per_device_eval_batch_size=5, use_cpu=True, report_to="none", remove_unused_columns=False
    )
    dataset = whole_clips(clips, classifier.config, extractor)
    found = Trainer(classifier, arguments, data_collator=collator).predict(dataset)
    predictions = EvalPrediction(found.predictions, found.label_ids)
    if isinstance(dataset, ClipWindows):
        predictions = predictions_of_clips(predictions, dataset, classifier.config)
    logits = predictions.predictions
    order = np.argsort([Path(audio["path"]).name for audio in clips["audio"]])
    assert_scores(scores(logits[0] if isinstance(logits, tuple) else logits, classifier)[order], expected)


@pytest.mark.parametrize("model", ["sslam", "sam_audio", "sam_audio_whole"], indirect=True)
def test_an_exported_model(model, files, expected):
    classifier = AutoModelForAudioClassification.from_pretrained(model).eval()
    extractor = load_feature_extractor(model, classifier.config)
    inputs = [extractor(one, sampling_rate=RATE) for one in waveforms(files)]
    # One program has at least two windows, since export fixes a dimension of 1. Masked padding fills shorter clips.
    shortest = 1 + (classifier.config.window_frames or classifier.config.inputs_to_logits_ratio)
    inputs = [
        extractor.pad(one, padding="max_length", max_length=max(shortest, len(one["input_values"][0])))
        for one in inputs
    ]
    inputs = [{name: torch.from_numpy(np.stack(values)) for name, values in one.items()} for one in inputs]
    frames = torch.export.Dim("frames", min=shortest, max=4096)
    program = torch.export.export(
        classifier,
        (),
        inputs[-1],
        dynamic_shapes={"input_values": {1: frames}, "attention_mask": {1: frames}},
        prefer_deferred_runtime_asserts_over_guards=True,
    ).module()
    logits = torch.cat([program(**one)["logits"] for one in inputs])
    assert_scores(scores(logits, classifier), expected)
