# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""
Pitch trackers over synthesised ragas, whose true pitch is known.

    pip install swift-f0 torchcrepe
    python benchmarks/pitch.py [--recordings 8] [--seed 0] [--crepe tiny|full|none]

Raw pitch accuracy: the frames with a melody whose pitch is right within 50 cents. Raw chroma accuracy: the same in
any octave. Voicing recall: the frames with a melody that are taken for such. False alarm: the others that are taken
for such. A rival that is not installed is left out.
"""

import argparse
import time
from collections.abc import Callable

import numpy as np
import torch

from polyaudio.data.ragas import (
    CONTROL_RATE,
    JANYAS,
    RAGAS,
    SAMPLING_RATE,
    TIMBRES,
    Concert,
    Recording,
    synthesize_concert,
)
from polyaudio.feature_extraction.melody import MelodyTracker


CONDITIONS = {
    "clean": Concert(),
    "drums": Concert(strokes=1),
    "concert=0.5": Concert.of(0.5),
    "concert=1": Concert.of(1.0),
}
SECONDS = 12
HOP = 320
LOWEST, HIGHEST = 65.0, 1500.0

# Returns times in seconds, pitch in Hz and whether there is a melody, `(frames,)` each
Tracker = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray, np.ndarray]]


def melody_tracker() -> Tracker:
    tracker = MelodyTracker(SAMPLING_RATE, hop_length=HOP)

    def track(samples: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        melody = tracker(torch.from_numpy(samples)[None], torch.tensor([len(samples)]))
        pitch = melody.pitch.gather(2, melody.weight.argmax(2, keepdim=True))[0, :, 0].numpy()
        return np.arange(len(pitch)) * HOP / SAMPLING_RATE, pitch, melody.voicing[0].numpy() > 0.5

    return track


def swift_f0() -> Tracker:
    from swift_f0 import SwiftF0

    detector = SwiftF0(threads=torch.get_num_threads())

    def track(samples: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        found = detector.detect(samples, SAMPLING_RATE)
        return found.timestamps, found.pitch_hz, found.confidence >= 0.5

    return track


def crepe(model: str) -> Tracker:
    import torchcrepe

    def track(samples: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        pitch, periodicity = torchcrepe.predict(
            torch.from_numpy(samples)[None],
            SAMPLING_RATE,
            HOP,
            LOWEST,
            HIGHEST,
            model,
            batch_size=512,
            return_periodicity=True,
        )
        times = np.arange(pitch.shape[1]) * HOP / SAMPLING_RATE
        return times, pitch[0].numpy(), periodicity[0].numpy() > 0.21  # the threshold of its documentation

    return track


def recording_of(seed: int, concert: Concert) -> Recording:
    rng = np.random.default_rng([seed, 19])
    return synthesize_concert(
        str(rng.choice([*RAGAS, *JANYAS])),
        tonic=float(np.exp(rng.uniform(*np.log([98, 262])))),
        timbre=TIMBRES[seed % len(TIMBRES)],
        seconds=SECONDS,
        seed=seed,
        tempo=float(rng.uniform(90, 200)),
        concert=concert,
    )


def counts(recording: Recording, times: np.ndarray, pitch: np.ndarray, voiced: np.ndarray) -> np.ndarray:
    """Frames with a melody, those right, those right in any octave, those heard; other frames, those taken for one."""
    nearest = np.minimum(np.round(times * CONTROL_RATE).astype(int), len(recording.pitch) - 1)
    truth = recording.pitch[nearest]
    has_melody = truth > 0
    cents = 1200 * np.log2(np.maximum(pitch, 1) / np.maximum(truth, 1))
    right = has_melody & (np.abs(cents) <= 50)
    chroma = has_melody & (np.abs((cents + 600) % 1200 - 600) <= 50)
    parts = (has_melody, right, chroma, has_melody & voiced, ~has_melody, ~has_melody & voiced)
    return np.array([one.sum() for one in parts])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recordings", type=int, default=8, help=f"for each condition, of {SECONDS} s")
    parser.add_argument("--seed", type=int, default=0, help="of the first recording")
    parser.add_argument("--crepe", default="tiny", choices=["tiny", "full", "none"], help="the model of torchcrepe")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)

    trackers: dict[str, Tracker] = {"polyaudio": melody_tracker()}
    rivals: dict[str, Callable[[], Tracker]] = {"swift-f0": swift_f0}
    if args.crepe != "none":
        rivals[f"torchcrepe {args.crepe}"] = lambda: crepe(args.crepe)
    for name, load in rivals.items():
        try:
            trackers[name] = load()
        except ImportError as error:
            print(f"{name} is left out: {error}")

    print(f"{args.recordings} recordings of {SECONDS} s, from seed {args.seed}\n")
    print("| condition | tracker | raw pitch | raw chroma | voicing recall | false alarm | s per minute |")
    print("|---|---|---|---|---|---|---|")
    for condition, concert in CONDITIONS.items():
        recordings = [recording_of(seed, concert) for seed in range(args.seed, args.seed + args.recordings)]
        for name, track in trackers.items():
            start = time.perf_counter()
            total = sum(counts(one, *track(one.samples)) for one in recordings)
            seconds = (time.perf_counter() - start) / args.recordings * 60 / SECONDS
            pitch, chroma, recall = total[1:4] / total[0]
            cells = (f"{one:.3f}" for one in (pitch, chroma, recall, total[5] / total[4]))
            print(f"| {condition} | {name} | {' | '.join(cells)} | {seconds:.2f} |", flush=True)


if __name__ == "__main__":
    main()
