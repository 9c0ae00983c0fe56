# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""SAMAudio over another encoder: SSLAM and the audio encoders of transformers in place of the convolutions."""

import json
import os
import subprocess

import numpy as np
import pytest
import torch
from transformers import (
    MODEL_MAPPING,
    ASTConfig,
    ASTFeatureExtractor,
    AutoConfig,
    AutoFeatureExtractor,
    AutoModel,
    AutoModelForAudioClassification,
    BertConfig,
    ClapAudioConfig,
    EncodecConfig,
    Wav2Vec2FeatureExtractor,
    WhisperConfig,
    WhisperFeatureExtractor,
    pipeline,
)

from builders import SSLAM, TONES, seeded, write_tones
from hub_server import WRITE_TOKEN, HubServer
from polyaudio import (
    SAMAudioConfig,
    SAMAudioForAudioClassification,
    SAMAudioForPreTraining,
    SAMAudioModel,
    SSLAMConfig,
    SSLAMFeatureExtractor,
    SSLAMForPreTraining,
    SSLAMModel,
)
from polyaudio.modeling.loading import make_feature_extractor
from polyaudio.modeling.traits import traits_of
from polyaudio.training.frozen import freeze_encoder
from polyaudio.training.lora import add_lora, lora_config
from prepared_python import WITHOUT_POLYAUDIO, python


SEGMENTS = {"num_segments": 4, "num_attention_heads": 4, "projection_dim": 8, "num_labels": 3}
TRANSFORMER = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
# Strides and kernels such that an encoder frame is 320 samples and needs 400, as in the published models
WAVEFORM = {
    **TRANSFORMER,
    "conv_dim": (16, 16, 16),
    "conv_kernel": (10, 15, 9),
    "conv_stride": (5, 8, 8),
    "num_feat_extract_layers": 3,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 2,
    "mask_time_prob": 0.0,
    "layerdrop": 0.0,
}
LAYER_NORM = {**WAVEFORM, "feat_extract_norm": "layer", "do_stable_layer_norm": True}
WHISPER = WhisperConfig(
    d_model=32,
    encoder_layers=2,
    encoder_attention_heads=4,
    encoder_ffn_dim=64,
    decoder_layers=1,
    decoder_attention_heads=2,
    decoder_ffn_dim=32,
    num_mel_bins=16,
    max_source_positions=50,
    vocab_size=8,
    pad_token_id=0,
    bos_token_id=1,
    eos_token_id=2,
    decoder_start_token_id=1,
)
# Encoders whose clips are the same alone and in a padded batch
WAVEFORM_ENCODERS = {
    "wav2vec2": LAYER_NORM,
    "hubert": LAYER_NORM,
    "wavlm": LAYER_NORM,
    "unispeech": LAYER_NORM,
    "unispeech-sat": LAYER_NORM,
    "sew": {**LAYER_NORM, "squeeze_factor": 2},
    "sew-d": {**WAVEFORM, "feat_extract_norm": "layer", "squeeze_factor": 2},
    "data2vec-audio": WAVEFORM,
}
ENCODERS = {
    "sslam": SSLAMConfig(**SSLAM),
    "audio-spectrogram-transformer": ASTConfig(**TRANSFORMER, num_mel_bins=32, max_length=64),
    "whisper": WHISPER,
    "wav2vec2-bert": AutoConfig.for_model("wav2vec2-bert", **TRANSFORMER, feature_projection_input_dim=20),
    **{name: AutoConfig.for_model(name, **settings) for name, settings in WAVEFORM_ENCODERS.items()},
}


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def config_over(encoder="sslam", **settings) -> SAMAudioConfig:
    return SAMAudioConfig(encoder_config=ENCODERS[encoder], **{**SEGMENTS, **settings})


def input_of(encoder: str, num_clips: int = 2) -> torch.Tensor:
    sizes = {
        "sslam": (70, 128),
        "audio-spectrogram-transformer": (64, 32),
        "whisper": (16, 100),
        "wav2vec2-bert": (60, 20),
    }
    return torch.randn(num_clips, *sizes.get(encoder, (4000,)), generator=seeded())


def without_padding_and_with(encoder: str) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """A clip, a batch of a longer clip and this one with zeros after it, and the mask of the batch."""
    batch = input_of(encoder)
    length = batch.shape[1] // 2
    mask = torch.ones(batch.shape[:2], dtype=torch.long)
    mask[1, length:] = 0
    batch[1, length:] = 0.0
    return batch[1:, :length], batch, mask


PADDED = sorted(set(ENCODERS) - {"audio-spectrogram-transformer", "whisper", "data2vec-audio"})
WITH_SDPA = [encoder for encoder in PADDED if MODEL_MAPPING[type(ENCODERS[encoder])]._supports_sdpa]


@pytest.mark.parametrize(
    ("encoder", "attn_implementation"),
    [*((encoder, "eager") for encoder in PADDED), *((encoder, "sdpa") for encoder in WITH_SDPA)],
)
def test_a_clip_alone_equals_the_clip_in_a_padded_batch(encoder, attn_implementation):
    model = SAMAudioForAudioClassification(config_over(encoder)).eval()
    model.set_attn_implementation(attn_implementation)
    clip, batch, mask = without_padding_and_with(encoder)
    with torch.no_grad():
        together, alone = model(batch, attention_mask=mask), model(clip)
        frames, frame_mask = model.sam_audio.get_frame_features(batch, mask)
        expected = model.sam_audio.get_frame_features(clip)[0]
    torch.testing.assert_close(together.logits[1], alone.logits[0], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(frames[1][frame_mask[1]], expected[0], atol=1e-5, rtol=1e-5)
    assert torch.equal(model.sam_audio.get_frame_mask(mask), frame_mask)


@pytest.mark.parametrize("encoder", sorted(ENCODERS))
def test_it_trains_and_is_saved_and_loaded(encoder, tmp_path):
    config = config_over(encoder, hidden_size=16, num_hidden_layers=2)
    model = SAMAudioForAudioClassification(config)
    outputs = model(input_of(encoder), labels=torch.tensor([0, 1]))
    outputs.loss.backward()
    assert outputs.masked_segment_loss > 0
    assert outputs.contrastive_loss > 0
    without = {name for name, weight in model.named_parameters() if weight.grad is None and weight.requires_grad}
    assert without <= {"sam_audio.encoder.model.masked_spec_embed"}

    model.save_pretrained(tmp_path)
    loaded = AutoModelForAudioClassification.from_pretrained(tmp_path)
    assert loaded.config.encoder_config.model_type == encoder
    assert type(loaded.config.encoder_config) is type(ENCODERS[encoder])
    own = loaded.state_dict()
    assert all(torch.equal(own.pop(name), weight) for name, weight in model.state_dict().items())
    assert own == {}
    with torch.no_grad():
        expected, logits = (one.eval()(input_of(encoder)).logits for one in (model, loaded))
    assert torch.equal(expected, logits)


@pytest.mark.parametrize("encoder", sorted(ENCODERS))
def test_it_starts_from_the_weights_of_an_encoder(encoder, tmp_path):
    pretrained = AutoModel.from_config(ENCODERS[encoder])
    pretrained.save_pretrained(tmp_path)
    model = SAMAudioModel.from_encoder(tmp_path, num_segments=4, num_attention_heads=4)
    expected = (pretrained.get_encoder() if encoder == "whisper" else pretrained).state_dict()
    weights = model.encoder.model.state_dict()
    assert weights.keys() == expected.keys()
    assert all(torch.equal(weights[name], weight) for name, weight in expected.items())
    assert str(tmp_path) not in model.config.to_json_string()


def test_it_starts_from_a_checkpoint_in_the_published_layout(reference):
    folder = reference / "hub_eat" / "pretrained"
    expected = AutoModel.from_pretrained(folder)
    for encoder in (folder, expected):
        model = SAMAudioModel.from_encoder(encoder, num_segments=4, num_attention_heads=4)
        assert model.config.encoder_config.model_type == "sslam"
        weights = model.encoder.model.state_dict()
        assert all(torch.equal(weights[name], weight) for name, weight in expected.state_dict().items())
    config = SAMAudioConfig(encoder_config=json.loads((folder / "config.json").read_text()), **SEGMENTS)
    assert config.encoder_config.model_type == "sslam"


def test_the_heads_of_an_encoder_are_left_out(tmp_path):
    small = {"decoder_hidden_size": 16, "decoder_num_layers": 2, "decoder_groups": 4}
    pretrained = SSLAMForPreTraining(SSLAMConfig(**SSLAM, **small))
    pretrained.save_pretrained(tmp_path)
    for encoder in (tmp_path, pretrained):
        model = SAMAudioForPreTraining.from_encoder(encoder, **SEGMENTS)
        own = model.sam_audio.encoder.model.state_dict()
        assert all(torch.equal(own[name], weight) for name, weight in pretrained.sslam.state_dict().items())


def test_the_frames_are_the_means_over_the_mel_patches():
    model = SAMAudioModel(config_over("audio-spectrogram-transformer")).eval()
    mel = input_of("audio-spectrogram-transformer")
    with torch.no_grad():
        frames, mask = model.get_frame_features(mel)
        tokens = model.encoder.model(mel).last_hidden_state[:, 2:]
    assert mask is None
    # AST counts time fastest: 5 patches of 16 frames, 10 apart, and as many as two of 16 mel bins
    expected = torch.stack([tokens[:, [time, time + 5]].mean(1) for time in range(5)], dim=1)
    torch.testing.assert_close(frames, expected)

    sslam = SAMAudioModel(config_over()).eval()
    with torch.no_grad():
        frames = sslam(input_of("sslam")).encoder_last_hidden_state
        tokens = sslam.encoder.model(input_of("sslam")).last_hidden_state[:, 1:]
    torch.testing.assert_close(frames, tokens.unflatten(1, (5, 8)).mean(2))


def test_a_configuration_is_a_dictionary_or_one_of_transformers():
    given = SSLAMConfig(**SSLAM)
    configs = [SAMAudioConfig(encoder_config=one, **SEGMENTS) for one in (given, given.to_dict())]
    assert configs[0].to_dict() == configs[1].to_dict()
    assert configs[0].encoder_config is not given  # it is changed with the model
    assert (configs[0].hidden_size, configs[0].window_frames, configs[0].frontend) == (32, 256, None)
    again = SAMAudioConfig.from_dict(json.loads(configs[0].to_json_string()))
    assert again.to_dict() == configs[0].to_dict()
    assert SAMAudioConfig().encoder_config is None


@pytest.mark.parametrize(
    ("encoder", "settings", "message"),
    [
        ({"model_type": "nonsense"}, {}, "'nonsense'"),
        ({"hidden_size": 32}, {}, "`model_type` of an audio encoder"),
        ({"model_type": "sslam", "num_hidden_layers": 10**9}, {}, "`num_hidden_layers` must be from"),
        ({"model_type": "wav2vec2", "num_hidden_layers": 10**9}, {}, "`num_hidden_layers` must be from"),
        ({"model_type": "whisper", "encoder_layers": 10**9}, {}, "`encoder_layers` must be from"),
        (SAMAudioConfig(), {}, "must not be that of a SAMAudio model"),
        (SAMAudioConfig().to_dict(), {}, "must not be that of a SAMAudio model"),
        ({"model_type": "univnet"}, {}, "must have a `hidden_size`"),
        (ENCODERS["sslam"], {"frontend": "waveform"}, "leave out `frontend`"),
        (ENCODERS["sslam"], {"window_frames": 272}, "at most 256"),
        (ENCODERS["sslam"], {"window_frames": 100}, "multiple of 16"),
        (ENCODERS["sslam"], {"num_attention_heads": 5}, "multiple of `num_attention_heads`"),
    ],
)
def test_wrong_configurations_are_refused(encoder, settings, message):
    with pytest.raises(Exception, match=message):
        SAMAudioConfig(encoder_config=encoder, **settings)


def test_models_that_give_no_frames_are_refused():
    with pytest.raises(ValueError, match="must be that of an audio encoder, but BertModel takes `input_ids`"):
        SAMAudioModel(SAMAudioConfig(encoder_config=BertConfig(**TRANSFORMER, vocab_size=8), **SEGMENTS))
    with pytest.raises(ValueError, match="that AutoModel makes, but ClapAudioConfig is none"):
        SAMAudioModel(SAMAudioConfig(encoder_config=ClapAudioConfig(), **SEGMENTS))
    codec = EncodecConfig(hidden_size=32, num_filters=4, codebook_size=8)
    model = SAMAudioModel(SAMAudioConfig(encoder_config=codec, **SEGMENTS)).eval()
    with pytest.raises(ValueError, match="a sequence of frames, which that of EncodecModel is not"):
        model(torch.randn(1, 1, 2_000))


@pytest.mark.parametrize(
    ("encoder", "clips", "message"),
    [
        ("wav2vec2", torch.randn(1, 399), "at least 400 samples, got 399"),
        ("audio-spectrogram-transformer", torch.randn(1, 70, 32), "clips of 64 frames, got 70"),
        ("sslam", torch.randn(1, 257, 128), "position table ends at"),
        ("sslam", torch.randn(1, 64, 80), r"must have the shape \(batch_size, num_frames, 128\)"),
    ],
)
def test_clips_that_do_not_fit_the_encoder_are_refused(encoder, clips, message):
    model = SAMAudioModel(config_over(encoder)).eval()
    with pytest.raises(ValueError, match=message):
        model(clips)


def test_masks_and_inputs_that_do_not_fit_are_refused():
    model = SAMAudioForAudioClassification(config_over("wav2vec2")).eval()
    with pytest.raises(ValueError, match=r"`attention_mask` must have the shape \(2, 4000\)"):
        model(input_of("wav2vec2"), attention_mask=torch.ones(2, 100))
    with pytest.raises(ValueError, match="either `input_values` or `input_features`"):
        model()
    model = SAMAudioForAudioClassification(config_over("audio-spectrogram-transformer")).eval()
    mask = torch.ones(2, 64)
    model(input_of("audio-spectrogram-transformer"), attention_mask=mask)
    mask[1, 60:] = 0
    with pytest.raises(ValueError, match="does not return which frames are padding"):
        model(input_of("audio-spectrogram-transformer"), attention_mask=mask)
    model = SAMAudioForAudioClassification(config_over("whisper", window_frames=100)).eval()
    with pytest.raises(ValueError, match="Set `window_frames` to 0"):
        model(input_of("whisper"))


def test_long_clips_are_cut_into_the_windows_of_the_encoder():
    model = SAMAudioForAudioClassification(config_over(window_frames=64)).eval()
    clip = torch.randn(1, 150, 128, generator=seeded())
    with torch.no_grad():
        logits = model(clip).logits
        windows = [model(part).logits.softmax(-1) for part in clip.split(64, dim=1)]
    weights = torch.tensor([64, 64, 22]) / 150
    expected = sum(weight * one for weight, one in zip(weights, windows, strict=True))
    torch.testing.assert_close(logits.softmax(-1), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("encoder", ["sslam", "wav2vec2"])
def test_pretraining_learns(encoder):
    model = SAMAudioForPreTraining(config_over(encoder))
    model.freeze_feature_encoder()
    optimizer = torch.optim.Adam([weight for weight in model.parameters() if weight.requires_grad], lr=0.01)
    losses = []
    for _ in range(8):
        loss = model(input_of(encoder, 4)).loss
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert losses[-1] < 0.9 * losses[0]


def test_hidden_states_and_attentions_are_those_of_the_segments():
    model = SAMAudioModel(config_over(num_hidden_layers=2)).eval()
    model.set_attn_implementation("eager")
    with torch.no_grad():
        outputs = model(input_of("sslam"), output_hidden_states=True, output_attentions=True)
    assert [tuple(one.shape) for one in outputs.hidden_states] == [(2, 4, 32)] * 3
    assert [tuple(one.shape) for one in outputs.attentions] == [(2, 4, 4, 5)] * 2


@pytest.mark.parametrize("encoder", ["sslam", "wav2vec2"])
def test_checkpointing_reaches_the_encoder_and_changes_nothing(encoder, enable_activation_checkpointing):
    model = SAMAudioForAudioClassification(config_over(encoder, attention_probs_dropout_prob=0.0)).train()
    for module in model.modules():
        for name in ("p", "dropout", "attention_dropout"):
            if isinstance(getattr(module, name, None), float):
                setattr(module, name, 0.0)
    model.config.mask_weight = 0.0
    gradients = []
    for checkpointed in (False, True):
        if checkpointed:
            enable_activation_checkpointing(model)
            layers = [one for one in model.sam_audio.encoder.modules() if getattr(one, "gradient_checkpointing", None)]
            assert layers
        model.zero_grad()
        torch.manual_seed(0)
        model(input_of(encoder), labels=torch.tensor([0, 1])).loss.backward()
        weights = {name: weight for name, weight in model.named_parameters() if weight.grad is not None}
        gradients.append({name: weight.grad.clone() for name, weight in weights.items()})
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient, atol=1e-5, rtol=1e-4, msg=name)


def test_it_loads_in_half_precision(tmp_path):
    SAMAudioForAudioClassification(config_over()).save_pretrained(tmp_path)
    model = SAMAudioForAudioClassification.from_pretrained(tmp_path, dtype=torch.bfloat16).eval()
    assert {weight.dtype for weight in model.parameters()} == {torch.bfloat16}
    with torch.no_grad():
        assert model(input_of("sslam")).logits.dtype == torch.bfloat16
    fresh = SAMAudioForAudioClassification(model.config)  # the configuration now says bfloat16
    assert {weight.dtype for weight in fresh.parameters()} == {torch.float32}


@pytest.mark.parametrize("encoder", ["sslam", "wav2vec2"])
def test_freezing_leaves_the_segments_to_train(encoder):
    model = SAMAudioForAudioClassification(config_over(encoder, hidden_size=16))
    freeze_encoder(model)
    trained = {name for name, weight in model.named_parameters() if weight.requires_grad}
    assert not any(name.startswith("sam_audio.encoder.model.") for name in trained)
    for name in ("sam_audio.segment_tokens", "sam_audio.encoder.projection.weight", "classifier.dense.weight"):
        assert name in trained


LORA = [name for name in sorted(ENCODERS) if name not in ("sew-d", "wav2vec2-bert")]


@pytest.mark.parametrize("encoder", LORA)
def test_lora_adapts_the_encoder_and_trains_the_segments(encoder, tmp_path):
    """All parts that can be adapted get gradients: WavLM's attention, for example, does not call its projections."""
    model = SAMAudioForAudioClassification(config_over(encoder, hidden_size=16))
    model.save_pretrained(tmp_path / "base")
    parts = traits_of(model.config).lora_modules
    adapted = add_lora(model, lora_config(model, list(parts), rank=2), str(tmp_path / "base"))
    for name, weight in adapted.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight)
    adapted(input_of(encoder), labels=torch.tensor([0, 1])).loss.backward()
    trained = {name: weight.grad for name, weight in adapted.named_parameters() if weight.requires_grad}
    adapters = {name: gradient for name, gradient in trained.items() if "lora" in name}
    assert all(gradient is not None and gradient.abs().sum() > 0 for gradient in adapters.values())
    assert all("sam_audio.encoder.model." in name for name in adapters)
    for part in ("sam_audio.layers.0", "sam_audio.encoder.projection", "objectives", "classifier"):
        assert any(f"{part}.modules_to_save" in name for name in trained), part

    adapted.save_pretrained(tmp_path / "adapter")
    loaded = AutoModelForAudioClassification.from_pretrained(tmp_path / "adapter").eval()
    with torch.no_grad():
        torch.testing.assert_close(loaded(input_of(encoder)).logits, adapted.eval()(input_of(encoder)).logits)


EXTRACTORS = {
    "sslam": SSLAMFeatureExtractor(max_length=64),
    "wav2vec2": Wav2Vec2FeatureExtractor(return_attention_mask=True),
    "audio-spectrogram-transformer": ASTFeatureExtractor(num_mel_bins=32, max_length=64),
    "whisper": WhisperFeatureExtractor(feature_size=16, chunk_length=1),
}


@pytest.mark.parametrize("encoder", sorted(EXTRACTORS))
def test_a_pipeline_uses_the_feature_extractor_of_the_encoder(encoder, tmp_path):
    model = SAMAudioForAudioClassification(config_over(encoder)).eval()
    model.save_pretrained(tmp_path)
    EXTRACTORS[encoder].save_pretrained(tmp_path)
    waveform = np.random.default_rng(0).uniform(-0.5, 0.5, 8_000).astype(np.float32)
    answers = pipeline("audio-classification", model=str(tmp_path))(waveform)
    inputs = AutoFeatureExtractor.from_pretrained(tmp_path)(waveform, sampling_rate=16_000, return_tensors="pt")
    with torch.no_grad():
        expected = model(**inputs).logits[0].softmax(-1)
    scores = {answer["label"]: answer["score"] for answer in answers}
    assert scores == pytest.approx({f"LABEL_{index}": score for index, score in enumerate(expected.tolist())})


def test_what_concerns_the_input_is_as_for_the_encoder():
    config = config_over()
    own, sslam = traits_of(config), traits_of(config.encoder_config)
    extractor = make_feature_extractor(config, {})
    assert type(extractor) is SSLAMFeatureExtractor
    assert extractor.max_length == 256
    assert type(own.default_extractor(config)) is SSLAMFeatureExtractor
    assert own.window_grid(config, extractor) == sslam.window_grid(config.encoder_config, extractor)
    assert own.frame_seconds(config, extractor) == 0.16
    own.fit_to_crops(extractor, config, 1.0, keep_padding=False)
    assert (config.window_frames, config.encoder_config.window_frames, extractor.max_length) == (112, 112, 112)
    own.set_window(config, own.window_grid(config, extractor, 0.5))
    assert config.window_frames == config.encoder_config.window_frames == 64


@pytest.mark.parametrize(
    ("encoder", "samples", "frame_seconds"),
    [("audio-spectrogram-transformer", 63 * 160 + 400, 0.1), ("whisper", 16_000, 0.02), ("wav2vec2", None, 0.02)],
)
def test_encoders_of_one_length_get_windows_of_it(encoder, samples, frame_seconds):
    config, extractor = config_over(encoder), EXTRACTORS[encoder]
    traits = traits_of(config)
    grid = traits.window_grid(config, extractor)
    assert (None if grid is None else grid.size) == samples
    assert traits.reads_any_length == (samples is None)
    assert traits.frame_seconds(config, extractor) == pytest.approx(frame_seconds)
    if samples is not None:
        with pytest.raises(ValueError, match="crop_seconds=2 is longer"):
            traits.fit_to_crops(extractor, config, 2.0, keep_padding=False)
        with pytest.raises(ValueError, match="Use a shorter window"):
            traits.window_grid(config, extractor, 2.0)


OWNER = """
import sys
from pathlib import Path
from polyaudio.hub.push import Upload, push

for name in sys.argv[2:]:
    push(Upload(Path(sys.argv[1], name.partition("/")[2]), name))
"""

STRANGER = (
    WITHOUT_POLYAUDIO
    + """
import json
import torch
from transformers import AutoFeatureExtractor, AutoModelForAudioClassification, pipeline

report, clip = {}, torch.randn(8000, generator=torch.Generator().manual_seed(0)).numpy()
for name in sys.argv[2:]:
    try:
        AutoModelForAudioClassification.from_pretrained(name)
        refused = False
    except ValueError as error:
        refused = "trust_remote_code=True" in str(error)
    model = AutoModelForAudioClassification.from_pretrained(name, trust_remote_code=True)
    extractor = AutoFeatureExtractor.from_pretrained(name, trust_remote_code=True)
    again = sys.argv[1] + "/" + name
    model.save_pretrained(again)
    extractor.save_pretrained(again)
    scores = [
        {one["label"]: one["score"] for one in pipeline("audio-classification", folder, trust_remote_code=True)(clip)}
        for folder in (name, again)
    ]
    encoder = type(model.sam_audio.encoder.model).__module__.split(".")[0]
    report[name] = [refused, encoder, *scores]
report["loaded"] = [name for name in sys.modules if name.startswith("polyaudio")]
print("\\n" + json.dumps(report))
"""
)


def test_pushed_models_load_without_polyaudio_with_the_code_of_the_encoder(tmp_path):
    clip = torch.randn(8000, generator=seeded()).numpy()
    expected = {}
    for encoder in ("sslam", "wav2vec2"):
        folder = tmp_path / encoder
        SAMAudioForAudioClassification(config_over(encoder)).save_pretrained(folder)
        EXTRACTORS[encoder].save_pretrained(folder)
        code = {path.name for path in folder.glob("*.py")}
        assert "modeling_sam_audio.py" in code
        assert ("modeling_sslam.py" in code) == (encoder == "sslam")
        answers = pipeline("audio-classification", model=str(folder))(clip)
        expected[f"tester/{encoder}"] = {answer["label"]: answer["score"] for answer in answers}
    with HubServer() as hub:
        online = {"HF_ENDPOINT": hub.endpoint, "HF_TOKEN": WRITE_TOKEN, "HF_HUB_OFFLINE": "0"}
        online |= {"HF_HUB_DISABLE_XET": "1", "HF_HOME": str(tmp_path / "home")}
        for code in (OWNER, STRANGER):
            done = subprocess.run(
                [python("torch"), "-c", code, str(tmp_path), *expected],
                env={**os.environ, **online},
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
            )
            assert done.returncode == 0, done.stderr[-3000:]
    report = json.loads(done.stdout.splitlines()[-1])
    assert report.pop("loaded") == []
    for name, (refused, origin, *scores) in report.items():
        assert refused
        assert origin == ("transformers_modules" if name == "tester/sslam" else "transformers")
        for one in scores:
            assert one == pytest.approx(expected[name], abs=1e-6)


def test_training_from_the_command_line(tmp_path):
    from polyaudio.scripts.train import main

    write_tones(tmp_path / "tones", TONES, 6)
    encoder = SSLAMModel(SSLAMConfig(**SSLAM))
    encoder.save_pretrained(tmp_path / "encoder")
    EXTRACTORS["sslam"].save_pretrained(tmp_path / "encoder")
    words = ["--encoder", tmp_path / "encoder", "--dataset", tmp_path / "tones", "--output-dir", tmp_path / "run"]
    words += ["--epochs", 1, "--batch-size", 4, "--crop-seconds", 0.5, "--freeze-encoder", "--report-to", "none"]
    main([str(word) for word in words])
    model = AutoModelForAudioClassification.from_pretrained(tmp_path / "run")
    own = model.sam_audio.encoder.model.state_dict()
    assert all(torch.equal(own[name], weight) for name, weight in encoder.state_dict().items())
    assert type(AutoFeatureExtractor.from_pretrained(tmp_path / "run")) is SSLAMFeatureExtractor
    assert {
        answer["label"] for answer in pipeline("audio-classification", str(tmp_path / "run"))(np.zeros(8_000))
    } == {
        "high",
        "low",
    }
