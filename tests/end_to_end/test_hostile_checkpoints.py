# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Checkpoints and model folders of strangers who mean harm, or whose disks were damaged.

Whatever is in them, a call ends in one of two ways: one line that says what is wrong, or a model. No code in them
runs, a gigabyte of memory is enough, nothing half-written is left, and nobody sees a traceback.
"""

import copy
import io
import json
import os
import pickle
import re
import resource
import shutil
import struct
import tarfile
import traceback
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoFeatureExtractor, AutoModel, AutoModelForAudioClassification

from builders import SAM_AUDIO, SSLAM, write_tones
from polyaudio import (
    SAMAudioConfig,
    SAMAudioFeatureExtractor,
    SAMAudioForAudioClassification,
    SSLAMConfig,
    SSLAMFeatureExtractor,
    SSLAMForAudioClassification,
)
from polyaudio.scripts.convert import main as convert
from polyaudio.scripts.embed import main as embed
from polyaudio.scripts.evaluate import main as evaluate
from polyaudio.scripts.predict import main as predict
from polyaudio.scripts.push import main as push
from polyaudio.scripts.train import main as train


GIGABYTE = 2**30
LABELS = {"id2label": {0: "high", 1: "low"}, "label2id": {"high": 0, "low": 1}}
MODULE = "evil_module_of_a_checkpoint"


class Payload:
    """Runs code where it is unpickled: makes a file."""

    def __init__(self, canary: Path):
        self.canary = canary

    def __reduce__(self):
        return os.mkdir, (str(self.canary),)


class Calls:
    """Pickled as a call of a function."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


# Checkpoint files ---------------------------------------------------------------------------------

FILES: dict[str, Callable[[Path, Path], None]] = {}


def file_case(make: Callable[[Path, Path], None]) -> Callable[[Path, Path], None]:
    """Register a function that writes a hostile file: it gets the path and the path of the canary."""
    FILES[make.__name__] = make
    return make


def saved(content, path: Path, zipped: bool = True) -> None:
    torch.save(content, path, _use_new_zipfile_serialization=zipped)


def add_saved(name: str, content: Callable[[Path], object]) -> None:
    """Register two cases: the content in both formats of torch."""
    for zipped in (True, False):
        FILES[f"{name} {'zip' if zipped else 'legacy'}"] = lambda path, canary, zipped=zipped: saved(
            content(canary), path, zipped
        )


add_saved("code in the weights", lambda canary: {"model_state_dict": {"x": Payload(canary)}})
add_saved("code in the settings", lambda canary: {"cfg": {"model": [Payload(canary)]}, "model": {}})
add_saved("eval", lambda canary: {"cfg": Calls(eval, f"__import__('os').mkdir({str(canary)!r})"), "model": {}})
add_saved("a hook of a tensor class", lambda canary: {"x": Calls(torch.nn.Linear, 10, 10)})
add_saved("a large bytearray", lambda canary: {"cfg": {}, "model": Calls(bytearray, 4 * GIGABYTE)})
add_saved("a large tensor", lambda canary: {"cfg": {}, "model": Calls(torch.Tensor, GIGABYTE)})
add_saved("a large storage", lambda canary: {"cfg": {}, "model": Calls(torch.UntypedStorage, 4 * GIGABYTE)})
add_saved(
    "a large number", lambda canary: {"cfg": {}, "model": Calls(np._core.multiarray.scalar, np.dtype(f"V{2**31 - 1}"))}
)
add_saved("a list", lambda canary: [1, 2])
add_saved("an empty dictionary", lambda canary: {})
add_saved("keys that are numbers", lambda canary: {1: 2, 3: 4})
add_saved("keys that are tuples", lambda canary: {(1, 2): 3})
add_saved("settings that are no dictionary", lambda canary: {"cfg": 5, "model": 7})
add_saved("weights that are no tensors", lambda canary: {"segment_predictor.segment_tokens": "text"})
add_saved("weights that are a list", lambda canary: {"model_state_dict": [1], "config": {}})
add_saved("a sparse tensor", lambda canary: {"segment_predictor.segment_tokens": torch.eye(3).to_sparse()})


@file_case
def empty(path, canary):
    path.write_bytes(b"")


@file_case
def text(path, canary):
    path.write_text("<html>404</html>")


@file_case
def noise(path, canary):
    path.write_bytes(np.random.default_rng(0).bytes(4096))


@file_case
def noise_after_the_mark_of_a_pickle(path, canary):
    path.write_bytes(b"\x80\x02" + np.random.default_rng(0).bytes(4096))


@file_case
def only_the_end_of_a_zip(path, canary):
    path.write_bytes(b"PK\x05\x06" + bytes(18))


@file_case
def a_zip_of_something_else(path, canary):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("notes.txt", "hello")


@file_case
def a_pickle_of_protocol_4(path, canary):
    path.write_bytes(pickle.dumps({"model_state_dict": Payload(canary)}, protocol=4))


@file_case
def a_pickle_of_protocol_0(path, canary):
    path.write_bytes(pickle.dumps({"model_state_dict": Payload(canary)}, protocol=0))


@file_case
def a_compressed_pickle(path, canary):
    """A few hundred kilobytes that unpack to a hundred megabytes; more would only make the test slower."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02" + b"]0" * 50_000_000 + b"}.")
        archive.writestr("archive/version", "3\n")


@file_case
def a_compressed_storage(path, canary):
    saved({"model_state_dict": {"segment_predictor.segment_tokens": torch.zeros(10_000_000)}}, path)
    with zipfile.ZipFile(path) as archive:
        entries = {entry.filename: archive.read(entry) for entry in archive.infolist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)


@file_case
def a_large_pickle(path, canary):
    """Empty lists on the stack: each byte takes 64 in memory."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02" + b"]" * 20_000_000 + b".")
        archive.writestr("archive/version", "3\n")


@file_case
def a_large_pickle_without_zip(path, canary):
    path.write_bytes(pickle.dumps(0x1950A86A20F9469CFC6C, 2) + b"\x80\x02" + b"]" * 20_000_000 + b".")


@file_case
def a_long_string_that_is_not_there(path, canary):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02X" + struct.pack("<I", 2**32 - 1) + b"abc")


@file_case
def a_legacy_storage_of_terabytes(path, canary):
    """The pickles of a legacy file say the size of each storage."""
    saved({"weight": torch.zeros(1000)}, path, zipped=False)
    content = path.read_bytes()
    assert b"M\xe8\x03" in content
    path.write_bytes(content.replace(b"M\xe8\x03", b"\x8a\x06" + (2**40).to_bytes(6, "little")))


@file_case
def a_tar(path, canary):
    with tarfile.open(path, "w") as archive:
        for name in ("\x80\x02evil", "storages", "tensors", "pickle"):
            entry = tarfile.TarInfo(name)
            content = pickle.dumps(Payload(canary))
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))


@file_case
def a_module_of_torchscript(path, canary):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/constants.pkl", pickle.dumps((), 2))
        archive.writestr("archive/data.pkl", pickle.dumps({}, 2))
        archive.writestr("archive/version", "3\n")


def reference_case(file: str, change: Callable[[dict], object]) -> Callable[[Path, Path], None]:
    def make(path, canary):
        checkpoint = torch.load(Path(__file__).parents[1] / "reference" / file, weights_only=False)
        saved(change(copy.deepcopy(checkpoint)) or checkpoint, path)

    return make


def changed(*keys, to):
    """Set what is under nested keys."""

    def change(checkpoint):
        inner = checkpoint
        for key in keys[:-1]:
            inner = inner[key]
        inner[keys[-1]] = to(inner[keys[-1]]) if callable(to) else to
        return checkpoint

    return change


FINETUNED, PRETRAINED = "sslam/finetuned.pt", "sslam/pretrained.pt"
POSITIONS = "modality_encoders.IMAGE.fixed_positional_encoder.positions"
MODEL_CFG = ("cfg", "model", "pretrained_model_args", "model")
for value in (10**9, 10**6, 0, -1, "12", None, 1.5, [3]):
    for key in ("depth", "embed_dim", "num_heads", "mlp_ratio"):
        FILES[f"{key}={value}"] = reference_case(FINETUNED, changed(*MODEL_CFG, key, to=value))
for value in (10**9, -1, "many"):
    FILES[f"num_classes={value}"] = reference_case(FINETUNED, changed("cfg", "model", "num_classes", to=value))
    FILES[f"target_length={value}"] = reference_case(PRETRAINED, changed("cfg", "task", "target_length", to=value))
    for key in ("decoder_dim", "decoder_layers", "decoder_kernel", "decoder_groups"):
        where = ("cfg", "model", "modalities", "image", "decoder", key)
        FILES[f"{key}={value}"] = reference_case(PRETRAINED, changed(*where, to=value))
    where = ("cfg", "model", "modalities", "image", "patch_size")
    FILES[f"patch_size={value}"] = reference_case(PRETRAINED, changed(*where, to=value))
for keys in (
    ("cfg",),
    ("cfg", "model"),
    ("model",),
    ("cfg", "task"),
    ("cfg", "model", "modalities"),
    ("cfg", "model", "_name"),
):
    FILES[f"{'.'.join(keys)} is a number"] = reference_case(PRETRAINED, changed(*keys, to=5))
FILES["a weight that is expanded"] = reference_case(
    PRETRAINED, changed("model", "blocks.0.mlp.fc1.weight", to=torch.zeros(1, 1).expand(2**20, 2**20))
)
FILES["positions that are expanded"] = reference_case(
    PRETRAINED, changed("model", POSITIONS, to=torch.zeros(1, 1, 1).expand(1, 2**30, 2**10))
)
FILES["a weight of another shape"] = reference_case(
    PRETRAINED, changed("model", "blocks.0.mlp.fc1.weight", to=torch.zeros(3, 3))
)
FILES["a weight without dimensions"] = reference_case(PRETRAINED, changed("model", POSITIONS, to=torch.tensor(1.0)))
FILES["a weight of integers that is a number"] = reference_case(PRETRAINED, changed("model", POSITIONS, to=7))

SAM = "sam_audio/mel/best_model.pth"
for key, value in (
    ("segment_predictor.segment_tokens", torch.zeros(1, 1).expand(2**20, 2**12)),
    ("segment_predictor.segment_tokens", torch.zeros(())),
    ("raga_classifier.classifier.5.weight", torch.zeros(1, 1).expand(2**30, 8)),
    ("audio_encoder.mel_transform.mel_scale.fb", torch.zeros(1, 1).expand(513, 2**24)),
    ("audio_encoder.conv_layers.0.weight", torch.zeros(3)),
    ("audio_encoder.conv_layers.4000000000.weight", torch.zeros(2, 2, 2)),
    ("contrastive_module.projection_head.2.weight", torch.zeros(1, 1).expand(2**20, 2**20)),
    ("raga_classifier.classifier.1.weight", torch.zeros(3, 3)),
):
    FILES[f"{key} {tuple(value.shape)}"] = reference_case(
        SAM, changed("model_state_dict", to=lambda weights, key=key, value=value: {**weights, key: value})
    )
for key in ("stride", "dropout_rate", "temperature", "mask_ratio"):
    for value in (10**9, -3, "x", None, float("nan")):
        FILES[f"{key}={value}"] = reference_case(
            SAM, changed("config", to=lambda settings, key=key, value=value: {**settings, key: value})
        )
FILES["settings that are a list"] = reference_case(SAM, changed("config", to=[1]))


@file_case
def truncated(path, canary):
    reference_case(SAM, lambda checkpoint: checkpoint)(path, canary)
    os.truncate(path, path.stat().st_size // 2)


@file_case
def truncated_at_the_end(path, canary):
    reference_case(SAM, lambda checkpoint: checkpoint)(path, canary)
    os.truncate(path, path.stat().st_size - 100)


@file_case
def one_storage_for_many_layers(path, canary):
    """As many layers as the settings say, all with the numbers of one."""
    checkpoint = torch.load(Path(__file__).parents[1] / "reference" / FINETUNED, weights_only=False)
    weights, depth = checkpoint["model"], 60
    checkpoint["cfg"]["model"]["pretrained_model_args"]["model"]["depth"] = depth
    first = {name: tensor for name, tensor in weights.items() if name.startswith("model.blocks.0.")}
    for layer in range(depth):
        weights.update({name.replace(".0.", f".{layer}.", 1): tensor for name, tensor in first.items()})
    saved(checkpoint, path)


# Model folders ------------------------------------------------------------------------------------

FOLDERS: dict[str, Callable[[Path, Path], None]] = {}


def edited(file: str, **values) -> Callable[[Path, Path], None]:
    """Sets values in a JSON file of the folder."""

    def change(folder, canary):
        content = json.loads((folder / file).read_text()) if (folder / file).is_file() else {}
        (folder / file).write_text(json.dumps({**content, **values}))

    return change


def written(file: str, content: bytes | str) -> Callable[[Path, Path], None]:
    def change(folder, canary):
        (folder / file).write_bytes(content.encode() if isinstance(content, str) else content)

    return change


CONFIG, EXTRACTOR, WEIGHTS, ADAPTER = (
    *("config.json", "preprocessor_config.json", "model.safetensors", "adapter_config.json"),
)
SIZES = {
    "sslam": ("hidden_size", "num_hidden_layers", "num_attention_heads", "patch_size", "max_time_patches"),
    "sam": ("conv_dim", "conv_kernel", "num_segments", "num_hidden_layers", "projection_dim"),
    "eat": ("embed_dim", "depth", "num_heads", "mlp_ratio", "max_length", "num_classes"),
}
for kind, names in SIZES.items():
    for name in names:
        for value in (10**9, 0, -1, "big"):
            sizes = [value, value] if name.startswith("conv") else value
            FOLDERS[f"{kind} {name}={value}"] = edited(CONFIG, **{name: sizes})
for name, value in {
    "num_labels": 10**9,
    "id2label": None,
    "hidden_act": "os.system",
    "dtype": "load",
    "torch_dtype": "float1000",
    "problem_type": "x",
    "layer_norm_eps": -1.0,
    "hidden_dropout_prob": 7.0,
    "initializer_range": -1.0,
    "architectures": 5,
    "model_type": "nothing",
    "auto_map": 7,
    "intermediate_size": 2**17,
    "attn_implementation": "evil/kernel",
    "quantization_config": {"quant_method": "nothing"},
    "quantization_config ": {"quant_method": "gptq", "bits": 4},
    "transformers_version": "x",
}.items():
    FOLDERS[f"sslam {name}={value}"] = edited(
        CONFIG, **({"id2label": None} if name == "num_labels" else {}), **{name.strip(): value}
    )
for name, labels in {
    "a list": [1, 2],
    "keys of text": {"a": "b"},
    "a gap": {0: "a", 5: "b"},
    "negative": {-1: "a", 0: "b"},
    "nested": {0: {"a": "b"}, 1: ["c"]},
    "many": dict.fromkeys(range(300000), "x"),
}.items():
    FOLDERS[f"sslam id2label {name}"] = edited(CONFIG, id2label=labels)
for file in (CONFIG, EXTRACTOR):
    FOLDERS |= {
        f"sslam {file} empty": written(file, ""),
        f"sslam {file} a list": written(file, "[1]"),
        f"sslam {file} null": written(file, "null"),
        f"sslam {file} noise": written(file, bytes(range(256))),
        f"sslam {file} deep": written(file, '{"a":' * 100_000 + "1" + "}" * 100_000),
        f"sslam {file} large": written(file, '{"a": "' + "x" * 2**25 + '"}'),
    }
for name, value in {
    "sampling_rate": 10**9,
    "feature_size": 10**9,
    "max_length": 10**9,
    "sampling_rate ": "16000",
    "sampling_rate  ": 0,
    "feature_size ": -1,
    "max_length ": 0,
    "mean": "x",
    "std": "x",
    "std ": 0,
    "padding_value": "x",
    "padding_side": "up",
    "feature_extractor_type": "os.system",
    "auto_map": {"AutoFeatureExtractor": f"{MODULE}.X"},
}.items():
    FOLDERS[f"sslam extractor {name}={value}"] = edited(EXTRACTOR, **{name.strip(): value})
for name, value in {
    "n_fft": 10**9,
    "hop_length": 10**9,
    "hop_length ": -1,
    "feature_size": 10**6,
    "frontend": "x",
}.items():
    FOLDERS[f"sam extractor {name}={value}"] = edited(EXTRACTOR, **{name.strip(): value})


def header(content: dict | str, length: int | None = None, data: bytes = b"") -> bytes:
    text = (content if isinstance(content, str) else json.dumps(content)).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


FOLDERS |= {
    "sslam weights empty": written(WEIGHTS, b""),
    "sslam weights noise": written(WEIGHTS, bytes(range(256))),
    "sslam weights of terabytes": written(
        WEIGHTS, header({"x": {"dtype": "F32", "shape": [2**20, 2**20], "data_offsets": [0, 2**42]}})
    ),
    "sslam header of terabytes": written(WEIGHTS, header("{}", 2**42)),
    "sslam header beyond the file": written(WEIGHTS, header("{}", 1000)),
    "sslam header that is no JSON": written(WEIGHTS, header("{{{")),
    "sslam header that is deep": written(WEIGHTS, header("[" * 100_000)),
    "sslam offsets that overlap": written(
        WEIGHTS,
        header({n: {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]} for n in "ab"}, data=bytes(4)),
    ),
    "sslam weights of no tensors": written(WEIGHTS, header({})),
    "sslam weights that are a pickle": written(WEIGHTS, pickle.dumps(Payload(Path("nowhere")))),
    "sam weights empty": written(WEIGHTS, b""),
    "eat weights empty": written(WEIGHTS, b""),
    "eat weights of no tensors": written(WEIGHTS, header({})),
}


def folder_case(make: Callable[[Path, Path], None]) -> Callable[[Path, Path], None]:
    FOLDERS[f"sslam {make.__name__}"] = make
    return make


@folder_case
def truncated_weights(folder, canary):
    os.truncate(folder / WEIGHTS, (folder / WEIGHTS).stat().st_size // 2)


@folder_case
def no_weights(folder, canary):
    (folder / WEIGHTS).unlink()


@folder_case
def weights_of_another_model(folder, canary):
    save_file({"weight": torch.zeros(3)}, folder / WEIGHTS)


@folder_case
def weights_of_other_shapes(folder, canary):
    weights = load_file(folder / WEIGHTS)
    save_file({name: torch.zeros(3, 5) for name in weights}, folder / WEIGHTS)


@folder_case
def weights_of_nan(folder, canary):
    weights = load_file(folder / WEIGHTS)
    save_file({name: torch.full_like(tensor, torch.nan) for name, tensor in weights.items()}, folder / WEIGHTS)


@folder_case
def weights_that_are_pickled(folder, canary):
    torch.save({"x": Payload(canary)}, folder / "pytorch_model.bin")
    (folder / WEIGHTS).unlink()


@folder_case
def weights_that_are_pickled_and_compressed(folder, canary):
    a_compressed_pickle(folder / "pytorch_model.bin", canary)
    (folder / WEIGHTS).unlink()


@folder_case
def sizes_of_a_model_that_the_weights_do_not_have(folder, canary):
    """Each size is allowed, but together they need many gigabytes."""
    edited(CONFIG, hidden_size=4096, intermediate_size=16384, num_hidden_layers=48)(folder, canary)


@folder_case
def code_of_a_type_that_nobody_knows(folder, canary):
    (folder / f"{MODULE}.py").write_text(f"import os\nos.mkdir({str(canary)!r})\n")
    auto_map = {"AutoConfig": f"{MODULE}.X", "AutoModelForAudioClassification": f"{MODULE}.Y"}
    edited(CONFIG, model_type="unknown", auto_map=auto_map)(folder, canary)


@folder_case
def code_of_a_type_that_polyaudio_knows(folder, canary):
    (folder / f"{MODULE}.py").write_text(f"import os\nos.mkdir({str(canary)!r})\n")
    names = ("AutoConfig", "AutoModel", "AutoModelForAudioClassification", "AutoFeatureExtractor")
    edited(CONFIG, auto_map=dict.fromkeys(names, f"{MODULE}.X"), custom_pipelines={})(folder, canary)
    edited(EXTRACTOR, auto_map={"AutoFeatureExtractor": f"{MODULE}.X"})(folder, canary)


@folder_case
def code_of_an_extractor(folder, canary):
    (folder / f"{MODULE}.py").write_text(f"import os\nos.mkdir({str(canary)!r})\n")
    extractor = {"feature_extractor_type": "X", "auto_map": {"AutoFeatureExtractor": f"{MODULE}.X"}}
    (folder / EXTRACTOR).write_text(json.dumps(extractor))


@folder_case
def arguments_of_a_run_that_are_a_pickle(folder, canary):
    torch.save(Payload(canary), folder / "training_args.bin")
    torch.save(Payload(canary), folder / "optimizer.pt")
    (folder / "sitecustomize.py").write_text(f"import os\nos.mkdir({str(canary)!r})\n")


def index_case(weight_map) -> Callable[[Path, Path], None]:
    def change(folder, canary):
        shutil.move(folder / WEIGHTS, folder.parent / "outside.safetensors")
        (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map, "metadata": {}}))

    return change


for name, weight_map in {
    "outside": {"x": "../outside.safetensors"},
    "absolute": {"x": "/etc/passwd"},
    "missing": {"x": "model-00001-of-00001.safetensors"},
    "a number": {"x": 5},
    "a list": [1],
    "null": None,
}.items():
    FOLDERS[f"sslam index {name}"] = index_case(weight_map)


def adapter_case(**values) -> Callable[[Path, Path], None]:
    def change(folder, canary):
        (folder / WEIGHTS).rename(folder.parent / "base-of-adapter.safetensors")
        base = folder.parent / "base"
        base.mkdir(exist_ok=True)
        shutil.move(folder.parent / "base-of-adapter.safetensors", base / WEIGHTS)
        shutil.copy(folder / CONFIG, base / CONFIG)
        settings = {
            "peft_type": "LORA",
            "r": 2,
            "lora_alpha": 4,
            "target_modules": ["q_proj"],
            "base_model_name_or_path": str(base),
            **values,
        }
        (folder / ADAPTER).write_text(json.dumps({k: v for k, v in settings.items() if v != "gone"}))
        save_file({"x": torch.zeros(2)}, folder / "adapter_model.safetensors")

    return change


FOLDERS |= {
    "sslam adapter without a base": adapter_case(base_model_name_or_path="gone"),
    "sslam adapter whose base is null": adapter_case(base_model_name_or_path=None),
    "sslam adapter whose base is a number": adapter_case(base_model_name_or_path=5),
    "sslam adapter whose base does not exist": adapter_case(base_model_name_or_path="/nowhere/at/all"),
    "sslam adapter whose base is a strange repository": adapter_case(base_model_name_or_path="evil/model"),
    "sslam adapter of a type that nobody knows": adapter_case(peft_type="EVIL"),
    "sslam adapter without a type": adapter_case(peft_type="gone"),
    "sslam adapter of a large rank": adapter_case(r=10**9),
    "sslam adapter of a rank of zero": adapter_case(r=0),
    "sslam adapter of a rank of text": adapter_case(r="8"),
    "sslam adapter of a large rank in a pattern": adapter_case(rank_pattern={"q_proj": 10**8}),
    "sslam adapter that imports a module": adapter_case(megatron_config={}, megatron_core=MODULE),
    "sslam adapter of no modules": adapter_case(target_modules=["nothing"]),
    "sslam adapter of weights that it lacks": adapter_case(),
    "sslam adapter_config empty": written(ADAPTER, ""),
    "sslam adapter_config a list": written(ADAPTER, "[]"),
    "sslam adapter_config deep": written(ADAPTER, "[" * 100_000),
}


# The tests ----------------------------------------------------------------------------------------


# What Python, torch and the system say when memory runs out
NO_MEMORY = re.compile("MemoryError|allocate memory|not enough memory")


def allocated() -> int:
    """The bytes that this process has allocated, used or not."""
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith("VmData:"))


@pytest.fixture
def in_bounds(tmp_path, monkeypatch):
    """Gives a test a gigabyte of memory, whatever else this machine does, and fails where it has run code."""
    canary = tmp_path / "canary"
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("a question"))
    before, most = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (allocated() + GIGABYTE, most))
    yield canary
    resource.setrlimit(resource.RLIMIT_DATA, (before, most))
    assert not canary.exists(), "code of a checkpoint has run"


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> Path:
    """A small model of each kind, and the sounds that it is tried on."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("models")
    SSLAMForAudioClassification(SSLAMConfig(**SSLAM, **LABELS)).save_pretrained(folder / "sslam")
    SSLAMFeatureExtractor(max_length=128).save_pretrained(folder / "sslam")
    SAMAudioForAudioClassification(SAMAudioConfig(**SAM_AUDIO, **LABELS)).save_pretrained(folder / "sam")
    SAMAudioFeatureExtractor().save_pretrained(folder / "sam")
    shutil.copytree(Path(__file__).parents[1] / "reference" / "hub_eat" / "finetuned", folder / "eat")
    SSLAMFeatureExtractor(max_length=128).save_pretrained(folder / "eat")
    write_tones(folder / "tones", {"high": 3000.0, "low": 300.0}, 4, seconds=(0.3, 0.5))
    return folder


def check_output(code: int, name: str, capsys, may_lack_memory: bool = False) -> None:
    """Done, or refused with one line."""
    error = capsys.readouterr().err
    assert code in (0, 1, 2)
    assert "Traceback" not in error
    assert may_lack_memory or not NO_MEMORY.search(error), error
    if code == 2:
        (line,) = [line for line in error.splitlines() if line.startswith(f"polyaudio {name}:")]
        assert len(line.split()) > 6, line
        assert len(line) < 2000


@pytest.mark.parametrize("case", FILES)
def test_convert(case, tmp_path, in_bounds, capsys):
    FILES[case](tmp_path / "checkpoint.pt", in_bounds)
    code = convert([str(tmp_path / "checkpoint.pt"), "--output", str(tmp_path / "model")])
    # Of this one torch itself asks for the terabytes, which no system gives
    check_output(code, "convert", capsys, may_lack_memory=case == "a_legacy_storage_of_terabytes")
    written = [path for path in (tmp_path / "model").rglob("*") if path.is_file()]
    if code == 0:
        AutoModel.from_pretrained(tmp_path / "model")
    else:
        assert not written


REFUSALS = (ValueError, OSError, StrictDataclassError, SafetensorError, RecursionError, RuntimeError)


def hostile(models: Path, case: str, folder: Path, canary: Path) -> Path:
    shutil.copytree(models / case.partition(" ")[0], folder)
    FOLDERS[case](folder, canary)
    return folder


@pytest.mark.parametrize("case", FOLDERS)
def test_commands_that_read_a_model(case, models, tmp_path, in_bounds, capsys):
    folder = str(hostile(models, case, tmp_path / "model", in_bounds))
    before = sorted(path.name for path in (tmp_path / "model").iterdir())
    clip = str(models / "tones" / "high" / "0.wav")
    check_output(predict([clip, "--model", folder]), "predict", capsys)
    check_output(push([folder, "me/model", "--dry-run"]), "push", capsys)
    output = tmp_path / "converted"
    if convert([folder, "--output", str(output)]):
        assert not output.exists() or not [path for path in output.rglob("*") if path.is_file()]
    check_output(2, "convert", capsys) if not case.startswith("eat") else None
    assert sorted(path.name for path in (tmp_path / "model").iterdir()) == before


@pytest.mark.slow
@pytest.mark.parametrize("case", FOLDERS)
def test_commands_that_compute(case, models, tmp_path, in_bounds, capsys):
    folder = str(hostile(models, case, tmp_path / "model", in_bounds))
    tones = str(models / "tones")
    features = ["--granularity", "utterance", "--output", str(tmp_path / "features")]
    check_output(embed([tones, "--model", folder, *features]), "embed", capsys)
    check_output(evaluate([folder, "--dataset", tones]), "evaluate", capsys)
    flags = ["--max-steps", "1", "--dataloader-num-workers", "0", "--skip-leak-check", "true", "--crop-seconds", "0.3"]
    run = tmp_path / "run"
    code = train(["--dataset", tones, "--model-name-or-path", folder, "--output-dir", str(run), *flags])
    check_output(code, "train", capsys)
    assert code == 0 or not (run / "evaluation.json").exists()


@pytest.mark.parametrize("case", FOLDERS)
def test_from_pretrained(case, models, tmp_path, in_bounds):
    """The Auto classes, as other programs call them."""
    folder = hostile(models, case, tmp_path / "model", in_bounds)
    refusals = []
    for auto_class in (AutoConfig, AutoFeatureExtractor, AutoModel, AutoModelForAudioClassification):
        try:
            auto_class.from_pretrained(folder, trust_remote_code=False)
        except REFUSALS as error:
            refusals += traceback.format_exception(error)
        except (TypeError, AttributeError, LookupError, ImportError) as error:
            # transformers reads the JSON before it knows the type of the model
            *_, (frame, _) = traceback.walk_tb(error.__traceback__)
            if frame.f_globals["__name__"].startswith("polyaudio."):
                raise
    assert not NO_MEMORY.search("".join(refusals))
