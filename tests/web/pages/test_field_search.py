"""Search by field: the form, and what comes of it."""

import logging
import re

import pytest

from clinical_backend.errors import ClinicalError
from clinical_backend.service.field_search import FoundByField
from clinical_backend.web.pages import field_search
from tests.web.pages.test_routes import assert_sound, configuration, filled, rich, stores, token, wakes, web, workspace

__all__ = ["configuration", "filled", "rich", "stores", "wakes", "web", "workspace"]  # fixtures

PAGE = "/projects/1/field"
NAME = "Doe^<b>Jane"


@pytest.fixture
def fields(stores, filled):
    stores.projects.change(1, task_fields=[["patient", 100, 30], ["case.<i>id", 100, 9], ["<i>code", 1, 1]])


def ask(web, **given):
    return web.post(PAGE, data={"token": token(web, PAGE), "field": "patient", "value": NAME} | given)


def test_the_fields_of_the_tasks_are_offered(web, fields):
    text = web.get(PAGE).text
    assert_sound(text)
    assert re.findall(r'<option value="([^"]+)"', text) == [
        "patient",
        "case.&lt;i&gt;id",
        "&lt;i&gt;code",
        "part",
        "whole",
    ]


def test_a_project_without_fields_says_so(web, filled):
    assert "There is no field to search" in web.get(PAGE).text


def test_tasks_are_listed_and_tagged_and_the_value_stands_nowhere(web, stores, rich, fields, monkeypatch, caplog):
    given = []

    def find(project, *asked, whole):
        given.append((project.id, *asked, whole))
        return FoundByField([8, 99, 50], 70, 2)

    monkeypatch.setattr(field_search, "find_by_field", find)
    caplog.set_level(logging.DEBUG)
    assert "70 tasks have this patient" in ask(web, match="whole").text
    answer = ask(web)
    assert given == [(1, "patient", NAME, 48, True), (1, "patient", NAME, 48, False)]
    assert_sound(answer.text)
    assert "70 tasks have this in patient" in answer.text
    assert "The last 3 that rounds have listed are shown. 2 are of the test set" in answer.text
    assert re.findall(r'name="task" value="(\d+)"', answer.text) == ["8"]
    assert "Doe" not in answer.text
    assert "Doe" not in caplog.text
    assert answer.headers["cache-control"] == "no-store"
    assert "Doe" not in web.get("/projects/1/trail").text
    tagged = {"token": token(web), "task": "8", "tag": "more", "back": PAGE}
    assert web.post("/projects/1/tags", data=tagged).headers["location"] == PAGE


def test_none_is_an_answer(web, fields, monkeypatch):
    monkeypatch.setattr(field_search, "find_by_field", lambda *_, **__: FoundByField([], 0, 0))
    answer = ask(web)
    assert answer.status_code == 200
    assert "No task has this in patient" in answer.text


def test_what_cannot_be_searched_is_said(web, fields, monkeypatch):
    assert "the project has no such field" in ask(web, field="nonsense").text

    def refuse(*_, **__):
        raise ClinicalError("Label Studio <does> not.", "Filter there.")

    monkeypatch.setattr(field_search, "find_by_field", refuse)
    answer = ask(web)
    assert answer.status_code == 422
    assert "Label Studio &lt;does&gt; not. Filter there." in answer.text
    assert not web.app.state.site.asking.locked()


def test_while_another_one_asks_it_is_put_off(web, fields):
    with web.app.state.site.asking:
        answer = ask(web)
    assert (answer.status_code, "Try again in a moment" in answer.text) == (503, True)
