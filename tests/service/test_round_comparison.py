"""Two rounds beside each other: paired on the labels that judged both."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from clinical_backend.learner.checkpoint import CheckpointMetadata, save_checkpoint
from clinical_backend.learner.classifier.linear import LinearClassifier
from clinical_backend.learner.evaluation.held_out import HeldOut
from clinical_backend.origins import Origin
from clinical_backend.service.round_comparison import ClassComparison, compare_rounds
from clinical_backend.storage.report import RoundReport
from clinical_backend.storage.schema import QueuedTask, TaskLabel
from tests.small_workspace import fake_client, source, workspace
from tests.storage.started import start_round

__all__ = ["fake_client", "source", "workspace"]

CLASSES = ("common", "rare")


def publish(workspace, tasks, held_out_tasks, rare):
    row = start_round(workspace.stores, 1)
    workspace.stores.rounds.keep_queue(
        [QueuedTask(round_id=row.id, rank=rank, task_id=task, draw="TARGET") for rank, task in enumerate(tasks)]
    )
    workspace.stores.rounds.publish(row, RoundReport(), len(tasks))
    classifier = LinearClassifier(CLASSES, np.zeros((4, 2), np.float32), np.zeros(2, np.float32), np.array([2, 2]))
    rows = np.array([[1 - one, one] for one in rare], dtype=np.float32)
    folder = workspace.project(1).checkpoint_folder(row.version)
    save_checkpoint(
        folder, classifier, CheckpointMetadata("key", 1), HeldOut(np.array(held_out_tasks), rows, classifier)
    )
    return row


def test_models_are_compared_on_the_same_labels_and_queues_by_their_tasks(workspace):
    workspace.stores.projects.register(1)
    workspace.stores.images.synchronise(1, {task: f"{task}.png" for task in range(1, 9)}, complete=True)
    first = publish(workspace, [5, 6, 7], [1, 2, 3, 4], [0.1, 0.9, 0.2, 0.3])
    second = publish(workspace, [7, 8], [4, 3, 2, 8], [0.8, 0.9, 0.4, 0.5])
    labels = dict.fromkeys([1, 2], "common") | dict.fromkeys([3, 4], "rare")
    workspace.stores.labels.replace(
        1,
        [
            TaskLabel(project_id=1, task_id=task, label=label, origin=Origin.QUEUE, round_number=1, labelled_at=1.0)
            for task, label in labels.items()
        ],
    )
    found = compare_rounds(workspace.project(1), first, second)
    assert (found.queues, found.shared, found.judged) == ((3, 2), 1, 3)
    assert found.classes == (ClassComparison("common", 1, 0, 1, 3, 0), ClassComparison("rare", 2, 0, 2, 3, 0))
    assert (found.gained, found.lost) == ((2, 3, 4), ())
    back = compare_rounds(workspace.project(1), second, first, shown=2)
    assert (back.gained, back.lost) == ((), (2, 3))


@given(st.integers(0, 200), st.integers(0, 200))
def test_a_difference_is_beyond_chance_by_mcnemars_exact_test(gained, lost):
    differ = gained + lost
    expected = differ > 0 and binomtest(gained, differ).pvalue < 0.05
    assert ClassComparison("rare", 20, 5, 5, gained, lost).is_beyond_chance is bool(expected)
