"""Runs the tests that transformers requires of its own models on the classes of polyaudio: `make hf-tests`.

They come from the sdist of the installed transformers, which the first run downloads into pytest's cache; where pip
reaches no package index the run says so and exits with status 69. What the sdist lacks is in `stubs`. The suite finds
out from the names in the Auto classes' tables which models take labels, so those of polyaudio are entered there.
"""

import importlib.abc
import importlib.util
import json
import os
import re
import sys
from collections import Counter, defaultdict
from pathlib import Path

import pytest


HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))
os.environ["HF_HUB_OFFLINE"] = "1"  # every model that is tested is made here

EXIT_UNAVAILABLE = 69  # EX_UNAVAILABLE of sysexits.h; pytest's own end at 5

CLASSIFIERS = {
    "sam_audio": ("SAMAudioModel", "SAMAudioForAudioClassification", "SAMAudioFeatureExtractor"),
    "sslam": ("SSLAMModel", "SSLAMForAudioClassification", "SSLAMFeatureExtractor"),
}


class OtherPipelines(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Stands in for the pipeline tests of other tasks, which the sdist lacks and older suites import."""

    def find_spec(self, name, path=None, target=None):
        is_one = name.startswith("tests.pipelines.test_pipelines_")
        return importlib.util.spec_from_loader(name, self) if is_one else None

    def exec_module(self, module) -> None:
        def empty_class(name: str) -> type:
            if not name.endswith("PipelineTests"):
                raise AttributeError(name)
            return type(name, (), {})

        module.__getattr__ = empty_class


def pytest_configure(config: pytest.Config) -> None:
    from sdist import SuiteUnavailableError, fetch_suite

    try:
        suite = fetch_suite(config.cache.mkdir("transformers-tests"))
    except SuiteUnavailableError as error:
        pytest.exit(str(error), returncode=EXIT_UNAVAILABLE)
    sys.path.insert(0, str(suite))
    import tests

    tests.__path__.append(str(HERE / "stubs"))
    sys.meta_path.append(OtherPipelines())
    enter_models(config.cache.mkdir("tiny-models"))


def enter_models(tiny_models: Path) -> None:
    """Enter the models of polyaudio where the suite looks for models. Tiny models are saved in `tiny_models`."""
    import transformers
    from transformers.models.auto import modeling_auto

    import polyaudio

    # In a checkout the suite loads the package of that checkout; here it is the installed one
    transformers.utils.direct_transformers_import = lambda path, file="__init__.py": transformers

    summary = {}
    for model_type, (base, classifier, extractor) in CLASSIFIERS.items():
        modeling_auto.MODEL_MAPPING_NAMES[model_type] = base
        modeling_auto.MODEL_FOR_AUDIO_CLASSIFICATION_MAPPING_NAMES[model_type] = classifier
        # The suite tests the problem types of text and image classifiers only
        modeling_auto.MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES[model_type] = classifier
        setattr(transformers, extractor, getattr(polyaudio, extractor))
        summary[classifier] = {"tokenizer_classes": [], "processor_classes": [extractor]}
    os.environ["TRANSFORMERS_TINY_MODEL_PATH"] = str(tiny_models)
    (tiny_models / "reports").mkdir(exist_ok=True)
    (tiny_models / "reports" / "tiny_model_summary.json").write_text(json.dumps(summary))


def pytest_terminal_summary(terminalreporter: "pytest.TerminalReporter") -> None:
    """Count the results of each test class, and list why tests were skipped."""
    counts, reasons = defaultdict(Counter), Counter()
    for outcome in ("passed", "failed", "error", "skipped"):
        for report in terminalreporter.stats.get(outcome, []):
            path, *names = report.nodeid.split("::")
            counts[names[0] if names else path][outcome] += 1
            if outcome == "skipped":
                reason = report.longrepr[2].removeprefix("Skipped: ")
                reasons[re.sub(r"(<class '[\w.]+\.)?\b(SAMAudio|SSLAM)\w+('>)?", "this model", reason)] += 1
    terminalreporter.section("by class")
    for name, outcomes in counts.items():
        terminalreporter.line(f"{name}: " + ", ".join(f"{count} {outcome}" for outcome, count in outcomes.items()))
    terminalreporter.section("why skipped")
    for reason, count in reasons.most_common():
        terminalreporter.line(f"{count:4d}  {reason}")
