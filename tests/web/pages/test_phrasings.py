"""The page on which the lead looks for findings by words."""

import html
import re

import pytest

from clinical_backend.service import phrasings
from tests.web.pages.test_routes import assert_sound, configuration, filled, stores, token, wakes, web, workspace

__all__ = ["configuration", "filled", "stores", "wakes", "web", "workspace"]  # fixtures

PAGE = "/projects/1/words"


@pytest.fixture
def towers(monkeypatch):
    """Let the default backbone pass for one with a text tower."""
    monkeypatch.setattr(phrasings, "require_text_tower", lambda spec: None)


def give(web, given=None, **fields):
    data = {"token": token(web, PAGE) if given is None else given, "finding": "b"} | fields
    return web.post(PAGE, data=data)


def given(web, **fields):
    answer = give(web, **fields)
    assert (answer.status_code, answer.headers["location"]) == (303, PAGE), answer.text
    return web.get(PAGE).text


def test_words_are_given_one_phrasing_a_line_shown_and_taken_away(web, stores, filled, wakes, towers):
    page = given(web, phrasings="a <b>big</b> cell\r\na cell that is big\r\n\r\n", contrasts="a normal cell")
    assert_sound(page)
    assert "b is looked for by these words. A round is due." in page
    assert "a &lt;b&gt;big&lt;/b&gt; cell\na cell that is big</textarea>" in page
    (kept,) = stores.phrasings.all(1)
    assert (kept.phrasings, kept.contrasts) == (("a <b>big</b> cell", "a cell that is big"), ("a normal cell",))
    assert (kept.changed_by, stores.projects.get(1).request) == ("page", "words for a finding were changed")
    assert 1 in wakes.projects
    assert "b is no longer looked for by words" in given(web, remove="1", phrasings="x")
    assert stores.phrasings.all(1) == []


def test_phrasings_are_suggested_for_each_class_and_those_that_are_kept_come_first(web, stores, filled, towers):
    page = web.get(PAGE).text
    assert_sound(page)
    assert re.search(r">b\na medical image of b\n", page)
    stores.phrasings.keep(1, "a", ["an a"], [], by="ada")
    assert re.findall(r'name="finding" value="(.)"', web.get(PAGE).text)[0] == "a"


def test_without_a_text_tower_the_page_says_what_to_set_and_offers_no_form(web, filled, stores):
    page = web.get(PAGE).text
    assert_sound(page)
    assert "has no text tower" in page
    assert "Set BACKBONE to" in page
    assert "<textarea" not in page
    stores.phrasings.keep(1, "b", ["a b"], [], by="ada")  # of an earlier backbone: they can be taken away
    assert 'name="remove"' in web.get(PAGE).text


def test_the_first_page_leads_there_and_names_what_is_looked_for_by_words(web, filled, stores):
    assert f'<a class="act" href="{PAGE}">Look for a finding by words</a>' in web.get("/projects/1").text
    stores.phrasings.keep(1, "b", ["a b"], [], by="ada")
    assert re.search(r'Looked for by words: <b class="rare">b</b>', web.get("/projects/1/fragments/target").text)


@pytest.mark.parametrize(
    ("phrasings", "contrasts", "said"),
    [
        (" ", "", "Write what is looked for"),
        ("x" * 10_000, "<i>", "Shorten it"),
        ("\r\n".join(map(str, range(1000))), "", "there are 1000"),
        ("a <b>\r\nb", "c\r\nA  <B>", "is looked for as well"),
    ],
)
def test_what_is_refused_is_shown_again_with_its_reason(web, filled, stores, towers, phrasings, contrasts, said):
    answer = give(web, phrasings=phrasings, contrasts=contrasts)
    assert answer.status_code == 422
    assert_sound(answer.text)
    assert said in answer.text
    first, second = re.findall(r"<textarea[^>]*>([^<]*)</textarea>", answer.text)[:2]
    assert [html.unescape(text) for text in (first, second)] == [
        "\n".join(text.split("\r\n")) for text in (phrasings, contrasts)
    ]
    assert stores.phrasings.all(1) == []


def test_words_for_no_class_are_refused(web, filled, stores, towers):
    answer = give(web, phrasings="x", finding="<i>")
    assert (answer.status_code, "has no class" in answer.text) == (422, True)
    assert_sound(answer.text)
    assert "Nothing was changed" in given(web, remove="1")
    assert stores.phrasings.all(1) == []


def test_words_for_what_is_not_looked_for_are_said_to_wait(web, filled, stores, towers):
    stores.projects.change(1, page_options={"rare_classes": ["a"]})
    page = given(web, phrasings="a b")
    assert "b has these words. They wait: a is looked for by name. Choose it, too." in page
    assert_sound(page)


def test_words_for_a_class_that_is_gone_can_be_taken_away(web, filled, stores, towers):
    stores.phrasings.keep(1, "<gone>", ["it"], [], by="ada")
    page = web.get(PAGE).text
    assert_sound(page)
    assert "There are words for &lt;gone&gt;, which the labeling config does not have" in page
    assert "<gone> is no longer" not in given(web, finding="<gone>", remove="1")
    assert stores.phrasings.all(1) == []


def test_a_form_from_elsewhere_changes_nothing(web, filled, stores, towers):
    assert give(web, given="wrong", phrasings="x").status_code == 403
    assert stores.phrasings.all(1) == []
