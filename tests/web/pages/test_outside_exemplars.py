"""Cases from outside on the page of exemplars."""

import re
from io import BytesIO

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image
from sqlalchemy import update

from clinical_backend.settings import load_settings
from clinical_backend.storage.schema import QueuedTask, TaskLabel
from clinical_backend.web.app import make_app
from clinical_backend.workspace.workspace import open_workspace
from tests.small_workspace import picture
from tests.web.noting_runner import Wakes
from tests.web.pages.test_routes import (
    BROWSER,
    assert_sound,
    configuration,
    filled,
    stores,
    token,
    wakes,
    web,
    workspace,
)
from tests.web.test_backend_api import CONFIG

__all__ = ["configuration", "filled", "stores", "wakes", "web", "workspace"]  # fixtures

PAGE = "/projects/1/exemplars"


def image(colour="red", size=(20, 10)):
    stream = BytesIO()
    Image.new("RGB", size, colour).save(stream, "PNG")
    return stream.getvalue()


def give(web, *files, given=None, headers=None, **fields):
    """Send the form with files of these contents."""
    data = {"token": token(web, PAGE) if given is None else given, "finding": "b", "pixels": "1"} | fields
    uploads = [("files", (f"case{number}.png", content)) for number, content in enumerate(files)]
    return web.post(f"{PAGE}/outside", data=data, files=uploads or [("files", ("", b""))], headers=headers)


def added(web, *files, **fields):
    answer = give(web, *files, **fields)
    assert (answer.status_code, answer.headers["location"]) == (303, PAGE), answer.text
    return web.get(PAGE).text


def test_an_image_is_added_shown_and_removed(web, stores, filled, wakes):
    page = added(web, image(), note="Atlas of <b>cells</b>")
    assert_sound(page)
    assert "1 exemplar added; a round is due." in page
    assert "Atlas of &lt;b&gt;cells&lt;/b&gt;" in page
    assert f'src="{PAGE}/outside/1.png"' in page
    assert (stores.projects.get(1).request, 1 in wakes.projects) == ("exemplars from outside were added", True)
    (kept,) = stores.outside_exemplars.all(1)
    assert (kept.finding, kept.name, kept.added_by) == ("b", "case0.png", "page")
    shown = web.get(f"{PAGE}/outside/1.png")
    assert (shown.headers["content-type"], shown.headers["x-content-type-options"]) == ("image/png", "nosniff")
    assert Image.open(BytesIO(shown.content)).getpixel((64, 64)) == (255, 0, 0)
    sent = web.post(f"{PAGE}/outside/remove", data={"token": token(web, PAGE), "number": "1"})
    assert "Exemplar 1 from outside is removed" in web.get(sent.headers["location"]).text
    assert stores.outside_exemplars.all(1) == []


def test_it_does_not_count_among_the_tagged_ones(web, filled):
    before = re.search(r'class="lead">.*?</p>', web.get(PAGE).text, re.DOTALL)[0]
    assert before in added(web, image())


def test_the_page_offers_the_classes_and_a_form_that_works_without_its_script(web, filled):
    page = web.get(PAGE).text
    assert re.search(r'<option value="b">b</option>', page)
    assert 'enctype="multipart/form-data"' in page
    assert re.search(r'<script src="/static/drop.js\?v=\w+" defer></script>', page)
    assert web.get("/static/drop.js").status_code == 200


def test_before_the_classes_are_known_nothing_can_be_added(web, stores, filled):
    stores.projects.change(1, label_config=None)
    assert "once the first round has read the classes" in web.get(PAGE).text
    assert "Connect the project first" in added(web, image(), given=token(web, "/projects/1"))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"no image", "The file is not an image"),
        (b"", "The image is empty"),
        (image(size=(9000, 9000)), "more than 64 million pixels"),
        (image()[:45], "damaged"),
    ],
)
def test_what_is_no_image_is_refused_with_its_reason_beside_others_that_are_taken(web, stores, filled, content, reason):
    page = added(web, content, image())
    assert "1 exemplar added" in page
    assert "1 not taken: case0.png" in page
    assert reason in page
    assert len(stores.outside_exemplars.all(1)) == 1


def test_of_many_refusals_some_are_told(web, stores, filled):
    page = added(web, *[b"no image %d" % number for number in range(16)])
    assert "16 not taken" not in page
    assert "And 13 more." in page
    assert stores.projects.get(1).request is None


def test_too_many_files_are_refused_in_words(web, stores, filled):
    answer = give(web, *[image()] * 300)
    assert answer.status_code == 413
    assert "16 images of 64 MiB together at most" in answer.text
    assert "clinical exemplar add" in answer.text
    assert stores.outside_exemplars.all(1) == []


def test_an_upload_of_100_mb_is_refused_before_it_is_read(web, stores, filled):
    headers = {"Content-Length": str(100 * 2**20), "Content-Type": "multipart/form-data; boundary=x"}

    def nothing():
        yield b""

    answer = web.post(f"{PAGE}/outside", content=nothing(), headers=headers)
    assert answer.status_code == 413
    assert "Give fewer at a time" in answer.text


def test_a_form_that_is_no_multipart_is_refused(web, filled):
    headers = {"Content-Type": "multipart/form-data"}
    assert web.post(f"{PAGE}/outside", content=b"x", headers=headers).status_code == 413
    assert web.post(f"{PAGE}/outside", content=b"x").status_code == 403


def test_while_other_images_are_read_a_form_is_put_off(web, stores, filled):
    with web.app.state.site.adding:
        assert "Other images are being read" in added(web, image())
    assert stores.outside_exemplars.all(1) == []


def test_a_class_that_is_not_there_and_an_empty_form_change_nothing(web, stores, filled):
    assert "the project has no class &#39;&lt;c&gt;&#39;" in added(web, image(), finding="<c>")
    assert "No image was given." in added(web)
    assert stores.outside_exemplars.all(1) == []


def test_cases_of_another_project_are_taken(web, stores, filled):
    stores.projects.register(2)
    stores.images.synchronise(2, {7: picture(200)}, complete=True)
    stores.labels.replace(2, [TaskLabel(project_id=2, task_id=7, label="b", steer=1, labelled_at=1.0)])
    assert '<option value="2">Project 2</option>' in web.get(PAGE).text
    assert "1 exemplar added" in added(web, other="2")
    assert stores.outside_exemplars.all(1)[0].name == "task 7 of project 2"
    assert "is not connected" in added(web, other="77")


def test_without_its_pixels_it_has_a_placeholder(web, stores, filled):
    added(web, image(), pixels="")
    assert not stores.outside_exemplars.all(1)[0].keeps_pixels
    with stores.database.write() as session:
        session.execute(update(QueuedTask).values(nearest_exemplar=-1))
    stores.outside_exemplars.keep_feature(1, "network", np.ones(4, dtype=np.float32))
    shown = web.get(f"{PAGE}/outside/1.png")
    assert (shown.status_code, shown.headers["content-type"]) == (200, "image/svg+xml")
    queue = web.get("/projects/1/queue").text
    assert f'src="{PAGE}/outside/1.png"' in queue
    assert "Most like exemplar 1 from outside" in queue


ACTIONS = ["", "/remove"]


@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "", "Origin": "https://evil.example"},
    ],
)
def test_a_form_of_another_site_is_refused_even_with_the_right_token(web, stores, filled, action, headers):
    fields = {"token": token(web, PAGE), "finding": "b", "number": "1"}
    files = [("files", ("a.png", image()))] if not action else None
    assert web.post(f"{PAGE}/outside{action}", data=fields, files=files, headers=headers).status_code == 403
    assert (stores.projects.get(1).request, stores.outside_exemplars.all(1)) == (None, [])


@pytest.mark.parametrize("given", ["", "x", "1.2.3", "1795746724.eA==.0"])
@pytest.mark.parametrize("action", ACTIONS)
def test_a_form_without_our_token_is_refused(web, stores, filled, action, given):
    fields = {"token": given, "finding": "b", "number": "1"}
    files = [("files", ("a.png", image()))] if not action else None
    answer = web.post(f"{PAGE}/outside{action}", data=fields, files=files)
    assert answer.status_code == 403
    assert "Load the page again" in answer.text
    assert stores.outside_exemplars.all(1) == []


def test_a_user_is_asked_for_and_named(tmp_path):
    settings = load_settings(model_dir=tmp_path, label_studio_api_key="k", basic_auth_user="ada", basic_auth_pass="p")
    workspace = open_workspace(settings)
    workspace.stores.projects.register(1)
    workspace.stores.projects.change(1, label_config=CONFIG)
    with TestClient(make_app(settings, Wakes()), headers=BROWSER, follow_redirects=False) as web:
        for path in ("", "/remove", "/1.png"):
            assert web.post(f"{PAGE}/outside{path}").status_code == 401
            assert web.get(f"{PAGE}/outside{path}").status_code == 401
        web.auth = ("ada", "p")
        assert "1 exemplar added" in added(web, image())
        assert workspace.stores.outside_exemplars.all(1)[0].added_by == "ada"
    workspace.close()


@pytest.mark.parametrize("path", ["/projects/7/exemplars/outside/1.png", "/projects/1/exemplars/outside/x.png"])
def test_what_is_not_there_shows_nothing(web, filled, path):
    answer = web.get(path)
    assert "not kept" in answer.text or answer.status_code == 404


def test_other_projects_are_offered_by_number_and_title(web, stores, filled):
    stores.projects.register(2)
    stores.projects.register(5)
    stores.projects.change(5, title="Chest <b>2024</b>")
    page = web.get("/projects/1/exemplars").text
    assert_sound(page)
    assert '<option value="2">Project 2</option>' in page
    assert '<option value="5">Project 5: Chest &lt;b&gt;2024&lt;/b&gt;</option>' in page
    assert '<option value="1">' not in page
