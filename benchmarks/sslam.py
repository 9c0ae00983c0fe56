# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Speed of SSLAM, base size, on a CPU, next to what it can be compared with; everything is measured in one run.

    python benchmarks/sslam.py

The candidates of a comparison take turns, and the shortest time of each counts, so that other load on the machine hits
them alike. Needs torchaudio for one of the comparisons.
"""

import argparse
import time
from collections.abc import Callable

import torch
import torchaudio
from transformers import ASTConfig, ASTFeatureExtractor, ASTModel

from polyaudio import SSLAMConfig, SSLAMFeatureExtractor, SSLAMForAudioClassification


def shortest_times(candidates: dict[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """The shortest of `repeats` times of each candidate, in seconds, after one call to warm up."""
    times = {name: [] for name in candidates}
    for _ in range(repeats + 1):
        for name, run in candidates.items():
            start = time.perf_counter()
            run()
            times[name].append(time.perf_counter() - start)
    return {name: min(measured[1:]) for name, measured in times.items()}


def forward_flops(config: SSLAMConfig, num_frames: int) -> int:
    """Floating point operations in the matrix products of one clip's forward pass."""
    num_patches = num_frames // config.patch_size * (config.num_mel_bins // config.patch_size)
    num_tokens, width = 1 + num_patches, config.hidden_size
    projections = 2 * num_tokens * width * (4 * width + 2 * config.intermediate_size)
    attention = 2 * 2 * num_tokens**2 * width
    return config.num_hidden_layers * (projections + attention) + 2 * num_patches * config.patch_size**2 * width


def measure_extraction(repeats: int) -> None:
    """32 clips of 10 s: our features against a loop over torchaudio's and against AST's."""
    clips = [0.1 * torch.randn(160_000) for _ in range(32)]
    arrays = [clip.numpy() for clip in clips]
    extractor, ast_extractor = SSLAMFeatureExtractor(), ASTFeatureExtractor()

    def kaldi_loop() -> torch.Tensor:
        features = [
            torchaudio.compliance.kaldi.fbank((clip - clip.mean())[None], window_type="hanning", num_mel_bins=128)
            for clip in clips
        ]
        padded = torch.stack([torch.nn.functional.pad(x, (0, 0, 0, 1024 - len(x))) for x in features])
        return (padded + 4.268) / (2 * 4.569)

    times = shortest_times(
        {
            "SSLAMFeatureExtractor": lambda: extractor(arrays, sampling_rate=16000, return_tensors="pt"),
            "a loop over kaldi.fbank": kaldi_loop,
            "ASTFeatureExtractor": lambda: ast_extractor(arrays, sampling_rate=16000, return_tensors="pt"),
        },
        repeats,
    )
    print("Features of 32 clips of 10 s")
    for name, seconds in times.items():
        print(f"  {name:<26} {1e3 * seconds:8.1f} ms   {seconds / times['SSLAMFeatureExtractor']:5.2f} x")


def measure_forward(repeats: int) -> None:
    """The forward pass against the speed of a matrix product, AST, and bfloat16."""
    config = SSLAMConfig(num_labels=527)
    model = SSLAMForAudioClassification(config).eval()
    half = SSLAMForAudioClassification(config).eval()
    half.load_state_dict(model.state_dict())
    half.to(torch.bfloat16)
    eager_half = SSLAMForAudioClassification(config).eval().to(torch.bfloat16)
    eager_half.set_attn_implementation("eager")
    ast = ASTModel(ASTConfig()).eval()
    clips = torch.randn(8, 1024, 128)
    matrix, half_matrix = torch.randn(2048, 2048), torch.randn(2048, 2048).bfloat16()

    times = shortest_times(
        {
            "matrix product": lambda: matrix @ matrix,
            "matrix product, bfloat16": lambda: half_matrix @ half_matrix,
            "one clip": lambda: model(clips[:1]),
            "one clip, bfloat16": lambda: half(clips[:1].bfloat16()),
            "one clip, bfloat16, eager": lambda: eager_half(clips[:1].bfloat16()),
            "eight clips": lambda: model(clips),
            "AST, one clip": lambda: ast(clips[:1]),
            "eight clips of 1 s": lambda: model(clips[:, :98]),
        },
        repeats,
    )
    peak = 2 * 2048**3 / times["matrix product"]
    half_peak = 2 * 2048**3 / times["matrix product, bfloat16"]
    flops = forward_flops(config, 1024)
    print(f"Forward pass of 10 s clips (a matrix product: {peak / 1e9:.0f} GFLOP/s, bfloat16 {half_peak / 1e9:.0f})")
    print(
        f"  one clip                 {times['one clip']:7.3f} s   {flops / times['one clip'] / peak:4.0%} of the peak"
    )
    print(
        f"  eight clips              {times['eight clips']:7.3f} s   "
        f"{8 * flops / times['eight clips'] / peak:4.0%} of the peak"
    )
    print(
        f"  one clip, bfloat16       {times['one clip, bfloat16']:7.3f} s   "
        f"{times['one clip'] / times['one clip, bfloat16']:4.2f} x faster"
    )
    print(
        f"  the same, eager attention{times['one clip, bfloat16, eager']:7.3f} s   "
        f"{times['one clip'] / times['one clip, bfloat16, eager']:4.2f} x faster"
    )
    print(
        f"  AST, one clip            {times['AST, one clip']:7.3f} s   "
        f"{times['AST, one clip'] / times['one clip']:4.2f} x slower"
    )
    print(
        f"  eight clips of 1 s       {times['eight clips of 1 s']:7.3f} s   "
        f"{times['eight clips'] / times['eight clips of 1 s']:4.1f} x faster than padded to 1024 frames"
    )

    logits, half_logits = model(clips).logits, half(clips.bfloat16()).logits.float()
    same_best = (logits.argmax(-1) == half_logits.argmax(-1)).float().mean()
    ranks = torch.stack([values.argsort().argsort().flatten().float() for values in (logits, half_logits)])
    print(
        f"  bfloat16 finds the same best class in {same_best:.0%} of the clips; rank correlation over all classes "
        f"{torch.corrcoef(ranks)[0, 1]:.5f}"
    )


@torch.inference_mode()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2, help="threads of torch (default: 2)")
    parser.add_argument("--repeats", type=int, default=5, help="times to run each candidate (default: 5)")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    print(f"torch {torch.__version__}, {arguments.threads} threads")
    measure_extraction(arguments.repeats)
    measure_forward(arguments.repeats)


if __name__ == "__main__":
    main()
