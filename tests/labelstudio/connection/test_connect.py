"""Connecting projects of a real Label Studio with a stub of a backend."""

from __future__ import annotations

import re
from functools import partial

import httpx2
import pytest

from clinical_backend.errors import InstallationError, LabelingConfigError, LabelStudioRefusedError
from clinical_backend.lab.servers.label_studio_admin import LabelStudioAdmin
from clinical_backend.lab.servers.simulated_reader import SimulatedReader
from clinical_backend.labelstudio.authentication import basic_authorization
from clinical_backend.labelstudio.connection import connect as connect_module
from clinical_backend.labelstudio.connection.checks import Wanted
from clinical_backend.labelstudio.connection.connect import connect, lacks_exemplar_control, repair
from clinical_backend.labelstudio.connection.installation import HEADER, Installation
from clinical_backend.labelstudio.connection.serving import SAMPLING
from clinical_backend.labelstudio.labeling.scheme import read_scheme
from clinical_backend.labelstudio.publisher import Publisher, QueueItem
from clinical_backend.labelstudio.tabs import QUEUE_TITLE
from clinical_backend.labelstudio.urls import same_url
from tests.conftest import label_config, skip_before

LOGIN = ("reader", "a pass:word")


def made(changes):
    return {change.setting for change in changes if change.made}


def advice(changes):
    return {change.setting for change in changes if not change.made}


def state(client, project_id):
    """Return all that connecting is about."""
    project = client.project(project_id)
    return {
        "sampling": project.sampling,
        "shown": project.show_collab_predictions,
        "model version": project.model_version,
        "backends": [
            (entry.url, entry.is_interactive, entry.state, entry.auth_method, entry.basic_auth_user)
            for entry in client.backends(project_id)
        ],
        "webhooks": [
            (hook.url, hook.is_active, hook.send_payload, hook.send_for_all_actions, hook.headers)
            for hook in client.webhooks(project_id)
        ],
        "tabs": [view.title for view in client.views(project_id) if view.title == QUEUE_TITLE],
    }


def publish(client, project, version="published", first=0):
    ids = [task.id for task in client.tasks(project.id)]
    Publisher(client).publish(project.id, version, [QueueItem(ids[first], [], 0.0)])
    return ids


def test_everything_is_set_once_and_then_left_alone(client, make_project, stub_backend):
    project = make_project(3, sampling="Sequential sampling", exemplars=False)
    client.update_project(project.id, show_collab_predictions=False)
    changes = connect(client, project.id, backend_url=stub_backend.url, add_exemplar_control=True)
    assert made(changes) == {
        "labeling config",
        "sampling",
        "predictions",
        "webhook",
        "backend",
        "model version",
        "data manager",
    }
    connected = state(client, project.id)
    assert connected == {
        "sampling": SAMPLING,
        "shown": True,
        "model version": "",
        "backends": [(stub_backend.url, False, "CO", "NONE", "")],
        "webhooks": [(stub_backend.url + "/webhook", True, True, True, {})],
        "tabs": [QUEUE_TITLE],
    }
    assert read_scheme(client.project(project.id).label_config).exemplar_control == "exemplar"
    assert connect(client, project.id, backend_url=stub_backend.url + "/", add_exemplar_control=True) == []
    assert state(client, project.id) == connected


@pytest.mark.parametrize(
    ("rare", "told"),
    [
        (["common", "Rare"], r"no class 'Rare'.*Nothing was changed.*'common', 'rare, of all', 'third'"),
        (["rare", "of all"], r"no class 'rare' and no class 'of all'"),
        (["common", "rare, of all", "third"], r"Not every class can be rare"),
    ],
)
def test_a_rare_class_that_cannot_be_is_refused_before_anything_is_changed(
    client, make_project, stub_backend, rare, told
):
    project = make_project(0, sampling="Sequential sampling", classes=("common", "rare, of all", "third"))
    before = state(client, project.id)
    with pytest.raises(LabelingConfigError, match=told):
        connect(client, project.id, backend_url=stub_backend.url, rare_classes=rare)
    assert state(client, project.id) == before


def test_a_published_queue_is_served_after_connecting(client, make_project, stub_backend):
    project = make_project(6)
    ids = publish(client, project, first=4)
    client.update_project(project.id, model_version="")
    connect(client, project.id, backend_url=stub_backend.url, published_version="published")
    assert client.project(project.id).model_version == "published"
    assert SimulatedReader(client).next(project.id).id == ids[4]


def test_events_arrive_with_credentials(client, make_project, stub_backend):
    project = make_project(3)
    stub_backend.basic_auth = LOGIN
    connect(client, project.id, backend_url=stub_backend.url, basic_auth=LOGIN)
    task, other, *_ = client.tasks(project.id)
    reader = SimulatedReader(client)
    annotation = reader.annotate(task, {"diagnosis": ["rare"]})
    reader.star(annotation)
    reader.withdraw(annotation)
    client.delete_task(other.id)
    client.train(client.backends(project.id)[0].id)
    assert stub_backend.refused == []
    assert {
        "ANNOTATION_CREATED",
        "ANNOTATION_UPDATED",
        "ANNOTATIONS_DELETED",
        "TASKS_DELETED",
        "START_TRAINING",
    } <= set(stub_backend.events)
    assert connect(client, project.id, backend_url=stub_backend.url, basic_auth=LOGIN) == []


def test_a_changed_login_is_written_everywhere(client, project, stub_backend):
    connect(client, project.id, backend_url=stub_backend.url)
    stub_backend.basic_auth = LOGIN
    changes = connect(client, project.id, backend_url=stub_backend.url, basic_auth=LOGIN)
    assert made(changes) == {"webhook", "backend"}
    connected = state(client, project.id)
    assert connected["backends"] == [(stub_backend.url, False, "CO", "BASIC_AUTH", "reader")]
    assert connected["webhooks"][0][-1] == {"Authorization": basic_authorization(*LOGIN)}
    stub_backend.basic_auth = None
    changes = connect(client, project.id, backend_url=stub_backend.url)
    assert made(changes) == {"webhook", "backend"}
    stub_backend.calls.clear()
    assert client.backends(project.id)[0].state == "CO"
    assert all("Authorization" not in call.headers for call in stub_backend.calls)


def test_duplicates_are_merged_and_others_left_alone(client, project, stub_backend):
    address = stub_backend.url + "/webhook"
    client.create_webhook(project.id, address, is_active=False)
    client.create_webhook(project.id, address + "/")
    client.create_webhook(project.id, "http://127.0.0.1:19/theirs")
    client.add_backend(project.id, stub_backend.url, is_interactive=True)
    client.add_backend(project.id, stub_backend.url + "/")
    changes = connect(client, project.id, backend_url=stub_backend.url)
    assert {"webhook", "backend"} <= made(changes)
    connected = state(client, project.id)
    assert connected["backends"] == [(stub_backend.url, False, "CO", "NONE", "")]
    assert {hook[:4] for hook in connected["webhooks"]} == {
        (address, True, True, True),
        ("http://127.0.0.1:19/theirs", True, True, True),
    }


def test_a_webhooks_own_headers_are_kept(client, project, stub_backend):
    client.create_webhook(project.id, stub_backend.url + "/webhook", headers={"X-Site": "ward"})
    connect(client, project.id, backend_url=stub_backend.url)
    assert state(client, project.id)["webhooks"][0][-1] == {"X-Site": "ward"}


def test_connecting_by_hand_ends_in_the_same_state_after_repair(client, make_project, stub_backend):
    by_hand = make_project(3, sampling="Sequential sampling")
    by_command = make_project(3, sampling="Sequential sampling")
    stub_backend.basic_auth = LOGIN
    for project in (by_hand, by_command):
        publish(client, project)
        client.update_project(project.id, model_version="")
    connect(
        client,
        by_command.id,
        backend_url=stub_backend.url,
        basic_auth=LOGIN,
        published_version="published",
    )
    # What the form under Settings > Model sends.
    form = {
        "project": by_hand.id,
        "url": stub_backend.url,
        "title": "by hand",
        "is_interactive": False,
        "auth_method": "BASIC_AUTH",
        "basic_auth_user": LOGIN[0],
        "basic_auth_pass": LOGIN[1],
        "extra_params": "",
    }
    client.session.request("POST", "api/ml/", json=form)
    assert client.project(by_hand.id).model_version == "by hand"
    stub_backend.calls.clear()
    wanted = Wanted(stub_backend.url, LOGIN, published="published")
    changes = repair(client, by_hand.id, wanted)
    assert made(changes) == {"sampling", "webhook", "model version", "data manager"}
    assert "/setup" not in stub_backend.paths
    assert repair(client, by_hand.id, wanted) == []
    assert state(client, by_hand.id) == state(client, by_command.id)


def test_other_peoples_predictions_stay_in_place_until_a_queue_is_published(client, project, stub_backend):
    publish(client, project, "their-model")
    connect(client, project.id, backend_url=stub_backend.url, published_version="never-imported")
    assert client.project(project.id).model_version == "their-model"


def test_advice_is_given_where_a_person_must_decide(client, make_project, stub_backend):
    project = make_project(3, exemplars=False)
    client.update_project(project.id, maximum_annotations=2)
    changes = connect(client, project.id, backend_url=stub_backend.url)
    assert advice(changes) == {"labeling config", "annotations per task"}
    assert any(f"--project {project.id} --exemplar-control" in change.detail for change in changes)
    assert client.project(project.id).maximum_annotations == 2
    assert client.project(project.id).label_config == project.label_config


def test_an_unsupported_labeling_config_is_refused_before_anything_changes(client, stub_backend):
    config = (
        '<View><Text name="text" value="$text"/><Choices name="c" toName="text"><Choice value="a"/></Choices></View>'
    )
    project = client.create_project("text only", config)
    before = state(client, project.id)
    with pytest.raises(LabelingConfigError):
        connect(client, project.id, backend_url=stub_backend.url)
    assert state(client, project.id) == before


def test_a_backend_that_does_not_run_is_refused_with_a_cure(client, project):
    with pytest.raises(LabelStudioRefusedError, match="does not reach the backend") as refusal:
        connect(client, project.id, backend_url="http://127.0.0.1:19")
    assert "Start the backend first" in refusal.value.cure
    assert client.backends(project.id) == []


def test_a_host_without_a_dot_is_refused_with_a_cure(client, project):
    with pytest.raises(LabelStudioRefusedError, match="no webhooks to http://backend:9090") as refusal:
        connect(client, project.id, backend_url="http://backend:9090")
    assert "alias" in refusal.value.cure
    assert client.backends(project.id) == client.webhooks(project.id) == []


def test_a_wrong_login_is_refused_with_a_cure(client, project, stub_backend):
    stub_backend.basic_auth = LOGIN
    with pytest.raises(LabelStudioRefusedError, match="authentication") as refusal:
        connect(client, project.id, backend_url=stub_backend.url, basic_auth=("reader", "wrong"))
    assert "BASIC_AUTH_PASS" in refusal.value.cure
    assert client.backends(project.id) == []


def test_the_tab_shows_the_queue_in_its_order(client, make_project, stub_backend):
    project = make_project(6)
    ids = [task.id for task in client.tasks(project.id)]
    order = [ids[4], ids[0], ids[2]]
    items = [QueueItem(task_id, [], 0.1 * rank) for rank, task_id in enumerate(order)]
    Publisher(client).publish(project.id, "published", items)
    on_demand = {"task": ids[5], "result": [], "score": 0.9, "model_version": "published"}
    client.import_predictions(project.id, [on_demand])
    connect(client, project.id, backend_url=stub_backend.url, published_version="published")
    [tab] = [view for view in client.views(project.id) if view.title == QUEUE_TITLE]
    shown = client.session.request("GET", "api/tasks/", params={"view": tab.id, "project": project.id})
    assert [task["id"] for task in shown["tasks"]] == order


def test_a_server_that_blocks_the_address_says_which_settings_it_needs(half_open_client, stub_backend):
    client = half_open_client
    skip_before(client, "1.23", "blocks no private addresses by default")
    project = client.create_project("blocked", label_config())
    with pytest.raises(LabelStudioRefusedError, match="refuses the address") as refusal:
        connect(client, project.id, backend_url=stub_backend.url)
    for setting in ("LABEL_STUDIO_ML_BLOCK_LOCAL_IP=false", "LABEL_STUDIO_SSRF_PROTECTION_ENABLED=false"):
        assert setting in refusal.value.cure
    assert client.webhooks(project.id) == []
    assert client.backends(project.id) == []


class _Refusing(httpx2.HTTPTransport):
    """Answers one write, the nth, with 403; it may have been carried out all the same."""

    def __init__(self, nth, *, carried_out):
        super().__init__()
        self.left = nth
        self.carried_out = carried_out

    def refuses(self, connecting):
        try:
            self.done = connecting()
        except LabelStudioRefusedError as error:
            return "The project is as it was before." in error.cure
        return False

    def handle_request(self, request):
        if request.method == "GET":
            return super().handle_request(request)
        self.left -= 1
        if self.left:
            return super().handle_request(request)
        if self.carried_out:
            super().handle_request(request).close()
        return httpx2.Response(403, json={"detail": "No."})


def everything(client, project_id):
    found = state(client, project_id)
    return found | {
        "config": client.project(project_id).label_config,
        "webhooks": sorted(found["webhooks"], key=str),
        "all tabs": sorted(view.title for view in client.views(project_id)),
    }


@pytest.mark.parametrize(
    "before", ["never connected", pytest.param("half connected, taken over, twice there", marks=pytest.mark.slow)]
)
def test_whichever_step_is_refused_leaves_the_project_as_it_was(
    client, label_studio, make_project, stub_backend, before
):
    project = make_project(3, sampling="Sequential sampling", exemplars=False)
    address = stub_backend.url + "/webhook"
    if before != "never connected":
        client.update_project(project.id, show_collab_predictions=False)
        client.create_webhook(project.id, "http://127.0.0.1:19/webhook", headers={HEADER: "another"})
        client.create_webhook(project.id, address, is_active=False, headers={"X-Site": "ward"})
        client.create_webhook(project.id, address + "/")
        for title in ("by hand", "again"):
            client.add_backend(project.id, stub_backend.url, title=title, is_interactive=True)
    was = everything(client, project.id)
    options = {"backend_url": stub_backend.url, "add_exemplar_control": True, "take_over": True}
    for nth in range(1, 40):
        carried_out = (nth % 2 == 0) == (before == "never connected")
        transport = _Refusing(nth, carried_out=carried_out)
        with LabelStudioAdmin(label_studio.url, label_studio.account.token, transport=transport) as refusing:
            if transport.refuses(partial(connect, refusing, project.id, **options, installation=Installation("this"))):
                assert everything(client, project.id) == was, f"write {nth}, carried out: {carried_out}"
                continue
        assert nth > 5
        assert {"labeling config", "sampling", "webhook", "data manager"} <= made(transport.done)
        assert everything(client, project.id) != was
        return
    pytest.fail("it never came to its end")


def test_an_interrupted_connect_leaves_the_project_as_it_was(client, make_project, stub_backend, monkeypatch):
    project = make_project(3, sampling="Sequential sampling")
    was = everything(client, project.id)

    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(connect_module, "correct_model_version", interrupt)
    with pytest.raises(KeyboardInterrupt):
        connect(client, project.id, backend_url=stub_backend.url)
    assert everything(client, project.id) == was


def test_a_project_that_another_installation_serves_is_left_alone_until_it_is_taken_over(
    client, make_project, stub_backend
):
    project = make_project(3)
    first, second = Installation("first"), Installation("second")
    client.create_webhook(project.id, "http://127.0.0.1:18/webhook", headers={HEADER: "first"})
    was = everything(client, project.id)
    with pytest.raises(InstallationError, match=re.escape("http://127.0.0.1:18/webhook")) as refusal:
        connect(client, project.id, backend_url=stub_backend.url, installation=second)
    assert "--take-over" in refusal.value.cure
    assert everything(client, project.id) == was
    connect(client, project.id, backend_url=stub_backend.url, installation=second, take_over=True)
    hooks = {hook.url: (hook.is_active, hook.headers) for hook in client.webhooks(project.id)}
    assert hooks == {
        "http://127.0.0.1:18/webhook": (False, {}),
        stub_backend.url + "/webhook": (True, {HEADER: "second"}),
    }
    with pytest.raises(InstallationError, match="another installation"):
        first.require_alone(client.project(project.id), client.webhooks(project.id), "http://127.0.0.1:18")
    assert connect(client, project.id, backend_url=stub_backend.url, installation=second) == []


def test_an_installation_that_moved_to_another_address_is_not_kept_out(client, project, stub_backend):
    client.create_webhook(project.id, "http://127.0.0.1:18/webhook", headers={HEADER: "ours"})
    changes = connect(client, project.id, backend_url=stub_backend.url, installation=Installation("ours"))
    assert any("earlier address" in change.detail for change in changes)
    active = [hook.url for hook in client.webhooks(project.id) if hook.is_active]
    assert active == [stub_backend.url + "/webhook"]


def test_readers_without_an_exemplar_control_are_told_from_those_with_one(client, make_project):
    assert lacks_exemplar_control(client, make_project(0, exemplars=False).id)
    assert not lacks_exemplar_control(client, make_project(0).id)


def test_addresses_are_compared_without_the_slash_at_the_end():
    assert same_url("http://backend:9090", " http://backend:9090/")
    assert same_url("http://127.0.0.1:9090", "HTTP://LOCALHOST:9090/")
    assert same_url("http://[::1]", "http://localhost:80/")
    assert same_url("https://Backend/sub/", "https://backend:443/sub")
    assert not same_url("http://backend", "https://backend")
    assert not same_url("http://backend/a", "http://backend/b")
    assert not same_url("http://[::1", "http://localhost")
    assert not same_url("http://backend:9090", "http://backend:9091")
