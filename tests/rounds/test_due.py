"""Whatever becomes of webhooks on their way, the backend ends up with what Label Studio holds."""

import random

import pytest

from clinical_backend.labelstudio.contract import WebhookRequest
from clinical_backend.rounds.reconcile import reconcile
from clinical_backend.service.backend import Backend
from tests.rounds.fake_label_studio import FakeLabelStudio
from tests.small_workspace import picture
from tests.web.noting_runner import Wakes


def annotation(action, task, **fields):
    return {"action": action, "annotation": {"id": task, "task": task, "result": []} | fields, "project": {"id": 1}}


EVENTS = [
    annotation("ANNOTATION_CREATED", 1, result=[{"from_name": "exemplar"}]),
    annotation("ANNOTATION_CREATED", 2),
    annotation("ANNOTATION_UPDATED", 2),
    annotation("ANNOTATION_CREATED", 3),
    {"action": "ANNOTATIONS_DELETED", "annotations": [{"id": 3}], "project": {"id": 1}},
    {"action": "TASKS_CREATED", "tasks": [{"id": 31}], "project": {"id": 1}},
    {"action": "TASKS_DELETED", "tasks": [{"id": 4}], "project": {"id": 1}},
    {"action": "START_TRAINING", "project": {"id": 1}},
]
FATES = {
    "as sent": EVENTS,
    "each twice": [event for event in EVENTS for _ in range(2)],
    "backwards": EVENTS[::-1],
    "all lost": [],
    "every second lost": EVENTS[::2],
    "shuffled and doubled": random.Random(3).sample(EVENTS * 2, 2 * len(EVENTS)),
}


@pytest.fixture
def fake_client():
    return FakeLabelStudio({number: picture(200 + number if number < 7 else number) for number in range(1, 31)})


@pytest.fixture
def studio(workspace, fake_client):
    workspace.settings = workspace.settings.model_copy(
        update={"queue_size": 10, "start_training_each_n_updates": 2, "backend_url": "http://backend"}
    )
    return fake_client


@pytest.mark.parametrize("meanwhile", [False, True], ids=["rounds after", "rounds in between"])
@pytest.mark.parametrize("events", FATES.values(), ids=FATES)
def test_lost_repeated_and_reordered_webhooks_end_in_the_same_state(workspace, studio, events, meanwhile):
    backend = Backend(workspace, Wakes())
    reconcile(workspace.project(1), look=True)
    studio.annotate(1, "red", exemplar=True)
    studio.annotate(2, "dark")  # corrected, from red
    studio.uris[31] = picture(90)  # and the annotation of task 3 was deleted again
    del studio.uris[4]
    for event in events:
        backend.receive(WebhookRequest.model_validate(event))
        if meanwhile:
            look(workspace, look=False)
    look(workspace, look=True)
    stores = workspace.stores
    labels = {task: (entry.label, entry.steer) for task, entry in stores.labels.all(1).items()}
    assert labels == {1: ("red", 1), 2: ("dark", 0)}
    assert set(stores.images.all(1)) == set(studio.uris)
    assert stores.projects.get(1).request is None
    published = stores.rounds.published(1)
    assert published.version == studio.model_version
    assert [queued.task_id for queued in stores.rounds.queue(published.id)] == studio.queue()
    assert len(studio.queue()) == 10
    assert not set(studio.queue()) & {1, 2, 4}


def look(workspace, *, look):
    workspace.stores.projects.change(1, not_before=0.0)
    reconcile(workspace.project(1), look=look)


def left(workspace):
    published = workspace.stores.rounds.published(1)
    return {row.task_id for row in workspace.stores.rounds.open_queue(published)[0]}


def test_an_answer_leaves_the_open_queue_at_once_and_a_skip_or_a_deleted_answer_does_not(workspace, studio):
    backend = Backend(workspace, Wakes())
    reconcile(workspace.project(1), look=True)
    first, second, third, *_ = studio.queue()

    def tell(event):
        backend.receive(WebhookRequest.model_validate(event))

    whole = left(workspace)
    tell(annotation("ANNOTATION_CREATED", first))
    tell(annotation("ANNOTATION_CREATED", second, was_cancelled=True))
    assert left(workspace) == whole - {first}
    tell(annotation("ANNOTATION_CREATED", third))
    tell({"action": "ANNOTATIONS_DELETED", "annotations": [{"id": 9, "task": third}], "project": {"id": 1}})
    assert left(workspace) == whole - {first}


def test_what_no_event_told_leaves_the_open_queue_when_label_studio_is_looked_at(workspace, studio):
    reconcile(workspace.project(1), look=True)
    first, second, *_ = studio.queue()
    published = workspace.stores.rounds.published(1)
    whole = left(workspace)
    workspace.stores.rounds.note_answers(published.id, [second])  # of an answer that was taken back
    studio.annotate(first, "dark")
    look(workspace, look=True)
    assert workspace.stores.rounds.published(1).id == published.id
    assert left(workspace) == whole - {first}
