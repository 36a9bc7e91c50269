"""What a reader sees ticked in the label stream, and what the answer takes along, in a real browser."""

from __future__ import annotations

from collections import Counter

import pytest

from clinical_backend.lab.servers.simulated_reader import SimulatedReader
from clinical_backend.origins import Draw
from clinical_backend.strategy.reasons import reason_for_reader
from clinical_backend.versions import on_demand_version
from tests.chromium import chromium_browser, needs_chromium, sign_in
from tests.end_to_end.conftest import CREDENTIALS, Loop, wait_until

pytestmark = [pytest.mark.slow, *needs_chromium]
PATIENCE = 120_000.0
"""How long a page may take on a busy machine, in milliseconds."""
SETTINGS = {
    "QUEUE_SIZE": 20,
    "AUDIT_SHARE": 0.5,
    "START_TRAINING_EACH_N_UPDATES": 1000,
    "RECONCILE_SECONDS": 600,
    "ADAPTATION": "off",
}


@pytest.fixture(scope="module")
def browser(label_studio):
    """A browser that the administrator is logged in with."""
    with chromium_browser() as chromium:
        page = chromium.new_page(viewport={"width": 1400, "height": 1200})
        page.set_default_timeout(PATIENCE)
        sign_in(page, label_studio)
        yield page


@pytest.fixture(scope="module")
def backend(client, label_studio, make_backend):
    with make_backend(label_studio.url, label_studio.account.token, **SETTINGS, **CREDENTIALS) as server:
        yield server


@pytest.fixture
def loop(client, backend, make_cells):
    made = Loop(client, backend, make_cells(60, 12))
    made.tag(3)
    common = [task for task, name in made.demo.truth.items() if name != made.demo.rare][:6]
    for task in common:
        SimulatedReader(client).annotate(task, {"diagnosis": [made.demo.truth[task]]})
    yield made
    made.stores.database.close()


def served(loop):
    """Return the queue as the backend keeps it, and what Label Studio holds for it, by task."""
    row = loop.stores.rounds.published(loop.id)
    held = loop.client.session.request("GET", "api/predictions/", params={"project": loop.id})
    ours = {item["task"]: item for item in held if item["model_version"] == row.version}
    return loop.stores.rounds.queue(row.id), ours


def open_stream(browser, loop):
    browser.goto(f"{loop.client.url}/projects/{loop.id}/data?labeling=1")
    browser.get_by_role("button", name="Submit").first.wait_for()
    browser.locator("input[name]").first.wait_for(state="attached")


def ticked(browser):
    return [
        box.get_attribute("name")
        for box in browser.locator("input[type=checkbox]:checked, input[type=radio]:checked").all()
    ]


def quick_view(browser, loop, task):
    browser.goto(f"{loop.client.url}/projects/{loop.id}/data?task={task}")
    browser.locator(".lsf-annotation-button").first.wait_for()


def tabs(browser):
    return browser.locator(".lsf-annotation-button").all_inner_texts()


def retrieve(loop, *tasks):
    """Press *Retrieve predictions*, and return how many there are; on a busy machine Label Studio may give up."""
    loop.client.session.request(
        "POST",
        "api/dm/actions/",
        params={"id": "retrieve_tasks_predictions", "project": loop.id},
        json={"selectedItems": {"all": False, "included": list(tasks)}, "project": loop.id},
    )
    return loop.client.model_versions(loop.id).get(on_demand_version(loop.status()["published_version"]), 0)


def submit(browser):
    with browser.expect_response(lambda reply: "/annotations" in reply.url and reply.request.method == "POST"):
        browser.get_by_role("button", name="Submit").first.click()


def test_a_random_draw_comes_with_nothing_ticked_where_all_others_do(loop, browser):
    loop.connect(preannotate="all")
    queue, held = served(loop)
    assert Counter(item.draw is Draw.AUDIT for item in queue) == {True: 10, False: 10}
    for item in queue:
        assert bool(held[item.task_id]["result"]) == (item.draw is not Draw.AUDIT)
    seen = {}
    for item in queue[:4]:
        open_stream(browser, loop)
        choices = [name for name in ticked(browser) if name]
        seen.setdefault(item.draw is Draw.AUDIT, []).append(choices)
        assert choices == ([] if item.draw is Draw.AUDIT else [item.predicted])
        SimulatedReader(loop.client).annotate(item.task_id, {"diagnosis": [loop.demo.truth[item.task_id]]})
    assert set(seen) == {True, False}


def test_no_place_in_the_queue_and_no_answer_on_demand_reads_as_a_confidence(loop, browser):
    loop.connect()
    queue, held = served(loop)
    assert [item["result"] for item in held.values()] == [[]] * 20
    queued = queue[12].task_id
    quick_view(browser, loop, queued)
    browser.locator(".lsf-annotation-button", has_text="clinical").first.wait_for()
    (entry,) = [text for text in tabs(browser) if "clinical" in text]
    assert entry.startswith("clinical...-queue")
    assert "0.00%" in entry
    assert not [name for name in ticked(browser) if name]
    outside = next(task for task in loop.demo.truth if task not in held and task not in loop.stores.labels.all(loop.id))
    quick_view(browser, loop, outside)
    assert not [text for text in tabs(browser) if "clinical" in text]
    wait_until(lambda: retrieve(loop, queued, outside) == 2, "predictions retrieved")
    for task in (queued, outside):
        quick_view(browser, loop, task)
        asked = browser.locator(".lsf-annotation-button", has_text="clinical...demand")
        asked.wait_for()
        assert "%" not in asked.inner_text()
    reader, order = SimulatedReader(loop.client), []
    for _ in range(15):  # with fewer than a quarter left, the next round is due
        task = reader.next(loop.id)
        assert all(not prediction.result for prediction in task.predictions)
        order.append(task.id)
        reader.annotate(task, {"diagnosis": [loop.demo.truth[task.id]]})
    assert order == [item.task_id for item in queue][:15]


@pytest.mark.parametrize("hidden", [True, False])
def test_the_reason_is_read_and_not_exported(loop, browser, hidden):
    config = loop.client.project(loop.id).label_config
    attribute = 'visibleWhen="choice-unselected"' if hidden else ""
    text = f'<TextArea name="reason" toName="image" {attribute} editable="false" maxSubmissions="1"/></View>'
    loop.client.update_project(loop.id, label_config=config.rpartition("</View>")[0] + text)
    loop.connect()
    (first, *_), _held = served(loop)
    open_stream(browser, loop)
    assert browser.get_by_text(reason_for_reader(first)).count() == hidden
    browser.locator(f'input[name="{loop.demo.truth[first.task_id]}"]').first.check(force=True)
    submit(browser)
    (answer,) = loop.client.session.request("GET", f"api/tasks/{first.task_id}/annotations/")
    assert [region["from_name"] for region in answer["result"]] == ["diagnosis"]
    exported = loop.client.session.request("GET", f"api/projects/{loop.id}/export", params={"exportType": "JSON"})
    answers = [task["annotations"] for task in exported if task["id"] == first.task_id]
    assert "reason" not in str([region for one in answers[0] for region in one["result"]])
