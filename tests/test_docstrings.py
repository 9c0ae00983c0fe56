# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""The examples in the docstrings of what a user sees run. Those that need no data give what they say."""

import doctest

import pytest
import torch

import polyaudio
from builders import SAM_AUDIO, SSLAM, TONES, write_tones


CONFIGURED = [
    polyaudio.SAMAudioConfig,
    polyaudio.SAMAudioFeatureExtractor,
    polyaudio.SSLAMConfig,
    polyaudio.SSLAMFeatureExtractor,
]
MODELS = [
    polyaudio.SAMAudioModel,
    polyaudio.SAMAudioForPreTraining,
    polyaudio.SAMAudioForAudioClassification,
    polyaudio.SSLAMModel,
    polyaudio.SSLAMForPreTraining,
    polyaudio.SSLAMForAudioClassification,
    polyaudio.SSLAMForAudioFrameClassification,
]


@pytest.mark.parametrize("documented", [*CONFIGURED, polyaudio.estimate_tonic, *(model.forward for model in MODELS)])
def test_the_example_runs(documented):
    text = "\n".join(line for line in documented.__doc__.split("\n") if not line.strip().startswith("```"))
    example = doctest.DocTestParser().get_doctest(text, {}, documented.__qualname__, None, None)
    assert example.examples
    report = []
    result = doctest.DocTestRunner(verbose=False).run(example, out=report.append)
    assert result.failed == 0, "".join(report)


@pytest.mark.parametrize("model", MODELS)
def test_every_argument_of_forward_is_documented(model):
    names = model.forward.__wrapped__.__code__.co_varnames[1 : model.forward.__wrapped__.__code__.co_argcount]
    assert [name for name in names if f"{name} (`" not in model.forward.__doc__] == []


SMALL_SSLAM = f"SSLAMConfig(**{ {**SSLAM, 'decoder_num_layers': 1, 'max_time_patches': 64} }, "
# What the example of each function becomes, so that it takes a second on a small model
ADAPTED = {
    polyaudio.fine_tune: {
        "num_train_epochs=20": "max_steps=1, report_to='none'",
        "SAMAudioConfig()": f"SAMAudioConfig(**{SAM_AUDIO})",
    },
    polyaudio.pretrain: {"max_steps=800": "max_steps=1, report_to='none'", "SSLAMConfig(": SMALL_SSLAM},
    polyaudio.evaluate: {'"ragas", split="test"': '"my-recordings/"'},
    polyaudio.predict: {},
    polyaudio.embed: {},
    polyaudio.probe: {},
    polyaudio.export_model: {},
    polyaudio.read_recipe: {"num_train_epochs=5": "max_steps=1, report_to='none'"},
}


@pytest.fixture(scope="module")
def workplace(tmp_path_factory):
    """A folder with the recordings and the models that the examples name."""
    folder = tmp_path_factory.mktemp("workplace")
    for name in ("my-recordings", "recordings", "labelled-recordings"):
        write_tones(folder / name, TONES, 5)
    (folder / "recording.wav").write_bytes((folder / "recordings" / "low" / "0.wav").read_bytes())
    torch.manual_seed(0)
    labels = {"id2label": {0: "high", 1: "low"}, "label2id": {"high": 0, "low": 1}}
    model = polyaudio.SSLAMForAudioClassification(polyaudio.SSLAMConfig(**SSLAM, **labels))
    for name in ("ragas", "stage2"):
        model.save_pretrained(folder / "runs" / name)
        polyaudio.SSLAMFeatureExtractor(max_length=64).save_pretrained(folder / "runs" / name)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("function", ADAPTED, ids=lambda function: function.__name__)
def test_the_example_of_a_function_runs(function, workplace, monkeypatch):
    if function is polyaudio.export_model:
        pytest.importorskip("transformers", minversion="5.23", reason="exports need it, and so Python 3.11")
        pytest.importorskip("onnxscript", reason="onnxscript is not installed: pip install polyaudio[export]")
    monkeypatch.chdir(workplace)
    text = function.__doc__
    for part, replacement in ADAPTED[function].items():
        assert part in text
        text = text.replace(part, replacement)
    examples = doctest.DocTestParser().get_examples("\n".join(line for line in text.split("\n") if "```" not in line))
    assert any(f"{function.__name__}(" in example.source for example in examples)
    names: dict = {}
    for example in examples:
        exec(compile(example.source, function.__name__, "exec"), names)
