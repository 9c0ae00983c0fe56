# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""The examples in the docstrings of configurations, feature extractors and models run and give what they say."""

import doctest

import pytest

import polyaudio


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


@pytest.mark.parametrize("documented", [*CONFIGURED, *(model.forward for model in MODELS)])
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
