"""Several findings of an image: each is learnt by itself, and each target has its own order."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from clinical_backend.multilabel import findings_of, has_any, is_multilabel, pack, says, unknown_of
from clinical_backend.origins import Draw
from clinical_backend.settings import load_settings
from clinical_backend.strategy.evaluation import evaluate_findings
from clinical_backend.strategy.order import rank
from clinical_backend.strategy.preannotation import confidence
from clinical_backend.strategy.reasons import reason_of
from clinical_backend.strategy.several_fit import fit_labels
from clinical_backend.strategy.suspects import find_suspects
from clinical_backend.strategy.target import find_target
from clinical_backend.strategy.tasks import FeaturedTasks, Inputs

FINDINGS = ("common", "mass", "nodule")
SIZE = 600
EMPTY = FeaturedTasks(np.empty(0, dtype=np.int64), np.empty((0, 24), dtype=np.float32))


@pytest.fixture(scope="module")
def films():
    """Return films of which each finding moves the feature its own way: half have the common one, 5 % each other."""
    generator = np.random.default_rng(1)
    features = generator.normal(size=(SIZE, 24)).astype(np.float32)
    shows = np.zeros((SIZE, 3), dtype=bool)
    shows[:, 0] = generator.random(SIZE) < 0.5
    shows[:30, 1] = True
    shows[25:55, 2] = True
    for column in range(3):
        features[shows[:, column], 8 * column] += 5.0
    order = generator.permutation(SIZE)
    labels = [pack(np.array(FINDINGS)[row].tolist()) for row in shows[order]]
    return FeaturedTasks(np.arange(SIZE), features[order]), labels


def having(labels, *names):
    return [task for task, label in enumerate(labels) if findings_of(label) - {"common"} == set(names)]


def round_of(films, known, exemplars=(), *, named=("mass", "nodule"), changed=None, judge=True, **target_options):
    every, labels = films
    given = {task: labels[task] for task in known} | (changed or {})
    target = find_target(given, exemplars, (), named, FINDINGS, **target_options)
    at = list(target.query)
    rest = np.setdiff1d(np.arange(SIZE), list(given))
    rows = sorted(given)
    inputs = Inputs(
        "",
        FeaturedTasks(rest, every.features[rest]),
        FeaturedTasks(np.array(rows), every.features[rows]),
        FeaturedTasks(np.array(at, dtype=np.int64), every.features[at]),
        EMPTY,
        {},
    )
    return target, inputs, given, fit_labels(inputs, given, FINDINGS, target, seed=0, judge=judge)


def start(films):
    labels = films[1]
    exemplars = [*having(labels, "mass")[:4], *having(labels, "nodule")[:4]]
    return [*exemplars, *having(labels)[:30]], exemplars


def test_each_target_has_its_own_query_set(films):
    labels = films[1]
    both = having(labels, "mass", "nodule")[0]
    known, exemplars = start(films)
    target, *_ = round_of(films, [*known, both], [*exemplars, both])
    assert set(target.queries) == {"mass", "nodule"}
    assert all("mass" in findings_of(labels[task]) for task in target.queries["mass"])
    assert both in target.queries["mass"]
    assert both in target.queries["nodule"]
    named, *_ = round_of(films, [*known, both], [*exemplars, both], stands_for={both: {"mass"}}, named=())
    assert named.classes == ("mass", "nodule")


def test_what_readers_dispute_of_a_case_it_does_not_stand_for(films):
    both = having(films[1], "mass", "nodule")[0]
    known, exemplars = start(films)
    target, *_ = round_of(films, [*known, both], [*exemplars, both], disputed={both: {"nodule"}})
    assert both in target.queries["mass"]
    assert both not in target.queries["nodule"]


def test_a_finding_that_is_common_in_the_labels_is_not_what_a_tag_means(films):
    labels = films[1]
    exemplars = [task for task in having(labels, "mass") if "common" in findings_of(labels[task])][:5]
    target, *_ = round_of(films, [*exemplars, *having(labels)[:40]], exemplars, named=())
    assert target.classes == ("mass",)


def test_the_queue_serves_every_target_and_says_which(films):
    known, exemplars = start(films)
    target, inputs, _, fitted = round_of(films, known, exemplars)
    choice, ranked = rank(load_settings(queue_size=40, audit_share=0.1), inputs, target, fitted, round_number=1)
    sought = [task for task in ranked if task.draw is Draw.TARGET]
    served = Counter(task.targets[0] for task in sought)
    assert min(served.values()) >= 0.4 * len(sought)
    right = [says(films[1][task.task_id], task.targets[0]) for task in sought[:20]]
    assert sum(map(bool, right)) >= 16
    assert reason_of(sought[0]).startswith(f"Sought for {sought[0].targets[0]}")
    assert all(not task.targets for task in ranked if task.draw is Draw.AUDIT)
    assert "mass: " in choice.reason
    assert "nodule: " in choice.reason


def test_a_target_without_a_case_leaves_the_queue_to_the_others(films):
    known, exemplars = start(films)
    masses = [task for task in exemplars if "mass" in findings_of(films[1][task])]
    rest = [task for task in known if "nodule" not in findings_of(films[1][task])]
    target, inputs, _, fitted = round_of(films, rest, masses)
    _, ranked = rank(load_settings(queue_size=20), inputs, target, fitted, round_number=1)
    found = sum(bool(says(films[1][task.task_id], "mass")) for task in ranked)
    assert found >= 8


def test_findings_have_probabilities_of_their_own(films):
    known, exemplars = start(films)
    *_, fitted = round_of(films, known, exemplars)
    assert fitted.classes == FINDINGS
    features, labels = films[0].features, films[1]
    believed = fitted.probabilities(features)
    for column, name in enumerate(FINDINGS):
        there = np.array([bool(says(label, name)) for label in labels])
        assert believed[there, column].mean() > believed[~there, column].mean() + 0.2


def test_a_label_that_says_nothing_of_a_finding_is_held_against_nobody(films):
    known, exemplars = start(films)
    silent = {task: pack(findings_of(films[1][task]), ["nodule"]) for task in having(films[1])[:30]}
    known = [task for task in known if task not in silent]
    *_, inputs, given, fitted = round_of(films, known, exemplars, changed=silent)
    nodule = fitted.by_target["nodule"]
    assert not set(silent) & set(nodule.inputs.labelled.tasks.tolist())
    scores, together = evaluate_findings(fitted.held_out, inputs, given)
    assert {one.name: one.labels for one in scores} == {"common": 38, "mass": 38, "nodule": 8}
    assert together[1, 1] == scores[1].present


def test_a_missed_finding_deserves_a_second_look(films):
    known, exemplars = start(films)
    missed = having(films[1], "nodule")[10]
    more = having(films[1], "nodule")[4:10]
    *_, inputs, _, fitted = round_of(films, [*known, *more], exemplars, changed={missed: pack([])})
    suspects = find_suspects(inputs, fitted, ("mass", "nodule"))
    assert suspects[0].task_id == missed
    assert suspects[0].label == pack([])


def test_no_tick_is_proven_where_an_image_may_have_several_findings(films):
    known, exemplars = start(films)
    target, inputs, given, fitted = round_of(films, known, exemplars)
    found = confidence(fitted.held_out, inputs, [], given, evidence=known, target=target.classes)
    assert not found.tasks


def test_before_any_label_the_exemplars_alone_steer(films):
    exemplars = having(films[1], "mass")[:3]
    target, inputs, _, fitted = round_of(films, exemplars, exemplars)
    _, ranked = rank(load_settings(queue_size=20, audit_share=0.0), inputs, target, fitted, round_number=1)
    assert sum(has_any(films[1][task.task_id], ["mass"]) for task in ranked) >= 10


def test_one_class_an_image_is_fitted_as_ever(films):
    every, labels = films
    rows = [*having(labels, "mass")[:6], *having(labels)[:20]]
    single = {task: "mass" if "mass" in findings_of(labels[task]) else "none" for task in rows}
    target = find_target(single, rows[:3], (), (), ("mass", "none"))
    at = list(target.query)
    inputs = Inputs.of(
        FeaturedTasks(np.array(rows), every.features[rows]), every, FeaturedTasks(np.array(at), every.features[at])
    )
    fitted = fit_labels(inputs, single, ("mass", "none"), target, seed=0)
    assert not fitted.by_target
    assert not fitted.classifier.independent
    assert not target.queries


def test_without_a_target_what_the_model_says_is_a_label_of_findings(films):
    known, _ = start(films)
    target, inputs, _, fitted = round_of(films, known, named=())
    _, ranked = rank(load_settings(queue_size=20), inputs, target, fitted, round_number=1)
    assert all(is_multilabel(task.predicted) for task in ranked)


def test_of_a_finding_that_was_not_learnt_nothing_is_predicted(films):
    known, exemplars = start(films)
    rest = [task for task in known if "nodule" not in findings_of(films[1][task])]
    masses = [task for task in exemplars if task in rest]
    target, inputs, _, fitted = round_of(films, rest, masses, named=("mass",))
    _, ranked = rank(load_settings(queue_size=20), inputs, target, fitted, round_number=1)
    assert all(unknown_of(task.predicted) == {"nodule"} for task in ranked)


def test_a_classifier_is_taught_also_while_one_of_several_targets_has_no_label(films):
    labels = films[1]
    known, exemplars = start(films)
    nodules = [task for task in exemplars if "mass" not in findings_of(labels[task])]
    target, inputs, _, fitted = round_of(
        films,
        known,
        exemplars,
        changed={task: pack([]) for task in nodules},
        stands_for={task: {"nodule"} for task in nodules},
    )
    assert fitted.by_target["nodule"].classifier is None
    settings = load_settings(queue_size=20, goal="classifier")
    _, ranked = rank(settings, inputs, target, fitted, round_number=1)
    assert any(task.draw is Draw.MARGIN for task in ranked)


def test_labels_that_nobody_looked_at_are_learnt_from_where_findings_are_named(films):
    known, _ = start(films)
    every, labels = films
    target = find_target({}, (), (), ("mass", "nodule"), FINDINGS)
    given = {task: labels[task] for task in known}
    inputs = Inputs.of(EMPTY, every)
    fitted = fit_labels(inputs, given, FINDINGS, target, seed=0)
    _, ranked = rank(load_settings(queue_size=20), inputs, target, fitted, round_number=1)
    assert len(ranked) == 20
