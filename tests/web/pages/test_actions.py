"""What is said, and can be answered, of changes in Label Studio and of another installation."""

from __future__ import annotations

import re

from clinical_backend.labelstudio.connection.checks import Place
from clinical_backend.rounds.drift import Drift, change_drift
from tests.web.pages.test_routes import configuration, filled, stores, wakes, web, workspace

__all__ = ["configuration", "filled", "stores", "wakes", "web", "workspace"]  # fixtures

ASKED = {"found": "Sequential sampling", "evidence": "The sampling was changed to <b>'Sequential sampling'</b>."}


def ask(workspace):
    change_drift(workspace.project(1), lambda drift: drift.asked.update({Place.SAMPLING: ASKED}))


def answer(web, **fields):
    page = web.get("/projects/1").text
    token = re.search(r'name="token" value="([^"]+)"', page)
    sent = web.post("/projects/1/drift", data={"token": token[1], **fields})
    assert sent.status_code == 303
    return web.get(sent.headers["location"]).text


def test_what_was_changed_is_asked_about_with_its_two_answers(web, workspace, filled):
    ask(workspace)
    page = web.get("/projects/1").text
    assert "Changed in Label Studio: sampling" in page
    assert "Needs an answer" in page
    assert "&lt;b&gt;" in page
    assert re.search(r'<button name="put_back" value="sampling">', page)
    assert re.search(r'name="leave" value="sampling"', page)
    assert web.get("/projects/1", headers={"Accept": "application/json"}).json()["questions"][0]["name"] == "sampling"


def test_what_is_left_is_remembered_and_can_be_put_back_later(web, workspace, filled, wakes):
    ask(workspace)
    page = answer(web, leave="sampling")
    assert "left as it is" in page
    assert "Changed in Label Studio" not in page
    assert Drift.of(workspace.stores.projects.get(1)).left == {"sampling": "Sequential sampling"}
    assert "put back in a moment" in answer(web, put_back="sampling")
    assert Drift.of(workspace.stores.projects.get(1)).restore == ["sampling"]
    assert workspace.stores.projects.get(1).wiring_due
    assert 1 in wakes.projects
    assert "no longer asked about" in answer(web, leave="sampling")
    assert "no longer asked about" in answer(web, leave="nonsense")


def test_a_change_is_answered_by_our_own_forms_only(web, workspace, filled):
    ask(workspace)
    assert web.post("/projects/1/drift", data={"leave": "sampling"}).status_code == 403


def test_an_installation_that_stands_back_says_so_everywhere(web, stores, filled):
    told = "Project 1 is served by another installation. Remove one of them."
    stores.projects.change(1, standing_back=told, problem=told, request="test")
    reply = web.post("/setup", headers={"Accept": "*/*"}, json={"project": "1.1", "schema": "", "extra_params": {}})
    assert (reply.status_code, reply.json()["detail"]) == (409, told)
    page = web.get("/projects/1").text
    assert "Stands back" in page
    assert told in page
    assert "A round is due" not in page
    assert web.get("/projects/1", headers={"Accept": "application/json"}).json()["standing_back"] == told
    assert 'clinical_stands_back{project="1"} 1.0' in web.get("/metrics").text


def test_repairs_are_listed_and_counted(web, workspace, filled):
    detail = "The webhook was deleted. Added: all events go to it."
    change_drift(workspace.project(1), lambda drift: (drift.told.append((1.0, detail)), setattr(drift, "repaired", 3)))
    page = web.get("/projects/1").text
    assert "Put right in Label Studio (3)" in page
    assert detail in page
    assert 'clinical_repairs_total{project="1"} 3.0' in web.get("/metrics").text


def test_rounds_that_rest_say_why(web, workspace, filled):
    change_drift(workspace.project(1), lambda drift: drift.left.update({Place.MODEL_VERSION: "their-model"}))
    page = web.get("/projects/1").text
    assert "Rounds rest while readers follow the predictions &#39;their-model&#39;" in page
