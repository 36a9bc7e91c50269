"""Which tasks come with a class ticked."""

from __future__ import annotations

import json
from dataclasses import asdict

import numpy as np
import pytest
from scipy.stats import binom

from clinical_backend.findings.interval import lower_share
from clinical_backend.learner.classifier.linear import fit
from clinical_backend.learner.evaluation.held_out import HeldOut
from clinical_backend.origins import Draw
from clinical_backend.storage.report import Preannotation, RoundReport
from clinical_backend.strategy.preannotation import (
    Confidence,
    confidence,
    is_notable,
    preannotations,
    prove,
)
from clinical_backend.strategy.tasks import FeaturedTasks, Inputs, RankedTask

CLASSES = ("a", "b", "rare")
LABELS = 240


def ranked(task, predicted="a", draw=Draw.TARGET, rare=0.01):
    return RankedTask(task, draw, predicted, 0.6, rare, None, None)


def test_nothing_is_ticked_by_default_and_never_a_random_draw():
    queue = [ranked(1), ranked(2, draw=Draw.AUDIT), ranked(3, "b", Draw.DIVERSE), ranked(4, None)]
    sure = {1: "a", 2: "a"}
    assert preannotations("off", queue, sure, CLASSES) == {}
    assert preannotations("confident", queue, sure, CLASSES) == {1: "a"}
    assert preannotations("all", queue, sure, CLASSES) == {1: "a", 3: "b"}
    assert preannotations("all", queue, sure, ("b",)) == {3: "b"}


@pytest.mark.parametrize(("right", "count"), [(59, 59), (58, 59), (92, 93), (0, 5), (3, 4)])
def test_the_bound_is_that_of_clopper_and_pearson(right, count):
    found = lower_share(right, count, 0.05)
    # At the bound, so many hits or more have a chance of exactly 5 %.
    assert binom.sf(right - 1, count, found) == pytest.approx(0.05, abs=1e-6) if right else found == 0
    assert (lower_share(59, 59, 0.05) >= 0.95) > (lower_share(58, 58, 0.05) >= 0.95)


def held(count, wrong=(), sure=0.9):
    """Return held-out probabilities that all name class 0, by falling probability, and the truth."""
    probabilities = np.zeros((count, 3))
    probabilities[:, 0] = np.linspace(sure, 0.6, count)
    codes = np.zeros(count, dtype=np.intp)
    codes[list(wrong)] = 1
    return probabilities, codes


def test_a_class_needs_eighty_labels_without_an_error():
    assert prove(*held(80), 0).labels == 80
    assert prove(*held(79), 0) is None
    assert prove(*held(0), 0) is None


def test_the_surer_half_may_be_proven_where_the_rest_is_not():
    proof = prove(*held(200, wrong=range(120, 200)), 0)
    assert (proof.labels, proof.right) == (100, 100)
    assert proof.above == pytest.approx(np.linspace(0.9, 0.6, 200)[99])
    assert prove(*held(200, wrong=range(0, 200, 8)), 0) is None


def test_a_class_that_is_right_in_less_than_95_of_100_is_seldom_proven_by_luck():
    generator = np.random.default_rng(0)
    lucky = 0
    for _ in range(1000):
        own = generator.uniform(0.5, 1.0, 150)
        probabilities = np.column_stack([own, 1 - own])
        lucky += prove(probabilities, (generator.random(150) > 0.949).astype(np.intp), 0) is not None
    # Three tries at 5 % each would be lucky up to 150 times.
    assert lucky <= 65


@pytest.mark.parametrize(
    ("score", "high", "notable"),
    [
        (0.05, None, False),
        (0.2, None, True),
        (0.9, None, True),
        (None, None, True),
        (0.9, 0.01, False),
        (0.0, 0.03, True),
    ],
)
def test_a_task_that_may_be_rare_is_notable_and_so_is_one_of_which_nothing_is_known(score, high, notable):
    assert is_notable(score, high) == notable


@pytest.fixture
def project():
    """Return held-out judgements of separate classes, with their tasks, and a pool of as many."""
    generator = np.random.default_rng(1)
    codes = np.arange(LABELS) % 3
    features = (np.eye(3)[codes] * 6 + generator.normal(size=(LABELS, 3))).astype(np.float32)
    tasks = np.arange(1, LABELS + 1)
    learnt = fit(features, codes, CLASSES)
    probabilities = learnt.probabilities(features)
    labels = {int(task): CLASSES[code] for task, code in zip(tasks, codes, strict=True)}
    pool = FeaturedTasks(tasks + 1000, features)
    return HeldOut(tasks, probabilities, learnt), FeaturedTasks(tasks, features), pool, labels


def sure(project, queue, **changes):
    held_out, labelled, pool, labels = project
    inputs = Inputs.of(labelled, pool, groups=changes.pop("groups", None))
    given = {"evidence": labels, "target": ("rare",)} | changes
    return confidence(changes.pop("held_out", held_out), inputs, queue, labels, **given)


def queue_of(project, **fields):
    return [ranked(int(task), project[3][int(task) - 1000], **fields) for task in project[2].tasks]


def test_common_classes_are_ticked_where_they_are_proven_and_the_target_never_is(project):
    found = sure(project, queue_of(project))
    assert set(found.proofs) == {"a", "b"}
    assert found.tasks
    assert all(name == project[3][task - 1000] != "rare" for task, name in found.tasks.items())
    assert "rare" in sure(project, queue_of(project), target=()).proofs


def test_a_task_that_may_be_rare_is_not_ticked_however_sure_the_class(project):
    assert sure(project, queue_of(project, rare=0.2)).tasks == {}
    assert sure(project, queue_of(project, rare=None)).tasks == {}


def test_nothing_is_ticked_where_the_model_that_answers_says_something_else(project):
    others = [ranked(int(task), "rare") for task in project[2].tasks]
    assert sure(project, others).tasks == {}


def test_labels_that_readers_did_not_give_unled_prove_nothing(project):
    assert sure(project, queue_of(project), evidence=()) == Confidence()
    few = {task for task, name in project[3].items() if name == "a"}
    assert set(sure(project, queue_of(project), evidence=few).proofs) <= {"a"}


def test_labels_of_one_patient_count_once(project):
    groups = {task: f"patient {(task - 1) % 3}" for task in project[3]}
    assert sure(project, queue_of(project), groups=groups) == Confidence()


def test_without_held_out_labels_nothing_is_proven(project):
    _, labelled, pool, labels = project
    found = confidence(None, Inputs.of(labelled, pool), queue_of(project), labels, evidence=labels, target=("rare",))
    assert found == Confidence()


def test_what_a_round_keeps_of_it_is_read_back(project):
    found = sure(project, queue_of(project))
    proofs = {name: asdict(proof) for name, proof in found.proofs.items()}
    report = RoundReport(preannotation=Preannotation.of("confident", found.tasks, proofs))
    kept = RoundReport.from_json(json.loads(json.dumps(report.to_json())))
    assert (kept.preannotation.classes, kept.preannotation.proofs) == (found.tasks, proofs)
    assert kept == report
    assert RoundReport.from_json({"target": []}).preannotation is None
