"""How many clicks a lead's usual tasks take, in a real browser; docs/dashboard.md states the same numbers."""

import re
from pathlib import Path

import pytest
from playwright.sync_api import expect

from clinical_backend.origins import Origin
from clinical_backend.storage.schema import ReadingState, SuspectedLabel, TaskLabel
from clinical_backend.web.app import make_app
from tests.chromium import needs_chromium
from tests.web.noting_runner import Wakes
from tests.web.opened_pages import chromium, opened_pages
from tests.web.pages.test_model import judged
from tests.web.pages.test_routes import configuration, filled, stores, workspace
from tests.web.test_security import running

__all__ = ["chromium", "configuration", "filled", "judged", "stores", "workspace"]  # fixtures

pytestmark = needs_chromium

STATED = dict(
    re.findall(r"^\| ([^|]+) \| [^|]+ \| (\d+) \|$", Path("docs/dashboard.md").read_text("utf-8"), re.MULTILINE)
)
"""By task, the clicks that the table of the docs states."""
MOST = 5
COUNT = "addEventListener('click', (event) => { if (event.isTrusted) window.countClick(); }, true)"


@pytest.fixture
def clicks(chromium, configuration, judged, stores):
    """Yield a page of the project, *Now*, and the clicks that were made there."""
    addresses = {task: f"/data/local-files/?d={task}.png" for task in range(1, 101)}
    sites = dict.fromkeys((1, 2), "north") | dict.fromkeys((3, 4), "south")
    stores.images.synchronise(1, addresses, complete=True, sites=sites)
    doubted = range(31, 43)
    labels = dict(enumerate("abba", start=1)) | dict.fromkeys(doubted, "a")
    origin = {"origin": Origin.QUEUE, "round_number": 1, "labelled_at": 1.0}
    stores.labels.replace(
        1, [TaskLabel(project_id=1, task_id=task, label=name, **origin) for task, name in labels.items()]
    )
    doubts = [SuspectedLabel(project_id=1, task_id=task, label="a", suspicion=1 - task / 1000) for task in doubted]
    stores.labels.suspect(1, doubts)
    made = []
    with (
        running(make_app(configuration, Wakes())) as (host, port),
        opened_pages(chromium, f"http://{host}:{port}/projects/1") as open_page,
    ):
        page = open_page("")
        page.context.expose_function("countClick", lambda: made.append(page.url))
        page.context.add_init_script(COUNT)
        yield page, made


def open_tab(page, name):
    page.get_by_role("navigation", name="Project").get_by_role("link", name=name, exact=True).click()


def find_the_reason(page, _):
    open_tab(page, "Queue")
    expect(page.locator("[data-place]").nth(2)).to_contain_text("Most like task 99")


def tag_three(page, stores):
    open_tab(page, "Queue")
    for place in range(3):
        page.locator("[data-place]").nth(place).get_by_role("button", name="More like this").click()
    expect(page.locator("[data-place] [aria-pressed=true]")).to_have_count(3)
    assert [tag.steer for tag in stores.page_tags.open(1).values()] == [1, 1, 1]


def send_the_doubtful(page, stores):
    open_tab(page, "Second look")
    page.get_by_role("button", name="Have the 10 most doubtful read again").click()
    expect(page.get_by_role("status")).to_be_visible()
    asked = [one.task_id for one in stores.second_readings.all(1).values() if one.state is ReadingState.ASKED]
    assert asked == list(range(31, 41))


def compare_sites(page, _):
    open_tab(page, "Model")
    expect(page.get_by_role("heading", name=re.compile("Does a site do worse"))).to_be_visible()
    expect(page.get_by_role("row", name=re.compile("north"))).to_be_visible()


def print_the_state(page, _):
    expect(page.locator("#connection")).not_to_contain_text("is being asked")
    assert len(re.findall(rb"/Type\s*/Page\b", page.pdf(format="A4"))) == 1


TASKS = {
    "Find why the third task is in the queue": find_the_reason,
    "Tag three cases of the queue as exemplars": tag_three,
    "Send the ten most doubtful common labels to a second reader": send_the_doubtful,
    "See whether a site does worse": compare_sites,
    "Print the state for a meeting": print_the_state,
}


def test_the_usual_tasks_take_as_many_clicks_as_is_said(clicks, stores):
    page, made = clicks
    start, taken = page.url, {}
    for name, do in TASKS.items():
        page.goto(start, wait_until="load")
        made.clear()
        do(page, stores)
        taken[name] = len(made)
    assert taken == {name: int(STATED[name]) for name in TASKS}
    assert max(taken.values()) <= MOST
