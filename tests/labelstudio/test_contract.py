"""Payloads, on what a real Label Studio sent."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pydantic import ValidationError

from clinical_backend.errors import InvalidArgumentError
from clinical_backend.labelstudio.contract import (
    Event,
    HealthReply,
    Prediction,
    PredictReply,
    PredictRequest,
    SetupReply,
    SetupRequest,
    VersionsReply,
    WebhookReply,
    WebhookRequest,
)

CAPTURES = Path(__file__).parent / "captures"


def capture(name):
    return json.loads((CAPTURES / f"{name}.json").read_text())["body"]


def test_setup_is_read():
    request = SetupRequest.model_validate(capture("setup"))
    assert request.project_id == 1
    assert request.label_config.startswith("<View>")
    assert request.hostname == "http://localhost:8085"
    assert request.options() == {"strategy": "margin", "n": 5}
    assert request.access_token.get_secret_value() == "LEGACY-TOKEN"
    assert "LEGACY-TOKEN" not in repr(request)


@pytest.mark.parametrize(
    ("sent", "options"),
    [
        (None, {}),
        ("", {}),
        ("  ", {}),
        ("null", {}),
        ({}, {}),
        ('{"queue_size": 5}', {"queue_size": 5}),
        ({"queue_size": 5}, {"queue_size": 5}),
    ],
)
def test_extra_params_come_in_every_form(sent, options):
    assert SetupRequest.model_validate({"project": "3.17", "extra_params": sent}).options() == options


@pytest.mark.parametrize("sent", ["{", "[1]", "5", [1], 5, "plain text"])
def test_extra_params_that_are_no_object_are_refused_only_when_asked_for(sent):
    request = SetupRequest.model_validate({"project": "3.17", "extra_params": sent})
    with pytest.raises(InvalidArgumentError, match="extra_params"):
        request.options()


@pytest.mark.parametrize(("sent", "project_id"), [("1.1795391740", 1), ("12", 12), (12, 12)])
def test_the_project_is_read_with_and_without_its_time(sent, project_id):
    assert SetupRequest.model_validate({"project": sent}).project_id == project_id


@pytest.mark.parametrize("body", [{}, {"project": ""}, {"project": "x.1"}, {"project": None}, {"project": 0}, []])
def test_a_setup_without_project_is_refused(body):
    with pytest.raises(ValidationError):
        SetupRequest.model_validate(body)


def test_predict_is_read_for_one_task():
    request = PredictRequest.model_validate(capture("predict_one_task"))
    assert request.project_id == 1
    assert [task.id for task in request.tasks] == [87]
    assert request.tasks[0].data == {"image": "/data/local-files/?d=imgs/00086.png", "idx": 86}
    assert request.params.context is None


def test_predict_is_read_for_many_tasks_in_order():
    body = capture("predict_50_tasks")
    request = PredictRequest.model_validate(body)
    assert [task.id for task in request.tasks] == [task["id"] for task in body["tasks"]]
    assert len(request.tasks) == 50


def test_an_interactive_predict_brings_its_context():
    assert PredictRequest.model_validate(capture("predict_interactive")).params.context == {"result": []}


def test_a_predict_without_project_and_params_is_read():
    request = PredictRequest.model_validate({"tasks": [{"data": {"image": "x"}}], "project": None, "params": None})
    assert request.project_id is None
    assert request.tasks[0].id is None


@pytest.mark.parametrize("body", [{}, {"tasks": None}, {"tasks": [1]}, {"tasks": {"id": 1}}])
def test_a_predict_without_tasks_is_refused(body):
    with pytest.raises(ValidationError):
        PredictRequest.model_validate(body)


def test_a_malformed_body_is_refused_without_its_content():
    with pytest.raises(ValidationError) as refusal:
        PredictRequest.model_validate({"tasks": ["patient 17"]})
    assert "patient 17" not in str(refusal.value)


@pytest.mark.parametrize(
    ("name", "event", "task_ids", "annotation_ids"),
    [
        ("webhook_ANNOTATION_CREATED", Event.ANNOTATION_CREATED, (87,), [3]),
        ("webhook_ANNOTATION_CREATED_skipped", Event.ANNOTATION_CREATED, (1878,), [4]),
        ("webhook_ANNOTATION_UPDATED", Event.ANNOTATION_UPDATED, (87,), [3]),
        ("webhook_ANNOTATIONS_DELETED", Event.ANNOTATIONS_DELETED, (), [3]),
        ("webhook_PROJECT_UPDATED", Event.PROJECT_UPDATED, (), []),
        ("webhook_START_TRAINING", Event.START_TRAINING, (), []),
        ("webhook_TASKS_CREATED", Event.TASKS_CREATED, (1998, 1999, 2000), []),
        ("webhook_TASKS_DELETED", Event.TASKS_DELETED, (1998, 1999, 2000), []),
    ],
)
def test_every_event_is_read(name, event, task_ids, annotation_ids):
    request = WebhookRequest.model_validate(capture(name))
    assert request.event is event
    assert request.project_id == 1
    assert request.task_ids == task_ids
    assert [annotation.id for annotation in request.annotations] == annotation_ids


def test_a_skip_is_recognised():
    [skip] = WebhookRequest.model_validate(capture("webhook_ANNOTATION_CREATED_skipped")).annotations
    assert skip.was_cancelled


def test_annotations_created_is_read_with_its_lists_under_singular_names():
    body = capture("webhook_ANNOTATION_CREATED")
    body |= {
        "action": "ANNOTATIONS_CREATED",
        "annotation": [body["annotation"], body["annotation"] | {"id": 4, "task": 88}],
        "task": [body["task"], body["task"] | {"id": 88}],
    }
    request = WebhookRequest.model_validate(body)
    assert request.event is Event.ANNOTATIONS_CREATED
    assert [annotation.id for annotation in request.annotations] == [3, 4]
    assert request.task_ids == (87, 88)


def test_an_unknown_event_is_read_as_such():
    request = WebhookRequest.model_validate({"action": "LABEL_LINK_CREATED", "project": {"id": 7}})
    assert (request.event, request.action, request.project_id) == (Event.UNKNOWN, "LABEL_LINK_CREATED", 7)


def test_the_project_is_found_in_the_annotation_where_it_is_named_nowhere_else():
    request = WebhookRequest.model_validate({"action": "ANNOTATION_CREATED", "annotation": {"id": 1, "project": 9}})
    assert request.project_id == 9


def test_a_webhook_without_payload_names_no_project():
    assert WebhookRequest.model_validate({"action": "ANNOTATION_CREATED"}).project_id is None


@pytest.mark.parametrize(
    "body", [{}, {"action": ""}, {"action": 5}, {"action": "X", "project": {"id": "y"}}, [], "text", None]
)
def test_a_malformed_webhook_is_refused(body):
    with pytest.raises(ValidationError):
        WebhookRequest.model_validate(body)


def test_events_know_what_they_are_about():
    assert Event.ANNOTATIONS_DELETED.is_annotation
    assert not Event.START_TRAINING.is_annotation
    assert not Event.TASKS_DELETED.is_annotation


def test_replies_have_the_form_that_label_studio_reads():
    item = Prediction(result=[], model_version="v")
    assert PredictReply(results=[item, []]).model_dump() == {
        "results": [{"result": [], "score": None, "model_version": "v"}, []]
    }
    assert SetupReply(model_version="v").model_dump() == {"model_version": "v"}
    assert VersionsReply(versions=["v"]).model_dump() == {"versions": ["v"]}
    assert HealthReply().model_dump()["status"] == "UP"
    assert WebhookReply(job="7").model_dump()["job"] == "7"


def test_a_prediction_with_a_score_is_refused_since_it_would_be_shown_as_a_confidence():
    with pytest.raises(ValidationError):
        Prediction(result=[], score=0.9, model_version="v")
