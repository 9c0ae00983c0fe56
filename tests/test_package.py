"""The package as a whole: what it imports, what it installs, and that its files agree."""

import configparser
import importlib
import re
import shutil
import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

import pytest
import yaml

import polyaudio
from prepared_python import python


def run_python(code: str, interpreter: str = sys.executable) -> str:
    return subprocess.run([interpreter, "-c", code], capture_output=True, text=True, check=True).stdout


def test_importing_the_package_imports_nothing_heavy():
    code = """
import sys, transformers
before = set(sys.modules)
import polyaudio
print(*sorted({name.partition(".")[0] for name in set(sys.modules) - before} - sys.stdlib_module_names))
"""
    assert set(run_python(code).split()) <= {"polyaudio", "transformers", "huggingface_hub", "safetensors"}


def test_help_imports_nothing_heavy():
    code = "import sys; from polyaudio.scripts.__main__ import main; main([]); print('torch' in sys.modules)"
    assert run_python(code).endswith("False\n")


@pytest.mark.slow
def test_predict_imports_nothing_heavy_that_it_does_not_need(tmp_path):
    code = """
import sys
import numpy, soundfile
from transformers import AutoFeatureExtractor, AutoModelForAudioClassification  # 5.20 imports sklearn
of_transformers = set(sys.modules)
from polyaudio import (
    SAMAudioConfig, SAMAudioFeatureExtractor, SAMAudioForAudioClassification,
    SSLAMConfig, SSLAMFeatureExtractor, SSLAMForAudioClassification,
)
from polyaudio.scripts.__main__ import main
sslam = SSLAMConfig(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16)
sam_audio = SAMAudioConfig(conv_dim=[8], conv_kernel=[3], conv_stride=[2], num_attention_heads=2)
soundfile.write(sys.argv[1] + "/clip.wav", numpy.random.default_rng(0).uniform(-0.1, 0.1, 16000), 16000)
for name, model, extractor in (
    ("sslam", SSLAMForAudioClassification(sslam), SSLAMFeatureExtractor()),
    ("sam_audio", SAMAudioForAudioClassification(sam_audio), SAMAudioFeatureExtractor()),
):
    model.save_pretrained(f"{sys.argv[1]}/{name}")
    extractor.save_pretrained(f"{sys.argv[1]}/{name}")
    assert main(["predict", sys.argv[1] + "/clip.wav", "--model", f"{sys.argv[1]}/{name}"]) == 0
heavy = ["datasets", "duckdb", "evaluate", "matplotlib", "pandas", "peft", "pyarrow", "sklearn"]
print("imported:", *(name for name in heavy if name in sys.modules and name not in of_transformers))
"""
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True)
    assert done.stdout.endswith("imported:\n"), done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    "imports",
    [
        "import polyaudio",
        "from transformers import AutoConfig, AutoFeatureExtractor, AutoModel; import polyaudio",
        "from polyaudio.modeling.modeling_sam_audio import SAMAudioModel",
        "from polyaudio.feature_extraction.feature_extraction_sam_audio import *",
        "from polyaudio.configuration.configuration_sam_audio import *",
        "import transformers.modeling_layers, polyaudio",
        "import polyaudio, transformers.modeling_layers",  # imports the Auto classes when it is half imported itself
        "import polyaudio; from transformers import ASTForAudioClassification",
    ],
)
def test_the_auto_classes_know_the_models_whatever_is_imported_first(imports):
    code = f"""{imports}
from transformers import AutoConfig, AutoModel
config = AutoConfig.for_model("sam_audio", feature_size=4, conv_dim=[8], conv_kernel=[3], conv_stride=[2])
print(type(AutoModel.from_config(config)).__module__)
from transformers.models.auto.feature_extraction_auto import FEATURE_EXTRACTOR_MAPPING
print(FEATURE_EXTRACTOR_MAPPING[type(config)].__name__)
"""
    names = run_python(code, python("torch")).split()
    assert names == ["polyaudio.modeling.modeling_sam_audio", "SAMAudioFeatureExtractor"]


@pytest.mark.slow
def test_a_model_type_that_transformers_ships_one_day_does_no_harm():
    code = """
import logging; logging.basicConfig(level="WARNING", format="%(message)s", stream=__import__("sys").stdout)
import transformers.models.auto.configuration_auto as auto
auto.CONFIG_MAPPING_NAMES["sam_audio"] = "SamAudioConfig"
import polyaudio
from transformers import AutoConfig
print(type(AutoConfig.for_model("sam_audio")).__module__)
"""
    warning, module = run_python(code, python("torch")).strip().splitlines()
    assert "a model type 'sam_audio' of its own" in warning
    assert module == "polyaudio.configuration.configuration_sam_audio"


def test_every_public_name_is_there():
    for name in polyaudio.__all__:
        assert getattr(polyaudio, name) is not None
    assert set(polyaudio.__all__) <= set(dir(polyaudio))
    with pytest.raises(AttributeError, match="no attribute 'SAMModel'"):
        polyaudio.SAMModel  # noqa: B018


def test_what_the_readme_of_0_1_0_imported_is_there():
    """As docs/upgrading.md says. What is moved later has to warn for one release."""
    assert {"load_audio", "SSLAMFeatureExtractor"} <= set(polyaudio.__all__)
    assert importlib.import_module("polyaudio.training.lora").merge_adapter.__doc__
    for command in ("train", "pretrain"):
        assert importlib.import_module(f"polyaudio.scripts.{command}").main


@pytest.fixture
def setup_cfg(project_root) -> configparser.ConfigParser:
    parser = configparser.ConfigParser()
    parser.read(project_root / "setup.cfg")
    return parser


NOT_INSTALLED = {"benchmarks", "docs", "examples", "hf_tests", "setup.py", "tests"}


def test_a_wheel_holds_every_module_of_the_package_and_nothing_else(project_root, tmp_path):
    hidden = shutil.ignore_patterns(".*", "build", "dist", "runs", "reference", "*.egg-info", "__pycache__")
    source = Path(shutil.copytree(project_root, tmp_path / "source", ignore=hidden))
    modules = {path.relative_to(source) for path in source.rglob("*.py")}
    build = "from setuptools.build_meta import build_wheel; build_wheel('dist')"
    subprocess.run([sys.executable, "-c", build], cwd=source, capture_output=True, check=True)
    (wheel,) = (source / "dist").glob("*.whl")
    packaged = {Path(name) for name in ZipFile(wheel).namelist() if name.endswith(".py")}
    assert packaged == {Path("polyaudio") / path for path in modules if path.parts[0] not in NOT_INSTALLED}


def requirements(text: str) -> dict[str, str]:
    """Name -> version specifier."""
    return dict(re.fullmatch(r"([\w.-]+)(.*)", line.replace(" ", "")).groups() for line in text.split("\n") if line)


def test_environment_yml_is_in_step_with_setup_cfg(project_root, setup_cfg):
    options = setup_cfg["options"]
    expected = requirements(options["install_requires"])
    environment = yaml.safe_load((project_root / "environment.yml").read_text())
    conda = [entry for entry in environment["dependencies"] if isinstance(entry, str)]
    (pip,) = [entry["pip"] for entry in environment["dependencies"] if isinstance(entry, dict)]
    assert f"python{options['python_requires']}" in [entry.replace(" ", "") for entry in conda]
    assert requirements("\n".join(entry for entry in pip if entry != "-e .")) == expected
    assert "-e ." in pip


def test_the_version_is_the_same_everywhere(project_root, setup_cfg):
    """As the workflow for releases demands of a tag."""
    version = setup_cfg["metadata"]["version"]
    assert yaml.safe_load((project_root / "CITATION.cff").read_text(encoding="utf-8"))["version"] == version
    assert f"\n## [{version}] - " in (project_root / "CHANGELOG.md").read_text(encoding="utf-8")
    workflow = yaml.safe_load((project_root / ".github" / "workflows" / "release.yml").read_text(encoding="utf-8"))
    assert workflow["jobs"]["publish"]["permissions"] == {"id-token": "write"}
    assert (project_root / ".ci" / "try_release").is_file()


def test_an_older_transformers_is_refused(project_root, setup_cfg, tmp_path):
    needed = requirements(setup_cfg["options"]["install_requires"])["transformers"]
    code = f"""
import sys, importlib.metadata
version = importlib.metadata.version
importlib.metadata.version = lambda name: "5.19.0" if name == "transformers" else version(name)
sys.path.insert(0, {str(project_root / "integration")!r})
try:
    import saving
except ImportError as error:
    print(error)
"""
    (said,) = [line for line in run_python(code).splitlines() if "required" in line]
    assert f"transformers{needed} is required" in said
    assert "5.19.0" in said
