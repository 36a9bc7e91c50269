"""Settings before they are saved: what they would change, and what somebody else changed meanwhile."""

import html
import re

import pytest
from fastapi.testclient import TestClient

from clinical_backend.jobs.settings_preview import PreviewBusyError, answer_questions
from clinical_backend.service.set_aside import ask_for_test_set
from clinical_backend.web.app import make_app
from clinical_backend.workspace.project_options import decline
from clinical_backend.workspace.settings_preview_files import load_answer, open_questions
from tests.rounds.coloured_cells import fake_client, project, run, studio
from tests.rounds.test_queue_preview import labelled, served, told
from tests.small_workspace import source, workspace
from tests.web.noting_runner import Wakes
from tests.web.pages.test_routes import BROWSER

__all__ = ["fake_client", "labelled", "project", "source", "studio", "workspace"]  # fixtures

PAGE = "/projects/1/settings"
PREVIEW = "/projects/1/settings/preview"


@pytest.fixture
def web(workspace):
    with TestClient(make_app(workspace.settings, Wakes()), headers=BROWSER, follow_redirects=False) as client:
        started = []
        attended = client.attended = [True]
        client.app.state.site.settings_previews.start = started.append
        client.app.state.site.settings_previews.attend = lambda _: attended[0]
        client.started = started
        yield client


def form_of(web, page=PAGE):
    """Return what the form of the settings holds as it is shown."""
    text = web.get(page).text
    hidden = dict(re.findall(r'type="hidden" name="(token|seen)" value="([^"]*)"', text))
    return {name: html.unescape(value) for name, value in hidden.items()}


def ask(web, **fields):
    answer = web.post(PREVIEW, data=form_of(web) | fields)
    assert answer.status_code == 303
    web.shown = answer.headers["location"]
    assert web.shown.startswith(f"{PREVIEW}?key=")
    return web.get(web.shown).text


def test_what_would_change_is_told_before_anything_is_saved(web, labelled, studio):
    text = ask(web, queue_size="10", audit_share="50")
    assert re.search(r"It is being computed</span>, about \d+ s from .* on; after 5 min it is given up\.", text)
    assert '<noscript><meta http-equiv="refresh"' in text
    assert web.started == [1]
    assert answer_questions(labelled) == "1 answered."
    text = web.get(web.shown).text
    assert "It is being computed" not in text
    assert re.search(r"Drawn at random</th><td class=\"n\">\d+</td><td class=\"n\">\d</td><td class=\"n\">5</td>", text)
    assert "instead of 28" in text
    assert 'name="queue_size" value="10"' in text
    assert text.count('<button type="submit">Save</button>') == 1
    assert labelled.row.page_options == {}
    assert labelled.row.request is None
    shown = re.findall(r'data-case="(\d+)"', text)
    assert shown
    assert answer_questions(labelled) == "0 answered."


def test_saved_from_there_the_next_round_publishes_what_was_shown(web, labelled, studio):
    ask(web, queue_size="10", acquisition="random")
    answer_questions(labelled)
    shown = load_answer(labelled.settings_preview_folder, web.shown.rpartition("=")[2])
    answer = web.post(PAGE, data=form_of(web, web.shown) | {"queue_size": "10", "acquisition": "random"})
    assert answer.status_code == 303
    assert "it is what is set now" in web.get(web.shown).text
    run(labelled)
    assert told(shown.with_these) == served(labelled, studio)


def test_what_is_refused_is_what_saving_refuses(web, labelled):
    wrong = form_of(web) | {"queue_size": "many", "audit_share": "7"}
    asked, saved = web.post(PREVIEW, data=wrong), web.post(PAGE, data=wrong)
    assert (asked.status_code, saved.status_code) == (422, 422)
    for answer in (asked, saved):
        assert "Enter a whole number from 1 to 5000." in answer.text
        assert 'value="many"' in answer.text
    assert web.started == []
    assert open_questions(labelled.settings_preview_folder) == []
    for key in ("", "?key=0123456789abcdef0123456789abcdef", "?key=../answers"):
        assert web.get(PREVIEW + key).headers["location"] == PAGE


def test_what_changes_no_queue_or_is_read_by_a_round_is_told_at_once(web, labelled):
    text = ask(web, target_recall="90", stars="true")
    assert "No place of the queue." in text
    assert "Not told here, since a round reads the answers by it: Stars." in text
    assert "Changes no place of the queue: Recall to reach." in text
    assert web.started == []
    assert "it is what is set now" in ask(web)


def test_where_it_cannot_be_said_it_says_why(web, labelled):
    (labelled.settings_preview_folder / "answers.json").unlink()
    ask(web, queue_size="10")
    answer_questions(labelled)
    text = web.get(web.shown.replace("settings/preview", "fragments/settings-preview")).text
    assert "It cannot be said." in text
    assert "Start a round." in text


def test_a_declined_class_that_is_looked_for_after_all_is_shown_as_it_is_saved(web, labelled):
    decline(labelled, "red")
    ask(web, rare_classes="red", declined="red")
    web.post(PAGE, data=form_of(web) | {"rare_classes": "red", "declined": "red"})
    assert labelled.row.declined == []
    assert "Nothing: it is what is set now." in web.get(web.shown).text


def test_extra_parameters_that_become_wrong_meanwhile_are_named(web, labelled):
    ask(web, queue_size="5")
    labelled.stores.projects.change(1, options={"queue_size": "many"})
    for page in (web.shown, web.shown.replace("settings/preview", "fragments/settings-preview")):
        assert "The extra parameters of project 1 are wrong: queue_size" in web.get(page).text


def test_what_was_entered_stays_where_the_extra_parameters_are_wrong(web, labelled):
    labelled.stores.projects.change(1, options={"queue_size": "many"})
    answer = web.post(PREVIEW, data=form_of(web) | {"audit_share": "37"})
    assert answer.status_code == 409
    assert "It cannot be said." in answer.text
    assert "The extra parameters of project 1 are wrong: queue_size" in answer.text
    assert 'name="audit_share" value="37"' in answer.text
    assert "data-fragment" not in answer.text
    assert web.started == []


def test_what_was_entered_stays_while_other_projects_are_at_it(web, labelled, monkeypatch):
    def busy(_):
        raise PreviewBusyError("What settings of other projects would change is being computed.", "Try again.")

    monkeypatch.setattr(web.app.state.site.settings_previews, "require_room", busy)
    form = form_of(web)
    answer = web.post(PREVIEW, data=form | {"audit_share": "37"})
    assert answer.status_code == 409
    assert "What settings of other projects would change is being computed. Try again." in answer.text
    assert 'name="audit_share" value="37"' in answer.text
    assert html.unescape(re.search(r'name="seen" value="([^"]*)"', answer.text).group(1)) == form["seen"]
    assert open_questions(labelled.settings_preview_folder) == []


def test_a_test_set_that_is_asked_for_is_told_of(web, labelled):
    ask_for_test_set(labelled, 8, by="lead", seed=3)
    ask(web, audit_share="50")
    answer_questions(labelled)
    assert "8 tasks leave the search for it." in web.get(web.shown).text


def test_half_a_character_in_a_form_is_written_out(web, labelled):
    fields = form_of(web) | {"declined": "+2AA-", "queue_size": "5"}
    kind = "multipart/form-data; boundary=b; charset=utf-7"
    parts = [f'--b\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n' for name in fields]
    body = "".join(f"{part}{value}\r\n" for part, value in zip(parts, fields.values(), strict=True))
    answer = web.post(PREVIEW, content=f"{body}--b--\r\n", headers={"content-type": kind})
    assert answer.status_code == 303
    assert web.get(answer.headers["location"]).status_code == 200


def test_one_that_was_killed_is_told(web, labelled):
    assert "It is being computed" in ask(web, queue_size="10")
    web.attended[:] = [False]
    assert "It was cut off." in web.get(web.shown).text


def test_two_people_who_ask_at_once_are_each_shown_their_own(web, labelled):
    ask(web, queue_size="10")
    first = web.shown
    ask(web, queue_size="5")
    assert answer_questions(labelled) == "2 answered."
    for address, size in ((first, 10), (web.shown, 5)):
        text = web.get(address).text
        assert f'name="queue_size" value="{size}"' in text
        assert f"it would have {size} places instead of" in text


def test_after_another_round_it_says_that_it_is_of_an_earlier_queue(web, labelled):
    ask(web, queue_size="10")
    answer_questions(labelled)
    run(labelled)
    assert "A newer queue was published since" in web.get(web.shown).text


def test_two_people_who_save_at_once_lose_nothing_and_are_told(web, labelled):
    first, second = form_of(web), form_of(web)
    assert web.post(PAGE, data=first | {"queue_size": "40", "goal": "classifier"}).status_code == 303
    answer = web.post(PAGE, data=second | {"queue_size": "30", "audit_share": "25"})
    assert answer.status_code == 409
    assert labelled.row.page_options == {"queue_size": 40, "goal": "classifier"}
    assert "Nothing was saved: the settings were changed meanwhile" in answer.text
    assert re.search(r"Queue size: not set → 40 tasks, by page .*You entered 30\.", answer.text)
    assert re.search(r"What the labels are for: not set → classifier, by page", answer.text)
    assert 'name="queue_size" value="30"' in answer.text
    assert '<option value="classifier" selected>' in answer.text
    assert 'name="audit_share" value="25"' in answer.text
    again = html.unescape(re.search(r'name="seen" value="([^"]*)"', answer.text).group(1))
    fields = {"queue_size": "30", "audit_share": "25", "goal": "classifier", "seen": again}
    assert web.post(PAGE, data=second | fields).status_code == 303
    assert labelled.row.page_options == {"queue_size": 30, "goal": "classifier", "audit_share": 0.25}


def test_a_form_that_is_sent_twice_is_saved_once(web, labelled):
    form = form_of(web) | {"queue_size": "40"}
    assert [web.post(PAGE, data=form).status_code for _ in range(2)] == [303, 303]


@pytest.mark.parametrize("changed", [{"queue_size": "30"}, {}])
def test_a_class_that_one_lead_declines_while_another_saves_stays_declined(web, labelled, changed):
    before = form_of(web)
    decline(labelled, "dark")
    answer = web.post(PAGE, data=before | changed)
    assert answer.status_code == 409
    assert "Declined: none → dark" in answer.text
    assert 'name="declined" value="dark" checked' in answer.text
    assert labelled.row.declined == ["dark"]


@pytest.mark.parametrize(
    "seen",
    [
        "",
        "{",
        "[]",
        pytest.param("[" * 100_000, id="deep"),
        '{"page": 3, "declined": null}',
        '{"page": {"queue_size": []}}',
        '{"page": {"audit_share": "x", "rare_classes": 3}, "declined": []}',
        '{"page": {"acquisition": {}, "preannotate": [], "stars": "x", "nothing": 1}, "declined": [[]]}',
        '{"page": {"audit_share": 1e400, "queue_size": {"a": 1}, "rare_classes": {"a": 1}}, "declined": "x"}',
        '{"page": {"group_field": 3, "rare_classes": [null]}, "declined": {"a": 1}}',
    ],
)
def test_a_tampered_note_of_what_was_shown_saves_nothing(web, labelled, seen):
    answer = web.post(PAGE, data=form_of(web) | {"queue_size": "30", "seen": seen})
    assert answer.status_code in {303, 409}
    assert labelled.row.page_options == {}
    assert labelled.row.request is None
