"""Labels by nearest exemplar, on both databases."""

import pytest

from clinical_backend.origins import Draw, Origin
from clinical_backend.storage.report import RoundReport
from clinical_backend.storage.schema import QueuedTask, TaskLabel
from clinical_backend.storage.stores.exemplar_labels import LabelledCase
from tests.storage.started import start_round


@pytest.fixture
def read(stores):
    """Four cases that a queue sought near two exemplars, and what readers said of them."""
    stores.projects.register(1)
    row = start_round(stores, 1)
    nearest = {1: -5, 2: -5, 3: -5, 4: 9}
    stores.rounds.keep_queue(
        [
            QueuedTask(round_id=row.id, rank=task, task_id=task, draw=Draw.TARGET, nearest_exemplar=one, similarity=0.5)
            for task, one in nearest.items()
        ]
    )
    stores.rounds.publish(row, RoundReport(), len(nearest))
    same = {"project_id": 1, "origin": Origin.QUEUE, "draw": Draw.TARGET, "round_number": row.number}
    said = {1: "a", 2: "b", 3: "a", 4: "a"}
    stores.labels.replace(
        1, [TaskLabel(task_id=task, label=label, labelled_at=float(task), **same) for task, label in said.items()]
    )
    return row


def test_labels_are_counted_by_exemplar_and_the_last_cases_come_first(stores, read):
    store = stores.exemplar_labels
    assert store.counts(1) == {-5: {"a": 2, "b": 1}, 9: {"a": 1}}
    assert store.counts(1, [9, 8]) == {9: {"a": 1}}
    assert store.counts(1, []) == {}
    assert store.newest(1, -5, ["a"], 1) == [LabelledCase(3, "a", read.number, 0.5, 3.0)]
    assert [one.task_id for one in store.newest(1, -5, {"a", "b"}, 48)] == [3, 2, 1]
    assert store.newest(1, -5, [], 48) == []
