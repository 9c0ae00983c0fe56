"""What users throw at the feature extractors and the audio reader, drawn by hypothesis.

Whatever comes in, a call ends in one of two ways: a `ValueError`, `TypeError` or `AudioFileError` with a message, or a
finite answer of the documented shape and dtype. The profile `ci` draws the same few examples each time; `make nightly`
draws thousands of new ones.
"""

import io
import os
import warnings

import numpy as np
import pytest
import soundfile
import torch
import torchaudio
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from polyaudio import SAMAudioFeatureExtractor, SSLAMFeatureExtractor
from polyaudio.data.audio import AudioFileError, audio_info, decode_audio, load_audio


COMMON = {"deadline": None, "database": None, "suppress_health_check": [HealthCheck.too_slow]}
settings.register_profile("ci", max_examples=40, derandomize=True, **COMMON)
settings.register_profile("nightly", max_examples=500, print_blob=True, **COMMON)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))

RATE = 16_000
EXTRACTORS = {
    "log_mel": SAMAudioFeatureExtractor("log_mel"),
    "tonic_chroma": SAMAudioFeatureExtractor("tonic_chroma"),
    "tonic_pitch": SAMAudioFeatureExtractor("tonic_pitch"),
    "waveform": SAMAudioFeatureExtractor("waveform"),
    "sslam": SSLAMFeatureExtractor(),
}
FULL_SCALE = {"uint8": 2**7, "int8": 2**7, "int16": 2**15, "int32": 2**31}
NUMBERS = [*FULL_SCALE, "float16", "float32", "float64", ">f4", ">i2"]
FORMATS = [
    ("WAV", "PCM_16", 1e-4),
    ("WAV", "FLOAT", 1e-7),
    ("FLAC", "PCM_16", 1e-4),
    ("OGG", "VORBIS", None),
    ("MP3", "MPEG_LAYER_III", None),
]


def make_clip(kind: str, samples: int, seed: int) -> np.ndarray:
    """A clip of float32 in [-1, 1]."""
    rng = np.random.default_rng(seed)
    time = np.arange(samples) / RATE
    clip = {
        "noise": lambda: rng.uniform(-0.5, 0.5, samples),
        "tone": lambda: 0.5 * np.sin(2 * np.pi * rng.uniform(50, 7000) * time) + 1e-3 * rng.standard_normal(samples),
        "faint": lambda: 1e-6 * rng.standard_normal(samples),
        "silence": lambda: np.zeros(samples),
        "denormals": lambda: 1e-40 * rng.standard_normal(samples),
        "offset": lambda: np.full(samples, rng.uniform(-1, 1)),
        "full scale": lambda: rng.choice([-1.0, 1.0], samples),
        "click": lambda: np.eye(1, samples, rng.integers(samples))[0],
    }[kind]()
    return clip.astype(np.float32)


KINDS = ["noise", "tone", "faint", "silence", "denormals", "offset", "full scale", "click"]
EDGES = [1, 399, 400, 401, 1023, 1024, 4095, 4096, 4097]  # of the windows
LENGTHS = st.one_of(st.integers(1, 600), st.integers(601, 8_000), st.sampled_from(EDGES))
CLIPS = st.builds(make_clip, st.sampled_from(KINDS), LENGTHS, st.integers(0, 2**32 - 1))


def to_dtype(clip: np.ndarray, dtype: str) -> np.ndarray:
    name = np.dtype(dtype).newbyteorder("=").name
    if name not in FULL_SCALE:
        return clip.astype(dtype)
    levels = np.clip(np.round(clip.astype(np.float64) * FULL_SCALE[name]), -FULL_SCALE[name], FULL_SCALE[name] - 1)
    return (levels + (128 if name == "uint8" else 0)).astype(dtype)


def read_only(clip: np.ndarray) -> np.ndarray:
    clip = clip.copy()
    clip.flags.writeable = False
    return clip


# What a clip can come as, all of it the same sound.
WRAPPINGS = {
    "array": lambda clip: clip,
    "every other of an array": lambda clip: np.repeat(clip, 2)[::2],
    "array backwards": lambda clip: clip[::-1].copy()[::-1],
    "read-only array": read_only,
    "column of an array": lambda clip: np.stack([clip, clip], axis=1)[:, 0],
    "list": lambda clip: clip.tolist(),
    "tuple": lambda clip: tuple(clip.tolist()),
    "tensor": torch.tensor,
    "every other of a tensor": lambda clip: torch.tensor(np.repeat(clip, 2))[::2],
    "tensor that requires a gradient": lambda clip: torch.tensor(clip, requires_grad=True),
}


def check_features(name: str, features, sizes: list[int]) -> None:
    """Finite, of the documented shape and dtype, for clips of these numbers of samples, padded to the longest."""
    extractor = EXTRACTORS[name]
    if name == "sslam":
        frames = [1 + (max(size, 400) - 400) // 160 for size in sizes]
    elif name == "waveform":
        frames = sizes
    else:
        frames = [1 + max(size, extractor.n_fft) // extractor.hop_length for size in sizes]
    values, mask = features["input_values"], features["attention_mask"]
    bins = () if name == "waveform" else (extractor.feature_size,)
    assert values.shape == (len(sizes), max(frames), *bins)
    assert values.dtype == torch.float32
    assert mask.dtype == torch.int32
    assert mask.tolist() == [[1] * own + [0] * (max(frames) - own) for own in frames]
    assert not values.requires_grad
    for tensor in features.values():
        assert torch.isfinite(tensor).all()
    if name in ("tonic_chroma", "tonic_pitch"):
        assert features["tonic"].shape == features["tonic_confidence"].shape == (len(sizes),)
        assert ((features["tonic_confidence"] >= 0) & (features["tonic_confidence"] <= 1)).all()


def extract(name: str, audio, **options):
    options = {"padding": "longest", "return_attention_mask": True, "return_tensors": "pt", **options}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return EXTRACTORS[name](audio, sampling_rate=RATE, **options)


def check_message(error: Exception) -> None:
    """Words and an end: no bare number, name or `KeyError` of something inside."""
    assert len(str(error).split()) >= 4


@pytest.mark.parametrize("name", EXTRACTORS)
@given(clip=CLIPS, dtype=st.sampled_from(NUMBERS), wrapping=st.sampled_from(sorted(WRAPPINGS)))
def test_a_clip_in_whatever_it_comes(name, clip, dtype, wrapping):
    numbers = to_dtype(clip, dtype)
    kind = np.dtype(dtype).kind
    if wrapping in ("list", "tuple"):
        assume(kind == "f")  # the integers of a list have no width
    if "tensor" in wrapping:
        numbers = numbers.astype(numbers.dtype.newbyteorder("="))
    if "gradient" in wrapping:
        assume(kind == "f")
    features = extract(name, WRAPPINGS[wrapping](numbers))
    check_features(name, features, [len(clip)])

    native = numbers.dtype.newbyteorder("=").name
    silence = 128 if native == "uint8" else 0
    floats = (numbers.astype(np.float64) - silence) / FULL_SCALE.get(native, 1)
    expected = extract(name, floats.astype(np.float32))
    for key, values in expected.items():
        torch.testing.assert_close(features[key], values, atol=0, rtol=0)
    if name == "waveform":
        np.testing.assert_array_equal(features["input_values"][0], floats.astype(np.float32))


@given(clip=CLIPS.filter(lambda clip: len(clip) >= 1024))
def test_log_mel_is_torchaudios(clip):
    transform = torchaudio.transforms.MelSpectrogram(RATE, n_fft=1024, hop_length=256, n_mels=80)
    expected = transform(torch.from_numpy(clip)).T[None]
    # In bands without sound both hold rounding errors, which are small beside the loudest that a window can be.
    torch.testing.assert_close(extract("log_mel", clip)["input_values"].exp(), expected + 1e-8, atol=1e-6, rtol=1e-4)


@given(clip=CLIPS.filter(lambda clip: len(clip) >= 400))
def test_sslam_is_kaldis(clip):
    centred = torch.from_numpy(clip) - torch.from_numpy(clip).mean()
    expected = torchaudio.compliance.kaldi.fbank(
        centred[None],
        htk_compat=True,
        sample_frequency=RATE,
        use_energy=False,
        window_type="hanning",
        num_mel_bins=128,
        dither=0.0,
        frame_shift=10,
    )
    values = extract("sslam", clip)["input_values"][0] * (2 * 4.569) - 4.268
    torch.testing.assert_close(values.exp(), expected.exp(), atol=1e-6, rtol=1e-3)


@pytest.mark.parametrize("name", EXTRACTORS)
@given(clips=st.lists(CLIPS, min_size=1, max_size=5), as_tensors=st.booleans(), tonic=st.floats(60, 500))
def test_a_batch_is_its_clips(name, clips, as_tensors, tonic):
    # With the tonic given: without, silence and noise leave a choice between equals to the last bit.
    options = {"tonic": tonic} if name in ("tonic_chroma", "tonic_pitch") else {}
    batch = extract(name, [torch.from_numpy(clip) if as_tensors else clip for clip in clips], **options)
    check_features(name, batch, [len(clip) for clip in clips])
    for row, clip in enumerate(clips):
        alone = extract(name, clip, **options)["input_values"][0]
        own = batch["attention_mask"][row].bool()
        torch.testing.assert_close(batch["input_values"][row, own], alone, atol=1e-4, rtol=1e-4)


@given(seeds=st.lists(st.integers(0, 2**32 - 1), min_size=2, max_size=4), tonic=st.floats(98, 261), data=st.data())
def test_the_tonic_of_a_batch_is_that_of_its_clips(seeds, tonic, data):
    clips = []
    for seed in seeds:
        time = np.arange(data.draw(st.integers(8_000, 24_000))) / RATE
        drone = sum(np.sin(2 * np.pi * ratio * tonic * time) / ratio for ratio in (1, 1.5, 2))
        clips.append((0.1 * drone + 0.001 * np.random.default_rng(seed).standard_normal(len(time))).astype(np.float32))
    batch = extract("tonic_chroma", clips)
    for row, clip in enumerate(clips):
        alone = extract("tonic_chroma", clip)
        own = batch["attention_mask"][row].bool()
        torch.testing.assert_close(batch["tonic"][row], alone["tonic"][0], atol=0, rtol=1e-4)
        torch.testing.assert_close(batch["input_values"][row, own], alone["input_values"][0], atol=1e-3, rtol=1e-3)


ANYTHING = st.one_of(
    hnp.arrays(
        st.one_of(hnp.scalar_dtypes(), hnp.unicode_string_dtypes(max_len=4), st.just(np.dtype(object))),
        hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=6),
        fill=st.nothing(),
    ),
    hnp.arrays(
        st.sampled_from([np.float16, np.float32, np.float64]),
        hnp.array_shapes(min_dims=1, max_dims=2, min_side=1, max_side=40),
        elements={"allow_nan": True, "allow_infinity": True, "allow_subnormal": True},
    ),
    st.recursive(
        st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=4), st.binary(max_size=4)),
        lambda inner: st.one_of(
            st.lists(inner, max_size=6), st.lists(inner, max_size=6).map(tuple), st.dictionaries(st.text(), inner)
        ),
        max_leaves=12,
    ),
    st.lists(hnp.arrays(np.float32, hnp.array_shapes(min_dims=0, max_dims=2, min_side=0, max_side=6)), max_size=4),
)


@pytest.mark.parametrize("name", EXTRACTORS)
@given(audio=ANYTHING, as_tensor=st.booleans())
def test_anything_else_is_refused_or_answered(name, audio, as_tensor):
    if as_tensor and isinstance(audio, np.ndarray) and audio.dtype.kind in "fiub" and audio.dtype.isnative:
        audio = torch.from_numpy(audio)
    try:
        features = extract(name, audio)
    except (ValueError, TypeError) as error:
        check_message(error)
        return
    values = features["input_values"]
    assert values.dtype == torch.float32
    assert values.ndim == (2 if name == "waveform" else 3)
    assert torch.isfinite(values).all()
    assert features["attention_mask"].shape == values.shape[:2]
    given_values = audio if isinstance(audio, torch.Tensor) else np.concatenate([np.ravel(part) for part in audio])
    assert np.isfinite(np.asarray(given_values, dtype=np.float64)).all()  # NaN and infinity are never answered


@pytest.mark.parametrize("name", EXTRACTORS)
@given(
    clips=st.lists(CLIPS, min_size=1, max_size=3),
    row=st.integers(0, 2),
    place=st.integers(0, 10**6),
    value=st.sampled_from([np.nan, np.inf, -np.inf, 1e20, -3e38]),
)
def test_one_wrong_sample_is_found(name, clips, row, place, value):
    row %= len(clips)
    clips[row][place % len(clips[row])] = value
    with pytest.raises(ValueError, match=rf"NaN or infinity \(clip {row} of the batch\), or values far outside"):
        extract(name, clips)


@pytest.mark.parametrize("name", EXTRACTORS)
@given(
    samples=st.integers(1, 6_000),
    sampling_rate=st.one_of(st.none(), st.just(RATE), st.integers(), st.floats(), st.text(max_size=5)),
    options=st.fixed_dictionaries(
        {},
        optional={
            "padding": st.sampled_from([True, False, "longest", "max_length", "do_not_pad", "both", 7]),
            "max_length": st.one_of(st.integers(-10, 5_000), st.none(), st.floats(), st.text(max_size=3)),
            "truncation": st.booleans(),
            "pad_to_multiple_of": st.one_of(st.integers(-3, 5_000), st.none(), st.floats()),
            "return_attention_mask": st.one_of(st.none(), st.booleans()),
            "return_tensors": st.sampled_from([None, "np", "pt", "nonsense"]),
            "tonic": st.one_of(st.none(), st.floats(width=32), st.lists(st.floats(width=32), max_size=3)),
        },
    ),
)
def test_any_options(name, samples, sampling_rate, options):
    if name == "sslam":
        options.pop("tonic", None)  # it has no such argument
    clip = make_clip("noise", samples, seed=0)
    try:
        features = EXTRACTORS[name](clip, sampling_rate=sampling_rate, **options)
    except (ValueError, TypeError) as error:
        check_message(error)
        return
    assert sampling_rate is None or sampling_rate == RATE
    assert len(features["input_values"]) == 1
    values = np.asarray(features["input_values"][0])
    assert len(values) > 0
    assert np.isfinite(values).all()
    multiple = options.get("pad_to_multiple_of")
    if name == "waveform" and multiple and options.get("padding", True) not in (False, "do_not_pad"):
        assert len(values) % multiple == 0
    if name == "waveform" and options.get("truncation") and not multiple:
        assert len(values) <= options["max_length"]


def write(samples: np.ndarray, rate: int, format: str, subtype: str) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format=format, subtype=subtype)
    return file.getvalue()


def check_reads(file: bytes, sampling_rate: int = RATE, **part) -> np.ndarray | None:
    """The waveform, which is as documented; `None` where the file is refused with a message."""
    waveform = None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            waveform = load_audio(file, sampling_rate, **part)
    except AudioFileError as error:
        check_message(error)
    else:
        assert waveform.dtype == np.float32
        assert waveform.ndim == 1
        assert len(waveform) > 0
        assert np.isfinite(waveform).all()
    try:
        info = audio_info(file)
    except AudioFileError as error:
        check_message(error)
        assert waveform is None
    else:
        assert info.duration > 0
        assert info.channels > 0
        assert 1_000 <= info.sampling_rate <= 1_000_000
    return waveform


@given(
    format=st.sampled_from(FORMATS),
    kind=st.sampled_from(KINDS),
    samples=st.integers(1, 5_000),
    channels=st.integers(1, 2),
    rate=st.sampled_from([8_000, 11_025, 16_000, 22_050, 44_100, 48_000]),
    seed=st.integers(0, 2**32 - 1),
)
def test_whole_files(format, kind, samples, channels, rate, seed):
    name, subtype, tolerance = format
    clip = np.stack([make_clip(kind, samples, seed + channel) for channel in range(channels)], axis=1)
    data = write(clip, rate, name, subtype)
    waveform, own_rate = decode_audio(data)
    assert own_rate == rate
    assert waveform.shape == (samples,)
    if tolerance:
        np.testing.assert_allclose(waveform, clip.mean(1), atol=tolerance)
    info = audio_info(data)
    assert (info.sampling_rate, info.channels) == (rate, channels)
    assert info.duration == pytest.approx(samples / rate)
    resampled = check_reads(data)
    assert abs(len(resampled) - samples * RATE / rate) <= 1


@example(format=("OGG", "VORBIS", None), share=0.875, seed=0)  # libsndfile would give 13,440 of the samples
@given(
    format=st.sampled_from([*FORMATS, ("OGG", "OPUS", None)]),
    share=st.floats(0, 1, exclude_max=True),
    seed=st.integers(0, 2**32 - 1),
)
def test_files_that_are_cut_off(format, share, seed):
    name, subtype, _ = format
    samples = make_clip("noise", 20_000, seed)
    data = write(samples, RATE, name, subtype)
    cut = data[: int(share * len(data))]
    assume(data[len(cut) : len(cut) + 4] != b"OggS")  # between two pages an Ogg file may end, as live streams do
    waveform = check_reads(cut)
    if waveform is not None:
        # Of a wav 128 bytes may be missing, because some programs count the header into its data; of others what
        # holds no sound, such as checksums.
        assert len(data) - len(cut) <= 128
        assert len(waveform) == len(samples) or (name == "WAV" and len(waveform) >= len(samples) - 64)
        np.testing.assert_array_equal(waveform, load_audio(data, RATE)[: len(waveform)])


DAMAGES = st.lists(
    st.tuples(
        st.sampled_from(["byte", "word", "insert", "delete", "zeros"]),
        st.one_of(st.integers(0, 63), st.integers(0, 10**6)),
        st.binary(min_size=1, max_size=40),
        st.sampled_from([b"\x00\x00\x00\x00", b"\xff\xff\xff\xff", b"\xff\xff\xff\x7f", b"\x00\x00\x00\x80"]),
    ),
    min_size=1,
    max_size=8,
)


def damage(data: bytes, damages: list[tuple[str, int, bytes, bytes]]) -> bytes:
    data = bytearray(data)
    for what, place, some, word in damages:
        place %= max(1, len(data))
        if what == "byte":
            data[place : place + 1] = some[:1]
        elif what == "word":
            data[place : place + 4] = word
        elif what == "insert":
            data[place:place] = some
        elif what == "delete":
            del data[place : place + len(some)]
        else:
            data[place : place + 10 * len(some)] = bytes(10 * len(some))
    return bytes(data)


# soundfile tells of a seek before the start of bytes by an exception that it cannot raise, besides its error.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@given(
    format=st.sampled_from([*FORMATS, ("AIFF", "PCM_16", None), ("AU", "PCM_16", None), ("OGG", "OPUS", None)]),
    damages=DAMAGES,
    offset=st.floats(0, 0.5),
    duration=st.one_of(st.none(), st.floats(1e-6, 1.0)),
)
def test_damaged_files(format, damages, offset, duration):
    name, subtype, _ = format
    data = damage(write(make_clip("noise", 3_000, seed=0), RATE, name, subtype), damages)
    check_reads(data)
    check_reads(data, offset=offset, duration=duration)


MAGIC = [b"", b"\x00", b"RIFF\x00\x01\x00\x00WAVEfmt ", b"fLaC", b"OggS\x00\x02", b"ID3\x03", b"\xff\xfb"]


@given(start=st.sampled_from(MAGIC), rest=st.binary(max_size=300))
def test_bytes_that_are_no_audio(start, rest):
    check_reads(start + rest)


@given(
    value=st.sampled_from([np.nan, np.inf, -np.inf, 1e20, -3e38]),
    place=st.integers(0, 2_999),
    rate=st.sampled_from([8_000, 16_000, 44_100]),
)
def test_one_wrong_sample_in_a_file(value, place, rate):
    samples = make_clip("noise", 3_000, seed=0)
    samples[place] = value
    with pytest.raises(AudioFileError, match="holds NaN or infinite samples, or samples far outside"):
        load_audio(write(samples, rate, "WAV", "FLOAT"), RATE)


TIMES = st.one_of(st.floats(), st.floats(0, 0.3), st.integers(-2, 2))


@given(
    sampling_rate=st.one_of(st.integers(1_000, 48_000), st.integers(), st.floats(), st.none(), st.text(max_size=3)),
    offset=TIMES,
    duration=st.one_of(st.none(), TIMES),
)
def test_any_part_at_any_rate(sampling_rate, offset, duration):
    data = write(make_clip("noise", 4_000, seed=0), RATE, "WAV", "PCM_16")
    try:
        waveform = load_audio(data, sampling_rate, offset=offset, duration=duration)
    except ValueError as error:  # AudioFileError, too
        check_message(error)
        is_rate = isinstance(sampling_rate, int) and 1_000 <= sampling_rate <= 1_000_000
        is_part = 0 <= offset < 0.25 and (duration is None or 0 < duration < np.inf)
        assert not is_rate or not is_part or round(offset * RATE) >= 4_000
        return
    rest = (4_000 - round(offset * RATE)) / RATE
    expected = rest if duration is None else min(rest, duration)
    assert abs(len(waveform) - expected * sampling_rate) <= 1 + sampling_rate / RATE
    assert np.isfinite(waveform).all()


@given(st.one_of(st.none(), st.integers(), st.floats(), st.lists(st.integers()), st.text(max_size=30), st.binary()))
def test_any_object_in_place_of_a_file(file):
    for read in (lambda file: load_audio(file, RATE), audio_info):
        with pytest.raises((TypeError, AudioFileError)) as raised:
            read(file)
        check_message(raised.value)
