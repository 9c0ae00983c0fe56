# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""F1 of events and PSDS of a frame classifier at several resolutions, before and after its rules are chosen.

    polyaudio dataset mix SOUNDS --clips 400 --validation-clips 80 --test-clips 120 --seconds 5 --output events
    polyaudio train --config sslam_small --dataset events --epochs 20 --output-dir model
    python benchmarks/sound_events.py model events

The rules are chosen on the split "validation" and scored on "test". The timelines are those of `annotate`. Intervals
are those of 95 % of 1,000 draws of the test clips with replacement. PSDS needs `pip install polyaudio[sound-events]`.
"""

import argparse

import numpy as np

from polyaudio import Annotator, EventRules, load_audio
from polyaudio.data.audio import audio_info
from polyaudio.data.events import Event
from polyaudio.data.loading import load_clips
from polyaudio.data.readable import audio_file
from polyaudio.evaluation.event_tuning import choose_rules, score_rules
from polyaudio.evaluation.sound_events import score_events


DRAWS = 1000


def timelines(clips, annotator: Annotator) -> dict:
    """The arguments of `choose_rules` and `score_rules`."""
    names = clips.features["label"].feature["label"].names
    scores, references, durations = {}, {}, {}
    for row, clip in enumerate(clips):
        file, name = audio_file(clip["audio"]), str(row)
        scores[name] = annotator.timeline.scores(load_audio(file, annotator.sampling_rate))
        durations[name] = audio_info(file).duration
        references[name] = [Event(one["onset"], one["offset"], names[one["label"]]) for one in clip["label"]]
    return {
        "scores": scores,
        "references": references,
        "durations": durations,
        "labels": list(annotator.labels),
        "frame_seconds": annotator.cell_seconds,
    }


def interval(test: dict, rules: EventRules) -> tuple[float, float]:
    rng, names, drawn = np.random.default_rng(0), list(test["scores"]), []
    for _ in range(DRAWS):
        chosen = dict(enumerate(rng.choice(names, len(names))))
        parts = {
            part: {str(index): test[part][name] for index, name in chosen.items()}
            for part in ("scores", "references", "durations")
        }
        drawn.append(score_rules(**{**test, **parts}, rules=rules)["event_f1_macro"])
    low, high = np.percentile(drawn, [2.5, 97.5])
    return low, high


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("dataset")
    parser.add_argument("--resolutions", type=float, nargs="+", default=[0.16, 0.08, 0.04], metavar="SECONDS")
    args = parser.parse_args()
    clips = load_clips(args.dataset)
    print("| resolution | rules | F1 of events | F1 of segments | PSDS 1, 2 |\n|---|---|---|---|---|")
    for resolution in args.resolutions:
        annotator = Annotator(args.model, resolution=resolution)
        test = timelines(clips["test"], annotator)
        chosen = choose_rules(**timelines(clips["validation"], annotator))
        for name, rules in {"default": EventRules(), "chosen": chosen}.items():
            scores = score_events(**test, rules=rules).clips
            low, high = interval(test, rules)
            print(
                f"| {resolution * 1000:.0f} ms | {name} | {scores['event_f1_macro']:.3f} ({low:.3f} to {high:.3f}) | "
                f"{scores['segment_f1_macro']:.3f} | {scores['psds1']:.3f}, {scores['psds2']:.3f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
