"""How good a model is, as far as the cases carry it."""

from __future__ import annotations

import json
from dataclasses import asdict, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, balanced_accuracy_score, brier_score_loss, recall_score

from clinical_backend.errors import InvalidArgumentError
from clinical_backend.findings.cases import JudgedCases
from clinical_backend.findings.performance import LEAST_CASES, measure
from tests.findings.labelled_project import LabelledProject


def judged(seed=0, number=200, classes=3, *, several=False, weighted=True, per_patient=2, **given):
    """Return cases of a model that is often right, with weights as unequal as draws make them."""
    generator = np.random.default_rng(seed)
    names = tuple(f"class {place}" for place in range(classes))
    codes = generator.integers(0, classes, number)
    truth = generator.random((number, classes)) < 0.3 if several else codes[:, None] == np.arange(classes)
    scores = generator.normal(0, 1, (number, classes)) + 2 * truth
    odds = np.exp(scores)
    probabilities = odds / (1 + odds) if several else odds / odds.sum(axis=1, keepdims=True)
    weights = generator.choice([0.0, 0.5, 1.0, 20.0], number) if weighted else None
    patients = np.arange(number) // per_patient
    threshold = 0.5 if several else None
    return JudgedCases(names, truth.astype(float), probabilities, patients, weights, threshold=threshold, **given)


@settings(max_examples=25)
@given(st.integers(0, 10**6), st.booleans(), st.booleans())
def test_figures_are_those_of_scikit_learn(seed, several, weighted):
    sex = ["f", "m"] * 100
    cases = judged(seed, several=several, weighted=weighted, fields={"sex": sex}, per_patient=4)
    found = measure(cases, replications=100)
    weights = cases.counted()
    called = cases.probabilities >= 0.5 if several else np.eye(3)[cases.probabilities.argmax(axis=1)] > 0
    of_women = np.array(sex) == "f"
    for place in range(3):
        for some, one in (
            (np.ones(200, dtype=bool), found.classes[place]),
            (of_women, found.subgroups[0].classes["f"][place]),
        ):
            truth, scores, w = cases.truth[some, place] > 0, cases.probabilities[some, place], weights[some]
            figures = (one.average_precision, one.sensitivity, one.specificity, one.brier_score, one.excess)
            expected = [
                average_precision_score(truth, scores, sample_weight=w),
                recall_score(truth, called[some, place], sample_weight=w),
                recall_score(truth, called[some, place], sample_weight=w, pos_label=False),
                brier_score_loss(truth, scores, sample_weight=w),
                np.average(scores, weights=w) - np.average(truth, weights=w),
            ]
            assert [figure.estimate for figure in figures] == pytest.approx(expected, abs=1e-9, rel=0)
            assert one.positives == (truth & (w > 0)).sum()
            assert all(figure.low <= figure.estimate <= figure.high for figure in figures)
    told = np.sum(
        [
            brier_score_loss(cases.truth[:, place], cases.probabilities[:, place], sample_weight=weights)
            for place in range(3)
        ]
    )
    assert found.brier_score.estimate == pytest.approx(told / 3 if several else told, abs=1e-9)
    assert found.brier_score.low < found.brier_score.estimate < found.brier_score.high
    if several:
        shares = [share.estimate for one in found.classes for share in (one.sensitivity, one.specificity)]
        assert found.balanced_accuracy.estimate == pytest.approx(np.mean(shares), abs=1e-9)
    else:
        balanced = balanced_accuracy_score(
            cases.truth.argmax(axis=1), cases.probabilities.argmax(axis=1), sample_weight=weights
        )
        assert found.balanced_accuracy.estimate == pytest.approx(balanced, abs=1e-9)


def test_what_too_few_cases_carry_is_not_said():
    cases = judged(number=300, classes=2, weighted=False)
    few = cases.truth.copy()
    few[:, 1] = np.arange(300) < LEAST_CASES - 1
    few[:, 0] = 1 - few[:, 1]
    found = measure(replace(cases, truth=few))
    rare = found.classes[1]
    assert (rare.average_precision, rare.sensitivity, rare.brier_score, found.balanced_accuracy) == (None,) * 4
    assert rare.specificity is not None
    assert (rare.cases, rare.positives) == (300, LEAST_CASES - 1)
    enough = few.copy()
    enough[LEAST_CASES - 1] = [0, 1]
    assert measure(replace(cases, truth=enough)).classes[1].average_precision is not None
    nine, ten = (measure(cases.those(np.arange(300) < some)).brier_score for some in (LEAST_CASES - 1, LEAST_CASES))
    assert (nine, ten is None) == (None, False)


def test_weights_that_rest_on_two_random_draws_carry_nothing():
    cases = judged(number=300, classes=2)
    positive = cases.truth[:, 1] > 0
    two, three = (
        np.isin(np.arange(300), np.flatnonzero(positive & (cases.weights > 0))[:n]) | ~positive for n in (2, 3)
    )
    assert measure(replace(cases, drawn=two)).classes[1].sensitivity is None
    assert measure(replace(cases, drawn=three)).classes[1].sensitivity is not None


def test_a_model_that_was_never_wrong_is_not_said_to_be_perfect_for_certain():
    truth = np.eye(2)[np.arange(40) % 2]
    cases = JudgedCases(("a", "b"), truth, 0.9 * truth + 0.05, np.arange(40))
    one = measure(cases).classes[1]
    assert (one.average_precision.estimate, one.sensitivity.estimate) == (1, 1)
    assert 0.8 < one.average_precision.low == one.sensitivity.low < 0.85


def test_what_a_label_leaves_open_counts_in_nothing():
    cases = judged(several=True, number=200)
    truth = cases.truth.copy()
    truth[::2, 0] = np.nan
    probabilities = cases.probabilities.copy()
    probabilities[::2, 0] = np.nan
    found = measure(replace(cases, truth=truth, probabilities=probabilities))
    other = measure(cases.those(np.arange(200) % 2 == 1))
    assert found.classes[0].average_precision.estimate == other.classes[0].average_precision.estimate
    assert found.classes[0].cases == other.classes[0].cases
    first, rest = (cases.probabilities - cases.truth)[:, 0] ** 2, (cases.probabilities - cases.truth)[:, 1:] ** 2
    losses = np.where(np.arange(200) % 2 == 1, (first + rest.sum(axis=1)) / 3, rest.mean(axis=1))
    assert found.brier_score.estimate == pytest.approx(np.average(losses, weights=cases.weights), abs=1e-9)
    truth[:100], probabilities[:100] = np.nan, np.nan
    half = measure(replace(cases, truth=truth, probabilities=probabilities)).brier_score
    assert half.estimate == pytest.approx(np.average(losses[100:], weights=cases.weights[100:]), abs=1e-9)


def test_reliability_bins_hold_every_case_once():
    cases = judged(number=300, weighted=False)
    for place, bins in enumerate(measure(cases).reliability.values()):
        assert sum(one.cases for one in bins) == 300
        scores, truth = cases.probabilities[:, place], cases.truth[:, place]
        inner = (scores >= bins[1].low) & (scores < bins[1].high)
        assert bins[1].predicted == pytest.approx(scores[inner].mean())
        assert bins[1].observed.estimate == pytest.approx(truth[inner].mean())


def test_figures_are_json_to_full_precision():
    found = measure(judged(fields={"sex": ["f", "m"] * 100}))
    assert json.loads(json.dumps(asdict(found), allow_nan=False))["classes"][0]["average_precision"] == asdict(
        found.classes[0].average_precision
    )


@pytest.mark.parametrize(
    "wrong",
    [
        {"patients": np.arange(3)},
        {"weights": np.array([1.0, -1.0])},
        {"drawn": np.array([True])},
        {"fields": {"sex": ["f"]}},
        {"truth": np.array([[0.5, 0.5], [0, 1]])},
        {"probabilities": np.array([[np.nan, 0.5], [0, 1]])},
    ],
)
def test_cases_that_contradict_themselves_are_refused(wrong):
    cases = JudgedCases(("a", "b"), np.eye(2), np.eye(2), np.arange(2))
    with pytest.raises(InvalidArgumentError):
        replace(cases, **wrong)


def test_intervals_of_sought_labels_hold_the_truth_of_all_tasks():
    generator, held = np.random.default_rng(5), []
    for _ in range(50):
        project = LabelledProject(generator, share=0.1, audit=0.3)
        for _ in range(6):
            project.work()
        known, sample = project.labels(np.ones(project.tasks, dtype=bool))
        shift = np.where(project.predicted, 1.5, -1.5) + generator.normal(0, 1, project.tasks)
        scores = 1 / (1 + np.exp(-shift))
        rare = project.rare
        both = np.stack([~rare, rare], axis=1).astype(float), np.stack([1 - scores, scores], axis=1)
        cases = JudgedCases(("common", "rare"), both[0][known], both[1][known], known, sample.weights, sample.counted)
        one = measure(cases, replications=200).classes[1]
        truth = {
            "sensitivity": (scores >= 0.5)[rare].mean(),
            "specificity": (scores < 0.5)[~rare].mean(),
            "average_precision": average_precision_score(rare, scores),
            "brier_score": np.mean((scores - rare) ** 2),
            "excess": np.mean(scores - rare),
        }
        held += [
            figure.low <= value <= figure.high
            for name, value in truth.items()
            if (figure := getattr(one, name)) is not None
        ]
    assert len(held) > 200
    assert np.mean(held) > 0.93
