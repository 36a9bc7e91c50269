"""Tags of the page, as they are kept."""

import pytest

from clinical_backend.origins import Draw
from clinical_backend.storage.report import RoundReport
from clinical_backend.storage.schema import QueuedTask, TaskLabel
from tests.storage.started import start_round


@pytest.fixture
def filled(stores):
    stores.projects.register(1)
    stores.projects.register(2)
    stores.images.synchronise(1, {task: f"/{task}.png" for task in range(1, 6)}, complete=True)
    stores.labels.replace(1, [TaskLabel(project_id=1, task_id=5, label="a", labelled_at=1.0)])
    return stores


def test_a_tag_says_who_and_when_and_is_kept_once(filled):
    tags = filled.page_tags
    assert tags.set(1, [2, 1, 2], 1, by="ada") == [1, 2]
    first = tags.open(1)[1]
    assert (first.steer, first.tagged_by) == (1, "ada")
    assert first.tagged_at > 0
    assert tags.set(1, [1], 1, by="eve") == []
    assert tags.open(1)[1].tagged_by == "ada"
    assert tags.set(1, [1], -1, by="eve") == [1]
    assert (tags.open(1)[1].steer, tags.open(1)[1].tagged_by) == (-1, "eve")
    assert tags.remove(1, [1, 3]) == [1]
    assert list(tags.open(1)) == [2]
    assert tags.open(2) == {}


def test_answered_tasks_and_those_of_other_projects_take_none(filled):
    assert filled.page_tags.set(1, [5, 6], 1, by="ada") == []
    assert filled.page_tags.set(2, [1], 1, by="ada") == []
    assert filled.page_tags.set(3, [1], 1, by="ada") == []


def test_a_tag_rests_while_there_is_an_answer(filled):
    filled.page_tags.set(1, [4], 1, by="ada")
    filled.labels.replace(1, [TaskLabel(project_id=1, task_id=4, label="a", labelled_at=1.0)])
    assert filled.page_tags.open(1) == {}
    filled.labels.replace(1, [])
    assert list(filled.page_tags.open(1)) == [4]


def test_what_is_told_to_be_answered_leaves_the_open_queue_and_comes_back(filled):
    row = start_round(filled, 1)
    filled.rounds.keep_queue([QueuedTask(round_id=row.id, rank=n, task_id=n, draw=Draw.TARGET) for n in (1, 2, 3)])
    filled.rounds.publish(row, RoundReport(), 3)
    filled.rounds.note_answers(row.id, {2, 9})
    open_, count = filled.rounds.open_queue(row)
    assert ([one.task_id for one in open_], count) == ([1, 3], 2)
    filled.rounds.note_answers(row.id, [2], answered=False)
    assert filled.rounds.open_queue(row)[1] == 3
