# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Help texts that a person finds their way in, and messages about what was mistyped."""

import os
import re
import sys

import pytest

from command_lines import Parsed, calls_of, parser_of
from polyaudio.scripts.__main__ import COMMANDS, run
from polyaudio.scripts.command import command
from polyaudio.scripts.recipe_options import parse_recipe
from polyaudio.training.arguments import AudioTrainingArguments
from polyaudio.training.recipes import FINE_TUNING


ACTIONS = ["build", "inspect", "split", "mix", "check", "stats"]
CALLS = [[name] for name in COMMANDS] + [["dataset", action] for action in ACTIONS]


def help_of(call: list[str], capsys, flag: str = "--help") -> str:
    with pytest.raises(SystemExit, match="0"):
        run([*call, flag])
    return capsys.readouterr().out


def error_of(call: list[str], capsys) -> str:
    """The message of a call that ends with exit code 2."""
    with pytest.raises(SystemExit, match="2"):
        sys.exit(run(call))
    (line,) = capsys.readouterr().err.splitlines()
    return line


@pytest.mark.parametrize("call", CALLS, ids=" ".join)
def test_a_help_text_ends_with_examples_that_are_understood(call, capsys, monkeypatch):
    text = help_of(call, capsys)
    assert re.search(r"^  (-h, --help, )?--quiet\b", text, re.MULTILINE)
    lines = text.partition("\nexamples:\n")[2].replace("\\\n", " ").splitlines()
    examples = calls_of([line.strip() for line in lines])
    assert len([example for example in examples if example[: len(call)] == call]) >= 2
    assert len(examples) == len([line for line in lines if line.strip()])
    parse = parser_of(monkeypatch)
    for example in examples:
        with pytest.raises(Parsed):
            parse(example)


def test_the_first_help_text(capsys):
    assert run(["--help"]) == 0
    text = capsys.readouterr().out
    assert set(COMMANDS) <= set(re.findall(r"^  ([\w-]+) ", text, re.MULTILINE))
    assert text.count("\n  polyaudio ") >= 2


def titles(text: str) -> list[str]:
    return re.findall(r"^(\w[^.\n]*):$", text, re.MULTILINE)


def test_the_help_of_training_is_grouped(capsys):
    text = help_of(["train"], capsys)
    groups = ["basic", "model", "data", "augmentation", "LoRA adapters, with --lora", "optimisation"]
    assert titles(text) == [*groups, "machine, reports and the Hub", "examples"]
    basic, others = text.partition("\nmodel:\n")[::2]
    assert all(flag in basic for flag in ("--config", "--dataset", "--output-dir", "--epochs", "--batch-size", "--lr"))
    assert "--crop-seconds" in others
    assert "_" not in "".join(re.findall(r"^  (--\S+)", text, re.MULTILINE))
    assert "--fsdp" not in text
    assert "--help-all" in text

    everything = help_of(["train"], capsys, "--help-all")
    assert "--fsdp" in everything
    shown = {one.replace("-", "_") for one in re.findall(r"(?<![\w-])--([a-z][\w-]*)", everything)}
    assert set(AudioTrainingArguments.__dataclass_fields__) - {"deepspeed_plugin"} <= shown | {"_n_gpu"}

    text = help_of(["pretrain"], capsys)
    assert titles(text) == ["basic", "model", "data", "optimisation", "machine, reports and the Hub", "examples"]


def test_the_help_shows_the_values_of_a_recipe(capsys):
    assert "--crop-seconds X" in help_of(["train"], capsys)
    text = help_of(["train", "--config", "carnatic_ragas"], capsys)
    assert re.search(r"--lr X\s+short for --learning-rate \(default: 0\.\d+\)", text)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (["trian"], "polyaudio: there is no command 'trian'. Did you mean 'train'?"),
        (["fly"], "polyaudio: there is no command 'fly'. Choose from train, pretrain, "),
        (["embed", "a.wav", "--modle", "m"], "polyaudio embed: there is no flag --modle. Did you mean '--model'?"),
        (["embed", "a.wav", "-model", "m"], "there is no flag -model. Did you mean '--model'?"),
        (["embed", "a.wav", "--top=3"], "polyaudio embed: there is no flag --top. See `polyaudio embed --help`."),
        (["predict", "a.wav", "--model", "m", "--padding", "longst"], "there is no 'longst'. Did you mean 'longest'?"),
        (["predict", "a.wav", "--model", "m", "--padding", "x"], "there is no 'x': choose from longest, max_length"),
        (["annotate", "a.wav", "--formats", "cvs"], "Did you mean 'csv'?"),
        (["dataset", "chek", "x"], "there is no 'chek'. Did you mean 'check'?"),
        (["dataset", "check", "x", "--infer-group"], "there is no flag --infer-group. Did you mean '--infer-groups'?"),
        (["dataset", "check"], "the following arguments are required: DATASET. See `polyaudio dataset check --help`."),
        (["train", "--learning_rte", "1"], "there is no flag --learning_rte. Did you mean '--learning-rate'"),
        (
            ["train", "--model", "m"],
            "there is no flag --model. Did you mean '--model-name-or-path' or '--model-type'?",
        ),
        (["train", "--lr-scheduler-type", "cosin"], "there is no 'cosin'. Did you mean 'cosine'"),
        (["train", "--config", "carnatic_raga"], "There is no recipe 'carnatic_raga'. Did you mean 'carnatic_ragas'"),
        (["demo", "--epoch", "1"], "there is no flag --epoch. Did you mean '--epochs'"),
    ],
)
def test_what_was_mistyped(call, message, capsys):
    assert message in error_of(call, capsys)


def test_what_only_looks_like_a_flag(monkeypatch):
    parse = parser_of(monkeypatch)
    for call in (
        ["predict", "--model", "m", "--", "--odd.wav"],
        ["search", "a.wav", "--index", "i", "--where", "--label = 'x y'"],
        ["dataset", "build", "x", "--output", "y", "--silence-threshold", "-60.5"],
        ["train", "--dataset", "x", "--noise-snr", "-5", "10", "--output_dir", "y"],
    ):
        with pytest.raises(Parsed):
            parse(call)


def test_several_reports(monkeypatch, capsys):
    from transformers.integrations import integration_utils

    monkeypatch.setattr(integration_utils, "is_wandb_available", lambda: True)
    monkeypatch.setattr(integration_utils, "is_tensorboard_available", lambda: True)

    def report_to(*flags: str) -> list[str]:
        _, arguments, _ = parse_recipe("train", FINE_TUNING, ["--dataset", "x", *flags], "default", "", "")
        return arguments["training"].report_to

    assert report_to() == []
    assert report_to("--report-to", "none") == []
    assert report_to("--report-to", "wandb") == ["wandb"]
    assert report_to("--report-to", "wandb", "tensorboard") == ["wandb", "tensorboard"]
    assert AudioTrainingArguments("x", report_to="wandb").report_to == ["wandb"]

    monkeypatch.setattr(integration_utils, "is_wandb_available", lambda: False)
    assert "'wandb', which is not installed" in error_of(["train", "--dataset", "x", "--report-to", "wandb"], capsys)
    assert "Did you mean 'wandb'?" in error_of(["train", "--dataset", "x", "--report-to", "wandbb"], capsys)


def test_called_from_python_a_command_leaves_the_environment_alone(monkeypatch):
    @command
    def main(argv):
        pass

    monkeypatch.delenv("TQDM_DISABLE", raising=False)
    assert main(["--quiet"]) == 0
    assert "TQDM_DISABLE" not in os.environ
