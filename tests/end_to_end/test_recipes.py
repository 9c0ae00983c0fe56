"""Every recipe starts: two steps on synthetic data of its kind, with a small model where it names a published one."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
import yaml

from builders import write_table
from polyaudio import SSLAMConfig, SSLAMForPreTraining
from polyaudio.scripts.pretrain import main as pretrain
from polyaudio.scripts.train import main as train
from polyaudio.training.recipes import FINE_TUNING as FINE_TUNING_SECTIONS
from polyaudio.training.recipes import RECIPES, read_recipe


RATE = 16000
NAMES = ["bell", "drum", "voice"]
PRETRAINING = ["sslam_debian_stage1", "sslam_stage1", "sslam_stage2", "sslam_tiny_stage1", "sslam_tiny_stage2"]
FINE_TUNING = ["audioset_2m", "audioset_20k", "esc50", "speech_commands_v2", "spass_finetune", "spass_linear"]
COLLECTIONS = ["compmusic_carnatic", "compmusic_hindustani"]
FROM_SCRATCH = [*COLLECTIONS, "carnatic_pitch", "carnatic_ragas", "carnatic_ragas_original", "default", "sslam_small"]


def write_clips(folder: Path, table: list[dict], seconds: float) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for row in table:
        rng = np.random.default_rng(list(row["file_name"].encode()))
        soundfile.write(folder / row["file_name"], 0.1 * rng.standard_normal(round(seconds * RATE)), RATE)
    write_table(folder / "metadata.csv", table)


def several_classes(folder: Path, label_column: str, separator: str) -> None:
    for split, number in (("train", 8), ("test", 4)):
        rows = [
            {"file_name": f"{split}{index}.wav", label_column: separator.join(NAMES[: 1 + index % 3])}
            for index in range(number)
        ]
        write_clips(folder / split, rows, 1.0)


def audioset(folder: Path) -> list[str]:
    several_classes(folder, "human_labels", ";")
    return ["--label-separator", ";"]  # lists of names on the Hub


def spass(folder: Path) -> list[str]:
    several_classes(folder, "label", ";")
    return []


def esc50(folder: Path) -> list[str]:
    rows = [
        {"file_name": f"{index}.wav", "category": NAMES[index % 3], "fold": index // 6 + 1, "src_file": index}
        for index in range(12)
    ]
    write_clips(folder, rows, 1.0)
    return []


def speech_commands(folder: Path) -> list[str]:
    for split, number in (("train", 12), ("validation", 6), ("test", 6)):
        rows = [
            {"file_name": f"{split}{index}.wav", "label": NAMES[index % 3], "speaker_id": f"{split}{index}"}
            for index in range(number)
        ]
        write_clips(folder / split, rows, 1.0)
    return []


def classes(folder: Path) -> list[str]:
    write_clips(folder, [{"file_name": f"{i}.wav", "raga": NAMES[i % 3]} for i in range(9)], 1.0)
    return ["--test-size", "0.3"]


def concerts(folder: Path) -> list[str]:
    rows = [{"file_name": f"{i}.wav", "raga": NAMES[i % 3], "concert": f"hall {i // 3}"} for i in range(6)]
    write_clips(folder, rows, 1.0)
    return ["--folds", "2"]


DATA = {
    "audioset_2m": audioset,
    "audioset_20k": audioset,
    "esc50": esc50,
    "speech_commands_v2": speech_commands,
    "spass_finetune": spass,
    "spass_linear": spass,
    **dict.fromkeys(FROM_SCRATCH, classes),
    **dict.fromkeys(COLLECTIONS, concerts),
}
SMALL = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "max_time_patches": 64,
    "decoder_hidden_size": 16,
    "decoder_num_layers": 2,
    "decoder_groups": 2,
    "average_top_k_layers": 2,
}


@pytest.fixture(scope="module")
def encoder(tmp_path_factory) -> str:
    """A small model where the recipes name a published one."""
    folder = tmp_path_factory.mktemp("encoder")
    SSLAMForPreTraining(SSLAMConfig(**SMALL)).save_pretrained(folder)
    return str(folder)


def flags(recipe: str, folder: Path, output: Path) -> list[str]:
    common = ["--config", recipe, "--dataset", str(folder), "--output-dir", str(output), "--max-steps", "2"]
    common += ["--batch-size", "2", "--per-device-eval-batch-size", "4", "--dataloader-num-workers", "0"]
    # Without a GPU there is no float16
    return [*common, "--fp16", "false", "--disable-tqdm", "true"]


def test_every_recipe_is_tested():
    assert sorted(path.stem for path in RECIPES.glob("*.yaml")) == sorted(PRETRAINING + FINE_TUNING + FROM_SCRATCH)


@pytest.mark.parametrize("name", FINE_TUNING + FROM_SCRATCH)
def test_fine_tuning(name, encoder, tmp_path):
    more = DATA[name](tmp_path / "data")
    if name in FINE_TUNING:
        more += ["--model-name-or-path", encoder]
    if "balanced_samples" in read_recipe(name).flags(FINE_TUNING_SECTIONS):
        more += ["--balanced-samples", "6"]
    assert train([*flags(name, tmp_path / "data", tmp_path / "run"), *more]) == 0
    finished = [path.parent for path in (tmp_path / "run").rglob("evaluation.json")]
    assert len(finished) == (2 if name in ("esc50", *COLLECTIONS) else 1)
    for folder in finished:
        assert json.loads((folder / "trainer_state.json").read_text())["global_step"] == 2
        config = json.loads((folder / "config.json").read_text())
        assert sorted(config["id2label"].values()) == NAMES
        # What the recipe says of the model holds whatever checkpoint stands in for the published one
        if name in FINE_TUNING:
            model = yaml.safe_load((RECIPES / f"{name}.yaml").read_text())["model"]
            expected = {key: value for key, value in model.items() if key in config}
            assert {key: config[key] for key in expected} == expected
        extractor = json.loads((folder / "preprocessor_config.json").read_text())
        for key, value in read_recipe(name).sections.get("feature_extractor", {}).items():
            assert extractor[key] == value


@pytest.mark.parametrize("name", PRETRAINING)
def test_pretraining(name, encoder, tmp_path):
    content = yaml.safe_load((RECIPES / f"{name}.yaml").read_text())
    content["model"].update(SMALL)
    if "max_length" in content.get("feature_extractor", {}):
        content["feature_extractor"]["max_length"] = 128
    recipe = tmp_path / "small.yaml"
    recipe.write_text(yaml.safe_dump(content))
    write_clips(tmp_path / "data", [{"file_name": f"{index}.wav"} for index in range(4)], 1.0)
    assert pretrain([*flags(str(recipe), tmp_path / "data", tmp_path / "run"), "--crop-seconds", "1"]) == 0
    assert json.loads((tmp_path / "run" / "trainer_state.json").read_text())["global_step"] == 2


def test_the_originals_values():
    """Those that all fine-tuning scripts share, once more in numbers: a slip of the pen is no recipe."""
    for name in FINE_TUNING:
        arguments = read_recipe(name).flags(FINE_TUNING_SECTIONS)
        assert (arguments["adam_beta1"], arguments["adam_beta2"], arguments["weight_decay"]) == (0.9, 0.95, 0.05)
        assert arguments["min_learning_rate"] == 1e-6
        assert arguments["lr_scheduler_type"] == "cosine"
        assert arguments["roll_and_gain"] is True
        assert arguments.get("layer_decay") == (None if name == "spass_linear" else 0.65)
    rates = {name: read_recipe(name).flags(FINE_TUNING_SECTIONS)["learning_rate"] for name in FINE_TUNING}
    assert rates.pop("speech_commands_v2") == 2e-4
    assert rates.pop("spass_linear") == 1e-3
    assert set(rates.values()) == {5e-5}
