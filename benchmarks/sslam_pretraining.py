# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""A pre-training step of SSLAM, base size, on a CPU: seconds, peak memory, and the share of matrix products.

    python benchmarks/sslam_pretraining.py [--against FILE]

FILE is Python code with a function `make_step(batch_size, clone_batch, stage, frames)` that builds another
implementation's model and returns a function without arguments that does one whole training step in float32: forward,
backward, clipping, AdamW, and the teacher's update. All candidates take turns in one process for the times; each gets
a process of its own for the memory.
"""

import argparse
import functools
import importlib.util
import multiprocessing
import resource
from collections.abc import Callable

import torch
from timing import compare, machine
from torch.profiler import ProfilerActivity, profile

from polyaudio import SSLAMConfig, SSLAMForPreTraining


FLOAT32, BFLOAT16 = "ours, float32", "ours, bfloat16 by autocast"
CHECKPOINTING = "ours, float32, activation checkpointing"
BFLOAT16_TEACHER = "ours, bfloat16, the teacher too"
OWN = (FLOAT32, CHECKPOINTING, BFLOAT16, BFLOAT16_TEACHER)

MATRIX_PRODUCTS = ("addmm", "mm", "bmm", "baddbmm", "scaled_dot_product", "convolution", "mkldnn_linear")

Step = Callable[[], object]


def make_own_steps(args: argparse.Namespace) -> dict[str, Step]:
    torch.manual_seed(0)
    model = SSLAMForPreTraining(SSLAMConfig(pretraining_stage=args.stage, clone_batch=args.clone_batch)).train()
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=5e-5, betas=(0.9, 0.95), weight_decay=0.05, fused=True)
    clips = torch.randn(args.batch_size, args.frames, model.config.num_mel_bins)

    def step(use_bfloat16: bool = False, teacher_in_float32: bool = True, use_checkpointing: bool = False) -> None:
        model.config.teacher_in_float32 = teacher_in_float32
        if use_checkpointing:
            model.activation_checkpointing_enable()
        else:
            model.activation_checkpointing_disable()
        with torch.autocast("cpu", torch.bfloat16, enabled=use_bfloat16):
            loss = model(clips).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 4.0)
        optimizer.step()
        optimizer.zero_grad()
        model.update_teacher(1)

    return {
        FLOAT32: step,
        CHECKPOINTING: functools.partial(step, use_checkpointing=True),
        BFLOAT16: functools.partial(step, use_bfloat16=True),
        BFLOAT16_TEACHER: functools.partial(step, use_bfloat16=True, teacher_in_float32=False),
    }


def make_other_step(args: argparse.Namespace) -> Step:
    spec = importlib.util.spec_from_file_location("other_implementation", args.against)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    torch.manual_seed(0)
    return module.make_step(
        batch_size=args.batch_size, clone_batch=args.clone_batch, stage=args.stage, frames=args.frames
    )


def print_peak_memory(args: argparse.Namespace, name: str) -> None:
    """The most memory that this process holds up to the end of the third step of one candidate."""
    torch.set_num_threads(args.threads)
    step = make_other_step(args) if name == args.against else make_own_steps(args)[name]
    for _ in range(3):
        step()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(f"  {name:<44}{peak / 2**20:8.2f} GiB")


def print_profile(step: Step) -> None:
    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        step()
    events = sorted(profiler.key_averages(), key=lambda event: -event.self_cpu_time_total)
    total = sum(event.self_cpu_time_total for event in events)
    products = [event for event in events if any(name in event.key for name in MATRIX_PRODUCTS)]
    share = sum(event.self_cpu_time_total for event in products) / total
    print(f"  matrix products and convolutions: {share:.0%} of the time; the most of it:")
    for event in events[:10]:
        print(f"    {event.key:<58}{event.self_cpu_time_total / total:6.1%}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--against", metavar="FILE", help="another implementation, see above")
    parser.add_argument("--batch-size", type=int, default=2)
    parser.add_argument("--clone-batch", type=int, default=4)
    parser.add_argument("--stage", type=int, choices=(1, 2), default=2)
    parser.add_argument("--frames", type=int, default=1024)
    parser.add_argument("--threads", type=int, default=2, help="threads of torch (default: 2)")
    parser.add_argument("--rounds", type=int, default=5, help="steps of each candidate that count (default: 5)")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    print(machine())
    print(f"stage {args.stage}, {args.batch_size} clips of {args.frames} frames, {args.clone_batch} views of each")

    names = [args.against, *OWN] if args.against else OWN
    print("peak memory of a process")
    for name in names:
        process = multiprocessing.get_context("spawn").Process(target=print_peak_memory, args=(args, name))
        process.start()
        process.join()

    print("time of a step")
    steps = make_own_steps(args)
    if args.against:
        steps = {args.against: make_other_step(args), **steps}
    compare(steps, args.rounds)
    for name in names:
        print(f"profile of {name}")
        print_profile(steps[name])


if __name__ == "__main__":
    main()
