# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Command lines that pages and help texts show: what they call, and whether the parser of the command knows them."""

import argparse
import importlib
import shlex

from transformers import HfArgumentParser

from polyaudio.scripts.__main__ import COMMANDS


def calls_of(lines: list[str]) -> list[list[str]]:
    """The arguments of each call of the command line, however it is started."""
    calls = []
    for line in dict.fromkeys(lines):
        words = shlex.split(" ".join(line.split()), comments=True)
        if "|" in words:
            words = words[words.index("|") + 1 :]
        if ">" in words:
            words = words[: words.index(">")]
        module = next((word for word in words if word.startswith("polyaudio.scripts.")), None)
        if words[:1] == ["polyaudio"] and len(words) > 1:
            calls.append(words[1:])
        elif module:
            calls.append([module.rpartition(".")[2], *words[words.index(module) + 1 :]])
    return calls


class Parsed(BaseException):
    """Raised in place of what comes after the parsing of a command line."""


def parser_of(monkeypatch):
    """A function that runs a command up to the end of its parsing; a bad command line returns or exits instead."""

    def and_no_further(method):
        def parse(*args, **kwargs):
            method(*args, **kwargs)
            raise Parsed

        return parse

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", and_no_further(argparse.ArgumentParser.parse_args))
    method = HfArgumentParser.parse_args_into_dataclasses
    monkeypatch.setattr(HfArgumentParser, "parse_args_into_dataclasses", and_no_further(method))
    module_of = {name: f"polyaudio.scripts.{name.replace('-', '_')}" for name in COMMANDS}
    return lambda call: importlib.import_module(module_of[call[0]]).main(call[1:])
