# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Two processes with half a batch each beside one with all of it: NCCL where there are two cards, gloo on a CPU."""

import multiprocessing
import os
import tempfile
from concurrent.futures import ProcessPoolExecutor

import numpy as np
import torch
from torch import distributed

from polyaudio import SAMAudioConfig, SAMAudioForAudioClassification


def error_of_two_processes(device: torch.device, cards: list[str]) -> float:
    """
    The norm of the difference of all gradients, as a share of their norm. The contrastive loss reaches over both
    halves of the batch.

    Args:
        device: the kind of device, and the one that computes alone.
        cards: numbers of the cards; empty for the CPU.

    Raises:
        ImportError: there are cards, but only one.
    """
    if cards and len(cards) < 2:
        raise ImportError("there is one card")
    alone = _gradients(device)
    with tempfile.TemporaryDirectory() as folder:
        store = f"file://{folder}/store"
        with ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as pool:
            runs = [pool.submit(_gradients_of_rank, rank, device.type, cards, store) for rank in range(2)]
            together, _ = (run.result() for run in runs)
    return float(np.linalg.norm(together - alone) / np.linalg.norm(alone))


def _gradients_of_rank(rank: int, device_type: str, cards: list[str], store: str) -> np.ndarray:
    torch.set_num_threads(1)
    if cards:
        os.environ["CUDA_VISIBLE_DEVICES"] = cards[rank]  # this process has not used CUDA yet
    backend = "nccl" if cards else "gloo"
    distributed.init_process_group(backend, init_method=store, rank=rank, world_size=2)
    try:
        return _gradients(torch.device(device_type), rank)
    finally:
        distributed.destroy_process_group()


def _gradients(device: torch.device, rank: int | None = None) -> np.ndarray:
    """All gradients of a small SAMAudio: of the whole batch, or of the process `rank` for its half, averaged."""
    torch.manual_seed(0)
    dropouts = dict.fromkeys(("feat_extract_dropout", "attention_probs_dropout_prob", "classifier_dropout"), 0.0)
    sizes = {"conv_dim": [16, 32], "conv_kernel": [3, 3], "conv_stride": [2, 2]}
    model = SAMAudioForAudioClassification(SAMAudioConfig(num_labels=3, num_attention_heads=4, **sizes, **dropouts))
    clips, labels, hidden = torch.randn(4, 30, 80), torch.tensor([0, 1, 0, 2]), torch.rand(4, 8) < 0.3
    model.train().to(device)
    own = slice(None) if rank is None else slice(2 * rank, 2 * rank + 2)
    parallel = model if rank is None else torch.nn.parallel.DistributedDataParallel(model)
    batch = {"input_values": clips[own], "labels": labels[own], "mask_time_indices": hidden[own]}
    parallel(**{name: value.to(device) for name, value in batch.items()}).loss.backward()
    gradients = torch.cat([parameter.grad.flatten() for parameter in model.parameters()]).cpu().numpy()
    del parallel  # one that outlives the group can abort the process
    return gradients
