"""Pages that lie open for a day beside other people's, in a real browser."""

import re

import pytest
from playwright.sync_api import expect

from clinical_backend.web.app import make_app
from tests.chromium import needs_chromium
from tests.web.noting_runner import Wakes
from tests.web.opened_pages import chromium, look
from tests.web.pages.test_routes import configuration, filled, rich, stores, workspace
from tests.web.test_security import running

__all__ = ["chromium", "configuration", "filled", "look", "rich", "stores", "workspace"]  # fixtures

pytestmark = needs_chromium

SIZE = "document.querySelectorAll('*').length"
AGAIN = """() => document.querySelectorAll('[data-fragment]').forEach((part) => {
    replace(part, part.innerHTML + '<i></i>');
    part.querySelector(':scope > i').remove();
})"""
DAY = 24 * 3600


@pytest.fixture
def served(configuration, rich):
    app = make_app(configuration, Wakes())
    with running(app) as (host, port):
        yield f"http://{host}:{port}/projects/1"


def test_two_people_at_a_case_and_at_the_settings_are_told_of_each_other(look, stores):
    first, second = look("/queue"), look("/queue")
    case = '[data-case="7"]'
    first.locator(case).get_by_role("button", name="More like this").click()
    expect(first.get_by_role("status").filter(has_text="tagged “more like this”")).to_be_visible()
    second.locator(case).get_by_role("button", name="Not like this").click()
    expect(second.get_by_text("meanwhile task 7 is tagged “more like this”")).to_be_visible()
    more = second.locator(case).get_by_role("button", name="More like this")
    expect(more).to_have_attribute("aria-pressed", "true")
    second.locator(case).get_by_role("button", name="Not like this").click()
    expect(second.locator(case).get_by_role("button", name="Not like this")).to_have_attribute("aria-pressed", "true")
    assert {task: tag.steer for task, tag in stores.page_tags.open(1).items()} == {7: -1}


def test_a_form_that_lay_open_for_a_day_is_still_sent(look, stores):
    page = look("/settings")
    page.get_by_label("Queue size").fill("25")
    field = page.locator("form.settings input[name=token]")
    asked = []
    page.on("request", lambda request: asked.append(request.url) if request.url.endswith("/token") else None)
    field.evaluate("field => { field.value = 'too old'; }")
    page.evaluate(f"const now = Date.now; Date.now = () => now() + 1000 * {DAY};")
    with page.expect_response(re.compile("/token$")):
        page.evaluate("window.dispatchEvent(new Event('focus'))")
    expect(field).not_to_have_value("too old")
    page.evaluate("window.dispatchEvent(new Event('focus'))")
    assert len(asked) == 1
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("status")).to_contain_text("Saved.")
    assert stores.projects.get(1).page_options["queue_size"] == 25


@pytest.mark.slow
def test_a_page_that_is_asked_for_again_all_day_does_not_grow(look):
    page = look("")
    expect(page.locator("#connection")).not_to_contain_text("is being asked")
    session = page.context.new_cdp_session(page)

    def counted(times):
        """Return what the browser keeps after parts were asked for again so often."""
        for _ in range(times):
            page.evaluate(AGAIN)
        for _ in range(3):  # what is found to be garbage may hold other garbage
            session.send("HeapProfiler.collectGarbage")
        return page.evaluate(SIZE), session.send("Memory.getDOMCounters")

    counted(5)
    first, then = counted(5), counted(60)
    assert then[0] == first[0]
    assert then[1]["nodes"] <= 1.02 * first[1]["nodes"]  # a leak of one node a time would be 20 %
    assert then[1]["jsEventListeners"] == first[1]["jsEventListeners"]


def test_what_is_asked_for_once_is_asked_for_again_when_the_server_is_back(look):
    page = look("/queue")
    page.evaluate(
        """() => {
            const part = document.createElement("div");
            part.dataset.fragment = "/projects/1/fragments/now";
            part.dataset.load = "";
            part.id = "watched";
            document.body.append(part);
            const later = window.setTimeout, real = window.fetch;
            window.setTimeout = (run, _) => later(run, 50);
            let down = 2;
            window.fetch = (...given) => (down-- > 0 ? Promise.reject(new Error("away")) : real(...given));
            follow(part);
        }"""
    )
    expect(page.locator("#watched")).to_contain_text("queue of round 1")
    expect(page.locator("#watched .offline")).to_have_count(0)
