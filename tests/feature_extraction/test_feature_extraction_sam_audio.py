import numpy as np
import pytest
import torch
import torchaudio
from transformers import AutoFeatureExtractor

from polyaudio import SAMAudioFeatureExtractor, SSLAMFeatureExtractor


FRONTENDS = ["log_mel", "tonic_chroma", "tonic_pitch", "tonic_pitch+chroma", "waveform"]
RATE = 16000


def clip(seconds: float, seed: int = 0) -> np.ndarray:
    """A few steady tones in noise."""
    rng = np.random.default_rng(seed)
    time = np.arange(int(seconds * RATE)) / RATE
    tones = sum(np.sin(2 * np.pi * f * time + rng.uniform(0, 6)) for f in (146.8, 220.2, 330.1 + 10 * seed))
    return (0.1 * tones + 0.01 * rng.standard_normal(len(time))).astype(np.float32)


@pytest.fixture(params=FRONTENDS)
def extractor(request) -> SAMAudioFeatureExtractor:
    return SAMAudioFeatureExtractor(request.param)


def torchaudios_log_mel(waveforms: torch.Tensor) -> torch.Tensor:
    transform = torchaudio.transforms.MelSpectrogram(RATE, n_fft=1024, hop_length=256, n_mels=80)
    return torch.log(transform(waveforms) + 1e-8).transpose(1, 2)


def test_log_mel_is_torchaudios(assert_same_energies):
    waveforms = torch.from_numpy(np.stack([clip(2.0, seed) for seed in range(3)]))
    features = SAMAudioFeatureExtractor()(waveforms, sampling_rate=RATE, return_tensors="pt")
    assert_same_energies(features.input_values, torchaudios_log_mel(waveforms))


@pytest.mark.parametrize("change", ["window", "filters"])
def test_the_comparison_notices_another_window_and_shifted_filters(change, assert_same_energies, monkeypatch):
    waveforms = torch.from_numpy(np.stack([clip(2.0, seed) for seed in range(3)]))
    expected = torchaudios_log_mel(waveforms)
    extractor, hann_window = SAMAudioFeatureExtractor(), torch.hann_window
    if change == "window":
        monkeypatch.setattr(torch, "hann_window", lambda size, **kwargs: hann_window(size, periodic=False, **kwargs))
    else:
        extractor.mel_filters = extractor.mel_filters.roll(1, dims=0)
    features = extractor(waveforms, sampling_rate=RATE, return_tensors="pt")
    with pytest.raises(AssertionError, match="not close"):
        assert_same_energies(features.input_values, expected)


def test_log_mel_of_a_pure_tone_is_torchaudios(assert_same_energies):
    """At other sizes, for sound in a single band."""
    transform = torchaudio.transforms.MelSpectrogram(22050, n_fft=512, hop_length=128, n_mels=40)
    tone = torch.sin(2 * torch.pi * 22050 / 512 * 20 * torch.arange(22050) / 22050)
    extractor = SAMAudioFeatureExtractor(feature_size=40, sampling_rate=22050, n_fft=512, hop_length=128)
    features = extractor(tone, sampling_rate=22050, return_tensors="pt")
    expected = torch.log(transform(tone) + 1e-8).T[None]
    assert_same_energies(features.input_values, expected)


@pytest.mark.parametrize("as_type", [list, np.asarray, torch.from_numpy, lambda x: x.astype(np.float64)])
def test_a_clip_alone_equals_the_clip_in_a_batch(extractor, as_type):
    clips = [clip(seconds, seed) for seed, seconds in enumerate((1.3, 0.4, 2.0, 0.3))]
    batch = extractor([as_type(one) for one in clips], sampling_rate=RATE, return_tensors="pt")
    assert batch.input_values.dtype == torch.float32
    assert batch.attention_mask.shape == batch.input_values.shape[:2]
    for i, one in enumerate(clips):
        alone = extractor(as_type(one), sampling_rate=RATE, return_tensors="pt")
        frames = alone.input_values.shape[1]
        assert alone.attention_mask.tolist() == [[1] * frames]
        assert batch.attention_mask[i].sum() == frames
        torch.testing.assert_close(batch.input_values[i, :frames], alone.input_values[0], atol=1e-4, rtol=1e-4)
        assert (batch.input_values[i, frames:] == np.float32(extractor.padding_value)).all()


def test_frames_of_a_clip(extractor):
    features = extractor(clip(2.0), sampling_rate=RATE, return_tensors="np")
    expected = {
        "log_mel": (1, 126, 80),
        "tonic_chroma": (1, 51, 36),
        "tonic_pitch": (1, 101, 64),
        "tonic_pitch+chroma": (1, 101, 100),
        "waveform": (1, 32000),
    }[extractor.frontend]
    assert features.input_values.shape == expected
    assert np.isfinite(features.input_values).all()


def test_clips_shorter_than_a_window_are_padded_to_one(extractor):
    for samples in (1, 100):
        short = extractor(clip(1.0)[:samples], sampling_rate=RATE, return_tensors="pt")
        padded = np.pad(clip(1.0)[:samples], (0, max(0, extractor.n_fft - samples)))
        torch.testing.assert_close(
            short.input_values, extractor(padded, sampling_rate=RATE, return_tensors="pt").input_values
        )
        assert torch.isfinite(short.input_values).all()
        assert short.attention_mask.all()


def test_silence_is_finite(extractor):
    features = extractor(np.zeros(RATE), sampling_rate=RATE, return_tensors="pt")
    assert all(torch.isfinite(values).all() for values in features.values())


def test_integer_pcm_equals_its_floats(extractor):
    pcm = (clip(1.0) * 2**15).astype(np.int16)
    from_pcm = extractor(pcm, sampling_rate=RATE, return_tensors="pt").input_values
    from_floats = extractor(pcm / 2.0**15, sampling_rate=RATE, return_tensors="pt").input_values
    torch.testing.assert_close(from_pcm, from_floats)
    from_32_bit = extractor(pcm.astype(np.int32) << 16, sampling_rate=RATE, return_tensors="pt").input_values
    torch.testing.assert_close(from_32_bit, from_floats)


def test_padding_strategies(extractor):
    clips = [clip(0.5), clip(1.0)]
    longest = extractor(clips, sampling_rate=RATE, padding="longest", return_tensors="np").input_values
    assert np.array_equal(longest, extractor(clips, sampling_rate=RATE, return_tensors="np").input_values)

    cut = extractor(
        clips, sampling_rate=RATE, padding="max_length", max_length=12000, truncation=True, return_tensors="np"
    )
    reference = extractor([clips[0], clips[1][:12000]], sampling_rate=RATE, return_tensors="np")
    assert np.array_equal(cut.input_values, reference.input_values)
    padded = extractor(clips, sampling_rate=RATE, padding="max_length", max_length=20000, return_tensors="np")
    assert padded.input_values.shape[1] == num_frames(extractor, 20000)

    ragged = extractor(clips, sampling_rate=RATE, padding=False)
    assert [len(values) for values in ragged.input_values] == [num_frames(extractor, len(one)) for one in clips]
    multiple = extractor(clips, sampling_rate=RATE, pad_to_multiple_of=3000, return_tensors="np")
    assert multiple.input_values.shape[1] == num_frames(extractor, 18000)


def num_frames(extractor, samples: int) -> int:
    return samples if extractor.frontend == "waveform" else 1 + samples // extractor.hop_length


def test_the_mask_is_optional(extractor):
    assert "attention_mask" not in extractor(clip(0.5), sampling_rate=RATE, return_attention_mask=False)
    silent = SAMAudioFeatureExtractor(extractor.frontend, return_attention_mask=False)
    assert "attention_mask" not in silent(clip(0.5), sampling_rate=RATE)
    assert "attention_mask" in silent(clip(0.5), sampling_rate=RATE, return_attention_mask=True)


@pytest.mark.parametrize("model", ["sam_audio", "sslam"])
def test_both_extractors_return_the_same_kinds(model):
    extractor = {"sam_audio": SAMAudioFeatureExtractor, "sslam": SSLAMFeatureExtractor}[model]()
    clips = [clip(0.5), clip(0.6)]
    for padding in (True, False):
        lists = extractor(clips, sampling_rate=RATE, padding=padding, return_attention_mask=True)
        for values in lists.values():
            assert isinstance(values, list)
            assert [type(row) for row in values] == [np.ndarray, np.ndarray]
    for return_tensors, tensor_class in (("np", np.ndarray), ("pt", torch.Tensor)):
        arguments = {"sampling_rate": RATE, "return_attention_mask": True, "return_tensors": return_tensors}
        tensors = extractor(clips, padding=True, **arguments)
        for name, dtype in (("input_values", "float32"), ("attention_mask", "int32")):
            assert type(tensors[name]) is tensor_class
            assert str(tensors[name].dtype).removeprefix("torch.") == dtype
        assert len(extractor(clips[0], padding=False, **arguments)["input_values"]) == 1
        with pytest.raises(ValueError, match="do not fit into one tensor"):
            extractor(clips, padding=False, **arguments)
    # As the extractors of transformers do with keywords of others
    known = extractor(clips[0], sampling_rate=RATE, return_tensors="np")
    unknown = extractor(clips[0], sampling_rate=RATE, return_tensors="np", do_normalize=True)
    assert np.array_equal(known["input_values"], unknown["input_values"])
    with pytest.raises(TypeError, match="raw_speech"):
        extractor(audio=clips[0], sampling_rate=RATE)
    # The dtype that `pad`, which both inherit, gives to masks
    padded = extractor.pad({"input_values": lists["input_values"]}, return_attention_mask=True)
    assert padded["attention_mask"][0].dtype == np.int32


def test_the_input_is_left_as_it_was(extractor):
    waveforms = torch.from_numpy(np.stack([clip(0.5), clip(0.5, 1)]))
    before = waveforms.clone()
    extractor(waveforms, sampling_rate=RATE, padding="max_length", max_length=9000, return_tensors="pt")
    assert torch.equal(waveforms, before)


def test_save_and_load(extractor, tmp_path):
    extractor.save_pretrained(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "sam_audio"}')
    for loaded in (SAMAudioFeatureExtractor.from_pretrained(tmp_path), AutoFeatureExtractor.from_pretrained(tmp_path)):
        assert type(loaded) is SAMAudioFeatureExtractor
        assert loaded.to_dict() == extractor.to_dict()
        one, other = (each(clip(0.5), sampling_rate=RATE, return_tensors="pt") for each in (extractor, loaded))
        assert torch.equal(one.input_values, other.input_values)
    assert (tmp_path / "preprocessor_config.json").stat().st_size < 1000


def test_a_given_tonic_is_used():
    extractor = SAMAudioFeatureExtractor("tonic_chroma")
    clips = [clip(2.0), clip(2.0, 1)]
    given = extractor(clips, sampling_rate=RATE, tonic=[146.8, float("nan")], return_tensors="pt")
    estimated = extractor(clips, sampling_rate=RATE, return_tensors="pt")
    assert given.tonic[0] == pytest.approx(146.8)
    assert given.tonic_confidence[0] == 1
    assert torch.equal(given.input_values[1], estimated.input_values[1])
    octave_higher = extractor(clips, sampling_rate=RATE, tonic=293.6, return_tensors="pt")
    torch.testing.assert_close(octave_higher.input_values[0], given.input_values[0], atol=1e-3, rtol=1e-3)
    with pytest.raises(ValueError, match="only to 'tonic_chroma'"):
        SAMAudioFeatureExtractor("log_mel")(clips, sampling_rate=RATE, tonic=146.8)


BAD_INPUTS = {
    "no clip": ([], "no clip"),
    "an empty clip": (np.zeros(0, dtype=np.float32), "no samples"),
    "an empty clip in a batch": ([np.ones(100), np.zeros(0)], "no samples"),
    "NaN": (np.array([0.0, np.nan] * 100), "NaN or infinity"),
    "infinity in a batch": ([np.ones(100), np.full(100, np.inf)], r"NaN or infinity \(clip 1"),
    "stereo, channels first, in a list": ([np.zeros((2, 1000))], "mono"),
    "stereo, channels last": (np.zeros((1000, 2)), "stereo"),
    "three dimensions": (np.zeros((1, 2, 1000)), "mono"),
    "64 bit integers": (np.zeros(1000, dtype=np.int64), "no known full scale"),
}


@pytest.mark.parametrize("name", BAD_INPUTS)
def test_bad_input_is_refused(extractor, name):
    audio, message = BAD_INPUTS[name]
    with pytest.raises(ValueError, match=message):
        extractor(audio, sampling_rate=RATE)


@pytest.mark.parametrize("audio", ["clip.wav", None, {"array": np.zeros(10)}, [["a", "b"]], [[0.1, [0.2]]]])
def test_what_is_no_audio_is_refused(extractor, audio):
    with pytest.raises((TypeError, ValueError)):
        extractor(audio, sampling_rate=RATE)


def test_another_sampling_rate_is_refused(extractor):
    with pytest.raises(ValueError, match=r"at 44100 Hz\. Resample"):
        extractor(clip(0.5), sampling_rate=44100)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"frontend": "mfcc"}, "`frontend` must be one of"),
        ({"frontend": "waveform", "feature_size": 3}, "feature_size=1"),
        ({"padding_side": "left"}, "padding_side"),
    ],
)
def test_extractors_that_cannot_work_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        SAMAudioFeatureExtractor(**arguments)
