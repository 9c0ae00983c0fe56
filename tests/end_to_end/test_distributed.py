"""Two processes learn what one process learns: with half a batch each, or with half of the weights each."""

import os
import subprocess

import pytest
import torch
from safetensors.torch import load_file

from prepared_python import python


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
    del parallel  # one that outlives the group can abort the process
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()
"""


def gradients(world_size: int, mode: str, folder) -> dict[str, torch.Tensor]:
    output = str(folder / f"{world_size}.safetensors")
    processes = [
        subprocess.Popen(
            [python(), "-c", PROGRAM, str(rank), str(world_size), mode, str(folder / "store"), output],
            env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
        )
        for rank in range(world_size)
    ]
    assert [process.wait() for process in processes] == [0] * world_size
    return load_file(output)


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["clip", "label"])
def test_gradients(mode, tmp_path):
    """The contrastive loss reaches over both processes: every segment meets those of the other half of the batch."""
    alone, together = gradients(1, mode, tmp_path), gradients(2, mode, tmp_path)
    assert alone.keys() == together.keys()
    for name, expected in alone.items():
        torch.testing.assert_close(together[name], expected, atol=1e-5, rtol=1e-4, msg=lambda m, n=name: f"{n}: {m}")


SHARDED_PROGRAM = """
import sys, torch, warnings
from safetensors.torch import save_file
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from polyaudio import SSLAMConfig, SSLAMForPreTraining

warnings.simplefilter("ignore")
rank, store, output = int(sys.argv[1]), *sys.argv[2:]
torch.set_num_threads(1)
torch.distributed.init_process_group("gloo", init_method="file://" + store, rank=rank, world_size=2)
mesh = init_device_mesh("cpu", (2,))
config = SSLAMConfig(
    hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32, max_time_patches=16,
    decoder_hidden_size=16, decoder_num_layers=2, decoder_groups=4, clone_batch=2, pretraining_stage=2,
)
clips = torch.randn(2, 160, 128, generator=torch.Generator().manual_seed(0))
for name in ("whole", "sharded"):
    torch.manual_seed(0)
    model = SSLAMForPreTraining(config).train()
    if name == "sharded":
        for layer in (*model.sslam.layers, *model.teacher.layers):
            fully_shard(layer, mesh=mesh)
        fully_shard(model, mesh=mesh)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-2)
    for update in (1, 2):
        model(clips, generator=torch.Generator().manual_seed(update)).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        model.update_teacher(update)
    weights = {key: t.full_tensor() if hasattr(t, "full_tensor") else t for key, t in model.state_dict().items()}
    if rank == 0:
        save_file(weights, output + name)
torch.distributed.barrier()
torch.distributed.destroy_process_group()
"""


@pytest.mark.slow
def test_student_and_teacher_can_be_sharded(tmp_path):
    """FSDP2: each process keeps half of every weight and moves its half of the teacher."""
    arguments = [str(tmp_path / "store"), str(tmp_path / "weights_")]
    processes = [
        subprocess.Popen(
            [python(), "-c", SHARDED_PROGRAM, str(rank), *arguments],
            env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
        )
        for rank in range(2)
    ]
    assert [process.wait() for process in processes] == [0, 0]
    whole, sharded = (load_file(tmp_path / f"weights_{name}") for name in ("whole", "sharded"))
    assert whole.keys() == sharded.keys()
    for name, expected in whole.items():
        torch.testing.assert_close(sharded[name], expected, atol=1e-6, rtol=1e-5, msg=lambda m, n=name: f"{n}: {m}")
