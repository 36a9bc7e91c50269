"""Tags that are set on pages."""

from urllib.parse import urlencode

import pytest
from fastapi.testclient import TestClient

from clinical_backend.settings import load_settings
from clinical_backend.storage.trail import TrailAction
from clinical_backend.web.app import make_app
from tests.web.noting_runner import Wakes
from tests.web.pages.test_routes import (
    BROWSER,
    assert_sound,
    configuration,
    filled,
    stores,
    token,
    wakes,
    web,
    workspace,
)

__all__ = ["configuration", "filled", "stores", "wakes", "web", "workspace"]  # fixtures


def tag(web, back="/projects/1/queue", **fields):
    """Send the form, and return the page that it leads to."""
    answer = web.post("/projects/1/tags", data={"token": token(web), "back": back, **fields})
    assert answer.status_code == 303
    return web.get(answer.headers["location"]).text


def tags(stores):
    return {task: one.steer for task, one in stores.page_tags.open(1).items()}


def test_a_tag_makes_a_round_due_and_is_shown_with_who_and_when(web, stores, wakes, filled):
    stores.projects.change(1, request=None)
    text = tag(web, task="7", tag="more")
    assert "Task 7 is tagged “more like this”" in text
    assert text.count('value="none" aria-pressed="true"') == 1
    assert stores.projects.get(1).request == "an exemplar was tagged on the project's page"
    assert wakes.projects == [1]
    text = web.get("/projects/1/exemplars").text
    assert_sound(text)
    assert '<b class="rare">2</b> exemplars steer the queue' in text
    assert "tagged on this page by page, and nobody has answered it yet" in text
    assert tags(stores) == {7: 1}


def test_a_tag_is_changed_and_taken_away(web, stores, filled):
    tag(web, task="7", tag="more")
    assert "tagged “not like this”" in tag(web, task="7", tag="less")
    assert tags(stores) == {7: -1}
    text = tag(web, back="", task="7", tag="none")
    assert "Task 7 is tagged no more" in text
    assert "<h1>Exemplars</h1>" in text
    assert tags(stores) == {}
    assert "no tag to take away" in tag(web, task="7", tag="none")


def test_two_people_who_tag_a_case_otherwise_are_told_of_each_other(web, stores, filled):
    assert "Task 7 is tagged “more like this”" in tag(web, task="7", tag="more", shown="0")
    stores.projects.change(1, request=None)
    for wanted, shown in (("less", "0"), ("none", "-1")):
        text = tag(web, task="7", tag=wanted, shown=shown)
        assert "Nothing was changed: meanwhile task 7 is tagged “more like this” by page." in text
        assert text.count('name="shown" value="1"') == 1
    assert tags(stores) == {7: 1}
    assert stores.projects.get(1).request is None
    assert "Nothing was changed. It is tagged so already" in tag(web, task="7", tag="more", shown="0")
    assert "tagged “not like this”" in tag(web, task="7", tag="less", shown="1")
    tag(web, task="7", tag="none", shown="-1")
    assert "meanwhile task 7 is tagged no more" in tag(web, task="7", tag="more", shown="-1")
    assert tags(stores) == {}


def test_ticked_cases_that_others_tagged_otherwise_meanwhile_are_all_told_and_none_is_changed(web, stores, filled):
    tag(web, task=["7", "8"], tag="more")
    tag(web, task="9", tag="less")
    stores.projects.change(1, request=None)
    ticked = {"task": ["7", "8", "9", "11", "12"], "shown": ["7:0", "8:0", "9:1", "11:0", "12:-1", "13:1"]}
    text = tag(web, tag="less", **ticked)
    assert "meanwhile tasks 7, 8 are tagged “more like this” by page; task 12 is tagged no more." in text
    assert tags(stores) == {7: 1, 8: 1, 9: -1}
    assert stores.projects.get(1).request is None
    now = web.get("/projects/1/exemplars/tags").json()
    assert now == {"7": 1, "8": 1, "9": -1}
    ticked["shown"] = [f"{task}:{now.get(task, 0)}" for task in ticked["task"]]
    assert "4 tasks are tagged" in tag(web, tag="less", **ticked)
    assert tags(stores) == dict.fromkeys((7, 8, 9, 11, 12), -1)


def test_of_many_cases_that_others_tagged_meanwhile_some_are_named_and_what_to_do_is_told(web, stores, filled):
    stores.page_tags.set(1, range(7, 31), 1, by="ада" * 1000)
    ticked = [str(task) for task in range(7, 31)]
    text = tag(web, tag="less", task=ticked, shown=[f"{task}:0" for task in ticked])
    assert "meanwhile tasks 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, and 14 more are tagged “more like this” by ада" in text
    assert "Press again if you want something else" in text


@pytest.mark.parametrize("unknown", [{}, {"tag": ""}, {"tag": "neither"}])
def test_what_is_no_tag_takes_none_away(web, stores, filled, unknown):
    tag(web, task="7", tag="more")
    assert "Nothing was changed" in tag(web, task="7", **unknown)
    assert tags(stores) == {7: 1}


def test_several_are_tagged_at_once_and_answered_ones_are_not(web, stores, filled):
    assert "2 tasks are tagged" in tag(web, task=["7", "8", "99", "1", "x", "7777"], tag="more")
    assert tags(stores) == {7: 1, 8: 1}
    stores.projects.change(1, request=None)
    assert "tag answered cases in Label Studio" in tag(web, task="99", tag="less")
    assert "No case is ticked" in tag(web, tag="more")
    assert stores.projects.get(1).request is None


@pytest.mark.parametrize(
    "back",
    [
        "https://evil.example",
        "//evil.example/queue",
        "/projects/1/queue/../../../evil",
        "/projects/2/queue",
        "/projects/1/queue\r\nX: y",
        "/projects/1/queue?x=//evil",
        "/projects/1/settings",
    ],
)
def test_a_form_leads_to_our_own_pages_alone(web, filled, back):
    answer = web.post("/projects/1/tags", data={"token": token(web), "back": back, "task": "7", "tag": "more"})
    assert answer.headers["location"] == "/projects/1/exemplars"


def test_a_form_leads_back_to_whatever_our_own_filters_say(web, filled):
    query = urlencode({"said": "a~b & <ü>", "site": "St. Mary's*", "page": 2})
    answer = web.post(
        "/projects/1/tags",
        data={"token": token(web), "back": f"/projects/1/queue?{query}", "task": "7", "tag": "more"},
    )
    assert answer.headers["location"] == f"/projects/1/queue?{query}"


def test_leads_who_share_a_password_are_told_apart_by_the_names_that_they_enter(tmp_path):
    settings = load_settings(
        model_dir=tmp_path,
        label_studio_api_key="k",
        basic_auth_user="label-studio",
        basic_auth_pass="p",
        basic_auth_names=("ada", "bén"),
    )
    with TestClient(make_app(settings, Wakes()), headers=BROWSER, follow_redirects=False) as web:
        stores = web.app.state.backend._stores
        stores.projects.register(1)
        stores.images.synchronise(1, {task: f"/{task}.png" for task in (7, 8, 9)}, complete=True)
        for name, task in (("ada", "7"), ("bén", "8"), ("label-studio", "9")):
            web.auth = (name, "p")
            tag(web, back="/projects/1/exemplars", task=task, tag="more")
        for wrong in (("ada", "q"), ("eve", "p"), ("", "p"), ("ada, bén", "p")):
            web.auth = wrong
            assert web.get("/projects/1").status_code == 401
        named = {task: row.tagged_by for task, row in stores.page_tags.open(1).items()}
        assert named == {7: "ada", 8: "bén", 9: "label-studio"}
        told = {(one.action, one.who) for one in stores.trail.some(1, 0, 100)}
        assert told >= {(TrailAction.CASES_TAGGED, name) for name in named.values()}
        assert told >= {(TrailAction.LOOKED, name) for name in named.values()}


def test_the_user_whose_password_was_asked_for_is_named(tmp_path):
    settings = load_settings(model_dir=tmp_path, label_studio_api_key="k", basic_auth_user="a<b", basic_auth_pass="p")
    with TestClient(make_app(settings, Wakes()), headers=BROWSER, follow_redirects=False) as web:
        assert web.post("/projects/1/tags").status_code == 401
        web.auth = ("a<b", "p")
        stores = web.app.state.backend._stores
        stores.projects.register(1)
        stores.images.synchronise(1, {7: "/7.png"}, complete=True)
        assert "by a&lt;b" in tag(web, back="/projects/1/exemplars", task="7", tag="more")
        assert stores.page_tags.open(1)[7].tagged_by == "a<b"
