"""What readers are served."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from clinical_backend.lab.servers.simulated_reader import SimulatedReader
from clinical_backend.strategy.reasons import reason_for_reader
from clinical_backend.versions import on_demand_version
from tests.end_to_end.conftest import Loop, wait_until

if TYPE_CHECKING:
    from clinical_backend.lab.servers.backend_server import BackendServer
    from clinical_backend.lab.servers.label_studio_admin import LabelStudioAdmin
    from tests.end_to_end.conftest import MakeCells


def test_a_project_without_labels_gets_a_queue(loop):
    loop.connect()
    report = loop.status()["round"]
    assert report["acquisition"] == "coreset"
    assert "nobody chose what to look for" in report["reason"]
    assert report["counts"]["queue"] == 30
    assert loop.client.project(loop.id).model_version == loop.status()["published_version"]
    assert SimulatedReader(loop.client).next(loop.id).id == loop.queue()[0]


def test_after_tagging_one_reader_is_served_exactly_the_published_order(loop):
    loop.connect(start_training_each_n_updates=1000)
    exemplars = loop.tag()
    loop.wait_for_round(1, exemplars=3)
    loop.settle()
    queue = loop.queue()
    assert not set(exemplars) & set(queue)
    reader = SimulatedReader(loop.client)
    served = []
    for _ in range(20):
        task = reader.next(loop.id)
        served.append(task.id)
        reader.annotate(task, {"diagnosis": [loop.demo.truth[task.id]]})
    assert served == queue[:20]


def test_a_reader_sees_why_a_task_is_served_where_the_config_has_a_text_for_it(loop):
    config = loop.client.project(loop.id).label_config
    text = '<TextArea name="reason" toName="image" visibleWhen="choice-unselected" editable="false"/></View>'
    loop.client.update_project(loop.id, label_config=config.rpartition("</View>")[0] + text)
    loop.connect()
    first, *_ = loop.stores.rounds.queue(loop.stores.rounds.published(loop.id).id)
    task = SimulatedReader(loop.client).next(loop.id)
    assert task.id == first.task_id
    (shown,) = loop.client.session.request("GET", f"api/tasks/{task.id}/")["predictions"]
    (reason,) = [region["value"]["text"] for region in shown["result"] if region["from_name"] == "reason"]
    assert reason == [reason_for_reader(first)]


def test_two_readers_share_the_queue_without_meeting(loop, second_client):
    loop.connect(start_training_each_n_updates=1000, queue_size=50)
    loop.tag()
    loop.wait_for_round(1, exemplars=3)
    loop.settle()
    queue = loop.queue()
    readers = [SimulatedReader(loop.client), SimulatedReader(second_client)]
    served = []
    for _ in range(20):
        # Both have a task open at the same time, as people have.
        opened = [reader.next(loop.id) for reader in readers]
        served += [task.id for task in opened]
        for reader, task in zip(readers, opened, strict=True):
            reader.annotate(task, {"diagnosis": [loop.demo.truth[task.id]]})
    assert served == queue[:40]


def test_a_new_round_replaces_the_old_queue_with_no_moment_of_random_order(loop):
    loop.connect(start_training_each_n_updates=1000)
    old = loop.client.project(loop.id).model_version
    seen: list[str] = []
    done = threading.Event()

    def watch() -> None:
        while not done.is_set():
            seen.append(loop.client.project(loop.id).model_version)

    watcher = threading.Thread(target=watch)
    watcher.start()
    loop.tag()
    loop.wait_for_round(1, exemplars=3)
    loop.settle()
    done.set()
    watcher.join()
    rounds = loop.stores.rounds.history(loop.id)
    assert seen[0] == old
    assert set(seen) <= {row.version for row in rounds}
    order = [row.version for row in sorted(rounds, key=lambda row: row.number)]
    assert [order.index(version) for version in seen] == sorted(order.index(version) for version in seen)
    # Of ours, only the published queue is left.
    wait_until(lambda: len(loop.client.model_versions(loop.id)) == 1, "older queues deleted")


def test_the_button_starts_a_round(loop):
    loop.connect()
    (entry,) = loop.client.backends(loop.id)
    loop.client.train(entry.id)
    loop.wait_for_round(1)
    assert loop.status()["round"]["because"] == "Start Training was called"


def test_a_prediction_on_demand_never_jumps_the_queue(loop):
    loop.connect(start_training_each_n_updates=1000, preannotate="all")
    reader = SimulatedReader(loop.client)
    loop.tag()
    for task, name in [pair for pair in loop.demo.truth.items() if pair[1] != loop.demo.rare][:4]:
        reader.annotate(task, {"diagnosis": [name]})
    number = loop.status()["round"]["number"]
    (entry,) = loop.client.backends(loop.id)
    loop.client.train(entry.id)
    loop.wait_for_round(number, exemplars=3, labels=7)
    loop.settle()
    wait_until(lambda: len(loop.client.model_versions(loop.id)) == 1, "older queues deleted")
    queue, status = loop.queue(), loop.status()
    answered = set(loop.stores.labels.all(loop.id))
    outside = next(task for task in loop.demo.truth if task not in queue and task not in answered)
    opened = loop.client.session.request("GET", f"api/tasks/{outside}/")
    (prediction,) = opened["predictions"]
    assert prediction["model_version"] == on_demand_version(status["published_version"])
    assert prediction["result"][0]["value"]["choices"][0] in set(loop.demo.truth.values())
    assert prediction["score"] is None
    assert reader.next(loop.id).id == queue[0]


@pytest.mark.slow
def test_two_projects_at_once_never_mix(client: LabelStudioAdmin, backend: BackendServer, make_cells: MakeCells):
    loops = [Loop(client, backend, make_cells(size)) for size in (50, 40)]
    for loop in loops:
        loop.connect()
    for loop in loops:
        loop.tag()
    for loop in loops:
        loop.wait_for_round(1, exemplars=3)
    for loop in loops:
        loop.settle()
        assert set(loop.queue()) < set(loop.demo.truth)
        assert set(loop.stores.labels.all(loop.id)) < set(loop.demo.truth)
        assert loop.client.project(loop.id).model_version == loop.status()["published_version"]
    assert loops[0].status()["published_version"] != loops[1].status()["published_version"]
