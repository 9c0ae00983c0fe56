"""Balanced sampling: its weights against loops, its draws against the weights, and what a Trainer makes of it."""

import itertools
import math

import numpy as np
import pytest
import torch
from accelerate.data_loader import prepare_data_loader, skip_first_batches
from torch.utils.data import DataLoader

from polyaudio.data.sampling import BalancedSampler, clip_weights
from polyaudio.training.arguments import AudioTrainingArguments
from polyaudio.training.trainer import AudioTrainer


def test_weights_are_those_of_the_recipe():
    classes_of_clips = [[0], [0, 2], [], [2, 2, 0], [0], [4]]
    counts = {0: 4, 2: 2, 4: 1}  # a class that a clip names twice counts once
    expected = [sum(1000 / (counts[c] + 0.01) for c in set(classes)) for classes in classes_of_clips]
    weights = clip_weights(classes_of_clips, 6)
    assert weights.dtype == torch.float64
    assert weights.tolist() == pytest.approx(expected, rel=1e-12)
    assert clip_weights([], 6).tolist() == []
    assert clip_weights([[], []], 6).tolist() == [0.0, 0.0]


@pytest.mark.parametrize("index", [-1, 3])
def test_classes_that_there_are_not(index):
    with pytest.raises(ValueError, match=f"0 to 2, but a clip has the class {index}"):
        clip_weights([[0], [index]], 3)


def test_classes_come_up_evenly():
    classes = torch.tensor([0] * 900 + [1] * 90 + [2] * 10)
    sampler = BalancedSampler(clip_weights([[c] for c in classes.tolist()], 3), 30_000, seed=3)
    assert classes.bincount(minlength=3).tolist() == [900, 90, 10]
    drawn = classes[list(sampler)].bincount(minlength=3) / 30_000  # more than there are clips: with replacement
    np.testing.assert_allclose(drawn, [1 / 3] * 3, atol=0.015)


def test_no_clip_comes_twice_and_heavy_ones_do_not_come_first():
    classes = torch.tensor([0] * 9000 + [1] * 1000)
    sampler = BalancedSampler(clip_weights([[c] for c in classes.tolist()], 2), 1500)
    halves = []
    for epoch in range(20):
        sampler.set_epoch(epoch)
        drawn = list(sampler)
        assert len(drawn) == len(set(drawn)) == len(sampler) == 1500
        halves.append([classes[half].float().mean() for half in (drawn[:750], drawn[750:])])
    first, second = np.mean(halves, axis=0)
    assert first == pytest.approx(second, abs=0.02)
    assert first > 0.35  # of a share of 0.1 of the clips


def test_what_is_drawn_follows_from_seed_and_epoch():
    weights = torch.arange(100, dtype=torch.float32)
    one, other = BalancedSampler(weights, 40, seed=1), BalancedSampler(weights, 40, seed=1)
    first = list(one)
    torch.manual_seed(5)
    assert list(one) == first == list(other)
    one.set_epoch(1)
    assert list(one) != first
    assert list(BalancedSampler(weights, 40, seed=2)) != first
    one.set_epoch(0)
    assert list(one) == first


@pytest.mark.parametrize("num_samples", [3, 5, 40])
def test_clips_without_classes_are_never_drawn(num_samples):
    """Also not where other clips run out, as `torch.multinomial` alone would."""
    weights = clip_weights([[], [0], [], [1], [], [1, 0], []], 2)
    drawn = list(BalancedSampler(weights, num_samples))
    assert len(drawn) == num_samples
    assert set(drawn) <= {1, 3, 5}
    assert num_samples > 3 or set(drawn) == {1, 3, 5}


@pytest.mark.parametrize(
    ("weights", "num_samples", "message"),
    [
        (torch.zeros(3), 1, "Clips without classes have the weight 0"),
        (torch.tensor([]), 1, "there are 0"),
        (torch.tensor([1.0, -1.0]), 1, "at least 0"),
        (torch.tensor([1.0, math.nan]), 1, "finite"),
        (torch.ones(3), 0, "at least 1, not 0"),
        (torch.ones(2**24 + 1, dtype=torch.float64), 1, "from 1 to 16777216 clips"),
    ],
)
def test_what_cannot_be_drawn_from(weights, num_samples, message):
    with pytest.raises(ValueError, match=message):
        BalancedSampler(weights, num_samples)


class Recorder(torch.nn.Module):
    """Learns nothing and keeps the clips of each batch that it is trained or evaluated on."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.trained, self.evaluated = [], []

    def forward(self, clip, is_augmented, labels=None):
        (self.trained if self.training else self.evaluated).append(clip.tolist())
        assert is_augmented == self.training
        return {"loss": self.weight * 0.0, "logits": clip[:, None].float()}


class Clips(torch.utils.data.Dataset):
    def __len__(self):
        return 50

    def __getitem__(self, index):
        return index


def collate(clips, is_augmented=False):
    return {"clip": torch.tensor(clips), "labels": torch.tensor(clips), "is_augmented": is_augmented}


def augment(clips):
    return collate(clips, is_augmented=True)


def flatten(batches):
    return list(itertools.chain.from_iterable(batches))


WEIGHTS = torch.linspace(0, 1, 50)


def make_trainer(folder, *, train_weights=WEIGHTS, **arguments) -> AudioTrainer:
    settings = {"balanced_samples": 18, "num_train_epochs": 3, "per_device_train_batch_size": 4, "seed": 1}
    settings |= {"eval_strategy": "no", "load_best_model_at_end": False, "save_total_limit": None}
    settings |= {"report_to": "none", "dataloader_num_workers": 0, "disable_tqdm": True, **arguments}
    return AudioTrainer(
        model=Recorder(),
        args=AudioTrainingArguments(str(folder), **settings),
        train_dataset=Clips(),
        eval_dataset=Clips(),
        data_collator=collate,
        train_collator=augment,
        train_weights=train_weights,
    )


@pytest.mark.parametrize("accumulation", [1, 2])
def test_a_resumed_run_trains_on_the_same_clips(tmp_path, accumulation):
    arguments = {"save_strategy": "steps", "save_steps": 1, "gradient_accumulation_steps": accumulation}
    whole = make_trainer(tmp_path, **arguments)
    whole.train()
    assert [len(batch) for batch in whole.model.trained] == 3 * [4, 4, 4, 4, 2]
    sampler = BalancedSampler(WEIGHTS, 18, seed=1)
    epochs = [flatten(whole.model.trained[5 * epoch : 5 * epoch + 5]) for epoch in range(3)]
    for epoch, clips in enumerate(epochs):
        sampler.set_epoch(epoch)
        assert clips == list(sampler)
    steps_per_epoch = math.ceil(5 / accumulation)
    assert whole.state.global_step == 3 * steps_per_epoch
    for step in (1, steps_per_epoch, steps_per_epoch + 1, 2 * steps_per_epoch - 1):
        resumed = make_trainer(tmp_path, **arguments)
        torch.manual_seed(step)
        resumed.train(resume_from_checkpoint=str(tmp_path / f"checkpoint-{step}"))
        epoch, step_in_epoch = divmod(step, steps_per_epoch)
        assert resumed.model.trained == whole.model.trained[5 * epoch + accumulation * step_in_epoch :], step


def test_several_processes_share_what_one_would_draw():
    """In the epoch that a run resumes in, too, where accelerate does not tell the sampler the epoch."""
    sampler = BalancedSampler(WEIGHTS, 22, seed=1)
    sampler.set_epoch(2)
    expected = list(sampler)
    loader = DataLoader(Clips(), batch_size=4, sampler=sampler, collate_fn=list)
    shards = [
        prepare_data_loader(loader, num_processes=2, process_index=index, put_on_device=False) for index in (0, 1)
    ]
    for shard in shards:
        shard.set_epoch(2)
    batches = [list(shard) for shard in shards]
    assert [len(shard) for shard in shards] == [3, 3]  # steps: ceil(22 / (2 * 4))
    together = [clip for step in zip(*batches, strict=True) for batch in step for clip in batch]
    assert together == expected + expected[:2]  # what is missing in the last batch comes from the first

    sampler.set_epoch(2)  # as AudioTrainer's callback does
    for shard, all_batches in zip(shards, batches, strict=True):
        rest = skip_first_batches(shard, 1)
        rest.set_epoch(2)
        assert list(rest) == all_batches[1:]


def test_evaluation_sees_every_clip_without_augmentation(tmp_path):
    trainer = make_trainer(tmp_path)
    trainer.train()
    trainer.evaluate()
    assert flatten(trainer.model.evaluated) == list(range(50))
    trainer.predict(Clips())
    assert len(flatten(trainer.model.evaluated)) == 100


def test_without_balanced_sampling_every_clip_is_trained_on(tmp_path):
    trainer = make_trainer(tmp_path, train_weights=None, balanced_samples=None, num_train_epochs=1)
    trainer.train()
    assert sorted(flatten(trainer.model.trained)) == list(range(50))


@pytest.mark.parametrize(
    ("weights", "balanced_samples", "message"),
    [
        (None, 18, "or neither"),
        (WEIGHTS, None, "or neither"),
        (WEIGHTS[:49], 18, "50 clips to train on, but 49 weights"),
    ],
)
def test_weights_that_do_not_fit(tmp_path, weights, balanced_samples, message):
    with pytest.raises(ValueError, match=message):
        make_trainer(tmp_path, train_weights=weights, balanced_samples=balanced_samples)


def test_a_trainer_that_only_evaluates_needs_no_weights(tmp_path):
    args = AudioTrainingArguments(str(tmp_path), balanced_samples=18, eval_strategy="no", load_best_model_at_end=False)
    prediction = AudioTrainer(model=Recorder(), args=args, data_collator=collate).predict(Clips())
    assert len(prediction.predictions) == len(Clips())


@pytest.mark.parametrize(
    "metric", ["map", "roc_auc", "frame_map", "psds1", "eval_map", "accuracy", "loss", "eval_loss"]
)
def test_which_metrics_are_better_when_greater(tmp_path, metric):
    args = AudioTrainingArguments(str(tmp_path), metric_for_best_model=metric)
    assert args.greater_is_better == (not metric.endswith("loss"))


def test_a_metric_that_there_is_not_is_found_before_training(tmp_path):
    def make(metric, **arguments):
        args = AudioTrainingArguments(str(tmp_path), metric_for_best_model=metric, report_to="none", **arguments)
        return AudioTrainer(
            model=Recorder(), args=args, eval_dataset=Clips(), data_collator=collate, metric_names=("map", "d_prime")
        )

    for metric in ("map", "eval_d_prime", "loss", "eval_loss"):
        make(metric)
    with pytest.raises(ValueError, match="'mAP', but must be one of d_prime, loss, map"):
        make("mAP")
    make("mAP", eval_strategy="no", load_best_model_at_end=False)
