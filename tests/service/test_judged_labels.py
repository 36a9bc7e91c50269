"""Labels beside what a classifier that had not seen them says."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clinical_backend.learner.checkpoint import CheckpointMetadata, save_checkpoint
from clinical_backend.learner.classifier.linear import LinearClassifier
from clinical_backend.learner.evaluation.held_out import HeldOut
from clinical_backend.multilabel import pack
from clinical_backend.origins import Origin
from clinical_backend.service.judged_labels import JudgedLabels, read_judged_labels
from clinical_backend.storage.schema import TaskLabel
from tests.small_workspace import fake_client, source, workspace
from tests.storage.started import start_round

__all__ = ["fake_client", "source", "workspace"]

CLASSES = ("common", "rare")


def judged(rows, labels, *, several=False):
    probabilities = np.array(rows, dtype=np.float32)
    return JudgedLabels(CLASSES, np.arange(1, len(rows) + 1), probabilities, tuple(labels), several)


def test_mistakes_come_by_how_sure_the_classifier_is_and_can_be_narrowed_down():
    found = judged([[0.9, 0.1], [0.4, 0.6], [0.2, 0.8], [0.7, 0.3]], ["common", "common", "common", "rare"])
    assert [(one.task_id, one.missed, one.said) for one in found.mistakes()] == [
        (3, "common", "rare"),
        (4, "rare", "common"),
        (2, "common", "rare"),
    ]
    assert [one.task_id for one in found.mistakes("rare")] == [4]
    assert [one.task_id for one in found.mistakes(said="rare")] == [3, 2]
    assert found.mistakes("common", "common") == []


def test_of_several_findings_each_is_right_or_wrong_by_itself_and_what_readers_left_open_is_neither():
    labels = [pack(["common"]), pack([], ["rare"]), pack(["common", "rare"])]
    found = judged([[0.9, 0.8], [0.1, 0.9], [0.2, 0.9]], labels, several=True).mistakes()
    assert [(one.task_id, one.said, one.missed) for one in found] == [(1, "rare", ""), (3, "", "common")]
    assert [one.probability for one in found] == pytest.approx([0.8, 0.8])


@given(st.lists(st.tuples(st.floats(0, 1, width=32), st.booleans()), min_size=2, max_size=40))
def test_each_threshold_is_the_highest_that_finds_as_many(cases):
    scores = np.array([score for score, _ in cases], dtype=np.float32)
    truth = np.array([rare for _, rare in cases])
    found = judged(np.stack([1 - scores, scores], axis=1), np.where(truth, "rare", "common")).thresholds("rare")
    if truth.all() or not truth.any():
        assert found == []
        return
    assert found[-1].found == found[-1].present == truth.sum()
    for one in found:
        assert one.called == (scores >= one.score).sum()
        assert one.found == (scores[truth] >= one.score).sum()
        assert (scores[truth] > one.score).sum() < one.found
    assert [one.score for one in found] == sorted({one.score for one in found}, reverse=True)


def test_each_site_is_measured_by_its_own_labels_and_one_site_alone_is_no_comparison():
    found = judged([[0.9, 0.1], [0.4, 0.6], [0.2, 0.8], [0.7, 0.3]], ["common", "common", "rare", "rare"])
    north, south = found.by_site("rare", {1: "north", 2: "north", 3: "north", 4: "south"})
    assert (north.site, north.labels, north.right, north.present, north.called) == ("north", 3, 1, 1, 2)
    assert (south.site, south.labels, south.right, south.present, south.called) == ("south", 1, 0, 1, 0)
    assert found.by_site("rare", {}) == found.by_site("unheard", {1: "north"}) == []
    assert [one.site for one in found.by_site("rare", {1: "north"})] == ["", "north"]


def test_a_site_is_judged_of_a_finding_only_by_labels_that_say_something_of_it():
    found = judged([[0.9, 0.8], [0.1, 0.9]], [pack(["rare"]), pack([], ["rare"])], several=True)
    measures = found.by_site("rare", {1: "north", 2: "south"})
    assert [(one.labels, one.present, one.called) for one in measures] == [(1, 1, 1), (0, 0, 0)]


def test_a_class_that_was_not_learnt_has_no_thresholds():
    assert judged([[0.9, 0.1], [0.4, 0.6]], ["common", "rare"]).thresholds("unheard") == []


def test_labels_are_those_of_by_now_and_what_nobody_looked_at_is_left_out(workspace):
    stores = workspace.stores
    stores.projects.register(1)
    row = start_round(stores, 1)
    project = workspace.project(1)
    assert read_judged_labels(project, None) is None
    assert read_judged_labels(project, row) is None
    classifier = LinearClassifier(CLASSES, np.zeros((4, 2), np.float32), np.zeros(2, np.float32), np.array([2, 2]))
    rows = np.array([[0.9, 0.1]] * 5, dtype=np.float32)
    held_out = HeldOut(np.arange(1, 6), rows, classifier)
    save_checkpoint(project.checkpoint_folder(row.version), classifier, CheckpointMetadata("key", 1), held_out)
    labels = ["rare", "common", None, "renamed", "rare"]
    origins = [Origin.QUEUE, Origin.SECOND_LOOK, Origin.QUEUE, Origin.QUEUE, Origin.IMPORTED]
    stores.labels.replace(
        1,
        [
            TaskLabel(project_id=1, task_id=task, label=label, origin=origin, labelled_at=1.0)
            for task, (label, origin) in enumerate(zip(labels, origins, strict=True), start=1)
        ],
    )
    found = read_judged_labels(project, row)
    assert (found.tasks.tolist(), found.labels) == ([1, 2], ("rare", "common"))
    assert [one.task_id for one in found.mistakes()] == [1]
