import numpy as np
import pytest
from sklearn.metrics import average_precision_score, balanced_accuracy_score

from clinical_backend.findings.interval import interval_of_share
from clinical_backend.learner.evaluation.blind_figures import blind_figures, clustered_share
from clinical_backend.multilabel import pack

CLASSES = ("dark", "red", "green")


@pytest.fixture(scope="module")
def cases():
    """Return labels, probabilities and patients of 120 cases, two of each patient."""
    generator = np.random.default_rng(0)
    truth = generator.choice(3, 120, p=[0.6, 0.25, 0.15])
    scores = generator.dirichlet(np.ones(3), 120) + 0.6 * np.eye(3)[truth]
    scores = (scores / scores.sum(axis=1, keepdims=True)).astype(np.float32)
    return truth, scores, [f"p{place // 2}" for place in range(120)]


def test_estimates_are_those_of_scikit_learn(cases):
    truth, scores, groups = cases
    found = blind_figures(CLASSES, [CLASSES[code] for code in truth], scores, groups, several=False)
    called = scores.argmax(axis=1)
    assert (found.cases, found.patients) == (120, 60)
    assert found.balanced_accuracy.estimate == pytest.approx(balanced_accuracy_score(truth, called), abs=1e-9)
    assert found.brier.estimate == pytest.approx(((scores - np.eye(3)[truth]) ** 2).sum(axis=1).mean(), abs=1e-6)
    for code, one in enumerate(found.classes):
        there = truth == code
        assert (one.name, one.present, one.cases) == (CLASSES[code], there.sum(), 120)
        assert one.sensitivity.estimate == pytest.approx((called[there] == code).mean(), abs=1e-9)
        assert one.specificity.estimate == pytest.approx((called[~there] != code).mean(), abs=1e-9)
        precision = average_precision_score(there, scores[:, code])
        assert one.average_precision.estimate == pytest.approx(precision, abs=1e-6)
        assert one.excess.estimate == pytest.approx(scores[:, code].mean() - there.mean(), abs=1e-6)
        for interval in (one.sensitivity, one.specificity, one.average_precision, one.excess):
            assert interval.low <= interval.estimate <= interval.high


def test_of_several_findings_each_is_judged_by_the_labels_that_say_something_of_it(cases):
    truth, scores, groups = cases
    labels = [
        pack([CLASSES[code]] if code else [], unknown=["green"] if place % 2 else [])
        for place, code in enumerate(truth)
    ]
    found = blind_figures(("red", "green"), labels, scores[:, 1:], groups, several=True)
    red, green = found.classes
    assert (red.cases, green.cases) == (120, sum(place % 2 == 0 or truth[place] == 2 for place in range(120)))
    there, called = truth == 1, scores[:, 1] >= 0.5
    assert red.sensitivity.estimate == pytest.approx(called[there].mean())
    told = np.array([place % 2 == 0 or truth[place] == 2 for place in range(120)])
    shares = [called[there].mean(), (~called[~there]).mean()]
    there, called = truth == 2, scores[:, 2] >= 0.5
    shares += [called[there].mean(), (~called[~there & told]).mean()]
    assert found.balanced_accuracy.estimate == pytest.approx(np.mean(shares))


def test_what_too_few_patients_have_is_not_stated():
    labels = ["red"] * 4 + ["dark"] * 30
    scores = np.full((34, 2), 0.5, dtype=np.float32)
    groups = [*"aabb", *map(str, range(30))]
    found = blind_figures(("dark", "red"), labels, scores, groups, several=False)
    assert found.balanced_accuracy is None
    assert [one.average_precision for one in found.classes] == [None, None]
    assert found.classes[1].sensitivity is not None
    nothing = blind_figures(("dark", "red"), [], np.empty((0, 2), np.float32), [], several=False)
    assert (nothing.cases, nothing.balanced_accuracy, nothing.brier) == (0, None, None)
    assert {one.sensitivity for one in nothing.classes} == {None}


def test_where_no_mistake_is_made_resampling_claims_no_interval():
    labels = ["red", "dark"] * 10
    scores = np.tile(np.array([[0.1, 0.9], [0.8, 0.2]], dtype=np.float32), (10, 1))
    found = blind_figures(("dark", "red"), labels, scores, list(map(str, range(20))), several=False)
    assert (found.balanced_accuracy.estimate, found.balanced_accuracy.low) == (1.0, None)
    assert (found.classes[1].average_precision.estimate, found.classes[1].average_precision.low) == (1.0, None)
    assert found.classes[1].sensitivity.low == pytest.approx(interval_of_share(10, 10).low)


def test_without_patients_a_share_has_nearly_the_interval_of_clopper_and_pearson():
    hits = np.arange(50) < 40
    found, known = clustered_share(hits, np.arange(50)), interval_of_share(40, 50)
    assert (found.low, found.high) == pytest.approx((known.low, known.high), abs=0.005)


def test_cases_of_one_patient_that_are_alike_count_as_one():
    hits = np.arange(50) < 40
    alike = clustered_share(np.repeat(hits, 4), np.repeat(np.arange(50), 4))
    known = interval_of_share(40, 50)
    assert (alike.low, alike.high) == pytest.approx((known.low, known.high), abs=0.005)
    sure = clustered_share(np.ones(40, dtype=bool), np.repeat(np.arange(10), 4))
    assert sure.low == pytest.approx(interval_of_share(10, 10).low)


def test_intervals_hold_the_truth_as_often_as_they_say():
    generator = np.random.default_rng(3)
    held = 0
    for _ in range(400):
        sizes = generator.integers(1, 6, 50)
        groups = np.repeat(np.arange(50), sizes)
        hits = generator.random(len(groups)) < generator.beta(0.8, 0.2, 50)[groups]
        found = clustered_share(hits, groups)
        held += found.low <= 0.8 <= found.high
    assert 0.92 < held / 400 < 0.99
