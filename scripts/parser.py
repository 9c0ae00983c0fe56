# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""The parser of the commands: errors are one line, and say which flag or choice was probably meant."""

import argparse
import re
import sys
from collections.abc import Iterable
from typing import Any, NoReturn

from ..data.text import did_you_mean
from .terminal import plain


class CommandParser(argparse.ArgumentParser):
    """An argument parser with `--quiet`, and with errors of one line."""

    def __init__(self, *args: Any, **settings: Any):
        super().__init__(
            *args, **{"formatter_class": argparse.RawDescriptionHelpFormatter, "allow_abbrev": False, **settings}
        )
        self.color = False  # of Python 3.14; commands print nothing that steers a terminal
        self.add_argument("--quiet", action=_Quiet, help="show no progress: results, warnings and errors only")

    def parse_args(self, args=None, namespace=None):
        message = self.unknown_flag(sys.argv[1:] if args is None else args)
        if message is not None:
            self.error(message)
        return super().parse_args(args, namespace)

    def unknown_flag(self, argv: Iterable[str]) -> str | None:
        """What is wrong with the first flag that does not exist; argparse would first miss those that are required."""
        words = list(argv)
        words = words[: words.index("--")] if "--" in words else words
        known = set(self._option_string_actions)
        for actions in (one.choices for one in self._actions if isinstance(one, argparse._SubParsersAction)):
            chosen = next((actions[word] for word in words if word in actions), None)
            if chosen is None:
                return None  # the action is what is wrong
            known |= set(chosen._option_string_actions)
        for word in words:
            flag = word.partition("=")[0]
            if re.match(r"--?[^\W\d]", flag) and " " not in word and flag not in known:
                names = {one[2:] for one in known if one.startswith("--") and "_" not in one}
                meant = did_you_mean(flag.lstrip("-").replace("_", "-"), names, prefix="--")
                return f"there is no flag {flag}{meant or '.'}"
        return None

    def error(self, message: str) -> NoReturn:
        text = plain(" ".join(message.split()))
        advice = "" if text.endswith("?") else f"{'' if text.endswith('.') else '.'} See `{self.prog} --help`."
        self.exit(2, f"{self.prog}: {text}{advice}\n")

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is not None and value not in action.choices:
            choices = [str(one) for one in action.choices]
            meant = did_you_mean(str(value), choices) or f": choose from {', '.join(choices)}"
            raise argparse.ArgumentError(action, f"there is no {value!r}{meant}")


class _Quiet(argparse.Action):
    """`--quiet`, which sets nothing here: `command` looks for it before libraries are imported, which ask for it."""

    def __init__(self, option_strings: list[str], dest: str, help: str):
        super().__init__(option_strings, dest, nargs=0, default=argparse.SUPPRESS, help=help)

    def __call__(self, parser, namespace, values, option_string=None) -> None:
        pass
