"""The pages in a real browser, of a backend that is connected to a real Label Studio."""

from __future__ import annotations

import contextlib
import re
import time
from typing import TYPE_CHECKING

import httpx2
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Error as PlaywrightError
from playwright.sync_api import expect

from clinical_backend.lab.servers.simulated_reader import SimulatedReader
from clinical_backend.labelstudio.connection.connect import connect
from clinical_backend.storage.schema import RoundState
from clinical_backend.workspace.settings_preview_files import load_answer
from tests.chromium import chromium_browser, needs_chromium
from tests.end_to_end.conftest import CREDENTIALS, Loop, wait_until
from tests.web.opened_pages import note_errors
from tests.web.site_map import PAGES, PAGES_OF_CASES

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = needs_chromium
ROUND_SECONDS = 600.0
"""As long as a round may take on a busy machine."""

WIDTHS = {"wide": (1280, 900), "narrow": (390, 844)}
PATIENCE = 120_000.0
"""How long a page may take to show what is so, on a busy machine, in milliseconds."""


@pytest.fixture(scope="module")
def chromium():
    with chromium_browser() as browser:
        yield browser


@pytest.fixture(scope="module")
def served(client, label_studio, make_backend, make_cells):
    """A backend without a second project's work beside it, and a project that readers are at."""
    settings = {"QUEUE_SIZE": 20, "START_TRAINING_EACH_N_UPDATES": 50, "RECONCILE_SECONDS": 600, "ADAPTATION": "off"}
    with make_backend(label_studio.url, label_studio.account.token, **settings, **CREDENTIALS) as server:
        loop = Loop(client, server, make_cells(60, 12))
        reader = SimulatedReader(client)
        loop.tag(4)
        names = sorted(set(loop.demo.truth.values()) - {loop.demo.rare})
        common = [task for task, name in loop.demo.truth.items() if name == names[0]][:8]
        missed = [task for task, name in loop.demo.truth.items() if name == loop.demo.rare][4:6]
        for task in [*common, *missed]:
            reader.annotate(task, {"diagnosis": [names[0]]})
        connect(client, loop.id, backend_url=server.url, basic_auth=server.credentials)
        settle(loop)
        yield loop
        loop.stores.database.close()


def settle(loop):
    """Wait until no round is due or running."""

    deadline = time.monotonic() + ROUND_SECONDS
    while True:
        status = loop.status()
        if status and status["round_due"] is None and (status["round"] or {}).get("state") == "published":
            return
        assert time.monotonic() < deadline, f"not within {ROUND_SECONDS:.0f} s: all rounds done ({status})"
        time.sleep(0.5)


def run_round(loop):
    """Ask for a round as a script would, and wait for its end."""
    address = f"{loop.backend.url}/projects/{loop.id}/rounds"
    httpx2.post(address, auth=loop.backend.credentials, timeout=60.0).raise_for_status()
    settle(loop)


@pytest.fixture(scope="module")
def empty(client, served, make_project):
    """A project without tasks, connected."""
    project = make_project(0)
    connect(client, project.id, backend_url=served.backend.url, basic_auth=served.backend.credentials)
    return project.id


@pytest.fixture
def look(chromium, served):
    """Open pages of the project; at the end, no error may stand in the console."""
    contexts, errors = [], []

    def opened(path="", *, width="wide", project=None, password=CREDENTIALS["BASIC_AUTH_PASS"], scheme="light") -> Page:
        across, down = WIDTHS[width]
        context = chromium.new_context(
            viewport={"width": across, "height": down},
            color_scheme=scheme,
            http_credentials={"username": CREDENTIALS["BASIC_AUTH_USER"], "password": password},
        )
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(PATIENCE)
        note_errors(page, errors)
        page.goto(f"{served.backend.url}/projects/{project or served.id}{path}")
        return page

    opened.errors = errors
    yield opened
    for context in contexts:
        context.close()
    assert errors == [], errors


# The other pairs are opened with rich pages too.
@pytest.mark.parametrize(
    ("width", "scheme"),
    [
        ("wide", "dark"),
        pytest.param("narrow", "light", marks=pytest.mark.slow),
        pytest.param("wide", "light", marks=pytest.mark.slow),
        pytest.param("narrow", "dark", marks=pytest.mark.slow),
    ],
)
def test_every_page_fits_and_is_accessible(look, served, width, scheme):
    page = look(width=width, scheme=scheme)
    exemplar = next(task for task, name in served.demo.truth.items() if name == served.demo.rare)
    cases = [path.replace("/99", f"/{exemplar}") for path in PAGES_OF_CASES if "outside" not in path]
    for path in [*PAGES, *cases]:
        page.goto(re.sub(r"(/projects/\d+).*", r"\1", page.url) + path)
        if not path:
            expect(page.locator("#connection")).not_to_contain_text("is being asked", timeout=PATIENCE)
        if "similar" in path:
            expect(page.locator("#alike .gallery")).to_be_visible(timeout=PATIENCE)
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), path
        found = Axe().run(page)
        assert found.violations_count == 0, f"{path}: {found.generate_report()}"


def test_images_are_shown(look):
    page = look("/queue")
    for picture in page.locator("img[loading=lazy]").all()[:3]:
        expect(picture).to_have_js_property("complete", True)
        assert picture.evaluate("image => image.naturalWidth") > 32
    assert page.locator(".task").count() == 20
    assert page.get_by_text("audit draw").count() >= 1


def test_the_keyboard_alone_gets_to_the_content_and_the_button(look):
    page = look()
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    page.keyboard.press("Enter")
    for _ in range(12):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.textContent").strip() == "Start a round":
            break
    expect(page.get_by_role("button", name="Start a round")).to_be_focused()


def test_a_round_is_started_and_followed_to_its_end_without_a_reload(look, served):
    before = served.status()["round"]["number"]
    page = look()
    page.get_by_role("button", name="Start a round").click()
    expect(page.get_by_role("status")).to_contain_text("A round is due")
    page.evaluate("document.seen = []")
    page.evaluate(
        "new MutationObserver(() => document.seen.push(document.querySelector('#now').textContent))"
        ".observe(document.querySelector('#now'), {childList: true, subtree: true})"
    )
    expect(page.locator("#now")).to_contain_text(f"queue of round {before + 1}", timeout=PATIENCE)
    expect(page.locator("#now")).to_contain_text("All is well", timeout=PATIENCE)
    assert page.evaluate("document.seen.length") >= 1


def test_settings_are_refused_told_before_they_are_saved_saved_and_explained(look, served):
    settle(served)
    page = look("/settings", width="narrow")
    page.get_by_label("Queue size").fill("many")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("alert")).to_contain_text("Nothing was saved")
    expect(page.get_by_text("Enter a whole number from 1 to 5000.")).to_be_visible()
    page.get_by_label("Queue size").fill("15")
    page.get_by_label(served.demo.rare).check()
    page.get_by_text("For experts").click()
    page.get_by_label("Order of the queue").select_option("flqmi")
    page.get_by_role("button", name="Show what would change").click()
    effect = page.locator("#settings-preview")
    expect(effect).to_contain_text("of 15 places of the next queue", timeout=PATIENCE)
    expect(effect.get_by_role("row", name=re.compile("Drawn at random"))).to_contain_text("2")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert Axe().run(page).violations_count == 0
    expect(page.get_by_label("Queue size")).to_have_value("15")
    shown = load_answer(served.project.settings_preview_folder, page.url.rpartition("=")[2])
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("status")).to_contain_text("Saved")
    expect(page.get_by_label("Queue size")).to_have_value("15")
    expect(page.get_by_label("Order of the queue")).to_have_value("flqmi")
    expect(page.get_by_label("Order of the queue")).to_be_visible()
    settle(served)
    assert served.status()["round"]["acquisition"] == "flqmi"
    published = served.stores.rounds.published(served.id)
    queued = [(row.task_id, row.draw) for row in served.stores.rounds.queue(published.id)]
    assert [(one.task_id, one.draw) for one in shown.with_these] == queued
    assert (published.number, len(queued)) == (shown.number, 15)
    # 422 of the refused form is what Chromium notes as an error.
    assert [error for error in look.errors if "422" not in error] == []
    look.errors.clear()


def test_going_back_to_an_earlier_round_is_asked_once_more(look, served):
    run_round(served)
    before = served.status()["round"]["number"]
    page = look("/model")
    row = page.get_by_role("link", name=re.compile("Go back to round")).first
    number = re.search(r"\d+", row.inner_text()).group()
    row.click()
    page.get_by_role("button", name=f"Go back to round {number}").click()
    expect(page.get_by_role("status")).to_contain_text(f"queue and the model of round {number} again")
    assert served.status()["round"]["because"] == f"rollback to round {number}"
    assert served.status()["round"]["number"] == before + 1


def test_a_case_is_read_again_without_its_answer_and_both_are_shown(look, served):
    page = look("/second-look")
    assert page.locator("input[name=task]").count() >= 1
    assert page.locator("input[name=task]:checked").count() == 0
    page.get_by_role("link", name="Read them here").click()
    task = int(page.locator("input[name=task]").get_attribute("value"))
    picture = page.get_by_role("img", name="The case to be read")
    expect(picture).to_have_js_property("complete", True)
    assert picture.evaluate("image => image.naturalWidth") > 32
    label = served.stores.labels.all(served.id)[task].label
    other = next(name for name in sorted(set(served.demo.truth.values())) if name != label)
    page.get_by_role("button", name=other, exact=True).click()
    expect(page.get_by_role("status")).to_contain_text("Noted.")
    page.goto(f"{served.backend.url}/projects/{served.id}/second-look")
    page.get_by_role("link", name="answers that differ").click()
    case = page.locator(f'[data-case="{task}"]')
    expect(case).to_contain_text("still open")
    expect(case).to_contain_text(other)
    assert served.stores.labels.all(served.id)[task].label == label
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert Axe().run(page).violations_count == 0
    case.get_by_role("button", name="Was right").click()
    expect(page.get_by_role("status")).to_contain_text(f"Task {task} was right")
    expect(case).to_have_count(0)
    page.locator("select[name=show]").select_option("same")
    page.get_by_role("button", name="Show").click()
    expect(case).to_contain_text("Looked at on our own page.")


def test_a_case_is_tagged_in_the_queue_and_leaves_it_when_a_reader_answers(look, served, client):
    page = look("/queue")
    case = page.locator("[data-place]").first
    task = int(case.get_attribute("data-case"))
    case.get_by_role("button", name="More like this").click()
    expect(page.get_by_role("status").filter(has_text=f"Task {task} is tagged")).to_be_visible()
    settle(served)
    assert task in served.queue()
    page.goto(f"{served.backend.url}/projects/{served.id}/exemplars")
    tagged = page.locator(f'[data-case="{task}"]')
    expect(tagged).to_contain_text(f"tagged on this page by {CREDENTIALS['BASIC_AUTH_USER']}")
    page.goto(f"{served.backend.url}/projects/{served.id}/queue")
    expect(tagged).to_have_count(1)
    SimulatedReader(client).annotate(task, {"diagnosis": [served.demo.rare]})
    expect(tagged).to_have_count(0, timeout=PATIENCE)
    settle(served)
    page.goto(f"{served.backend.url}/projects/{served.id}/exemplars")
    expect(page.get_by_text("tagged on this page")).to_have_count(0)
    assert served.stores.labels.all(served.id)[task].label == served.demo.rare


def test_the_map_is_drawn_beside_the_rounds_for_who_opens_it(look, served):
    page = look("/map")
    if not page.locator("#map").count():  # another test opened it before
        page.get_by_role("link", name="Show it").click()
    expect(page.locator("#map[data-ready]")).to_be_visible(timeout=PATIENCE)
    expect(page.get_by_role("application", name=f"Map of {len(served.demo.truth)} tasks")).to_be_visible()
    page.get_by_role("button", name="Select what is in view").click()
    expect(page.get_by_role("heading", name=f"{len(served.demo.truth)} tasks selected")).to_be_visible()
    picture = page.locator("#map-cases img").first
    expect(picture).to_have_js_property("complete", True)
    assert picture.evaluate("image => image.naturalWidth") > 32
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert Axe().run(page).violations_count == 0


def test_the_list_of_projects_leads_to_each(look, served):
    page = look()
    page.get_by_role("link", name="Clinical", exact=True).click()
    page.get_by_role("link", name=re.compile("cells")).first.click()
    expect(page).to_have_url(f"{served.backend.url}/projects/{served.id}")


def test_a_failed_round_is_told_at_once_with_its_cure(look, served):
    settle(served)
    page = look()
    # As the process of a round does, hold the project: else the round counts as cut off.
    leases, taken = served.stores.leases, []
    wait_until(lambda: taken.append(leases.take(served.id)) or taken[-1], "the project to be free")
    row = served.stores.rounds.begin_rollback(served.id, 1)
    expect(page.locator("#now")).to_contain_text(f"Round {row.number} is running", timeout=PATIENCE)
    served.stores.rounds.fail(row.id, served.id, "The disk is full. Free some space.", state=RoundState.FAILED)
    leases.give_back(served.id, taken[-1])
    expect(page.get_by_role("alert")).to_contain_text("The disk is full. Free some space.", timeout=PATIENCE)
    expect(page.locator("#now")).to_contain_text("Readers go on with the queue")
    run_round(served)
    expect(page.locator("#now")).to_contain_text("All is well", timeout=PATIENCE)
    expect(page.get_by_role("alert")).to_have_count(0)


def test_an_empty_project_has_pages_that_say_what_comes_next(look, empty):
    page = look(project=empty, width="narrow")
    expect(page.get_by_role("heading", name="Rare cases found")).to_be_visible()
    expect(page.locator("#connection")).to_contain_text("The project has no tasks", timeout=PATIENCE)
    for path, told in [
        ("/queue", "No queue yet"),
        ("/exemplars", "Nothing is tagged yet"),
        ("/model", "Too few labels"),
        ("/second-look", "No label deserves"),
        ("/readers", "Nobody has answered yet"),
        ("/readers/cases", "No answers differ"),
        ("/settings", "Queue size"),
    ]:
        page.goto(re.sub(r"(/projects/\d+).*", r"\1", page.url) + path)
        expect(page.get_by_text(told).first).to_be_visible()
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), path


def test_a_wrong_password_shows_nothing(chromium, served):
    address = f"{served.backend.url}/projects/{served.id}"
    for credentials in (None, ("reader", "wrong")):
        answer = httpx2.get(address, auth=credentials, headers={"Accept": "text/html"}, timeout=60.0)
        assert answer.status_code == 401
        assert "User or password is wrong" in answer.text
        given = credentials and {"username": credentials[0], "password": credentials[1]}
        context = chromium.new_context(http_credentials=given)
        page = context.new_page()
        # Chromium shows that reply, or a page of its own.
        with contextlib.suppress(PlaywrightError):
            page.goto(address)
        expect(page.get_by_role("heading", name="Rare cases found")).to_have_count(0)
        context.close()


def test_a_page_of_another_site_cannot_press_the_buttons(look, served, tmp_path):
    page = look()
    asked = page.locator("input[name=token]").first.get_attribute("value")
    (tmp_path / "evil.html").write_text(
        f'<form method=post action="{served.backend.url}/projects/{served.id}/start">'
        f'<input name=token value="{asked}"><button>free cells</button></form>'
    )
    page.goto((tmp_path / "evil.html").as_uri())
    with page.expect_navigation() as navigation:
        page.get_by_role("button").click()
    assert navigation.value.status == 403
    look.errors.clear()
