"""Measures are those of the literature, and absent where there is nothing to measure."""

import json
from dataclasses import asdict

import numpy as np
import pytest

from clinical_backend.errors import InvalidArgumentError
from clinical_backend.learner.evaluation.metrics import average_precision, confusion, evaluate, recall_at_specificity


def test_average_precision_of_a_ranking():
    assert average_precision([1, 0, 1, 0], [0.9, 0.8, 0.7, 0.1]) == pytest.approx((1 + 2 / 3) / 2)


def test_recall_at_specificity_takes_the_best_threshold_that_is_specific_enough():
    positive = [True] * 4 + [False] * 10
    scores = [0.99, 0.90, 0.60, 0.10] + [0.95, 0.70] + [0.2] * 8
    assert recall_at_specificity(positive, scores, 0.8) == 0.75
    assert recall_at_specificity(positive, scores, 0.9) == 0.5
    assert recall_at_specificity(positive, scores, 1.0) == 0.25


def test_equal_scores_are_no_recall_at_a_high_specificity():
    assert recall_at_specificity([True, False, False], [0.5, 0.5, 0.5], 0.9) == 0.0


@pytest.mark.parametrize("positive", [[], [False, False]])
def test_without_a_case_there_is_no_measure(positive):
    assert average_precision(positive, np.zeros(len(positive))) is None
    assert recall_at_specificity(positive, np.zeros(len(positive))) is None
    assert recall_at_specificity([True, True], [0, 1]) is None


def test_confusion_counts_true_classes_in_rows():
    assert confusion([0, 0, 1, 2], [0, 1, 1, 1], 3).tolist() == [[1, 1, 0], [0, 1, 0], [0, 1, 0]]


def test_an_evaluation_adds_up():
    probabilities = [[0.8, 0.2, 0], [0.3, 0.7, 0], [0.1, 0.9, 0], [0.2, 0.8, 0]]
    metrics = evaluate([0, 0, 1, 1], probabilities, ("a", "b", "never"), rare=["b", "never"])
    assert (metrics.count, metrics.accuracy, metrics.balanced_accuracy) == (4, 0.75, 0.75)
    a, b, never = metrics.classes
    assert (a.count, a.recall, a.precision) == (2, 0.5, 1.0)
    assert (b.count, b.recall, b.precision) == (2, 1.0, 2 / 3)
    assert (never.count, never.recall, never.precision, never.average_precision) == (0, None, None, None)
    assert metrics.rare_average_precision == b.average_precision == 1.0
    assert metrics.confusion == ((1, 1, 0), (0, 2, 0), (0, 0, 0))


def test_an_evaluation_is_json():
    metrics = evaluate([0, 1], np.eye(2), ("a", "b"), rare=["b"])
    assert json.loads(json.dumps(asdict(metrics), allow_nan=False))["accuracy"] == 1.0


def test_nothing_to_evaluate_gives_no_figures():
    metrics = evaluate([], np.empty((0, 2)), ("a", "b"))
    assert (metrics.count, metrics.accuracy, metrics.balanced_accuracy) == (0, None, None)


def test_shapes_that_do_not_match_are_refused():
    with pytest.raises(InvalidArgumentError):
        evaluate([0, 1], np.eye(3), ("a", "b"))
