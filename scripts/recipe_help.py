# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""The help text of the training commands: what most runs need in groups, and all the rest with `--help-all`."""

import argparse
from collections.abc import Iterator, Mapping
from dataclasses import fields

from .parser import CommandParser


_BASIC = (
    *("config", "dataset", "output_dir", "model_name_or_path", "num_train_epochs", "max_steps"),
    *("per_device_train_batch_size", "learning_rate", "seed", "seeds", "lora", "resume", "overwrite"),
    *("plot_mixtures", "quiet", "help", "help_all"),
)
_OPTIMISATION = (
    *("optim", "weight_decay", "decay_norms_and_biases", "lr_scheduler_type", "min_learning_rate", "warmup_epochs"),
    *("warmup_steps", "max_grad_norm", "gradient_accumulation_steps", "layer_decay", "layer_decay_counting"),
    *("drop_path_rate", "label_smoothing", "balanced_samples", "ema_decay", "early_stopping_patience"),
    *("metric_for_best_model", "skip_first_teacher_update", "min_target_var", "min_pred_var", "collapse_watch_start"),
)
_MACHINE = (
    *("bf16", "fp16", "torch_compile", "activation_checkpointing", "use_cpu"),
    *("dataloader_num_workers", "eval_strategy", "save_strategy", "save_total_limit", "report_to", "run_name"),
    *("push_to_hub", "hub_model_id", "hub_private_repo", "hub_strategy"),
)
_SECTIONS = {"model": "model", "data": "data", "augmentation": "augmentation", "lora": "LoRA adapters, with --lora"}
_MOST_CHOICES = 15
_VALUES = {"int": "N", "float": "X", "str": "TEXT", "string_to_bool": "true|false"}


class RecipeParser(CommandParser):
    """
    A parser of the arguments of a training run, to be combined with `HfArgumentParser`, which makes the flags.

    Args:
        kinds: the dataclass of arguments for each section of a recipe.
        settings: arguments of `HfArgumentParser`.
    """

    def __init__(self, kinds: Mapping[str, type], **settings):
        super().__init__(list(kinds.values()), formatter_class=_DashedFormatter, **settings)
        self.kinds, self.shows_all = kinds, False
        self.add_argument(
            "--help-all", action=_HelpAll, help="show this help with the flags of all `TrainingArguments`"
        )

    def format_help(self) -> str:
        formatter = self._get_formatter()
        formatter.add_usage(self.usage, self._actions, self._mutually_exclusive_groups)
        formatter.add_text(self.description)
        for title, actions in self._groups():
            formatter.start_section(title)
            formatter.add_arguments(actions)
            formatter.end_section()
        if not self.shows_all:
            formatter.add_text("These are not all flags: --help-all shows every field of TrainingArguments.")
        formatter.add_text(self.epilog)
        return formatter.format_help()

    def _groups(self) -> Iterator[tuple[str, list[argparse.Action]]]:
        """The title of each group, and its flags: of several with the same meaning the short one."""
        left = {one.dest: one for one in self._actions if not one.option_strings[0].startswith("--no_")}
        lists = {"basic": _BASIC, "optimisation": _OPTIMISATION, "machine, reports and the Hub": _MACHINE}
        chosen = {title: [left.pop(name) for name in names if name in left] for title, names in lists.items()}
        sections = {
            title: [left.pop(one.name) for one in fields(self.kinds[section]) if one.name in left]
            for section, title in _SECTIONS.items()
            if section in self.kinds
        }
        yield "basic", chosen.pop("basic")
        yield from sections.items()
        yield from chosen.items()
        if self.shows_all:
            yield "all other fields of TrainingArguments", list(left.values())


class _HelpAll(argparse.Action):
    def __init__(self, option_strings: list[str], dest: str, help: str):
        super().__init__(option_strings, dest, nargs=0, default=argparse.SUPPRESS, help=help)

    def __call__(self, parser, namespace, values, option_string=None) -> None:
        parser.shows_all = True
        parser.print_help()
        parser.exit()


class _DashedFormatter(argparse.RawDescriptionHelpFormatter):
    """Shows flags with dashes only, which are also known with underscores, and the defaults that say something."""

    def _format_action_invocation(self, action: argparse.Action) -> str:
        flags = ", ".join(flag for flag in action.option_strings if "_" not in flag)
        if action.nargs in (0, "?"):  # a switch, which also takes true or false
            return flags
        value = action.metavar or _VALUES.get(getattr(action.type, "__name__", ""), "VALUE")
        return f"{flags} {value}{' ...' if action.nargs == '+' else ''}"

    def _get_help_string(self, action: argparse.Action) -> str | None:
        text = action.help or ""
        if action.choices and len(list(action.choices)) <= _MOST_CHOICES:
            text = f"{text.rstrip('. ')}: {', '.join(map(str, action.choices))}"
        if action.default in (None, False, argparse.SUPPRESS) or "efault" in text:
            return text
        return f"{text.rstrip('. ')} (default: {_shown(action.default)})"


def _shown(default: object) -> str:
    """A default as it is typed."""
    text = " ".join(map(str, default)) if isinstance(default, list) else str(getattr(default, "value", default))
    return text.replace("%", "%%")
