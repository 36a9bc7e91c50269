"""The plugin without the SDK; tests/end_to_end/test_sdk.py serves it under both lines of that."""

from __future__ import annotations

import json
from pathlib import Path
from typing import ClassVar

import pytest

from clinical_backend import plugin
from clinical_backend.plugin import ClinicalBackend
from clinical_backend.service.backend import Backend
from clinical_backend.storage.database import Database
from clinical_backend.storage.stores.stores import Stores

ROOT = Path(__file__).parent.parent
CAPTURES = ROOT / "tests" / "labelstudio" / "captures"


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
    monkeypatch.setattr(plugin, "reconcile", lambda project, *, look: rounds.append(project.id))
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


class AsUnderSdk2(ClinicalBackend):
    """Does what SDK 2.x does with a class, as far as the class meets it: an instance for each call, text kept."""

    kept: ClassVar[dict[str, str]] = {}

    def __init__(self, project_id=None, label_config=None):
        super().__init__(project_id=project_id, label_config=label_config)
        self.setup()

    def set(self, key, value):
        assert isinstance(value, str)
        self.kept[key] = value

    @property
    def extra_params(self):
        return json.loads(self.kept.get("extra_params", "{}"))


@pytest.fixture
def called(folder, monkeypatch):
    """Return a function that plays a call of the SDK's server, and what reached the backend in ``/setup``."""
    monkeypatch.setattr(AsUnderSdk2, "kept", {})
    asked = []
    monkeypatch.setattr(Backend, "setup", lambda _self, request: asked.append(request) or "clinical-7-od")

    def call(path, body):
        monkeypatch.setattr(plugin, "_call", lambda: (path, body))
        return asked

    return call


@pytest.mark.parametrize("given", [{"queue_size": 5}, '{"queue_size": 5}'])
def test_setup_takes_a_project_on_with_extra_params_as_text_or_object(called, given):
    asked = called("/setup", {"project": "9.123", "extra_params": given})
    model = AsUnderSdk2(project_id="9", label_config=capture("setup")["schema"])
    model.set_extra_params(given)
    (request,) = asked
    assert (request.project_id, request.options()) == (9, {"queue_size": 5})
    assert model.kept["model_version"] == "clinical-7-od"
    assert model.extra_params == {"queue_size": 5}


def test_extra_params_that_were_emptied_are_heard_of_though_the_sdk_keeps_the_old(called):
    AsUnderSdk2.kept["extra_params"] = '{"queue_size": 5}'
    asked = called("/setup", {"project": "9.123", "extra_params": None})
    AsUnderSdk2(project_id="9")
    assert asked[0].options() == {}


def test_other_calls_ask_nothing_of_label_studio(called):
    asked = called("/predict", {"project": "9.123"})
    model = AsUnderSdk2(project_id="9")
    assert asked == []
    assert model.kept["model_version"] == "clinical-0"


def test_outside_of_a_call_the_project_is_taken_on_too(called):
    AsUnderSdk2.kept["extra_params"] = '{"queue_size": 5}'
    asked = called(None, {})
    AsUnderSdk2(project_id="9")
    assert (asked[0].project_id, asked[0].options()) == (9, {"queue_size": 5})


@pytest.mark.parametrize("named", ["instance", "call", "project in call"])
def test_the_project_is_known_without_a_key_in_the_task(folder, monkeypatch, named):
    projects = []
    monkeypatch.setattr(Backend, "predict", lambda _self, request: projects.append(request.project_id) or [None])
    if named != "instance":
        body = {"project": "7.123" if named == "call" else {"id": 7}}
        monkeypatch.setattr(plugin, "_call", lambda: ("/predict", body))
    model = ClinicalBackend(project_id="7" if named == "instance" else None)
    model.predict([{"id": 1, "data": {"image": "x"}}])
    assert projects == [7]


@pytest.mark.parametrize("project", ["", None, "None", "x", "0", "²", "9" * 30, True, []])
def test_what_names_no_project_is_no_fault(folder, monkeypatch, project):
    monkeypatch.setattr(plugin, "_call", lambda: ("/setup", {"project": project}))
    ClinicalBackend(project_id=project).setup()
