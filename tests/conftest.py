"""The tests run against the installed package, or against the checkout when polyaudio is not installed."""

import importlib.util
import os
import sys
import tempfile
from pathlib import Path

import pytest


ROOT = Path(__file__).resolve().parent.parent

# Nothing in the suite may reach the network: a test that tries to fails at once instead of waiting for a time-out.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_DATASETS_OFFLINE"] = "1"

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

    def enable(model) -> None:
        name = "activation" if hasattr(model, "activation_checkpointing_enable") else "gradient"
        getattr(model, f"{name}_checkpointing_enable")()

    return enable
