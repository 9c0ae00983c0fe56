"""What the README tells users to type: every command, flag, target and line of Python in it is there.

Nothing is run for real: training, pre-training and downloads would take hours. A command line is held against the
parser of its command, a `make` target against the Makefile, and Python is compiled and its imports looked up.
"""

import argparse
import importlib
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from transformers import HfArgumentParser

from polyaudio.scripts.__main__ import COMMANDS


README = (Path(__file__).resolve().parent.parent / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
SHELL = "\n".join(text for language, text in BLOCKS if language == "bash")
INLINE = re.findall(r"`([^`]+)`", re.sub(r"^```.*?^```$", "", README, flags=re.MULTILINE | re.DOTALL))
LINES = [line.strip() for line in SHELL.replace("\\\n", " ").splitlines() if line.strip()]


def calls_of(lines: list[str]) -> list[list[str]]:
    """The arguments of each call of the command line, however it is started."""
    calls = []
    for line in lines:
        words = shlex.split(" ".join(line.split()), comments=True)
        module = next((word for word in words if word.startswith("polyaudio.scripts.")), None)
        if words[:1] == ["polyaudio"] and len(words) > 1:
            calls.append(words[1:])
        elif module:
            calls.append([module.rpartition(".")[2], *words[words.index(module) + 1 :]])
    return calls


CALLS = calls_of(LINES)
MENTIONS = calls_of(INLINE)  # in the text, where what does not matter may be left out


class Parsed(BaseException):
    """Raised in place of what comes after the parsing of a command line."""


@pytest.fixture
def parse(monkeypatch):
    """Runs a command up to the end of its parsing; a bad command line returns or exits instead."""

    def and_no_further(method):
        def parse(*args, **kwargs):
            method(*args, **kwargs)
            raise Parsed

        return parse

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", and_no_further(argparse.ArgumentParser.parse_args))
    method = HfArgumentParser.parse_args_into_dataclasses
    monkeypatch.setattr(HfArgumentParser, "parse_args_into_dataclasses", and_no_further(method))
    return lambda call: importlib.import_module(f"polyaudio.scripts.{call[0]}").main(call[1:])


def test_the_readme_is_read():
    assert len(CALLS) >= 10
    assert len(MENTIONS) >= 5
    assert {call[0] for call in CALLS + MENTIONS} >= {"train", "pretrain", "evaluate", "predict", "embed", "convert"}
    assert calls_of(["torchrun --nnodes 2 -m polyaudio.scripts.train --bf16  # comment"]) == [["train", "--bf16"]]


@pytest.mark.parametrize("call", CALLS, ids=" ".join)
def test_a_command_line_is_understood(call, parse):
    assert call[0] in COMMANDS
    with pytest.raises(Parsed):
        parse(call)


def test_a_command_line_that_is_wrong_is_found(parse):
    assert parse(["train", "--dataset", "x", "--no-such-flag"]) == 2
    for call in (["embed", "x"], ["dataset", "chek", "x"]):
        with pytest.raises(SystemExit, match="2"):
            parse(call)


@pytest.mark.parametrize("call", MENTIONS, ids=" ".join)
def test_a_command_that_is_mentioned_has_the_flags(call, parse, capsys):
    assert call[0] in COMMANDS
    command = call[:2] if call[0] == "dataset" else call[:1]
    with pytest.raises(SystemExit, match="0"):
        parse([*command, "--help"])
    text = capsys.readouterr().out
    assert text.startswith(" ".join(["usage: polyaudio", *command]))
    assert {word for word in call if word.startswith("--")} <= set(re.findall(r"(?<![\w-])--[\w-]+", text))


def test_recipes_that_are_named_are_there(project_root):
    recipes = {path.stem for path in project_root.glob("recipes/*.yaml")}
    named = {call[call.index("--config") + 1] for call in CALLS + MENTIONS if "--config" in call}
    named |= set(re.findall(r"^\| `([a-z0-9_]+)`(?:, `\w+`)* \|", README, re.MULTILINE))
    assert len(named) >= 5
    assert {name for name in named if not name.endswith(".yaml") and name.isidentifier()} <= recipes


def test_targets_of_make_are_there(project_root):
    makefile = (project_root / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([\w-]+):", makefile, re.MULTILINE))
    named = set(re.findall(r"^make ([\w-]+)", SHELL, re.MULTILINE))
    named |= {code.split()[1] for code in INLINE if code.startswith("make ") and len(code.split()) == 2}
    assert named >= {"demo", "test"}
    assert named <= targets


def test_files_and_folders_that_are_named_are_there(project_root):
    links = [link for link in re.findall(r"\]\(([^)]+)\)", README) if not link.startswith(("http", "#"))]
    scripts = re.findall(r"python (benchmarks/\w+\.py)", README)
    assert "recipes" in links
    assert scripts
    for name in [*links, *scripts]:
        assert (project_root / name).exists(), name


@pytest.mark.parametrize("script", sorted(set(re.findall(r"python (benchmarks/\w+\.py)((?: --[\w-]+)?)", README))))
def test_flags_of_scripts_are_there(project_root, script):
    name, flag = script
    assert flag.strip() in (project_root / name).read_text(encoding="utf-8")


PYTHON = [text for language, text in BLOCKS if language == "python"]


@pytest.mark.slow
@pytest.mark.parametrize("code", PYTHON)
def test_python_compiles_and_what_it_imports_is_there(code):
    compile(code, "README.md", "exec")
    imports = [line for line in code.splitlines() if re.match(r"(import|from) ", line)]
    names = re.findall(r"\bpolyaudio\.(\w+)", code)
    assert imports
    checks = [*imports, *(f"import polyaudio; polyaudio.{name}" for name in names)]
    subprocess.run([sys.executable, "-c", "\n".join(checks)], check=True, capture_output=True, text=True)


def test_every_block_is_of_a_known_kind():
    assert {language for language, _ in BLOCKS} <= {"bash", "python", ""}
    assert PYTHON
