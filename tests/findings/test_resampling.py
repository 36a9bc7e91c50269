"""Intervals that know which cases are of one patient, and which stand for many."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from clinical_backend.findings.measures import shares
from clinical_backend.findings.resampling import Resampling, effective_number, interval_of_effective_share


@given(st.integers(1, 400), st.data())
def test_equal_cases_of_different_patients_have_clopper_and_pearsons_interval(cases, data):
    count = data.draw(st.integers(0, cases))
    hits = np.arange(cases) < count
    number = effective_number(hits, np.ones(cases), np.arange(cases))
    assert number == pytest.approx(cases)
    found = interval_of_effective_share(count / cases, number)
    expected = binomtest(count, cases).proportion_ci(0.95, method="exact")
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=1e-9)


def test_images_of_one_patient_that_all_say_the_same_count_once():
    patients, weights = np.repeat(np.arange(20), 5), np.ones(100)
    alike = np.repeat(np.arange(20) < 12, 5)
    assert effective_number(alike, weights, patients) == pytest.approx(20)
    mixed = np.arange(100) % 2 == 0
    assert effective_number(mixed, weights, patients) == pytest.approx(100)
    every = np.ones(100, dtype=bool)
    assert effective_number(every, weights, patients) == pytest.approx(20), "nothing tells the design effect"


def test_intervals_of_shares_hold_the_truth_where_patients_differ():
    generator, held = np.random.default_rng(3), 0
    for _ in range(400):
        patients = np.repeat(np.arange(50), generator.integers(1, 6, 50))
        hits = generator.random(len(patients)) < generator.beta(0.8, 0.2, 50)[patients]
        number = effective_number(hits, np.ones(len(hits)), patients)
        found = interval_of_effective_share(float(hits.mean()), number)
        held += found.low <= 0.8 <= found.high
    assert 0.92 < held / 400 < 0.99


def test_unequal_weights_tell_less():
    hits, weights = np.arange(40) % 2 == 0, np.where(np.arange(40) < 4, 50.0, 1.0)
    assert 4 < effective_number(hits, weights, np.arange(40)) < 6


@given(st.lists(st.tuples(st.booleans(), st.floats(0.1, 9), st.integers(0, 9)), min_size=1, max_size=60))
def test_the_effective_number_lies_between_those_of_patients_and_cases(cases):
    hits, weights, patients = (np.array(column) for column in zip(*cases, strict=True))
    total = weights.sum() ** 2
    number = effective_number(hits, weights, patients)
    of_patients, of_cases = total / (np.bincount(patients, weights) ** 2).sum(), total / (weights**2).sum()
    assert of_patients - 1e-9 <= number <= of_cases + 1e-9
    share = float(shares(hits, weights[None])[0])
    found = interval_of_effective_share(share, number)
    assert 0 <= found.low <= share <= found.high <= 1
    assert found.low < found.high


def test_patients_are_drawn_whole():
    hits = np.repeat(np.random.default_rng(0).random(30) < 0.5, 4)
    patients = np.repeat(np.arange(30), 4)
    whole = Resampling(1).intervals([partial(shares, hits)], np.ones(120), patients)[0]
    single = Resampling(1).intervals([partial(shares, hits[::4])], np.ones(30), np.arange(30))[0]
    apart = Resampling(1).intervals([partial(shares, hits)], np.ones(120), np.arange(120))[0]
    assert (whole.low, whole.high) == (single.low, single.high)
    assert apart.high - apart.low < 0.7 * (whole.high - whole.low)


def test_one_seed_gives_one_interval_however_many_sets_are_held_at_once(monkeypatch):
    hits, weights = np.arange(50) < 20, np.linspace(1, 3, 50)

    def found(seed):
        return Resampling(seed).intervals([partial(shares, hits)], weights, np.arange(50))[0]

    first = found(3)
    assert found(3) == first
    assert found(4) != first
    monkeypatch.setattr("clinical_backend.findings.resampling._AT_ONCE", 70)
    again = found(3)
    assert (again.low, again.high) == pytest.approx((first.low, first.high))


def test_no_interval_is_given_where_many_draws_have_no_figure():
    hits = np.array([True, False, False])

    def only_of_hits(weights):
        return shares(hits[:1], weights[:, :1])

    found = Resampling().intervals([only_of_hits], np.ones(3), np.arange(3))[0]
    assert (found.estimate, found.low, found.high) == (1.0, None, None)
