"""What scores mean in a pool, on projects whose chances are known."""

import numpy as np
import pytest

from clinical_backend.findings.chance import LEAST_COMMON, LEAST_RARE, Judged, calibrate, missing_labels
from clinical_backend.findings.remaining import RoundYield, remaining


def sigmoid(values):
    return 1 / (1 + np.exp(-values))


def project(seed, offset=-2.0, slope=1.5, labels=150, pool=4000):
    """Return the scores of a pool, the labels of those that were queued for theirs, and the true chances."""
    generator = np.random.default_rng(seed)
    logits = generator.normal(-2.5, 1.8, pool)
    chances = sigmoid(offset + slope * logits)
    rare = generator.random(pool) < chances
    best = np.argsort(-logits)[:labels]
    return sigmoid(logits), Judged(sigmoid(logits[best]), rare[best]), chances, rare


def audited(pool, draws, rare):
    return remaining(pool, [RoundYield(pool + draws, draws, rare, draws, rare, draws, rare)])


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("offset", [-3.0, -1.5, 0.0])
def test_chances_come_true_where_scores_do_not(seed, offset):
    scores, judged, chances, _ = project(seed, offset)
    found = calibrate(scores, audited(len(scores), 0, 0), judged).chances(scores[:200])
    estimates = np.array([one.estimate for one in found])
    high = scores[:200] > 0.2
    assert np.abs(estimates - chances[:200])[high].mean() < 0.12
    assert np.abs(estimates - chances[:200]).mean() < 0.5 * np.abs(scores[:200] - chances[:200]).mean() or offset == 0
    inside = [one.low <= truth <= one.high for one, truth in zip(found, chances[:200], strict=True)]
    assert np.mean(inside) > 0.9


def test_a_greater_score_is_never_a_smaller_chance_and_each_lies_in_its_interval():
    scores, judged, *_ = project(0)
    found = calibrate(scores, audited(len(scores), 40, 2), judged).chances(np.linspace(0, 1, 50))
    estimates = [one.estimate for one in found]
    assert estimates == sorted(estimates)
    assert all(0 <= one.low <= one.estimate <= one.high <= 1 for one in found)


def test_the_audit_moves_the_chances_and_more_labels_narrow_them():
    scores, judged, *_ = project(0, labels=60)
    few, many = (
        calibrate(scores, audited(len(scores), 300, rare), judged).chances([0.3])[0].estimate for rare in (0, 60)
    )
    assert few < many
    more = project(0, labels=400)[1]
    widths = [
        one.high - one.low
        for one in (calibrate(scores, audited(len(scores), 0, 0), known).chances([0.5])[0] for known in (judged, more))
    ]
    assert widths[1] < widths[0]


@pytest.mark.parametrize(
    ("rare", "common", "missing"),
    [(0, 0, (LEAST_RARE, LEAST_COMMON)), (20, 4, (0, LEAST_COMMON - 4)), (1, 50, (LEAST_RARE - 1, 0)), (3, 10, (0, 0))],
)
def test_too_few_labels_state_no_chance_and_say_how_many_are_missing(rare, common, missing):
    labels = np.array([True] * rare + [False] * common)
    judged = Judged(np.full(len(labels), 0.5), labels)
    assert missing_labels(labels) == missing
    assert (calibrate([0.1, 0.9], audited(2, 0, 0), judged) is None) == any(missing)


def test_scores_without_any_doubt_and_pools_of_one_task_are_no_exception():
    judged = Judged(np.array([0.0, 1.0] * 10), np.array([False, True] * 10))
    found = calibrate([1.0], audited(1, 0, 0), judged).chances([0.0, 1.0])
    assert all(0 <= one.low <= one.estimate <= one.high <= 1 for one in found)
