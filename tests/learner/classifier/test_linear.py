"""The classifier learns from few and from unequal labels, and says no more than it knows."""

import numpy as np
import pytest
from scipy.optimize import minimize

from clinical_backend.errors import InvalidArgumentError, ModelError
from clinical_backend.learner.classifier import linear
from clinical_backend.learner.classifier.linear import LOGIT_VARIANCE, fit, out_of_fold_probabilities

CLASSES = ("common", "usual", "rare")


def examples(counts=(200, 100, 5), dimension=24, seed=0, noise=1.0):
    """Clusters, one for each class, with a large common part as pooled features have."""
    random = np.random.default_rng(seed)
    centres = 3.0 + np.random.default_rng(99).normal(size=(len(counts), dimension))
    labels = np.repeat(np.arange(len(counts)), counts)
    return (centres[labels] + noise * random.normal(size=(len(labels), dimension))).astype(np.float32), labels


def test_a_rare_class_is_found_as_well_as_a_common_one():
    classifier = fit(*examples(), CLASSES)
    features, labels = examples((300, 300, 300), seed=1)
    right = classifier.logits(features).argmax(axis=1) == labels
    assert min(right[labels == index].mean() for index in range(3)) > 0.85


@pytest.mark.parametrize("counts", [(1, 4, 0), (1, 1, 1), (400, 1, 1), (1000, 500, 30)])
def test_it_learns_from_any_number_of_examples(counts):
    classifier = fit(*examples(counts), CLASSES)
    features, _ = examples((50, 50, 50), seed=1)
    probabilities = classifier.probabilities(features)
    assert np.isfinite(probabilities).all()
    assert np.allclose(probabilities.sum(axis=1), 1.0, atol=1e-5)
    assert classifier.counts.tolist() == list(counts)


def test_a_class_without_an_example_has_probability_zero():
    classifier = fit(*examples((10, 0, 10)), CLASSES)
    probabilities = classifier.probabilities(examples((5, 5, 5), seed=1)[0])
    assert (probabilities[:, 1] == 0).all()
    assert (probabilities[:, [0, 2]] > 0).all()


@pytest.mark.parametrize("counts", [(30, 12, 4), (9, 4, 0)])
@pytest.mark.parametrize("dimension", [10, 100])  # more and fewer examples than features
def test_it_is_the_minimum_of_the_stated_loss(counts, dimension):
    features, labels = examples(counts, dimension)
    present = np.flatnonzero(counts)
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    centred = unit - unit.mean(axis=0)
    rows = centred / np.sqrt(np.mean(centred**2))
    each = len(labels) / (len(present) * np.asarray(counts)[labels])
    columns = np.searchsorted(present, labels)

    def loss(flat):
        weights, bias = flat[: -len(present)].reshape(dimension, -1), flat[-len(present) :]
        logits = rows @ weights + bias
        peak = logits.max(axis=1)
        normaliser = peak + np.log(np.exp(logits - peak[:, None]).sum(axis=1))
        nll = each @ (normaliser - logits[np.arange(len(labels)), columns])
        # Two opposite columns carry a two-class problem; the prior is on their difference.
        variance = (LOGIT_VARIANCE / dimension) / (2 if len(present) == 2 else 1)
        return nll + 0.5 * (weights**2).sum() / variance

    best = minimize(loss, np.zeros((dimension + 1) * len(present)), method="L-BFGS-B", tol=1e-10)
    weights, bias = best.x[: -len(present)].reshape(dimension, -1), best.x[-len(present) :]
    logits = rows @ weights + bias
    expected = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    found = fit(features, labels, CLASSES).probabilities(features)[:, present]
    assert np.abs(found - expected).max() < 0.02


def test_the_same_input_gives_the_same_classifier():
    first, second = (fit(*examples(), CLASSES, seed=3) for _ in range(2))
    assert np.array_equal(first.weights, second.weights)
    assert np.array_equal(first.bias, second.bias)


def test_the_length_of_a_feature_does_not_matter():
    features, labels = examples()
    classifier = fit(features, labels, CLASSES)
    assert np.allclose(classifier.logits(features), classifier.logits(7 * features), atol=1e-4)


def test_features_of_zeros_or_all_alike_do_no_harm():
    classifier = fit(np.zeros((6, 4)), [0, 1, 0, 1, 0, 1], ("a", "b"))
    assert np.allclose(classifier.probabilities(np.zeros((1, 4))), 0.5)
    classifier = fit(np.ones((6, 4)), [0, 0, 0, 0, 0, 1], ("a", "b"))
    assert np.isfinite(classifier.logits(np.ones((1, 4)))).all()


def test_residuals_are_softmax_less_the_likeliest_or_the_given_class():
    features, labels = examples()
    classifier = fit(features, labels, CLASSES)
    probabilities = classifier.probabilities(features)
    own = classifier.residuals(features)
    assert np.allclose(own, probabilities - np.eye(3)[probabilities.argmax(axis=1)])
    assert np.allclose(classifier.residuals(features, labels), probabilities - np.eye(3)[labels])
    assert np.allclose(own.sum(axis=1), 0.0, atol=1e-5)


@pytest.mark.parametrize("labels", [[0, 0, 0], [2]])
def test_one_class_alone_is_refused(labels):
    with pytest.raises(ModelError, match="two classes"):
        fit(np.ones((len(labels), 4)), labels, CLASSES)
    with pytest.raises(ModelError, match="two classes"):
        out_of_fold_probabilities(np.ones((len(labels), 4)), labels, CLASSES)


@pytest.mark.parametrize(
    ("features", "labels"),
    [
        (np.array([[1.0, np.nan], [0, 1]]), [0, 1]),
        (np.array([[1.0, np.inf], [0, 1]]), [0, 1]),
        (np.ones(4), [0, 1, 0, 1]),
        (np.eye(4), [0, 1]),
        (np.eye(2), [0, 3]),
        (np.eye(2), [0, -1]),
        (np.eye(2), [0.0, 1.0]),
    ],
)
def test_bad_examples_are_refused(features, labels):
    with pytest.raises(InvalidArgumentError):
        fit(features, labels, CLASSES)


def test_bad_features_are_refused_when_it_is_used():
    classifier = fit(*examples(), CLASSES)
    for features in (np.ones((2, 3)), np.full((1, 24), np.nan), np.ones(24)):
        with pytest.raises(InvalidArgumentError):
            classifier.logits(features)
    with pytest.raises(InvalidArgumentError):
        classifier.residuals(np.ones((2, 24)), [0])


class TestOutOfFold:
    def test_examples_are_judged_by_classifiers_that_did_not_see_them(self):
        features, _ = examples((100, 100, 100), noise=1.0)
        noise = np.random.default_rng(5).integers(0, 3, 300)  # labels that mean nothing
        probabilities = out_of_fold_probabilities(features, noise, CLASSES)
        assert (probabilities.argmax(axis=1) == noise).mean() < 0.45
        assert (fit(features, noise, CLASSES).logits(features).argmax(axis=1) == noise).mean() > 0.45

    def test_real_labels_are_recognised(self):
        features, labels = examples()
        probabilities = out_of_fold_probabilities(features, labels, CLASSES, seed=1)
        assert np.allclose(probabilities.sum(axis=1), 1.0, atol=1e-5)
        assert (probabilities.argmax(axis=1) == labels).mean() > 0.9

    def test_the_only_example_of_a_class_counts_as_not_recognised(self):
        features, labels = examples((20, 20, 1))
        assert out_of_fold_probabilities(features, labels, CLASSES)[-1, 2] == 0.0

    def test_two_examples_of_two_classes_are_enough(self):
        probabilities = out_of_fold_probabilities(np.eye(2), [0, 1], CLASSES)
        assert probabilities.tolist() == [[0, 1, 0], [1, 0, 0]]


def test_many_features_are_classified_block_by_block_and_all_are_checked(monkeypatch):
    features = np.random.default_rng(0).normal(size=(50, 6)).astype(np.float32)
    classifier = fit(features, np.arange(50) % 3, ("a", "b", "c"))
    expected = classifier.logits(features)
    monkeypatch.setattr(linear, "_ROWS", 8)
    np.testing.assert_allclose(classifier.logits(features), expected, rtol=1e-5, atol=1e-6)
    features[47, 2] = np.nan
    with pytest.raises(InvalidArgumentError, match="not finite"):
        classifier.logits(features)
