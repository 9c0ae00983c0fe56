"""A merged model answers as its adapter does, and has none."""

import torch
from peft import LoraConfig, get_peft_model

from builders import SSLAM
from polyaudio import SSLAMConfig, SSLAMForAudioClassification
from polyaudio.modeling.merging import merged


def test_the_weights_of_an_adapter_are_added():
    torch.manual_seed(0)
    model = SSLAMForAudioClassification(SSLAMConfig(**SSLAM, num_labels=3)).eval()
    plain = {name for name, _ in model.named_parameters()}
    features = torch.randn(2, 64, 128)
    before = model(features).logits
    adapter = LoraConfig(target_modules=["q_proj", "fc1"], modules_to_save=["classifier"], r=2)
    adapted = get_peft_model(model, adapter).get_base_model()
    for name, weight in adapted.named_parameters():
        if "lora_B" in name or "modules_to_save" in name:
            torch.nn.init.normal_(weight)
    adapted.eval()
    result = merged(adapted)
    assert {name for name, _ in result.named_parameters()} == plain
    torch.testing.assert_close(result(features).logits, adapted(features).logits, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(result(features).logits, before, atol=1e-2)


def test_a_model_without_adapter_is_copied():
    model = SSLAMForAudioClassification(SSLAMConfig(**SSLAM, num_labels=3))
    copy = merged(model)
    assert copy is not model
    assert all(torch.equal(a, b) for a, b in zip(copy.parameters(), model.parameters(), strict=True))
