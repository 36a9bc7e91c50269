"""The page on which the lead sets a test set aside, and its part of the page of the model."""

import html
import re
import time

import numpy as np
import pytest

from clinical_backend.storage.stores.testsets import KeptScores, ReservedDraw, ReservedWish
from tests.web.pages.test_routes import assert_sound, configuration, filled, stores, token, wakes, web, workspace
from tests.web.test_backend_api import CONFIG

__all__ = ["configuration", "filled", "stores", "wakes", "web", "workspace"]  # fixtures

PAGE = "/projects/1/test-set"


def drawn(stores, tasks=range(41, 61), *, readings=1, twice_read=()):
    """Fill a test set in by hand, as a round would, with what the published model says."""
    draw = ReservedDraw(20, 5, "lead", time.time(), 98, 98, len(tasks), len(tasks), 2, 0, 100, None)
    stores.test_sets.ask(1, ReservedWish(20, 5, "lead", 1.0), readings=readings)
    stores.test_sets.add(1, draw, list(tasks))
    version = stores.projects.get(1).published_version
    told = np.array([[0.9, 0.1] if task % 2 else [0.2, 0.8] for task in tasks], dtype=np.float32)
    stores.test_sets.keep_scores(1, KeptScores(version, 1, 1, False, ("a", "b"), np.array(tasks), told))


def test_the_page_says_what_it_means_before_anything_is_drawn(web, stores, filled, wakes):
    page = web.get(PAGE).text
    assert_sound(page)
    assert "2 tasks are answered already" in page
    assert "GROUP_FIELD names no patient" in page
    page = web.get(PAGE, params={"size": "20", "seed": "5", "twice": "1"}).text
    assert_sound(page)
    assert "20 of 98 tasks" in page
    assert "Two readers read each" in page
    assert "This cannot be undone" in page
    assert stores.test_sets.get(1) is None
    answer = web.post(PAGE, data={"token": token(web, f"{PAGE}?size=20"), "size": "20", "seed": "5", "twice": "1"})
    assert (answer.status_code, answer.headers["location"]) == (303, PAGE)
    assert "The next round draws 20 tasks" in web.get(PAGE).text
    wish = stores.test_sets.wish(1)
    assert (wish.size, wish.seed, wish.by, stores.test_sets.get(1).readings) == (20, 5, "page", 2)
    assert stores.projects.get(1).request == "a test set is to be drawn"
    assert 1 in wakes.projects


@pytest.mark.parametrize(
    ("entered", "said"),
    [
        ({"size": "98"}, "some must be left to search"),
        ({"size": "0"}, "1 or more"),
        ({"size": "<b>many"}, "1 or more"),
        ({"size": "5", "seed": "-1"}, "Enter the seed as a number"),
    ],
)
def test_what_cannot_be_is_refused_where_it_is_entered(web, filled, entered, said):
    answer = web.get(PAGE, params=entered)
    assert answer.status_code == 422
    assert_sound(answer.text)
    assert said in answer.text
    assert "<b>many" not in answer.text


def test_a_form_of_nobodys_page_draws_nothing_and_a_second_test_set_is_refused(web, stores, filled):
    assert web.post(PAGE, data={"token": "forged", "size": "20"}).status_code == 403
    assert stores.test_sets.get(1) is None
    drawn(stores)
    assert 'name="size"' not in web.get(PAGE).text
    web.post(PAGE, data={"token": token(web, PAGE), "size": "20"})
    assert "a second one" in html.unescape(web.get(PAGE).text)
    assert len(stores.test_sets.draws(1)) == 1


def test_one_is_extended_by_what_came_since(web, stores, filled):
    drawn(stores)
    page = web.get(PAGE).text
    assert_sound(page)
    assert "0 of 20 tasks read" in page
    assert "It stands for these alone: 2 tasks could not be drawn" in page
    web.post(PAGE, data={"token": token(web, PAGE), "extend": "1"})
    assert stores.test_sets.wish(1).extend
    assert 'name="extend"' not in web.get(PAGE).text


def test_the_page_of_the_model_shows_figures_of_what_is_read(web, stores, filled):
    assert "Set a test set aside" in web.get("/projects/1/model").text
    drawn(stores, range(41, 65))
    assert "Figures are shown once" in web.get("/projects/1/model").text
    words = words_once_read(web, stores, range(43, 61))
    assert "18 of 24 tasks read" in words
    assert "The model of round 1 on 18 tasks that are read" in words
    assert re.search(r"\ba 90% \d\d% to \d+% too few to say", words)  # 9 of 10 cases of a, and 8 others
    assert "1 18 of 24 too few to say 0." in words
    assert "fewer than 10 cases" in words
    words = words_once_read(web, stores, range(43, 65))
    assert re.search(r"\ba 92% \d\d% to 100% 100% \d\d% to 100% .* 12 of 22 b rare 100% ", words)
    assert re.search(r"1 22 of 24 96% ", words)


def words_once_read(web, stores, tasks):
    said = {task: (("a" if task % 2 else "b") if task != 60 else "a", 1, None) for task in tasks}
    stores.test_sets.note_readings(1, said)
    page = web.get("/projects/1/model").text
    assert_sound(page)
    return " ".join(re.sub(r"<[^>]*>", " ", html.unescape(page)).split())


def test_a_queue_shows_none_of_its_tasks(web, stores, filled):
    assert "/images/7" in web.get("/projects/1/queue").text
    drawn(stores, range(2, 31))
    assert "/images/7" not in web.get("/projects/1/queue").text


def test_before_the_first_queue_none_of_its_tasks_are_shown_to_be_picked(web, stores):
    stores.projects.register(1)
    stores.projects.change(1, label_config=CONFIG)
    stores.images.synchronise(1, {task: f"/{task}.png" for task in range(1, 21)}, complete=True)
    stores.test_sets.ask(1, ReservedWish(5, 5, "lead", 1.0), readings=1)
    stores.test_sets.add(1, ReservedDraw(5, 5, "lead", 1.0, 20, 20, 5, 5, 0, 0, 20, None), [2, 3, 5, 8, 13])
    shown = [int(task) for task in re.findall(r'<li data-case="(\d+)"', web.get("/projects/1").text)]
    assert shown == [task for task in range(1, 21) if task not in {2, 3, 5, 8, 13}]
