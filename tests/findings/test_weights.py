"""Weights against all draws that could have been, and the coverage of what they say on simulated projects."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clinical_backend.errors import InvalidArgumentError
from clinical_backend.findings import weights as weights_module
from clinical_backend.findings.interval import Interval
from clinical_backend.findings.weights import DrawnRound, SampledLabels, mean_of_shares
from clinical_backend.lab.benchmarks.weights import ask, held
from tests.findings.labelled_project import LabelledProject


@pytest.fixture
def without_threshold(monkeypatch):
    monkeypatch.setattr(weights_module, "LEAST_LABELS", 1)
    monkeypatch.setattr(weights_module, "LEAST_DRAWS", 1)


def sampled(rounds, before=0):
    """Return labels, round after round: of each its number, its pool, how many were drawn and how many sought."""
    entered, drawn = [0] * before, [False] * before
    for number, _, draws, sought in rounds:
        entered += [number] * (draws + sought)
        drawn += [True] * draws + [False] * sought
    counted = [DrawnRound(number, pool, draws) for number, pool, draws, _ in rounds if draws]
    return SampledLabels(np.array(entered, dtype=np.int64), np.array(drawn, dtype=np.bool_), counted)


def histories(values):
    """Yield what two rounds may label: each draws two at random, and then seeks the greatest that is left."""
    tasks = set(range(len(values)))

    def sought(left):
        return max(left, key=lambda task: (values[task], task))

    for first in combinations(sorted(tasks), 2):
        left = tasks - set(first)
        third = sought(left)
        left -= {third}
        for second in combinations(sorted(left), 2):
            yield [*first, third, *second, sought(left - set(second))]


@given(values=st.lists(st.integers(0, 3), min_size=7, max_size=8))
def test_over_all_draws_that_could_have_been_weighted_labels_add_up_to_the_whole(values):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(weights_module, "LEAST_LABELS", 1)
        weights = sampled([(1, len(values), 2, 1), (2, len(values) - 3, 2, 1)]).weights
    assert weights.sum() == pytest.approx(len(values))
    totals = [weights @ np.array(values)[tasks] for tasks in histories(values)]
    assert np.mean(totals) == pytest.approx(sum(values))


def test_what_was_sought_stands_for_itself_at_most_and_a_draw_for_the_pool(without_threshold):
    labels = sampled([(3, 100, 5, 10), (4, 85, 5, 10)], before=7)
    weights = labels.weights
    assert weights[:7] == pytest.approx(1)
    assert (weights[7:12] > 5).all()
    assert ((weights[12:22] > 0) & (weights[12:22] < 1)).all()
    assert weights[27:] == pytest.approx(0)
    assert weights.sum() == pytest.approx(107)


def test_draws_of_rounds_that_do_not_count_stand_for_themselves(without_threshold):
    labels = SampledLabels(np.array([1, 1, 2]), np.array([True, False, True]), [DrawnRound(2, 10, 1)])
    assert labels.weights.tolist() == [1, 1, 10]


@pytest.mark.parametrize(("draws", "missing"), [(19, 1), (20, 0)])
def test_with_too_few_draws_nothing_is_said(draws, missing):
    labels = sampled([(1, 500, draws, 30)])
    assert labels.missing == missing
    assert (labels.weights is None) == bool(missing)
    assert (labels.share(np.arange(draws + 30) < 5) is None) == bool(missing)


def test_of_three_draws_on_a_share_is_told():
    labels = sampled([(1, 500, 30, 0)])
    everything = np.arange(30)
    assert labels.share(everything < 1, everything < 2) is None
    assert labels.share(everything < 1, everything < 3) is not None


@pytest.mark.parametrize(
    "rounds", [[DrawnRound(1, 10, 2)], [DrawnRound(1, 0, 1)], [DrawnRound(2, 10, 1)], [DrawnRound(1, 10, 0)]]
)
def test_rounds_that_contradict_the_labels_are_refused(rounds):
    with pytest.raises(InvalidArgumentError, match="contradict"):
        SampledLabels(np.array([1]), np.array([True]), rounds)


def test_pools_that_are_not_of_one_project_are_refused():
    with pytest.raises(InvalidArgumentError, match="contradict"):
        sampled([(1, 100, 5, 5), (2, 91, 5, 5)])


def test_without_any_round_nothing_is_said():
    labels = SampledLabels(np.array([0, 1]), np.array([False, True]), [])
    assert labels.weights is None
    assert labels.missing == 20


def test_a_pool_that_was_drawn_to_its_end_leaves_no_doubt():
    labels = sampled([(1, 100, 20, 5), (2, 75, 75, 0)])
    hits = np.arange(100) % 4 == 0
    share = labels.share(hits)
    assert [share.low, share.estimate, share.high] == pytest.approx([0.25] * 3)


def test_one_draw_of_all_has_the_interval_of_wilson():
    labels = sampled([(1, 10**9, 50, 0)])
    share = labels.share(np.arange(50) < 10)
    assert (share.estimate, share.low, share.high) == pytest.approx((0.2, 0.1124, 0.3304), abs=1e-4)


@given(
    st.lists(st.tuples(st.integers(0, 12), st.integers(0, 9)), min_size=1, max_size=5),
    st.integers(0, 50),
    st.integers(0, 2**32 - 1),
)
def test_every_interval_holds_its_estimate_and_what_was_found(sizes, left, seed):
    pools = left + np.cumsum([sum(one) for one in sizes][::-1])[::-1]
    labels = sampled([(n, int(pool), *one) for n, (pool, one) in enumerate(zip(pools, sizes, strict=True), 1)])
    generator = np.random.default_rng(seed)
    hits, domain = generator.random((2, len(labels.entered))) < 0.4
    share = labels.share(hits)
    if share is not None:
        assert hits.sum() / pools[0] - 1e-9 <= share.low <= share.estimate <= share.high
        assert share.high <= 1 - (~hits).sum() / pools[0] + 1e-9
    of_some = labels.share(hits & domain, domain)
    if of_some is not None:
        assert 0 <= of_some.low <= of_some.estimate <= of_some.high <= 1


def test_the_mean_of_two_shares_lies_between_them_and_is_surer_than_their_sum():
    mean = mean_of_shares([Interval(0.8, 0.6, 0.9), Interval(0.9, 0.8, 0.95)])
    assert (mean.estimate, mean.low, mean.high) == pytest.approx((0.85, 0.7382, 0.9059), abs=1e-4)


def test_on_simulated_projects_weights_undo_what_the_queue_prefers():
    generator = np.random.default_rng(5)
    answers = [ask(generator, share=0.1, audit=0.3, hard=10.0) for _ in range(150)]
    for figure in ("prevalence", "balanced accuracy"):
        one = [answer[figure] for answer in answers]
        share, error, cases = held(one, by_weights=True)
        assert cases > 140
        assert share > 0.9
        assert abs(error) < 0.01
        assert held(one, by_weights=False)[0] < 0.6


@pytest.mark.parametrize("habit", [{"past": 0.5, "skips": 0.1, "late": 0.04}, {"hidden": 1000.0}])
def test_intervals_hold_as_often_as_stated_whatever_is_read_past_the_queue_skipped_late_or_hidden(habit):
    runs, told, held_by = 120, 0, {"prevalence": 0, "balanced accuracy": 0}
    for seed in range(runs):
        project = LabelledProject(np.random.default_rng(seed), share=0.1, **habit)
        covered = project.there.copy()
        for _ in range(6):
            project.work()
        known, sample = project.labels(covered)
        rare, hits = project.rare[known], project.predicted[known]
        covered &= ~project.skipped | project.open
        truth, right = project.rare[covered], (project.predicted == project.rare)[covered]
        prevalence = sample.share(rare)
        held_by["prevalence"] += prevalence.low <= truth.mean() <= prevalence.high
        shares = [sample.share((hits == rare) & (rare == which), rare == which) for which in (True, False)]
        if all(shares):
            told += 1
            mean = mean_of_shares(shares)
            held_by["balanced accuracy"] += mean.low <= (right[truth].mean() + right[~truth].mean()) / 2 <= mean.high
    for name, of in (("prevalence", runs), ("balanced accuracy", told)):
        assert held_by[name] >= 0.95 * of - 3 * (0.95 * 0.05 * of) ** 0.5, name
    assert told > 0.3 * runs
