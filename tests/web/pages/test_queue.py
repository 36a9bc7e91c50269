"""The queue's page: filters, order, pages, and what an open page asks for."""

import re
from urllib.parse import quote

import pytest
from sqlalchemy import update

from clinical_backend.storage.report import RoundReport
from clinical_backend.storage.schema import QueuedTask, ReadingState, SecondReading
from tests.storage.started import start_round
from tests.web.pages.test_routes import assert_sound, configuration, filled, stores, wakes, web, workspace

__all__ = ["configuration", "filled", "stores", "wakes", "web", "workspace"]  # fixtures


def cases(text):
    return [int(task) for task in re.findall(r'<li class="task[^"]*" data-case="(\d+)"', text)]


def queue(web, query=""):
    answer = web.get(f"/projects/1/queue{query}")
    assert answer.status_code == 200
    return answer.text


def test_choices_are_shown_with_their_counts(web, filled):
    text = queue(web)
    assert "sought (26)" in text
    assert "audit draw (3)" in text
    assert "for variety" not in text
    assert "b (26)" in text


def test_a_choice_holds_over_pages_and_is_kept_in_the_address(web, filled):
    text = queue(web, "?why=target&sort=doubt")
    assert len(cases(text)) == 24
    assert not {6, 16, 26} & {*cases(text)}
    assert "<b>26</b> of 29 shown" in text
    assert 'href="/projects/1/queue?why=target&amp;sort=doubt&amp;page=2"' in text
    assert '<option value="target" selected>' in text
    assert '<option value="doubt" selected>' in text
    second = queue(web, "?why=target&sort=doubt&page=2")
    assert len(cases(second)) == 2
    assert 'name="back" value="/projects/1/queue?why=target&amp;sort=doubt&amp;page=2"' in second


def test_a_site_is_chosen_where_tasks_name_one(web, stores, filled):
    assert 'name="site"' not in queue(web)
    uris = {task: image.uri for task, image in stores.images.all(1).items()}
    sites = dict.fromkeys(uris) | {2: "<north>", 3: "<north>", 4: "south", 99: "west"}
    stores.images.synchronise(1, uris, complete=True, sites=sites)
    text = queue(web)
    assert '<option value="&lt;north&gt;">&lt;north&gt; (2)</option>' in text
    assert "west" not in text
    assert cases(queue(web, "?site=%3Cnorth%3E")) == [2, 3]


def test_an_audit_draw_is_found_by_why_it_is_there_and_not_by_what_the_model_says(web, filled):
    assert cases(queue(web, "?why=audit")) == [6, 16, 26]
    assert not {6, 16, 26} & {*cases(queue(web, "?said=b")), *cases(queue(web, "?said=b&page=2"))}


def test_the_order_is_that_which_was_asked_for_and_places_are_those_of_the_queue(web, stores, filled):
    with stores.database.write() as session:
        session.execute(update(QueuedTask).where(QueuedTask.task_id == 20).values(chance=0.9))
        session.execute(update(QueuedTask).where(QueuedTask.task_id == 25).values(probability=0.1))
    assert cases(queue(web, "?sort=chance"))[0] == 20
    assert cases(queue(web, "?sort=doubt"))[0] == 25
    assert '<span class="unseen">Rank </span>19</span>' in queue(web, "?sort=chance")


@pytest.mark.parametrize("query", ["?why=nothing", "?said=z", "?target=z", "?why=audit&said=b"])
def test_where_nothing_is_like_that_the_way_back_is_shown(web, filled, query):
    text = queue(web, query)
    assert_sound(text)
    assert cases(text) == []
    assert "No task is like that" in text
    assert 'href="/projects/1/queue"' in text


def test_what_an_address_says_is_escaped(web, filled):
    evil = quote('"><script>alert(1)</script>')
    text = queue(web, f"?why={evil}&said={evil}&target={evil}&sort={evil}")
    assert_sound(text)
    assert "<script>alert" not in text


def test_second_readings_are_shown_without_any_belief(web, stores, filled):
    fields = {"label": "a", "readings": 1, "asked_at": 1.0}
    stores.second_readings.keep(1, [SecondReading(project_id=1, task_id=99, state=ReadingState.OPEN, **fields)])
    assert "second reading (1)" in queue(web)
    text = queue(web, "?why=second")
    assert_sound(text)
    assert cases(text) == [99]
    assert "The model says" not in text


def test_an_open_page_is_told_what_waits(web, stores, filled):
    told = web.get("/projects/1/queue/waiting?round=1").json()
    assert (told["round"], len(told["tasks"])) == (1, 29)
    stores.rounds.note_answers(filled.id, [2])
    assert 2 not in web.get("/projects/1/queue/waiting?round=1").json()["tasks"]
    assert 2 not in cases(queue(web))
    stores.projects.register(2)
    assert web.get("/projects/2/queue/waiting?round=1").json() == {"round": None, "tasks": []}
    for path in ("7/queue/waiting?round=1", "1/queue/waiting", "1/queue/waiting?round=x"):
        assert web.get(f"/projects/{path}").status_code == 404


def test_of_an_earlier_queue_an_open_page_is_told_what_waits_and_that_there_is_a_newer_one(web, stores, filled):
    later = start_round(stores, 1)
    stores.rounds.publish(later, RoundReport(), 3)
    told = web.get("/projects/1/queue/waiting?round=1").json()
    assert (told["round"], len(told["tasks"])) == (2, 29)
