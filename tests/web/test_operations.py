import base64
import time

import pytest
from fastapi.testclient import TestClient
from prometheus_client.parser import text_string_to_metric_families

from clinical_backend.lab.servers.redis_server import RedisServer
from clinical_backend.multilabel import pack
from clinical_backend.settings import load_settings
from clinical_backend.storage.database import Database
from clinical_backend.storage.report import Counts, RoundReport
from clinical_backend.storage.schema import ProjectLease, RoundState, TaskImage, TaskLabel
from clinical_backend.storage.stores.stores import Stores
from clinical_backend.web.app import make_app
from tests.disks import fill, full_disk, small_disk
from tests.storage.started import start_round
from tests.web.noting_runner import Wakes


@pytest.fixture
def settings(tmp_path):
    return load_settings(model_dir=tmp_path, label_studio_api_key="k", basic_auth_user="u", basic_auth_pass="p")


AUTHORIZATION = "Basic " + base64.b64encode(b"u:p").decode()


def serving(settings):
    return TestClient(
        make_app(settings, Wakes()), headers={"Authorization": AUTHORIZATION}, raise_server_exceptions=False
    )


def test_a_server_is_ready_until_its_database_is_gone(settings):
    with serving(settings) as api:
        assert api.get("/ready").json() == {"ready": True, "problems": {}, "stalled": {}}
        with api.app.state.database.write() as session:
            session.connection().exec_driver_sql("ALTER TABLE projects RENAME TO gone")
        answer = api.get("/ready")
        assert (answer.status_code, list(answer.json()["problems"])) == (503, ["database"])
        assert api.get("/health").status_code == 200


EVENT = {"action": "ANNOTATION_CREATED", "project": {"id": 7}, "annotation": {"id": 1, "task": 1, "result": []}}


def test_a_server_on_a_full_disk_is_not_ready_and_goes_on_when_there_is_space(settings, tmp_path):
    folder = tmp_path / "disk"
    with small_disk(folder), serving(settings.model_copy(update={"model_dir": folder})) as api:
        stores = Stores(api.app.state.database)
        stores.projects.register(7)
        assert api.get("/ready").status_code == 200
        filler = fill(folder)
        answer = api.get("/ready")
        assert answer.status_code == 503
        assert "No space left on device" in answer.json()["problems"]["disk"]
        assert "Free some space" in answer.json()["problems"]["disk"]
        assert api.get("/health").status_code == 200
        page = api.get("/projects/7", headers={"Accept": "text/html"})
        assert page.status_code == 200
        answers = [api.post("/webhook", json=EVENT) for _ in range(20)]
        assert {each.status_code for each in answers} <= {200, 503}
        assert all("Free some space" in each.text or "free space" in each.text for each in answers if each.is_error)
        counted = sum(each.status_code == 200 for each in answers)
        filler.unlink()
        assert api.get("/ready").json() == {"ready": True, "problems": {}, "stalled": {}}
        assert api.post("/webhook", json=EVENT).status_code == 200
        assert stores.projects.get(7).updates == counted + 1


def test_a_server_whose_quota_is_used_up_is_not_ready(settings):
    with serving(settings) as api:
        with full_disk(1_000_000):
            assert list(api.get("/ready").json()["problems"]) == ["disk"]
        assert api.get("/ready").status_code == 200


def test_another_writer_does_not_make_a_server_unready(settings):
    with serving(settings) as api:
        with api.app.state.database.write():
            assert api.get("/ready").json() == {"ready": True, "problems": {}, "stalled": {}}
        assert api.get("/ready").status_code == 200


def test_a_server_without_its_redis_is_alive_but_not_ready_and_names_no_secret(settings, tmp_path):
    with RedisServer(tmp_path / "redis") as redis:
        address = redis.url.replace("redis://", "redis://:a-secret@")
        redis.client.config_set("requirepass", "a-secret")
        with serving(settings.model_copy(update={"redis_url": load_settings(redis_url=address).redis_url})) as api:
            assert api.get("/ready").json()["ready"]
            redis.kill()
            answer = api.get("/ready")
            assert answer.status_code == 503
            assert "REDIS_URL" in answer.json()["problems"]["redis"]
            assert "a-secret" not in answer.text
            assert api.get("/health").status_code == 200


def test_operations_ask_for_the_password_and_metrics_count_from_the_database(settings):
    database = Database.in_folder(settings.model_dir)
    stores = Stores(database)
    stores.projects.register(7)
    stores.rounds.publish(
        start_round(stores, 7), RoundReport(target=("rare",), seconds={"fit": 1.5}, counts=Counts(queue=40)), 9
    )
    failed = start_round(stores, 7)
    stores.rounds.progress(failed.id, "embed")
    stores.rounds.fail(failed.id, 7, "Patient 12345 cannot be read.", state=RoundState.FAILED)
    stores.rounds.progress(start_round(stores, 7).id, "rank")
    with database.write() as session:
        for task, label in enumerate(["rare", pack(["rare", "another"]), "common", None]):
            session.add(TaskLabel(project_id=7, task_id=task, label=label, steer=int(task == 0), labelled_at=1.0))
            tried = {0: ("unreadable", 1), 1: ("The host is slow.", 0)}.get(task, (None, 0))
            session.add(TaskImage(project_id=7, task_id=task, uri="u", problem=tried[0], attempts=tried[1]))
    with serving(settings) as api:
        for path in ("/metrics", "/ready"):
            assert api.get(path, headers={"Authorization": "none"}).status_code == 401
        text = api.get("/metrics", auth=("u", "p")).text
    found = {
        (sample.name, *(value for name, value in sorted(sample.labels.items()) if name != "project")): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.labels.get("project") == "7"
    }
    expected = {
        ("clinical_queue_left",): 9,
        ("clinical_queue_low",): 1,
        ("clinical_labels",): 3,
        ("clinical_rare_found",): 2,
        ("clinical_exemplars",): 1,
        ("clinical_images",): 4,
        ("clinical_unreadable",): 1,
        ("clinical_waiting",): 3,
        ("clinical_failures",): 1,
        ("clinical_has_problem",): 1,
        ("clinical_due_seconds",): 0,
        ("clinical_stage_seconds", "fit"): 1.5,
        ("clinical_rounds_total", "publish", "published"): 1,
        ("clinical_rounds_total", "embed", "failed"): 1,
        ("clinical_rounds_running", "rank"): 1,
    }
    assert {key: found[key] for key in expected} == expected
    assert found["clinical_round_seconds_total", "publish", "published"] > 0
    assert "12345" not in text


@pytest.mark.parametrize(
    ("sign", "progress", "requested", "told"),
    [
        (100.0, 100.0, None, "no sign of life for 10"),
        (1.0, 400.0, None, "has not got on for 7 minutes, at the stage fit"),
        (None, None, 1200.0, "due for 20 minutes, and nobody begins it"),
        (1.0, 200.0, None, None),
    ],
    ids=["stopped", "hanging", "nobody", "busy"],
)
def test_what_stands_still_alarms_everywhere_and_keeps_the_server_in_service(settings, sign, progress, requested, told):
    database = Database.in_folder(settings.model_dir)
    stores = Stores(database)
    stores.projects.register(7)
    now = time.time()
    if sign is not None:
        stores.rounds.progress(start_round(stores, 7).id, "fit")
        stores.leases.take(7)
        with database.write() as session:
            session.query(ProjectLease).update({"sign_at": now - sign, "progress_at": now - progress})
    else:
        stores.projects.change(7, requested_at=now - requested)
    with serving(settings) as api:
        ready = api.get("/ready")
        status = api.get("/projects/7").json()["problem"]
        page = api.get("/projects/7", headers={"Accept": "text/html"}).text
        every = api.get("/projects", headers={"Accept": "text/html"}).text
        lines = api.get("/metrics").text.splitlines()
    stalled = ready.json()["stalled"].get("project 7", "")
    assert (ready.status_code, ready.json()["ready"]) == ((200, True) if told is None else (503, False))
    figures = dict(line.split('{project="7"} ') for line in lines if '{project="7"} ' in line)
    assert float(figures["clinical_progress_seconds"]) == pytest.approx(progress or 0.0, abs=60)
    assert float(figures["clinical_has_problem"]) == float(told is not None)
    for place in (stalled, status or "", page):
        assert (told in place) if told else ("stands still" not in place)
    assert ("Needs attention" in every) == (told is not None)


def test_a_project_that_waits_while_the_worker_is_at_another_does_not_stand_still(settings):
    stores = Stores(Database.in_folder(settings.model_dir))
    long_ago = time.time() - 10 * settings.stall_timeout_seconds
    for project_id in (7, 8):
        stores.projects.register(project_id)
        stores.projects.change(project_id, requested_at=long_ago)
    with serving(settings) as api:
        assert set(api.get("/ready").json()["stalled"]) == {"project 7", "project 8"}
        start_round(stores, 7)
        assert api.get("/ready").json()["stalled"] == {}


def test_a_round_that_waits_is_seen_to_wait(settings):
    database = Database.in_folder(settings.model_dir)
    stores = Stores(database)
    stores.projects.register(7)
    stores.projects.change(7, requested_at=1.0)
    with serving(settings) as api:
        text = api.get("/metrics", auth=("u", "p")).text
    (line,) = [line for line in text.splitlines() if line.startswith("clinical_due_seconds{")]
    assert float(line.split()[-1]) > 1e9


@pytest.mark.parametrize("path", ["/health", "/", "/ready", "/metrics", "/versions", "/projects", "/static/style.css"])
def test_head_is_answered_as_get_is_without_the_body(settings, path):
    with serving(settings) as api:
        asked, head = api.get(path), api.head(path)
        assert (asked.status_code, head.status_code, head.content) == (200, 200, b"")
        assert head.headers["content-type"] == asked.headers["content-type"]
        assert (
            api.head(path, headers={"Authorization": "none"}).status_code
            == api.get(path, headers={"Authorization": "none"}).status_code
        )


def test_head_of_what_is_not_there_or_takes_no_get_says_so(settings):
    with serving(settings) as api:
        assert [api.head(path).status_code for path in ("/nothing", "/webhook")] == [404, 405]
