"""`pipeline("audio-classification")`: single and several labels, batches, streams, rates, and files without FFmpeg."""

import numpy as np
import pytest
import soundfile
import torch
import torchaudio
import transformers
from packaging.version import Version
from transformers import AutoFeatureExtractor, AutoModelForAudioClassification, pipeline
from transformers.pipelines.pt_utils import KeyDataset

import polyaudio
from builders import SSLAM
from polyaudio import (
    SAMAudioConfig,
    SAMAudioFeatureExtractor,
    SAMAudioForAudioClassification,
    SSLAMConfig,
    SSLAMFeatureExtractor,
    SSLAMForAudioClassification,
)
from polyaudio.scripts.predict import main as predict


RATE = 16000
TRANSFORMERS_IS_OLD = Version(transformers.__version__) < Version("5.23")
LABELS = {0: "kalyani", 1: "mohanam", 2: "todi"}
SETTINGS = {
    "sslam": {**SSLAM, "prediction_mode": "mean_pooling"},
    "sam_audio": {
        "conv_dim": [16, 16],
        "conv_kernel": [3, 3],
        "conv_stride": [2, 2],
        "num_attention_heads": 4,
        "num_segments": 4,
    },
}


@pytest.fixture(scope="module", params=["sslam", "sam_audio"])
def model_type(request) -> str:
    return request.param


@pytest.fixture(scope="module", params=["single_label_classification", "multi_label_classification"])
def folder(request, model_type, tmp_path_factory):
    settings = {**SETTINGS[model_type], "problem_type": request.param, "id2label": LABELS}
    settings["label2id"] = {name: index for index, name in LABELS.items()}
    folder = tmp_path_factory.mktemp(model_type)
    torch.manual_seed(0)
    if model_type == "sslam":
        model, extractor = SSLAMForAudioClassification(SSLAMConfig(**settings)), SSLAMFeatureExtractor(max_length=64)
    else:
        model, extractor = SAMAudioForAudioClassification(SAMAudioConfig(**settings)), SAMAudioFeatureExtractor()
    for weight in model.parameters():  # so that clips do not all score the same
        torch.nn.init.normal_(weight, std=0.2)
    model.save_pretrained(folder)
    extractor.save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def clips() -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [(0.1 * rng.standard_normal(RATE // 2)).astype(np.float32) * level for level in (0.1, 0.5, 2, 5, 9)]


@pytest.fixture(scope="module")
def classify(folder):
    classify = pipeline("audio-classification", model=folder, device="cpu")
    several_labels = classify.model.config.problem_type == "multi_label_classification"
    return WithSigmoid(classify) if several_labels and TRANSFORMERS_IS_OLD else classify


class WithSigmoid:
    """A pipeline called as the README and the cards do: before 5.23 it takes softmax for all who say nothing else."""

    def __init__(self, classify):
        self.classify = classify

    def __call__(self, *args, **kwargs):
        return self.classify(*args, function_to_apply="sigmoid", **kwargs)

    def __getattr__(self, name):
        return getattr(self.classify, name)


def expected(folder: str, clip: np.ndarray, rate: int = RATE) -> dict[str, float]:
    """The scores by model and feature extractor alone."""
    model = AutoModelForAudioClassification.from_pretrained(folder)
    extractor = AutoFeatureExtractor.from_pretrained(folder)
    clip = torchaudio.functional.resample(torch.from_numpy(clip), rate, RATE)
    with torch.no_grad():
        logits = model(**extractor(clip, sampling_rate=RATE, return_tensors="pt")).logits[0].double().numpy()
    if model.config.problem_type == "multi_label_classification":
        scores = 1 / (1 + np.exp(-logits))
    else:
        scores = np.exp(logits) / np.exp(logits).sum()
    return dict(zip(LABELS.values(), scores.tolist(), strict=True))


def scores_of(answers: list[dict]) -> dict[str, float]:
    scores = [answer["score"] for answer in answers]
    assert scores == sorted(scores, reverse=True)
    return {answer["label"]: answer["score"] for answer in answers}


def test_scores_of_each_kind_of_model(folder, classify, clips):
    for clip in clips:
        wanted = expected(folder, clip)
        assert scores_of(classify(clip)) == pytest.approx(wanted, abs=1e-5)
        assert scores_of(classify(torch.from_numpy(clip))) == pytest.approx(wanted, abs=1e-5)
    if classify.model.config.problem_type == "multi_label_classification":
        assert abs(sum(wanted.values()) - 1) > 1e-3
    best = max(wanted, key=wanted.get)
    assert classify(clips[-1], top_k=1) == [{"label": best, "score": pytest.approx(wanted[best], abs=1e-5)}]


def test_lists_batches_and_streams_give_the_same(folder, classify, clips):
    wanted = [pytest.approx(expected(folder, clip), abs=1e-5) for clip in clips]
    rows = [{"audio": {"array": clip, "sampling_rate": RATE}, "id": index} for index, clip in enumerate(clips)]

    def generator():
        for row in rows:
            yield row["audio"]

    for batch_size in (1, 2):
        for inputs in (list(clips), generator(), KeyDataset(rows, "audio")):
            answers = list(classify(inputs, batch_size=batch_size))
            assert [scores_of(answer) for answer in answers] == wanted


def test_clips_of_other_lengths_in_a_stream(folder, classify, clips):
    lengths = (3000, 8000, 20000)
    clips = [np.resize(clips[1], length) for length in lengths]
    wanted = [pytest.approx(expected(folder, clip), abs=1e-5) for clip in clips]
    assert [scores_of(answer) for answer in classify(clip for clip in clips)] == wanted
    assert [scores_of(answer) for answer in classify((clip for clip in clips), batch_size=3)] == wanted


@pytest.mark.parametrize("rate", [8000, 22050, 44100, 48000])
def test_dicts_of_any_rate(folder, classify, rate):
    clip = np.sin(np.arange(rate // 2) * 2 * np.pi * 440 / rate).astype(np.float32)
    wanted = pytest.approx(expected(folder, clip, rate), abs=1e-4)
    for inputs in (
        {"array": clip, "sampling_rate": rate},
        {"raw": clip, "sampling_rate": rate},
        {"array": clip, "sampling_rate": rate, "path": "nowhere.wav"},
        {"array": clip.astype(np.float64), "sampling_rate": rate},
    ):
        assert scores_of(classify(inputs)) == wanted


def test_wrong_inputs_are_refused(classify, clips):
    with pytest.raises(ValueError, match="single channel"):
        classify(np.stack(clips[:2]))
    with pytest.raises(ValueError, match="sampling_rate"):
        classify({"array": clips[0]})


def test_files_are_for_load_audio_and_predict_where_ffmpeg_is_missing(folder, classify, tmp_path, monkeypatch, capsys):
    path = tmp_path / "clip.wav"
    stereo = np.random.default_rng(1).uniform(-0.3, 0.3, (22050, 2)).astype(np.float32)
    soundfile.write(path, stereo, 44100, subtype="FLOAT")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ValueError, match="ffmpeg was not found"):
        classify(str(path))
    waveform = polyaudio.load_audio(path, sampling_rate=classify.feature_extractor.sampling_rate)
    scores = scores_of(classify(waveform))
    assert scores == pytest.approx(expected(folder, stereo.mean(1), 44100), abs=1e-3)
    assert predict([str(path), "--model", folder]) == 0
    best = max(scores, key=scores.get)
    line = next(line for line in capsys.readouterr().out.splitlines() if line.endswith(best))
    assert float(line.split("%")[0]) == pytest.approx(100 * scores[best], abs=0.2)
