# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Cards of models and reports of several runs: what they say, their metadata, and names that would break Markdown."""

import json
import platform
import re
import shlex

import numpy as np
import pytest
import soundfile
import torch
import transformers
from huggingface_hub import ModelCard, metadata_load
from huggingface_hub.repocard_data import model_index_to_eval_results
from transformers import HfArgumentParser

from polyaudio import (
    SSLAMConfig,
    SSLAMFeatureExtractor,
    SSLAMForAudioClassification,
    SSLAMForAudioFrameClassification,
)
from polyaudio.evaluation.results import Evaluation
from polyaudio.evaluation.scores import evaluate_predictions
from polyaudio.evaluation.summary import summarise_runs
from polyaudio.evaluation.writing import write_evaluation
from polyaudio.hub.model_card import (
    RunDescription,
    environment,
    write_model_card,
    write_pretraining_card,
    write_summary,
)
from polyaudio.hub.usage import card_on_hub
from polyaudio.training.recipes import FINE_TUNING, PRETRAINING


HOSTILE = ["a|b", "```\n# c", "<script>x</script>", "_d_ *e* $f$ [g](h)", "\\"]
VERSIONS = {"python": "3.12", "device": "CPU"}


def evaluation(task: str = "single_label_classification", names: list[str] | None = None, seed: int = 0) -> Evaluation:
    names = names or ["low", "middle", "high"]
    rng = np.random.default_rng(seed)
    labels = rng.integers(len(names), size=60)
    logits = rng.standard_normal((60, len(names))) + 2 * np.eye(len(names))[labels]
    recordings = [f"recording {index // 2}" for index in range(60)]
    if task == "multi_label_classification":
        labels = np.eye(len(names), dtype=int)[labels]
    return evaluate_predictions(logits, labels, recordings, dict(enumerate(names)), task)


FRAMES = Evaluation.from_dict(
    {
        "task": "frame_classification",
        "labels": ["dog", "rain"],
        "clips": {
            "count": 12,
            "frame_map": 0.5,
            "psds1": float("nan"),
            "segment_f1": {"macro": 0.125, "micro": 0.0625, "per_class": {"dog": 0.0, "rain": 0.25}},
            "per_class": {"dog": {"event_f1": 0.25, "psds1": None}, "rain": {"event_f1": 0.75, "support": 3}},
        },
    }
)


def describe(**changes) -> RunDescription:
    settings = {
        "model_name": "mine",
        "model_type": "sslam",
        "dataset": "my-data",
        "split_description": "By recording.",
        "command": "polyaudio train --dataset my-data",
        "versions": VERSIONS,
    }
    return RunDescription(**{**settings, **changes})


def write_card(folder, result: Evaluation | None = None, **changes) -> str:
    write_model_card(folder, describe(**changes), result or evaluation())
    return (folder / "README.md").read_text(encoding="utf-8")


def cells_of(card: str, title: str) -> list[str]:
    """The cells of the first row of a table that begins so."""
    line = next(line for line in card.splitlines() if line.startswith(f"| {title} |"))
    return [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]


def test_card_says_what_was_done(tmp_path):
    result = evaluation()
    write_evaluation(result, tmp_path)
    card = write_card(
        tmp_path,
        dataset="someone/their-clips",
        base_model="someone/their-model",
        splits={"train": {"clips": 540, "recordings": 270}, "test": {"clips": 60, "recordings": 30}},
        leak_status="LEAK ALLOWED: 12 pairs share audio; the figures are flattered",
        recipe="sslam_small",
        seeds={"training": 3, "split": 42},
        license="cc-by-4.0",
        result=result,
    )
    assert cells_of(card, "train") == ["train", "540", "270"]
    assert "LEAK ALLOWED: 12 pairs share audio" in card
    assert cells_of(card, "accuracy")[1:] == [
        f"{result.clips['accuracy']:.4f}",
        f"{result.recordings['accuracy']:.4f}",
    ]
    low, high = result.clips.intervals["f1_macro"]
    assert f"| macro F1 | {low:.4f} to {high:.4f} |" in card
    assert cells_of(card, "seed (split)")[1] == "42"
    assert cells_of(card, "recipe")[1] == "sslam\\_small"
    assert cells_of(card, "python")[1] == "3.12"
    assert "```\npolyaudio train --dataset my-data\n```" in card
    assert "gives every clip one of its 3 classes" in card
    assert f"polyaudio predict FILES... --model {tmp_path}" in card

    data = metadata_load(tmp_path / "README.md")
    assert data["license"] == "cc-by-4.0"
    assert (data["library_name"], data["pipeline_tag"]) == ("transformers", "audio-classification")
    assert (data["base_model"], data["datasets"]) == ("someone/their-model", ["someone/their-clips"])
    assert data["tags"] == ["polyaudio", "sslam", "audio-classification"]
    name, scores = model_index_to_eval_results(data["model-index"])
    assert name == "mine"
    assert {score.metric_name: score.metric_value for score in scores} == {
        "Accuracy per clip": round(result.clips["accuracy"], 4),
        "Macro F1 per clip": round(result.clips["f1_macro"], 4),
        "Weighted F1 per clip": round(result.clips["f1_weighted"], 4),
        "Accuracy per recording": round(result.recordings["accuracy"], 4),
        "Macro F1 per recording": round(result.recordings["f1_macro"], 4),
        "Weighted F1 per recording": round(result.recordings["f1_weighted"], 4),
    }
    assert ModelCard.load(tmp_path / "README.md").data.to_dict() == data


def test_card_of_little_knowledge(tmp_path):
    card = write_card(tmp_path)
    assert "not checked" in card
    for absent in ("png", "evaluation.json", "recipe", "license", "None", "base_model"):
        assert absent not in card


def test_a_model_trained_from_python_has_no_command(tmp_path):
    for folder, evaluated in ((tmp_path / "a", evaluation()), (tmp_path / "b", None)):
        folder.mkdir()
        run = describe(command=None, recipe="sslam_small", seeds={"training": 3})
        if evaluated is None:
            write_pretraining_card(folder, run, [{"loss": 0.5, "step": 10}], "12 recordings of the split train.")
        else:
            write_model_card(folder, run, evaluated)
        training = (folder / "README.md").read_text().split("## Training\n")[1]
        assert "```" not in training
        assert cells_of(training, "recipe")[1] == "sslam\\_small"
        assert cells_of(training, "seed (training)")[1] == "3"
        assert cells_of(training, "device")[1] == "CPU"


def test_plots_that_exist_are_shown(tmp_path):
    (tmp_path / "losses.png").touch()
    card = write_card(tmp_path)
    assert re.findall(r"!\[.*?\]\((.*?)\)", card) == ["losses.png"]
    write_evaluation(evaluation("multi_label_classification"), tmp_path)
    assert re.findall(r"!\[.*?\]\((.*?)\)", write_card(tmp_path)) == ["precision_recall.png", "losses.png"]


def test_only_names_on_the_hub_are_metadata(tmp_path):
    """The Hub refuses a card whose `datasets` or `base_model` is no name."""
    (tmp_path / "data").mkdir()
    for local in (str(tmp_path / "data"), "ragas", "a b", "../x", "a/b/c"):
        write_card(tmp_path, dataset=local)
        assert "datasets" not in metadata_load(tmp_path / "README.md")
    for local in (str(tmp_path / "data"), "runs/stage 2", "./x/y"):
        assert local in write_card(tmp_path, base_model=local)
        assert "base_model" not in metadata_load(tmp_path / "README.md")


def test_adapter(tmp_path):
    write_card(tmp_path, base_model="someone/their-model", adapter=True)
    data = metadata_load(tmp_path / "README.md")
    assert (data["library_name"], data["base_model"]) == ("peft", "someone/their-model")
    assert data["base_model_relation"] == "adapter"
    write_card(tmp_path, base_model=str(tmp_path), adapter=True)
    assert "base_model_relation" not in metadata_load(tmp_path / "README.md")


def test_multi_label_card(tmp_path):
    result = evaluation("multi_label_classification")
    card = write_card(tmp_path, result=result)
    assert cells_of(card, "mAP") == ["mAP", f"{result.clips['map']:.4f}"]
    assert "recordings" not in cells_of(card, "")
    scores = metadata_load(tmp_path / "README.md")["model-index"][0]["results"][0]["metrics"]
    assert {"name": "mAP per clip", "type": "map", "value": round(result.clips["map"], 4)} in scores


def test_frame_card(tmp_path):
    write_evaluation(FRAMES, tmp_path)
    card = write_card(tmp_path, result=FRAMES)
    data = metadata_load(tmp_path / "README.md")
    assert "pipeline_tag" not in data
    assert "audio-classification" not in data["tags"]
    assert "pipeline(" not in card
    assert cells_of(card, "frame mAP") == ["frame mAP", "0.5000"]
    assert cells_of(card, "PSDS1") == ["PSDS1", "-"]
    assert cells_of(card, "segment macro F1") == ["segment macro F1", "0.1250"]
    assert cells_of(card, "dog") == ["dog", "0.2500", "-", "0.0000", "-"]
    assert cells_of(card, "rain") == ["rain", "0.7500", "-", "0.2500", "3"]
    (tmp_path / "timeline_0.png").touch()
    assert "(timeline_0.png)" in write_card(tmp_path, result=FRAMES)
    assert [metric["type"] for metric in data["model-index"][0]["results"][0]["metrics"]] == [
        "frame_map",
        "segment_f1_macro",
        "segment_f1_micro",
    ]


def test_hostile_names(tmp_path):
    folder = tmp_path / 'it\'s `quoted` "twice"'
    folder.mkdir()
    card = write_card(
        folder,
        model_name="a: [b] # ---",
        dataset="```\n---\nlicense: mit\n---",
        split_description="See <b>|",
        command="polyaudio train --dataset '```'",
        leak_status="checked: `x|y`",
        result=evaluation(names=HOSTILE),
    )
    data = metadata_load(folder / "README.md")
    assert data["model-index"][0]["name"] == "a: [b] # ---"
    assert "license" not in data
    assert cells_of(card, "a\\|b")[0] == "a\\|b"
    for table in re.findall(r"(?:^\|.*\n)+", card, re.MULTILINE):
        assert len({len(re.split(r"(?<!\\)(?:\\\\)*\|", row)) for row in table.splitlines()}) == 1
    assert sum(cells_of(card, name)[1] != "" for name in ("a\\|b", "\\\\")) == 2
    assert "<script>" not in card
    assert "\n# c" not in card
    assert "````\npolyaudio train --dataset '```'\n````" in card
    assert repr(str(folder)) in card


def usage_of(card: str) -> str:
    return re.search(r"```python\n(.*?)\n```", card, re.DOTALL)[1]


def test_both_ways_to_load(tmp_path):
    assert "trust_remote_code" not in write_card(tmp_path), "there is no code"
    (tmp_path / "modeling_sslam.py").touch()
    for result, call in (
        (evaluation(), 'classify({"array": waveform, "sampling_rate": sampling_rate})'),
        (
            evaluation("multi_label_classification"),
            'classify({"array": waveform, "sampling_rate": sampling_rate}, function_to_apply="sigmoid")',
        ),
        (FRAMES, "AutoModelForAudioFrameClassification.from_pretrained("),
    ):
        card = write_card(tmp_path, result=result)
        here, anywhere = re.findall(r"```python\n(.*?)\n```", card, re.DOTALL)
        assert here.startswith("import polyaudio")
        assert "trust_remote_code" not in here
        assert call in here
        assert call in anywhere
        assert "trust_remote_code=True" in anywhere
        assert "polyaudio" not in anywhere.replace(repr(str(tmp_path)), "")
    assert "transformers, torch and torchaudio are enough" in card
    card = write_card(tmp_path, adapter=True, base_model="someone/their-model")
    assert "transformers, torch, torchaudio and peft are enough" in card
    assert card.count(f"model={str(tmp_path)!r}, config={str(tmp_path)!r}") == 2


def test_card_on_the_hub(tmp_path):
    folder = tmp_path / "it's ours"
    folder.mkdir()
    (folder / "modeling_sslam.py").touch()
    for settings in ({}, {"result": FRAMES}, {"adapter": True, "base_model": "someone/their-model"}):
        card = write_card(folder, **settings)
        assert f"--model {shlex.quote(str(folder))}" in card
        pushed = card_on_hub(card, "me/mine")
        expected = card.replace(repr(str(folder)), "'me/mine'").replace(shlex.quote(str(folder)), "me/mine")
        assert pushed == expected
        assert card_on_hub(pushed, "me/mine") == pushed

    card = write_card(folder, base_model=str(tmp_path), adapter=True)
    data = ModelCard(card_on_hub(card, "me/mine", base_model="someone/their-model")).data
    assert (data.base_model, data.base_model_relation) == ("someone/their-model", "adapter")
    assert data.eval_results == ModelCard(card).data.eval_results


@pytest.mark.parametrize(
    "card", ["", "# Mine\n", "---\ntags:\n- x\n---\n\n## How to use\n\nNo.\n\n## Data\n\nNone.\n"]
)
def test_the_card_of_somebody_else_is_left_as_it_is(card):
    assert card_on_hub(card, "me/mine", base_model="someone/their-model") == card


def test_widget(tmp_path):
    card = write_card(tmp_path)
    examples = {"A dog": "https://huggingface.co/me/mine/resolve/main/examples/dog.wav"}
    pushed = card_on_hub(card, "me/mine", examples=examples)
    assert ModelCard(pushed).data.widget == [{"example_title": "A dog", "src": examples["A dog"]}]
    assert ModelCard(card_on_hub("# Mine\n", "me/mine", examples=examples)).data.widget


@pytest.mark.parametrize("frames", [False, True])
def test_usage_runs(tmp_path, monkeypatch, frames):
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    config = SSLAMConfig(**sizes, id2label={0: "dog", 1: "rain"}, label2id={"dog": 0, "rain": 1})
    (SSLAMForAudioFrameClassification if frames else SSLAMForAudioClassification)(config).save_pretrained(tmp_path)
    SSLAMFeatureExtractor().save_pretrained(tmp_path)
    soundfile.write(tmp_path / "recording.wav", np.random.default_rng(0).uniform(-0.1, 0.1, 44100), 44100)
    monkeypatch.chdir(tmp_path)
    lines = usage_of(write_card(tmp_path, result=FRAMES if frames else evaluation())).splitlines()
    if not frames:
        lines[-1] = f"answers = {lines[-1]}"
    variables = {}
    exec("\n".join(lines), variables)
    if frames:
        assert variables["logits"].shape == (64, 2)
    else:
        assert {answer["label"] for answer in variables["answers"]} == {"dog", "rain"}


def test_environment():
    found = environment("cpu")
    assert list(found) == ["python", "polyaudio", "torch", "transformers", "datasets", "platform", "device"]
    assert found["python"] == platform.python_version()
    assert (found["torch"], found["transformers"]) == (torch.__version__, transformers.__version__)
    assert found["device"].startswith("CPU")
    assert environment()["device"]


def test_summary(tmp_path):
    results = [evaluation(seed=seed) for seed in range(3)]
    summary = summarise_runs(results, ["fold 0", "fold 1", "fold|2"])
    write_summary(
        tmp_path / "new",
        describe(command="polyaudio train --folds 3", leak_status="checked: no audio in common", seeds={"seed": 0}),
        summary,
        title="3 folds of sslam_small",
    )
    saved = json.loads((tmp_path / "new" / "summary.json").read_text())
    assert {key: saved[key] for key in summary.to_dict()} == json.loads(json.dumps(summary.to_dict()))
    assert saved["leak_status"] == "checked: no audio in common"
    assert saved["environment"] == VERSIONS
    assert "recipe" not in saved
    card = (tmp_path / "new" / "README.md").read_text()
    accuracies = [result.clips["accuracy"] for result in results]
    mean = f"{np.mean(accuracies):.4f} ± {np.std(accuracies, ddof=1):.4f}"
    assert mean in cells_of(card, "mean ± deviation")
    assert cells_of(card, "fold 1")[2] == f"{accuracies[1]:.4f}"
    assert cells_of(card, "fold\\|2")[2] == f"{accuracies[2]:.4f}"
    for part in ("checked: no audio in common", "polyaudio train --folds 3", "By recording.", "| device | CPU |"):
        assert part in card


TOKEN = "hf_" + "AbCdEfGh" * 4


def shown(command: list[str], tmp_path) -> str:
    """What a card and a summary show of a run with this command line."""
    run = RunDescription("model", "sslam", "data", command=shlex.join(["polyaudio", "train", *command]))
    write_pretraining_card(tmp_path, run, [], "Sounds.")
    return (tmp_path / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("kinds", [FINE_TUNING, PRETRAINING])
def test_no_argument_of_a_command_shows_a_token(kinds, tmp_path):
    """Whichever flag of `train` and `pretrain` it was given to, in both forms."""
    parser = HfArgumentParser(list(kinds.values()))
    flags = [flag for action in parser._actions for flag in action.option_strings]
    assert len(flags) > 100
    text = shown([word for flag in flags for word in (flag, TOKEN, f"{flag}={TOKEN}", flag, f"x/{TOKEN}@y")], tmp_path)
    assert TOKEN not in text
    assert "polyaudio train" in text


@pytest.mark.parametrize(
    "command",
    [
        ["--hub-token", "Secret q7Zk"],
        ["--hub-token=Secretq7Zk"],
        ["--hub_token", "Secretq7Zk"],
        ["--api-key", "Secretq7Zk"],
        ["--password=Secretq7Zk"],
        ["--dataset", "https://me:Secretq7Zk@host/data.zip"],
        ["--dataset", "https://Secretq7Zk@host/data.zip"],
        ["--dataset", "s3://host/data.zip?X-Amz-Signature=Secretq7Zk&x=1#part"],
        ["--hub-kwargs", '{"token": "Secretq7Zk", "x": 1}'],
        ["--hub-kwargs", "{'access_key': 'Secretq7Zk'}"],
        ["--hub-kwargs", "password: Secretq7Zk"],
        ["HF_TOKEN=Secretq7Zk"],
    ],
)
def test_secrets_by_their_place(command, tmp_path):
    text = shown([*command, "--epochs", "3"], tmp_path)
    assert "Secret" not in text
    assert "q7Zk" not in text
    assert "--epochs 3" in text


def test_what_is_no_secret_stays(tmp_path):
    command = [
        "--config",
        "sslam_small",
        "--tokenizer-name",
        "bert",
        "--dataset",
        "https://host/data.zip",
        "--lr=3e-4",
    ]
    assert shlex.join(command) in shown(command, tmp_path)
