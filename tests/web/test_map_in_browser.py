"""The map in a real browser: coloured, circled, tagged, looked at, and told without it."""

import re

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

from clinical_backend.web.app import make_app
from tests.chromium import needs_chromium
from tests.drawn_map import draw_by_hand
from tests.web.noting_runner import Wakes
from tests.web.opened_pages import chromium, opened_pages
from tests.web.pages.test_routes import configuration, filled, rich, save_image, stores, workspace
from tests.web.test_security import running

__all__ = ["chromium", "configuration", "filled", "rich", "stores", "workspace"]  # fixtures

pytestmark = needs_chromium
WHITE = [255, 255, 255, 255]


@pytest.fixture
def served(configuration, workspace, rich):
    draw_by_hand(workspace.project(1))
    for task in range(1, 101):
        save_image(configuration, f"{task}.png", (24, 24))
    with running(make_app(configuration, Wakes())) as (host, port):
        yield f"http://{host}:{port}/projects/1"


@pytest.fixture
def look(chromium, served):
    with opened_pages(chromium, served) as open_page:

        def open_drawn(path, *, script=True, **how):
            page = open_page(path, script=script, **how)
            if script and path == "/map":
                expect(page.locator("#map[data-ready]")).to_be_visible()
            return page

        yield open_drawn


def place_of(page, task):
    """Return where a task stands on the screen: the map shows rows of ten, 92 % of the height or width at most."""
    box = page.locator("#map-canvas").bounding_box()
    scale = 0.92 * min(box["width"], box["height"]) / 9
    across, down = (task - 1) % 10 - 4.5, (task - 1) // 10 - 4.5
    return box["x"] + box["width"] / 2 + across * scale, box["y"] + box["height"] / 2 + down * scale


def colour_of(page, task):
    """Return the colour of the pixel where a task stands."""
    box = page.locator("#map-canvas").bounding_box()
    x, y = place_of(page, task)
    page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    return page.evaluate(
        "([x, y]) => [...document.getElementById('map-canvas').getContext('2d').getImageData(x, y, 1, 1).data]",
        [round(x - box["x"]), round(y - box["y"])],
    )


def circle(page, first, last):
    """Drag around the tasks of a rectangle."""
    (left, top), (right, bottom) = place_of(page, first), place_of(page, last)
    page.keyboard.down("Shift")
    page.mouse.move(left - 12, top - 12)
    page.mouse.down()
    for x, y in ((right + 12, top - 12), (right + 12, bottom + 12), (left - 12, bottom + 12)):
        page.mouse.move(x, y, steps=4)
    page.mouse.up()
    page.keyboard.up("Shift")


def test_points_are_coloured_circled_tagged_and_looked_at(look, stores):
    page = look("/map")
    legend = page.locator("#map-legend")
    expect(legend.get_by_role("button")).to_have_text([re.compile("no label"), re.compile("b"), re.compile("a")])
    rare, common, none = (colour_of(page, task) for task in (99, 2, 60))
    assert len({tuple(colour) for colour in (rare, common, none)}) == 3
    legend.get_by_role("button", name="b 4").click()  # what is hidden is drawn no more
    assert colour_of(page, 99) == WHITE
    page.get_by_label("Coloured by").select_option("score")
    expect(legend.get_by_role("button", name="0.9 and more")).to_be_visible()
    assert colour_of(page, 99) not in (rare, WHITE)

    circle(page, 11, 12 + 10)
    expect(page.get_by_role("heading", name="4 tasks selected")).to_be_visible()
    cards = page.locator("#map-cases [data-case]")
    expect(cards).to_have_count(4)
    assert [card.get_attribute("data-case") for card in cards.all()] == ["22", "21", "12", "11"]
    page.get_by_role("button", name="Tick all shown").click()
    page.get_by_role("button", name="Ticked: more like this").click()
    expect(page.get_by_role("status").filter(has_text="4 tasks are tagged")).to_be_visible()
    expect(cards.first).to_contain_text("more like this")
    assert {task: tag.steer for task, tag in stores.page_tags.open(1).items()} == dict.fromkeys((11, 12, 21, 22), 1)

    stores.page_tags.set(1, [11, 12], -1, by="ada")
    page.get_by_role("button", name="Tick all shown").click()
    page.get_by_role("button", name="Take tags away").click()
    told = page.get_by_role("status").filter(has_text="meanwhile tasks 11, 12 are tagged “not like this” by ada")
    expect(told).to_be_visible()
    assert len(stores.page_tags.open(1)) == 4
    page.get_by_role("button", name="Take tags away").click()
    expect(page.get_by_role("status").filter(has_text="4 tasks are tagged no more")).to_be_visible()
    assert stores.page_tags.open(1) == {}

    with page.expect_download() as download:
        page.get_by_role("button", name="Download as CSV").click()
    lines = download.value.path().read_text().splitlines()[1:]
    assert [int(line.split(",")[0]) for line in lines] == [11, 12, 21, 22]

    page.mouse.move(*place_of(page, 60))
    expect(page.locator("#map-tip")).to_contain_text("Task 60")
    page.mouse.click(*place_of(page, 60))
    box = page.locator("#lightbox")
    expect(box.get_by_role("heading", name="Task 60").first).to_be_visible()
    box.get_by_role("button", name="Not like this").click()
    expect(box.get_by_role("status")).to_contain_text("Task 60 is tagged “not like this”")
    assert stores.page_tags.open(1)[60].steer == -1
    page.keyboard.press("Escape")
    expect(page.locator("#map-canvas")).to_be_focused()


def test_by_keyboard_alone_points_are_found_and_labels_sent_to_a_second_reader(look, stores):
    page = look("/map")
    canvas = page.locator("#map-canvas")
    canvas.focus()
    before = colour_of(page, 99)
    page.keyboard.press("ArrowLeft")
    assert colour_of(page, 99) != before
    page.keyboard.press("0")
    assert colour_of(page, 99) == before
    page.get_by_role("button", name="Select what is in view").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="100 tasks selected")).to_be_visible()
    expect(page.locator("#map-part")).to_contain_text("1 of 3")
    page.get_by_role("button", name="Next ones").click()
    page.get_by_role("button", name="Next ones").click()
    expect(page.locator('[data-case="1"]')).to_be_visible()
    page.get_by_role("checkbox", name="tick task 1", exact=True).check()
    page.get_by_role("button", name="Ticked: have the label read again").click()
    expect(page.get_by_role("status").filter(has_text="1 task is put")).to_be_visible()
    assert stores.second_readings.all(1)[1].by_lead
    canvas.focus()
    page.keyboard.press("Escape")
    expect(page.locator("#map-selection")).to_be_hidden()


def test_a_selection_that_is_given_up_while_its_labels_are_sent_is_not_asked_for_again(look):
    page = look("/map")
    held = []

    def hold(route):
        held.append(route)

    page.route("**/exemplars/tags", hold)
    page.get_by_role("button", name="Select what is in view").click()
    page.get_by_role("checkbox", name="tick task 99", exact=True).check()
    page.get_by_role("button", name="Ticked: more like this").click()
    expect(page.get_by_role("status").filter(has_text="is tagged")).to_be_visible()
    page.locator("#map-canvas").press("Escape")
    expect(page.locator("#map-selection")).to_be_hidden()
    with page.expect_response("**/exemplars/tags"):
        held[0].continue_()
    page.wait_for_load_state("networkidle")
    expect(page.locator("#map-selection")).to_be_hidden()


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_the_map_and_its_tables_fit_and_are_accessible(look, width, scheme):
    for path in ("/map", "/map/table"):
        page = look(path, width=width, scheme=scheme)
        if path == "/map":
            page.get_by_role("button", name="Select what is in view").click()
            expect(page.locator("#map-cases [data-case]")).to_have_count(48)
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), path
        found = Axe().run(page)
        assert found.violations_count == 0, found.generate_report()


def test_without_a_script_the_tables_do_the_same(look, stores):
    page = look("/map", script=False)
    page.get_by_role("link", name="The same as tables").last.click()
    page.get_by_role("link", name="Neighbourhood 1", exact=True).click()
    card = page.locator("[data-case]").filter(has_text="Neither labelled nor queued").first
    task = int(card.get_attribute("data-case"))
    card.get_by_role("checkbox").check()
    page.get_by_role("button", name="Ticked: more like this").click()
    expect(page.get_by_role("status")).to_contain_text(f"Task {task} is tagged")
    assert list(stores.page_tags.open(1)) == [task]
    expect(page).to_have_url(re.compile(r"/map/table\?near=1$"))
