"""Rounds of projects whose images come slowly: they publish what is read, and go on later."""

import base64
import time

import httpx2
import pytest

from clinical_backend.images.sources import ImageSource
from clinical_backend.rounds import embed
from clinical_backend.rounds.reconcile import reconcile
from clinical_backend.storage.schema import RoundState, TaskImage
from tests.images.servers import reply, serving
from tests.rounds.fake_label_studio import FakeLabelStudio
from tests.small_workspace import AnotherNetwork, picture, reopened

FAST = range(1, 13)


@pytest.fixture
def pictures():
    """Return a server of pictures, of which those under /slow drip until they are told to come."""

    def serve(request):
        pixels = base64.b64decode(picture(int(request.path.rpartition("/")[2])).partition(",")[2])
        if request.path.startswith("/slow") and not request.server.quick:
            request.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
            while not request.server.stopping.wait(0.05):
                request.wfile.write(b"x")
        reply(request, pixels)

    with serving(serve) as server:
        server.quick = False
        yield server


@pytest.fixture
def source():
    with (
        httpx2.Client() as http,
        ImageSource("http://127.0.0.1:9", http, allowed_hosts=["127.0.0.1"], time_limit=2.5) as made,
    ):
        yield made


@pytest.fixture
def fake_client(pictures):
    slow = {task: f"http://127.0.0.1:{pictures.port}/slow/{task}" for task in range(20, 60)}
    return FakeLabelStudio({task: picture(task) for task in FAST} | slow)


@pytest.fixture
def studio(workspace, fake_client):
    """Return a Label Studio with 12 images that come at once and 40 of a host that drips."""
    workspace.settings = workspace.settings.model_copy(
        update={"queue_size": 10, "backend_url": "http://backend", "slow_host_seconds": 0.1}
    )
    return fake_client


def latest(workspace):
    return workspace.stores.rounds.latest(1)


def waits_are_over(workspace):
    with workspace.stores.database.write() as session:
        for image in session.query(TaskImage):
            image.tried_at = image.tried_at and 0.0


def test_a_round_publishes_what_is_read_and_says_what_waits_and_later_ones_go_on(workspace, studio, pictures):
    reconcile(workspace.project(1), look=True)
    assert set(studio.queue()) <= set(FAST)
    counts = latest(workspace).report.counts
    assert counts.waiting >= 30
    assert counts.unreadable + counts.waiting == 40
    assert counts.held_back == counts.waiting
    host = f"127.0.0.1:{pictures.port}"
    assert f"{host} is slow: 0 of 40 images are read; later rounds go on." in latest(workspace).report.notes
    reconcile(workspace.project(1), look=True)
    assert latest(workspace).number == 1  # the host is left in peace for a while
    pictures.quick = True
    waits_are_over(workspace)
    reconcile(workspace.project(1), look=True)
    assert (latest(workspace).number, latest(workspace).request) == (2, "images are still to be read")
    assert latest(workspace).report.counts.waiting == 0
    assert all(image.digest for image in workspace.stores.images.all(1).values())


def test_a_round_that_has_no_time_for_all_images_is_followed_by_another(workspace, studio, pictures):
    pictures.quick = True
    workspace.settings = workspace.settings.model_copy(update={"embed_seconds": 1e-9})
    reconcile(workspace.project(1), look=True)
    assert latest(workspace).state is RoundState.FAILED
    assert "0 of 40 images are read" in workspace.stores.projects.get(1).problem
    workspace.settings = workspace.settings.model_copy(update={"embed_seconds": 60.0})
    workspace.stores.projects.change(1, not_before=0.0)
    reconcile(workspace.project(1), look=False)
    assert latest(workspace).report.counts.waiting == 0


def test_features_of_a_new_backbone_that_there_was_no_time_for_are_waited_for_not_called_unreadable(
    workspace, studio, pictures, monkeypatch
):
    pictures.quick = True
    reconcile(workspace.project(1), look=True)
    workspace = reopened(workspace, backbone=AnotherNetwork(workspace.settings.model_dir))
    workspace.stores.projects.request_round(1, "a test")
    monkeypatch.setattr(embed, "_BATCH", 8)
    over = iter([False])
    monkeypatch.setattr(embed.Patience, "is_over", property(lambda _: next(over, True)))
    reconcile(workspace.project(1), look=False)
    report = latest(workspace).report
    assert latest(workspace).number == 2
    assert (report.counts.waiting, report.counts.unreadable) == (44, 0)
    assert "The features of 44 images are still to be made by this backbone; later rounds go on." in report.notes
    assert workspace.stores.projects.get(1).request == "images are still to be read"
    monkeypatch.undo()
    reconcile(workspace.project(1), look=False)
    assert latest(workspace).report.counts.waiting == 0
    assert workspace.stores.projects.get(1).request is None


def test_a_project_whose_images_all_drip_says_so_and_keeps_its_turn_only_for_a_while(workspace, studio, pictures):
    studio.uris = {task: uri for task, uri in studio.uris.items() if task not in FAST}
    reconcile(workspace.project(1), look=True)
    assert latest(workspace).state is RoundState.FAILED
    assert "is slow: 0 of 40 images are read" in workspace.stores.projects.get(1).problem
    asked = len(pictures.requests)
    assert asked <= 20
    workspace.stores.projects.change(1, not_before=0.0)
    reconcile(workspace.project(1), look=True)
    assert len(pictures.requests) == asked


def test_projects_take_turns_the_one_that_waits_longest_first(workspace):
    projects = workspace.stores.projects
    now = time.time()
    for number, asked in ((1, now - 5), (2, now - 50), (3, now - 20)):
        projects.register(number)
        projects.change(number, request="test", requested_at=asked)
    assert projects.due() == [2, 3, 1]
    workspace.stores.rounds.start(2)
    projects.request_round(2, "images are still to be read")
    assert projects.due() == [3, 1, 2]
