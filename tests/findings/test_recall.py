"""The bound on all rare cases: bets are fair by brute force, and looks together err no more often than stated."""

from __future__ import annotations

from math import comb, exp

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clinical_backend.findings.recall import RecallState, TotalBound, judge_recall
from clinical_backend.findings.remaining import RoundYield
from clinical_backend.lab.benchmarks.stopping import run_project, stopped_by_test
from tests.findings.labelled_project import LabelledProject


def chance(rare, *, of, pool, draws):
    return comb(of, rare) * comb(pool - of, draws - rare) / comb(pool, draws)


def worth_on_average(tasks, total, rounds):
    """Return what the bet against the true total is worth after some rounds, over all draws that could have been."""

    def expected(bound, before, pool, rest):
        if not rest or pool < sum(rest[0]):
            return exp(bound._won[total])
        (draws, sought), left = rest[0], total - before
        worth = 0.0
        for rare in range(max(0, draws - (pool - left)), min(draws, left) + 1):
            after = TotalBound(tasks, 0.05)
            after._likelihood, after._won, after._lately = bound._likelihood, bound._won, bound._lately.copy()
            after.add(before=before, pool=pool, draws=draws, rare=rare)
            found = min(sought, left - rare)  # the queue takes rare ones first
            later = expected(after, before + rare + found, pool - draws - sought, rest[1:])
            worth += chance(rare, of=left, pool=pool, draws=draws) * later
        return worth

    return expected(TotalBound(tasks, 0.05), 0, tasks, rounds)


@settings(deadline=None, max_examples=30)
@given(
    tasks=st.integers(5, 40),
    share=st.floats(0, 1),
    sizes=st.lists(st.tuples(st.integers(1, 4), st.integers(0, 3)), min_size=1, max_size=3),
)
def test_a_bet_against_the_truth_wins_nothing_on_average_whatever_is_sought_between(tasks, share, sizes):
    assert worth_on_average(tasks, round(share * tasks), sizes) <= 1 + 1e-9


def test_a_bet_loses_nothing_either_where_every_outcome_of_the_draws_is_possible():
    assert worth_on_average(30, 12, [(2, 1), (3, 2), (2, 0)]) == pytest.approx(1.0)


@pytest.mark.parametrize("rare", [4, 20, 60])
def test_over_all_looks_together_it_errs_no_more_often_than_stated(rare):
    generator = np.random.default_rng(rare)
    wrong = 0
    for _ in range(300):
        waiting, bound = np.ones(400, dtype=bool), TotalBound(400, 0.05)
        missed = False
        for _ in range(15):
            pool = np.flatnonzero(waiting)
            drawn = generator.choice(pool, 20, replace=False)
            before = rare - int(waiting[:rare].sum())
            bound.add(before=before, pool=len(pool), draws=20, rare=int((drawn < rare).sum()))
            waiting[drawn] = False
            missed |= bound.most(rare - int(waiting[:rare].sum())) < rare
        wrong += missed
    assert wrong <= 0.05 * 300 + 3 * (300 * 0.05 * 0.95) ** 0.5


def a_round(pool, labelled, *, rare, audit, audit_rare=0):
    return RoundYield(pool + labelled, audit, audit_rare, labelled, rare, labelled, rare)


def judge(rounds, *, found, pool, target=0.95, together=1):
    tasks = pool + (rounds[0].labelled_since if rounds else found)
    return judge_recall(rounds, found=found, tasks=tasks, pool=pool, target=target, together=together)


def test_so_many_further_common_draws_as_it_asks_for_reach_the_recall_and_one_fewer_does_not():
    known = a_round(2000, 200, rare=97, audit=20)
    asked = judge([known], found=97, pool=2000)
    assert (asked.state, asked.spared) == (RecallState.NOT_YET, 5)
    for fewer, state in ((0, RecallState.REACHED), (1, RecallState.NOT_YET)):
        draws = asked.draws - fewer
        first = a_round(2000 - draws, 200 + draws, rare=97, audit=20)
        second = a_round(2000 - draws, draws, rare=0, audit=draws)
        assert judge([first, second], found=97, pool=2000 - draws).state is state


def test_a_pool_that_is_read_to_its_end_leaves_nothing_to_prove():
    done = judge([a_round(0, 300, rare=10, audit=5)], found=10, pool=0)
    assert (done.state, done.most, done.least) == (RecallState.REACHED, 10, 1.0)


def test_without_a_find_or_a_draw_nothing_can_be_known():
    assert judge([a_round(100, 50, rare=0, audit=30)], found=0, pool=100).state is RecallState.UNKNOWN
    assert judge([a_round(100, 50, rare=9, audit=0)], found=9, pool=100).state is RecallState.UNKNOWN
    assert judge([], found=9, pool=100).state is RecallState.UNKNOWN
    assert judge([a_round(100, 50, rare=9, audit=19)], found=9, pool=100).missing == 1


def test_more_draws_without_a_rare_case_bound_it_closer_and_several_findings_less_close():
    rounds = [a_round(2000, 600, rare=60, audit=n, audit_rare=n // 40) for n in (40, 400)]
    few, many = (judge([one], found=60, pool=2000) for one in rounds)
    assert few.most > many.most > 60
    assert judge(rounds[1:], found=60, pool=2000, together=3).most > many.most


def test_the_queue_goes_on_while_much_is_likely_to_be_left_and_draws_prove_it_then():
    early = judge([a_round(2000, 200, rare=40, audit=60, audit_rare=6)], found=40, pool=2000)
    assert early.needs_queue
    late = [a_round(1000, 1200, rare=200, audit=60, audit_rare=6), a_round(1000, 300, rare=4, audit=200)]
    assert not judge(late, found=200, pool=1000).needs_queue


def test_of_many_thousand_tasks_numbers_between_those_asked_after_count_as_possible():
    huge = judge([a_round(900_000, 2000, rare=50, audit=500)], found=50, pool=900_000)
    assert 50 < huge.most < 20_000


def test_simulated_projects_that_stop_when_it_is_reached_have_kept_it():
    ends = [run_project(np.random.default_rng(seed), 0.8, share=0.1)[0] for seed in range(30)]
    assert np.mean([end.recall >= 0.8 for end in ends]) >= 0.9
    assert np.median([end.labels for end in ends]) < 0.8


def test_a_test_that_takes_what_was_sought_for_a_random_sample_stops_too_early_where_cases_are_hidden():
    ends = [stopped_by_test(np.random.default_rng(seed), 0.8, share=0.1, hard=1000.0) for seed in range(30)]
    assert np.mean([end.recall >= 0.8 for end in ends]) < 0.6
    alike = [stopped_by_test(np.random.default_rng(seed), 0.8, share=0.1) for seed in range(30)]
    assert np.mean([end.recall >= 0.8 for end in alike]) >= 0.9


def test_it_is_hardly_ever_said_to_be_reached_too_early_though_somebody_looks_after_every_queue():
    runs, wrong, reached = 60, 0, 0
    for seed in range(runs):
        project = LabelledProject(
            np.random.default_rng(seed), tasks=500, share=0.1, size=40, audit=0.5, past=0.3, skips=0.1, late=0.04
        )
        covered, errs, ends = project.there.copy(), False, False
        while project.work():
            counts = covered & (project.open | ~project.skipped)
            found, pool = int((project.rare & counts & ~project.open).sum()), int((counts & project.open).sum())
            yields = project.yields(covered)
            said = judge_recall(yields, found=found, tasks=int(counts.sum()), pool=pool, target=0.7).state
            if said is RecallState.REACHED:
                ends |= pool > 0
                errs |= found < 0.7 * int((project.rare & counts).sum())
        wrong, reached = wrong + errs, reached + ends
    assert wrong <= 0.05 * runs + 3 * (0.05 * 0.95 * runs) ** 0.5
    assert reached > 0.5 * runs
