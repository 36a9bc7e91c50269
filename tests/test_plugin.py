"""The plugin without the SDK, and under the server of the SDK's release on PyPI."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import time
from pathlib import Path

import httpx2
import pytest

from clinical_backend import plugin
from clinical_backend.plugin import ClinicalBackend
from clinical_backend.storage.database import Database
from clinical_backend.storage.stores import Stores

ROOT = Path(__file__).parent.parent
CAPTURES = ROOT / "tests" / "labelstudio" / "captures"
SDK_PYTHON = ROOT / ".venv-label-studio-ml" / "bin" / "python"


def capture(name):
    return json.loads((CAPTURES / f"{name}.json").read_text())["body"]


@pytest.fixture
def folder(tmp_path, monkeypatch):

    plugin._backend.cache_clear()
    monkeypatch.setenv("MODEL_DIR", str(tmp_path))
    monkeypatch.setenv("LABEL_STUDIO_API_KEY", "0" * 40)
    monkeypatch.setenv("LABEL_STUDIO_URL", "http://127.0.0.1:9")
    monkeypatch.setattr(plugin, "LocalRunner", lambda _: plugin._NoRunner())
    database = Database.in_folder(tmp_path)
    Stores(database).projects.register(1)
    database.close()
    yield tmp_path
    plugin._backend.cache_clear()


def test_predictions_come_one_per_task_in_order(folder):
    body = capture("predict_50_tasks")
    items = ClinicalBackend(label_config=body["label_config"]).predict(body["tasks"])
    assert len(items) == 50
    assert all(item["score"] is None for item in items)


def test_a_reader_who_annotates_meanwhile_is_shown_nothing(folder):
    body = capture("predict_50_tasks")
    task = body["tasks"][0] | {"predictions": [{"id": 1}]}
    backend = ClinicalBackend(label_config=body["label_config"])
    assert backend.predict([task])[0]["result"] == []
    assert backend.predict([task], context={"result": []}) == [[]]


def test_the_newer_call_of_fit_makes_a_round_due(folder):
    event = capture("webhook_START_TRAINING")
    ClinicalBackend().fit("START_TRAINING", event)
    assert Stores(Database.in_folder(folder)).projects.due() == [1]


def test_the_older_call_of_fit_runs_the_round_in_the_process_that_the_sdk_gave_it(folder, monkeypatch):
    rounds = []
    monkeypatch.setattr(plugin, "reconcile", lambda _workshop, project_id, *, look: rounds.append(project_id))
    event = {"project": {"id": 1}}
    result = ClinicalBackend().fit((), event="START_TRAINING", data=event, workdir=str(folder), job_id="5")
    assert result == {"model_version": "clinical-0"}
    assert rounds == [1]


@pytest.mark.parametrize("name", sorted(file.stem for file in CAPTURES.glob("webhook_*.json")))
def test_both_calls_of_fit_take_every_event_that_label_studio_sends(folder, monkeypatch, name):
    monkeypatch.setattr(plugin, "reconcile", lambda *_args, **_kwargs: None)
    body = capture(name)
    event = body["action"]
    data = {key: value for key, value in body.items() if key != "action"}
    assert ClinicalBackend().fit(event, body) == {"model_version": "clinical-0"}
    assert ClinicalBackend().fit((), event=event, data=data, job_id="5") == {"model_version": "clinical-0"}


def test_without_a_labeling_config_there_are_no_predictions(folder):
    assert ClinicalBackend().predict([{"id": 1, "data": {"image": "x"}, "project": 3}]) == [[]]


@pytest.mark.parametrize("data", [{"annotation": "?"}, None, "?", [1]])
@pytest.mark.parametrize("event", ["ANNOTATION_CREATED", "", None])
def test_an_event_that_is_not_understood_is_no_fault(folder, event, data):
    assert ClinicalBackend().fit(event, data) in ({}, {"model_version": "clinical-0"})


@pytest.fixture
def sdk_server(label_studio, tmp_path):
    assert SDK_PYTHON.exists(), "Run `make test`: it installs the SDK into an environment of its own."
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {
        **os.environ,
        "MODEL_DIR": str(tmp_path),
        "LABEL_STUDIO_URL": label_studio.url,
        "LABEL_STUDIO_API_KEY": label_studio.account.token,
        "QUEUE_SIZE": "5",
    }
    with (tmp_path / "server.log").open("wb") as log:
        server = subprocess.Popen(
            [SDK_PYTHON, "-m", "clinical_backend._wsgi", "--port", str(port)], env=environment, stdout=log, stderr=log
        )
    url = f"http://127.0.0.1:{port}"
    try:
        _wait(lambda: _answers(url), 120)
        yield url
    finally:
        server.terminate()
        server.wait(30)


@pytest.mark.timeout(600)
def test_the_sdk_server_predicts_and_runs_a_round(sdk_server, client, project):
    assert httpx2.get(f"{sdk_server}/health").json()["status"] == "UP"
    assert httpx2.post(f"{sdk_server}/setup", json=capture("setup"), timeout=30).is_success
    body = capture("predict_50_tasks")
    assert len(httpx2.post(f"{sdk_server}/predict", json=body, timeout=60).json()["results"]) == 50
    (task, *_) = client.tasks(project.id)
    tag = {"from_name": "exemplar", "to_name": "image", "type": "choices", "value": {"choices": ["more like this"]}}
    event = {
        "action": "ANNOTATION_CREATED",
        "project": {"id": project.id},
        "annotation": {"id": 1, "task": task.id, "result": [tag]},
    }
    assert httpx2.post(f"{sdk_server}/webhook", json=event, timeout=30).is_success
    _wait(lambda: client.project(project.id).model_version.startswith("clinical-1-"), 400)


def _answers(url):
    try:
        return httpx2.get(f"{url}/health", timeout=2).is_success
    except httpx2.TransportError:
        return False


def _wait(condition, seconds):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.5)
