# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""
EVAR's interface. EVAR is a repository and no package, so its steps are repeated here: `lineareval.py` makes the
representation from the name in the configuration, calls `precompute`, wraps it in DataParallel and embeds batches.
"""

import numpy as np
import pytest
import soundfile
import torch

from builders import RATE
from polyaudio import embed
from polyaudio.evaluation.suites.evar import AR_Polyaudio


class Configuration(dict):
    """Of EVAR: its values are attributes too."""

    __getattr__ = dict.__getitem__


def configuration(folder: str, **changes) -> Configuration:
    return Configuration({"weight_file": folder, "sample_rate": RATE, "return_filename": False, **changes})


def test_the_steps_of_lineareval(any_model, sound, tmp_path):
    batches = [torch.from_numpy(np.stack([sound(1.2, seed) for seed in seeds])) for seeds in ((0, 1, 2), (3,))]
    representation = AR_Polyaudio(configuration(any_model)).to("cpu")
    representation.precompute(torch.device("cpu"), [(batch, None) for batch in batches])
    parallel = torch.nn.DataParallel(representation).to("cpu")
    parallel.eval()
    assert not parallel.module.cfg.return_filename
    with torch.no_grad():
        vectors = torch.vstack([parallel(batch).detach().cpu() for batch in batches]).numpy()
    assert vectors.dtype == np.float32
    for index in range(4):
        soundfile.write(tmp_path / f"{index}.wav", sound(1.2, index), RATE, subtype="FLOAT")
    expected = embed([tmp_path / f"{index}.wav" for index in range(4)], any_model)
    np.testing.assert_allclose(vectors, np.stack([one.features for one in expected]), atol=1e-5, rtol=1e-4)


def test_frames_come_last(model, sound, tmp_path):
    representation = AR_Polyaudio(configuration(model))
    frames = representation.encode_frames(torch.from_numpy(sound(1.2))[None])
    soundfile.write(tmp_path / "clip.wav", sound(1.2), RATE, subtype="FLOAT")
    (clip,) = embed(tmp_path / "clip.wav", model, granularity="frame")
    np.testing.assert_allclose(frames[0].T, clip.features, atol=1e-5, rtol=1e-4)


def test_errors_say_what_to_do(model_folders):
    folder = model_folders["sslam_classifier"]
    with pytest.raises(ValueError, match="takes audio at 16000 Hz, not 32000"):
        AR_Polyaudio(configuration(folder, sample_rate=32000))
    with pytest.raises(ValueError, match="Fine-tune them with `polyaudio train`"):
        AR_Polyaudio(configuration(folder)).set_augment_tf_feature_fn(None)
