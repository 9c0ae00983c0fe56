"""Training and embedding hold on to nothing; two runs of one seed are the same.

Objects and open files are counted, in the process itself and at fixed points. No memory of the system and no time is
measured: benchmarks/long_runs.py does that.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from safetensors.torch import load_file

import polyaudio
from prepared_python import python


PACKAGE = str(Path(polyaudio.__file__).parent) + os.sep
STEPS_PER_EPOCH = 12
RECIPE = """
model:
  model_type: sam_audio
  conv_dim: [16, 32]
  conv_kernel: [3, 3]
  conv_stride: [4, 4]
  num_segments: 4
  num_attention_heads: 4
  projection_dim: 8
data:
  test_size: 0.2
  crop_seconds: 0.5
training:
  per_device_train_batch_size: 4
  learning_rate: 1.0e-3
  warmup_epochs: 1
  seed: 7
  disable_tqdm: true
"""
# Counts what is alive: tensors, objects of our classes, and files of a folder that are open
COUNT = """
import gc, sys
import psutil
import torch

def count(folder):
    gc.collect()
    types = [type(thing) for thing in gc.get_objects()]
    return {
        "tensors": sum(issubclass(cls, torch.Tensor) for cls in types),
        "own objects": sum(str(cls.__module__).startswith("polyaudio") for cls in types),
        "open files": sum(file.path.startswith(folder) for file in psutil.Process().open_files()),
    }
"""
# A training run that prints the counts at the end of each epoch, every warning, and what our loggers say
TRAIN = f"""
import json, logging, runpy, warnings
{COUNT}
from transformers.trainer_callback import DefaultFlowCallback

warnings.simplefilter("always")
handler = logging.StreamHandler(sys.stderr)
handler.setFormatter(logging.Formatter("LOGGED %(name)s %(message)s"))
handler.setLevel(logging.WARNING)
logging.getLogger("polyaudio").addHandler(handler)

end_epoch = DefaultFlowCallback.on_epoch_end

def on_epoch_end(self, *args, **kwargs):
    print("COUNTED", json.dumps(count(folder)))
    return end_epoch(self, *args, **kwargs)

DefaultFlowCallback.on_epoch_end = on_epoch_end
folder = sys.argv[1]
sys.argv = ["polyaudio", *sys.argv[2:]]
runpy.run_module("polyaudio", run_name="__main__", alter_sys=True)
"""


def own_warnings(text: str) -> list[str]:
    """Lines of a warning in our files or from our loggers."""
    return [line for line in text.splitlines() if line.startswith(("LOGGED", PACKAGE)) and "site-packages" not in line]


def write_clips(folder: Path, count: int, seconds: float) -> Path:
    """Wav files of tones in noise, in one folder a class; no two are copies."""
    for index in range(count):
        label, frequency = (("low", 200), ("middle", 600), ("high", 1800))[index % 3]
        rng = np.random.default_rng(index)
        time = np.arange(round(seconds * 16000)) / 16000
        clip = 0.2 * np.sin(2 * np.pi * frequency * rng.uniform(0.9, 1.1) * time)
        (folder / label).mkdir(parents=True, exist_ok=True)
        soundfile.write(folder / label / f"{index}.wav", clip + 0.02 * rng.standard_normal(len(clip)), 16000)
    return folder


@pytest.fixture(scope="module")
def work(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("work")


@pytest.fixture(scope="module")
def train_arguments(work) -> list[str]:
    write_clips(work / "clips", 60, seconds=0.6)
    (work / "tiny.yaml").write_text(RECIPE)
    arguments = ["--config", work / "tiny.yaml", "--dataset", work / "clips", "--max-steps", 6 * STEPS_PER_EPOCH]
    return ["train", *map(str, arguments)]


@pytest.fixture(scope="module")
def counted_run(work, train_arguments) -> tuple[Path, subprocess.CompletedProcess]:
    """The folder of a training run of six epochs, and the process, with its counts and warnings."""
    output = work / "model"
    command = [sys.executable, "-c", TRAIN, str(work), *train_arguments, "--output-dir", str(output)]
    return output, subprocess.run(command, capture_output=True, text=True)


@pytest.mark.slow
def test_training_holds_on_to_nothing(counted_run):
    _, process = counted_run
    assert process.returncode == 0, process.stderr
    lines = [line.removeprefix("COUNTED ") for line in process.stdout.splitlines() if line.startswith("COUNTED")]
    counts = [json.loads(line) for line in lines]
    assert len(counts) == 6
    assert counts[0]["tensors"] > 0
    assert counts[0]["own objects"] > 0
    for name in counts[0]:  # the first epochs make the optimizer's state, and the first evaluation what it keeps
        later = [count[name] for count in counts[2:]]
        assert later == [later[0]] * 4, name


@pytest.mark.slow
def test_a_seed_decides_and_our_code_warns_of_nothing(counted_run, train_arguments, work):
    first, process = counted_run
    assert own_warnings(process.stderr) == []
    second = work / "again"
    command = [python(), "-m", "polyaudio", *train_arguments, "--output-dir", str(second)]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    weights, again = load_file(first / "model.safetensors"), load_file(second / "model.safetensors")
    assert weights.keys() == again.keys()
    for name, value in weights.items():
        assert torch.equal(value, again[name]), name


def test_own_warnings_are_found(tmp_path):
    code = "import warnings; from polyaudio.data import audio; warnings.warn_explicit('x', UserWarning, {}, 1)"
    code = code.format("audio.__file__")
    text = subprocess.run([python(), "-c", code], capture_output=True, text=True, check=True).stderr
    assert len(own_warnings(text)) == 1
    call = [python(), "-c", TRAIN.replace("runpy.run_module", "logging.getLogger('polyaudio.x').warning('y') #")]
    assert own_warnings(subprocess.run([*call, "."], capture_output=True, text=True, check=True).stderr) == [
        "LOGGED polyaudio.x y"
    ]


# Embeds few files and then many, with the peak of what Python and numpy have allocated meanwhile
EMBED = f"""
import json, multiprocessing, tracemalloc
{COUNT}
from polyaudio.scripts.embed import main

work, workers = sys.argv[1:]
for name in ("few", "few", "many"):
    tracemalloc.start()
    flags = ["--granularity", "utterance", "--batch-size", "4", "--workers", workers]
    output = work + "/features/" + name + workers
    assert main([work + "/" + name, "--model", work + "/model", "--output", output, "--overwrite", *flags]) == 0
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    for worker in multiprocessing.active_children():  # one that is ending still holds its dataset
        worker.join(timeout=60)
    print("COUNTED", json.dumps([count(work), peak, len(multiprocessing.active_children())]))
"""


@pytest.mark.slow
@pytest.mark.parametrize("workers", ["0", "2"])
def test_embedding_holds_on_to_nothing(workers, counted_run, work):
    """The sound of 60 files is 15 MB; 12 files or 60, no more than a few batches of them are there at once."""
    for name, number in (("few", 12), ("many", 60)):
        write_clips(work / name, number, seconds=4.0)
    command = [python(), "-c", EMBED, str(work), workers]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    lines = [line.removeprefix("COUNTED ") for line in result.stdout.splitlines() if line.startswith("COUNTED")]
    _, (few, few_peak, _), (many, many_peak, children) = map(json.loads, lines)
    assert many == few
    assert many_peak - few_peak < 4e6
    assert children == 0
