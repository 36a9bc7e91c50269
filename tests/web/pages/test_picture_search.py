"""Search by picture: the form, and what comes of it."""

import re
from threading import Event

import pytest

from clinical_backend.errors import ImageError
from clinical_backend.service.similar import Neighbour, Similar
from clinical_backend.web.pages import picture_search, site
from tests.web.pages.test_outside_exemplars import image
from tests.web.pages.test_routes import assert_sound, configuration, filled, rich, stores, token, wakes, web, workspace

__all__ = ["configuration", "filled", "rich", "stores", "wakes", "web", "workspace"]  # fixtures

PAGE = "/projects/1/picture"


def give(web, *contents, name="Doe^Jane.dcm", headers=None, **fields):
    """Send the form with files of these contents."""
    files = [("files", (name, content)) for content in contents] or [("files", ("", b""))]
    return web.post(PAGE, data={"token": token(web, PAGE)} | fields, files=files, headers=headers)


def stand_in(monkeypatch, answer):
    """Let a function stand for the search, whose own tests compare pictures."""
    monkeypatch.setattr(picture_search, "find_like_picture", answer)


def test_the_most_alike_are_listed_and_tagged_together(web, stores, rich, monkeypatch):
    given = []

    def find(project, content, limit):
        given.append((project.id, content, limit))
        neighbours = tuple(Neighbour(task, 0.9 - task / 1000) for task in (8, 99, 50))
        return Similar(neighbours, 100, 100, has_feature=True)

    stand_in(monkeypatch, find)
    answer = give(web, image())
    assert given == [(1, image(), 48)]
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"
    assert_sound(answer.text)
    assert "The 3 most alike of 100 cases" in answer.text
    assert re.findall(r'name="task" value="(\d+)"', answer.text) == ["8"]
    assert "Doe" not in answer.text
    fields = {"token": token(web), "task": "8", "tag": "more", "back": PAGE}
    assert web.post("/projects/1/tags", data=fields).headers["location"] == PAGE
    assert list(stores.page_tags.open(1)) == [8]


def test_the_page_says_that_nothing_is_kept_and_works_without_its_script(web, filled):
    text = web.get(PAGE).text
    assert 'enctype="multipart/form-data"' in text
    assert "compared with the project’s cases and not kept" in text
    for page in ("/queue", "/exemplars"):
        listed = web.get(f"/projects/1{page}").text
        assert f'<a href="{PAGE}">by picture</a>' in listed
        assert '<a href="/projects/1/field">by field</a>' in listed
        assert '<a href="/projects/1/words/search">by words</a>' in listed


def test_a_project_without_an_image_that_was_read_says_so(web, filled):
    assert "No round has read an image of the project yet" in give(web, image()).text


def test_what_cannot_be_read_is_said_and_leaves_the_way_free_for_the_next_one(web, filled, monkeypatch):
    def refuse(*_):
        raise ImageError("The file is <no> image.", "Give another one.")

    stand_in(monkeypatch, refuse)
    for _ in range(2):
        answer = give(web, b"no image")
        assert answer.status_code == 422
        assert_sound(answer.text)
        assert "The file is &lt;no&gt; image. Give another one." in answer.text
    assert not web.app.state.site.adding.locked()


def test_a_form_without_a_file_says_so(web, filled):
    assert "No picture was given." in give(web).text


def test_an_upload_of_100_mb_is_refused_before_it_is_read(web, filled):
    headers = {"Content-Length": str(100 * 2**20), "Content-Type": "multipart/form-data; boundary=x"}
    answer = web.post(PAGE, content=iter([b""]), headers=headers)
    assert answer.status_code == 413
    assert "One picture of 64 MiB is taken at most" in answer.text


def test_two_files_are_refused(web, filled):
    assert give(web, image(), image()).status_code == 413


def test_one_picture_is_searched_for_at_a_time(web, filled, monkeypatch):
    monkeypatch.setattr(site, "_SEARCH_SECONDS", 0.01)
    finished = Event()

    def wait(*_):
        finished.wait(60)
        return Similar((), 0, 0, has_feature=True)

    stand_in(monkeypatch, wait)
    try:
        late = give(web, image())
        assert (late.status_code, "may still be starting" in late.text) == (503, True)
        busy = give(web, image())
        assert (busy.status_code, "images are being read" in busy.text) == (503, True)
    finally:
        finished.set()
    assert web.app.state.site.adding.acquire(timeout=60)
    web.app.state.site.adding.release()
    monkeypatch.setattr(site, "_SEARCH_SECONDS", 60)
    assert give(web, image()).status_code == 200


@pytest.mark.parametrize(
    "headers", [{"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "", "Origin": "https://x.example"}]
)
def test_a_form_of_another_site_is_refused_even_with_the_right_token(web, filled, monkeypatch, headers):
    stand_in(monkeypatch, None)
    assert give(web, image(), headers=headers).status_code == 403


def test_a_form_without_our_token_is_refused(web, filled, monkeypatch):
    stand_in(monkeypatch, None)
    assert give(web, image(), token="x").status_code == 403


def test_the_project_must_be_served(web, filled):
    assert web.get("/projects/7/picture").status_code == 404
    files = [("files", ("a.png", image()))]
    assert web.post("/projects/7/picture", data={"token": token(web)}, files=files).status_code == 404
