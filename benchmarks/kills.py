# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Kills every command that writes at random times, fills the disk below it, and looks at what is left.

    python benchmarks/kills.py [--kills 200] [--full-disks 20] [--seed 0] [--commands train embed]

After each kill, what the command wrote must be whole: there is the old result, the new one, or none, and nothing that
looks complete and is not. Then the command runs again and must end with the result of a run that nobody killed. On a
full disk a command must end with one line and exit code 2, and leave whole what was there. The disk is a tmpfs of a
random size where this process may mount one, and otherwise a limit on the size of files.

The commands run in children of a process that has imported everything, so that a kill meets a command and not its
imports. The exit code is 1 if anything was lost or half-written, or if a command did not end as it should.
"""

import argparse
import contextlib
import hashlib
import importlib
import json
import os
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.ipc
import pyarrow.parquet
import soundfile
import torch
from safetensors import safe_open

from polyaudio.training.runs import holds_run, newest_checkpoint


SAM_AUDIO = {
    "model_type": "sam_audio",
    "conv_dim": [16, 32],
    "conv_kernel": [3, 3],
    "conv_stride": [4, 4],
    "num_segments": 4,
    "num_attention_heads": 4,
    "projection_dim": 8,
}
TRAINING = {
    "num_train_epochs": 4,
    "per_device_train_batch_size": 4,
    "dataloader_num_workers": 0,
    "report_to": "none",
    "disable_tqdm": True,
}
CHECKPOINT = Path(__file__).resolve().parent.parent / "tests" / "reference" / "sam_audio" / "mel" / "best_model.pth"


@dataclass(frozen=True)
class Job:
    """
    A command that writes.

    Args:
        module: its module in `polyaudio.scripts`.
        old, new: the arguments for two different results, without the output.
        output: the flag of the output.
        replace: the flags to write where there is a result.
        files: patterns of the files that make up the result.
        resumes: whether `--resume` continues a run.
    """

    module: str
    old: list[str]
    new: list[str]
    output: str
    replace: list[str]
    files: tuple[str, ...]
    resumes: bool = False

    def state(self, folder: Path) -> str | None:
        """A digest of the result in a folder; `None` if there is none."""
        paths = sorted(path for pattern in self.files for path in folder.glob(pattern) if _is_visible(path, folder))
        if not paths:
            return None
        names = [(str(path.relative_to(folder)), _digest(path)) for path in paths]
        return hashlib.sha256(json.dumps(names).encode()).hexdigest()


def _digest(path: Path) -> str:
    if path.suffix == ".arrow":  # its paths begin with the folder that it was written to
        with pyarrow.ipc.open_stream(path.read_bytes()) as table:
            rows = json.dumps(table.read_all().to_pylist(), default=str)
        return hashlib.sha256(re.sub(r'"[^"]*/audio/', '"audio/', rows).encode()).hexdigest()
    if path.suffix != ".npz":
        return hashlib.sha256(path.read_bytes()).hexdigest()
    with np.load(path) as arrays:  # in any order, and with the times at which they were written
        return str(sorted((name, hashlib.sha256(arrays[name].tobytes()).hexdigest()) for name in arrays.files))


def make_jobs(work: Path) -> dict[str, Job]:
    """Write what the commands read, and return them by their names."""
    rng = np.random.default_rng(0)
    for index in range(12):
        label, frequency = (("low", 300), ("high", 2000))[index % 2]
        (work / "clips" / label).mkdir(parents=True, exist_ok=True)
        seconds = np.arange(round(rng.uniform(0.4, 1.2) * 16000)) / 16000
        clip = 0.2 * np.sin(2 * np.pi * frequency * rng.uniform(0.9, 1.1) * seconds)
        soundfile.write(work / "clips" / label / f"{index}.wav", clip + 0.02 * rng.standard_normal(len(clip)), 16000)
    for name, settings in (("train", {"data": {"test_size": 0.3}}), ("pretrain", {"data": {"crop_seconds": 0.5}})):
        recipe = {"model": SAM_AUDIO, "training": TRAINING, **settings}
        if name == "pretrain":
            recipe["training"] = {**TRAINING, "save_strategy": "epoch", "save_total_limit": 2}
        (work / f"{name}.yaml").write_text(json.dumps(recipe))
    clips, model = str(work / "clips"), str(work / "model")
    run("train", ["--config", str(work / "train.yaml"), "--dataset", clips, "--output-dir", model], work / "log")
    weights = ("model.safetensors", "config.json", "preprocessor_config.json")
    train = ["--config", str(work / "train.yaml"), "--dataset", clips]
    pretrain = ["--config", str(work / "pretrain.yaml"), "--dataset", clips]
    embed = [clips, "--model", model, "--workers", "0", "--granularity", "frame", "--batch-size", "1"]
    parquet = [clips, "--model", model, "--workers", "0", "--format", "parquet", "--shard-size", "1"]
    overwrite, labels = ["--overwrite"], ["--labels", *"abcdefgh"]
    return {
        "train": Job("train", train, [*train, "--lr", "1e-3"], "--output-dir", overwrite, weights, resumes=True),
        "train, LoRA": Job(
            *("train", [*train, "--lora"], [*train, "--lora", "--lr", "1e-3"], "--output-dir", overwrite),
            ("adapter_model.safetensors", "config.json", "preprocessor_config.json"),
            resumes=True,
        ),
        "pretrain": Job(
            "pretrain", pretrain, [*pretrain, "--lr", "1e-3"], "--output-dir", overwrite, weights, resumes=True
        ),
        "convert": Job(
            *("convert", [str(CHECKPOINT)], [str(CHECKPOINT), *labels], "--output", overwrite),
            (*weights, "conversion_report.json"),
        ),
        "embed": Job("embed", embed, embed, "--output", [], ("**/*.npy",)),
        "embed, one file": Job(
            "embed", [*embed, "--single-file"], [*embed, "--single-file"], "--output", [], ("features.npz",)
        ),
        "embed, parquet": Job(
            *("embed", [*parquet, "--batch-size", "1"], [*parquet, "--batch-size", "1"]),
            *("--output", [], ("data/*.parquet", "embed.json")),
        ),
        "evaluate": Job(
            *("evaluate", [model, "--dataset", clips], [model, "--dataset", clips, "--batch-size", "3"]),
            *("--output", [], ("evaluation.json",)),
        ),
        "dataset build": Job(
            *("dataset", ["build", clips, "--chunk", "0.2"], ["build", clips, "--chunk", "0.3"], "--output"),
            *(overwrite, ("data/*.parquet",)),
        ),
        "dataset mix": Job(
            *("dataset", ["mix", clips, "--clips", "6"], ["mix", clips, "--clips", "6", "--seed", "1"], "--output"),
            *(overwrite, ("*/*.flac", "*/metadata.csv", "mixtures.json")),
        ),
        "dataset split": Job(
            *("dataset", ["split", clips], ["split", clips, "--split-seed", "1"], "--output"),
            *(overwrite, ("splits.csv", "**/*.arrow", "dataset_dict.json")),
        ),
    }


def run(
    module: str, arguments: list[str], log: Path, *, kill_after: float | None = None, file_limit: int | None = None
) -> int:
    """Run a command in a child, and return its exit code; minus the signal if it was killed."""
    child = os.fork()
    if child == 0:
        _run_here(module, arguments, log, file_limit)
    if kill_after is not None:
        time.sleep(kill_after)
        os.kill(child, signal.SIGKILL)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    with contextlib.suppress(ProcessLookupError):  # its workers
        os.killpg(child, signal.SIGKILL)
    return code


def _run_here(module: str, arguments: list[str], log: Path, file_limit: int | None) -> None:
    code = 3
    try:
        os.setsid()
        descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(descriptor, 1)
        os.dup2(descriptor, 2)
        if file_limit is not None:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (file_limit, file_limit))
        torch.set_num_threads(1)
        code = importlib.import_module(f"polyaudio.scripts.{module}").main(arguments)
    except BaseException:  # a forked child must not return into the code of its parent; the log gets the traceback
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _is_visible(path: Path, folder: Path) -> bool:
    """Whether a reader would find a file: not in a checkpoint, and not under a name of something unfinished."""
    parts = path.relative_to(folder).parts
    return path.is_file() and not any(part.startswith((".", "_", "checkpoint-")) for part in parts)


def damage(folder: Path) -> list[str]:
    """The files of a folder that are not whole."""
    found = []
    for path in sorted(path for path in folder.rglob("*") if _is_visible(path, folder)):
        try:
            if path.suffix == ".json":
                json.loads(path.read_text())
            elif path.suffix == ".safetensors":
                with safe_open(path, "pt"):
                    pass
            elif path.suffix in (".npy", ".npz"):
                np.load(path)
            elif path.suffix == ".parquet":
                pyarrow.parquet.read_table(path)
            elif path.suffix == ".flac":
                soundfile.read(path)
            elif path.suffix == ".png" and not path.read_bytes().endswith(b"IEND\xaeB`\x82"):
                raise ValueError("it has no end")
        except Exception as error:
            found.append(f"{path}: {error}")
    if (folder / "config.json").exists() and not (folder / "checkpoint-1").exists():
        names = {path.name for path in folder.iterdir()}
        if not names & {"model.safetensors", "adapter_model.safetensors"}:
            found.append(f"{folder} has a config.json and no weights")
    return found


class Trial:
    """The kills of one command, one after the other, in a folder of its own."""

    def __init__(self, name: str, job: Job, work: Path, rng: random.Random):
        self.name, self.job, self.work, self.rng = name, job, work, rng
        self.log, self.results = work / "log", {}
        for which, arguments in (("old", job.old), ("new", job.new)):
            began, output = time.monotonic(), work / which
            code = run(job.module, [*arguments, job.output, str(output)], self.log)
            self.seconds = time.monotonic() - began
            if code not in (0, 1):
                raise RuntimeError(f"{name} ends with {code} when nobody kills it:\n{self.log.read_text()[-3000:]}")
            self.results[which] = job.state(output)
        self.size = sum(path.stat().st_size for path in (work / "old").rglob("*") if path.is_file())
        self.problems: list[str] = []
        self.counts: Counter[str] = Counter()

    def _arguments(self, output: Path) -> list[str]:
        """The arguments of a run for the new result, wherever the one before was stopped."""
        job = self.job
        more = job.replace if output.exists() and any(output.iterdir()) else []
        if job.resumes:
            began = (output / "_run.json").exists() and json.loads((output / "_run.json").read_text())
            is_own = began and began["settings"]["learning_rate"] == 1e-3
            more = ["--resume"] if is_own and newest_checkpoint(output) else []
            more = more or (job.replace if holds_run(output) else [])
        if "--resume" in more:
            self.counts["resumed"] += 1
        return [*job.new, job.output, str(output), *more]

    def _look(self, output: Path, states: set[str | None], what: str) -> None:
        found = damage(output)
        if found:
            self.problems.append(f"{self.name}, {what}: {'; '.join(found)}")
        aside = output.with_name(f".{output.name}.replaced")
        state = self.job.state(aside) if not output.exists() and aside.exists() else self.job.state(output)
        if not self.job.resumes and self.job.module != "embed" and state not in states:
            self.problems.append(f"{self.name}, {what}: neither the old result nor the new one is there")

    def kill(self) -> None:
        """Kill the command where nothing is, or where it replaces something, perhaps again, and then let it finish."""
        output = self.work / f"killed-{sum(self.counts.values())}"
        states: set[str | None] = {None, self.results["new"]}
        if self.rng.random() < 0.5:
            shutil.copytree(self.work / "old", output)
            states = {self.results["old"], self.results["new"]}
        while True:
            arguments = self._arguments(output)
            code = run(self.job.module, arguments, self.log, kill_after=self.rng.uniform(0, 1.1) * self.seconds)
            self.counts["killed" if code < 0 else "too late"] += 1
            self._look(output, states, f"killed ({' '.join(arguments[-3:])})")
            if self.rng.random() < 0.6:
                break
        self._finish(output, "after a kill")

    def _finish(self, output: Path, what: str) -> None:
        arguments = self._arguments(output)
        code = run(self.job.module, arguments, self.log)
        if code not in (0, 1):
            self.problems.append(
                f"{self.name}, {what}: {code} of {' '.join(arguments)}: {self.log.read_text()[-800:]}"
            )
        elif self.job.state(output) != self.results["new"]:
            self.problems.append(f"{self.name}, {what}: another result than that of a run that nobody killed")
        self._look(output, {self.results["new"]}, what)
        shutil.rmtree(output)

    def fill(self) -> None:
        """Run the command on a disk that is too small for its result, and then on a larger one."""
        for _ in range(5):
            size = 4096 + round(self.rng.uniform(0.0, 0.7) * self.size)
            with disk(self.work / "disk", size) as (folder, limit, grow):
                output, states = folder / "out", {None, self.results["new"]}
                code = run(self.job.module, self._arguments(output), self.log, file_limit=limit)
                if code in (0, 1):
                    continue  # there was room enough
                self.counts["full"] += 1
                lines = self.log.read_text().strip().splitlines()
                errors = [line for line in lines if line.startswith("polyaudio ")]
                if code != 2 or len(errors) != 1 or "Traceback" in self.log.read_text():
                    self.problems.append(f"{self.name}, full disk: exit code {code}, {lines[-12:]}")
                self._look(output, states, f"full disk of {size} bytes")
                grow()
                if not output.exists():
                    output.mkdir()
                self._finish(output, "after a full disk")
                return


@contextlib.contextmanager
def disk(folder: Path, size: int) -> Iterator[tuple[Path, int | None, Callable[[], object]]]:
    """A small disk (or a folder, and a limit of the size of its files), and a function that makes it larger."""
    folder.mkdir(exist_ok=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "none", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode != 0:
        yield folder, size // 2, lambda: None
        shutil.rmtree(folder)
        return
    try:
        yield folder, None, lambda: subprocess.run(["mount", "-o", "remount,size=1g", str(folder)], check=True)
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--kills", type=int, default=200, help="number of kills, of all commands together")
    parser.add_argument("--full-disks", type=int, default=20, help="number of full disks")
    parser.add_argument("--seed", type=int, default=0, help="seed of the times")
    parser.add_argument("--commands", nargs="+", help="commands to kill (default: all)")
    args = parser.parse_args()
    rng, problems, totals = random.Random(args.seed), [], Counter()
    os.environ["POLYAUDIO_SAVE_CODE"] = "0"
    for module in ("train", "pretrain", "convert", "embed", "evaluate", "dataset"):
        importlib.import_module(f"polyaudio.scripts.{module}")
    for module in ("training.fine_tuning", "training.pretraining", "evaluation.evaluate", "inference.embedding"):
        importlib.import_module(f"polyaudio.{module}")
    with tempfile.TemporaryDirectory() as work:
        jobs = make_jobs(Path(work))
        chosen = {name: job for name, job in jobs.items() if args.commands is None or name in args.commands}
        print(f"{'command':16} killed  too late  resumed  full disks  problems")
        for index, (name, job) in enumerate(chosen.items()):
            folder = Path(work, f"job-{index}")
            folder.mkdir()
            trial = Trial(name, job, folder, rng)
            share = lambda total, index=index: total // len(chosen) + (index < total % len(chosen))  # noqa: E731
            while trial.counts["killed"] < share(args.kills):
                trial.kill()
            for _ in range(share(args.full_disks)):
                trial.fill()
            row = [trial.counts[key] for key in ("killed", "too late", "resumed", "full")]
            print(f"{name:16} {row[0]:6}  {row[1]:8}  {row[2]:7}  {row[3]:10}  {len(trial.problems):8}", flush=True)
            problems += trial.problems
            totals += trial.counts
    print(f"{totals['killed']} kills, {totals['full']} full disks, {len(problems)} problems")
    if problems:
        print("\n".join(problems))
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
