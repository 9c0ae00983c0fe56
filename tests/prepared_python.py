# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""
A Python that has imported the libraries already: `[python(), "-m", "polyaudio", ...]` in place of `sys.executable`.

Torch and transformers take four seconds to import. A server imports them once and forks for each program, which gets
the arguments, the folder, the environment and the standard streams of its caller. The caller ends as the program does,
passes signals on to it, and takes it along when it is killed.

A fresh interpreter differs in these points, so a test that is about one of them needs `sys.executable`: what is
imported and when, how libraries end, the seed of hashes, limits of the process, its group, and what it still writes
after a SIGKILL from outside. Where a variable that is read at import has another value than in the tests, a fresh
interpreter runs.
"""

import atexit
import contextlib
import ctypes
import functools
import gc
import importlib
import marshal
import os
import runpy
import selectors
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import types
import warnings
from pathlib import Path


LIBRARIES = {
    "torch": (
        *("pandas", "pyarrow.parquet", "sklearn.linear_model", "sklearn.metrics", "torch._dynamo"),
        *("torch.distributed.tensor", "torchaudio"),
    ),
    "all": (
        "accelerate.commands.config",
        "datasets",
        "peft",
        "polyaudio.evaluation.probing",
        "polyaudio.inference.collection",
        "polyaudio.training.fine_tuning",
        "polyaudio.training.pretraining",
        "torch.distributed.launcher",
    ),
}
READ_AT_IMPORT = {"torch": ("COVERAGE_", "LANG", "LC_", "MKL_", "OMP_", "PYTHON")}
READ_AT_IMPORT["all"] = (*READ_AT_IMPORT["torch"], "HF_", "HUGGING", "TRANSFORMERS_")
PASSED_ON = (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)
NUMBER = struct.Struct("i")
REFUSED = -1

# The beginning of a program that runs as where polyaudio is not installed
WITHOUT_POLYAUDIO = """
import sys

class NoPolyaudio:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "polyaudio":
            raise ModuleNotFoundError("No module named 'polyaudio'", name="polyaudio")

sys.meta_path.insert(0, NoPolyaudio())
"""


@functools.cache
def python(libraries: str = "all") -> str:
    """
    The path of the program. The first call starts its server, which ends with this process.

    It is a fresh interpreter on other systems than Linux, where libraries do not expect to be forked.

    Args:
        libraries: "torch" for programs that set variables of Hugging Face's libraries, which they then import.
    """
    if sys.platform != "linux":
        return sys.executable
    folder = tempfile.TemporaryDirectory(prefix="prepared-python-", ignore_cleanup_errors=True)
    program, address = Path(folder.name, "python"), Path(folder.name, "server")
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -IS "{__file__}" call "{address}" "$@"\n')
    program.chmod(0o700)
    # The server of all libraries is itself a program of the one that has imported torch
    interpreter = sys.executable if libraries == "torch" else python("torch")
    server = subprocess.Popen(
        [interpreter, __file__, "serve", str(address), libraries],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    if server.stdout.readline() != b"ready\n":
        raise RuntimeError("The server of tests/prepared_python.py could not start.")
    atexit.register(folder.cleanup)
    atexit.register(server.communicate)
    return str(program)


def call(address: str, argv: list[str]) -> None:
    """Let the server run a program, and end as it ends."""
    request, answer = marshal.dumps((argv, os.getcwd(), dict(os.environ))), b""
    with socket.socket(socket.AF_UNIX) as server, contextlib.suppress(ConnectionError):
        server.connect(address)
        for number in PASSED_ON:
            signal.signal(number, lambda number, _: server.sendall(bytes([number])))
        socket.send_fds(server, [NUMBER.pack(len(request))], [0, 1, 2])
        server.sendall(request)
        answer = server.recv(NUMBER.size)
    if not answer:
        sys.exit("The server of tests/prepared_python.py has died.")
    (status,) = NUMBER.unpack(answer)
    if status == REFUSED:
        os.execv(sys.executable, [sys.executable, *argv])
    if os.WIFSIGNALED(status):
        if os.WTERMSIG(status) in PASSED_ON:
            signal.signal(os.WTERMSIG(status), signal.SIG_DFL)
        os.kill(os.getpid(), os.WTERMSIG(status))
    os._exit(os.WEXITSTATUS(status))


class Server:
    """Forks for each request until the standard input ends."""

    def __init__(self, address: str, libraries: str):
        if sys.version_info >= (3, 11):  # Python 3.10 crashes at its end without them
            atexit.register(forget_libraries)  # first, and so the last that a program calls at its end
        gc.disable()
        for name in LIBRARIES[libraries]:
            importlib.import_module(name)
        if "duckdb" in sys.modules:
            # Some versions open a database as they are imported. At the end of a fork, they wait for its threads
            sys.modules["duckdb"].close()
        gc.freeze()
        gc.enable()
        self.read_at_import = READ_AT_IMPORT[libraries]
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(address)
        self.listener.listen()
        self.selector = selectors.DefaultSelector()
        self.selector.register(self.listener, selectors.EVENT_READ)
        self.selector.register(0, selectors.EVENT_READ)
        self.callers: dict[int, socket.socket] = {}

    def serve(self) -> list[str]:
        """The arguments of a program, in its process; the server itself does not return."""
        print("ready", flush=True)
        while True:
            for key, _ in self.selector.select(0.02 if self.callers else None):
                if key.fileobj == 0:
                    os._exit(0)
                elif key.fileobj is not self.listener:
                    self._signal(key.fileobj, key.data)
                elif (argv := self._start(self.listener.accept()[0])) is not None:
                    return argv
            self._report_ends()

    def _start(self, caller: socket.socket) -> list[str] | None:
        """The arguments of the new program, in its process."""
        size, streams, _, _ = socket.recv_fds(caller, NUMBER.size, 3)
        try:
            argv, folder, environment = marshal.loads(caller.recv(*NUMBER.unpack(size), socket.MSG_WAITALL))
            if not self._is_prepared(argv, environment):
                caller.sendall(NUMBER.pack(REFUSED))
            elif (process := fork()) != 0:
                self.callers[process] = caller
                self.selector.register(caller, selectors.EVENT_READ, process)
            else:
                self._leave()
                for number, stream in enumerate(streams):
                    os.dup2(stream, number)
                os.chdir(folder)
                os.environ.clear()
                os.environ.update(environment)
                return argv
        except (EOFError, OSError, struct.error):
            pass  # the caller was killed before it had said all
        finally:
            for stream in streams:
                os.close(stream)
        return None

    def _is_prepared(self, argv: list[str], environment: dict[str, str]) -> bool:
        """Whether a program with these arguments would find what it finds in a fresh interpreter."""
        return (argv[0] in ("-c", "-m", "-u") or not argv[0].startswith("-")) and all(
            environment.get(name) == os.environ.get(name)
            for name in {*environment, *os.environ}
            if name.startswith(self.read_at_import) and name != "PYTHON_EXEC"
        )

    def _leave(self) -> None:
        """Let go of what belongs to the server."""
        os.setsid()
        self.selector.close()
        for connection in (self.listener, *self.callers.values()):
            connection.close()

    def _signal(self, caller: socket.socket, process: int) -> None:
        numbers = caller.recv(1)
        os.kill(process, numbers[0] if numbers else signal.SIGKILL)
        if not numbers:
            self.selector.unregister(caller)

    def _report_ends(self) -> None:
        for process in list(self.callers):
            ended, status = os.waitpid(process, os.WNOHANG)
            if ended:
                caller = self.callers.pop(process)
                with contextlib.suppress(KeyError):  # the caller has been killed
                    self.selector.unregister(caller)
                    caller.sendall(NUMBER.pack(status))
                caller.close()


def fork() -> int:
    """As `os.fork`, without a warning of the thread in which pyarrow frees memory, which allows forks."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return os.fork()


def forget_libraries() -> None:
    """Keep the end of a program from clearing all libraries, whose memory it shares with the server until then."""
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(dict(sys.modules)))
    for name in list(sys.modules):
        if name.partition(".")[0] not in sys.stdlib_module_names:
            del sys.modules[name]


def run(argv: list[str]) -> None:
    """Run a program as an interpreter does that is called with these arguments."""
    is_unbuffered = argv[0] == "-u"
    sys.stdout.reconfigure(line_buffering=os.isatty(1), write_through=is_unbuffered)
    importlib.import_module("numpy").random.seed()
    kind, *argv = argv[is_unbuffered:]
    if kind == "-m":
        sys.argv, sys.path[0] = argv, os.getcwd()
        runpy.run_module(argv[0], run_name="__main__", alter_sys=True)
    elif kind == "-c":
        code = argv[0]
        sys.argv, sys.path[0] = ["-c", *argv[1:]], ""
        main = sys.modules["__main__"] = types.ModuleType("__main__")
        exec(compile(code, "<string>", "exec"), main.__dict__)
    else:
        sys.argv, sys.path[0] = [kind, *argv], os.path.dirname(os.path.abspath(kind))
        runpy.run_path(kind, run_name="__main__")


if __name__ == "__main__":
    if sys.argv[1] == "call":
        call(sys.argv[2], sys.argv[3:])
    else:
        run(Server(*sys.argv[2:]).serve())
