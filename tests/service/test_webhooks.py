"""Events that are taken together."""

import threading
import time

import pytest

from clinical_backend.errors import StorageError
from clinical_backend.labelstudio.contract import WebhookRequest
from clinical_backend.origins import Draw
from clinical_backend.service import webhooks as events_module
from clinical_backend.service.webhooks import EventCounter
from clinical_backend.storage.report import Counts, RoundReport
from clinical_backend.storage.schema import QueuedTask
from tests.storage.started import start_round


def event(task, **fields):
    annotation = {"id": task, "task": task, "result": []} | fields
    return WebhookRequest.model_validate({"action": "ANNOTATION_CREATED", "annotation": annotation})


@pytest.fixture
def counter(workspace):
    """Return a counter of a project of 20 tasks, 8 of which are in the published queue."""
    stores = workspace.stores
    row = start_round(stores, 1, "for the test")
    stores.rounds.keep_queue(
        [QueuedTask(round_id=row.id, rank=place, task_id=place + 1, draw=Draw.TARGET) for place in range(8)]
    )
    stores.rounds.publish(row, RoundReport(counts=Counts(queue=8, pool=20)), 8)
    workspace.settings = workspace.settings.model_copy(update={"start_training_each_n_updates": 100})
    return EventCounter(workspace)


def together(counter, events, monkeypatch, *, project_of=lambda _: 1):
    """Have events come while another is being counted; return what each was told, and how often was written."""
    writes, held, enough = [], threading.Event(), threading.Event()
    count = counter._workspace.stores.projects.count_annotations

    def slow(*arguments, **options):
        writes.append(arguments)
        if len(writes) == 1:
            held.set()
            assert enough.wait(10)
        return count(*arguments, **options)

    monkeypatch.setattr(counter._workspace.stores.projects, "count_annotations", slow)
    told = {}

    def take(place):
        try:
            told[place] = counter.take(events[place], project_of(place))
        except (StorageError, ZeroDivisionError) as error:
            told[place] = error

    threads = [threading.Thread(target=take, args=(place,)) for place in range(len(events))]
    threads[0].start()
    assert held.wait(10)
    for thread in threads[1:]:
        thread.start()
    while len(counter._waiting) < len(events) - 1:
        time.sleep(0.001)
    enough.set()
    for thread in threads:
        thread.join()
    return [told[place] for place in range(len(events))], writes


def test_events_that_come_at_once_are_counted_in_one_transaction(counter, workspace, monkeypatch):
    told, writes = together(counter, [event(task) for task in range(9, 20)], monkeypatch)
    assert told == [None] * 11
    assert [number for _, number in writes] == [1, 10]
    assert workspace.stores.projects.get(1).updates == 11


def test_a_reason_among_them_is_told_to_all_and_makes_a_round_due(counter, workspace, monkeypatch):
    events = [event(10), event(11), event(12, result=[{"from_name": "exemplar"}]), event(13)]
    told, _ = together(counter, events, monkeypatch)
    assert told == [None, *["an exemplar was tagged or changed"] * 3]
    assert workspace.stores.projects.get(1).request == "an exemplar was tagged or changed"


def test_tasks_of_the_queue_are_counted_off(counter, workspace, monkeypatch):
    told, _ = together(counter, [event(task) for task in (1, 2, 19, 3, 4, 5, 6, 7)], monkeypatch)
    assert told == [None, *["the queue is running low: 1 of 8 tasks are left"] * 7]
    assert workspace.stores.projects.get(1).queue_left == 1


def test_projects_are_counted_apart(counter, workspace, monkeypatch):
    workspace.stores.projects.register(2)
    together(counter, [event(task) for task in range(9, 15)], monkeypatch, project_of=lambda place: 1 + place % 2)
    assert [workspace.stores.projects.get(number).updates for number in (1, 2)] == [3, 3]


def test_all_are_told_where_the_database_fails_and_the_next_is_counted_again(counter, workspace, monkeypatch):
    def fail(*_, **__):
        raise StorageError("The disk is full.", "Make room.")

    with monkeypatch.context() as patch:
        patch.setattr(workspace.stores.projects, "count_annotations", fail)
        told, _ = together(counter, [event(9), event(10), event(11)], monkeypatch)
    assert [str(error) for error in told] == ["The disk is full. Make room."] * 3
    assert counter.take(event(12), 1) is None
    assert workspace.stores.projects.get(1).updates == 1


def test_an_event_that_cannot_be_counted_soon_is_answered_and_counted_later(counter, workspace, monkeypatch):
    monkeypatch.setattr(EventCounter, "answer_seconds", 0.05)
    with workspace.stores.database.write():  # whoever else writes on SQLite waits
        assert [counter.take(event(task), 1) for task in (9, 10, 11)] == [None] * 3
        start = WebhookRequest.model_validate({"action": "START_TRAINING"})
        with pytest.raises(StorageError, match=r"busy.*press Start Training again"):  # an order is not taken in vain
            counter.take(start, 1)
        assert not counter.is_behind
    counter.close()
    project = workspace.stores.projects.get(1)
    assert (project.updates, project.request) == (3, "Start Training was called")


def test_no_more_events_wait_than_memory_allows(counter, workspace, monkeypatch):
    monkeypatch.setattr(events_module, "_MOST_WAITING", 2)
    with workspace.stores.database.write():
        counter.put(event(9), 1)
        while counter._waiting:
            time.sleep(0.001)
        counter.put(event(10), 1)
        counter.put(event(11), 1)
        with pytest.raises(StorageError, match="too many events wait"):
            counter.put(event(12), 1)
    counter.close()
    assert workspace.stores.projects.get(1).updates == 3


def test_what_is_kept_of_an_event_is_small(counter):
    large = event(9, result=[{"from_name": "mask", "value": {"rle": list(range(10_000))}}] * 5)
    arrival = events_module._Arrival.of(1, large)
    assert arrival.controls == {"mask"}
    assert len(repr(arrival)) < 500


def test_a_fault_of_ours_costs_one_event_and_not_those_beside_it(counter, workspace, monkeypatch):
    steering, calls = workspace.stores.labels.steering, []

    def fail_once(project_id):
        calls.append(project_id)
        return steering(project_id) if len(calls) != 2 else 1 // 0

    monkeypatch.setattr(workspace.stores.labels, "steering", fail_once)
    told, writes = together(counter, [event(task) for task in range(9, 15)], monkeypatch)
    assert [type(each) for each in told].count(ZeroDivisionError) == 1
    assert [number for _, number in writes] == [1, 4]
    assert workspace.stores.projects.get(1).updates == 5
    assert counter._waiting == []
