# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""The prepared Python runs a program as a fresh one does, so a test may start its programs with it."""

import json
import os
import signal
import socket
import subprocess
import sys

import pytest

import prepared_python
from prepared_python import python


pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux has a prepared one")

PROGRAM = """
import json, os, sys
facts = [__name__, sys.argv, os.getcwd(), sys.path[0], os.environ.get("MARK"), sys.stdin.read()]
print(json.dumps([*facts, "torch" in sys.modules]))
print("an error", file=sys.stderr)
sys.exit(3)
"""


def run(*arguments: object, **settings) -> subprocess.CompletedProcess:
    return subprocess.run([python(), *map(str, arguments)], capture_output=True, text=True, **settings)


@pytest.mark.parametrize("kind", ["code", "module", "file"])
def test_a_program_has_what_its_caller_gives(kind, tmp_path):
    path = tmp_path / "folder" / "program.py"
    path.parent.mkdir()
    path.write_text(PROGRAM)
    program = {"code": ["-c", PROGRAM], "module": ["-m", "folder.program"], "file": ["folder/program.py"]}[kind]
    done = run(*program, "a", "b c", cwd=tmp_path, env={**os.environ, "MARK": "here"}, input="said")
    name = {"code": "-c", "module": str(path), "file": "folder/program.py"}[kind]
    folder = {"code": "", "module": str(tmp_path), "file": str(path.parent)}[kind]
    facts = json.loads(done.stdout)
    assert facts == ["__main__", [name, "a", "b c"], str(tmp_path), folder, "here", "said", True]
    assert (done.stderr, done.returncode) == ("an error\n", 3)


def test_programs_run_side_by_side_and_apart():
    code = "import sys, numpy; sys.marked = True; print(numpy.random.rand(), flush=True); sys.stdin.read()"
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    both = [subprocess.Popen([python(), "-c", code], **pipes) for _ in range(2)]
    assert len({process.stdout.readline() for process in both}) == 2
    for process in both:
        process.communicate()
        assert process.returncode == 0
    assert run("-c", "import sys; print(hasattr(sys, 'marked'))").stdout == "False\n"


def test_the_caller_ends_as_its_program():
    assert run("-c", "import os, signal; os.kill(os.getpid(), signal.SIGKILL)").returncode == -signal.SIGKILL
    failed = run("-c", "1 / 0")
    assert failed.returncode == 1
    assert failed.stderr.endswith("ZeroDivisionError: division by zero\n")


def test_signals_are_passed_on():
    # A signal just before `signal.pause()` would not end it
    code = (
        "import signal, time; signal.signal(signal.SIGTERM, lambda *_: exit(7)); print(flush=True)\n"
        "while True: time.sleep(0.01)"
    )
    process = subprocess.Popen([python(), "-c", code], stdout=subprocess.PIPE)
    process.stdout.readline()
    process.terminate()
    process.communicate()
    assert process.returncode == 7


def test_a_killed_caller_takes_its_program_along():
    code = "import signal; print(flush=True); signal.pause()"
    with subprocess.Popen([python(), "-c", code], stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        process.kill()
        assert process.stdout.read() == b""  # which ends when nobody can write any more


@pytest.mark.parametrize("variable", ["HF_HOME", "OMP_NUM_THREADS", "PYTHONPATH"])
def test_a_variable_that_is_read_at_import_gets_a_fresh_interpreter(variable):
    code = f"import os, sys; print('torch' in sys.modules, os.environ[{variable!r}])"
    other = os.environ.get(variable, "") + "1"
    assert run("-c", code, env={**os.environ, variable: other}).stdout == f"False {other}\n"


def test_the_end_of_the_server_is_told(tmp_path):
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "server"))
        server.listen()
        command = [sys.executable, prepared_python.__file__, "call", str(tmp_path / "server"), "-c", ""]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
            server.accept()[0].close()
            assert "The server of tests/prepared_python.py has died." in process.stderr.read()
    assert process.returncode == 1
