# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""
Labels an audio file with a model of polyaudio where polyaudio is not installed.

A model folder that polyaudio saved or pushed holds the code that loads it, so transformers, torch, torchaudio and
soundfile are enough. `trust_remote_code=True` runs that code: read it first if you do not know who pushed it, and name
the commit that you read.

    python classify_without_polyaudio.py you/name clip.wav --revision COMMIT
"""

import argparse

import soundfile
import torch
import torchaudio
from transformers import AutoFeatureExtractor, AutoModelForAudioClassification


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="name on the Hugging Face Hub, or a folder")
    parser.add_argument("file", help="audio file")
    parser.add_argument("--revision", help="commit or branch of the repository")
    parser.add_argument("--top-k", type=int, default=3, help="number of labels to print (default: 3)")
    args = parser.parse_args()

    code = {"trust_remote_code": True, "revision": args.revision}
    extractor = AutoFeatureExtractor.from_pretrained(args.model, **code)
    model = AutoModelForAudioClassification.from_pretrained(args.model, **code).eval()

    samples, rate = soundfile.read(args.file, dtype="float32", always_2d=True)
    waveform = torch.from_numpy(samples).mean(1)
    waveform = torchaudio.functional.resample(waveform, rate, extractor.sampling_rate)
    inputs = extractor(waveform, sampling_rate=extractor.sampling_rate, return_tensors="pt")
    with torch.inference_mode():
        logits = model(**inputs).logits[0]
    one_label = model.config.problem_type != "multi_label_classification"
    scores = logits.softmax(-1) if one_label else logits.sigmoid()
    best = scores.topk(min(args.top_k, len(scores)))
    for score, label in zip(best.values.tolist(), best.indices.tolist(), strict=True):
        print(f"{score:7.2%}  {model.config.id2label[label]}")


if __name__ == "__main__":
    main()
