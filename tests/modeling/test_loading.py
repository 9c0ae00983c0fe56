"""Loading by the Auto classes as large models are loaded: shards, other types, devices."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForAudioClassification,
    AutoModelForAudioFrameClassification,
    AutoModelForPreTraining,
)

from builders import write_clip
from polyaudio import SSLAMConfig, SSLAMFeatureExtractor, embed, predict, probe


SETTINGS = {
    "sslam": {
        "hidden_size": 32,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "intermediate_size": 64,
        "max_time_patches": 16,
        "decoder_hidden_size": 16,
        "decoder_num_layers": 2,
        "decoder_groups": 4,
    },
    "sam_audio": {
        "feature_size": 16,
        "conv_dim": [32, 32, 32],
        "conv_kernel": [3, 3, 3],
        "conv_stride": [2, 2, 1],
        "num_attention_heads": 4,
        "num_segments": 4,
    },
}
AUTO_CLASSES = [AutoModel, AutoModelForPreTraining, AutoModelForAudioClassification]


@pytest.fixture(params=SETTINGS)
def config(request):
    return AutoConfig.for_model(request.param, **SETTINGS[request.param], num_labels=3)


def make_model(config, auto_class=AutoModelForAudioClassification) -> torch.nn.Module:
    torch.manual_seed(0)
    return auto_class.from_config(config).eval()


def features(config, num_clips: int = 2) -> torch.Tensor:
    bins = config.num_mel_bins if config.model_type == "sslam" else config.feature_size
    return torch.randn(num_clips, 64, bins, generator=torch.Generator().manual_seed(1))


def logits(model, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    with torch.no_grad():
        return model(features(model.config).to(dtype)).logits


@pytest.mark.parametrize("auto_class", AUTO_CLASSES)
def test_shards(config, auto_class, tmp_path):
    model = make_model(config, auto_class)
    model.save_pretrained(tmp_path, max_shard_size="20KB")
    shards = sorted(tmp_path.glob("model-*-of-*.safetensors"))
    assert len(shards) > 2
    assert (tmp_path / "model.safetensors.index.json").is_file()
    saved = {name: weight for shard in shards for name, weight in load_file(shard).items()}
    loaded, info = auto_class.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(info.values())
    for name, weight in saved.items():
        assert torch.equal(loaded.state_dict()[name], weight)
    assert all(torch.equal(loaded.state_dict()[name], weight) for name, weight in model.state_dict().items())


@pytest.mark.parametrize("auto_class", AUTO_CLASSES)
def test_bfloat16(config, auto_class, tmp_path):
    model = make_model(config, auto_class)
    model.save_pretrained(tmp_path, max_shard_size="20KB")
    for dtype in ("bfloat16", torch.bfloat16):
        loaded = auto_class.from_pretrained(tmp_path, dtype=dtype)
        assert loaded.dtype == torch.bfloat16
        types = {name.split(".")[0]: weight.dtype for name, weight in loaded.named_parameters()}
        assert types.pop("teacher", torch.float32) == torch.float32  # too slow a mover for bfloat16
        assert set(types.values()) == {torch.bfloat16}
    if auto_class is AutoModelForAudioClassification:
        torch.testing.assert_close(logits(loaded, torch.bfloat16).float(), logits(model), atol=0.1, rtol=0.1)
        loaded.save_pretrained(tmp_path / "half")
        assert auto_class.from_pretrained(tmp_path / "half").dtype == torch.bfloat16  # as it was saved
        assert auto_class.from_pretrained(tmp_path / "half", dtype="float32").dtype == torch.float32


def test_device_map(config, tmp_path):
    model = make_model(config)
    model.save_pretrained(tmp_path, max_shard_size="20KB")
    loaded = AutoModelForAudioClassification.from_pretrained(tmp_path, device_map="auto")
    torch.testing.assert_close(logits(loaded).cpu(), logits(model), atol=1e-5, rtol=0)
    half = AutoModelForAudioClassification.from_pretrained(tmp_path, device_map="auto", dtype="bfloat16")
    assert half.dtype == torch.bfloat16


def test_what_does_not_fit_stays_on_disk(config, tmp_path):
    model = make_model(config)
    model.save_pretrained(tmp_path / "model")
    bytes_of_model = 4 * model.num_parameters()
    loaded = AutoModelForAudioClassification.from_pretrained(
        tmp_path / "model",
        device_map="auto",
        max_memory={"cpu": bytes_of_model * 9 // 10},
        offload_folder=tmp_path / "offload",
    )
    assert {"cpu", "disk"} == set(loaded.hf_device_map.values())
    torch.testing.assert_close(logits(loaded), logits(model), atol=1e-5, rtol=0)


def test_only_safetensors_are_written_and_a_pickle_is_not_preferred(config, tmp_path):
    make_model(config).save_pretrained(tmp_path)
    assert {path.suffix for path in tmp_path.iterdir()} == {".json", ".py", ".safetensors"}
    (tmp_path / "pytorch_model.bin").write_bytes(b"no pickle")
    assert Path(tmp_path, "model.safetensors").is_file()
    AutoModelForAudioClassification.from_pretrained(tmp_path)


CLIPS, FRAMES = AutoModelForAudioClassification, AutoModelForAudioFrameClassification


@pytest.fixture
def saved(tmp_path):
    """Saves a small SSLAM model of an Auto class."""

    def save(auto_class, name: str = "model") -> Path:
        auto_class.from_config(SSLAMConfig(**SETTINGS["sslam"], num_labels=3)).save_pretrained(tmp_path / name)
        SSLAMFeatureExtractor(max_length=256).save_pretrained(tmp_path / name)
        return tmp_path / name

    return save


@pytest.mark.parametrize(("own", "other"), [(CLIPS, FRAMES), (FRAMES, CLIPS)])
def test_a_classifier_for_another_task_is_refused(own, other, saved, tmp_path):
    folder = saved(own)
    assert own.from_pretrained(folder).num_labels == 3
    with pytest.raises(ValueError, match=f"Load it with {own.__name__}"):
        other.from_pretrained(folder)
    with pytest.raises(ValueError, match=f"Load it with {own.__name__}"):
        other.from_pretrained(folder, config=AutoConfig.from_pretrained(folder), ignore_mismatched_sizes=True)
    # What the message says: the encoder alone loads into either
    AutoModel.from_pretrained(folder).save_pretrained(tmp_path / "encoder")
    transferred = other.from_pretrained(tmp_path / "encoder", num_labels=3)
    for name, weight in own.from_pretrained(folder).base_model.state_dict().items():
        assert torch.equal(weight, transferred.base_model.state_dict()[name])


@pytest.mark.parametrize("source", [AutoModel, AutoModelForPreTraining])
@pytest.mark.parametrize("auto_class", [CLIPS, FRAMES, AutoModelForPreTraining, AutoModel])
def test_an_encoder_loads_for_any_task(source, auto_class, saved):
    assert auto_class.from_pretrained(saved(source)) is not None


@pytest.mark.parametrize("use", [predict, embed, lambda clips, model: probe(model, clips.parent, folds=2)])
def test_broken_weights_are_refused(use, saved, tmp_path):
    folder = saved(CLIPS)
    weights = load_file(folder / "model.safetensors")
    weights["sslam.layers.0.mlp.fc1.bias"][3] = float("nan")
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    for index in range(8):
        write_clip(tmp_path / "clips" / "ab"[index % 2] / f"{index}.wav")
    with pytest.raises(ValueError, match=r"weights of .* are broken: .*layers\.0\.mlp\.fc1\.bias"):
        use(tmp_path / "clips" / "a", str(folder))
