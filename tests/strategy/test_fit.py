import numpy as np
import pytest

from clinical_backend.learner.adaptation.network import join_features
from clinical_backend.strategy.fit import fit
from clinical_backend.strategy.target import Target
from clinical_backend.strategy.tasks import FeaturedTasks, Inputs

CLASSES = ("common", "unseen", "rare")
TARGET = Target(("rare",), (), 0, (), "test")


def labelled(common, rare, *, apart=6.0):
    """Return tasks of which the rare ones stand apart, with their labels."""
    generator = np.random.default_rng(0)
    features = generator.normal(size=(common + rare, 8)).astype(np.float32)
    features[common:] += apart
    tasks = np.arange(1, common + rare + 1)
    return FeaturedTasks(tasks, features), {int(task): "common" if task <= common else "rare" for task in tasks}


def test_classes_without_a_label_are_not_learnt():
    tasks, labels = labelled(20, 6)
    fitted = fit(Inputs.of(tasks), labels, CLASSES, TARGET, seed=0)
    assert fitted.classes == ("common", "rare")
    assert fitted.rare_columns == [1]
    assert fitted.probabilities(tasks.features).shape == (26, 2)
    assert fitted.sees_target
    assert fitted.measurements["average_precision"] > 0.9
    assert fitted.measurements["chance"] == pytest.approx(6 / 26)


def test_a_classifier_no_better_than_chance_is_not_believed():
    tasks, labels = labelled(40, 10, apart=0.0)
    fitted = fit(Inputs.of(tasks), labels, CLASSES, TARGET, seed=1)
    assert not fitted.sees_target
    assert "does not see" in fitted.reason


@pytest.mark.parametrize(
    ("common", "rare", "reason"),
    [(0, 0, "no label yet"), (5, 0, "only 'common' is labelled yet"), (0, 3, "only 'rare' is labelled yet")],
)
def test_fewer_than_two_classes_make_no_classifier(common, rare, reason):
    tasks, labels = labelled(common, rare)
    fitted = fit(Inputs.of(tasks), labels, CLASSES, TARGET, seed=0)
    assert (fitted.classifier, fitted.reason, fitted.sees_target) == (None, reason, False)
    assert fitted.probabilities(tasks.features) is None
    assert fitted.query_residuals(tasks) is None


@pytest.mark.parametrize(("common", "rare"), [(20, 1), (1, 20)])
def test_a_single_label_of_a_side_is_too_few_to_judge_by(common, rare):
    tasks, labels = labelled(common, rare)
    fitted = fit(Inputs.of(tasks), labels, CLASSES, TARGET, seed=0)
    assert fitted.classifier is not None
    assert "too few" in fitted.reason


def test_query_residuals_are_those_of_the_true_class_or_else_of_the_believed_one():
    tasks, labels = labelled(20, 6)
    fitted = fit(Inputs.of(tasks), labels, CLASSES, TARGET, seed=0)
    query = FeaturedTasks(np.array([1, 99]), tasks.features[[0, 25]])  # task 99 was tagged, but not classified
    probabilities = fitted.probabilities(query.features)
    expected = probabilities - np.array([[1, 0], [0, 1]], dtype=np.float32)
    assert np.allclose(fitted.query_residuals(query), expected, atol=1e-6)


def test_what_both_classifiers_say_is_judged_where_both_go_on():
    told, labels = labelled(60, 20, apart=1.0)
    noise = np.random.default_rng(1).normal(size=(80, 64)).astype(np.float32)
    tasks = FeaturedTasks(told.tasks, join_features([told.features, noise], [1.0, 2.0]), (8, 64))
    inputs = Inputs.of(tasks)
    alone, both, first = (fit(one, labels, CLASSES, TARGET, seed=0) for one in (inputs, inputs.both(), Inputs.of(told)))
    of_alone, of_both, of_first = (one.measurements["average_precision"] for one in (alone, both, first))
    assert of_alone + 0.1 < of_both <= of_first
    judged, joined = both.held_out.reference, alone.held_out.reference
    of_part = first.held_out.reference.logits(told.features)
    assert np.allclose(judged.logits(tasks.features), (joined.logits(tasks.features) + of_part) / 2, atol=0.02)
    assert both.classifier is judged
