"""The page of exemplars: what each one brought, and what can be settled there."""

import re

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import update

from clinical_backend.origins import Draw, Origin
from clinical_backend.settings import load_settings
from clinical_backend.storage.report import RoundReport
from clinical_backend.storage.schema import QueuedTask, TaskLabel
from clinical_backend.web.app import make_app
from tests.web.noting_runner import Wakes
from tests.web.pages.test_routes import (
    BROWSER,
    REPORT,
    assert_sound,
    configuration,
    filled,
    rich,
    stores,
    token,
    wakes,
    web,
    workspace,
)
from tests.web.test_backend_api import CONFIG

__all__ = ["configuration", "filled", "rich", "stores", "wakes", "web", "workspace"]  # fixtures

PAGE = "/projects/1/exemplars"
FEW = "(too few to state a share)"


def read(stores, labels, *tagged):
    """Let readers answer sought tasks of the queue, which all are most like task 99."""
    rows = [
        TaskLabel(
            project_id=1,
            task_id=task,
            label=name,
            origin=Origin.QUEUE,
            draw=Draw.TARGET,
            round_number=1,
            labelled_at=float(task),
        )
        for task, name in labels.items()
    ]
    exemplar = TaskLabel(project_id=1, task_id=99, label="b", steer=1, labelled_at=1.0, tagged_at=1.0)
    stores.labels.replace(1, [exemplar, *tagged, *rows])


SOUGHT = [task for task in range(1, 31) if task % 10 != 6]  # the others are audit draws


def test_few_cases_are_counted_and_many_have_a_share_with_its_interval(web, stores, filled):
    assert "No case that was sought near it is read yet" not in web.get(PAGE).text
    read(stores, {task: "b" if task <= 6 else "a" for task in SOUGHT[:14]})
    text = web.get(PAGE).text
    assert f'<a href="{PAGE}/99">5 of 14 cases like it were b</a>' in text
    assert FEW in text
    read(stores, {task: "b" if task <= 6 else "a" for task in SOUGHT[:20]})
    text = web.get(PAGE).text
    assert "5 of 20 cases like it were b" in text
    assert "(25%, 95 % interval 8.7% to 49%)" in text
    assert FEW not in text


def test_an_exemplar_near_which_nothing_was_read_says_so(web, stores, filled):
    read(stores, {})
    assert "No case that was sought near it is read yet" in web.get(PAGE).text
    text = web.get(f"{PAGE}/99").text
    assert_sound(text)
    assert "No case that was sought near it is read yet" in text


def test_its_page_shows_what_was_found_and_what_misled_the_newest_first(web, stores, filled):
    read(stores, {1: "b", 2: "a", 3: "b", 4: "<i>x</i>"})
    text = web.get(f"{PAGE}/99").text
    assert_sound(text)
    assert "Found near it (2)" in text
    assert "Look-alikes that misled (2)" in text
    assert re.findall(r'data-case="(\d+)"', text) == ["99", "3", "1", "4", "2"]
    assert "&lt;i&gt;x&lt;/i&gt;" in text
    assert "/projects/1/images/3.webp?large=true" in text
    assert "data?task=3" in text


def test_most_found_near_it_first_is_a_choice(web, stores, filled):
    newer = TaskLabel(project_id=1, task_id=98, label="b", steer=1, labelled_at=1.0, tagged_at=9.0)
    read(stores, {1: "b"}, newer)
    order = re.compile(r'<li class="exemplar" data-case="(\d+)"')
    assert order.findall(web.get(PAGE).text) == ["98", "99"]
    sorted_ = web.get(f"{PAGE}?sort=brought").text
    assert order.findall(sorted_) == ["99", "98"]
    assert '<option value="brought" selected>' in sorted_
    assert order.findall(web.get(f"{PAGE}?sort=nonsense").text) == ["98", "99"]


def test_what_an_exemplar_from_outside_brought_is_told_alike(web, stores, rich):
    with stores.database.write() as session:
        session.execute(update(QueuedTask).values(nearest_exemplar=-1))
    assert f'<a href="{PAGE}/outside/1">3 of 5 cases like it were b</a>' in web.get(PAGE).text
    text = web.get(f"{PAGE}/outside/1").text
    assert_sound(text)
    assert "What exemplar 1 from outside brought" in text
    assert f'src="{PAGE}/outside/1.png"' in text
    assert web.get(f"{PAGE}/outside/1.png").headers["content-type"] == "image/png"


def test_what_was_taken_away_keeps_its_page_while_queues_had_named_it(web, stores, rich):
    stores.outside_exemplars.remove(1, 1)
    assert web.get(f"{PAGE}/outside/1").status_code == 404
    with stores.database.write() as session:
        session.execute(update(QueuedTask).values(nearest_exemplar=-1))
    assert "It is no exemplar any more." in web.get(f"{PAGE}/outside/1").text


@pytest.mark.parametrize("path", ["7777", "x", "0", "-1", "9" * 30, "outside/7", "outside/x", "outside/0"])
def test_an_unknown_exemplar_is_a_page_that_says_so(web, filled, path):
    answer = web.get(f"{PAGE}/{path}")
    assert answer.status_code in {404, 422}
    assert_sound(answer.text)


def test_a_question_of_tags_is_answered_in_place(web, stores, filled):
    asked = {"kind": "look for it too", "name": "a", "tasks": [98], "evidence": "Since so."}
    stores.rounds.publish(filled, RoundReport.from_json(REPORT | {"questions": [asked]}), 30)
    stores.projects.change(1, label_config=CONFIG.replace("</Choices>", '<Choice value="c"/></Choices>'))
    assert '<input type="hidden" name="back" value="exemplars">' in web.get(PAGE).text
    fields = {"token": token(web, PAGE), "choose": "a", "back": "exemplars"}
    answer = web.post("/projects/1/looked-for", data=fields)
    assert answer.headers["location"] == PAGE
    text = web.get(PAGE).text
    assert "a is looked for" in text
    assert "Look for a too?" not in text
    assert web.post("/projects/1/looked-for", data=fields | {"back": "//evil"}).headers["location"] == "/projects/1"


def test_a_tagged_class_that_nothing_asks_of_can_be_looked_for_in_place(web, stores, filled):
    stores.projects.change(
        1, label_config=CONFIG.replace("</Choices>", '<Choice value="c"/></Choices>'), declined=["c"]
    )
    read(stores, {}, TaskLabel(project_id=1, task_id=98, label="c", steer=1, labelled_at=1.0))
    text = web.get(PAGE).text
    assert_sound(text)
    assert "1 exemplar is of c" in text
    assert '<button class="quiet" name="choose" value="c">Also look for c</button>' in text
    answer = web.post("/projects/1/looked-for", data={"token": token(web, PAGE), "choose": "c", "back": "exemplars"})
    assert answer.headers["location"] == PAGE
    assert stores.projects.get(1).page_options == {"rare_classes": ["b", "c"]}


def test_what_only_label_studio_can_settle_leads_there(web, stores, filled):
    asked = {"kind": "tagged both ways", "name": None, "tasks": [98], "evidence": "1 case is tagged both ways."}
    stores.rounds.publish(filled, RoundReport.from_json(REPORT | {"questions": [asked]}), 30)
    text = web.get(PAGE).text
    assert "This is settled in Label Studio" in text
    assert 'data?task=99" rel="noreferrer">Change the tag in Label Studio</a>' in text
    stores.page_tags.set(1, [8], 1, by="ada")
    assert web.get(PAGE).text.count("Change the tag in Label Studio") == 1


def test_it_is_shown_to_users_alone(tmp_path):
    settings = load_settings(model_dir=tmp_path, label_studio_api_key="k", basic_auth_user="ada", basic_auth_pass="p")
    with TestClient(make_app(settings, Wakes()), headers=BROWSER) as anybody:
        for path in (f"{PAGE}/99", f"{PAGE}/outside/1", "/projects/1/picture", "/projects/1/field"):
            assert anybody.get(path).status_code == 401
            assert anybody.post(path).status_code == 401
