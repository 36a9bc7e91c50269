"""Weighted figures are those of scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, brier_score_loss, recall_score

from clinical_backend.findings.measures import average_precisions, brier_scores, excesses, shares

CASES = st.lists(
    st.tuples(st.booleans(), st.sampled_from([0.0, 0.1, 0.5, 0.50001, 0.9, 1.0]) | st.floats(0, 1), st.floats(0, 50)),
    min_size=1,
    max_size=60,
)


@given(CASES, st.integers(0, 2**32 - 1))
def test_each_set_of_weights_gives_the_figures_of_scikit_learn(cases, seed):
    truth, scores, weights = (np.array(column) for column in zip(*cases, strict=True))
    more = weights * np.random.default_rng(seed).integers(0, 3, len(weights))
    called = scores >= 0.5
    for place, row in enumerate((weights, more)):
        both = np.stack([weights, more])
        if row[truth].sum() < 1e-6 or row[~truth].sum() < 1e-6:
            continue
        found = [
            average_precisions(truth, scores, both)[place],
            shares(called[truth], both[:, truth])[place],
            shares(~called[~truth], both[:, ~truth])[place],
            brier_scores(truth, scores, both)[place],
            excesses(truth, scores, both)[place],
        ]
        expected = [
            average_precision_score(truth, scores, sample_weight=row),
            recall_score(truth, called, sample_weight=row),
            recall_score(truth, called, sample_weight=row, pos_label=False),
            brier_score_loss(truth, scores, sample_weight=row),
            np.average(scores, weights=row) - np.average(truth, weights=row),
        ]
        assert found == pytest.approx(expected, abs=1e-9, rel=0)


def test_of_weights_without_a_case_there_is_no_figure():
    truth, scores, weights = np.array([True, False]), np.array([0.9, 0.1]), np.array([[1.0, 1.0], [0.0, 1.0]])
    found = average_precisions(truth, scores, weights)
    assert found[0] == 1
    assert np.isnan(found[1])
    assert np.isnan(shares(truth, np.zeros((1, 2)))[0])
