# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Linear layers computed by oneDNN: the same numbers, only where it pays, and nothing else changes."""

import copy
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch.utils._python_dispatch import TorchDispatchMode

from polyaudio import SSLAMConfig, SSLAMForAudioClassification, SSLAMForPreTraining
from polyaudio.modeling import onednn_linear


LAYER = {"hidden_size": 256, "num_hidden_layers": 1, "num_attention_heads": 4, "intermediate_size": 512}
LINEAR_LAYERS = 6  # query, key, value, output; two of the MLP


@pytest.fixture
def slow_mkl(monkeypatch):
    """A processor for which MKL has no kernels, whatever this one is."""
    monkeypatch.setattr(onednn_linear, "mkl_lacks_kernels", lambda: True)


@pytest.fixture
def any_size(slow_mkl, monkeypatch):
    monkeypatch.setattr(onednn_linear, "MIN_ROWS", 1)
    monkeypatch.setattr(onednn_linear, "MIN_FEATURES", 1)


class Operators(TorchDispatchMode):
    """Counts what torch is asked for."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.seen.append(func.overloadpacket)
        return func(*args, **(kwargs or {}))

    @property
    def convolutions(self) -> int:
        return self.seen.count(torch.ops.aten.convolution)


def classifier(**changes) -> SSLAMForAudioClassification:
    torch.manual_seed(0)
    return SSLAMForAudioClassification(SSLAMConfig(**{**LAYER, "num_labels": 3, **changes})).eval()


def clips(num_frames: int = 512) -> torch.Tensor:
    """Half of the default are 257 tokens."""
    return torch.randn(1, num_frames, 128, generator=torch.Generator().manual_seed(0))


def convolved_layers(model: torch.nn.Module, inputs: torch.Tensor) -> int:
    """How many linear layers became convolutions."""
    with Operators() as operators, torch.no_grad():
        model(inputs)
    return operators.convolutions


def losses_and_gradients(model: torch.nn.Module, inputs: torch.Tensor) -> dict[str, torch.Tensor]:
    model.zero_grad()
    torch.manual_seed(0)
    loss = model(inputs).loss
    loss.backward()
    gradients = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    return {"loss": loss.detach(), **gradients}


def test_outputs_stay_the_same(monkeypatch):
    outputs = {}
    for slow in (False, True):
        monkeypatch.setattr(onednn_linear, "mkl_lacks_kernels", lambda slow=slow: slow)
        model = classifier()
        assert convolved_layers(model, clips()) == (LINEAR_LAYERS if slow else 0)
        outputs[slow] = model(clips()).logits
    torch.testing.assert_close(outputs[True], outputs[False], atol=1e-5, rtol=1e-5)


def test_other_processors_have_torchs_own_layers_with_the_same_weights(monkeypatch):
    states = {}
    for slow, linear_class in ((False, torch.nn.Linear), (True, onednn_linear.OneDNNLinear)):
        monkeypatch.setattr(onednn_linear, "mkl_lacks_kernels", lambda slow=slow: slow)
        model = classifier()
        assert type(model.sslam.layers[0].mlp.fc1) is linear_class
        states[slow] = model.state_dict()
    assert states[True].keys() == states[False].keys()
    assert all(torch.equal(weight, states[False][name]) for name, weight in states[True].items())


@pytest.mark.parametrize("checkpointing", [False, True])
def test_losses_and_gradients_stay_the_same(checkpointing, any_size, enable_activation_checkpointing, monkeypatch):
    def pretraining_model() -> SSLAMForPreTraining:
        torch.manual_seed(0)
        config = SSLAMConfig(**{**LAYER, "hidden_size": 32}, clone_batch=2, pretraining_stage=2)
        model = SSLAMForPreTraining(config).train()
        if checkpointing:
            enable_activation_checkpointing(model)
        return model

    torch.manual_seed(1)
    inputs, model, calls = torch.randn(2, 128, 128), pretraining_model(), []
    for module in model.modules():
        if isinstance(module, torch.nn.Linear):
            module.register_forward_hook(lambda *_: calls.append(None))
    with Operators() as operators:
        with_onednn = losses_and_gradients(model, inputs)
    num_calls = len(calls)
    monkeypatch.setattr(onednn_linear, "mkl_lacks_kernels", lambda: False)
    with Operators() as plain_operators:
        expected = losses_and_gradients(pretraining_model(), inputs)
    # With checkpointing also in the backward pass, where layers run a second time
    assert operators.convolutions - plain_operators.convolutions == num_calls > 0
    assert with_onednn.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(with_onednn[name], value, atol=1e-5, rtol=1e-3, msg=lambda m, n=name: f"{n}: {m}")


@pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="this torch has no oneDNN")
def test_one_thread_is_not_left_to_mkl(slow_mkl):
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.profiler.profile() as profile, torch.no_grad():
            classifier()(clips())
    finally:
        torch.set_num_threads(threads)
    calls = {event.key: event.count for event in profile.key_averages()}
    assert calls["aten::mkldnn_convolution"] >= LINEAR_LAYERS


@pytest.mark.parametrize(
    ("changes", "num_frames"),
    [({"hidden_size": 128, "intermediate_size": 128}, 512), ({}, 240)],
    ids=["narrow layers", "few tokens"],
)
def test_small_products_stay_with_mkl(changes, num_frames, slow_mkl):
    assert convolved_layers(classifier(**changes), clips(num_frames)) == 0


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_other_dtypes_stay(dtype, slow_mkl):
    model = classifier().to(dtype)
    assert convolved_layers(model, clips().to(dtype)) == 0


def test_autocast_stays(slow_mkl, monkeypatch):
    with torch.autocast("cpu", torch.bfloat16):
        model = classifier()
        assert convolved_layers(model, clips()) == 0
        logits = model(clips()).logits
        monkeypatch.setattr(onednn_linear, "mkl_lacks_kernels", lambda: False)
        torch.testing.assert_close(logits, classifier()(clips()).logits, atol=0, rtol=0)


@pytest.mark.parametrize("is_autocast", [False, True])
def test_bfloat16_without_gradients_copies_no_bias(is_autocast, any_size, monkeypatch):
    """The same products, whose bias oneDNN adds, so that the sum is rounded once."""
    weights, inputs = (torch.float32, clips()) if is_autocast else (torch.bfloat16, clips().bfloat16())
    model, other = classifier().to(weights), classifier().to(weights)
    monkeypatch.setattr(onednn_linear, "mkl_lacks_kernels", lambda: False)
    plain = classifier().to(weights)
    with torch.autocast("cpu", torch.bfloat16, enabled=is_autocast):
        with torch.no_grad(), Operators() as operators:
            logits = model(inputs).logits
        torch.testing.assert_close(logits, plain(inputs).logits, atol=0.02, rtol=0)
        loss = other(inputs, labels=torch.tensor([1])).loss
    assert operators.seen.count(torch.ops.mkldnn._linear_pointwise) == LINEAR_LAYERS
    loss.backward()
    assert other.sslam.layers[0].mlp.fc1.weight.grad is not None


def test_a_transposed_input_in_bfloat16(any_size):
    layer = onednn_linear.OneDNNLinear(8, 16).bfloat16()
    inputs = torch.randn(8, 5).bfloat16().t()
    with torch.no_grad():
        torch.testing.assert_close(layer(inputs), torch.nn.functional.linear(inputs, layer.weight, layer.bias))


def test_tensors_of_other_classes_stay(slow_mkl):
    class Tagged(torch.Tensor):
        pass

    model = classifier()
    projection = model.sslam.layers[0].mlp.fc1
    projection.weight = torch.nn.Parameter(projection.weight.detach().as_subclass(Tagged))
    assert convolved_layers(model, clips()) < LINEAR_LAYERS


def test_sparse_weights_stay(slow_mkl):
    model = classifier()
    expected = model(clips()).logits
    projection = model.sslam.layers[0].mlp.fc1
    projection.weight = torch.nn.Parameter(projection.weight.detach().to_sparse_csr(), requires_grad=False)
    assert convolved_layers(model, clips()) == LINEAR_LAYERS - 1
    torch.testing.assert_close(model(clips()).logits, expected, atol=1e-5, rtol=1e-5)


def test_compiled_graphs_hold_linear_layers(slow_mkl):
    model = classifier()
    graphs = []

    def keep(graph, example_inputs):
        graphs.append(graph)
        return graph.forward

    with torch.no_grad():
        compiled = torch.compile(model, backend=keep, fullgraph=True)(clips()).logits
        torch.testing.assert_close(compiled, model(clips()).logits, atol=1e-5, rtol=1e-5)
    targets = [node.target for node in graphs[0].graph.nodes]
    assert targets.count(torch._C._nn.linear) >= LINEAR_LAYERS


def test_adapters_take_part(slow_mkl):
    model = get_peft_model(classifier(), LoraConfig(target_modules=["q_proj", "v_proj"], r=2))
    assert convolved_layers(model, clips()) == LINEAR_LAYERS


def test_saved_and_copied_models_take_part(slow_mkl, tmp_path):
    model = classifier()
    model.save_pretrained(tmp_path)
    for other in (SSLAMForAudioClassification.from_pretrained(tmp_path), copy.deepcopy(model)):
        assert convolved_layers(other, clips()) == LINEAR_LAYERS
        assert torch.equal(other(clips()).logits, model(clips()).logits)


ZEN_4 = "vendor_id\t: AuthenticAMD\ncpu family\t: 25\nmodel\t\t: 17\n"
ZEN_5 = "vendor_id\t: AuthenticAMD\ncpu family\t: 26\nmodel\t\t: 2\n"
XEON = "vendor_id\t: GenuineIntel\ncpu family\t: 6\nmodel\t\t: 143\n"


@pytest.mark.parametrize(
    ("processor", "capability", "mkl", "lacking"),
    [
        (ZEN_5, "AVX512", True, True),
        (ZEN_5, "AVX2", True, False),
        (ZEN_5, "AVX512", False, False),
        (ZEN_4, "AVX512", True, False),
        (XEON, "AVX512", True, False),
    ],
)
@pytest.mark.parametrize("system", ["Linux", "Windows"])
def test_which_processors(processor, capability, mkl, lacking, system, monkeypatch):
    monkeypatch.setattr(Path, "exists", lambda self: system == "Linux")
    monkeypatch.setattr(Path, "read_text", lambda self: processor)
    vendor, family, model = (line.split(": ")[1] for line in processor.splitlines())
    monkeypatch.setattr("platform.processor", lambda: f"AMD64 Family {family} Model {model} Stepping 1, {vendor}")
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    monkeypatch.setattr(torch.backends.mkl, "is_available", lambda: mkl)
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: True)
    assert onednn_linear.mkl_lacks_kernels.__wrapped__() is lacking
