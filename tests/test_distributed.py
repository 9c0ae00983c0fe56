"""Two processes with half a batch each learn what one process learns from the whole batch."""

import os
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file


PROGRAM = """
import sys, torch
from safetensors.torch import save_file
from polyaudio import SAMAudioConfig, SAMAudioForAudioClassification

rank, world_size, mode, store, output = int(sys.argv[1]), int(sys.argv[2]), *sys.argv[3:]
torch.set_num_threads(1)
torch.manual_seed(0)
config = SAMAudioConfig(
    feature_size=12, conv_dim=[16, 32], conv_kernel=[3, 3], conv_stride=[2, 2], num_segments=4, num_attention_heads=4,
    projection_dim=8, num_labels=3, feat_extract_dropout=0.0, attention_probs_dropout_prob=0.0, classifier_dropout=0.0,
    contrastive_mode=mode,
)
model = SAMAudioForAudioClassification(config).train()
batch, labels, hidden = torch.randn(4, 30, 12), torch.tensor([0, 1, 0, 2]), torch.rand(4, 8) < 0.3
if world_size > 1:
    torch.distributed.init_process_group("gloo", init_method="file://" + store, rank=rank, world_size=world_size)
    own = slice(2 * rank, 2 * rank + 2)
    batch, labels, hidden = batch[own], labels[own], hidden[own]
    parallel = torch.nn.parallel.DistributedDataParallel(model)
else:
    parallel = model
parallel(batch, labels=labels, mask_time_indices=hidden).loss.backward()
if rank == 0:
    save_file({name: parameter.grad for name, parameter in model.named_parameters()}, output)
if world_size > 1:
    torch.distributed.destroy_process_group()
"""


def gradients(world_size: int, mode: str, folder) -> dict[str, torch.Tensor]:
    output = str(folder / f"{world_size}.safetensors")
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(rank), str(world_size), mode, str(folder / "store"), output],
            env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
        )
        for rank in range(world_size)
    ]
    assert [process.wait(timeout=120) for process in processes] == [0] * world_size
    return load_file(output)


@pytest.mark.parametrize("mode", ["clip", "label"])
def test_gradients(mode, tmp_path):
    """The contrastive loss reaches over both processes: every segment meets those of the other half of the batch."""
    alone, together = gradients(1, mode, tmp_path), gradients(2, mode, tmp_path)
    assert alone.keys() == together.keys()
    for name, expected in alone.items():
        torch.testing.assert_close(together[name], expected, atol=1e-5, rtol=1e-4, msg=lambda m, n=name: f"{n}: {m}")
