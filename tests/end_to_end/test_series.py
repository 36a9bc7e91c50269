"""Tasks of several images in a real Label Studio: shown by valueList, queued, paged through, predicted and answered."""

import base64
from io import BytesIO

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import expect

from clinical_backend.lab.demo.dataset import drawn_cells
from clinical_backend.lab.demo.run import DemoProject
from clinical_backend.lab.servers.simulated_reader import SimulatedReader
from clinical_backend.labelstudio.labeling.layout import with_exemplar_control
from clinical_backend.learner.checkpoint import load_checkpoint
from clinical_backend.versions import on_demand_version
from tests.chromium import chromium_browser, needs_chromium, sign_in
from tests.end_to_end.conftest import Loop, wait_until

pytestmark = pytest.mark.timeout(1800)  # as other rounds on busy cores

IMAGES = 4
PATIENCE = 120_000.0
"""How long a page may take on a busy machine, in milliseconds."""
CONFIG = with_exemplar_control(
    '<View><Image name="image" valueList="$images"/><Choices name="diagnosis" toName="image" choice="single">'
    '<Choice value="rare"/><Choice value="common"/></Choices></View>'
)

EACH = CONFIG.replace('choice="single"', 'choice="single" perItem="true" required="true"')


def address(pixels):
    """Return an image as a data: URL."""
    stream = BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return f"data:image/png;base64,{base64.b64encode(stream.getvalue()).decode()}"


@pytest.fixture
def series(client, backend):
    """Return a project of forty tasks of four drawn cells each; six show a rare one, one an image that is none."""
    return made(client, backend, CONFIG)[0]


def made(client, backend, config):
    """Make such a project, and return it with the place of the rare image by task."""
    cells = drawn_cells(40 * IMAGES, 6, seed=3)
    rare = [address(pixels) for pixels, label in zip(cells.images, cells.labels, strict=True) if label == 0]
    common = [address(pixels) for pixels, label in zip(cells.images, cells.labels, strict=True) if label != 0]
    generator = np.random.default_rng(0)
    tasks, places = [], []
    for number in range(40):
        images = [common.pop() for _ in range(IMAGES - (number < 6))]
        if number < 6:
            places.append(int(generator.integers(IMAGES)))
            images.insert(places[-1], rare.pop())
        tasks.append({"data": {"images": images}})
    tasks[-1]["data"]["images"][1] = "data:image/png;base64,AAAA"
    project = client.create_project("series of cells", config)
    ids = client.import_tasks(project.id, tasks)
    truth = {task: "rare" if number < 6 else "common" for number, task in enumerate(ids)}
    loop = Loop(client, backend, DemoProject(client.project(project.id), truth, "rare"))
    return loop, dict(zip(ids, places, strict=False))


@pytest.mark.slow
def test_a_project_of_lists_is_connected_queued_and_predicted(series, client):
    series.connect()
    known = series.stores.images.all(series.id)
    assert all(image.digest for image in known.values())
    assert {len(images) for images in series.stores.studies.all(series.id).values()} == {IMAGES}
    notes = series.status()["round"]["notes"]
    assert any(note.startswith("1 image cannot be read in 1 task that shows others") for note in notes)
    tagged = series.tag(2)
    series.wait_for_round(1, exemplars=2)
    series.settle()
    published = series.stores.rounds.published(series.id)
    assert published.report.features.startswith("the image that decides in each task")
    queue = series.stores.rounds.queue(published.id)
    assert not set(tagged) & {entry.task_id for entry in queue}
    served = client.next_task(series.id)
    assert served.id == queue[0].task_id
    sought = [entry for entry in queue if entry.draw.value == "target"]
    assert {entry.images for entry in sought} == {IMAGES}
    assert all(0 <= entry.image < IMAGES for entry in sought)


@needs_chromium[0]
@needs_chromium[1]
def test_a_reader_pages_through_a_study_and_answers_image_by_image_and_the_queue_and_the_page_follow(
    client, backend, label_studio
):
    loop, places = made(client, backend, EACH)
    loop.connect()
    SimulatedReader(client).annotate(max(loop.demo.truth), {"diagnosis": ["common"]})
    loop.tag(2)
    number = loop.wait_for_round(0, exemplars=2, labels=3)
    loop.settle()
    queue = loop.queue()
    task = next(one for one in queue if one in places)
    with chromium_browser() as chromium:
        page = chromium.new_page(viewport={"width": 1400, "height": 1200})
        page.set_default_timeout(PATIENCE)
        sign_in(page, label_studio)
        page.goto(f"{label_studio.url}/projects/{loop.id}/data?task={task}")
        for place in range(IMAGES):
            expect(page.get_by_text(f"{place + 1} of {IMAGES}", exact=True)).to_be_visible(timeout=PATIENCE)
            page.locator(f'input[name="{"rare" if place == places[task] else "common"}"]').first.check(force=True)
            if place + 1 < IMAGES:
                page.locator(".lsf-pagination__btn_arrow-right").first.click()
        page.locator('input[name="more like this"]').first.check(force=True)
        with page.expect_response(lambda reply: "/annotations" in reply.url and reply.request.method == "POST"):
            page.get_by_role("button", name="Submit").first.click()
        (answer,) = client.session.request("GET", f"api/tasks/{task}/")["annotations"]
        given = {one["item_index"]: one["value"]["choices"] for one in answer["result"] if "item_index" in one}
        assert given == {place: ["rare" if place == places[task] else "common"] for place in range(IMAGES)}
        (entry,) = client.backends(loop.id)
        client.train(entry.id)
        loop.wait_for_round(number, exemplars=3, labels=4)
        loop.settle()
        assert loop.stores.labels.all(loop.id)[task].label == "rare"
        published = loop.stores.rounds.published(loop.id)
        _, known = load_checkpoint(loop.project.checkpoint_folder(published.version) / "witness")
        assert known.metrics["images"][str(task)] == places[task]
        queued = loop.stores.rounds.queue(published.id)
        assert task not in {row.task_id for row in queued}
        user, password = backend.credentials
        ours = chromium.new_context(http_credentials={"username": user, "password": password}).new_page()
        ours.set_default_timeout(PATIENCE)
        ours.goto(f"{backend.url}/projects/{loop.id}/queue")
        sought = next(row for row in queued if row.draw.value == "target")
        strip = ours.get_by_role("list", name=f"Images of task {sought.task_id}", exact=True)
        expect(strip.get_by_role("img")).to_have_count(IMAGES)
        decides = f"Image {sought.image + 1} of {IMAGES}, which decides"
        expect(strip.get_by_role("img", name=decides, exact=True)).to_be_visible()
    asked = predict_of(client, loop, task)
    assert asked[places[task]] == ["rare"]
    assert set(asked) == set(range(IMAGES))


def predict_of(client, loop, task):
    """Retrieve the predictions of a task and another one, and return what is said of each image of the first."""
    client.session.request(
        "POST",
        "api/dm/actions/",
        params={"id": "retrieve_tasks_predictions", "project": loop.id},
        json={"selectedItems": {"all": False, "included": [task, loop.queue()[0]]}, "project": loop.id},
    )
    version = on_demand_version(loop.status()["published_version"])
    held = client.session.request("GET", "api/predictions/", params={"project": loop.id})
    (ours,) = [item for item in held if item["model_version"] == version and item["task"] == task]
    return {region["item_index"]: region["value"]["choices"] for region in ours["result"]}


@pytest.mark.slow
def test_views_of_one_task_are_published_and_doctor_says_what_a_task_shows(series, client, backend):
    pairs = [{"data": {"left": images[0], "right": images[1]}} for images in _shown(client, series)]
    config = CONFIG.replace(
        '<Image name="image" valueList="$images"/>',
        '<Image name="image" value="$left"/><Image name="other" value="$right"/>',
    )
    project = client.create_project("pairs of cells", config)
    ids = client.import_tasks(project.id, pairs)
    loop = Loop(client, backend, DemoProject(client.project(project.id), dict.fromkeys(ids, "common"), "rare"))
    loop.connect()
    wait_until(loop.queue, "a queue")
    views = {image.view for images in loop.stores.studies.all(loop.id).values() for image in images}
    assert views == {"image", "other"}


def _shown(client, series):
    tasks = client.session.request("GET", "api/tasks", params={"project": series.id, "page_size": 100})["tasks"]
    return [task["data"]["images"] for task in tasks]
