"""Looking closely, tagging, and what leaves the queue, in a real browser."""

import re

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from PIL import Image
from playwright.sync_api import expect

from clinical_backend.origins import Draw
from clinical_backend.storage.report import RoundReport
from clinical_backend.storage.schema import QueuedTask
from clinical_backend.web.app import make_app
from tests.chromium import needs_chromium
from tests.storage.started import start_round
from tests.web.noting_runner import Wakes
from tests.web.opened_pages import chromium, look
from tests.web.pages.test_routes import configuration, filled, rich, save_image, stores, workspace
from tests.web.test_security import running

__all__ = ["chromium", "configuration", "filled", "look", "rich", "stores", "workspace"]  # fixtures

pytestmark = needs_chromium

TASKS = (7, 8, 9, 10, 99)
DEEP = 9
"""The first tasks of the queue, of which this one has 16 bits."""


@pytest.fixture
def served(configuration, rich):
    for task in TASKS:
        save_image(configuration, f"{task}.png", (64, 48))
    deep = (np.arange(48 * 64, dtype=np.uint16) + 1000).reshape(48, 64)
    deep[0, 0] = 65535
    Image.fromarray(deep).save(configuration.local_files_document_root / f"{DEEP}.png")
    with running(make_app(configuration, Wakes())) as (host, port):
        yield f"http://{host}:{port}/projects/1"


def card(page, task):
    return page.locator(f'[data-case="{task}"]')


def shown(page):
    """Return the dialog once its image stands there."""
    box = page.locator("#lightbox")
    expect(box).to_be_visible()
    expect(page.locator("#lightbox-stage")).not_to_have_attribute("aria-busy", "true")
    return box


def transform(page):
    return page.locator("#lightbox-stage img").evaluate("image => image.style.transform")


def test_a_case_is_looked_at_by_keyboard_alone_and_the_focus_comes_back(look):
    page = look("/queue")
    card(page, 7).locator("a.look").first.focus()
    with page.expect_response(lambda answer: "/images/8.webp?large=true" in answer.url):  # before it is asked for
        page.keyboard.press("Enter")
    box = shown(page)
    expect(box.get_by_role("heading", name="Task 7").first).to_be_visible()
    expect(box).to_contain_text("Most like task 99")
    expect(box.get_by_role("link", name="Task 7", exact=True)).to_have_attribute("href", re.compile("data.task=7$"))
    assert page.locator("#lightbox-stage img").evaluate("image => image.naturalWidth") == 64
    for _ in range(20):  # more than there is to reach: the focus goes round in the dialog
        page.keyboard.press("Tab")
        assert page.evaluate(
            "document.activeElement === document.body || !!document.activeElement.closest('#lightbox')"
        )
    box.get_by_role("button", name="Close").focus()
    page.keyboard.press("ArrowRight")
    expect(box.get_by_role("heading", name="Task 8").first).to_be_visible()
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    expect(box.get_by_role("heading", name="Task 7").first).to_be_visible()
    expect(box.get_by_role("button", name="Previous case")).to_be_disabled()
    page.keyboard.press("PageDown")
    page.keyboard.press("Escape")
    expect(box).not_to_be_visible()
    assert page.evaluate("document.activeElement.closest('[data-case]').dataset.case") == "8"
    enlarge(page)


def enlarge(page):
    """Enlarge an image, move it, invert it, and put all that back."""
    card(page, 7).locator("a.look").first.click()
    box = shown(page)
    picture = page.locator("#lightbox-stage img")
    page.keyboard.press("+")
    page.keyboard.press("+")
    assert "scale(1.5625)" in transform(page)
    page.keyboard.press("ArrowLeft")
    assert re.search(r"translate\((?!0px)", transform(page))
    expect(box.get_by_role("heading", name="Task 7").first).to_be_visible()
    page.mouse.move(400, 400)
    page.mouse.wheel(0, 200)
    page.mouse.wheel(0, 200)
    expect(picture).to_have_js_property("style.transform", "translate(0px, 0px) scale(1)")
    page.keyboard.press("i")
    assert picture.evaluate("image => image.style.filter") == 'url("#lightbox-window")'
    expect(box.get_by_role("button", name="Invert")).to_have_attribute("aria-pressed", "true")
    box.get_by_role("button", name="Reset").click()
    assert picture.evaluate("image => image.style.filter") == ""


def test_the_window_of_16_bits_comes_from_the_server_and_that_of_8_from_the_browser(look):
    page = look("/queue")
    asked = []
    page.on("request", lambda request: asked.append(request.url) if "window.webp" in request.url else None)
    card(page, DEEP).locator("a.look").first.click()
    box = shown(page)
    picture = page.locator("#lightbox-stage img")
    box.get_by_label("Window").fill("24")
    box.get_by_label("Level").fill("10")
    expect(picture).to_have_attribute("src", re.compile(r"/images/9/window\.webp\?centre=10&width=24"))
    expect(picture).to_have_js_property("style.filter", "")
    page.keyboard.press("Tab")
    box.get_by_role("button", name="Next case").click()
    shown(page)
    with page.expect_response(lambda answer: "/10/window.webp" in answer.url) as told:
        box.get_by_label("Level").fill("100")
    assert told.value.status == 204
    box.get_by_label("Level").fill("90")
    page.wait_for_timeout(400)
    assert sum("/10/" in address for address in asked) == 2 - 1  # known to hold 8 bits, it is not asked for again
    assert "/10.webp" in picture.get_attribute("src")
    assert picture.evaluate("image => image.style.filter") == 'url("#lightbox-window")'


def test_the_open_dialog_fits_and_is_accessible(look):
    for width, scheme in [(1280, "light"), (390, "dark")]:
        page = look("/queue", width=width, scheme=scheme)
        card(page, 7).locator("a.look").first.click()
        box = shown(page)
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        assert page.locator("#lightbox-stage").bounding_box()["height"] > 250
        expect(box.get_by_role("button", name="More like this")).to_be_visible()
        found = Axe().run(page)
        assert found.violations_count == 0, found.generate_report()


def test_a_tag_is_set_and_taken_away_without_leaving_the_page_or_the_dialog(look, stores):
    page = look("/queue")
    page.evaluate("document.stayed = true")
    card(page, 7).get_by_role("button", name="More like this").click()
    expect(page.get_by_role("status").filter(has_text="Task 7 is tagged “more like this”")).to_be_visible()
    expect(card(page, 7).get_by_role("button", name="More like this")).to_have_attribute("aria-pressed", "true")
    assert {task: tag.steer for task, tag in stores.page_tags.open(1).items()} == {7: 1}
    card(page, 8).locator("a.look").first.click()
    box = shown(page)
    box.get_by_role("button", name="Not like this").click()
    expect(box.get_by_role("status")).to_contain_text("Task 8 is tagged “not like this”")
    expect(box.get_by_role("button", name="Not like this")).to_be_focused()
    box.get_by_role("button", name="Not like this").click()
    expect(box.get_by_role("status")).to_contain_text("Task 8 is tagged no more")
    assert list(stores.page_tags.open(1)) == [7]
    assert page.evaluate("document.stayed")


def test_a_tag_is_shown_where_a_newer_queue_has_the_case_elsewhere(look, stores):
    page = look("/queue")
    later = start_round(stores, 1)
    stores.rounds.keep_queue([QueuedTask(round_id=later.id, rank=0, task_id=60, draw=Draw.TARGET)])
    stores.rounds.publish(later, RoundReport(), 1)
    button = card(page, 7).get_by_role("button", name="More like this")
    for pressed, tagged in (("true", [7]), ("false", [])):
        button.click()
        expect(button).to_have_attribute("aria-pressed", pressed)
        assert list(stores.page_tags.open(1)) == tagged


def test_answered_cards_leave_and_a_newer_queue_is_told(look, stores, filled):
    page = look("/queue")
    stores.rounds.note_answers(filled.id, [7, 8])
    card(page, 8).locator("a.look").first.focus()
    expect(card(page, 7)).to_have_count(0)
    expect(card(page, 8)).to_contain_text("answered")
    expect(page.locator("#waiting")).to_have_text(str(stores.rounds.open_queue(filled)[1]))


def test_a_page_says_how_old_it_is_where_nothing_answers_any_more(look):
    page = look("")
    clock = page.locator("[data-seen=now]")
    expect(clock).to_have_text("as of now")
    page.evaluate("void (window.fetch = async () => { throw new Error('away'); })")
    expect(clock).to_have_text(re.compile(r"as of \d+ s ago"))


def test_now_is_printed_on_one_page_without_what_is_pressed(look):
    page = look("", scheme="dark")
    expect(page.locator("#connection")).not_to_contain_text("is being asked")
    assert len(re.findall(rb"/Type\s*/Page\b", page.pdf(format="A4"))) == 1
    page.emulate_media(media="print")
    expect(page.get_by_role("button")).to_have_count(0)
    expect(page.get_by_role("link", name="Queue")).to_have_count(0)
    expect(page.get_by_text("Rare cases found", exact=True).first).to_be_visible()
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"


def test_without_a_script_images_lead_to_themselves_and_forms_to_the_same_end(look, stores):
    page = look("/queue", script=False)
    card(page, 7).get_by_role("button", name="More like this").click()
    expect(page.get_by_role("status")).to_contain_text("Task 7 is tagged")
    assert list(stores.page_tags.open(1)) == [7]
    # Chromium's own page around a lone image has a style that our policy keeps out, which it notes as an error.
    answer = page.request.get(card(page, 7).locator("a.look").first.evaluate("link => link.href"))
    assert answer.headers["content-type"] == "image/webp"
