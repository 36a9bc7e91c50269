"""Publishing against a real Label Studio: what readers are served, and in which order."""

from __future__ import annotations

import json

import httpx2
import pytest

from clinical_backend.errors import (
    InvalidArgumentError,
    LabelStudioError,
    LabelStudioRefusedError,
    LabelStudioUnavailableError,
)
from clinical_backend.lab.servers.label_studio_admin import LabelStudioAdmin
from clinical_backend.lab.servers.simulated_reader import SimulatedReader
from clinical_backend.labelstudio.labeling.regions import choice_result
from clinical_backend.labelstudio.labeling.scheme import read_scheme
from clinical_backend.labelstudio.publisher import (
    QUEUE_SCORE_LIMIT,
    Publisher,
    QueueItem,
    queue_score,
)
from clinical_backend.labelstudio.tabs import QUEUE_TITLE, show_queue
from clinical_backend.versions import on_demand_version
from tests.conftest import label_config, skip_before
from tests.label_studio_proxy import LabelStudioProxy


def queue(task_ids, result=()):
    return [QueueItem(task_id, list(result), queue_score(rank)) for rank, task_id in enumerate(task_ids)]


@pytest.fixture
def publisher(client):
    return Publisher(client)


def ids_of(client, project):
    return [task.id for task in client.tasks(project.id)]


def read_all(reader, project_id, number):
    served = []
    for _ in range(number):
        task = reader.next(project_id)
        served.append(task.id)
        reader.annotate(task, {"diagnosis": ["common"]})
    return served


def test_a_reader_is_served_exactly_the_published_order(client, publisher, make_project):
    project = make_project(15)
    ids = ids_of(client, project)
    order = ids[::3] + ids[1::3]
    result = choice_result(read_scheme(project.label_config), "rare")
    published = publisher.publish(project.id, "clinical-1", queue(order, result))
    assert (published.task_ids, published.dropped) == (tuple(order), ())
    assert client.project(project.id).model_version == "clinical-1"
    assert client.model_versions(project.id) == {"clinical-1": 10}
    assert read_all(SimulatedReader(client), project.id, 10) == order


def test_the_served_task_carries_the_pre_annotation(client, publisher, project):
    [first, *_] = ids_of(client, project)
    scheme = read_scheme(project.label_config)
    publisher.publish(project.id, "clinical-1", queue([first], choice_result(scheme, "rare")))
    task = SimulatedReader(client).next(project.id)
    assert task.id == first
    [prediction] = task.predictions
    assert prediction.result[0]["value"] == {"choices": ["rare"]}
    assert "score" not in prediction.result[0]


def test_two_readers_share_the_queue_without_meeting(client, second_client, publisher, make_project):
    project = make_project(14)
    order = ids_of(client, project)[::-1][:10]
    publisher.publish(project.id, "clinical-1", queue(order))
    readers = SimulatedReader(client), SimulatedReader(second_client)
    served = []
    for _ in range(5):
        opened = [reader.next(project.id) for reader in readers]
        for reader, task in zip(readers, opened, strict=True):
            served.append(task.id)
            reader.annotate(task, {"diagnosis": ["common"]})
    assert served == order


def test_the_second_queue_replaces_the_first_at_once(client, publisher, project):
    ids = ids_of(client, project)
    publisher.publish(project.id, "clinical-1", queue(ids))
    reader = SimulatedReader(client)
    assert read_all(reader, project.id, 2) == ids[:2]
    publisher.publish(project.id, "clinical-2", queue(ids[:1:-1]))
    assert read_all(reader, project.id, 3) == ids[:-4:-1]


def test_publishing_the_same_version_again_changes_nothing(client, publisher, project):
    ids = ids_of(client, project)
    first = publisher.publish(project.id, "clinical-1", queue(ids))
    assert publisher.publish(project.id, "clinical-1", queue(ids)) == first
    assert client.model_versions(project.id) == {"clinical-1": 12}


def test_what_a_crashed_attempt_left_of_a_version_is_replaced(client, publisher, project):
    ids = ids_of(client, project)
    publisher.publish(project.id, "clinical-1", queue(ids))
    left = [{"task": task_id, "result": [], "score": 0.0, "model_version": "clinical-2"} for task_id in ids[:5]]
    client.import_predictions(project.id, left)
    publisher.publish(project.id, "clinical-2", queue(ids[::-1]))
    assert client.model_versions(project.id) == {"clinical-1": 12, "clinical-2": 12}
    assert SimulatedReader(client).next(project.id).id == ids[-1]


def test_tasks_deleted_meanwhile_are_dropped(client, publisher, project):
    ids = ids_of(client, project)
    client.delete_task(ids[0])
    client.delete_task(ids[4])
    published = publisher.publish(project.id, "clinical-1", queue(ids))
    assert published.dropped == (ids[0], ids[4])
    assert client.model_versions(project.id) == {"clinical-1": 10}
    assert SimulatedReader(client).next(project.id).id == ids[1]


def test_a_queue_that_label_studio_refuses_leaves_the_old_one(client, publisher, project):
    skip_before(client, "1.23", "stores what does not fit the labeling config")
    ids = ids_of(client, project)
    publisher.publish(project.id, "clinical-1", queue(ids))
    unknown_class = [
        {
            "from_name": "diagnosis",
            "to_name": "image",
            "type": "choices",
            "value": {"choices": ["unheard of"]},
        }
    ]
    with pytest.raises(LabelStudioRefusedError, match="0 of 12"):
        publisher.publish(project.id, "clinical-2", queue(ids[::-1], unknown_class))
    assert client.project(project.id).model_version == "clinical-1"
    assert client.model_versions(project.id) == {"clinical-1": 12}
    assert SimulatedReader(client).next(project.id).id == ids[0]


def test_a_server_that_imports_in_parts_is_left_with_the_whole_queue(half_open_client):
    """Of 600 predictions, such a server has stored 500 when it meets the deleted task."""
    client = half_open_client
    project = client.create_project("imports in parts", label_config(), sampling="Uncertainty sampling")
    ids = client.import_tasks(project.id, [{"data": {"image": f"{number}.png"}} for number in range(600)])
    client.delete_task(ids[550])
    published = Publisher(client).publish(project.id, "clinical-1", queue(ids))
    assert published.dropped == (ids[550],)
    assert client.model_versions(project.id) == {"clinical-1": 599}


class Locked(httpx2.BaseTransport):
    """Label Studio, but its database is locked at the first imports; it stores a part of what they bring."""

    def __init__(self, times):
        self.times = times
        self.transport = httpx2.HTTPTransport()

    def handle_request(self, request):
        if request.url.path.endswith("/import/predictions") and self.times:
            self.times -= 1
            items = json.loads(request.read())
            headers = {"Authorization": request.headers["Authorization"]}
            part = httpx2.Request("POST", request.url, headers=headers, json=items[:5])
            self.transport.handle_request(part).read()
            return httpx2.Response(500, text="database is locked")
        return self.transport.handle_request(request)

    def close(self):
        self.transport.close()


def test_a_database_that_is_locked_for_a_moment_does_not_stop_a_queue(label_studio, client, project):
    ids = ids_of(client, project)
    with LabelStudioAdmin(label_studio.url, label_studio.account.token, transport=Locked(2)) as locked:
        Publisher(locked).publish(project.id, "clinical-1", queue(ids))
    assert client.model_versions(project.id) == {"clinical-1": 12}
    assert SimulatedReader(client).next(project.id).id == ids[0]


def test_a_database_that_stays_locked_leaves_the_old_queue(label_studio, client, publisher, project):
    ids = ids_of(client, project)
    publisher.publish(project.id, "clinical-1", queue(ids))
    with (
        LabelStudioAdmin(label_studio.url, label_studio.account.token, transport=Locked(3)) as locked,
        pytest.raises(LabelStudioUnavailableError),
    ):
        Publisher(locked).publish(project.id, "clinical-2", queue(ids[::-1]))
    assert client.project(project.id).model_version == "clinical-1"
    assert SimulatedReader(client).next(project.id).id == ids[0]


IMPORT, SWITCH = r"POST /api/projects/\d+/import/predictions", r"PATCH /api/projects/\d+/$"
FAULTS = [
    (r"GET /api/projects/\d+/$", False, 500),
    (r"GET /api/projects/\d+/model-versions/", False, 401),
    (IMPORT, False, 401),
    (IMPORT, False, None),
    (IMPORT, True, 500),
    (IMPORT, True, None),
    (SWITCH, False, 401),
    (SWITCH, False, 500),
    (SWITCH, True, None),
]
"""Calls of publishing, whether they reach Label Studio, and what they are answered; ``None``: nothing."""


def test_whatever_call_of_publishing_fails_one_whole_queue_is_served_and_publishing_resumed(
    label_studio, client, publisher, project
):
    ids = ids_of(client, project)
    publisher.publish(project.id, "clinical-0", queue(ids))
    with (
        LabelStudioProxy(label_studio.url) as proxy,
        LabelStudioAdmin(proxy.url, label_studio.account.token) as failing,
    ):
        failing.session._sleep = lambda _: None
        for number, (call, reaches, status) in enumerate(FAULTS, 1):
            old, new = f"clinical-{number - 1}", f"clinical-{number}"
            with proxy.fault(call, status=status, reaches=reaches) as fault, pytest.raises(LabelStudioError):
                Publisher(failing).publish(project.id, new, queue(ids[::-1]))
            assert fault.met.is_set()
            served = client.project(project.id).model_version
            assert served == (new if reaches and call == SWITCH else old)
            assert client.model_versions(project.id)[served] == len(ids)
            Publisher(failing).publish(project.id, new, queue(ids[::-1]))
            assert client.project(project.id).model_version == new
            assert client.model_versions(project.id)[new] == len(ids)
    assert SimulatedReader(client).next(project.id).id == ids[-1]


def test_when_all_tasks_are_gone_the_old_queue_stays(client, publisher, make_project):
    project = make_project(3)
    ids = ids_of(client, project)
    publisher.publish(project.id, "clinical-1", queue(ids[:1]))
    for task_id in ids[1:]:
        client.delete_task(task_id)
    with pytest.raises(LabelStudioRefusedError):
        publisher.publish(project.id, "clinical-2", queue(ids[1:]))
    assert client.project(project.id).model_version == "clinical-1"


def test_an_empty_queue_switches_nothing(client, publisher, project):
    ids = ids_of(client, project)
    publisher.publish(project.id, "clinical-1", queue(ids))
    assert publisher.publish(project.id, "clinical-2", []).task_ids == ()
    assert client.project(project.id).model_version == "clinical-1"


def test_a_prediction_on_demand_never_jumps_the_queue(client, publisher, project):
    ids = ids_of(client, project)
    publisher.publish(project.id, "clinical-1", queue(ids[6:]))
    version = on_demand_version("clinical-1")
    on_demand = [{"task": task, "result": [], "score": None, "model_version": version} for task in (ids[0], ids[8])]
    client.import_predictions(project.id, on_demand)
    reader = SimulatedReader(client)
    assert read_all(reader, project.id, 6) == ids[6:]


def test_all_places_of_a_queue_read_the_same_in_label_studio_and_come_in_order(client, publisher, make_project):
    project = make_project(40)
    left = ids_of(client, project)
    show_queue(client, project.id)
    (tab,) = [view.id for view in client.views(project.id) if view.title == QUEUE_TITLE]
    for number in range(1, 4):
        left = order = left[-number:] + left[:-number]
        items = [QueueItem(task, [], queue_score(place)) for place, task in enumerate(order)]
        publisher.publish(project.id, f"clinical-{number}", items)
        held = client.session.request("GET", "api/predictions/", params={"project": project.id})
        assert {f"{100 * item['score']:.2f}" for item in held} == {"0.00"}
        listed = client.session.request("GET", "api/tasks/", params={"project": project.id, "view": tab})["tasks"]
        assert [task["id"] for task in listed] == order[: len(listed)]
        assert client.count_open_below(project.id, QUEUE_SCORE_LIMIT) == len(order)
        publisher.retire(project.id, (), client.model_versions(project.id))
        assert read_all(SimulatedReader(client), project.id, 10) == order[:10]
        left = order[10:]
    assert {f"{100 * queue_score(place):.2f}" for place in range(10_000)} == {"0.00"}


def test_retire_deletes_our_older_versions_and_no_others(client, publisher, project):
    ids = ids_of(client, project)
    theirs = [{"task": ids[0], "result": [], "score": 0.5, "model_version": "their-model"}]
    client.import_predictions(project.id, theirs)
    for version in ("clinical-1", "clinical-2", "clinical-7-of-another-installation", "clinical-3", "clinical-4"):
        publisher.publish(project.id, version, queue(ids))
    own = {"clinical-0", "clinical-1", "clinical-2", "clinical-3", "clinical-4"}
    assert publisher.retire(project.id, {"clinical-3"}, own) == ["clinical-1", "clinical-2"]
    assert client.model_versions(project.id) == {
        "their-model": 1,
        "clinical-3": 12,
        "clinical-4": 12,
        "clinical-7-of-another-installation": 12,
    }
    assert client.project(project.id).model_version == "clinical-4"
    assert SimulatedReader(client).next(project.id).id == ids[0]


@pytest.mark.parametrize(
    ("items", "problem"),
    [
        ([QueueItem(1, [], QUEUE_SCORE_LIMIT)], "outside"),
        ([QueueItem(1, [], -0.1)], "outside"),
        ([QueueItem(1, [], float("nan"))], "outside"),
        ([QueueItem(1, [], 0.1), QueueItem(1, [], 0.2)], "twice"),
        ([QueueItem(1, [], 0.2), QueueItem(2, [], 0.1)], "ascend"),
        ([QueueItem(1, [], 0.2), QueueItem(2, [], 0.2)], "ascend"),
    ],
)
def test_a_queue_without_a_strict_order_in_its_range_is_refused(publisher, project, items, problem):
    with pytest.raises(InvalidArgumentError, match=problem):
        publisher.publish(project.id, "clinical-1", items)


def test_a_version_needs_a_name(publisher, project):
    with pytest.raises(InvalidArgumentError, match="version"):
        publisher.publish(project.id, " ", [QueueItem(1, [], 0.0)])


@pytest.mark.parametrize("length", [1, 7, 5000])
def test_queue_scores_ascend_strictly_below_the_limit(length):
    scores = [queue_score(rank) for rank in range(length)]
    assert scores == sorted(set(scores))
    assert scores[0] >= 0
    assert scores[-1] < QUEUE_SCORE_LIMIT
