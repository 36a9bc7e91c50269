"""The page that says who changed what."""

import re
import threading

import pytest

from clinical_backend.errors import TrailError
from clinical_backend.storage.recipe import Recipe
from clinical_backend.storage.report import RoundReport
from clinical_backend.storage.stores.trail import TrailStore
from clinical_backend.storage.trail import Actor, TrailAction, acting
from clinical_backend.web.pages.trail import told
from tests.storage.started import start_round
from tests.web.pages.test_routes import assert_sound, configuration, filled, send, stores, wakes, web, workspace
from tests.web.test_backend_api import wait_for

__all__ = ["configuration", "filled", "stores", "wakes", "web", "workspace"]  # fixtures

PAGE = "/projects/1/trail"


def rows(text):
    lines = re.findall(r"<tr>(.*?)</tr>", text, re.DOTALL)
    cells = (re.findall(r"<t[dh][^>]*>(.*?)</t[dh]>", line, re.DOTALL) for line in lines)
    return [[re.sub(r"<[^>]+>", "", cell).strip() for cell in row] for row in cells][1:]


def test_what_was_done_is_said_in_plain_words_with_who(web, stores, filled):
    send(web, "settings", "/settings", queue_size="7", audit_share="20")
    with acting(Actor("ada", "command")):
        stores.trail.append(TrailAction.CASES_TAGGED, 1, tasks=list(range(1, 14)), tag="more like this")
    text = web.get(PAGE).text
    assert_sound(text)
    found = [(who, what, more) for _, _, who, what, more in rows(text)]
    assert ("page", "setting changed", "Queue size: not set → 7 tasks") in found
    assert ("page", "setting changed", "Audit share: not set → 20 %") in found
    named = "1, 2, 3, 4, 5, 6, 7, 8, 9, 10 and 3 more"
    assert ("ada, by a command", "cases tagged on the page", f"tag: more like this; tasks: {named}") in found
    assert ("the backend", "connected", "") in found
    assert f'<a href="{PAGE}">Who changed what</a>' in web.get("/projects/1/settings").text


def test_a_queue_has_its_settings_beside_it(web, stores, filled):
    settings = {"queue_size": 200, "audit_share": 0.1, "site_field": None, "acquisition": "auto"}
    row = start_round(stores, 1)
    stores.rounds.publish(row, RoundReport(acquisition="flqmi", recipe=Recipe(settings, 1, "ab" * 32)), 30)
    text = web.get(PAGE).text
    assert_sound(text)
    assert "acquisition: flqmi" in text
    folded = re.search(r"<details><summary>With these settings</summary>(.*?)</details>", text).group(1)
    said = "Queue size: 200 tasks; Audit share: 10 %; Site: not set; Order of the queue: auto"
    assert sorted(folded.split("; ")) == sorted(said.split("; "))


def test_entries_are_chosen_by_what_and_who_and_shown_some_at_a_time(web, stores, filled):
    with acting(Actor("ada & co", "command")):
        for number in range(120):
            stores.trail.append(TrailAction.MODEL_EXPORTED, 1, version=number)
    stores.projects.register(2)
    text = web.get(PAGE, params={"who": "ada & co", "action": "model exported", "page": 2}).text
    assert_sound(text)
    assert len(rows(text)) == 50
    assert rows(text)[0][4] == "version: 69"
    assert f'href="{PAGE}?action=model+exported&amp;who=ada+%26+co&amp;page=3"' in text
    assert "Nothing like that was done" in web.get(PAGE, params={"action": "model published"}).text
    assert web.get("/projects/7/trail").status_code == 404


def test_what_others_wrote_is_shown_as_text(web, stores, filled):
    with acting(Actor("<b>ada</b>", "page")):
        stores.trail.append(TrailAction.WORDS_CHANGED, 1, finding="<script>alert(1)</script>")
    text = web.get(PAGE).text
    assert_sound(text)
    assert "<b>ada" not in text
    assert "finding: &lt;script&gt;" in text


def test_settings_that_are_none_are_shown_as_they_were_typed(web, stores, filled):
    values = ["lots", 10**400, {"a": "<b>"}, [1, None, {"<b>": 2}], "", "---", "\u202e<b>", "x" * 3000, 1e999]
    names = ["audit_share", "rare_classes", "stars", "group_field"]
    for value in values:
        stores.projects.register(1, dict.fromkeys(names, value), settings=names)
    assert stores.trail.count(1, action="setting changed") == len(values) * len(names)
    answer = web.get(PAGE)
    assert answer.status_code == 200
    assert_sound(answer.text)
    assert "<b>" not in answer.text


def test_a_page_is_not_kept_waiting_by_another_writer_and_the_look_is_told_of_after_it(
    web, stores, filled, monkeypatch
):
    written, free = [], threading.Event()
    look = TrailStore.look

    def wait_first(*arguments):
        free.wait(10)
        look(*arguments)
        written.append(arguments)

    monkeypatch.setattr(TrailStore, "look", wait_first)
    for _ in range(2):
        assert web.get("/projects/1/queue").status_code == 200
    assert written == []
    free.set()
    wait_for(lambda: written)
    assert web.get("/projects/1/queue").status_code == 200
    assert stores.trail.count(1, action="looked") == len(written) == 1


def test_a_look_that_cannot_be_told_of_keeps_no_page_away_and_is_told_of_later(web, stores, filled, monkeypatch):
    def refuse(*_):
        raise TrailError("The trail cannot be written.", "Make room.")

    with monkeypatch.context() as context:
        context.setattr(TrailStore, "look", refuse)
        assert web.get("/projects/1/queue").status_code == 200
    assert stores.trail.count(1, action="looked") == 0
    web.get("/projects/1/queue")
    web.get("/projects/1/queue")
    assert stores.trail.count(1, action="looked") == 1


def test_a_change_that_cannot_be_told_of_is_refused_by_name(web, stores, filled, monkeypatch):
    web.get("/projects/1")
    with stores.database.write() as session:
        session.connection().exec_driver_sql("ALTER TABLE trail RENAME TO elsewhere")
    answer = web.post("/projects/1/settings", data={"token": _token(web), "queue_size": "7"})
    assert answer.status_code == 503
    assert "The trail cannot be written" in answer.text
    assert stores.projects.get(1).page_options == {}


def _token(web):
    return re.search(r'name="token" value="([^"]+)"', web.get("/projects/1").text).group(1)


@pytest.mark.parametrize(
    ("details", "expected"),
    [
        ({}, ""),
        ({"setting": "stars", "old": True, "new": False, "where": "page"}, "Stars: true → false"),
        (
            {"setting": "goal", "old": "rare", "new": None, "where": "extra parameters"},
            "What the labels are for: rare → not set (extra parameters)",
        ),
        ({"options": {"form": "csv", "fields": []}, "labels": 3}, "labels: 3; form: csv; fields: none"),
        ({"nested": {"a": 1}, "sha256": "ab" * 32, "round": None}, 'nested: {"a": 1}; sha256: abababababab…'),
        ({"page": "queue", "day": "2026-01-01"}, "page: queue"),
    ],
)
def test_details_are_said_in_plain_words(details, expected):
    assert told(details) == expected
