# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""`polyaudio embed`: write the features of audio files."""

import json
import os
import shutil
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .command import argument_parser, command
from .loading import add_run_arguments, choose_device, load_config, load_feature_extractor


if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel
    from transformers.utils import ModelOutput

    # What a window of a clip gives: a vector that stands for all of it, vectors along its time, or both.
    WindowFeatures = tuple[torch.Tensor | None, torch.Tensor | None]


DESCRIPTION = """\
Write the features of audio files of any rate, mono or not, as float32 arrays.

granularity   SSLAM, EAT                          SAMAudio         other audio encoders
  utterance   class token (H)                     pooled (H)       mean of the last hidden state (H)
  frame       patches, averaged over the mel      encoder frames   last hidden state
              bins (time patches of 160 ms, H)
  all         class token, patches (1 + n, H)     segments         last hidden state

A clip longer than a window (see --window) is cut. The features of its windows are joined in time; what stands for the
whole clip (utterance, class token) is their mean, in which each window counts by its length.

The features of FILE are in DIR/FILE.npy, FILE taken relative to the folder that holds all the files; with
--single-file they are in DIR/features.npz or DIR/features.safetensors under the name FILE. DIR/embed.json keeps how
they were made. Files whose features are there already are skipped, so that a run that was stopped goes on where it
was. Files that cannot be read are named, and the exit code is then 1."""

EXAMPLES = """\
  polyaudio embed recordings/ --model ta012/SSLAM_pretrain --granularity utterance --output features
  polyaudio embed *.wav --model runs/ragas --granularity frame --output features --format safetensors --single-file
  polyaudio embed *.wav --model ta012/SSLAM_pretrain --granularity all --output features --padding max_length
"""


@command
def main(argv: list[str]) -> int:
    parser = argument_parser("embed", DESCRIPTION, EXAMPLES)
    add_run_arguments(parser)
    parser.add_argument("--granularity", required=True, choices=("all", "frame", "utterance"), help="see above")
    parser.add_argument("--output", required=True, metavar="DIR", help="folder for the features")
    parser.add_argument("--format", choices=("npy", "safetensors"), default="npy", help="format of the files (npy)")
    parser.add_argument("--single-file", action="store_true", help="one file for all clips, made when all are done")
    parser.add_argument("--overwrite", action="store_true", help="compute anew what is there already")
    args = parser.parse_args(argv)

    from tqdm.auto import tqdm
    from transformers import AutoModel

    from .batches import ClipReader, find_files, run_on_files

    files = find_files(args.files)
    config = load_config(args.model)
    if config.is_encoder_decoder:
        raise ValueError(f"{args.model} is of type {config.model_type}, which is no audio encoder")
    device = choose_device(args.device)
    model = AutoModel.from_pretrained(args.model).eval().to(device)
    reader = ClipReader(
        model.config,
        load_feature_extractor(args.model, config),
        batch_size=args.batch_size,
        window=args.window,
        padding=args.padding,
    )

    model_name = os.path.abspath(args.model) if os.path.isdir(args.model) else args.model
    settings = {"model": model_name, "granularity": args.granularity, "window": args.window, "padding": args.padding}
    output = _FeatureFolder(Path(args.output), settings, files, args.format, args.single_file)
    done = set() if args.overwrite else output.find_done(files)
    answer = feature_function(model, args.granularity)
    failed = 0
    todo = [file for file in files if file not in done]
    for result in run_on_files(model, reader, todo, answer, num_workers=args.workers, description="Embedding"):
        if result.error is None:
            output.write(result.file, join_windows(result.windows, result.seconds))
        else:
            failed += 1
            tqdm.write(f"polyaudio embed: {result.error}", file=sys.stderr)  # beside the progress bar
    output.finish()

    skipped = f", {len(done)} were there already" if done else ""
    print(f"{output}: features of {len(todo) - failed} files written{skipped}")
    if failed:
        print(f"polyaudio embed: {failed} of {len(files)} files could not be read", file=sys.stderr)
    return 1 if failed else 0


def feature_function(
    model: "PreTrainedModel", granularity: str
) -> Callable[["ModelOutput", dict[str, "torch.Tensor"]], list["WindowFeatures"]]:
    """A function from a model's output for a batch of windows, and its input, to the features of each window."""
    functions = {"sslam": _sslam_features, "sam_audio": _sam_audio_features}
    function = functions.get(model.config.model_type, _encoder_features)

    def features(outputs, inputs):
        return [
            tuple(None if part is None else part.float().cpu() for part in window)
            for window in function(model, outputs, inputs, granularity)
        ]

    return features


def _sslam_features(model, outputs, inputs, granularity: str) -> list["WindowFeatures"]:
    class_tokens, patches = outputs.last_hidden_state[:, 0], outputs.last_hidden_state[:, 1:]
    if granularity == "utterance":
        return [(token, None) for token in class_tokens]
    time_patches = patches.unflatten(1, (-1, model.config.num_mel_bins // model.config.patch_size))
    lengths = [time_patches.shape[1]] * len(time_patches)
    if "attention_mask" in inputs:
        lengths = model.get_time_patch_mask(inputs["attention_mask"]).sum(1).tolist()
    windows = [window[:length] for window, length in zip(time_patches, lengths, strict=True)]
    if granularity == "frame":
        return [(None, window.mean(1)) for window in windows]
    return [(token, window.flatten(0, 1)) for token, window in zip(class_tokens, windows, strict=True)]


def _sam_audio_features(model, outputs, inputs, granularity: str) -> list["WindowFeatures"]:
    if granularity == "utterance":
        return [(vector, None) for vector in outputs.pooler_output]
    if granularity == "all":
        return [(None, segments) for segments in outputs.last_hidden_state]
    mask = inputs["attention_mask"].bool()
    for layer in model.encoder.layers:
        mask = layer.output_mask(mask)
    return [(None, frames[own]) for frames, own in zip(outputs.encoder_last_hidden_state, mask, strict=True)]


def _encoder_features(model, outputs, inputs, granularity: str) -> list["WindowFeatures"]:
    hidden_states = getattr(outputs, "last_hidden_state", None)
    if hidden_states is None or hidden_states.ndim != 3:
        raise ValueError(f"a model of type {model.config.model_type} has no sequence of hidden states to write")
    if granularity == "utterance":
        return [(window.mean(0), None) for window in hidden_states]
    return [(None, window) for window in hidden_states]


def join_windows(windows: list["WindowFeatures"], seconds: list[float]) -> "torch.Tensor":
    """The features of a clip, `(H,)` or `(n, H)`, from those of its windows and their lengths."""
    import torch

    from .batches import weighted_mean

    vectors, sequences = zip(*windows, strict=True)
    if sequences[0] is None:
        return weighted_mean(vectors, seconds)
    first = [] if vectors[0] is None else [weighted_mean(vectors, seconds)[None]]
    return torch.cat([*first, *sequences])


class _FeatureFolder:
    """
    The folder with the features of files, or with a file of them all.

    Where the features of a file stand depends on nothing but the file and `root`, the folder that holds all files,
    which is settled by the first run. So neither equal names in different folders nor a later run with other files can
    take one file's features for another's.

    Args:
        folder: the folder.
        settings: how the features are made. A folder holds features of one kind.
        files: the audio files.
        format: `"npy"` or `"safetensors"`.
        single_file: collect the features in one file.

    Raises:
        ValueError: the folder holds features that were made in another way, or of files elsewhere.
    """

    def __init__(self, folder: Path, settings: dict[str, Any], files: list[str], format: str, single_file: bool):
        self.archive = folder / ("features.npz" if format == "npy" else "features.safetensors")
        self.single_file = single_file
        self.clips = folder / "parts" if single_file else folder  # the parts of an archive that is not finished
        self.suffix = f".{format}"
        self.root = _settle(folder / "embed.json", settings, files)

    def __str__(self) -> str:
        return str(self.archive if self.single_file else self.clips)

    def _name(self, file: str) -> str:
        return Path(os.path.relpath(os.path.abspath(file), self.root)).as_posix()

    def _path(self, file: str) -> Path:
        return self.clips / (self._name(file) + self.suffix)

    def find_done(self, files: list[str]) -> set[str]:
        """The files whose features are there."""
        archived = self._archived_names() if self.single_file and self.archive.exists() else set()
        return {file for file in files if self._path(file).exists() or self._name(file) in archived}

    def write(self, file: str, features: "torch.Tensor") -> None:
        """Write the features of a file."""
        import numpy as np
        from safetensors.torch import save_file

        def save(path: Path) -> None:
            if self.suffix == ".safetensors":
                save_file({"features": features.contiguous()}, path)
            else:
                with open(path, "wb") as opened:  # np.save would add an extension to a name
                    np.save(opened, features.numpy())

        _write_whole(self._path(file), save)

    def finish(self) -> None:
        """Bring all parts into the archive, where there is to be one."""
        if not self.clips.exists() or not self.single_file:
            return
        parts = {
            path.relative_to(self.clips).as_posix().removesuffix(self.suffix): path
            for path in sorted(self.clips.rglob(f"*{self.suffix}"))
        }
        if parts:
            _write_whole(self.archive, lambda path: self._pack(path, parts))
        shutil.rmtree(self.clips)

    def _archived_names(self) -> set[str]:
        from safetensors import safe_open

        if self.suffix == ".npy":
            with zipfile.ZipFile(self.archive) as archive:
                return {name.removesuffix(".npy") for name in archive.namelist()}
        with safe_open(self.archive, "pt") as archive:
            return set(archive.keys())

    def _pack(self, path: Path, parts: dict[str, Path]) -> None:
        from safetensors.torch import load_file, save_file

        if self.suffix == ".safetensors":  # both the old file and the parts stay on disk until they are written
            tensors = load_file(self.archive) if self.archive.exists() else {}
            save_file(tensors | {name: load_file(part)["features"] for name, part in parts.items()}, path)
            return
        with zipfile.ZipFile(path, "w") as packed:  # an npz file is a zip of npy files
            if self.archive.exists():
                with zipfile.ZipFile(self.archive) as archive:
                    for name in archive.namelist():
                        if name.removesuffix(".npy") not in parts:
                            packed.writestr(name, archive.read(name))
            for name, part in parts.items():
                packed.write(part, f"{name}.npy")


def _settle(path: Path, settings: dict[str, Any], files: list[str]) -> str:
    """The root that earlier runs settled, once their settings have been found equal; in a new folder, keep both."""
    folders = [os.path.dirname(os.path.abspath(file)) for file in files]
    if not path.exists():
        root = os.path.commonpath(folders)
        _write_whole(path, lambda new: new.write_text(json.dumps(settings | {"root": root}, indent=2) + "\n"))
        return root
    kept = json.loads(path.read_text(encoding="utf-8"))
    root = kept.pop("root")
    for name, value in settings.items():
        if kept.get(name) != value:
            raise ValueError(
                f"{path.parent} holds features with {name} {kept.get(name)}, not {value}; choose another --output"
            )
    elsewhere = [folder for folder in folders if os.path.commonpath([root, folder]) != root]
    if elsewhere:
        raise ValueError(
            f"{path.parent} holds features of files below {root}, which {elsewhere[0]} is not; choose another --output"
        )
    return root


def _write_whole(path: Path, write: Callable[[Path], Any]) -> None:
    """Write a file under a name of its own and rename it when it is complete: nobody ever finds half a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{os.getpid()}.tmp")
    try:
        write(unfinished)
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)


if __name__ == "__main__":
    sys.exit(main())
