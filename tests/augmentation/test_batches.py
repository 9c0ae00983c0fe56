# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Augmentation of waveforms and of batches of features."""

import math
import pickle

import numpy as np
import pytest
import torch
import torchaudio
from scipy import stats
from transformers import BatchFeature

from builders import assert_distributed, global_states, seeded
from polyaudio.augmentation.batches import Compose, FeatureNoise, Mixup, SpecAugment


def make_batch(
    batch_size: int = 6, frames: int = 40, bins: int = 16, lengths: list[int] | None = None, **entries
) -> BatchFeature:
    values = torch.randn(batch_size, frames, bins, generator=seeded(1))
    batch = BatchFeature({"input_values": values, "labels": torch.eye(batch_size), **entries})
    if lengths is not None:
        mask = torch.arange(frames) < torch.tensor(lengths)[:, None]
        values.masked_fill_(~mask[..., None], -0.25)
        batch["attention_mask"] = mask.int()
    return batch


BATCH_AUGMENTATIONS = {
    "spec-shares": SpecAugment(0.3, 0.4),
    "spec-numbers": SpecAugment(5, 20),
    "noise": FeatureNoise(),
    "mixup": Mixup(),
    "mixup-pair": Mixup(mode="pair"),
    "mixup-element": Mixup(mode="element", probability=0.7),
    "cutmix": Mixup(0, 1.0),
    "cutmix-pair": Mixup(0, 1.0, mode="pair"),
    "both": Mixup(0.8, 1.0, mode="element"),
    "all": Compose(FeatureNoise(), Mixup(0.8, 1.0), SpecAugment(0.2, 0.2)),
}


@pytest.mark.parametrize("lengths", [None, [40, 13, 1, 40, 26, 7]], ids=["full", "padded"])
@pytest.mark.parametrize("name", BATCH_AUGMENTATIONS)
def test_changes_of_batches_follow_from_the_generator_alone(name, lengths):
    augmentation = BATCH_AUGMENTATIONS[name]
    batch = make_batch(lengths=lengths, tonic=torch.arange(6))
    original = {key: value.clone() for key, value in batch.items()}
    torch.manual_seed(3)
    states = global_states()
    generator = seeded(5)
    first, second = augmentation(batch, generator), augmentation(batch, generator)
    assert global_states() == states
    torch.manual_seed(4)
    again = pickle.loads(pickle.dumps(augmentation))(batch, seeded(5))
    assert isinstance(first, BatchFeature)
    assert first.keys() == again.keys() == original.keys()
    for key, value in original.items():
        assert torch.equal(again[key], first[key])
        assert torch.equal(batch[key], value)
        assert first[key].shape == value.shape
        assert first[key].dtype == value.dtype
    assert not torch.equal(first["input_values"], second["input_values"])
    assert first["input_values"].isfinite().all()
    assert torch.equal(first["tonic"], original["tonic"])
    if lengths is not None:
        padding = first["attention_mask"] == 0
        assert padding.any()
        np.testing.assert_allclose(first["input_values"][padding], -0.25, rtol=1e-6)


@pytest.mark.parametrize("batch_size", [1, 2, 3])
@pytest.mark.parametrize("name", BATCH_AUGMENTATIONS)
def test_batches_of_any_size_and_clips_of_no_frames(name, batch_size):
    for frames, lengths in ((1, None), (2, [0] * batch_size)):
        batch = make_batch(batch_size, frames, 4, lengths)
        changed = BATCH_AUGMENTATIONS[name](batch, seeded())
        assert changed["input_values"].shape == (batch_size, frames, 4)
        assert changed["input_values"].isfinite().all()
        if lengths is not None and batch_size == 1:
            assert torch.equal(changed["input_values"], batch["input_values"])


@pytest.mark.parametrize("name", BATCH_AUGMENTATIONS)
def test_batches_are_checked(name):
    augmentation = BATCH_AUGMENTATIONS[name]
    for values in (torch.zeros(6, 40), torch.zeros(6, 40, 16).long(), torch.zeros(6, 1, 40, 16)):
        with pytest.raises(ValueError, match="input_values"):
            augmentation(BatchFeature({"input_values": values, "labels": torch.eye(6)}), seeded())
    for mask in (torch.tensor([0] + [1] * 39).repeat(6, 1), torch.ones(6, 39), torch.ones(1, 40)):
        with pytest.raises(ValueError, match="attention_mask"):
            augmentation(make_batch(attention_mask=mask), seeded())


@pytest.mark.parametrize(("frequency_mask", "time_mask"), [(0.2, 0.2), (8, 30), (0.2, 0), (0, 40), (0, 0)])
def test_masks_are_those_of_torchaudio(frequency_mask, time_mask):
    """With shares, as in the fine-tuning of EAT, the limits of the widths are no whole numbers."""
    batch = make_batch(8, 98, 128)
    changed = SpecAugment(frequency_mask, time_mask)(batch, seeded(5))["input_values"]
    widest_band = frequency_mask * 128 if 0 < frequency_mask < 1 else frequency_mask
    widest_stretch = time_mask * 98 if 0 < time_mask < 1 else time_mask
    with torch.random.fork_rng():
        torch.manual_seed(torch.randint(2**63 - 1, (), generator=seeded(5)).item())
        expected = batch["input_values"].transpose(1, 2)
        expected = torchaudio.transforms.FrequencyMasking(widest_band, iid_masks=True)(expected)
        expected = torchaudio.transforms.TimeMasking(widest_stretch, iid_masks=True)(expected)
    assert torch.equal(changed, expected.transpose(1, 2))
    assert torch.equal(changed, batch["input_values"]) == (frequency_mask == time_mask == 0)


def zero_runs(values: torch.Tensor, dim: int) -> tuple[np.ndarray, np.ndarray]:
    """Widths and starts of what is 0 all along `dim` in each clip, in one piece."""
    masked = (values == 0).all(dim=dim)
    edges = torch.diff(torch.nn.functional.pad(masked.int(), (1, 1)))
    assert ((edges == 1).sum(dim=1) <= 1).all()
    return masked.sum(dim=1).numpy(), (edges == 1).int().argmax(dim=1).numpy()


def test_widths_and_places_of_masks_are_uniform():
    batch = BatchFeature({"input_values": torch.ones(4_000, 20, 16)})
    bands, band_starts = zero_runs(SpecAugment(8, 0)(batch, seeded())["input_values"], dim=1)
    stretches, _ = zero_runs(SpecAugment(0, 0.5)(batch, seeded(1))["input_values"], dim=2)
    for widths, limit in ((bands, 8), (stretches, 10)):
        counts = np.bincount(widths)
        assert len(counts) == limit
        assert stats.chisquare(counts).pvalue > 0.01
    starts = np.bincount(band_starts[bands == 7], minlength=9)
    assert len(starts) in (9, 10)  # of a width of 7 and its fraction
    assert stats.chisquare(starts[:9]).pvalue > 0.001
    both = SpecAugment(8, 0.5)(batch, seeded())["input_values"]
    own = (both == 0).double().mean(dim=(1, 2))
    shares = np.mean([3.5 / 16, 4.5 / 20])
    assert own.mean() == pytest.approx(2 * shares - shares**2, abs=0.01)


def test_a_stretch_never_hides_a_whole_clip():
    batch = BatchFeature({"input_values": torch.ones(500, 20, 4)})
    stretches, _ = zero_runs(SpecAugment(0, 1_000)(batch, seeded())["input_values"], dim=2)
    assert set(stretches) == set(range(20))


def test_stretches_of_padded_clips_lie_within_them():
    lengths = [100, 50, 10] * 500
    batch = BatchFeature({"input_values": torch.ones(1_500, 100, 4)})
    batch["attention_mask"] = (torch.arange(100) < torch.tensor(lengths)[:, None]).long()
    widths, starts = zero_runs(SpecAugment(0, 0.4)(batch, seeded())["input_values"], dim=2)
    for clip, length in enumerate((100, 50, 10)):
        own_widths, own_starts = widths[clip::3], starts[clip::3]
        assert (own_starts + own_widths <= length).all()
        assert own_widths.max() <= math.ceil(0.4 * length)
        assert own_widths.mean() / length == pytest.approx(0.195, abs=0.015)
        assert (own_starts + own_widths).max() >= 0.95 * length
    full = BatchFeature({"input_values": batch["input_values"]})
    full_widths, full_starts = zero_runs(SpecAugment(0, 0.4)(full, seeded())["input_values"], dim=2)
    np.testing.assert_array_equal(widths[::3], full_widths[::3])
    np.testing.assert_array_equal(starts[::3], full_starts[::3])


def test_masks_do_not_seed_the_devices(monkeypatch):
    """A batch that is made in the process of the training must not reset its dropout."""

    def refuse(seed):
        raise AssertionError("the generators of the GPUs were seeded")

    monkeypatch.setattr(torch.cuda, "manual_seed_all", refuse)
    assert (SpecAugment(0.5, 0.5)(make_batch(), seeded())["input_values"] == 0).any()


@pytest.mark.parametrize("limit", [-1, -0.5, 1.0, 25.0, math.nan, math.inf])
def test_limits_of_masks_are_checked(limit):
    with pytest.raises(ValueError, match="frequency_mask"):
        SpecAugment(limit, 0)
    with pytest.raises(ValueError, match="time_mask"):
        SpecAugment(0, limit)


def test_feature_noise_is_uniform_with_an_amplitude_for_each_clip():
    batch = BatchFeature({"input_values": torch.randn(600, 50, 40, generator=seeded(1))})
    noise = (FeatureNoise(0.1, 0)(batch, seeded())["input_values"] - batch["input_values"]).double()
    largest = noise.flatten(1).max(dim=1).values  # of 2000 numbers, and thus nearly the amplitude
    assert_distributed(largest, "uniform", 0, 0.1)
    loudest = largest.argmax()
    assert_distributed(noise[loudest].flatten(), "uniform", 0, largest[loudest])
    assert noise.min() > -1e-6
    # Neither frames nor bins share their numbers
    assert noise[loudest].std(dim=0).min() > 0.01
    assert noise[loudest].std(dim=1).min() > 0.01


def test_rolls_are_uniform_and_move_whole_frames():
    batch = make_batch(2_000, 30, 2)
    changed = FeatureNoise(0, 10)(batch, seeded())["input_values"]
    fits = [(batch["input_values"].roll(shift, dims=1) == changed).all(dim=(1, 2)) for shift in range(-15, 15)]
    fits = torch.stack(fits, dim=1)
    assert (fits.sum(dim=1) == 1).all()
    shifts = fits.int().argmax(dim=1) - 15
    values, counts = np.unique(shifts, return_counts=True)
    np.testing.assert_array_equal(values, np.arange(-10, 10))
    assert stats.chisquare(counts).pvalue > 0.01


def test_padded_clips_roll_within_their_own_frames():
    lengths = [30, 12, 3, 1, 0] * 20
    batch = make_batch(100, 30, 2, lengths)
    changed = FeatureNoise(0.1, 10)(batch, seeded())["input_values"].numpy()
    moved = 0
    for before, after, length in zip(batch["input_values"].numpy(), changed, lengths, strict=True):
        np.testing.assert_array_equal(after[length:], before[length:])
        noises = [np.roll(after[:length], shift, axis=0) - before[:length] for shift in range(max(length, 1))]
        fits = [shift for shift, noise in enumerate(noises) if ((noise > -1e-6) & (noise < 0.1)).all()]
        assert len(fits) == 1
        moved += fits[0] != 0
        assert length == 0 or np.abs(noises[fits[0]]).max() > 0
    assert moved > 40


@pytest.mark.parametrize(
    "labels", [torch.zeros(6, 3, 5), torch.zeros(6, 3).long()], ids=["classes-with-scores", "class-indices"]
)
def test_labels_of_frames_do_not_roll(labels):
    with pytest.raises(ValueError, match="max_roll=0"):
        FeatureNoise()(make_batch(labels=labels), seeded())
    assert torch.equal(FeatureNoise(max_roll=0)(make_batch(labels=labels), seeded())["labels"], labels)
    assert torch.equal(SpecAugment(0.2, 0.2)(make_batch(labels=labels), seeded())["labels"], labels)


@pytest.mark.parametrize("labels", [torch.zeros(6).long(), torch.zeros(6, 5), None], ids=["index", "scores", "none"])
def test_labels_of_clips_stay(labels):
    changed = FeatureNoise()(make_batch(labels=labels), seeded())["labels"]
    assert changed is labels


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        ({"max_amplitude": -0.1}, "max_amplitude"),
        ({"max_amplitude": math.nan}, "max_amplitude"),
        ({"max_amplitude": math.inf}, "max_amplitude"),
        ({"max_roll": -1}, "max_roll"),
        ({"max_roll": 2.5}, "max_roll"),
    ],
)
def test_limits_of_feature_noise_are_checked(arguments, name):
    with pytest.raises(ValueError, match=name):
        FeatureNoise(**arguments)


def shares_of(changed: BatchFeature) -> np.ndarray:
    """`lam` of each clip of `make_batch`, whose labels are a class of its own for each; 1 for its own partner."""
    labels = changed["labels"].double().numpy()
    for clip, row in enumerate(labels):
        others = np.delete(np.arange(len(labels)), [clip, len(labels) - 1 - clip])
        assert (row[others] == 0).all()
        assert row.sum() == pytest.approx(1, abs=1e-6)
    return np.diag(labels)


def box_of(before: np.ndarray, partner: np.ndarray, after: np.ndarray) -> tuple[int, int, int, int]:
    """The box, in frames and in bins, that a clip has from its partner, without any other change."""
    from_partner = after == partner
    frames, bins = np.flatnonzero(from_partner.any(axis=1)), np.flatnonzero(from_partner.any(axis=0))
    if len(frames) == 0:
        np.testing.assert_array_equal(after, before)
        return 0, 0, 0, 0
    box = frames[0], frames[-1] + 1, bins[0], bins[-1] + 1
    expected = before.copy()
    expected[box[0] : box[1], box[2] : box[3]] = partner[box[0] : box[1], box[2] : box[3]]
    np.testing.assert_array_equal(after, expected)
    return tuple(map(int, box))


@pytest.mark.parametrize("batch_size", [1, 2, 5, 6])
@pytest.mark.parametrize("mode", ["batch", "pair", "element"])
@pytest.mark.parametrize("alphas", [(0.8, 0), (0, 1.0), (0.8, 1.0)], ids=["mixup", "cutmix", "both"])
def test_mixtures(alphas, mode, batch_size):
    soft = torch.rand(batch_size, 5, generator=seeded(2), dtype=torch.float64)
    mixed, cut, unmixed, unlike_partners, unlike_neighbours = 0, 0, 0, 0, 0
    for seed in range(16):
        one_hot = make_batch(batch_size)
        augmentation = Mixup(*alphas, probability=0.8, switch_probability=0.6, mode=mode)
        changed = augmentation(one_hot, seeded(seed))
        soft_labels = augmentation(make_batch(batch_size, labels=soft), seeded(seed))["labels"].numpy()
        before, after = one_hot["input_values"].numpy(), changed["input_values"].numpy()
        shares, boxes = shares_of(changed), {}
        for clip in range(batch_size):
            partner, lam = batch_size - 1 - clip, shares[clip]
            expected = lam * soft[clip] + (1 - lam) * soft[partner]
            np.testing.assert_allclose(soft_labels[clip], expected, atol=1e-6)
            if partner == clip:
                assert lam == 1
                np.testing.assert_array_equal(after[clip], before[clip])
            elif lam == 1:
                np.testing.assert_array_equal(after[clip], before[clip])
                unmixed += 1
            elif (after[clip] == before[clip]).any() or (after[clip] == before[partner]).all():
                boxes[clip] = box_of(before[clip], before[partner], after[clip])
                top, bottom, left, right = boxes[clip]
                assert lam == pytest.approx(1 - (bottom - top) * (right - left) / (40 * 16), abs=1e-6)
                cut += 1
            else:
                np.testing.assert_allclose(after[clip], lam * before[clip] + (1 - lam) * before[partner], atol=1e-5)
                mixed += 1
        # What the clips that mix share, and what they do not
        mixing = [clip for clip in range(batch_size) if 2 * clip + 1 != batch_size]
        if mode == "batch" and mixing:
            assert len({shares[clip] for clip in mixing}) == 1
            assert len(set(boxes.values())) <= 1
            assert len(boxes) in (0, len(mixing))
        elif mode == "pair":
            for clip in mixing:
                assert shares[clip] == shares[batch_size - 1 - clip]
                assert boxes.get(clip) == boxes.get(batch_size - 1 - clip)
        unlike_partners += shares[0] != shares[-1]
        unlike_neighbours += batch_size > 3 and shares[0] != shares[1]
    if batch_size > 1:
        assert (mixed > 0) == (alphas[0] > 0)
        assert (cut > 0) == (alphas[1] > 0)
        assert unmixed > 0
        assert (unlike_partners > 8) == (mode == "element")
    if batch_size > 3:
        assert (unlike_neighbours > 8) == (mode != "batch")


def test_shares_are_distributed_as_beta():
    batch = make_batch(2_000, 1, 1, labels=torch.arange(2_000.0)[:, None])

    def shares(augmentation: Mixup) -> torch.Tensor:
        clips = torch.arange(2_000.0, dtype=torch.float64)
        return (augmentation(batch, seeded())["labels"].double()[:, 0] - clips.flip(0)) / (clips - clips.flip(0))

    element = shares(Mixup(0.8, mode="element"))
    assert_distributed(element, "beta", 0.8, 0.8)
    pairs = shares(Mixup(3.0, mode="pair"))
    torch.testing.assert_close(pairs, pairs.flip(0), atol=1e-3, rtol=0)
    assert_distributed(pairs[:1_000], "beta", 3, 3)
    one_hot = make_batch(2, 1, 1)
    generator = seeded()
    batches = [Mixup()(one_hot, generator)["labels"][0, 0].item() for _ in range(1_000)]
    assert_distributed(batches, "beta", 0.8, 0.8)
    # Half of the clips are not mixed, the others as before
    some = shares(Mixup(0.8, probability=0.5, mode="element"))
    unmixed = (some > 1 - 1e-6).double().mean()
    assert unmixed == pytest.approx(0.5, abs=0.05)
    assert_distributed(some[some <= 1 - 1e-6], "beta", 0.8, 0.8)
    for probability, expected in ((0.0, 1.0), (1.0, 0.0)):
        found = shares(Mixup(0.8, probability=probability, mode="element"))
        assert (found > 1 - 1e-6).double().mean() == pytest.approx(expected, abs=0.01)


@pytest.mark.parametrize("switch_probability", [0.0, 0.3, 1.0])
def test_cutmix_is_chosen_as_often_as_asked_for(switch_probability):
    batch = make_batch(2_000, 4, 4, labels=torch.ones(2_000, 1))
    augmentation = Mixup(50.0, 50.0, switch_probability=switch_probability, mode="element")
    changed = augmentation(batch, seeded())["input_values"]
    before = batch["input_values"]
    is_cut = ((changed == before) | (changed == before.flip(0))).all(dim=(1, 2))
    assert is_cut.double().mean() == pytest.approx(switch_probability, abs=0.04)


def test_boxes_are_distributed_as_in_timm():
    """The area that CutMix leaves of a clip, against boxes that are drawn one after the other."""
    rng = np.random.default_rng(0)
    frames, bins, expected = 50, 20, []
    for _ in range(4_000):
        ratio = math.sqrt(1 - rng.beta(1, 1))
        half_height, half_width = int(frames * ratio) // 2, int(bins * ratio) // 2
        y, x = rng.integers(frames), rng.integers(bins)
        height = min(y + half_height, frames) - max(y - half_height, 0)
        width = min(x + half_width, bins) - max(x - half_width, 0)
        expected.append((1 - height * width / (frames * bins), height, width))
    batch = BatchFeature({"input_values": torch.arange(2.0).repeat(1_000)[:, None, None].expand(2_000, frames, bins)})
    batch["labels"] = batch["input_values"][:, 0, :1]
    changed = Mixup(0, 1.0, mode="element")(batch, seeded())
    cut = changed["input_values"] != batch["input_values"]
    heights, widths = cut.any(dim=2).sum(dim=1), cut.any(dim=1).sum(dim=1)
    shares = (changed["labels"] - batch["labels"].flip(0)).abs()[:, 0]
    np.testing.assert_allclose(shares, 1 - heights * widths / (frames * bins), atol=1e-6)
    for found, drawn in zip((shares, heights, widths), zip(*expected, strict=True), strict=True):
        # Of a box without bins the frames do not show
        drawn = [value for value, (share, _, _) in zip(drawn, expected, strict=True) if share < 1]
        assert stats.ks_2samp(found[shares < 1], drawn).pvalue > 0.01
    middle = cut.double().mean(dim=0)[frames // 2, bins // 2]
    assert middle > cut.double().mean(dim=0)[0, 0] * 1.3  # boxes are cut off at the edges


@pytest.mark.parametrize("dtype", [torch.int32, torch.int64, torch.bool])
def test_mixed_clips_have_the_frames_of_both(dtype):
    batch = make_batch(5, lengths=[40, 3, 20, 9, 25])
    batch["attention_mask"] = batch["attention_mask"].to(dtype)
    for augmentation in (Mixup(), Mixup(0, 1.0, mode="element", probability=0.5)):
        for seed in range(10):
            changed = augmentation(batch, seeded(seed))
            assert changed["attention_mask"].dtype == dtype
            lengths = changed["attention_mask"].sum(dim=1).tolist()
            shares = shares_of(changed)
            expected = [40, 9, 20, 9, 40]
            own = [40, 3, 20, 9, 25]
            assert lengths == [own[clip] if shares[clip] == 1 else expected[clip] for clip in range(5)]


def test_labels_of_frames_are_mixed_like_those_of_clips():
    labels = torch.rand(6, 3, 5, generator=seeded(3))
    changed = Mixup(mode="element")(make_batch(labels=labels), seeded())["labels"]
    shares = shares_of(Mixup(mode="element")(make_batch(), seeded()))
    for clip in range(6):
        expected = shares[clip] * labels[clip] + (1 - shares[clip]) * labels[5 - clip]
        torch.testing.assert_close(changed[clip].double(), expected.double(), atol=1e-6, rtol=0)
    for augmentation in (Mixup(0, 1.0), Mixup(0.8, 1.0)):
        with pytest.raises(ValueError, match="CutMix cannot mix labels of frames"):
            augmentation(make_batch(labels=labels), seeded())


def test_mixup_needs_labels_that_can_be_mixed():
    for labels in (torch.arange(6), torch.eye(6).long(), torch.eye(6).bool(), None):
        with pytest.raises(ValueError, match="floating point labels"):
            Mixup()(make_batch(labels=labels), seeded())
    with pytest.raises(ValueError, match=r"floating point labels, .*none"):
        Mixup()(BatchFeature({"input_values": torch.zeros(2, 3, 4)}), seeded())


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        ({"mixup_alpha": -1}, "mixup_alpha"),
        ({"mixup_alpha": math.nan}, "mixup_alpha"),
        ({"cutmix_alpha": -0.1}, "cutmix_alpha"),
        ({"cutmix_alpha": math.inf}, "cutmix_alpha"),
        ({"mixup_alpha": 0}, "both 0"),
        ({"probability": 1.1}, "probability"),
        ({"probability": math.nan}, "probability"),
        ({"switch_probability": -0.1}, "switch_probability"),
        ({"mode": "elem"}, "'element'"),
    ],
)
def test_arguments_of_mixup_are_checked(arguments, name):
    with pytest.raises(ValueError, match=name):
        Mixup(**arguments)
