"""Half-whitening of a pool's features."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from clinical_backend.learner.classifier.linear import fit
from clinical_backend.learner.classifier.semi_supervised import PoolExamples
from clinical_backend.learner.classifier.whitening import half_whitening
from clinical_backend.learner.evaluation.metrics import average_precision

LOUD = np.repeat([6.0, 1.0], [4, 20])
"""Deviations of 24 features: four of them drown the others."""


def drawn(count: int, seed: int = 0) -> NDArray[np.float32]:
    return (np.random.default_rng(seed).normal(size=(count, 24)) * LOUD).astype(np.float32)


def unit(features: NDArray[np.float32]) -> NDArray[np.float32]:
    return features / np.linalg.norm(features, axis=1, keepdims=True)


def test_standard_deviations_become_their_square_roots():
    pool = drawn(4000)
    before = unit(pool).std(axis=0)
    after = (unit(pool) @ half_whitening(pool)).std(axis=0)
    apart = before[:4].mean() / before[4:].mean()
    assert apart > 4
    assert after[:4].mean() / after[4:].mean() == pytest.approx(apart**0.5, rel=0.05)


@given(st.integers(1, 40), st.integers(0, 5))
def test_it_is_symmetric_and_loses_no_direction(count, seed):
    matrix = half_whitening(drawn(count, seed))
    assert np.allclose(matrix, matrix.T, atol=1e-4 * np.abs(matrix).max())
    assert np.linalg.eigvalsh(matrix).min() > 0


def test_images_that_all_look_the_same_are_left_as_they_are():
    assert np.array_equal(half_whitening(np.ones((9, 5), np.float32)), np.eye(5))
    assert np.array_equal(half_whitening(np.zeros((9, 5), np.float32)), np.eye(5))
    same = np.repeat(drawn(1), 3000, axis=0)
    assert np.array_equal(half_whitening(same), np.eye(24))


@pytest.mark.parametrize("count", [10, 300])
def test_a_classifier_of_whitened_features_takes_features_as_they_are(count):
    features, classes = unit(drawn(count)), np.arange(count) % 2
    whitening = half_whitening(drawn(500))
    taken = fit(features, classes, ("a", "b"), whitening=whitening).logits(features)
    whitened = (features - features.mean(axis=0)) @ whitening
    lifted = np.hstack([whitened, np.sqrt(1e4 - (whitened**2).sum(axis=1, keepdims=True))])  # all of one length
    given_whitened = fit(lifted.astype(np.float32), classes, ("a", "b")).logits(lifted)
    assert np.corrcoef(taken[:, 0], given_whitened[:, 0])[0, 1] > 0.99


def test_rare_cases_that_differ_in_quiet_features_are_found():
    generator = np.random.default_rng(3)
    features, classes = drawn(2000, 3), (generator.random(2000) < 0.03).astype(np.intp)
    features[classes == 1, 4:12] += 2.0
    exemplars = np.flatnonzero(classes)[:5]
    pool = np.setdiff1d(np.arange(2000), exemplars)
    examples = PoolExamples.of(features[exemplars], np.ones(5, np.intp), ("common", "rare"), features[pool], rare=[1])
    every, of_rare = examples.fit(), examples.fit(half_whitening(features))
    plain, whitened = (
        average_precision(classes[pool] == 1, one.probabilities(features[pool])[:, 1]) for one in (every, of_rare)
    )
    assert whitened > plain + 0.05
    joined = examples.joined(every, of_rare)
    assert average_precision(classes[pool] == 1, joined.probabilities(features[pool])[:, 1]) > plain


def test_common_classes_are_told_apart_as_without_whitening():
    features, classes = drawn(300), np.arange(300) % 3
    examples = PoolExamples.of(features[:60], classes[:60], ("a", "b", "rare"), features[60:], rare=[2])
    every, of_rare = examples.fit(), examples.fit(half_whitening(features))
    joined = examples.joined(every, of_rare)
    alone = every.among(("a", "b")).probabilities(features)
    assert np.allclose(joined.among(("a", "b")).probabilities(features), alone, atol=1e-4)
    above = [one.logits(features)[:, 2] - one.logits(features)[:, :2].mean(axis=1) for one in (every, of_rare)]
    both = joined.logits(features)
    assert np.allclose(both[:, 2] - both[:, :2].mean(axis=1), sum(above), atol=1e-3)
