"""What holds of every route, whatever it does: the password, forms of others, unknown projects, what others wrote."""

import numpy as np
import pytest
from fastapi.testclient import TestClient

from clinical_backend.settings import load_settings
from clinical_backend.storage.schema import SuspectedLabel, TaskLabel
from clinical_backend.storage.stores.outside_exemplars import NewExemplar
from clinical_backend.web.app import make_app
from clinical_backend.workspace.outside_features import as_png
from tests.web.noting_runner import Wakes
from tests.web.pages.test_routes import BROWSER, configuration, filled, rich, stores, token, wakes, web, workspace
from tests.web.site_map import ACTIONS, FOR_SCRIPTS, HEAVY, NO_PAGES, OF_A_STATE, OF_PROJECT, PAGES, VARIANTS, routes

__all__ = ["configuration", "filled", "rich", "stores", "wakes", "web", "workspace"]  # fixtures

OPEN = {("GET", "/health"), ("GET", "/")}
HOSTILE = "<img src=x onerror=alert(1)>"
OF_PROJECTS = [each for each in routes() if each.of_project is not None]


def test_what_the_map_of_routes_names_is_there():
    paths = {each.path for each in routes()}
    assert paths >= FOR_SCRIPTS
    assert {f"{OF_PROJECT}{path}" for path in NO_PAGES | OF_A_STATE | HEAVY} <= paths
    assert {path.partition("?")[0] for path in VARIANTS} <= {*PAGES}
    assert len({*PAGES}) == len(PAGES)


@pytest.fixture(scope="module")
def guarded(tmp_path_factory):
    options = {"basic_auth_user": "u", "basic_auth_pass": "p", "label_studio_api_key": "k"}
    settings = load_settings(model_dir=tmp_path_factory.mktemp("guarded"), **options)
    with TestClient(make_app(settings, Wakes()), headers=BROWSER, follow_redirects=False) as client:
        yield client


def test_nothing_but_the_sign_of_life_is_given_without_the_password(guarded):
    for route in routes():
        for given in (None, ("u", "wrong"), ("", "p")):
            answer = guarded.request(route.method, route.address, auth=given)
            is_open = (route.method, route.path) in OPEN
            assert (answer.status_code != 401) is is_open, route
            assert is_open or "www-authenticate" in answer.headers, route


@pytest.mark.parametrize("headers", [{"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "", "Origin": "null"}])
def test_nothing_is_done_for_a_page_of_another_site_even_with_the_right_token(web, stores, filled, headers):
    given = token(web)
    before = stores.trail.count(1)
    for route in routes():
        if route.method == "POST":
            assert web.post(route.address, data={"token": given}, headers=headers).status_code == 403, route
    assert stores.projects.get(1).request is None
    assert stores.trail.count(1) == before


@pytest.mark.parametrize("given", ["", "x", "1.2.3", "1795746724.eA==.0"])
def test_a_form_without_our_token_is_refused(web, stores, filled, given):
    for action in ACTIONS:
        answer = web.post(f"/projects/1/{action}", data={"token": given})
        assert answer.status_code == 403, action
        assert "Load the page again" in answer.text, action
    assert stores.projects.get(1).request is None


def test_of_a_project_that_is_not_connected_nothing_is_told_or_done(web, stores, filled):
    given = token(web)
    for route in OF_PROJECTS:
        address = route.address.replace("/projects/1", "/projects/7", 1)
        answer = web.request(route.method, address, data={"token": given} if route.method == "POST" else None)
        assert answer.status_code in {404, 422} or route.path == f"{OF_PROJECT}/rounds", route
        assert stores.projects.get(7) is None, route


@pytest.fixture
def hostile(workspace, stores, rich):
    """The same project in which everything that people write is markup."""
    stores.projects.change(
        1,
        title=HOSTILE,
        declined=[HOSTILE],
        page_options={"group_field": HOSTILE, "rare_classes": [HOSTILE]},
        reader_names={"7": HOSTILE},
        task_fields=[[HOSTILE, 3, 2]],
        problem=HOSTILE,
    )
    images = {task: f"/data/{HOSTILE}{task}.png" for task in range(1, 101)}
    stores.images.synchronise(1, images, complete=True, sites=dict.fromkeys(images, HOSTILE))
    stores.images.failed(1, {60: HOSTILE})
    said = [["7", HOSTILE], ["8", "b"]]
    stores.labels.replace(
        1,
        [
            TaskLabel(project_id=1, task_id=99, label=HOSTILE, steer=1, labelled_at=1.0, tagged_by=HOSTILE),
            TaskLabel(project_id=1, task_id=50, label=None, labelled_at=1.0, answers=said, unread=HOSTILE),
            TaskLabel(project_id=1, task_id=2, label=HOSTILE, labelled_at=1.0),
        ],
    )
    stores.labels.suspect(
        1, [SuspectedLabel(project_id=1, task_id=2, label=HOSTILE, suspicion=0.9, nearest_exemplar=99, similarity=0.7)]
    )
    given = NewExemplar(f"{HOSTILE}.png", "hostile", as_png(np.ones((32, 32, 3), dtype=np.uint8)))
    stores.outside_exemplars.add(1, HOSTILE, [given], by=HOSTILE, note=HOSTILE, keeps_pixels=True)
    stores.page_tags.set(1, [60], 1, by=HOSTILE)


def test_whatever_people_write_is_text(web, hostile):
    shown = 0
    for route in OF_PROJECTS:
        if route.method != "GET":
            continue
        answer = web.get(route.address)
        assert answer.status_code < 500, route
        if "html" in answer.headers.get("content-type", ""):
            assert "<img src=x" not in answer.text, route
            shown += "&lt;img src=x" in answer.text
    assert shown > len(PAGES) / 2
