"""Images as they are looked into: whole, and through a window."""

from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from tests.web.pages.test_routes import configuration, filled, save_image, stores, wakes, web, workspace

__all__ = ["configuration", "filled", "stores", "wakes", "web", "workspace"]  # fixtures


def size(answer):
    assert answer.headers["content-type"] == "image/webp", answer.text
    with Image.open(BytesIO(answer.content)) as image:
        return image.size


def test_an_image_is_small_large_or_whole(web, configuration, filled):
    save_image(configuration, "3.png", (2000, 1000))
    assert size(web.get("/projects/1/images/3.webp")) == (256, 128)
    assert size(web.get("/projects/1/images/3.webp?large=true")) == (1024, 512)
    assert size(web.get("/projects/1/images/3.webp?whole=true")) == (2000, 1000)


def test_16_bits_are_shown_through_a_window_and_8_are_left_to_the_browser(web, configuration, filled):
    values = np.full((40, 40), 1000, dtype=np.uint16)
    values[:, 20:] = 1128
    values[0], values[1] = 0, 65535
    Image.fromarray(values).save(configuration.local_files_document_root / "4.png")
    save_image(configuration, "5.png")
    answer = web.get("/projects/1/images/4/window.webp?centre=4&width=1")
    assert size(answer) == (40, 40)
    assert answer.headers["cache-control"].startswith("private")
    with Image.open(BytesIO(answer.content)) as image:
        left, right = (int(np.asarray(image.convert("L"))[30, at]) for at in (5, 35))
    assert right - left == pytest.approx(128, abs=12)
    assert web.get("/projects/1/images/5/window.webp?centre=4&width=1").status_code == 204
    assert not [*(configuration.model_dir).glob("previews/*")]


@pytest.mark.parametrize("query", ["", "?centre=1", "?centre=x&width=1", "?centre=1&width=0", "?centre=1&width=99999"])
def test_a_window_that_is_none_is_no_page(web, filled, query):
    assert web.get(f"/projects/1/images/3/window.webp{query}").status_code == 404


def test_a_window_on_what_is_not_there_says_so(web, stores, filled):
    stores.projects.register(2)
    for path in ("2/images/3", "1/images/101"):
        assert web.get(f"/projects/{path}/window.webp?centre=1&width=1").status_code == 404
    answer = web.get("/projects/1/images/3/window.webp?centre=1&width=1")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "image/svg+xml")


def test_sliders_on_an_image_that_just_failed_do_not_ask_for_it_again(web, configuration, filled):
    assert web.get("/projects/1/images/3/window.webp?centre=1&width=1").headers["content-type"] == "image/svg+xml"
    Image.fromarray(np.zeros((8, 8), dtype=np.uint16)).save(configuration.local_files_document_root / "3.png")
    assert web.get("/projects/1/images/3/window.webp?centre=2&width=1").headers["content-type"] == "image/svg+xml"
