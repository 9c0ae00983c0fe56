# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""The encoder of MTEB: its contract, and its evaluation on local tasks."""

import importlib.util

import numpy as np
import pytest
import soundfile
from datasets import Dataset, DatasetDict
from torch.utils.data import DataLoader
from transformers import AutoModel

from builders import RATE
from polyaudio import embed
from polyaudio.evaluation.suites.mteb import MtebEncoder


MTEB = pytest.mark.skipif(
    importlib.util.find_spec("mteb") is None,
    reason="mteb, which needs Python 3.11, is not installed: pip install mteb",
)


def loader(clips: list[np.ndarray], *, rate: int = RATE, batch_size: int = 32) -> DataLoader:
    """As MTEB makes them."""
    rows = [{"audio": {"array": clip, "sampling_rate": rate}} for clip in clips]
    return DataLoader(rows, batch_size, collate_fn=lambda batch: {"audio": [row["audio"] for row in batch]})


def test_a_short_clip_alone_and_with_a_long_one(any_model, sound):
    encoder = MtebEncoder(any_model)
    short, long = sound(1.0, 1), sound(5.0, 2)
    together = encoder.encode(loader([short, long]))
    assert together.dtype == np.float32
    np.testing.assert_allclose(encoder.encode(loader([short])), together[:1], atol=1e-5, rtol=1e-4)
    np.testing.assert_allclose(encoder.encode(loader([short, long], batch_size=1)), together, atol=1e-5, rtol=1e-4)
    np.testing.assert_array_equal(encoder.encode(loader([short, long])), together)


@pytest.mark.parametrize("rate", [8000, 16000, 44100])
def test_the_vectors_are_those_of_embed(model, sound, tmp_path, rate):
    stereo = np.stack([sound(1.1, 1, rate), sound(1.1, 2, rate)])
    soundfile.write(tmp_path / "clip.wav", stereo.T, rate, subtype="FLOAT")
    (clip,) = embed(tmp_path / "clip.wav", model)
    (vector,) = MtebEncoder(model).encode(loader([stereo], rate=rate))
    np.testing.assert_allclose(vector, clip.features, atol=1e-5, rtol=1e-4)


def test_similarity(model_folders):
    encoder = MtebEncoder(model_folders["published"])
    rng = np.random.default_rng(0)
    one, two = rng.standard_normal((3, 4)), rng.standard_normal((3, 4))
    expected = (one @ two.T) / np.linalg.norm(one, axis=1)[:, None] / np.linalg.norm(two, axis=1)
    np.testing.assert_allclose(encoder.similarity(one, two), expected, atol=1e-6)
    np.testing.assert_allclose(encoder.similarity_pairwise(one, two), np.diag(expected), atol=1e-6)


def test_tasks_without_audio_are_refused(model_folders):
    encoder = MtebEncoder(model_folders["published"])
    with pytest.raises(ValueError, match="take audio, but this task has only text"):
        encoder.encode([{"text": ["a"]}])


@MTEB
def test_the_metadata_tell_models_apart(model_folders):
    from mteb.models.models_protocols import EncoderProtocol

    metas = [MtebEncoder(model_folders[kind]).mteb_model_meta for kind in ("sslam_classifier", "published")]
    assert metas[0].name == "local/sslam_classifier"
    assert metas[0].revision != metas[1].revision
    assert metas[0].modalities == ["audio"]
    assert metas[0].embed_dim == 32
    assert isinstance(MtebEncoder(model_folders["published"]), EncoderProtocol)
    loaded = AutoModel.from_pretrained(model_folders["sslam_classifier"])
    assert MtebEncoder(loaded).mteb_model_meta.revision == metas[0].revision


def local_tasks() -> list:
    """A classification of low and high tones, at two rates and of unequal lengths."""
    from mteb.abstasks import AbsTaskClassification
    from mteb.abstasks.task_metadata import TaskMetadata
    from mteb.mocks.mock_tasks.classification import general_args

    def rows(number: int) -> Dataset:
        rng, clips, labels = np.random.default_rng(number), [], []
        for index in range(number):
            rate = (8000, 16000)[index // 2 % 2]
            time = np.arange(round(rng.uniform(0.5, 1.5) * rate)) / rate
            tone = 0.2 * np.sin(2 * np.pi * (300, 3000)[index % 2] * time) + 0.01 * rng.standard_normal(len(time))
            clips.append({"array": tone.astype(np.float32), "sampling_rate": rate})
            labels.append(index % 2)
        return Dataset.from_dict({"audio": clips, "label": labels})

    class Tones(AbsTaskClassification):
        metadata = TaskMetadata(
            type="AudioClassification",
            name="Tones",
            main_score="accuracy",
            **{**general_args, "modalities": ["audio"]},
        )
        input_column_name = "audio"

        def load_data(self, **kwargs) -> None:
            self.dataset = DatasetDict({"train": rows(24), "test": rows(12)})
            self.data_loaded = True

    return [Tones()]


@MTEB
@pytest.mark.slow
def test_mteb_on_a_local_task(model_folders):
    import mteb

    encoder = MtebEncoder(model_folders["sslam_classifier"])
    results = mteb.evaluate(encoder, local_tasks(), cache=None)
    assert results.model_name == "local/sslam_classifier"
    (task,) = results.task_results
    assert task.get_score() > 0.9


@MTEB
@pytest.mark.slow
@pytest.mark.skipif(
    importlib.util.find_spec("torchcodec") is None, reason="the mock tasks of MTEB need torchcodec and FFmpeg"
)
def test_the_mock_tasks_of_mteb(model_folders):
    import mteb
    from mteb.mocks.mock_tasks.classification import MockAudioClassification
    from mteb.mocks.mock_tasks.clustering import MockAudioClusteringTask
    from mteb.mocks.mock_tasks.pair_classification import MockAudioPairClassification

    encoder = MtebEncoder(model_folders["sam_audio_pretraining"])
    tasks = [MockAudioClassification(), MockAudioClusteringTask(), MockAudioPairClassification()]
    results = mteb.evaluate(encoder, tasks, cache=None)
    assert len(results.task_results) == len(tasks)
    assert all(np.isfinite(task.get_score()) for task in results.task_results)
