import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from clinical_backend.findings.measures import average_precisions
from clinical_backend.learner.evaluation.comparison import compare

TRUTH = np.arange(60) < 12


def scores(noise, seed=0):
    return (TRUTH + noise * np.random.default_rng(seed).normal(size=60)).astype(np.float32)


def test_average_precision_is_that_of_scikit_learn_weights_and_ties_too():
    generator = np.random.default_rng(0)
    coarse = np.round(scores(1.0), 0).astype(np.float32)
    weights = generator.integers(0, 3, (5, 60)).astype(float)
    ours = average_precisions(TRUTH, coarse, weights)
    theirs = [average_precision_score(TRUTH, coarse, sample_weight=row) for row in weights]
    assert ours == pytest.approx(theirs)


def test_a_ranking_that_lost_the_rare_cases_is_worse():
    found = compare(TRUTH, scores(10.0), scores(0.3), seed=0)
    assert found.worse
    assert found.candidate < found.published


@pytest.mark.parametrize("candidate", [scores(0.3), scores(0.1), scores(0.5, seed=3)])
def test_the_same_a_better_and_one_that_is_worse_within_chance_are_not(candidate):
    assert not compare(TRUTH, candidate, scores(0.5), seed=0).worse


def test_of_two_rankings_of_equal_worth_the_candidate_is_seldom_called_worse():
    called = [compare(TRUTH, scores(1.0, seed), scores(1.0, 1000 + seed), seed=0).worse for seed in range(100)]
    assert 0 < sum(called) <= 12
