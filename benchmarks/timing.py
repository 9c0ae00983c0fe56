# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Timing in pairs: the machine's speed drifts, the ratio of two things done in turn does not."""

import contextlib
import math
import multiprocessing
import os
import platform
import re
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torchaudio
import transformers
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile, supported_activities
from torch.utils.flop_counter import FlopCounterMode, conv_flop_count, sdpa_backward_flop_count, sdpa_flop_count


Run = Callable[[], object]

# In a round something is called as often as it takes to fill this number of seconds
SECONDS_OF_A_ROUND = 0.2
# What takes longer than this in seconds the first time is called once in a round, and not timed warm before
SLOW = 3

PRODUCTS = re.compile(r"(^|_|::)(add|b|baddb|addb)?mm(_|$)|mkldnn(_|::_)linear|convolution|conv\dd|attention")


def _backward_of_convolution(grad_output, inputs, weight, *others, **_) -> int:
    transposed, wanted = others[4], others[7]
    return sum(wanted[:2]) * conv_flop_count(inputs, weight, grad_output, transposed)


# What torch's counter leaves out, from the shapes of the operator's arguments, and what it has wrong: the gradient of
# a grouped convolution's weights, which it counts as often as there are groups
FORMULAS = {
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: (lambda *shapes, **_: sdpa_flop_count(*shapes[:3])),
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward: (
        lambda *shapes, **_: sdpa_backward_flop_count(*shapes[:4])
    ),
    torch.ops.aten.convolution_backward: _backward_of_convolution,
    torch.ops.mkldnn._linear_pointwise: (lambda inputs, weight, *_, **__: 2 * math.prod(inputs) * weight[0]),
}


@dataclass(frozen=True)
class Settings:
    """
    Args:
        device: where models run and features end up.
        quick: tiny models and clips, which show that everything runs and nothing else.
        rounds: rounds that count.
        against: another implementation of SSLAM's pre-training step, see `pretraining.py`.
        sam_carnatic: a checkout of sarayusapa/sam-carnatic.
    """

    device: torch.device
    quick: bool
    rounds: int
    against: Path | None
    sam_carnatic: Path | None


@contextlib.contextmanager
def computing(precision: str, device: torch.device) -> Iterator[None]:
    """Compute in `float32`, in `TF32` (float32 whose products CUDA devices round) or in `bfloat16` by autocast."""
    matmul, cudnn = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    torch.set_float32_matmul_precision("high" if precision == "TF32" else "highest")
    torch.backends.cudnn.allow_tf32 = precision == "TF32"
    try:
        with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16"):
            yield
    finally:
        torch.set_float32_matmul_precision(matmul)
        torch.backends.cudnn.allow_tf32 = cudnn


def machine(devices: Sequence[torch.device]) -> dict[str, Any]:
    """What the figures are taken on."""
    names = {"cpu": _cpu_name()}
    for device in devices:
        if device.type != "cpu":
            module = torch.get_device_module(device)
            names[device.type] = module.get_device_name() if hasattr(module, "get_device_name") else device.type
    return {
        "devices": names,
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "torchaudio": torchaudio.__version__,
        "transformers": transformers.__version__,
    }


def _cpu_name() -> str:
    info = Path("/proc/cpuinfo")
    names = re.findall(r"^model name\s*: (.*)$", info.read_text(), re.MULTILINE) if info.exists() else []
    return f"{names[0] if names else platform.processor()} ({platform.machine()})"


def without_compiling(settings: Settings) -> contextlib.AbstractContextManager:
    """In a quick run, which has no time for it, what is compiled runs eagerly here."""
    return torch.compiler.set_stance("force_eager") if settings.quick else contextlib.nullcontext()


def synchronize(device: torch.device) -> None:
    """Wait until the device has done what it was given."""
    if device.type != "cpu":
        torch.accelerator.synchronize(device)


def seconds(run: Run, device: torch.device, calls: int = 1) -> float:
    """Of one call, the mean over `calls` of them in a row."""
    synchronize(device)
    start = time.perf_counter()
    for _ in range(calls):
        run()
    synchronize(device)
    return (time.perf_counter() - start) / calls


def count_work(run: Run, device: torch.device) -> tuple[float, float]:
    """The seconds of a first call, and its billions of floating point operations, as `compare` counts them."""
    with FlopCounterMode(display=False, custom_mapping=FORMULAS) as counter:
        elapsed = seconds(run, device)
    return elapsed, counter.get_total_flops() / 1e9


def compare(
    title: str,
    runs: dict[str, Run],
    settings: Settings,
    *,
    references: Sequence[str] = (),
    peak_memory: dict[str, float | None] | None = None,
) -> dict[str, Any]:
    """
    Time rivals in turn, `settings.rounds` times after a warm-up.

    Args:
        title: what is timed.
        runs: what each rival does.
        references: the rivals to which the others are put in relation, round by round; by default the first one.
        peak_memory: of some rivals, in GiB.

    Returns:
        `title` and `rivals`, for each of which there are its `name`, the `seconds` of a call and their `ratios` to
        each reference (median, lowest and highest of the rounds), `gflop` (floating point operations of a call's
        matrix products, convolutions and attention, in billions), `products` (their share of its time) and
        `peak_memory`.
    """
    device = settings.device
    gflop, calls = {}, {}
    for name, run in runs.items():
        warm_up, gflop[name] = count_work(run, device)
        is_slow = settings.quick or warm_up > SLOW
        calls[name] = 1 if is_slow else math.ceil(SECONDS_OF_A_ROUND / seconds(run, device))
    taken: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(settings.rounds):
        for name, run in runs.items():
            taken[name].append(seconds(run, device, calls[name]))
    return {
        "title": title,
        "rivals": [
            {
                "name": name,
                "seconds": summary(taken[name]),
                "ratios": {
                    reference: summary([a / b for a, b in zip(taken[name], taken[reference], strict=True)])
                    for reference in references or list(runs)[:1]
                },
                "gflop": gflop[name],
                "products": share_of_products(run, device),
                "peak_memory": (peak_memory or {}).get(name),
            }
            for name, run in runs.items()
        ],
    }


def summary(values: list[float]) -> dict[str, float]:
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def share_of_products(run: Run, device: torch.device) -> float:
    """Which part of a call's time the device spends in matrix products, convolutions and attention."""
    on_cpu = device.type == "cpu"
    with profile(activities={ProfilerActivity.CPU} if on_cpu else supported_activities()) as profiler:
        elapsed = seconds(run, device)
    # The operators, to which the profiler adds the time of their kernels; those are listed once more by themselves
    products = [
        event
        for event in profiler.key_averages()
        if event.device_type == DeviceType.CPU and PRODUCTS.search(event.key)
    ]
    microseconds = sum(event.self_cpu_time_total if on_cpu else event.self_device_time_total for event in products)
    return microseconds / 1e6 / elapsed


def peak_memory(make_run: Callable[[], Run], device: torch.device) -> float | None:
    """
    The most memory in GiB that a process of its own holds when it builds something and runs it twice: all memory of
    the process on a CPU (None where the system has no /proc), elsewhere what torch allocates on the device.
    """
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(_peak_memory_of_this_process, make_run, device, torch.get_num_threads()).result()


def _peak_memory_of_this_process(make_run: Callable[[], Run], device: torch.device, threads: int) -> float | None:
    torch.set_num_threads(threads)
    run = make_run()
    for _ in range(2):  # the optimizer's state comes with the first step
        run()
    if device.type != "cpu":
        return torch.accelerator.max_memory_allocated(device) / 2**30
    # Not `resource.getrusage`, whose peak of a new process begins with that of the one that started it
    status = Path("/proc/self/status")
    return int(re.search(r"VmHWM:\s*(\d+) kB", status.read_text())[1]) / 2**20 if status.exists() else None
