# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Progress bars, which show nothing where tqdm is not installed."""

from typing import Any


def progress_bar(total: float | None, description: str | None, **settings: Any) -> Any:
    """
    A progress bar of tqdm, or an object like one that shows nothing.

    Args:
        total: where it ends.
        description: text beside it; `None` for no progress bar.
        settings: further arguments of tqdm.
    """
    try:
        from tqdm.auto import tqdm
    except ImportError:
        return _NoBar()
    return tqdm(total=total, desc=description, disable=True if description is None else None, **settings)


class _NoBar:
    def __enter__(self) -> "_NoBar":
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def update(self, number: float = 1) -> None:
        pass
