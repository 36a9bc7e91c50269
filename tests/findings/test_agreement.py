"""Agreement between readers, against the package krippendorff and by simulation."""

from __future__ import annotations

import krippendorff
import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from clinical_backend.findings.agreement import LEAST_CASES, LEAST_DISAGREEMENTS, agreement, nominal_alpha

COUNTS = st.integers(2, 5).flatmap(
    lambda classes: st.lists(st.lists(st.integers(0, 3), min_size=classes, max_size=classes), min_size=2, max_size=40)
)


@given(COUNTS)
def test_alpha_is_that_of_the_package_krippendorff(counts):
    counts = np.array(counts)
    paired = counts[counts.sum(axis=1) > 1]
    assume((paired.sum(axis=0) > 0).sum() > 1)
    expected = krippendorff.alpha(value_counts=counts, level_of_measurement="nominal")
    assert nominal_alpha(counts) == pytest.approx(expected, abs=1e-9)


@given(COUNTS, st.integers(1, 4))
def test_a_case_that_counts_several_times_is_as_good_as_several_like_it(counts, times):
    counts = np.array(counts)
    whole = nominal_alpha(np.repeat(counts, times, axis=0))
    assert whole == pytest.approx(nominal_alpha(counts, np.full(len(counts), times)), abs=1e-12)


def test_where_only_one_class_was_read_nobody_could_disagree():
    assert nominal_alpha(np.array([[2, 0], [2, 0]])) is None
    found = agreement([("a", "a")] * 100)
    assert (found.alpha, found.cases) == (None, 100)


def test_nothing_is_said_before_twenty_cases_were_read_twice():
    cases = [("a", "a"), ("b", "b"), ("a", "b")] * 6
    found = agreement([*cases, ("a",), ()])
    assert (found.alpha, found.by_class, found.cases, found.missing) == (None, {}, 18, LEAST_CASES - 18)
    assert (found.disagreements, found.readings) == (6, {"a": 18, "b": 18})


def test_without_a_disagreement_there_is_a_bound_and_no_certainty():
    found = agreement([("a", "a")] * 20 + [("b", "b")] * 5)
    assert (found.alpha.estimate, found.alpha.high) == (None, None)
    assert 0 < found.alpha.low < 0.8
    assert found.by_class.keys() == {"a", "b"}
    assert found.by_class["b"].low < found.by_class["a"].low < 1
    more = agreement([("a", "a")] * 200 + [("b", "b")] * 50)
    assert found.alpha.low < more.alpha.low < 1


def test_the_agreement_of_a_class_is_the_share_of_its_readings_whose_partner_gave_it_too():
    found = agreement([("a", "a")] * 40 + [("b", "b")] * 10 + [("a", "b")] * 6)
    assert found.by_class["a"].estimate == pytest.approx(80 / 86)
    assert found.by_class["b"].estimate == pytest.approx(20 / 26)
    assert found.by_class["b"].low < found.by_class["a"].low
    assert found == agreement([("a", "a")] * 40 + [("b", "b")] * 10 + [("b", "a")] * 6)


def test_a_class_that_was_hardly_read_is_not_told():
    found = agreement([("a", "a")] * 40 + [("b", "b")] * 10 + [("a", "b")] * 6 + [("c", "c")])
    assert found.by_class.keys() == {"a", "b"}
    assert found.readings["c"] == 2


def read_twice(generator, cases, wrong, classes=3, rare=0.15):
    shares = [rare, *np.full(classes - 1, (1 - rare) / (classes - 1))]
    truth = generator.choice(classes, cases, p=shares)
    answers = []
    for _ in range(2):
        erring = generator.random(cases) < wrong
        answers.append(np.where(erring, generator.choice(classes, cases, p=shares), truth))
    return np.stack(answers, axis=1)


@pytest.mark.parametrize(("cases", "wrong"), [(25, 0.02), (25, 0.3), (100, 0.1)])
def test_what_is_stated_holds_in_nine_of_ten_projects_or_more(cases, wrong):
    generator = np.random.default_rng(0)
    long_run = read_twice(generator, 200_000, wrong)
    truth = nominal_alpha(np.stack([(long_run == c).sum(axis=1) for c in range(3)], axis=1))
    held = []
    for seed in range(60):
        found = agreement([tuple(map(str, pair)) for pair in read_twice(generator, cases, wrong)], seed=seed)
        low, high = found.alpha.low, found.alpha.high
        assert (found.alpha.estimate is None) == (high is None) == (found.disagreements < LEAST_DISAGREEMENTS)
        held.append(low <= truth and (high is None or truth <= high))
    assert np.mean(held) >= 0.9
