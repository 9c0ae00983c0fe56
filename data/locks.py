# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""A lock on a file, by the operating system: it ends with the process that holds it, also if that is killed."""

import contextlib
import os
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path


_POLL_SECONDS = 0.05

# The operating system locks for a process, so it would give a lock to two threads of one
_held: set[str] = set()
_guard = threading.Lock()


@contextlib.contextmanager
def locked(path: str | os.PathLike, *, wait: bool = False) -> Iterator[None]:
    """
    Hold the lock on a file, which is created for it and removed afterwards. Its folder is created if it is missing,
    and removed again if it stays empty.

    Args:
        path: the file.
        wait: wait until no other process holds the lock.

    Raises:
        BlockingIOError: another process, or another thread, holds the lock and `wait` is not set.
        OSError: the file cannot be created.
    """
    name = os.path.realpath(path)
    folder = Path(name).parent
    is_new = not folder.exists()
    while (descriptor := _try_to_lock(name)) is None:
        if not wait:
            raise BlockingIOError(f"Another process holds the lock {path}.")
        time.sleep(_POLL_SECONDS)
    try:
        yield
    finally:
        with _guard:
            _held.discard(name)
            _release(descriptor, name)
        if is_new:
            with contextlib.suppress(OSError):  # it is not empty
                folder.rmdir()


def _try_to_lock(name: str) -> int | None:
    """The descriptor of the locked file, or `None` if it is locked already."""
    with _guard:
        if name in _held:
            return None
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        try:
            descriptor = os.open(name, os.O_RDWR | os.O_CREAT, 0o666)
        except FileNotFoundError:  # who held the lock has just removed the folder
            return None
        try:
            _lock(descriptor)
            # Whoever held the lock before may have removed the file since it was opened here
            is_there = os.path.samestat(os.fstat(descriptor), os.stat(name))
        except OSError:
            is_there = False
        if not is_there:
            os.close(descriptor)
            return None
        _held.add(name)
        return descriptor


if sys.platform == "win32":
    import msvcrt

    def _lock(descriptor: int) -> None:
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)

    def _release(descriptor: int, name: str) -> None:
        os.close(descriptor)
        with contextlib.suppress(OSError):  # another process has opened it
            os.unlink(name)

else:
    import fcntl

    def _lock(descriptor: int) -> None:
        # Not `flock`: the workers of a DataLoader would inherit its locks, and keep them after their parent is killed
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def _release(descriptor: int, name: str) -> None:
        with contextlib.suppress(FileNotFoundError):  # the folder may be gone
            os.unlink(name)
        os.close(descriptor)
