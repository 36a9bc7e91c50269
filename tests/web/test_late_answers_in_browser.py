"""Answers that come late, out of order, to what is gone, or not at all, in a real browser."""

import re

import pytest
from playwright.sync_api import expect

from clinical_backend.settings import load_settings
from clinical_backend.web.app import make_app
from tests.chromium import needs_chromium
from tests.drawn_map import draw_by_hand
from tests.web.noting_runner import Wakes
from tests.web.opened_pages import chromium, look
from tests.web.pages.test_routes import configuration, filled, rich, stores, workspace
from tests.web.test_map_in_browser import place_of
from tests.web.test_security import running
from tests.web.test_workbench import DEEP, card, served

__all__ = ["chromium", "configuration", "filled", "look", "rich", "served", "stores", "workspace"]  # fixtures

pytestmark = needs_chromium

CARDS = """(tasks) => {
    document.getElementById("found").innerHTML = tasks.map((task) => `<p data-case="${task}"><a class="look"
        href="/projects/1/images/${task}.webp?large=true">${task}</a></p>`).join("");
}"""


@pytest.fixture
def drawn(workspace, served):
    draw_by_hand(workspace.project(1))


def hold(page, address):
    """Keep the calls of an address from the server, in a list."""
    held = []
    page.route(address, lambda route: held.append(route))  # noqa: PLW0108 - the browser's driver marks what it calls
    return held


def test_of_two_windows_the_one_that_is_wanted_last_is_shown_whichever_comes_last(look):
    page = look("/queue")
    asked = []
    page.on("request", lambda request: asked.append(request.url) if "width=100" in request.url else None)
    held = hold(page, "**/window.webp?*width=100*")
    card(page, DEEP).locator("a.look").first.click()
    picture, width = page.locator("#lightbox-stage img"), page.get_by_label("Window")
    with page.expect_request("**/window.webp?*width=100*"):
        width.fill("100")
    width.fill("50")
    expect(picture).to_have_attribute("src", re.compile("width=50"))
    with page.expect_response("**/window.webp?*width=100*"):
        held[0].continue_()
    page.evaluate("() => fetch('/health')")  # by then its image would be asked for
    assert len(asked) == 1
    expect(picture).to_have_attribute("src", re.compile("width=50"))


def test_a_close_look_goes_on_from_a_case_that_the_page_replaced_or_took_away(look):
    page = look("")
    page.evaluate(CARDS, [7, 8, 9, 10])
    title, after = page.locator("#lightbox-title"), page.get_by_role("button", name="Next case")
    page.get_by_role("link", name="8", exact=True).click()
    page.evaluate(CARDS, [7, 8, 9, 10])  # as a refresh does
    after.click()
    expect(title).to_have_text("Task 9")
    page.evaluate(CARDS, [7, 8, 10])
    after.click()
    expect(title).to_have_text("Task 10")
    page.evaluate(CARDS, [7, 8])
    page.keyboard.press("Escape")
    expect(page.get_by_role("link", name="8", exact=True)).to_be_focused()


def test_a_refresh_keeps_the_focus_and_what_is_folded_and_replaces_nothing_that_is_the_same(look):
    page = look("")
    page.evaluate(
        """() => {
            window.fold = (name, more = "") => `<details${more}><summary>${name}</summary><p>words</p></details>`;
            window.part = document.getElementById("target");
            const field = (token) => `<input type="hidden" name="token" value="${token}">`;
            window.form = (token) => `<form>${field(token)}<button>Yes</button></form>`;
            replace(part, form("first") + fold("Notes (1)"));
            part.querySelector("details").open = true;
            part.querySelector("button").focus();
            window.button = part.querySelector("button");
        }"""
    )
    page.evaluate("replace(part, form('second') + fold('Notes (1)', ' open'))")
    assert page.evaluate("button.isConnected")
    page.evaluate("replace(part, fold('Put right (1)') + fold('Labels', ' open') + form('third') + fold('Notes (2)'))")
    assert page.evaluate("[...part.querySelectorAll('details')].map((one) => one.open)") == [False, True, True]
    assert page.evaluate("document.activeElement.textContent") == "Yes"
    page.evaluate("replace(part, fold('Notes (2)'))")
    assert page.evaluate("document.activeElement.id") == "target"


def test_of_tags_that_are_pressed_at_once_each_is_told(look, stores):
    page = look("/queue")
    page.evaluate(
        """() => {
            window.told = [];
            const note = () => {
                const text = document.querySelector("#content > .told")?.textContent;
                if (text && text !== told.at(-1)) told.push(text);
            };
            new MutationObserver(note).observe(document.getElementById("content"), { childList: true, subtree: true });
            [7, 8, 9].forEach((task) => document.querySelector(`[data-case="${task}"] [data-tag=more]`).click());
        }"""
    )
    expect(page.locator("[data-place] [aria-pressed=true]")).to_have_count(3)
    expect(page.locator("[data-place] button[aria-disabled]")).to_have_count(0)
    said = [f"Task {task} is tagged “more like this”. The round that is due follows it." for task in (7, 8, 9)]
    assert page.evaluate("told") == said
    assert set(stores.page_tags.open(1)) == {7, 8, 9}


def test_what_is_told_on_the_page_goes_though_a_close_look_tells_something_meanwhile(look):
    page = look("/queue")
    page.clock.install()
    page.evaluate("tell('on the page')")
    card(page, 7).locator("a.look").first.click()
    page.evaluate("tell('in the close look')")
    page.clock.run_for(11_000)
    expect(page.locator(".told")).to_have_count(0)


def test_a_form_whose_page_does_not_follow_can_be_sent_again(look):
    page = look("")
    page.clock.install()
    page.evaluate("window.addEventListener('submit', (event) => event.preventDefault())")  # as who stops the wait
    button = page.get_by_role("button", name="Start a round")
    button.click()
    expect(button).to_have_attribute("aria-disabled", "true")
    page.clock.run_for(31_000)
    expect(button).not_to_have_attribute("aria-disabled", "true")


def test_an_image_that_is_dropped_beside_its_form_leaves_the_page_alone(look):
    page = look("/exemplars")
    left_alone = page.evaluate(
        """() => ["dragover", "drop"].map((type) => {
            const dataTransfer = new DataTransfer();
            dataTransfer.items.add(new File(["x"], "x.png"));
            return !document.body.dispatchEvent(new DragEvent(type, { bubbles: true, cancelable: true, dataTransfer }));
        })"""
    )
    assert left_alone == [True, True]


def test_a_case_of_the_map_that_comes_late_opens_over_nothing_else(look, drawn):
    page = look("/map")
    expect(page.locator("#map[data-ready]")).to_be_visible()
    hold(page, "**/map/cases?task=60&alone=true")
    page.mouse.click(*place_of(page, 60))
    page.mouse.click(*place_of(page, 8))
    expect(page.locator("#lightbox-title")).to_have_text("Task 8")
    page.keyboard.press("Escape")
    held = hold(page, "**/map/cases?task=7&alone=true")
    page.mouse.click(*place_of(page, 7))
    page.get_by_role("button", name="Select what is in view").click()
    page.locator("#map-cases a.look").first.click()
    title = page.locator("#lightbox-title").text_content()
    with page.expect_response("**/map/cases?task=7&alone=true"):
        held[0].continue_()
    expect(page.locator("#map-one [data-case]")).to_have_attribute("data-case", "7")
    expect(page.locator("#lightbox-title")).to_have_text(title)


def test_a_list_of_the_map_knows_of_a_tag_that_the_close_look_set(look, drawn, stores):
    page = look("/map")
    expect(page.locator("#map[data-ready]")).to_be_visible()
    page.get_by_role("button", name="Select what is in view").click()
    expect(card(page, 99)).to_be_visible()
    tick = page.get_by_role("checkbox", name=re.compile("tick task 9\\d")).first
    tick.check()
    stores.images.synchronise(1, {task: f"/data/local-files/?d={task}.png" for task in range(1, 100)}, complete=True)
    page.locator("#map-canvas").scroll_into_view_if_needed()
    page.mouse.click(*place_of(page, 60))
    page.locator("#lightbox").get_by_role("button", name="More like this").click()
    expect(page.locator("#lightbox [role=status]")).to_contain_text("Task 60 is tagged")
    page.keyboard.press("Escape")
    expect(tick).to_be_checked()
    page.mouse.click(*place_of(page, 100))
    expect(page.get_by_text("Task 100 is no longer there.")).to_be_visible()
    page.locator("#map-canvas").press("Escape")
    expect(page.locator("#map-cases [data-case]")).to_have_count(0)


def test_a_password_that_counts_no_more_is_said_and_not_asked_for_each_few_seconds(chromium, configuration, rich):
    settings = load_settings(**configuration.model_dump() | {"basic_auth_user": "ada", "basic_auth_pass": "before"})
    known = {"username": "ada", "password": "before"}
    with (
        running(make_app(settings, Wakes())) as (host, port),
        chromium.new_context(http_credentials=known) as context,
    ):
        now, queue = context.new_page(), context.new_page()
        asked = []
        context.on("request", lambda request: asked.append(request.url))
        for page, path in ((now, ""), (queue, "/queue")):
            page.clock.install()
            page.goto(f"http://{host}:{port}/projects/1{path}", wait_until="load")
        context.set_extra_http_headers({"Authorization": "Basic bm9uZTpub25l"})
        for page in (now, queue):
            page.clock.run_for(25_000)
            expect(page.locator(".offline").first).to_contain_text("asks for another user or password")
        card(queue, 7).get_by_role("button", name="More like this").click()
        expect(queue.locator(".told")).to_contain_text("Load the page again to enter them.")
        expect(queue.locator("button[aria-disabled]")).to_have_count(0)
        asked.clear()
        for page in (now, queue):
            page.clock.run_for(120_000)
        assert asked == []


def test_a_backend_that_is_gone_is_said_wherever_it_is_asked(chromium, configuration, rich):
    with running(make_app(configuration, Wakes())) as (host, port):
        page = chromium.new_page()
        page.goto(f"http://{host}:{port}/projects/1/queue", wait_until="load")
    card(page, 7).get_by_role("button", name="More like this").click()
    expect(page.locator(".told")).to_have_text(
        "The backend does not answer. Load the page again to see whether the tag was set."
    )
    expect(page.locator("#queue-told")).to_contain_text("The backend does not answer. What stands here may be out of")
    card(page, 7).locator("a.look").first.click()
    expect(page.locator("#lightbox .told")).to_contain_text("The image cannot be had")
    page.close()
