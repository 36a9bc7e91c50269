"""A temperature makes probabilities mean what they say, and changes nothing else."""

import numpy as np
import pytest

from clinical_backend.errors import InvalidArgumentError
from clinical_backend.learner.classifier.calibration import fit_temperature, tempered
from clinical_backend.learner.classifier.linear import fit, out_of_fold_logits

CLASSES = ("common", "usual", "rare")


def drawn(count, temperature, seed=0):
    """Logits, and labels drawn from their softmax at a temperature."""
    random = np.random.default_rng(seed)
    logits = random.normal(scale=3.0, size=(count, 3))
    gumbel = random.gumbel(size=(count, 3))
    return logits, (logits / temperature + gumbel).argmax(axis=1)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_the_temperature_that_labels_were_drawn_at_is_found(temperature):
    assert fit_temperature(*drawn(4000, temperature)) == pytest.approx(temperature, rel=0.15)


def test_a_handful_of_labels_does_not_move_it_far():
    logits = np.full((3, 3), -20.0)
    logits[:, 0] = 20.0
    assert fit_temperature(logits, np.zeros(3, dtype=int)) > 0.5  # all right, so colder would always fit better
    assert fit_temperature(*drawn(3, 1.0)) == pytest.approx(1.0, rel=0.9)


def test_every_class_weighs_the_same():
    confident, wrong = np.array([4.0, 0.0]), np.array([4.0, 0.0])
    logits = np.vstack([np.tile(confident, (90, 1)), np.tile(wrong, (10, 1))])
    labels = np.repeat([0, 1], [90, 10])
    # By the count of labels 4 is about right; with classes even, nothing is known and warmer is likelier.
    assert fit_temperature(logits, labels) > 4.0


def test_an_example_of_a_class_never_seen_is_left_out():
    logits, labels = drawn(500, 2.0)
    unseen = np.array([[1.0, -np.inf, -np.inf]])
    with_unseen = fit_temperature(np.vstack([logits, unseen]), np.append(labels, 2))
    assert with_unseen == fit_temperature(logits, labels)
    assert fit_temperature(unseen, np.array([2])) == 1.0


def test_a_tempered_classifier_divides_its_logits():
    random = np.random.default_rng(0)
    features, labels = random.normal(size=(40, 8)).astype(np.float32), np.arange(40) % 2
    classifier = fit(features, labels, CLASSES)
    warm = tempered(classifier, 2.0)
    known = [0, 1]
    assert np.allclose(warm.logits(features)[:, known], classifier.logits(features)[:, known] / 2.0, atol=1e-5)
    assert (warm.probabilities(features)[:, 2] == 0.0).all()


def test_calibration_lowers_the_loss_of_a_classifier_that_is_too_sure():
    random = np.random.default_rng(1)
    labels = np.arange(120) % 3
    features = (random.normal(size=(120, 20)) + 0.6 * np.eye(20)[labels]).astype(np.float32)
    logits = 10.0 * out_of_fold_logits(features, labels, CLASSES)
    temperature = fit_temperature(logits, labels)
    assert temperature > 2.0
    assert loss(logits / temperature, labels) < loss(logits, labels)


@pytest.mark.parametrize("logits", [np.zeros(3), np.full((3, 2), np.nan)])
def test_logits_that_cannot_be_are_refused(logits):
    with pytest.raises(InvalidArgumentError):
        fit_temperature(logits, [0, 0, 0])


@pytest.mark.parametrize("temperature", [0.0, -1.0, np.nan, np.inf])
def test_a_temperature_that_cannot_be_is_refused(temperature):
    classifier = fit(np.eye(4, dtype=np.float32), np.array([0, 1, 0, 1]), CLASSES)
    with pytest.raises(InvalidArgumentError):
        tempered(classifier, temperature)


def loss(logits, labels):
    peaks = logits.max(axis=1, keepdims=True)
    normalised = logits - peaks - np.log(np.exp(logits - peaks).sum(axis=1, keepdims=True))
    return -normalised[np.arange(len(labels)), labels].mean()
