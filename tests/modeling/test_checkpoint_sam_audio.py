"""Original checkpoints give the original's numbers. The golden data was recorded from the original implementation."""

import json
import pickle
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoFeatureExtractor, AutoModelForAudioClassification

import polyaudio  # noqa: F401  registers the model type
from polyaudio.modeling.checkpoint_io import UnsafeCheckpointError, read_torch_checkpoint
from polyaudio.modeling.checkpoint_sam_audio import convert_sam_carnatic_state_dict
from polyaudio.modeling.conversion import FILE_FORMATS
from polyaudio.modeling.conversion import convert as convert_checkpoint
from polyaudio.scripts.convert import main as convert


FOLDERS = ["mel", "raw_batchnorm"]

LOSSES = {
    "classification_loss": "classification_loss",
    "masked_segment_loss": "masked_lm_loss",
    "contrastive_loss": "contrastive_loss",
    "loss": "total_loss",
}


@pytest.fixture(params=FOLDERS)
def golden(request, reference, tmp_path):
    """A converted checkpoint as a user loads it, with what the original computed from it."""
    folder = reference / "sam_audio" / request.param
    assert convert([str(folder / "best_model.pth"), "--output", str(tmp_path)]) == 0
    model = AutoModelForAudioClassification.from_pretrained(tmp_path)
    return model, AutoFeatureExtractor.from_pretrained(tmp_path), load_file(folder / "golden.safetensors")


def test_features_and_logits_are_the_originals(golden, assert_same_energies):
    model, feature_extractor, expected = golden
    features = feature_extractor(expected["waveform"], sampling_rate=16000, return_tensors="pt")
    if "log_mel" in expected:
        assert_same_energies(features.input_values.transpose(1, 2), expected["log_mel"])
    with torch.no_grad():
        outputs = model.sam_audio(features.input_values)
        logits = model(**features).logits
    torch.testing.assert_close(outputs.encoder_last_hidden_state, expected["encoder_features"], atol=1e-4, rtol=0)
    torch.testing.assert_close(outputs.last_hidden_state, expected["segment_representations"], atol=1e-4, rtol=0)
    torch.testing.assert_close(logits, expected["logits"], atol=1e-4, rtol=0)


@pytest.mark.parametrize("attn_implementation", ["eager", "sdpa"])
@pytest.mark.parametrize("with_mask", [False, True])
def test_losses_and_gradients_are_the_originals(golden, attn_implementation, with_mask):
    model, feature_extractor, expected = golden
    model.set_attn_implementation(attn_implementation)
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    for layer in model.sam_audio.layers:
        layer.attention.attention_dropout = 0.0
    model.train()
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm1d):
            module.eval()  # the golden losses were taken on the running statistics

    features = feature_extractor(expected["waveform"], sampling_rate=16000, return_tensors="pt")
    hidden = torch.zeros(expected["encoder_features"].shape[:2], dtype=torch.bool)
    hidden.scatter_(1, expected["mask_indices"], True)
    outputs = model(
        features.input_values,
        attention_mask=features.attention_mask if with_mask else None,
        mask_time_indices=hidden,
        labels=expected["labels"],
    )
    for ours, theirs in LOSSES.items():
        torch.testing.assert_close(outputs[ours], expected[theirs], rtol=1e-4, atol=0)

    outputs.loss.backward()
    gradients = {name: parameter.grad for name, parameter in model.named_parameters()}
    norm = torch.stack([gradient.square().sum() for gradient in gradients.values()]).sum().sqrt()
    torch.testing.assert_close(norm, expected["grad_norm"], rtol=1e-3, atol=0)
    recorded = {name.removeprefix("grad."): value for name, value in expected.items() if name.startswith("grad.")}
    assert len(recorded) == 5
    for name, value in convert_sam_carnatic_state_dict(recorded).items():
        torch.testing.assert_close(gradients[name], value, rtol=1e-3, atol=1e-3 * float(value.abs().max()))


def test_converted_folder_has_the_given_labels(reference, tmp_path, capsys):
    checkpoint = str(reference / "sam_audio" / "raw_batchnorm" / "best_model.pth")
    labels = ["Kalyani", "Todi", "Varali", "Hamsanadam", "Sindhubhairavi"]
    assert convert([checkpoint, "--output", str(tmp_path), "--labels", *labels]) == 0
    config = AutoModelForAudioClassification.from_pretrained(tmp_path).config
    assert [config.id2label[i] for i in range(5)] == labels
    assert config.label2id["Varali"] == 2
    assert convert([checkpoint, "--output", str(tmp_path), "--labels", "Kalyani", "Todi"]) == 2
    assert "5 classes, but 2 labels" in capsys.readouterr().err


def test_weights_alone_convert_with_the_original_config(reference, tmp_path):
    """`final_model.pth` holds no settings, so the stride must come from the original's config.yaml."""
    checkpoint = torch.load(reference / "sam_audio" / "raw_batchnorm" / "best_model.pth", weights_only=True)
    torch.save(checkpoint["model_state_dict"], tmp_path / "final_model.pth")
    (tmp_path / "config.yaml").write_text("stride: 4\ndropout_rate: 0.25\n")
    arguments = [str(tmp_path / "final_model.pth"), "--output", str(tmp_path / "model")]
    assert convert([*arguments, "--original-config", str(tmp_path / "config.yaml")]) == 0
    model = AutoModelForAudioClassification.from_pretrained(tmp_path / "model")
    assert model.config.conv_stride == [4, 4, 4, 4]
    expected = load_file(reference / "sam_audio" / "raw_batchnorm" / "golden.safetensors")
    with torch.no_grad():
        torch.testing.assert_close(model(expected["waveform"]).logits, expected["logits"], atol=1e-4, rtol=0)


def test_unknown_weights_are_an_error(reference):
    checkpoint = torch.load(reference / "sam_audio" / "mel" / "best_model.pth", weights_only=True)
    with pytest.raises(ValueError, match="speaker_embedding"):
        convert_sam_carnatic_state_dict({**checkpoint["model_state_dict"], "speaker_embedding": torch.zeros(1)})


class RunsACommand:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (subprocess.call, ([sys.executable, "-c", f"open({str(self.path)!r}, 'w')"],))


def test_a_malicious_pickle_is_refused_and_nothing_runs(tmp_path):
    ran = tmp_path / "ran"
    torch.save({"model_state_dict": {}, "payload": RunsACommand(ran)}, tmp_path / "zip.pth")
    (tmp_path / "bare.pth").write_bytes(pickle.dumps({"model_state_dict": {}, "payload": RunsACommand(ran)}))
    for name in ("zip.pth", "bare.pth"):
        with pytest.raises(UnsafeCheckpointError, match="refused"):
            read_torch_checkpoint(tmp_path / name)
        assert convert([str(tmp_path / name), "--output", str(tmp_path / "model")]) == 2
    assert not ran.exists()


def test_what_is_no_checkpoint_is_an_error(tmp_path, capsys):
    (tmp_path / "notes.pth").write_text("not a checkpoint")
    assert convert([str(tmp_path / "notes.pth"), "--output", str(tmp_path / "model")]) == 2
    torch.save({"weight": torch.zeros(1)}, tmp_path / "other.pth")
    assert convert([str(tmp_path / "other.pth"), "--output", str(tmp_path / "model")]) == 2
    assert convert([str(tmp_path / "missing.pth"), "--output", str(tmp_path / "model")]) == 2
    errors = capsys.readouterr().err.splitlines()
    assert len([line for line in errors if line.startswith("polyaudio convert:")]) == 3


def test_convert_from_python(reference, tmp_path, capsys):
    checkpoint = reference / "sam_audio" / "mel" / "best_model.pth"
    conversion = convert_checkpoint(checkpoint, tmp_path / "model", labels=[*"abcdefgh"])
    assert (conversion.folder, conversion.model_class) == (tmp_path / "model", "SAMAudioForAudioClassification")
    assert conversion.labels == [*"abcdefgh"]
    model = AutoModelForAudioClassification.from_pretrained(conversion.folder)
    assert conversion.num_parameters == model.num_parameters()
    state_dict = torch.load(checkpoint, weights_only=True)["model_state_dict"]
    assert conversion.keys.keys() == state_dict.keys()
    renamed = {fate.removeprefix("renamed to ") for fate in conversion.keys.values() if fate.startswith("renamed")}
    assert renamed == model.state_dict().keys()
    assert conversion.keys["audio_encoder.mel_transform.mel_scale.fb"].startswith("dropped: ")
    assert json.loads(conversion.report.read_text())["keys"] == conversion.keys
    assert capsys.readouterr().out == ""


def test_an_original_config_without_settings_is_an_error(reference, tmp_path):
    checkpoint = reference / "sam_audio" / "mel" / "best_model.pth"
    (tmp_path / "config.yaml").write_text("- stride\n")
    with pytest.raises(ValueError, match="has no settings"):
        convert_checkpoint(checkpoint, tmp_path / "model", original_config=tmp_path / "config.yaml")
    assert not (tmp_path / "model").exists()


def test_one_format_recognises_each_file(reference):
    for path in ("sam_audio/mel/best_model.pth", "sslam/finetuned.pt", "sslam/pretrained.pt"):
        checkpoint = read_torch_checkpoint(reference / path)
        assert sum(one.recognise(checkpoint) for one in FILE_FORMATS) == 1
