"""Tasks of several images on the pages: the one that decides, and the strip of all of them."""

import io

import pytest
from PIL import Image

from clinical_backend.origins import Draw
from clinical_backend.storage.report import RoundReport
from clinical_backend.storage.schema import QueuedTask
from clinical_backend.study import StudyImage, address_of_images
from tests.small_workspace import picture
from tests.web.pages.test_routes import CONFIG, configuration, start_round, stores, wakes, web, workspace

__all__ = ["configuration", "stores", "wakes", "web", "workspace"]


@pytest.fixture
def shown(stores):
    """Return task 1 with the first, the middle and the last of nine images; the second of them is dark."""
    stores.projects.register(1)
    stores.projects.change(1, label_config=CONFIG, title="Series")
    images = tuple(StudyImage(position, 9, "slices", picture(red, 1)) for position, red in ((0, 250), (4, 9), (8, 200)))
    stores.images.synchronise(1, {1: address_of_images(images), 2: picture(7)}, complete=True)
    stores.studies.synchronise(1, {1: images, 2: ()}, complete=True)
    row = start_round(stores, 1)
    entries = [
        QueuedTask(round_id=row.id, rank=0, task_id=1, draw=Draw.TARGET, image=4, images=9, view="slices"),
        QueuedTask(round_id=row.id, rank=1, task_id=2, draw=Draw.AUDIT),
    ]
    stores.rounds.keep_queue(entries)
    stores.rounds.publish(row, RoundReport(), 2)
    return images


def red_of(answer):
    assert answer.headers["content-type"] == "image/webp", answer.text
    return Image.open(io.BytesIO(answer.content)).convert("RGB").getpixel((0, 0))[0]


def test_the_queue_shows_the_image_that_decides_and_a_strip_of_all(web, shown):
    text = web.get("/projects/1/queue").text
    assert "Image 5 of 9 (slices) decides." in text
    assert text.count('src="/projects/1/images/1.webp?at=4"') == 2
    for position in (0, 4, 8):
        assert f'src="/projects/1/images/1.webp?at={position}" alt="Image {position + 1} of 9, slices' in text
    assert text.count('class="strip"') == 1
    assert "/projects/1/images/2.webp?at" not in text


def test_each_image_of_a_task_has_a_preview(web, shown):
    assert abs(red_of(web.get("/projects/1/images/1.webp?at=4")) - 9) < 12
    assert abs(red_of(web.get("/projects/1/images/1.webp?at=8")) - 200) < 12
    assert abs(red_of(web.get("/projects/1/images/1.webp")) - 250) < 12
    assert web.get("/projects/1/images/1.webp?at=3").status_code == 404
    assert web.get("/projects/1/images/2.webp?at=1").status_code == 404
    assert abs(red_of(web.get("/projects/1/images/2.webp?at=0")) - 7) < 12
