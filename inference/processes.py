# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Divides work among processes: those of `accelerate launch` and `torchrun`, or those that are started here."""

import contextlib
import datetime
import json
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..data.folders import write_json
from ..data.locks import locked


# The processes of a run may end at very different times
_LONGEST_WAIT = datetime.timedelta(days=30)
_THREADS = "OMP_NUM_THREADS"
# How long processes take to end whose parent was killed
_ORPHAN_SECONDS = 30.0


@dataclass(frozen=True)
class Place:
    """The place of a process among those that share the work."""

    rank: int = 0
    world_size: int = 1


def launched_place(device: str | None) -> Place:
    """The place of this process among those that `accelerate launch` or `torchrun` has started."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return Place()
    import torch
    from accelerate import PartialState

    on_cpu = device == "cpu" or not torch.accelerator.is_available()
    state = PartialState(cpu=on_cpu, timeout=_LONGEST_WAIT)
    return Place(state.process_index, state.num_processes)


def wait_for_others() -> None:
    """Wait until all launched processes are here."""
    from accelerate import PartialState

    PartialState().wait_for_everyone()


def device_of(place: Place, device: str | None) -> str | None:
    """The device of one of several processes on a machine: where there are several GPUs, each has its own."""
    if place.world_size == 1 or device not in (None, "cuda"):
        return device
    import torch

    number = torch.cuda.device_count()
    return f"cuda:{int(os.environ.get('LOCAL_RANK', place.rank)) % number}" if number > 1 else device


@contextlib.contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """
    Hold a folder for the processes of one run.

    Raises:
        ValueError: another run holds it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(locked(folder / ".run.lock"))
            for left in folder.glob(".process-*.lock"):  # of a run whose first process was killed
                _wait_for(left)
        except BlockingIOError as error:
            raise ValueError(
                f"Another run is writing to {folder}. Wait until it has finished, or name another folder."
            ) from error
        yield


def _wait_for(lock: Path) -> None:
    end = time.monotonic() + _ORPHAN_SECONDS
    while True:
        try:
            with locked(lock):
                return
        except BlockingIOError:
            if time.monotonic() > end:
                raise
        time.sleep(0.1)


def run_share(folder: Path, place: Place, work: Callable[[Place], dict[str, Any]]) -> list[str]:
    """
    Do one share of the work, and write what it returns for [`read_answers`]; of several processes also the error that
    ended it. As for [`start_children`], nobody has died then.
    """
    with locked(folder / f".process-{place.rank}.lock", wait=True):
        try:
            answer = work(place)
        except OSError as error:
            if place.world_size == 1 or error.errno is None:
                raise
            answer = {"error": [error.errno, error.strerror, error.filename]}
        except ValueError as error:
            if place.world_size == 1:
                raise
            answer = {"error": [str(error)]}
        write_json(_answer_file(folder, place.rank), answer, indent=None)
    return []


def start_children(folder: Path, number: int, work: Callable[[Place], dict[str, Any]]) -> list[str]:
    """
    Do the work in several processes on this machine. One that dies leaves the others alone.

    Args:
        folder: that is written to.
        number: of processes.
        work: does a share of it. It is pickled.

    Returns:
        A sentence for each process that died.
    """
    context = multiprocessing.get_context("spawn")  # a fork of a process with threads can hang
    children = [context.Process(target=_child, args=(folder, Place(rank, number), work)) for rank in range(number)]
    try:
        with _shared_cores(number):
            for child in children:
                child.start()
        for child in children:
            child.join()
    finally:
        for child in children:
            if child.is_alive():
                child.terminate()
                child.join()
    return [
        f"Process {rank + 1} of {number} {_end(child.exitcode)} before its share was done. Run the command again."
        for rank, child in enumerate(children)
        if child.exitcode != 0
    ]


def _end(code: int | None) -> str:
    return f"ended with {code}" if code is None or code >= 0 else f"was killed by {signal.Signals(-code).name}"


def _child(folder: Path, place: Place, work: Callable[[Place], dict[str, Any]]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends its children
    threading.Thread(target=_end_with_parent, daemon=True).start()
    run_share(folder, place, work)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


@contextlib.contextmanager
def _shared_cores(processes: int) -> Iterator[None]:
    """Processes that are started now compute with their share of the cores, unless the user has set another number."""
    if _THREADS in os.environ:
        yield
        return
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    os.environ[_THREADS] = str(max(1, cores // processes))
    try:
        yield
    finally:
        del os.environ[_THREADS]


def read_answers(folder: Path, number: int) -> list[dict[str, Any] | None]:
    """
    What each process has returned; `None` of one that died.

    Raises:
        ValueError, OSError: that of the first process that ended with an error.
    """
    answers: list[dict[str, Any] | None] = []
    for rank in range(number):
        path = _answer_file(folder, rank)
        answers.append(json.loads(path.read_text(encoding="utf-8")) if path.exists() else None)
    for answer in answers:
        if answer is not None and "error" in answer:
            raise (ValueError if len(answer["error"]) == 1 else OSError)(*answer["error"])
    return answers


def remove_answers(folder: Path) -> None:
    """Remove what the processes of a run have returned."""
    for path in folder.glob(".share-*.json"):
        path.unlink(missing_ok=True)


def _answer_file(folder: Path, rank: int) -> Path:
    return folder / f".share-{rank}.json"
