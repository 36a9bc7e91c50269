"""Tasks of several images in a real Label Studio: shown by valueList, queued, predicted and answered."""

import base64
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from clinical_backend.lab.demo.dataset import drawn_cells
from clinical_backend.lab.demo.run import DemoProject
from clinical_backend.labelstudio.labeling.layout import with_exemplar_control
from tests.end_to_end.conftest import Loop, wait_until

pytestmark = pytest.mark.timeout(1800)  # as other rounds on busy cores

IMAGES = 4
CONFIG = with_exemplar_control(
    '<View><Image name="image" valueList="$images"/><Choices name="diagnosis" toName="image" choice="single">'
    '<Choice value="rare"/><Choice value="common"/></Choices></View>'
)


def address(pixels):
    """Return an image as a data: URL."""
    stream = BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return f"data:image/png;base64,{base64.b64encode(stream.getvalue()).decode()}"


@pytest.fixture
def series(client, backend):
    """Return a project of forty tasks of four drawn cells each; six show a rare one, one an image that is none."""
    cells = drawn_cells(40 * IMAGES, 6, seed=3)
    rare = [address(pixels) for pixels, label in zip(cells.images, cells.labels, strict=True) if label == 0]
    common = [address(pixels) for pixels, label in zip(cells.images, cells.labels, strict=True) if label != 0]
    generator = np.random.default_rng(0)
    tasks = []
    for number in range(40):
        images = [common.pop() for _ in range(IMAGES - (number < 6))]
        if number < 6:
            images.insert(int(generator.integers(IMAGES)), rare.pop())
        tasks.append({"data": {"images": images}})
    tasks[-1]["data"]["images"][1] = "data:image/png;base64,AAAA"
    project = client.create_project("series of cells", CONFIG)
    ids = client.import_tasks(project.id, tasks)
    truth = {task: "rare" if number < 6 else "common" for number, task in enumerate(ids)}
    return Loop(client, backend, DemoProject(client.project(project.id), truth, "rare"))


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
