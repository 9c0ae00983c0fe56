# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""
Fits the weights of the estimator of the tonic on synthesised recordings, and prints them as they stand in its module.

    python benchmarks/fit_tonic.py [--clips 150] [--recordings 15]

A softmax regression over all possible tonics, with a penalty on large weights. The seeds of the recordings begin with
0; `benchmarks/tonic.py` uses others.
"""

import argparse

import torch
from tonic_recordings import CONDITIONS, UNSEEN, recording_of

from polyaudio.data.ragas import SAMPLING_RATE
from polyaudio.feature_extraction.tonic_multipitch import MultipitchTonic, tonic_target
from polyaudio.inference.tonic import recording_evidence


MINUTE = 60.0
WIDTH = 8.0  # cents
PENALTY = 1e-3


def examples(clips: int, recordings: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Features `(n, NUM_FEATURES, tonics)` and true tonics `(n,)` of clips, and of recordings of a minute."""
    finder = MultipitchTonic(SAMPLING_RATE, 4096)
    features, tonics = [], []
    for condition in CONDITIONS:
        if condition in UNSEEN:
            continue
        for seed in range(clips + recordings):
            samples, tonic = recording_of(condition, seed, None if seed < clips else MINUTE)
            features.append(finder.features(recording_evidence([samples], finder).curves))
            tonics.append(tonic)
        print(f"# {condition}", flush=True)
    return torch.cat(features), torch.tensor(tonics)


def fit(features: torch.Tensor, target: torch.Tensor) -> tuple[torch.Tensor, float]:
    """The weights, and the mean cross entropy in nepers."""
    scale = features.std((0, 2)).clamp(min=1e-6)
    features = features / scale[:, None]
    weights = torch.zeros(len(scale), requires_grad=True)
    optimizer = torch.optim.LBFGS([weights], max_iter=200, line_search_fn="strong_wolfe")

    def entropy() -> torch.Tensor:
        return -(target * torch.einsum("nft,f->nt", features, weights).log_softmax(1)).sum(1).mean()

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = entropy() + PENALTY * weights.square().sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    with torch.no_grad():
        return weights / scale, float(entropy())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=150, help="for each condition, of 12 to 16 s")
    parser.add_argument("--recordings", type=int, default=15, help="for each condition, of a minute")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    features, tonics = examples(args.clips, args.recordings)
    weights, entropy = fit(features, tonic_target(tonics, WIDTH))
    print(f"# {len(tonics)} examples, cross entropy {entropy:.3f}")
    for row in weights.split(9):
        print(f"    ({', '.join(f'{weight:.2f}' for weight in row)}),")


if __name__ == "__main__":
    main()
