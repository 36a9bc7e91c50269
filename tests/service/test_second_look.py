"""Which labels are suspected, on features whose flipped labels are known."""

from __future__ import annotations

import itertools
from types import SimpleNamespace

import numpy as np
import pytest

from clinical_backend.multilabel import pack
from clinical_backend.service.second_readings import Outcome, read_again
from clinical_backend.storage.report import Evaluation
from clinical_backend.storage.stores.second_readings import ReadTwice
from clinical_backend.strategy.evaluation import evaluate_labels
from clinical_backend.strategy.fit import fit
from clinical_backend.strategy.suspects import find_suspects
from clinical_backend.strategy.target import find_target
from clinical_backend.strategy.tasks import FeaturedTasks, Inputs

CLASSES = ("common", "other", "rare")


def part(tasks, features, rows):
    return FeaturedTasks(tasks[rows], features[rows])


def project(seed=0, labels=1000, flipped=0.05):
    """Return labels of which a twentieth is flipped, what is learnt from them, and the flipped tasks."""
    generator = np.random.default_rng(seed)
    truth = generator.choice(3, labels + 200, p=[0.45, 0.4, 0.15])
    features = generator.normal(size=(len(truth), 32)).astype(np.float32)
    features[np.arange(len(truth)), truth] += 3.0
    tasks = np.arange(1, len(truth) + 1)
    given = truth.copy()
    wrong = np.flatnonzero(generator.random(labels) < flipped)
    given[wrong] = (truth[wrong] + generator.integers(1, 3, len(wrong))) % 3
    named = {int(tasks[row]): CLASSES[given[row]] for row in range(labels)}
    exemplars = [task for task, name in named.items() if name == "rare"][:5]
    target = find_target(named, exemplars, (), (), CLASSES)
    query = np.asarray(target.query, dtype=np.int64) - 1
    inputs = Inputs(
        "",
        part(tasks, features, np.arange(labels, len(truth))),
        part(tasks, features, np.arange(labels)),
        part(tasks, features, query),
        part(tasks, features, query[:0]),
    )
    fitted = fit(inputs, named, CLASSES, target, seed=0)
    missed = {int(tasks[row]) for row in wrong if truth[row] == 2 and given[row] != 2}
    return inputs, fitted, named, missed


@pytest.mark.parametrize("seed", range(3))
def test_flipped_labels_stand_at_the_top_at_five_times_their_share_or_more(seed):
    inputs, fitted, named, missed = project(seed)
    suspects = find_suspects(inputs, fitted, ("rare",), floored=False)
    common = sum(name != "rare" for name in named.values())
    top = [row.task_id for row in suspects[: common // 20]]
    assert len(missed) >= 3
    share = len(missed.intersection(top)) / len(top)
    assert share >= 5 * len(missed) / common
    assert all(row.label == named[row.task_id] != "rare" for row in suspects)
    assert all(first.suspicion >= second.suspicion for first, second in itertools.pairwise(suspects))
    assert all(0 <= row.suspicion <= 1 and row.nearest_exemplar in inputs.query.tasks for row in suspects)


@pytest.mark.parametrize("seed", range(3))
def test_the_floor_keeps_most_of_what_was_missed_and_hardly_anything_else(seed):
    inputs, fitted, _, missed = project(seed)
    order = find_suspects(inputs, fitted, ("rare",), floored=False)
    listed = find_suspects(inputs, fitted, ("rare",))
    assert [row.task_id for row in listed] == [row.task_id for row in order[: len(listed)]]
    assert all(row.rare_probability >= 0.5 for row in listed)
    assert len(listed) < 60 < len(order)
    found = missed.intersection(row.task_id for row in listed)
    assert 2 * len(found) >= len(missed)


def test_settled_labels_and_exemplars_are_not_suspected():
    inputs, fitted, _, _ = project()
    first = find_suspects(inputs, fitted, ("rare",))[0].task_id
    again = {row.task_id for row in find_suspects(inputs, fitted, ("rare",), settled=[first])}
    assert first not in again
    assert not again & set(inputs.query.tasks.tolist())


def test_too_few_labels_to_judge_by_suspect_nothing():
    inputs, fitted, _named, _ = project(labels=3)
    assert fitted.held_out is None
    assert find_suspects(inputs, fitted, ("rare",)) == []


def test_the_evaluation_counts_every_label_once():
    inputs, fitted, named, _ = project()
    found = evaluate_labels(fitted.held_out, inputs, named, ("rare",))
    counts = np.array(found.confusion)
    support = [one.count for one in found.classes]
    assert support == counts.sum(axis=1).tolist() == [list(named.values()).count(name) for name in CLASSES]
    assert min(np.diag(counts) / counts.sum(axis=1)) > 0.7
    shown = Evaluation(CLASSES, found.confusion, tuple(support), "")
    assert [shown.called(name) for name in CLASSES] == list(zip(np.diag(counts), counts.sum(axis=0), strict=True))
    assert shown.called("unknown") is None


def test_a_patient_is_judged_by_none_who_saw_it():
    inputs, _fitted, named, _ = project(labels=120)
    groups = {task: f"{task // 4}" for task in named}
    target = find_target(named, (), (), ("rare",), CLASSES)
    grouped = fit(Inputs.of(inputs.labelled, groups=groups), named, CLASSES, target, seed=0)
    alone = fit(Inputs.of(inputs.labelled), named, CLASSES, target, seed=0)
    assert not np.allclose(grouped.held_out.probabilities, alone.held_out.probabilities)
    unseen = dict(groups) | {999: groups[1]}
    assert grouped.held_out.may_evaluate(np.array([999]), unseen).tolist() == [False]


@pytest.mark.parametrize(
    ("second", "now", "outcome"),
    [
        (pack(["mass", "nodule"]), pack(["mass"], ["nodule"]), Outcome.OPEN),
        (pack(["mass", "nodule"]), pack(["mass", "nodule"]), Outcome.CHANGED),
        (pack(["mass", "nodule"]), pack(["mass"]), Outcome.KEPT),
        (pack(["mass"], ["nodule"]), pack(["mass"]), Outcome.RIGHT),
    ],
)
def test_what_comes_of_a_second_reading_of_findings_is_told_finding_by_finding(second, now, outcome):
    answers = [["7", pack(["mass"])], ["8", second]]
    fields = {"label": pack(["mass"]), "readings": 1, "asked_at": 1.0, "read_at": 2.0, "answers": answers}
    row = ReadTwice(task_id=1, suspicion=None, at_random=False, by_lead=True, **fields)
    stores = SimpleNamespace(
        second_readings=SimpleNamespace(read_twice=lambda _: [row], checks=lambda _: {}),
        labels=SimpleNamespace(settled=lambda *_: {1: (now, 2)}),
    )
    (found,) = read_again(SimpleNamespace(id=1, stores=stores))
    assert found.outcome is outcome
