# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Locks: one holder at a time, and none that is left behind."""

import os
import signal
import subprocess
import sys
import threading

import pytest

from polyaudio.data.locks import locked


# Holds a lock, with a child as a DataLoader has workers, until it is killed
HOLDER = """
import os, sys, time
from polyaudio.data.locks import locked

with locked(sys.argv[1]):
    child = os.fork()
    if child:
        print(child, flush=True)
    time.sleep(600)
"""


def test_a_second_holder_is_refused_until_the_first_is_done(tmp_path):
    path = tmp_path / "new" / "lock"
    with locked(path):
        with pytest.raises(BlockingIOError, match="Another process holds the lock"), locked(path):
            pass
        assert path.exists()
    assert not path.parent.exists()
    with locked(path):
        pass


@pytest.mark.slow
def test_a_killed_process_leaves_no_lock(tmp_path):
    path = tmp_path / "lock"
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, path], stdout=subprocess.PIPE, text=True)
    child = int(holder.stdout.readline())
    try:
        with pytest.raises(BlockingIOError), locked(path):
            pass
        holder.kill()
        holder.wait()
        with locked(path):  # while its child lives
            pass
    finally:
        os.kill(child, signal.SIGKILL)


def test_who_waits_gets_it(tmp_path):
    path, order = tmp_path / "lock", []

    def wait() -> None:
        with locked(path, wait=True):
            order.append("second")

    with locked(path):
        thread = threading.Thread(target=wait)
        thread.start()
        order.append("first")
    thread.join(60)
    assert order == ["first", "second"]


def test_two_processes_that_take_turns_lose_nothing(tmp_path):
    """Each adds to a number that it reads and writes, as no two could at once."""
    program = """
import sys
from pathlib import Path
from polyaudio.data.locks import locked

number = Path(sys.argv[1])
for _ in range(15):
    with locked(sys.argv[1] + ".lock", wait=True):
        number.write_text(str(int(number.read_text()) + 1))
"""
    number = tmp_path / "number"
    number.write_text("0")
    processes = [subprocess.Popen([sys.executable, "-c", program, number]) for _ in range(2)]
    assert [process.wait() for process in processes] == [0, 0]
    assert number.read_text() == "30"
