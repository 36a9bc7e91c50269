"""Search by words: the form, and what comes of it."""

import re

import pytest

from clinical_backend.errors import ModelError
from clinical_backend.service.similar import Neighbour, Similar
from clinical_backend.web.pages import word_search
from tests.web.pages.test_phrasings import towers
from tests.web.pages.test_routes import assert_sound, configuration, filled, rich, stores, token, wakes, web, workspace

__all__ = ["configuration", "filled", "rich", "stores", "towers", "wakes", "web", "workspace"]  # fixtures

PAGE = "/projects/1/words/search"


def ask(web, phrasings, contrasts=""):
    return web.post(PAGE, data={"token": token(web, PAGE), "phrasings": phrasings, "contrasts": contrasts})


def test_the_most_alike_are_listed_without_a_chance_and_tagged_together(web, stores, rich, towers, monkeypatch):
    given = []

    def find(project, phrasings, contrasts, limit):
        given.append((project.id, phrasings, contrasts, limit))
        return Similar(tuple(Neighbour(task, 0.9 - task / 1000) for task in (8, 99, 50)), 100, 100, has_feature=True)

    monkeypatch.setattr(word_search, "find_by_words", find)
    answer = ask(web, "a <b>cell</b>\r\nit", "another")
    assert given == [(1, ["a <b>cell</b>", "it"], ["another"], 48)]
    assert (answer.status_code, answer.headers["cache-control"]) == (200, "no-store")
    assert_sound(answer.text)
    assert "The 3 most alike of 100 cases" in answer.text
    assert "Similarity" not in answer.text
    assert "a &lt;b&gt;cell&lt;/b&gt;\nit</textarea>" in answer.text
    assert re.findall(r'name="task" value="(\d+)"', answer.text) == ["8"]
    fields = {"token": token(web), "task": "8", "tag": "more", "back": PAGE}
    assert web.post("/projects/1/tags", data=fields).headers["location"] == PAGE
    assert stores.phrasings.all(1) == []


def test_the_form_has_a_contrast_to_begin_with_and_leads_to_what_queues_seek(web, filled, towers):
    page = web.get(PAGE).text
    assert_sound(page)
    assert ">a normal medical image</textarea>" in page
    assert '<a href="/projects/1/words">look for a finding by words</a>' in page


def test_without_a_text_tower_the_page_says_what_to_set_and_offers_no_form(web, filled):
    page = web.get(PAGE).text
    assert_sound(page)
    assert "has no text tower" in page
    assert "Set BACKBONE to" in page
    assert "<textarea" not in page


@pytest.mark.parametrize(("words", "said"), [(" ", "Write what is looked for"), ("x" * 300, "Shorten it")])
def test_words_that_are_refused_are_shown_again_with_the_reason(web, filled, towers, words, said):
    answer = ask(web, words)
    assert (answer.status_code, said in answer.text) == (422, True)
    assert f">{words}</textarea>" in answer.text


def test_what_the_tower_refuses_is_said_and_leaves_the_way_free(web, filled, towers, monkeypatch):
    def refuse(*_):
        raise ModelError("The text tower <came> to no end.", "Check its folder.")

    monkeypatch.setattr(word_search, "find_by_words", refuse)
    for _ in range(2):
        answer = ask(web, "a cell")
        assert answer.status_code == 422
        assert_sound(answer.text)
        assert "The text tower &lt;came&gt; to no end. Check its folder." in answer.text
    assert not web.app.state.site.reading.locked()


def test_a_single_case_is_no_cases(web, rich, towers, monkeypatch):
    found = Similar((Neighbour(8, 0.5),), 1, 1, has_feature=True)
    monkeypatch.setattr(word_search, "find_by_words", lambda *_: found)
    assert "The most alike of 1 case." in ask(web, "a cell").text
