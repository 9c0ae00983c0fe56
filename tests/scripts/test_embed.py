"""`polyaudio embed`: features of real files, in batches as alone, written once and never lost."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from safetensors.torch import load_file
from transformers import ASTConfig, ASTFeatureExtractor, ASTModel, Wav2Vec2Config, Wav2Vec2FeatureExtractor
from transformers import Wav2Vec2Model as Wav2Vec2

from polyaudio import (
    SAMAudioConfig,
    SAMAudioFeatureExtractor,
    SAMAudioForAudioClassification,
    SAMAudioModel,
    SSLAMConfig,
    SSLAMFeatureExtractor,
    SSLAMModel,
    load_audio,
)
from polyaudio.inference.clip_reader import ClipReader
from polyaudio.inference.feature_folder import FeatureFolder
from polyaudio.scripts.embed import main


SECONDS = {"a/x.wav": 1.0, "b/x.wav": 0.7, "b/x.flac": 1.3, "tick.wav": 0.019, "c.wav": 2.9, "d.wav": 0.5}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Recordings of several rates, mono and stereo, the shortest under one window of the feature extractors."""
    folder = tmp_path_factory.mktemp("recordings")
    rng = np.random.default_rng(0)
    for name, seconds in SECONDS.items():
        rate = {"b/x.wav": 44100, "b/x.flac": 8000, "tick.wav": 44100}.get(name, 16000)
        samples = 0.2 * rng.standard_normal(round(seconds * rate)).cumsum() / 30 + 0.05 * rng.standard_normal()
        if name in ("b/x.wav", "tick.wav"):
            samples = np.stack([samples, samples[::-1]], axis=1)
        (folder / name).parent.mkdir(exist_ok=True)
        soundfile.write(folder / name, np.clip(samples, -1, 1), rate)
    return folder


@pytest.fixture(scope="module")
def sslam(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("sslam")
    torch.manual_seed(0)
    config = SSLAMConfig(
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_time_patches=10,
        initializer_range=0.3,
    )
    SSLAMModel(config).save_pretrained(folder)
    SSLAMFeatureExtractor().save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def sam_audio(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("sam_audio")
    torch.manual_seed(0)
    config = SAMAudioConfig(conv_dim=[16, 32], conv_kernel=[3, 3], conv_stride=[4, 4], num_segments=4)
    SAMAudioForAudioClassification(config).save_pretrained(folder)
    SAMAudioFeatureExtractor().save_pretrained(folder)
    return folder


def embed(folder: Path, model: Path, output: Path, *arguments: str, code: int = 0) -> dict[str, np.ndarray]:
    """Run the command on all files of a folder and read what it wrote for each."""
    arguments = ("--granularity", "all", "--workers", "0", *arguments)  # of equal options the last one counts
    assert main([str(folder), "--model", str(model), "--output", str(output), *arguments]) == code
    return read(output)


def read(output: Path) -> dict[str, np.ndarray]:
    features = {}
    for path in output.rglob("*.npy"):
        features[path.relative_to(output).as_posix().removesuffix(".npy")] = np.load(path)
    for path in output.rglob("*.safetensors"):
        features[path.relative_to(output).as_posix().removesuffix(".safetensors")] = load_file(path)[
            "features"
        ].numpy()
    return features


def assert_near(features: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    assert features.keys() == expected.keys()
    for name, values in expected.items():
        assert features[name].dtype == np.float32
        np.testing.assert_allclose(features[name], values, atol=1e-4, rtol=0, err_msg=name)


# What the features are ----------------------------------------------------------------------------


@pytest.mark.parametrize("granularity", ["all", "frame", "utterance"])
def test_features_of_sslam(folder, sslam, tmp_path, granularity):
    features = embed(folder, sslam, tmp_path, "--granularity", granularity, "--batch-size", "4", "--window", "1.6")
    model, extractor = SSLAMModel.from_pretrained(sslam).eval(), SSLAMFeatureExtractor()

    def tokens_of(waveform: np.ndarray) -> torch.Tensor:
        inputs = extractor(waveform, sampling_rate=16000, padding="longest", return_tensors="pt")
        with torch.no_grad():
            return model(**inputs).last_hidden_state[0]

    expected = {}
    for name in SECONDS:
        waveform = load_audio(folder / name, 16000)
        if name == "c.wav":  # 2.9 s: 160 frames, which reach 15 ms beyond 1.6 s, and the rest from 1.6 s on
            first, rest = waveform[: 160 * 160 + 240], waveform[160 * 160 :]
            frames = 1 + (len(rest) - 400) // 160
            token = (tokens_of(first)[0] * 160 + tokens_of(rest)[0] * frames) / (160 + frames)
            tokens = torch.cat([token[None], tokens_of(first)[1:], tokens_of(rest)[1:]])
        else:
            tokens = tokens_of(waveform)
        time_patches = tokens[1:].unflatten(0, (-1, 8)).mean(1)
        expected[name] = {"all": tokens, "frame": time_patches, "utterance": tokens[0]}[granularity].numpy()
    assert_near(features, expected)
    assert expected["tick.wav"].shape == {"all": (9, 32), "frame": (1, 32), "utterance": (32,)}[granularity]


@pytest.mark.parametrize("granularity", ["all", "frame", "utterance"])
def test_features_of_sam_audio(folder, sam_audio, tmp_path, granularity):
    features = embed(folder, sam_audio, tmp_path, "--granularity", granularity, "--batch-size", "4")
    model, extractor = SAMAudioModel.from_pretrained(sam_audio).eval(), SAMAudioFeatureExtractor()
    field = {"all": "last_hidden_state", "frame": "encoder_last_hidden_state", "utterance": "pooler_output"}
    expected = {}
    for name in SECONDS:
        inputs = extractor(load_audio(folder / name, 16000), sampling_rate=16000, return_tensors="pt")
        with torch.no_grad():
            expected[name] = model(**inputs)[field[granularity]][0].numpy()
    assert_near(features, expected)


@pytest.mark.parametrize("granularity", ["all", "frame", "utterance"])
@pytest.mark.parametrize("kind", ["sslam", "sam_audio"])
def test_batches_equal_single_files(folder, request, tmp_path, kind, granularity):
    model = request.getfixturevalue(kind)
    arguments = ["--granularity", granularity]
    alone = embed(folder, model, tmp_path / "alone", *arguments, "--batch-size", "1")
    batch = embed(folder, model, tmp_path / "batch", *arguments, "--batch-size", "8", "--workers", "2")
    assert_near(batch, alone)
    assert alone.keys() == SECONDS.keys()


def test_padding_as_the_original(folder, sslam, tmp_path):
    """A clip of one window is padded to the whole window, and the model hears the padding."""
    features = embed(folder, sslam, tmp_path, "--padding", "max_length", "--window", "1.6")
    model, extractor = SSLAMModel.from_pretrained(sslam).eval(), SSLAMFeatureExtractor(max_length=160)
    inputs = extractor(load_audio(folder / "d.wav", 16000), sampling_rate=16000, return_tensors="pt")
    with torch.no_grad():
        np.testing.assert_allclose(features["d.wav"], model(**inputs).last_hidden_state[0].numpy(), atol=1e-4)
    assert {len(values) for values in features.values()} == {81, 81 + 64}


def test_windows_follow_each_other_frame_by_frame(sslam):
    """Whatever the length: the frames of the windows are those of the whole clip."""
    config, extractor = SSLAMConfig.from_pretrained(sslam), SSLAMFeatureExtractor()
    reader = ClipReader(config, extractor, batch_size=1)
    assert reader.grid.step == 160 * 160, "the position table is shorter than what the extractor is set to"
    lengths = [1, 399, 400, 25599, *range(25600, 26400, 40), 51200, 51599, 51600, 100000]
    for length in lengths:
        whole = extractor(torch.ones(length), sampling_rate=16000, padding="longest", truncation=False)[
            "input_values"
        ][0]
        windows = reader.cut(torch.ones(length))
        frames = [
            len(extractor(window, sampling_rate=16000, padding="longest")["input_values"][0]) for window in windows
        ]
        assert sum(frames) == len(whole)
        assert frames[:-1] == [160] * (len(frames) - 1)


def test_other_encoders(folder, tmp_path):
    small = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    wave = Wav2Vec2Config(**small, conv_dim=[8] * 7, num_conv_pos_embeddings=4, num_conv_pos_embedding_groups=2)
    for name, model, extractor in (
        ("wav2vec2", Wav2Vec2(wave), Wav2Vec2FeatureExtractor()),
        ("ast", ASTModel(ASTConfig(**small, max_length=64)), ASTFeatureExtractor(max_length=64)),
    ):
        model.eval().save_pretrained(tmp_path / name)
        extractor.save_pretrained(tmp_path / name)
        all_of_them = embed(folder, tmp_path / name, tmp_path / f"{name}-all")
        inputs = extractor(load_audio(folder / "d.wav", 16000), sampling_rate=16000, return_tensors="pt")
        with torch.no_grad():
            expected = model(**inputs).last_hidden_state[0].numpy()
        np.testing.assert_allclose(all_of_them["d.wav"], expected, atol=1e-5)
        assert all_of_them.keys() == SECONDS.keys()
        means = embed(folder, tmp_path / name, tmp_path / f"{name}-utterance", "--granularity", "utterance")
        assert_near(means, {file: values.mean(0) for file, values in all_of_them.items()})


# How they are written -----------------------------------------------------------------------------


def test_what_is_there_is_kept_unless_it_is_to_be_overwritten(folder, sslam, tmp_path, capsys):
    features = embed(folder, sslam, tmp_path)
    kept = (tmp_path / "c.wav.npy").stat().st_mtime_ns
    (tmp_path / "b" / "x.flac.npy").unlink()
    assert_near(embed(folder, sslam, tmp_path), features)
    assert "1 files written, 5 existed already" in capsys.readouterr().out
    assert (tmp_path / "c.wav.npy").stat().st_mtime_ns == kept
    assert_near(embed(folder, sslam, tmp_path, "--overwrite"), features)
    assert (tmp_path / "c.wav.npy").stat().st_mtime_ns > kept
    assert not list(tmp_path.rglob(".*"))


def test_what_is_not_whole_or_not_from_this_model_is_computed_again(folder, sslam, tmp_path, capsys):
    features = embed(folder, sslam, tmp_path)
    np.save(tmp_path / "b" / "x.wav.npy", np.zeros(1))  # not what the model computed
    (tmp_path / "c.wav.npy").write_bytes(b"")
    path = tmp_path / "d.wav.npy"
    path.write_bytes(path.read_bytes()[:-8])
    capsys.readouterr()
    assert_near(embed(folder, sslam, tmp_path), features)
    assert "3 files written, 3 existed already" in capsys.readouterr().out


def test_another_sound_or_other_weights_of_the_same_name(folder, sslam, tmp_path, capsys):
    recordings, model = shutil.copytree(folder, tmp_path / "in"), shutil.copytree(sslam, tmp_path / "model")
    before = embed(recordings, model, tmp_path / "out")
    state = (recordings / "d.wav").stat()
    soundfile.write(recordings / "d.wav", soundfile.read(recordings / "d.wav")[0][::-1], 16000)
    assert (recordings / "d.wav").stat().st_size == state.st_size
    os.utime(recordings / "d.wav", ns=(state.st_atime_ns, state.st_mtime_ns))
    capsys.readouterr()
    after = embed(recordings, model, tmp_path / "out")
    assert "1 files written, 5 existed already" in capsys.readouterr().out
    assert not np.allclose(after["d.wav"], before["d.wav"])

    moved = shutil.copytree(model, tmp_path / "moved")  # the same weights
    assert_near(embed(recordings, moved, tmp_path / "out"), after)
    assert "0 files written, 6 existed already" in capsys.readouterr().out
    other = SSLAMModel.from_pretrained(model)
    torch.nn.init.zeros_(next(other.parameters()))
    other.save_pretrained(model)
    embed(recordings, model, tmp_path / "out", code=2)
    assert "has features of other weights" in capsys.readouterr().err
    assert_near(read(tmp_path / "out"), after)


@pytest.mark.parametrize("format", ["npy", "safetensors"])
def test_a_damaged_file_of_all_features_is_replaced(folder, sslam, tmp_path, capsys, format):
    arguments = [str(folder), "--model", str(sslam), "--output", str(tmp_path), "--granularity", "utterance"]
    arguments += ["--workers", "0", "--format", format, "--single-file"]
    assert main(arguments) == 0
    path = tmp_path / ("features.npz" if format == "npy" else "features.safetensors")
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    assert main(arguments) == 0
    captured = capsys.readouterr()
    assert "is damaged" in captured.err
    assert "features of 6 files written" in captured.out
    assert main(arguments) == 0
    assert "0 files written, 6 existed already" in capsys.readouterr().out


@pytest.mark.parametrize("format", ["npy", "safetensors"])
def test_a_stopped_run_goes_on(folder, sslam, tmp_path, monkeypatch, format):
    """Nothing that was written before the end is lost or computed again, and all of it is in the one file."""
    folder = shutil.copytree(folder, tmp_path / "recordings")
    arguments = [str(folder), "--model", str(sslam), "--granularity", "frame", "--output", str(tmp_path / "one")]
    arguments += ["--format", format, "--single-file", "--workers", "0", "--batch-size", "2"]
    write, written = FeatureFolder.write, []

    def stop_after_three(self, file, features):
        if len(written) == 3:
            raise KeyboardInterrupt
        written.append(file)
        write(self, file, features)

    monkeypatch.setattr(FeatureFolder, "write", stop_after_three)
    assert main(arguments) == 130
    assert len(read(tmp_path / "one" / "parts")) == 3

    def note(self, file, features):
        written.append(file)
        write(self, file, features)

    monkeypatch.setattr(FeatureFolder, "write", note)
    assert main(arguments) == 0
    assert len(written) == len(set(written)) == len(SECONDS)
    assert sorted(path.name for path in (tmp_path / "one").iterdir()) == [
        "embed.json",
        "features.npz" if format == "npy" else "features.safetensors",
        "index.jsonl",
    ]

    def load() -> dict[str, np.ndarray]:
        if format == "npy":
            with np.load(tmp_path / "one" / "features.npz") as archive:
                return dict(archive)
        return {name: tensor.numpy() for name, tensor in load_file(tmp_path / "one" / "features.safetensors").items()}

    expected = embed(folder, sslam, tmp_path / "many", "--granularity", "frame", "--format", format)
    assert_near(load(), expected)

    written.clear()
    soundfile.write(folder / "new.wav", np.random.default_rng(1).standard_normal(4000) / 9, 16000)
    assert main(arguments) == 0
    assert written == [str(folder / "new.wav")]
    assert load().keys() == {*SECONDS, "new.wav"}
    assert main([*arguments, "--overwrite"]) == 0
    new = load()
    assert new.pop("new.wav").shape == (2, 32)
    assert_near(new, expected)


def test_bad_files_are_named_and_the_others_written(folder, sslam, tmp_path, capsys):
    bad = tmp_path / "bad"
    bad.mkdir()
    (bad / "page.wav").write_text("<html>")
    (bad / "cut.flac").write_bytes((folder / "b" / "x.flac").read_bytes()[:3000])
    (bad / "empty.mp3").write_bytes(b"")
    soundfile.write(bad / "nan.wav", np.full(4000, np.nan), 16000, subtype="FLOAT")
    arguments = [str(bad), str(folder), str(bad / "missing.wav"), "--model", str(sslam), "--granularity", "utterance"]
    assert main([*arguments, "--output", str(tmp_path / "out"), "--workers", "1"]) == 1
    captured = capsys.readouterr()
    for name in ("page.wav", "cut.flac", "empty.mp3", "nan.wav", "missing.wav"):
        assert len([line for line in captured.err.splitlines() if f"{bad / name} " in line]) == 1
    assert "5 of 11 files could not be read" in captured.err
    assert "features of 6 files written" in captured.out
    assert len(read(tmp_path / "out")) == 6


def test_a_folder_holds_features_of_one_kind(folder, sslam, sam_audio, tmp_path, capsys):
    features = embed(folder / "b", sslam, tmp_path)
    assert features.keys() == {"x.wav", "x.flac"}
    for arguments, message in (
        ((folder / "b", sslam, tmp_path, "--granularity", "frame"), "granularity=all instead of frame"),
        ((folder / "b", sslam, tmp_path, "--window", "1"), "window=None instead of 1.0"),
        ((folder / "b", sam_audio, tmp_path), "Choose another output folder"),
        ((folder / "a", sslam, tmp_path), "files below"),
    ):
        embed(*arguments, code=2)
        assert message in capsys.readouterr().err
    assert_near(read(tmp_path), features)
    assert json.loads((tmp_path / "embed.json").read_text())["root"] == str(folder / "b")


def test_a_file_that_is_named_twice_is_read_once(folder, sslam, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    arguments = ["d.wav", "./d.wav", str(folder / "d.wav"), "a/x.wav", "a", "--model", str(sslam)]
    assert main([*arguments, "--granularity", "utterance", "--output", str(tmp_path)]) == 0
    assert "features of 2 files written" in capsys.readouterr().out
    assert read(tmp_path).keys() == {"d.wav", "a/x.wav"}


BAD_USAGE = {
    "window longer than the position table": (["--window", "60"], "reads at most 1.6 s"),
    "no such device": (["--device", "abacus"], "'abacus' is not the name of a device"),
    "no such model": (["--model", "nowhere/at-all"], "nowhere/at-all"),
    "padding that the model does not know": (
        ["--model", "SAM", "--padding", "max_length"],
        "needs windows of one length",
    ),
}


@pytest.mark.parametrize("name", BAD_USAGE)
def test_bad_usage_says_why_in_one_line(folder, sslam, sam_audio, tmp_path, capsys, name):
    arguments, message = BAD_USAGE[name]
    embed(folder, sslam, tmp_path, *[str(sam_audio) if one == "SAM" else one for one in arguments], code=2)
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("polyaudio embed:")]
    assert len(errors) == 1
    assert message in errors[0]
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "arguments", [["--batch-size", "0"], ["--window", "-1"], ["--workers", "-1"], ["--window", "x"]]
)
def test_impossible_numbers_are_refused(folder, sslam, tmp_path, arguments):
    with pytest.raises(SystemExit, match="2"):
        embed(folder, sslam, tmp_path, *arguments)


def test_a_folder_without_audio_is_an_error(sslam, tmp_path, capsys):
    (tmp_path / "notes").mkdir()
    embed(tmp_path / "notes", sslam, tmp_path / "out", code=2)
    assert "There are no audio files in the folder" in capsys.readouterr().err


@pytest.mark.parametrize("content", ["", "[1]", "{}", "null", "[" * 100_000, '{"root": 5, "model": "x"}'])
def test_damaged_settings_of_features_are_named(folder, sslam, tmp_path, capsys, content):
    (tmp_path / "embed.json").write_text(content)
    arguments = [str(folder), "--model", str(sslam), "--granularity", "frame", "--output", str(tmp_path)]
    assert main(arguments) == 2
    assert "embed.json is damaged" in capsys.readouterr().err
