# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""The room and the microphone of a recording."""

import numpy as np

from .instruments import SAMPLING_RATE


def in_room(performance: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Add the effects of a room and a microphone: reverberation, a spectral slope and background noise."""
    samples = len(performance)
    decay = rng.uniform(0.15, 0.6)  # seconds to fall by 60 dB
    time = np.arange(int(decay * SAMPLING_RATE)) / SAMPLING_RATE
    room = rng.standard_normal(len(time), dtype=np.float32) * 10 ** (-3 * time / decay)
    room *= rng.uniform(0.1, 0.5) / np.sqrt(np.sum(room**2))
    room[0] += 1
    size = -(-(samples + len(room)) // 2**14) * 2**14  # a length for which the FFT is fast
    frequency = np.fft.rfftfreq(size, 1 / SAMPLING_RATE)
    microphone = ((frequency + 50) / 1000) ** rng.uniform(-0.3, 0.2) * (frequency > 30)
    response = np.fft.rfft(room.astype(np.float32), size) * microphone
    sound = np.fft.irfft(np.fft.rfft(performance.astype(np.float32), size) * response, size)[:samples]
    # Pink noise, 30 to 55 dB below the sound
    noise = rng.standard_normal((2, len(frequency)), dtype=np.float32) / np.sqrt(frequency + 20)
    noise = np.fft.irfft(noise[0] + 1j * noise[1], size)[:samples]
    return sound + noise * (sound.std() / noise.std() * 10 ** (-rng.uniform(30, 55) / 20))
