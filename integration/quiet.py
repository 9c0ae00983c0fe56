# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Keeps transformers from showing what takes a moment, or what its caller knows."""

import contextlib
import logging
from collections.abc import Iterator

from transformers.utils.logging import set_tqdm_hook


@contextlib.contextmanager
def no_bars_of_weights() -> Iterator[None]:
    """No bar of transformers for weights that are read or written, which takes a moment. Downloads keep theirs."""
    hook = set_tqdm_hook(lambda bar, args, kwargs: bar(*args, **{**kwargs, "disable": True}))
    try:
        yield
    finally:
        set_tqdm_hook(hook)


@contextlib.contextmanager
def no_loading_report() -> Iterator[None]:
    """No table of the weights that a checkpoint lacks or has too many: for those who look at the loading info."""
    logger = logging.getLogger("transformers.modeling_utils")
    logger.addFilter(_is_no_report)
    try:
        yield
    finally:
        logger.removeFilter(_is_no_report)


def _is_no_report(record: logging.LogRecord) -> bool:
    return "LOAD REPORT" not in record.getMessage()
