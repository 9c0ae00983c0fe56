# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""`polyaudio pretrain`: self-supervised pre-training on recordings without labels."""

import argparse
import itertools
import shlex
import sys
from pathlib import Path

from ..data.readable import report_bad_clips
from ..modeling.loading import load_feature_extractor, make_config, make_feature_extractor
from .command import command
from .loading import last_checkpoint, leave_together


EXAMPLES = """\
examples:
  polyaudio pretrain --config sslam_tiny_stage1 --dataset my-recordings/ --output-dir runs/stage1
  polyaudio pretrain --config sslam_tiny_stage2 --dataset my-recordings/ --output-dir runs/stage2 \\
      --model-name-or-path runs/stage1
  polyaudio pretrain --config sslam_stage1 --dataset agkphysics/AudioSet --streaming --bf16
  accelerate launch --num_processes 4 -m polyaudio.scripts.pretrain --config sslam_stage1 --dataset audioset/ --bf16
"""


@command
def main(argv: list[str]) -> None:
    from transformers import HfArgumentParser

    from ..training.pretraining import CollapseError, PretrainingArguments
    from .recipe import ModelArguments, WindowArguments, parse_arguments

    parser = HfArgumentParser(
        (ModelArguments, WindowArguments, PretrainingArguments),
        prog="polyaudio pretrain",
        usage="polyaudio pretrain [--config RECIPE] [--dataset DATA] [--output-dir DIR] [FLAG ...]",
        description="Pre-train a model on recordings without labels, from scratch or from a checkpoint.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--resume", action="store_true", help="go on from the last checkpoint in the output folder")
    parser.add_argument("--plot-mixtures", type=int, default=0, metavar="N", help="draw the mixtures of N clips first")
    recipe, model_args, window_args, training_args, others = parse_arguments(parser, argv, "sslam_stage1")
    if window_args.dataset is None:
        raise ValueError("no data: name a folder or a dataset with --dataset")
    if training_args.n_gpu > 1:
        raise ValueError("start one process for each GPU: accelerate launch -m polyaudio.scripts.pretrain ...")
    command_line = shlex.join(["polyaudio", "pretrain", *argv])
    if others.resume:
        training_args.resume_from_checkpoint = last_checkpoint(training_args.output_dir)
    try:
        pretrain(recipe, model_args, window_args, training_args, command_line, others.plot_mixtures)
    except CollapseError as error:
        raise ValueError(str(error)) from error
    leave_together()


def pretrain(recipe, model_args, window_args, training_args, command_line: str, num_mixtures: int = 0) -> None:
    """Train on windows of the recordings and leave a complete model folder."""
    from transformers import set_seed

    from ..evaluation.plots import plot_losses
    from ..hub.model_card import RunDescription, environment, write_pretraining_card
    from ..hub.push import push_run
    from ..training.pretraining import PreTrainer, PretrainingCollator

    set_seed(training_args.seed)
    model, feature_extractor = build_model(recipe, model_args, window_args.crop_seconds)
    dataset = load_windows(window_args, feature_extractor.sampling_rate, training_args)
    collator = PretrainingCollator(feature_extractor, model.config)
    if getattr(model.config, "pretraining_stage", 1) == 2:
        # A last batch of one clip would have nothing to mix
        training_args.dataloader_drop_last = True
        batch_size = training_args.per_device_train_batch_size * training_args.world_size
        if not window_args.streaming and len(dataset) < batch_size:
            raise ValueError(f"{len(dataset)} recordings do not fill a batch of {batch_size}; lower --batch-size")
    if num_mixtures and training_args.process_index == 0:
        draw_mixtures(model, dataset, collator, num_mixtures, Path(training_args.output_dir))

    trainer = PreTrainer(
        model=model,
        args=training_args,
        train_dataset=dataset,
        data_collator=collator,
        processing_class=feature_extractor,
        starts_from_checkpoint=model_args.model_name_or_path is not None,
    )
    trainer.train(resume_from_checkpoint=training_args.resume_from_checkpoint)
    trainer.save_model()
    trainer.save_state()
    if trainer.is_world_process_zero():
        folder = Path(training_args.output_dir)
        plot_losses(trainer.state.log_history, folder / "losses.png")
        run = RunDescription(
            model_name=folder.name,
            model_type=model.config.model_type,
            dataset=window_args.dataset,
            command=command_line,
            base_model=model_args.model_name_or_path,
            recipe=recipe.name,
            seeds={"training": training_args.seed},
            versions=environment(training_args.device),
        )
        write_pretraining_card(folder, run, trainer.state.log_history, describe_windows(window_args, dataset))
        print(f"The model is in {training_args.output_dir}: AutoModel.from_pretrained({training_args.output_dir!r})")
    url = push_run(trainer)
    if url is not None:
        print(url)


def build_model(recipe, model_args, crop_seconds: float) -> tuple:
    """The model and its feature extractor, from a checkpoint or from scratch."""
    from transformers import AutoModelForPreTraining

    from .train import fit_to_crops

    checkpoint = model_args.model_name_or_path
    config = make_config(model_args.model_type, checkpoint, recipe.model)
    settings = recipe.feature_extractor
    if checkpoint is None:
        feature_extractor = make_feature_extractor(config, settings)
        model = AutoModelForPreTraining.from_config(config)
    else:
        feature_extractor = load_feature_extractor(checkpoint, config)
        for name, value in settings.items():
            setattr(feature_extractor, name, value)
        model = AutoModelForPreTraining.from_pretrained(checkpoint, config=config)
    if model.config.model_type == "sslam" and "max_length" not in settings:
        fit_to_crops(feature_extractor, model.config, crop_seconds)
    return model, feature_extractor


def load_windows(window_args, sampling_rate: int, training_args):
    """The recordings as windows, all of them readable or skipped when their turn comes."""
    from datasets import DatasetDict

    from ..augmentation.waveforms import RollAndGain
    from ..data.loading import load_recordings
    from ..data.readable import drop_unreadable
    from ..data.streams import StreamedWindows
    from ..data.windows import WaveformWindows

    recordings = load_recordings(
        window_args.dataset,
        audio_column=window_args.audio_column,
        split=window_args.split,
        streaming=window_args.streaming,
    )
    settings = {
        "crop_seconds": window_args.crop_seconds,
        "transform": RollAndGain() if window_args.roll_and_gain else None,
        "seed": training_args.seed,
    }
    if window_args.streaming:
        if training_args.max_steps <= 0:
            raise ValueError("a stream has no end: tell the number of updates with --max-steps")
        place = {"process_index": training_args.process_index, "num_processes": training_args.world_size}
        return StreamedWindows(recordings, sampling_rate, **settings, **place)
    readable, bad_clips = drop_unreadable(DatasetDict({window_args.split: recordings}))
    report_bad_clips(bad_clips)
    return WaveformWindows(readable[window_args.split], sampling_rate, **settings)


def describe_windows(window_args, dataset) -> str:
    """One sentence on what a model is trained on."""
    amount = "A stream of recordings" if window_args.streaming else f"{len(dataset)} recordings"
    return f"{amount} of the split {window_args.split}, cut at random to {window_args.crop_seconds:g} s in each epoch."


def draw_mixtures(model, dataset, collator, num_clips: int, folder: Path) -> None:
    """Write `mixtures.png`, which shows the first clips of the dataset as stage 2 mixes them."""
    from ..training.pretraining import plot_mixtures

    if getattr(model.config, "pretraining_stage", 1) != 2:
        raise ValueError("--plot-mixtures is of use in stage 2 only: there are no mixtures in this training")
    items = list(itertools.islice(iter(dataset), num_clips))
    if len(items) < 2:
        raise ValueError("--plot-mixtures needs two clips or more")
    folder.mkdir(parents=True, exist_ok=True)
    plot_mixtures(model, collator(items), folder / "mixtures.png")


if __name__ == "__main__":
    sys.exit(main())
