# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""The progress bars of transformers."""

import contextlib
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
