"""Saving: whole or not at all."""

import errno
import json
import os
import resource
import signal
import subprocess
from pathlib import Path

import pytest
import torch
from huggingface_hub.errors import StrictDataclassClassValidationError
from safetensors.torch import save_file
from transformers import AutoModelForAudioClassification

from polyaudio import SAMAudioConfig, SAMAudioFeatureExtractor, SAMAudioForAudioClassification
from polyaudio.data.folders import write_whole
from polyaudio.training.ema import ModelEMA
from prepared_python import python


# Saves like `save_pretrained` in a child that is killed when half of the weights are written
KILLED_SAVE = """
import os, signal, sys
from polyaudio import SAMAudioConfig, SAMAudioForAudioClassification
from transformers import modeling_utils
save = modeling_utils.safe_save_file

def save_half(tensors, path, metadata):
    save(tensors, path, metadata=metadata)
    os.truncate(path, os.path.getsize(path) // 2)
    os.kill(os.getpid(), signal.SIGKILL)

modeling_utils.safe_save_file = save_half
model = SAMAudioForAudioClassification.from_pretrained(sys.argv[1], num_labels=5, ignore_mismatched_sizes=True)
for folder in sys.argv[1:]:
    child = os.fork()
    if child == 0:
        model.save_pretrained(folder)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == signal.SIGKILL
print("killed")
"""


def make_model(seed: int = 0) -> SAMAudioForAudioClassification:
    torch.manual_seed(seed)
    config = SAMAudioConfig(
        conv_dim=[16, 32], conv_kernel=[3, 3], conv_stride=[2, 2], num_attention_heads=4, num_segments=4, num_labels=3
    )
    return SAMAudioForAudioClassification(config)


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def is_saved_in(model: SAMAudioForAudioClassification, folder: Path) -> bool:
    loaded = AutoModelForAudioClassification.from_pretrained(folder).state_dict()
    return all(torch.equal(loaded[name], value) for name, value in model.state_dict().items())


@pytest.fixture
def folder(tmp_path) -> Path:
    """A good model with its extractor, and something else."""
    make_model().save_pretrained(tmp_path / "model")
    SAMAudioFeatureExtractor().save_pretrained(tmp_path / "model")
    (tmp_path / "model" / "notes.txt").write_text("mine")
    return tmp_path / "model"


@pytest.mark.slow
def test_a_killed_save_leaves_the_model_before(folder, tmp_path):
    before, empty = content(folder), tmp_path / "empty"
    done = subprocess.run([python(), "-c", KILLED_SAVE, folder, empty], capture_output=True, text=True)
    assert done.stdout.endswith("killed\n"), done.stderr[-2000:]
    after = content(folder)
    assert {name: after[name] for name in before} == before
    assert all(name.startswith("_saving/") for name in after.keys() - before.keys())
    assert is_saved_in(make_model(), folder)
    assert not list(empty.glob("*.*"))  # and where there was none there is none

    make_model(1).save_pretrained(folder)
    assert content(folder).keys() == before.keys()
    assert is_saved_in(make_model(1), folder)


def test_a_full_disk_leaves_the_model_before(folder):
    before = content(folder)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    assert len(before["model.safetensors"]) > 40000
    resource.setrlimit(resource.RLIMIT_FSIZE, (40000, limits[1]))
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        with pytest.raises(OSError, match=r"did not change: .*disk has room"):
            make_model(1).save_pretrained(folder)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert content(folder) == before


def test_a_folder_that_is_read_only(folder):
    before = content(folder)
    folder.chmod(0o555)
    for path in folder.parents[:2]:  # pytest makes these for one user only
        path.chmod(path.stat().st_mode | 0o055)
    user = os.geteuid()
    if user == 0:  # who may write anywhere
        os.seteuid(65534)
    try:
        for saved in (make_model(1), SAMAudioFeatureExtractor(frontend="waveform")):
            with pytest.raises(OSError, match=r"Nothing was saved to .*Check that the folder") as error:
                saved.save_pretrained(folder)
            assert error.value.__cause__.errno == errno.EACCES
    finally:
        os.seteuid(user)
        folder.chmod(0o755)
    assert content(folder) == before


def test_a_file_in_the_place_of_the_folder(tmp_path):
    (tmp_path / "model").write_text("a file")
    with pytest.raises(OSError, match="Nothing was saved"):
        make_model().save_pretrained(tmp_path / "model")
    assert (tmp_path / "model").read_text() == "a file"


def test_an_error_while_saving_leaves_the_model_before(folder):
    before, model = content(folder), make_model(1)
    model.config.num_segments = 3
    model.config.__dict__["temperature"] = -1.0
    with pytest.raises(StrictDataclassClassValidationError, match="temperature"):
        model.save_pretrained(folder)
    assert content(folder) == before


def test_shards_and_a_single_file_take_each_others_place(folder):
    make_model(1).save_pretrained(folder, max_shard_size="20KB")
    shards = [name for name in content(folder) if "-of-" in name]
    assert len(shards) > 1
    assert "model.safetensors" not in content(folder)
    assert is_saved_in(make_model(1), folder)
    make_model(2).save_pretrained(folder, max_shard_size="30KB")
    assert len([name for name in content(folder) if "-of-" in name]) < len(shards)
    assert is_saved_in(make_model(2), folder)
    make_model(3).save_pretrained(folder)
    assert not [name for name in content(folder) if "-of-" in name or "index" in name]
    assert is_saved_in(make_model(3), folder)
    assert content(folder)["notes.txt"] == b"mine"


def test_a_variant_stands_beside_the_weights(folder):
    make_model(1).save_pretrained(folder, variant="other")
    assert is_saved_in(make_model(), folder)
    loaded = AutoModelForAudioClassification.from_pretrained(folder, variant="other")
    assert torch.equal(loaded.classifier.out_proj.weight, make_model(1).classifier.out_proj.weight)


def test_a_process_that_is_not_the_main_one_writes_nothing(folder):
    before = content(folder)
    make_model(1).save_pretrained(folder, is_main_process=False)
    assert content(folder) == before


def test_the_extractor_tells_where_it_was_saved(tmp_path):
    (path,) = SAMAudioFeatureExtractor(frontend="waveform").save_pretrained(tmp_path / "new" / "folder")
    assert path == str(tmp_path / "new" / "folder" / "preprocessor_config.json")
    assert json.loads(Path(path).read_text())["frontend"] == "waveform"


def test_files_have_the_mode_that_the_umask_gives(tmp_path):
    """Weights too: safetensors makes files that only their owner can read."""
    before = os.umask(0o027)
    try:
        make_model().save_pretrained(tmp_path / "one", max_shard_size="20KB")
        SAMAudioFeatureExtractor().save_pretrained(tmp_path / "one")
        make_model().save_pretrained(tmp_path / "two")
        averages = ModelEMA(make_model(), 0.9)
        averages.save(tmp_path / "two")
        averages.save(tmp_path / "two")
        write_whole(tmp_path / "x.safetensors", lambda path: save_file({"x": torch.zeros(2)}, path))
    finally:
        os.umask(before)
    modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.rglob("*") if path.is_file()}
    assert {
        "config.json",
        "preprocessor_config.json",
        "model.safetensors",
        "ema.safetensors",
        "saving.py",
    } <= modes.keys()
    assert set(modes.values()) == {0o640}, modes
