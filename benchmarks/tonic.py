# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""
The tonic of synthesised recordings, whose tonic is known, by both estimators.

    python benchmarks/tonic.py [--clips 50] [--recordings 20] [--seconds 120] [--seed 100000]

Right is within 25 cents: in any octave, and in its own. Clips have 12 to 16 s, and tonics are drawn from 98 to 260 Hz.
A part of a third of that range has its own table. A recording is estimated over its whole length: by the multipitch
estimator from the evidence of all parts, by that of the drone, which knows clips only, from all of it at once.
"""

import argparse
from collections import defaultdict
from collections.abc import Callable

import numpy as np
import torch
from tonic_recordings import CONDITIONS, HIGHEST, LOWEST, recording_of

from polyaudio import estimate_tonic
from polyaudio.data.ragas import SAMPLING_RATE
from polyaudio.feature_extraction.spectrogram import power_spectrogram
from polyaudio.feature_extraction.tonic_chroma import TonicChroma


# Returns a tonic in Hz, and its probability or confidence
Estimator = Callable[[np.ndarray], tuple[float, float]]


def by_drone(samples: np.ndarray) -> tuple[float, float]:
    chroma, lengths = TonicChroma(SAMPLING_RATE), torch.tensor([len(samples)])
    hop, lines = chroma.search_hop_length, len(chroma.frequencies)
    power = power_spectrogram(torch.from_numpy(samples)[None], lengths, chroma.n_fft, hop, lines)
    tonic, confidence = chroma.find_tonic(power, 1 + lengths // hop)
    return tonic.item(), confidence.item()


def by_multipitch(samples: np.ndarray) -> tuple[float, float]:
    best = estimate_tonic(samples, SAMPLING_RATE, number=1)[0]
    return best.frequency, best.probability


ESTIMATORS: dict[str, Estimator] = {"drone": by_drone, "multipitch": by_multipitch}


def is_right(estimate: float, tonic: float) -> tuple[bool, bool]:
    """Whether an estimate is right in any octave, and in its own."""
    cents = 1200 * np.log2(estimate / tonic)
    return abs((cents + 600) % 1200 - 600) <= 25, abs(cents) <= 25


def print_rows(title: str, results: dict[str, dict[str, list[tuple[bool, bool]]]]) -> None:
    """One row for each key of `results`, with both shares of each estimator."""
    print(f"\n| {title} | number | " + " | ".join(f"{name} | {name}, octave" for name in ESTIMATORS) + " |")
    print("|---|---|" + "---|" * 2 * len(ESTIMATORS))
    for key, found in results.items():
        shares = (share for name in ESTIMATORS for share in np.mean(found[name], axis=0))
        print(f"| {key} | {len(found['drone'])} | {' | '.join(f'{share:.3f}' for share in shares)} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=50, help="for each condition")
    parser.add_argument("--recordings", type=int, default=20, help="for each condition")
    parser.add_argument("--seconds", type=float, default=120, help="length of a recording")
    parser.add_argument("--seed", type=int, default=100_000, help="of the first clip; those of the fit are below 1000")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    edges = np.geomspace(LOWEST, HIGHEST, 4).round()
    by_tonic: dict = defaultdict(lambda: defaultdict(list))
    probabilities, hits = [], []
    for title, number, seconds in (("clips", args.clips, None), ("recordings", args.recordings, args.seconds)):
        results: dict = {condition: defaultdict(list) for condition in CONDITIONS if number}
        for condition, found in results.items():
            for seed in range(args.seed, args.seed + number):
                samples, tonic = recording_of(condition, seed, seconds)
                third = min(int(np.searchsorted(edges[1:], tonic)), 2)
                for name, estimate in ESTIMATORS.items():
                    frequency, probability = estimate(samples)
                    found[name].append(is_right(frequency, tonic))
                    if seconds is None and condition != "no drone":
                        by_tonic[f"{edges[third]:.0f} to {edges[third + 1]:.0f} Hz"][name].append(found[name][-1])
                    if seconds is None and name == "multipitch":
                        probabilities.append(probability)
                        hits.append(found[name][-1][1])
        print_rows(title, results)
    print_rows("clips with a drone", dict(sorted(by_tonic.items(), key=lambda one: float(one[0].split()[0]))))
    print(f"\nclips: mean probability {np.mean(probabilities):.3f}, right in its octave {np.mean(hits):.3f}")


if __name__ == "__main__":
    main()
