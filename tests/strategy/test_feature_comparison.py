"""Two backbones are compared by the labelled tasks that have the features of both."""

import numpy as np

from clinical_backend.strategy.feature_comparison import compare_features
from clinical_backend.strategy.tasks import FeaturedTasks

CLASSES, RARE = ("common", "rare"), ("rare",)


def drawn(rare=10):
    """Return features that see the rare ones, others that do not, and the labels."""
    generator = np.random.default_rng(0)
    tasks = np.arange(1, 61)
    blind, seeing = generator.normal(size=(2, 60, 8)).astype(np.float32)
    seeing[:rare] += 4.0
    labels = {int(task): "rare" if task <= rare else "common" for task in tasks}
    return FeaturedTasks(tasks, seeing), FeaturedTasks(tasks, blind), labels


def test_one_that_sees_less_is_worse_and_the_other_is_not():
    seeing, blind, labels = drawn()
    worse = compare_features(blind, seeing, labels, CLASSES, RARE, seed=0)
    assert (worse.rare, worse.labels, worse.found.worse) == (10, 60, True)
    assert not compare_features(seeing, blind, labels, CLASSES, RARE, seed=0).found.worse
    assert not compare_features(seeing, seeing, labels, CLASSES, RARE, seed=0).found.worse


def test_tasks_count_that_have_both_whatever_their_order():
    seeing, _, labels = drawn()
    order = np.random.default_rng(1).permutation(55)
    some = FeaturedTasks(seeing.tasks[order], seeing.features[order])
    found = compare_features(some, seeing, labels, CLASSES, RARE, seed=0)
    assert found.labels == 55
    assert found.found.candidate > 0.9
    assert found.found.published > 0.9


def test_fewer_than_five_rare_ones_say_nothing():
    seeing, blind, labels = drawn(rare=4)
    found = compare_features(blind, seeing, labels, CLASSES, RARE, seed=0)
    assert (found.rare, found.labels, found.found) == (4, 60, None)


def test_patients_are_kept_together():
    """Features that know the patient alone rank nothing where the patient's other tasks are not learnt from."""
    patients = np.repeat(np.arange(30), 2)
    features = np.eye(30, dtype=np.float32)[patients]
    tasks = np.arange(1, 61)
    labels = {int(task): "rare" if patient < 6 else "common" for task, patient in zip(tasks, patients, strict=True)}
    groups = {int(task): str(patient) for task, patient in zip(tasks, patients, strict=True)}
    known = FeaturedTasks(tasks, features)
    apart, together = (
        compare_features(known, known, labels, CLASSES, RARE, groups=one, seed=0).found for one in (None, groups)
    )
    assert together.candidate < apart.candidate - 0.3
