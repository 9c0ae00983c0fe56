# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Draws a picture of the guide to ragas: one raga in two keys, as mel bands and as pitch relative to the tonic.

polyaudio demo --output runs/demo
python docs/pictures/one_raga_two_keys.py runs/demo docs/pictures/one_raga_two_keys.png
"""

import argparse

import matplotlib.pyplot as plt
import torch
from matplotlib.colors import to_rgba
from PIL import Image
from transformers import AutoFeatureExtractor, AutoModelForAudioClassification

import polyaudio
from polyaudio.data.ragas import SAMPLING_RATE, synthesize_recording


RAGA = "Hamsanadam"
SECONDS = 12
PERFORMANCES = (  # instrument, tonic in Hz, seed
    ("voice", 187.0, 12345),
    ("plucked string", 139.0, 3),
)
SWARAS = {"S": 0, "R2": 204, "M2": 590, "P": 702, "N3": 1088}  # cents above the tonic, of RAGA

BACKGROUND, TEXT, FAINT, ACCENT = "#10131f", "#e8eaf2", "#8f97b3", "#5fe0d0"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="folder of a SAMAudio classifier with the front end tonic_chroma")
    parser.add_argument("output", help="PNG file to write")
    args = parser.parse_args()

    extractor = AutoFeatureExtractor.from_pretrained(args.model)
    # Only eager attention returns its weights
    model = AutoModelForAudioClassification.from_pretrained(args.model, attn_implementation="eager").eval()
    log_mel = polyaudio.SAMAudioFeatureExtractor("log_mel")

    plt.rcParams.update({"font.size": 11, "text.color": TEXT, "font.family": "DejaVu Sans"})
    figure, axes = plt.subplots(5, 2, figsize=(12, 6.2), height_ratios=[4, 0.7, 0.8, 4, 0.7], facecolor=BACKGROUND)
    figure.subplots_adjust(left=0.02, right=0.98, top=0.87, bottom=0.04, hspace=0.08, wspace=0.09)
    for axis in axes[2]:
        axis.set_visible(False)
    for row, (timbre, tonic, seed) in zip((0, 3), PERFORMANCES, strict=True):
        clip = synthesize_recording(RAGA, tonic=tonic, timbre=timbre, seconds=SECONDS, seed=seed)
        mel = log_mel(clip, sampling_rate=SAMPLING_RATE, return_tensors="pt")["input_values"][0]
        inputs = extractor(clip, sampling_rate=SAMPLING_RATE, return_tensors="pt")
        with torch.no_grad():
            answer = model(**inputs, output_attentions=True)
        probability, best = answer.logits.softmax(-1)[0].max(-1)
        attention = answer.attentions[-1][0].mean((0, 1))  # (frames,): the mean over heads and segment tokens
        print(f"{timbre}, tonic {tonic:g} Hz, found {inputs['tonic'].item():.1f} Hz: ", end="")
        print(f"{model.config.id2label[best.item()]} {probability:.1%}")

        draw_frames(axes[row, 0], mel.T, lowest=-9)
        draw_frames(axes[row, 1], inputs["input_values"][0].T, lowest=0)
        axes[row, 0].set_title(f"{timbre}, tonic {tonic:g} Hz", loc="left", color=TEXT, pad=7)
        label = f"{model.config.id2label[best.item()]}, {probability:.0%}"
        axes[row, 1].set_title(label, loc="right", color=ACCENT, pad=7, weight="bold")
        mark_swaras(axes[row, 1])
        draw_attention(axes[row + 1, 1], attention)
        axes[row + 1, 0].set_axis_off()
        note = {"transform": axes[row + 1, 0].transAxes, "color": FAINT, "size": 10, "va": "center"}
        axes[row + 1, 0].text(0, 0.45, f"{SECONDS} seconds", **note)
        axes[row + 1, 0].text(1, 0.45, "attention of the segment tokens", ha="right", **note)
    head = {"y": 0.955, "size": 14, "ha": "left", "va": "center", "weight": "bold"}
    figure.text(axes[0, 0].get_position().x0, s="Mel bands: the key moves every line", **head)
    figure.text(axes[0, 1].get_position().x0, s="Pitch relative to the tonic: the raga stays in place", **head)
    figure.savefig(args.output, dpi=100, facecolor=BACKGROUND)
    # A palette makes the file a third as large
    image = Image.open(args.output).convert("RGB")
    image.quantize(128, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE).save(args.output, optimize=True)


def draw_frames(axis: plt.Axes, frames: torch.Tensor, lowest: float) -> None:
    """An image of `(bins, frames)`, from the value `lowest` up."""
    axis.imshow(frames, aspect="auto", origin="lower", cmap="magma", vmin=lowest, vmax=frames.quantile(0.998))
    axis.set(xticks=[], yticks=[])
    for side in axis.spines.values():
        side.set_visible(False)


def mark_swaras(axis: plt.Axes) -> None:
    bins = axis.get_ylim()[1] + 0.5
    axis.set_yticks([cents / 1200 * bins for cents in SWARAS.values()], list(SWARAS), color=TEXT)
    axis.tick_params(length=0)
    for cents in SWARAS.values():
        axis.axhline(cents / 1200 * bins, color=ACCENT, linewidth=0.6, alpha=0.35)


def draw_attention(axis: plt.Axes, attention: torch.Tensor) -> None:
    """Where the segment tokens look, `(frames,)`, as an area above its lowest value."""
    place = torch.arange(len(attention))
    axis.fill_between(place, attention, attention.min() * 0.98, color=to_rgba(ACCENT, 0.55), linewidth=0)
    axis.plot(place, attention, color=ACCENT, linewidth=1.2)
    axis.set(xlim=(0, len(attention) - 1), xticks=[], yticks=[], facecolor=BACKGROUND)
    for side in axis.spines.values():
        side.set_visible(False)


if __name__ == "__main__":
    main()
