"""The front ends for export compute what the feature extractors compute."""

import numpy as np
import pytest
import torch

from polyaudio import SAMAudioFeatureExtractor, SSLAMFeatureExtractor
from polyaudio.feature_extraction.samples import CentredPower, FourierPower, PreciseFourierPower
from polyaudio.feature_extraction.samples_sam_audio import sample_front_end
from polyaudio.feature_extraction.samples_sslam import SSLAMFrontEnd
from polyaudio.feature_extraction.spectrogram import power_spectrogram


RATE = 16000
LENGTHS = [100, 3200, 16000, 50_000]


def sound(length: int, seed: int = 0) -> np.ndarray:
    time = np.arange(length) / RATE
    noise = 0.05 * np.random.default_rng(seed).standard_normal(length)
    return (0.3 * np.sin(2 * np.pi * 220 * time) + noise + 0.1).astype(np.float32)


def batch(clips: list[np.ndarray]) -> tuple[torch.Tensor, torch.Tensor]:
    longest = max(map(len, clips))
    samples = torch.stack([torch.from_numpy(np.pad(clip, (0, longest - len(clip)))) for clip in clips])
    mask = torch.tensor([[int(index < len(clip)) for index in range(longest)] for clip in clips])
    return samples, mask


@pytest.mark.parametrize("power", [FourierPower, PreciseFourierPower])
@pytest.mark.parametrize(("n_fft", "num_bins"), [(512, 256), (1024, None), (4096, 1073), (400, None), (97, 20)])
def test_the_power_is_that_of_a_fourier_transform(n_fft, num_bins, power):
    frames = torch.randn(2, 3, n_fft, generator=torch.Generator().manual_seed(0))
    window = torch.hann_window(n_fft, dtype=torch.float64)
    expected = torch.fft.rfft(frames * window).abs().square()[..., :num_bins]
    torch.testing.assert_close(power(window, num_bins)(frames).double(), expected, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("power", [FourierPower, PreciseFourierPower])
def test_constants_are_contiguous(power):
    # ExecuTorch refuses others
    assert all(one.is_contiguous() for one in power(torch.hann_window(512)).buffers())


@pytest.mark.parametrize("n_fft", [512, 1024, 1200])
def test_silent_bins_beside_a_loud_tone_keep_their_power(n_fft):
    # With a smooth window, the bins far from a tone have no more than rounding errors
    window = torch.from_numpy(np.kaiser(n_fft, 30))
    frames = torch.sin(torch.linspace(0, 200, n_fft, dtype=torch.float64) + torch.arange(20)[:, None]).float()[None]
    spectrum = torch.fft.rfft(frames * window).abs()
    far = slice(n_fft // 4, None)
    errors = {}
    for power in (FourierPower, PreciseFourierPower):
        found = power(window)(frames).double().sqrt()
        errors[power] = ((found - spectrum)[..., far].abs().max() / spectrum.max()).item()
    assert errors[PreciseFourierPower] < 5e-9
    assert errors[FourierPower] > 10 * errors[PreciseFourierPower]


def test_clips_of_a_batch_are_reflected_at_their_own_ends():
    lengths = torch.tensor([5000, 3000, 700])
    waveforms, _ = batch([sound(length, seed) for seed, length in enumerate(lengths.tolist())])
    expected = power_spectrogram(waveforms, lengths, 1024, 256).transpose(1, 2)
    found = CentredPower(1024, 256)(waveforms, lengths)
    for row, number in enumerate((1 + lengths // 256).tolist()):
        torch.testing.assert_close(found[row, :number], expected[row, :number], rtol=1e-3, atol=1e-3)


def front_ends() -> dict:
    heard, masked = SSLAMFeatureExtractor(max_length=128), SSLAMFeatureExtractor(max_length=128, mask_padding=True)
    found = {"sslam": (heard, SSLAMFrontEnd(heard, True)), "sslam, masked": (masked, SSLAMFrontEnd(masked, False))}
    for name in ("log_mel", "tonic_chroma", "tonic_pitch", "tonic_pitch+chroma", "waveform"):
        extractor = SAMAudioFeatureExtractor(name)
        found[name] = (extractor, sample_front_end(extractor))
    return found


FRONT_ENDS = front_ends()


@pytest.mark.parametrize("name", FRONT_ENDS)
@pytest.mark.parametrize("length", LENGTHS)
def test_a_clip_gets_the_features_of_the_extractor(name, length):
    extractor, front_end = FRONT_ENDS[name]
    expected = extractor(sound(length), sampling_rate=RATE, return_tensors="pt")
    values, mask = front_end(*batch([sound(length)]))
    assert torch.equal(mask.int(), expected["attention_mask"])
    torch.testing.assert_close(values, expected["input_values"], rtol=0, atol=2e-3)


@pytest.mark.parametrize("name", FRONT_ENDS)
def test_padding_of_a_batch_is_masked(name):
    extractor, front_end = FRONT_ENDS[name]
    clips = [sound(30_000), sound(9000, seed=1)]
    values, mask = front_end(*batch(clips))
    expected = extractor(clips[1], sampling_rate=RATE, padding="longest", return_tensors="pt")["input_values"]
    own = expected.shape[1]
    assert mask[1].tolist() == [1] * own + [0] * (mask.shape[1] - own)
    assert (values[1, own:] == extractor.padding_value).all()
    torch.testing.assert_close(values[1, :own], expected[0], rtol=0, atol=2e-3)


def test_silence_stays_finite():
    for extractor, front_end in FRONT_ENDS.values():
        expected = extractor(np.zeros(8000, dtype=np.float32), sampling_rate=RATE, return_tensors="pt")
        values, _ = front_end(torch.zeros(1, 8000), torch.ones(1, 8000, dtype=torch.int64))
        torch.testing.assert_close(values, expected["input_values"], rtol=0, atol=1e-4)
