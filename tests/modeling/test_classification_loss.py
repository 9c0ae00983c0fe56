"""The losses of both classifiers against formulas of their own."""

import numpy as np
import pytest
import torch
from huggingface_hub.errors import StrictDataclassClassValidationError

from polyaudio import SAMAudioConfig, SAMAudioForAudioClassification, SSLAMConfig, SSLAMForAudioClassification


CLASSES = 5


def sslam(**settings):
    torch.manual_seed(0)
    config = SSLAMConfig(
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        max_time_patches=4,
        num_labels=CLASSES,
        **settings,
    )
    return SSLAMForAudioClassification(config)


def sam_audio(**settings):
    torch.manual_seed(0)
    config = SAMAudioConfig(
        conv_dim=[16],
        conv_kernel=[3],
        conv_stride=[2],
        hidden_size=16,
        num_attention_heads=2,
        num_segments=4,
        classifier_proj_size=16,
        num_labels=CLASSES,
        **settings,
    )
    return SAMAudioForAudioClassification(config)


def loss_and_logits(model, labels, training=False):
    model.train(training)
    torch.manual_seed(1)
    inputs = torch.randn(len(labels), 32, model.config.num_mel_bins if hasattr(model.config, "num_mel_bins") else 128)
    with torch.no_grad():
        outputs = model(inputs, labels=labels)
    return outputs.loss.double().numpy(), outputs.logits.double().numpy()


def log_softmax(logits):
    return logits - np.log(np.exp(logits).sum(1, keepdims=True))


def binary_cross_entropies(logits, targets):
    probabilities = 1 / (1 + np.exp(-logits))
    return -(targets * np.log(probabilities) + (1 - targets) * np.log(1 - probabilities))


@pytest.fixture
def mixed():
    """Soft targets as mixup makes them."""
    rows = np.random.default_rng(0).dirichlet(np.ones(CLASSES), size=3)
    return torch.tensor(rows, dtype=torch.float32)


def test_soft_targets_of_single_labels(mixed):
    for model in (
        sslam(problem_type="single_label_classification"),
        sam_audio(problem_type="single_label_classification", label_smoothing=0.0, feature_size=128),
    ):
        loss, logits = loss_and_logits(model, mixed)
        expected = -(mixed.numpy() * log_softmax(logits)).sum(1).mean()
        np.testing.assert_allclose(loss, expected, rtol=1e-5)


def test_one_hot_targets_are_class_indices():
    indices = torch.tensor([1, 4, 0])
    one_hot = torch.nn.functional.one_hot(indices, CLASSES).float()
    for kind in ("cross_entropy", "binary_cross_entropy"):
        model = sslam(problem_type="single_label_classification", single_label_loss=kind)
        np.testing.assert_allclose(loss_and_logits(model, indices)[0], loss_and_logits(model, one_hot)[0], rtol=1e-6)


def test_label_smoothing_is_for_training():
    indices, smoothing = torch.tensor([1, 4, 0]), 0.3
    model = sslam(problem_type="single_label_classification", label_smoothing=smoothing)
    loss, logits = loss_and_logits(model, indices, training=True)
    targets = np.eye(CLASSES)[indices.numpy()] * (1 - smoothing) + smoothing / CLASSES
    np.testing.assert_allclose(loss, -(targets * log_softmax(logits)).sum(1).mean(), rtol=1e-5)
    loss, logits = loss_and_logits(model, indices)
    np.testing.assert_allclose(loss, -log_softmax(logits)[range(3), indices.numpy()].mean(), rtol=1e-5)
    with pytest.raises(StrictDataclassClassValidationError, match="label_smoothing"):
        SSLAMConfig(label_smoothing=1.0)


def test_binary_cross_entropy_of_single_labels(mixed):
    model = sslam(problem_type="single_label_classification", single_label_loss="binary_cross_entropy")
    loss, logits = loss_and_logits(model, mixed)
    expected = binary_cross_entropies(logits, mixed.numpy()).sum() / len(mixed)
    np.testing.assert_allclose(loss, expected, rtol=1e-5)


def test_multi_label_reductions():
    labels = torch.tensor([[1.0, 0, 0.3, 0, 0], [0, 0, 0, 1, 1], [0, 0, 0, 0, 0]])
    for reduction, divisor in (("mean", labels.numel()), ("labels", labels.sum().item())):
        model = sslam(problem_type="multi_label_classification", multi_label_reduction=reduction)
        loss, logits = loss_and_logits(model, labels)
        expected = binary_cross_entropies(logits, labels.numpy()).sum() / divisor
        np.testing.assert_allclose(loss, expected, rtol=1e-5)
    silent = torch.zeros(2, CLASSES)
    loss, logits = loss_and_logits(model, silent)
    np.testing.assert_allclose(loss, binary_cross_entropies(logits, silent.numpy()).sum(), rtol=1e-5)


def test_the_first_labels_tell_the_task():
    for labels, task in (
        (torch.tensor([1, 2]), "single_label_classification"),
        (torch.zeros(2, CLASSES), "multi_label_classification"),
    ):
        model = sslam()
        assert np.isfinite(loss_and_logits(model, labels)[0])
        assert model.config.problem_type == task
    model = sslam(problem_type="regression")
    values = torch.randn(2, CLASSES)
    loss, logits = loss_and_logits(model, values)
    np.testing.assert_allclose(loss, np.square(logits - values.numpy()).mean(), rtol=1e-5)
