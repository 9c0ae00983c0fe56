"""The tests run against the installed package, or against the checkout when polyaudio is not installed."""

import gc
import importlib.util
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from prepared_python import python


ROOT = Path(__file__).resolve().parent.parent

# While the tests are imported, the garbage collector would go through all modules again and again.
gc.disable()

# Nothing in the suite may reach the network: a test that tries to fails at once instead of waiting for a time-out.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_DATASETS_OFFLINE"] = "1"
# An export computes with sizes that vary, and sympy forgets most of them with the 1,000 results that it keeps.
os.environ["SYMPY_CACHE_SIZE"] = "100000"

os.environ["HF_HUB_DISABLE_TELEMETRY"] = "True"  # as Gradio sets it when it builds a page

# Each worker of pytest-xdist, and what its tests start, computes with one thread and shares no cache with another.
os.environ["OMP_NUM_THREADS"] = "1"
CACHE = tempfile.TemporaryDirectory(prefix="polyaudio-tests-", ignore_cleanup_errors=True)
os.environ["HF_HOME"] = CACHE.name


def pytest_configure(config: pytest.Config) -> None:
    """Make `import polyaudio` work from a bare checkout, in this process and in those that the tests start."""
    if importlib.util.find_spec("polyaudio") is not None:
        return
    links = ROOT / ".pytest_cache" / "checkout"
    links.mkdir(parents=True, exist_ok=True)
    link = links / "polyaudio"
    if not link.exists():
        link.symlink_to(ROOT, target_is_directory=True)
    sys.path.insert(0, str(links))
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(links), os.environ.get("PYTHONPATH")]))


def pytest_collection_finish() -> None:
    """Let the garbage collector begin with what the tests make, and as seldom as in the commands."""
    gc.freeze()
    gc.set_threshold(10_000)
    gc.enable()


@pytest.fixture(scope="module", autouse=True)
def what_was_imported_is_left_alone() -> Iterator[None]:
    """Trainers call the garbage collector, which would go through all modules that earlier tests have imported."""
    yield
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def project_root() -> Path:
    return ROOT


@pytest.fixture(scope="session")
def reference() -> Path:
    """Golden data of the original implementations."""
    return ROOT / "tests" / "reference"


@pytest.fixture(scope="session")
def enable_activation_checkpointing():
    """`model.activation_checkpointing_enable()`, under the name that it had before transformers 5.23 as well."""

    def enable(model, **settings) -> None:
        name = "activation" if hasattr(model, "activation_checkpointing_enable") else "gradient"
        getattr(model, f"{name}_checkpointing_enable")(settings or None)

    return enable


@pytest.fixture(scope="session")
def assert_same_energies():
    """
    Compares log-mel features by their energies, not by the logarithms.

    In a band without sound the energy is the rounding error of the Fourier transform, which other processors round in
    another way. In float32 it is about 1e-9 of the mean energy, and its logarithm may differ by several percent.
    """

    def assert_same(log_mel: torch.Tensor, expected: torch.Tensor) -> None:
        energies, expected = log_mel.double().exp(), expected.double().exp()
        torch.testing.assert_close(energies, expected, rtol=1e-4, atol=5e-8 * expected.mean().item())

    return assert_same


SIGNALLED = """
import os, runpy, sys
from transformers.trainer_callback import DefaultFlowCallback

number, step, module = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
end_step = DefaultFlowCallback.on_step_end

def on_step_end(self, args, state, control, **kwargs):
    if state.global_step == step:
        os.kill(os.getpid(), number)
    return end_step(self, args, state, control, **kwargs)

DefaultFlowCallback.on_step_end = on_step_end
sys.argv = sys.argv[3:]
runpy.run_module(module, run_name="__main__", alter_sys=True)
"""


@pytest.fixture(scope="session")
def run_with_signal():
    """Runs a command of polyaudio that sends itself a signal at the end of a step, the same one on every machine."""

    def run(number: int, step: int, module: str, *arguments: str | Path) -> subprocess.CompletedProcess:
        command = [python(), "-c", SIGNALLED, int(number), step, module, *arguments]
        environment = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
        return subprocess.run(list(map(str, command)), capture_output=True, text=True, env=environment)

    return run
