"""Pushing and loading models and datasets, against a Hub on this machine, through the real client."""

import json
import math
import os
import subprocess
from pathlib import Path

import pytest

from builders import write_tones
from hub_server import WRITE_TOKEN, HubServer
from prepared_python import WITHOUT_POLYAUDIO, python


pytestmark = pytest.mark.slow


# What each process begins with: models that are the same in each, and a helper that reports
PRELUDE = """
import json, sys
import torch

SSLAM = dict(hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64, max_time_patches=64,
             decoder_hidden_size=16, decoder_num_layers=2, decoder_groups=4, num_labels=3)
SAM_AUDIO = dict(conv_dim=[16, 16], conv_kernel=[3, 3], conv_stride=[2, 2], num_attention_heads=4, num_segments=4,
                 num_labels=3)
report = {}
clip = torch.randn(8000, generator=torch.Generator().manual_seed(0))

def logits(model, extractor):
    inputs = extractor(clip, sampling_rate=16000, return_tensors="pt")
    with torch.no_grad():
        return model.eval()(inputs["input_values"]).logits[0].tolist()

def frame_logits(model, extractor):
    inputs = extractor(clip, sampling_rate=16000, return_tensors="pt")
    with torch.no_grad():
        return model.eval()(inputs["input_values"]).logits[0].flatten().tolist()

def checksum(model):
    return sum(value.double().abs().sum().item() for value in model.state_dict().values())
"""

OWNER = (
    PRELUDE
    + """
import datasets, polyaudio, transformers
from pathlib import Path
from polyaudio.hub.push import Upload, push
from polyaudio.training.lora import add_lora, lora_config
from transformers import Trainer, TrainingArguments

prefixes = {"sslam": ("SSLAM", SSLAM), "sam_audio": ("SAMAudio", SAM_AUDIO)}
for model_type, (prefix, settings) in prefixes.items():
    config = getattr(polyaudio, f"{prefix}Config")(**settings)
    for ending in ("Model", "ForPreTraining", "ForAudioClassification"):
        torch.manual_seed(0)
        model = getattr(polyaudio, prefix + ending)(config)
        name = f"tester/{model_type}-{ending}"
        model.push_to_hub(name, private=ending == "ForPreTraining")
        auto_class = getattr(transformers, "AutoModel" if ending == "Model" else f"AutoModel{ending}")
        loaded = auto_class.from_pretrained(name)
        report[name] = [type(loaded) is type(model), checksum(model), checksum(loaded)]
    extractor = getattr(polyaudio, f"{prefix}FeatureExtractor")()
    extractor.push_to_hub(name)
    loaded_extractor = transformers.AutoFeatureExtractor.from_pretrained(name)
    is_same_class = type(loaded_extractor) is type(extractor)
    report[f"{model_type} extractor"] = is_same_class and loaded_extractor.to_dict() == extractor.to_dict()
    report[f"{model_type} logits"] = logits(model, extractor)

# Another model on a branch, by `save_pretrained`; the first one stays where it is
first = transformers.utils.hub.hf_api().repo_info(name).sha
torch.manual_seed(1)
other = polyaudio.SAMAudioForAudioClassification(config)
folder = sys.argv[1] + "/other"
other.save_pretrained(folder, push_to_hub=True, repo_id=name, revision="dev", commit_message="On a branch")
second = transformers.utils.hub.hf_api().repo_info(name, revision="dev").sha
load = transformers.AutoModelForAudioClassification.from_pretrained
report["pins"] = {
    "first": first, "second": second, "models": [checksum(model), checksum(other)],
    "loaded": [checksum(load(name, revision=at)) for at in (None, first, "dev", second)],
}
extractor.save_pretrained(folder, push_to_hub=True, repo_id="tester/by-save", private=True)

arguments = TrainingArguments(
    sys.argv[1] + "/run", max_steps=1, per_device_train_batch_size=2, report_to="none", save_strategy="no",
    push_to_hub=True, hub_model_id="tester/trained",
)
clips = [{"input_values": torch.randn(32, 80), "labels": label} for label in (0, 1)]
trainer = Trainer(model, arguments, train_dataset=clips, processing_class=extractor)
trainer.train()
trainer.push_to_hub()
report["trained"] = [checksum(model), checksum(load("tester/trained"))]

torch.manual_seed(2)
config = polyaudio.SSLAMConfig(**SSLAM)
frames, extractor = polyaudio.SSLAMForAudioFrameClassification(config), polyaudio.SSLAMFeatureExtractor()
frames.push_to_hub("tester/frames")
extractor.push_to_hub("tester/frames")
loaded = transformers.AutoModelForAudioFrameClassification.from_pretrained("tester/frames")
report["frames"] = [frame_logits(frames, extractor), frame_logits(loaded, extractor)]

# One file, then shards, in one repository: the file must not be taken for the weights any more
for seed, settings in enumerate(({}, {"max_shard_size": "20KB"}, {"max_shard_size": "30KB"})):
    torch.manual_seed(seed)
    model = polyaudio.SSLAMForAudioClassification(config)
    model.save_pretrained(sys.argv[1] + f"/shards{seed}", push_to_hub=True, repo_id="tester/shards", **settings)
    extractor.save_pretrained(sys.argv[1] + f"/shards{seed}", push_to_hub=True, repo_id="tester/shards")
    loaded = load("tester/shards")
    report[f"shards {seed}"] = [checksum(model), checksum(loaded)]
model.push_to_hub("tester/more-shards", max_shard_size="20KB")
report["more shards"] = [checksum(model), checksum(load("tester/more-shards", dtype="float32", device_map="auto"))]

# An adapter with labels of its own
base = "tester/sslam-ForAudioClassification"
labels = {"id2label": {0: "dog", 1: "rain"}, "label2id": {"dog": 0, "rain": 1}}
model = load(base, **labels, ignore_mismatched_sizes=True)
adapted = add_lora(model, lora_config(model), base)
torch.nn.init.normal_(adapted.get_base_model().sslam.layers[0].attention.q_proj.lora_B.default.weight)
adapted.save_pretrained(sys.argv[1] + "/adapter")
extractor.save_pretrained(sys.argv[1] + "/adapter")
push(Upload(Path(sys.argv[1], "adapter"), "tester/adapter"))
loaded = load("tester/adapter")
report["adapter labels"] = loaded.config.id2label
report["adapter logits"] = [logits(adapted, extractor), logits(loaded, extractor)]

data = datasets.Dataset.from_dict({"raga": ["Todi", "Kalyani"], "tonic": [140.0, 200.5]})
data.push_to_hub("tester/ragas", private=True)
report["dataset"] = datasets.load_dataset("tester/ragas", split="train").to_dict()
print("\\n" + json.dumps(report))
"""
)

STRANGER = (
    WITHOUT_POLYAUDIO
    + PRELUDE
    + """
from transformers import (
    AutoConfig, AutoFeatureExtractor, AutoModel, AutoModelForAudioClassification, AutoModelForAudioFrameClassification,
    AutoModelForPreTraining, pipeline,
)

trust = {"trust_remote_code": True}
report["refused"] = 0
for model_type in ("sslam", "sam_audio"):
    name = f"tester/{model_type}-ForAudioClassification"
    for auto_class in (AutoConfig, AutoFeatureExtractor, AutoModel, AutoModelForAudioClassification):
        try:
            auto_class.from_pretrained(name)
        except ValueError as error:
            report["refused"] += "trust_remote_code=True" in str(error)
    model = AutoModelForAudioClassification.from_pretrained(name, **trust)
    extractor = AutoFeatureExtractor.from_pretrained(name, **trust)
    report[f"{model_type} logits"] = logits(model, extractor)
    encoder = AutoModel.from_pretrained(f"tester/{model_type}-Model", **trust)
    report[f"tester/{model_type}-Model"] = checksum(encoder)
    pretraining = AutoModelForPreTraining.from_pretrained(f"tester/{model_type}-ForPreTraining", **trust)
    report[f"tester/{model_type}-ForPreTraining"] = checksum(pretraining)
    classify = pipeline("audio-classification", model=name, **trust)
    scores = classify({"raw": clip.numpy(), "sampling_rate": 16000})
    report[f"{model_type} scores"] = [score["score"] for score in scores]
frames = AutoModelForAudioFrameClassification.from_pretrained("tester/frames", **trust)
report["frames"] = frame_logits(frames, AutoFeatureExtractor.from_pretrained("tester/frames", **trust))
sharded = AutoModelForAudioClassification.from_pretrained("tester/shards", device_map="auto", **trust)
report["shards"] = checksum(sharded)
half = AutoModelForAudioClassification.from_pretrained("tester/shards", dtype="bfloat16", **trust)
report["half"] = [str(half.dtype), checksum(half)]
adapted = AutoModelForAudioClassification.from_pretrained("tester/adapter", **trust)
report["adapter logits"] = logits(adapted, AutoFeatureExtractor.from_pretrained("tester/adapter", **trust))
classify = pipeline("audio-classification", model="tester/adapter", config="tester/adapter", **trust)
answers = classify({"raw": clip.numpy(), "sampling_rate": 16000})
report["adapter scores"] = {answer["label"]: answer["score"] for answer in answers}
pinned = AutoModelForAudioClassification.from_pretrained(name, revision=sys.argv[1], **trust)
report["pinned"] = checksum(pinned)
pinned.save_pretrained(sys.argv[2])
report["loaded"] = [name for name in sys.modules if name.startswith("polyaudio")]
print("\\n" + json.dumps(report))
"""
)


# With polyaudio, from the cache alone
OFFLINE = (
    PRELUDE
    + """
import polyaudio
from transformers import AutoFeatureExtractor, AutoModelForAudioClassification, pipeline

for trust in (None, False, True):
    trust = {"trust_remote_code": trust}
    name = "tester/sslam-ForAudioClassification"
    model = AutoModelForAudioClassification.from_pretrained(name, **trust)
    extractor = AutoFeatureExtractor.from_pretrained(name, **trust)
    adapted = AutoModelForAudioClassification.from_pretrained("tester/adapter", **trust)
    scores = pipeline("audio-classification", model=name, **trust)({"raw": clip.numpy(), "sampling_rate": 16000})
    report[str(trust["trust_remote_code"])] = [
        type(model).__module__, logits(model, extractor), logits(adapted, extractor), len(scores)
    ]
name = "tester/sam_audio-ForAudioClassification"
report["pins"] = [checksum(AutoModelForAudioClassification.from_pretrained(name, revision=at)) for at in sys.argv[1:]]
print("\\n" + json.dumps(report))
"""
)


def run(code: str, *arguments: object, **environment: str) -> dict:
    done = subprocess.run(
        [python("torch"), "-c", code, *map(str, arguments)],
        env={**os.environ, "HF_HUB_DISABLE_XET": "1", **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert WRITE_TOKEN not in done.stdout + done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def hub():
    with HubServer() as hub:
        yield hub


@pytest.fixture(scope="module")
def online(hub) -> dict[str, str]:
    return {
        "HF_ENDPOINT": hub.endpoint,
        "HF_TOKEN": WRITE_TOKEN,
        "HF_HUB_OFFLINE": "0",
        "HF_DATASETS_OFFLINE": "0",
    }


@pytest.fixture(scope="module")
def owner(hub, online, tmp_path_factory) -> dict:
    """What the owner of polyaudio sees who pushes everything and loads it again."""
    folder = tmp_path_factory.mktemp("owner")
    report = run(OWNER, folder, HF_HOME=str(folder / "home"), **online)
    report["folder"] = str(folder)
    return report


@pytest.fixture(scope="module")
def stranger_home(tmp_path_factory) -> str:
    return str(tmp_path_factory.mktemp("stranger"))


@pytest.fixture(scope="module")
def stranger(owner, online, stranger_home) -> dict:
    """What somebody without polyaudio sees who loads it."""
    return run(STRANGER, owner["pins"]["second"], f"{stranger_home}/saved", HF_HOME=stranger_home, **online)


@pytest.mark.parametrize("model_type", ["sslam", "sam_audio"])
@pytest.mark.parametrize("ending", ["Model", "ForPreTraining", "ForAudioClassification"])
def test_models_that_were_pushed_load_again(hub, owner, model_type, ending):
    name = f"tester/{model_type}-{ending}"
    is_same_class, pushed, loaded = owner[name]
    assert is_same_class
    assert loaded == pushed
    files = set(hub.files(name))
    assert {"config.json", "model.safetensors", "README.md", f"modeling_{model_type}.py", "saving.py"} <= files
    assert hub.repo(name).private == (ending == "ForPreTraining")


def test_extractors_that_were_pushed_load_again(hub, owner):
    assert owner["sslam extractor"]
    assert owner["sam_audio extractor"]
    assert "waveform_input.py" in hub.files("tester/sslam-ForAudioClassification")
    assert set(hub.files("tester/by-save")) == {
        ".gitattributes",
        "preprocessor_config.json",
        "batch_output.py",
        "configuration_sam_audio.py",
        "feature_extraction_sam_audio.py",
        "limits.py",
        "melody.py",
        "padding.py",
        "pitch_track.py",
        "saving.py",
        "spectrogram.py",
        "tonic_chroma.py",
        "tonic_multipitch.py",
        "tonic_pitch.py",
        "waveform_input.py",
    }
    assert hub.repo("tester/by-save").private


def test_a_revision_is_a_branch_or_a_commit(hub, owner):
    pins = owner["pins"]
    first, other = pins["models"]
    assert first != other
    assert pins["loaded"] == [first, first, other, other]
    repo = hub.repo("tester/sam_audio-ForAudioClassification")
    assert repo.branches == {"main": pins["first"], "dev": pins["second"]}
    assert repo.commits[pins["second"]].message == "On a branch"
    # The files on the Hub are those that were saved here, whole
    folder = Path(owner["folder"]) / "other"
    pushed = hub.files("tester/sam_audio-ForAudioClassification", "dev")
    assert all(pushed[name] == (folder / name).read_bytes() for name in ("config.json", "model.safetensors"))


def test_what_the_trainer_pushed_loads_anywhere(hub, owner):
    pushed, loaded = owner["trained"]
    assert pushed == loaded
    files = set(hub.files("tester/trained"))
    assert {"modeling_sam_audio.py", "feature_extraction_sam_audio.py", "saving.py", "README.md"} <= files
    assert not any(name.startswith("_saving") for name in files)


def test_frame_classifiers_load_anywhere(hub, owner, stranger):
    pushed, loaded = owner["frames"]
    assert loaded == pytest.approx(pushed, abs=1e-6)
    assert stranger["frames"] == pytest.approx(pushed, abs=1e-6)


def test_shards_take_the_place_of_what_was_there(hub, owner, stranger):
    for seed in range(3):
        pushed, loaded = owner[f"shards {seed}"]
        assert loaded == pushed
    assert stranger["shards"] == pushed
    dtype, half = stranger["half"]
    assert dtype == "torch.bfloat16"
    assert half == pytest.approx(pushed, rel=0.01)
    pushed, loaded = owner["more shards"]
    assert loaded == pushed
    commits = [set(commit.files) for commit in hub.repo("tester/shards").commits.values()]
    weights = [{name for name in files if name.startswith("model") and "modeling" not in name} for files in commits]
    assert weights[1] == {"model.safetensors"}
    index = json.loads(hub.files("tester/shards")["model.safetensors.index.json"])
    assert weights[-1] == {"model.safetensors.index.json", *index["weight_map"].values()}
    assert len(weights[-1]) > 2
    assert "preprocessor_config.json" in commits[-1]


def test_an_adapter_loads_anywhere(hub, owner, stranger):
    assert owner["adapter labels"] == {"0": "dog", "1": "rain"}
    pushed, loaded = owner["adapter logits"]
    assert loaded == pytest.approx(pushed, abs=1e-6)
    assert stranger["adapter logits"] == pytest.approx(pushed, abs=1e-6)
    total = sum(math.exp(logit) for logit in pushed)
    expected = {name: math.exp(logit) / total for name, logit in zip(("dog", "rain"), pushed, strict=True)}
    assert stranger["adapter scores"] == pytest.approx(expected, abs=1e-6)
    assert "model.safetensors" not in hub.files("tester/adapter")


def test_owners_load_from_their_cache_when_offline(hub, owner):
    before = len(hub.requests)
    offline = {"HF_ENDPOINT": hub.endpoint, "HF_HUB_OFFLINE": "1", "HF_HOME": f"{owner['folder']}/home"}
    report = run(OFFLINE, owner["pins"]["first"], "dev", owner["pins"]["second"], **offline)
    for trust in ("None", "False", "True"):
        module, logits, adapted, count = report[trust]
        assert module.startswith("polyaudio.")
        assert logits == pytest.approx(owner["sslam logits"], abs=1e-6)
        assert adapted == pytest.approx(owner["adapter logits"][0], abs=1e-6)
        assert count == 3
    first, other = owner["pins"]["models"]
    assert report["pins"] == [first, other, other]
    assert len(hub.requests) == before


def test_a_dataset_that_was_pushed_loads_again(hub, owner):
    assert owner["dataset"] == {"raga": ["Todi", "Kalyani"], "tonic": [140.0, 200.5]}
    assert hub.repo("tester/ragas", "dataset").private


def test_no_token_is_in_any_file(hub, owner):
    assert len(hub.repos) == 13
    for repo in hub.repos.values():
        for commit in repo.commits.values():
            for path, blob in commit.files.items():
                assert WRITE_TOKEN.encode() not in blob.data, path


def test_strangers_get_the_same_model_if_they_trust_its_code(owner, stranger):
    assert stranger["loaded"] == []
    assert stranger["refused"] == 8
    for model_type in ("sslam", "sam_audio"):
        assert stranger[f"{model_type} logits"] == pytest.approx(owner[f"{model_type} logits"], abs=1e-6)
        for ending in ("Model", "ForPreTraining"):
            assert stranger[f"tester/{model_type}-{ending}"] == owner[f"tester/{model_type}-{ending}"][1]
        assert sum(stranger[f"{model_type} scores"]) == pytest.approx(1)
    assert stranger["pinned"] == owner["pins"]["models"][1]


def test_what_strangers_save_is_what_they_loaded(hub, owner, stranger, stranger_home):
    pushed = hub.files("tester/sam_audio-ForAudioClassification", "dev")
    saved = {path.name: path.read_bytes() for path in Path(stranger_home, "saved").iterdir()}
    assert {"config.json", "model.safetensors", "modeling_sam_audio.py", "saving.py"} <= saved.keys()
    settings = json.loads(pushed["config.json"])
    settings.pop("custom_pipelines")  # its code is not loaded with a model
    assert json.loads(saved["config.json"]) == settings
    assert all(pushed[name] == data for name, data in saved.items() if name != "config.json")


def test_strangers_load_from_their_cache_when_offline(hub, owner, stranger, stranger_home):
    before = len(hub.requests)
    offline = {"HF_ENDPOINT": hub.endpoint, "HF_HUB_OFFLINE": "1", "HF_HOME": stranger_home}
    report = run(STRANGER, owner["pins"]["second"], f"{stranger_home}/saved", **offline)
    assert report.keys() == stranger.keys()
    assert all(report[name] == pytest.approx(value, abs=1e-6) for name, value in stranger.items())
    assert len(hub.requests) == before


MEASURED = """
import os, sys
from polyaudio.scripts.embed import main as embed
from polyaudio.scripts.evaluate import main as evaluate
from polyaudio.scripts.train import main as train

name, clips, other = "tester/sam_audio-ForAudioClassification", sys.argv[1], sys.argv[2]
codes = [evaluate([name, "--dataset", clips]), evaluate([name, "--dataset", clips, "--output", other + "/report"])]
arguments = [clips, "--model", name, "--granularity", "utterance", "--workers", "0", "--output", other + "/features"]
codes += [embed(arguments), embed(arguments)]
arguments = ["--model-name-or-path", name, "--dataset", clips, "--output-dir", other + "/run", "--epochs", "1"]
codes += [train([*arguments, "--test-size", "0.4"]), train([*arguments, "--test-size", "0.4", "--resume"])]
print("\\ncodes", codes, os.listdir("."))
"""


def test_commands_make_no_folder_of_the_name_of_a_model(owner, online, tmp_path):
    """Every later command there would take it for the model."""
    clips, other, here = tmp_path / "clips", tmp_path / "other", tmp_path / "here"
    write_tones(clips, {"LABEL_0": 300.0, "LABEL_1": 900.0, "LABEL_2": 2700.0}, 4)
    here.mkdir()
    environment = {**os.environ, **online, "HF_HUB_DISABLE_XET": "1", "HF_HOME": str(tmp_path / "home")}
    command = [python("torch"), "-c", MEASURED, clips, other]
    done = subprocess.run(command, env=environment, cwd=here, capture_output=True, text=True)
    assert "codes [0, 0, 0, 0, 0, 0] []" in done.stdout, done.stderr[-3000:]
    assert "0 files written, 12 existed already" in done.stdout
