"""The papers' network learns from scratch, within its time, and the same from the same seed."""

import numpy as np
import pytest

from clinical_backend.errors import InvalidArgumentError
from clinical_backend.lab.experiments.distil import train_resnet18

CLASSES = ("dark", "bright")


def drawn(count, seed=0):
    random = np.random.default_rng(seed)
    labels = np.arange(count) % 2
    images = random.integers(0, 120, (count, 8, 8, 3)) + 110 * labels[:, None, None, None]
    return images.astype(np.uint8), labels


def test_it_learns_and_tells_classes_apart():
    trained = train_resnet18(*drawn(40), CLASSES, seed=0, cpu_threads=1)
    images, labels = drawn(20, seed=1)
    features = trained.features(images)
    probabilities = trained.last_layer(np.array([20, 20])).probabilities(features)
    assert trained.accuracy >= 0.99
    assert trained.epochs < 300
    assert (probabilities.argmax(axis=1) == labels).mean() > 0.9
    assert np.allclose(probabilities.sum(axis=1), 1.0, atol=1e-5)
    assert features.shape == (20, 512)
    assert trained.features(images[:0]).shape == (0, 512)


def test_it_ends_with_its_time():
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (40, 8, 8, 3)).astype(np.uint8)
    trained = train_resnet18(images, random.integers(0, 2, 40), CLASSES, seconds=1e-6)
    assert trained.epochs == 0


def test_the_same_seed_gives_the_same_network(monkeypatch):
    monkeypatch.setattr("clinical_backend.lab.experiments.distil._EPOCHS", 1)
    images, labels = drawn(20)
    first, second, other = (train_resnet18(images, labels, CLASSES, seed, cpu_threads=1) for seed in (1, 1, 2))
    assert np.array_equal(first.features(images), second.features(images))
    assert not np.array_equal(first.features(images), other.features(images))


@pytest.mark.parametrize(
    ("images", "labels"),
    [
        (np.zeros((4, 8, 8), dtype=np.uint8), [0, 1, 0, 1]),
        (np.zeros((4, 8, 8, 3), dtype=np.float32), [0, 1, 0, 1]),
        (np.zeros((1, 8, 8, 3), dtype=np.uint8), [0]),
        (np.zeros((4, 8, 8, 3), dtype=np.uint8), [0, 1, 0, 2]),
        (np.zeros((4, 8, 8, 3), dtype=np.uint8), [0, 1]),
    ],
)
def test_input_that_cannot_be_is_refused(images, labels):
    with pytest.raises(InvalidArgumentError):
        train_resnet18(images, labels, CLASSES)
