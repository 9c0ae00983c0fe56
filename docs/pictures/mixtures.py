# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Draws the mixtures of stage 2 of SSLAM: two clips, their mixture, and what the student sees of it.

python docs/pictures/mixtures.py docs/pictures/mixtures.png
"""

import argparse

import matplotlib.pyplot as plt
import torch
from matplotlib.patches import Rectangle
from PIL import Image

from polyaudio import SSLAMConfig, SSLAMFeatureExtractor, SSLAMForPreTraining
from polyaudio.data.ragas import SAMPLING_RATE, synthesize_recording
from polyaudio.modeling.modeling_sslam import draw_mix_starts, draw_view_masks


SEED = 14
CLIPS = (("Hamsanadam", "voice", 187.0), ("Todi", "plucked string", 139.0))  # raga, instrument, tonic in Hz
BACKGROUND, TEXT, ACCENT = "#10131f", "#e8eaf2", "#5fe0d0"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", help="PNG file to write")
    args = parser.parse_args()

    waveforms = [
        synthesize_recording(raga, tonic=tonic, timbre=timbre, seconds=10.24, seed=SEED + index)
        for index, (raga, timbre, tonic) in enumerate(CLIPS)
    ]
    inputs = SSLAMFeatureExtractor()(waveforms, sampling_rate=SAMPLING_RATE, return_tensors="pt")
    clips = inputs["input_values"]
    # The size of the model does not matter: mixing and masking have no weights
    config = SSLAMConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=1, intermediate_size=16, decoder_hidden_size=16
    )
    model = SSLAMForPreTraining(config)
    generator = torch.Generator().manual_seed(SEED)
    starts = draw_mix_starts(config, clips.shape[1], generator)
    is_mixed = model.mixed_time_patches(clips, starts, None)
    mixture = model.mix(clips, is_mixed)[0]
    masks = draw_view_masks(config, torch.ones(1, clips.shape[1]), generator)
    grid = masks[0].unflatten(0, (-1, config.num_mel_bins // config.patch_size))
    hidden = grid.repeat_interleave(config.patch_size, 0).repeat_interleave(config.patch_size, 1)
    print(f"hidden: {grid.float().mean():.1%} of the patches; unmixed regions begin at frames {starts.tolist()}")

    pictures = {
        "a clip: " + CLIPS[0][1]: clips[0],
        "another clip: " + CLIPS[1][1]: clips[1],
        "their mixture, but for two regions": mixture,
        "what the student sees of it: a fifth of the patches": mixture.masked_fill(hidden, float("nan")),
    }
    plt.rcParams.update({"font.size": 12, "text.color": TEXT, "font.family": "DejaVu Sans"})
    figure, axes = plt.subplots(2, 2, figsize=(12, 5.4), facecolor=BACKGROUND)
    figure.subplots_adjust(left=0.012, right=0.988, top=0.93, bottom=0.02, hspace=0.2, wspace=0.03)
    for axis, (title, frames) in zip(axes.flat, pictures.items(), strict=True):
        axis.imshow(frames.T, aspect="auto", origin="lower", cmap="magma", vmin=-1, vmax=1)
        axis.set(xticks=[], yticks=[], facecolor="#232838")
        axis.set_title(title, loc="left", color=TEXT, pad=7)
        for side in axis.spines.values():
            side.set_visible(False)
    length = int((~is_mixed).sum()) // 2 * config.patch_size
    for start in starts.tolist():
        axes[1, 0].add_patch(
            Rectangle((start, 0), length, config.num_mel_bins - 1, fill=False, edgecolor=ACCENT, linewidth=2.5)
        )
    figure.savefig(args.output, dpi=100, facecolor=BACKGROUND)
    # A palette makes the file a third as large
    image = Image.open(args.output).convert("RGB")
    image.quantize(128, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE).save(args.output, optimize=True)


if __name__ == "__main__":
    main()
