import json
import threading
import time
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from clinical_backend.origins import Draw
from clinical_backend.service.webhooks import EventCounter
from clinical_backend.settings import load_settings
from clinical_backend.storage.database import Database
from clinical_backend.storage.report import Counts, RoundReport
from clinical_backend.storage.schema import QueuedTask
from clinical_backend.storage.stores.stores import Stores
from clinical_backend.versions import on_demand_version
from clinical_backend.web.app import make_app
from tests.storage.started import start_round
from tests.web.label_studio_stub import LabelStudioStub
from tests.web.noting_runner import Wakes

CAPTURES = Path(__file__).parent.parent / "labelstudio" / "captures"
CONFIG = (
    '<View><Image name="image" value="$image"/>'
    '<Choices name="d" toName="image"><Choice value="a"/><Choice value="b"/></Choices></View>'
)


@pytest.fixture
def wakes():
    return Wakes()


@pytest.fixture
def studio():
    """Return a Label Studio with project 1."""
    with LabelStudioStub() as stub:
        stub.projects[1] = []
        yield stub


@pytest.fixture
def settings(tmp_path, studio):
    return load_settings(
        model_dir=tmp_path,
        label_studio_url=studio.url,
        label_studio_api_key="a" * 40,
        start_training_each_n_updates=3,
    )


@pytest.fixture
def connected(settings):
    """Have project 1 served already."""
    database = Database.in_folder(settings.model_dir)
    Stores(database).projects.register(1)
    database.close()


@pytest.fixture
def api(settings, wakes, monkeypatch):
    monkeypatch.setattr(EventCounter, "answer_seconds", 60.0)  # what is late is answered otherwise; a disk may be slow
    with TestClient(make_app(settings, wakes), raise_server_exceptions=False) as client:
        yield client


def wait_for(condition, seconds=20):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def capture(name):
    return json.loads((CAPTURES / f"{name}.json").read_text())["body"]


@pytest.mark.parametrize("file", sorted(CAPTURES.glob("webhook_*.json")), ids=lambda file: file.stem)
def test_every_event_that_label_studio_sends_is_understood(api, file):
    answer = api.post("/webhook", json=json.loads(file.read_text())["body"])
    assert answer.status_code == 200
    assert answer.json()["status"] == "accepted"


def test_setup_names_the_published_version_and_makes_a_first_round_due(api, wakes):
    assert api.post("/setup", json=capture("setup")).json() == {"model_version": "clinical-0"}
    wait_for(lambda: wakes.projects)
    assert set(wakes.projects) == {1}
    assert api.get("/projects/1").json()["round_due"] == "the project was connected"


@pytest.mark.usefixtures("connected")
def test_the_button_makes_a_round_due_without_an_annotation(api, wakes):
    answer = api.post("/webhook", json=capture("webhook_START_TRAINING"))
    assert answer.json()["job"] == "Start Training was called"
    assert wakes.projects == [1]


@pytest.mark.usefixtures("connected")
def test_a_round_is_due_after_every_nth_annotation(api):
    body = {"action": "ANNOTATION_CREATED", "annotation": {"id": 1, "task": 5, "result": []}, "project": {"id": 1}}
    jobs = [api.post("/webhook", json=body).json()["job"] for _ in range(3)]
    assert jobs == [None, None, "3 annotations were made or changed"]


@pytest.mark.parametrize("action", ["SOMETHING_NEW", "PROJECT_UPDATED", "TASKS_DELETED"])
def test_events_without_consequence_get_a_polite_answer(api, action):
    answer = api.post("/webhook", json={"action": action, "project": {"id": 1}})
    assert (answer.status_code, answer.json()["job"]) == (200, None)


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"null", b'{"action": 5}', b'{"project": []}', b'{"action":"X","project":"x"}']
)
@pytest.mark.parametrize("path", ["setup", "predict", "webhook"])
def test_malformed_bodies_are_refused_without_a_traceback(api, path, body):
    answer = api.post(f"/{path}", content=body, headers={"Content-Type": "application/json"})
    assert 400 <= answer.status_code < 500
    assert "Traceback" not in answer.text


@pytest.mark.parametrize("count", [1, 5000])
def test_predict_answers_each_task_in_order_also_without_a_model(api, count):
    tasks = [{"id": number + 1, "data": {"image": f"{number}"}} for number in range(count)]
    answer = api.post("/predict", json={"tasks": tasks, "project": "1.1", "label_config": CONFIG})
    results = answer.json()["results"]
    assert len(results) == count
    assert results == [[]] * count if count < 2 else all(item["result"] == [] for item in results)


def test_predict_with_an_unsupported_config_is_empty_not_an_error(api):
    answer = api.post("/predict", json={"tasks": [{"id": 1, "data": {}}], "project": "1", "label_config": "<View/>"})
    assert answer.json()["results"] == [[]]


TOO_LARGE = 2**63


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("setup", {"project": f"{TOO_LARGE}.1"}),
        ("setup", {"project": "0.1"}),
        ("predict", {"tasks": [{"id": TOO_LARGE, "data": {}}], "project": "1.1", "label_config": CONFIG}),
        ("webhook", {"action": "START_TRAINING", "project": {"id": TOO_LARGE}}),
        ("webhook", {"action": "ANNOTATION_CREATED", "annotation": {"id": 1, "task": TOO_LARGE}}),
        ("projects/0/rounds", None),
        (f"projects/{TOO_LARGE}/rounds", None),
    ],
)
def test_ids_that_no_database_holds_are_refused(api, path, body):
    answer = api.post(f"/{path}", json=body)
    assert answer.status_code == 422, answer.text
    assert api.get(f"/projects/{TOO_LARGE}").status_code == 422


def test_an_unknown_project_is_told_how_to_connect(api):
    answer = api.get("/projects/77")
    assert answer.status_code == 404
    assert "clinical connect" in answer.json()["detail"]


def test_a_fault_of_ours_shows_no_traceback(api):
    del api.app.state.backend
    answer = api.get("/versions")
    assert answer.status_code == 500
    assert "Its log says more" in answer.json()["detail"]
    assert "State" not in answer.text


@pytest.mark.parametrize("name", ["predict_one_task", "predict_50_tasks", "predict_interactive"])
def test_every_prediction_that_label_studio_asks_for_is_answered_in_its_form(api, name):
    body = capture(name)
    answer = api.post("/predict", json=body)
    assert answer.status_code == 200
    results = answer.json()["results"]
    assert len(results) == len(body["tasks"])
    asked = name == "predict_50_tasks"  # a single one is asked for by Label Studio itself
    assert {frozenset(item) for item in results} == {
        frozenset({"result", "score", "model_version"}) if asked else frozenset()
    }


def test_setup_names_the_version_of_what_is_answered_on_demand(api, settings):
    stores = Stores(Database.in_folder(settings.model_dir))
    stores.projects.register(1)
    row = start_round(stores, 1)
    assert api.post("/setup", json=capture("setup")).json() == {"model_version": "clinical-0"}
    stores.rounds.publish(row, RoundReport(), 3)
    assert api.post("/setup", json=capture("setup")).json() == {"model_version": on_demand_version(row.version)}
    assert api.get("/versions").json() == {"versions": [row.version]}


@pytest.mark.parametrize("extra", [None, "", "{}", {}, {"unknown": 1}, "no JSON", [1], 5])
def test_extra_parameters_of_any_form_do_not_keep_a_project_out(api, extra):
    answer = api.post("/setup", json={"project": "1.1", "schema": CONFIG, "extra_params": extra})
    assert answer.json() == {"model_version": "clinical-0"}


def test_a_wrong_extra_parameter_is_refused_by_name(api, settings, studio):
    studio.projects[1] = [(settings.public_url, {"queue_size": "lots"})]
    api.post("/setup", json={"project": "1.1", "extra_params": {"queue_size": "lots"}})
    wait_for(lambda: api.get("/projects/1").status_code == 200)
    answer = api.post("/predict", json={"tasks": [{"id": 1, "data": {}}], "project": "1.1", "label_config": CONFIG})
    assert answer.status_code == 400
    assert "queue_size" in answer.json()["detail"]


def annotated(task, **fields):
    annotation = {"id": task, "task": task, "result": []} | fields
    return {"action": "ANNOTATION_CREATED", "annotation": annotation, "project": {"id": 1}}


@pytest.mark.parametrize(("pool", "expected"), [(4, [None] * 4), (6, [None, None, None, "running low"])])
def test_a_queue_running_low_is_renewed_only_while_other_tasks_are_left(settings, wakes, pool, expected):
    patient = settings.model_copy(update={"start_training_each_n_updates": 1000})
    stores = Stores(Database.in_folder(settings.model_dir))
    stores.projects.register(1)
    row = start_round(stores, 1)
    stores.rounds.keep_queue([QueuedTask(round_id=row.id, rank=n, task_id=n, draw=Draw.TARGET) for n in range(1, 5)])
    # One image of the pool cannot be read, so it will never be queued.
    stores.rounds.publish(row, RoundReport(counts=Counts(queue=4, pool=pool + 1, unreadable=1)), 4)
    with TestClient(make_app(patient, wakes)) as api:
        jobs = [api.post("/webhook", json=annotated(task)).json()["job"] for task in (1, 2, 3, 4)]
    assert [job and "running low" * ("running low" in job) for job in jobs] == expected


@pytest.mark.usefixtures("connected")
def test_a_tag_makes_a_round_due_at_once(api):
    assert "exemplar" in api.post("/webhook", json=annotated(5, result=[{"from_name": "exemplar"}])).json()["job"]


@pytest.mark.usefixtures("connected")
def test_a_star_makes_a_round_due_only_where_stars_steer(api, settings):
    assert api.post("/webhook", json=annotated(5, ground_truth=True)).json()["job"] is None
    Stores(Database.in_folder(settings.model_dir)).projects.change(1, page_options={"stars": True})
    assert "exemplar" in api.post("/webhook", json=annotated(5, ground_truth=True)).json()["job"]


DELETED = {"action": "PROJECT_DELETED", "project": {"id": 1}}


@pytest.mark.usefixtures("connected")
def test_a_deleted_project_is_forgotten_once_label_studio_says_so_too(api, settings, studio):
    leases = Stores(Database.in_folder(settings.model_dir)).leases
    leases.give_back(1, leases.take(1))
    del studio.projects[1]
    assert api.post("/webhook", json=DELETED).status_code == 200
    wait_for(lambda: api.get("/projects/1").status_code == 404)
    wait_for(lambda: leases.of(1) is None)


@pytest.mark.usefixtures("connected")
@pytest.mark.parametrize("broken", [False, True], ids=["the project is there", "something else answers"])
def test_a_project_that_is_not_gone_survives_what_callers_say(api, settings, studio, broken):
    stores = Stores(Database.in_folder(settings.model_dir))
    stores.rounds.publish(start_round(stores, 1), RoundReport(), 3)
    studio.broken = broken
    assert api.post("/webhook", json=DELETED).json()["job"] is None
    wait_for(lambda: studio.calls)
    settle(api)
    assert len(stores.rounds.history(1)) == 1
    assert stores.projects.get(1).published_version


INVENTED = range(1000, 1300)


@pytest.mark.parametrize(
    "call",
    [
        lambda api, number: api.post("/webhook", json={"action": "START_TRAINING", "project": {"id": number}}),
        lambda api, number: api.post("/webhook", json={"action": "PROJECT_DELETED", "project": {"id": number}}),
        lambda api, number: api.post("/setup", json={"project": f"{number}.1", "extra_params": {"queue_size": 1}}),
        lambda api, number: api.post(
            "/predict", json={"tasks": [{"id": 1}], "project": number, "label_config": CONFIG}
        ),
        lambda api, number: api.post(f"/projects/{number}/rounds"),
    ],
    ids=["webhook", "deletion", "setup", "predict", "rounds"],
)
def test_invented_projects_leave_nothing_behind_and_hold_up_no_real_one(api, settings, wakes, studio, call):
    for number in INVENTED:
        assert call(api, number).status_code < 300
    asked = len(studio.calls)
    api.post("/setup", json=capture("setup"))
    wait_for(lambda: api.get("/projects/1").status_code == 200)
    assert len(studio.calls) - asked < 12  # a few seconds, two questions each, of two calls
    registration = api.app.state.backend._registration
    assert len(registration._waiting) <= 100
    assert Stores(Database.in_folder(settings.model_dir)).projects.ids() == [1]
    assert set(wakes.projects) == {1}
    assert set(api.app.state.backend._wired) <= {1}


def test_options_are_those_of_label_studios_entry_whatever_a_call_says(api, settings, studio):
    stores = Stores(Database.in_folder(settings.model_dir))
    studio.projects[1] = [("http://elsewhere:1", {"queue_size": 3}), (settings.public_url + "/", {"queue_size": 7})]
    api.post("/setup", json={"project": "1.1", "extra_params": {"queue_size": 7}})
    wait_for(lambda: stores.projects.get(1) is not None)
    assert stores.projects.get(1).options == {"queue_size": 7}
    before = len(studio.calls)
    api.post("/setup", json={"project": "1.1", "extra_params": {"queue_size": 1, "rare_classes": "common"}})
    wait_for(lambda: len(studio.calls) > before + 1)
    settle(api)
    assert stores.projects.get(1).options == {"queue_size": 7}
    studio.projects[1][1] = (settings.public_url, {"queue_size": 9})
    api.post("/setup", json={"project": "1.1", "extra_params": {"queue_size": 9}})
    wait_for(lambda: stores.projects.get(1).options == {"queue_size": 9})


def test_options_that_change_make_a_round_due_as_the_pages_do(api, settings, studio, wakes):
    stores = Stores(Database.in_folder(settings.model_dir))
    studio.projects[1] = [(settings.public_url, {"queue_size": 7})]
    api.post("/setup", json={"project": "1.1", "extra_params": {"queue_size": 7}})
    wait_for(lambda: wakes.projects)
    stores.projects.change(1, request=None)  # as a round that begins does
    settle(api)
    woken = len(wakes.projects)
    api.post("/setup", json={"project": "1.1", "extra_params": {"queue_size": 7}})
    settle(api)
    assert stores.projects.get(1).request is None
    studio.projects[1] = [(settings.public_url, {"queue_size": 9})]
    api.post("/setup", json={"project": "1.1", "extra_params": {"queue_size": 9}})
    wait_for(lambda: stores.projects.get(1).request == "the project's settings were changed")
    wait_for(lambda: len(wakes.projects) > woken)


@pytest.mark.usefixtures("connected")
def test_label_studios_own_call_while_it_is_asked_does_not_go_round(api, studio):
    call = {"project": "1.1", "extra_params": {"queue_size": 7}}
    studio.projects[1] = [("http://another-address:9090", {"queue_size": 7})]
    studio.looked_at = lambda: api.post("/setup", json=call)
    api.post("/setup", json=call)
    wait_for(lambda: any("/api/ml" in path for path in studio.calls))
    settle(api)
    looks = sum("/api/ml" in path for path in studio.calls)
    assert looks <= 3  # as often as one question is asked


@pytest.mark.parametrize("host", ["evil.example", "evil.example:9090"])
def test_no_address_is_taken_from_a_call(api, settings, host):
    headers = {"Host": host, "X-Forwarded-Host": "evil.example", "Forwarded": "host=evil.example"}
    assert api.post("/setup", json=capture("setup"), headers=headers).status_code == 421
    del headers["Host"]
    assert api.post("/setup", json=capture("setup"), headers=headers).status_code == 200
    stores = Stores(Database.in_folder(settings.model_dir))
    wait_for(lambda: stores.projects.get(1) is not None)
    assert "evil" not in str(vars(stores.projects.get(1)))


def settle(api):
    """Wait until Label Studio was asked all that it is to be asked."""
    registration = api.app.state.backend._registration
    wait_for(lambda: not registration._waiting)
    time.sleep(0.1)


@pytest.mark.usefixtures("connected")
def test_what_is_to_come_later_ends_with_the_server(settings, wakes):
    with TestClient(make_app(settings, wakes)) as api:
        api.post("/setup", json=capture("setup"))
        timers = [thread for thread in threading.enumerate() if isinstance(thread, threading.Timer)]
        assert timers
    for timer in timers:
        timer.join(10)
    assert len(wakes.projects) == 1


@pytest.mark.usefixtures("connected")
def test_half_a_character_or_nul_in_one_task_stops_no_call(api):
    strange = {"id": 1, "data": {"image": "\ud800\0", "\udfff": 1}, "meta": ["no object"]}
    bodies = {
        "/predict": {"tasks": [strange, {"id": 2, "data": {"image": ""}}], "project": "1", "label_config": CONFIG},
        "/setup": {"project": "1", "schema": "<View>\ud800</View>", "extra_params": {"group_field": "\ud800"}},
        "/webhook": {
            "action": "ANNOTATION_CREATED\ud800",
            "annotation": {"id": 1, "result": ["x"]},
            "project": {"id": 1},
        },
    }
    for path, body in bodies.items():
        answer = api.post(path, content=json.dumps(body), headers={"Content-Type": "application/json"})
        assert answer.status_code == 200, answer.text
