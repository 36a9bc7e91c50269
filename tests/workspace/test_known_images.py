"""Images that are replaced under the same address are noticed; hosts that are slow or away are left alone."""

from __future__ import annotations

import os

import httpx2
import numpy as np
import pytest
from PIL import Image

from clinical_backend.errors import ImageError
from clinical_backend.images.look import Look
from clinical_backend.images.sources import ImageSource
from clinical_backend.rounds.reconcile import reconcile
from clinical_backend.storage.stores.troubles import TroubleKind
from clinical_backend.workspace import known_images
from clinical_backend.workspace.known_images import recheck_images
from clinical_backend.workspace.notices import notices
from tests.rounds.fake_label_studio import FakeLabelStudio
from tests.small_workspace import reopened

TASKS = range(1, 9)


def paint(path, level):
    Image.fromarray(np.full((8, 8, 3), level, dtype=np.uint8)).save(path)


@pytest.fixture
def folder(tmp_path):
    """Return a folder with an image for each task."""
    made = tmp_path / "files"
    made.mkdir()
    for task in TASKS:
        paint(made / f"{task}.png", 20 * task)
    return made


@pytest.fixture(autouse=True)
def busy_machine(monkeypatch):
    """Let nothing be cut short by the clock but where a test says so."""
    monkeypatch.setattr(known_images, "_SECONDS", 600.0)
    monkeypatch.setattr(known_images, "_SLOW_SECONDS", 600.0)


@pytest.fixture
def source(folder):
    with httpx2.Client() as http:
        yield ImageSource("http://127.0.0.1:9", http, local_roots=[folder])


@pytest.fixture
def fake_client(folder):
    made = FakeLabelStudio({task: f"/data/local-files/?d={task}.png" for task in TASKS})
    made.folder = folder
    made.annotate(1, "red")
    made.annotate(2, "dark")
    return made


@pytest.fixture
def studio(workspace, fake_client):
    """Return a Label Studio whose images are files, after a round that every image has long been read by."""
    workspace.settings = workspace.settings.model_copy(update={"backend_url": "http://backend"})
    reconcile(workspace.project(1), look=True)
    grow_old(workspace)
    return fake_client


def grow_old(workspace):
    workspace.stores.images.looked(1, dict.fromkeys(TASKS), at=1.0)


class Host:
    """Stands in for a host that fails or is slow at a chosen moment."""

    def __init__(self, answer):
        self.asked, self._answer = [], answer

    def look(self, uri, task_id, mark):
        self.asked.append(task_id)
        return self._answer(task_id)


def test_a_replaced_image_is_made_anew_its_label_stays_and_it_is_said(workspace, studio):
    before = workspace.stores.images.all(1)
    embedded = workspace.backbone.embedded
    paint(studio.folder / "1.png", 250)
    paint(studio.folder / "5.png", 251)
    reconcile(workspace.project(1), look=True)
    assert workspace.stores.rounds.latest(1).request == "images were replaced"
    after = workspace.stores.images.all(1)
    assert [task for task in TASKS if after[task].digest != before[task].digest] == [1, 5]
    assert workspace.backbone.embedded == embedded + 2
    assert workspace.stores.labels.all(1)[1].label == "red"
    assert workspace.stores.troubles.counts(1) == {TroubleKind.REPLACED: 1}  # task 5 has no label
    (notice,) = notices(workspace.project(1))
    assert "The image of 1 labelled task was replaced; the labels stay." in str(notice)
    reconcile(workspace.project(1), look=True)
    assert workspace.stores.rounds.latest(1).number == 2


def test_what_is_the_same_is_read_once_and_then_told_by_its_mark(workspace, studio):
    assert recheck_images(workspace.project(1)) == 0
    grow = workspace.stores.images.longest_unseen(1, 1e12, 100)
    assert all(mark is not None for _, mark in grow)
    os.utime(studio.folder / "1.png", (1, 1))
    assert recheck_images(workspace.project(1)) == 0


def test_nobody_looks_before_half_of_the_days_are_over_or_where_none_are_given(workspace, studio):
    host = Host(lambda task: Look(b"other", None))
    workspace = reopened(workspace, watching_source=host)
    workspace.stores.images.looked(1, dict.fromkeys(TASKS), at=known_images.time.time())
    assert recheck_images(workspace.project(1)) == 0
    grow_old(workspace)
    workspace.settings = workspace.settings.model_copy(update={"image_check_days": 0.0})
    assert recheck_images(workspace.project(1)) == 0
    assert host.asked == []


def test_a_host_that_fails_is_left_alone_and_its_features_stay(workspace, studio):
    def fail(task):
        raise ImageError("It does not answer.", "Start it.")

    host = Host(fail)
    workspace = reopened(workspace, watching_source=host)
    before = workspace.stores.images.all(1)
    assert recheck_images(workspace.project(1)) == 0
    assert host.asked == [1, 2, 3]
    assert recheck_images(workspace.project(1)) == 0
    assert host.asked == [1, 2, 3, 4, 5, 6]  # what failed does not stand in the way of the others
    assert workspace.stores.images.all(1) == before


def test_a_slow_host_is_left_alone_for_a_while(workspace, studio, monkeypatch):
    host = Host(lambda task: Look(None, "same"))
    workspace = reopened(workspace, watching_source=host)
    monkeypatch.setattr(known_images, "_SLOW_SECONDS", -1.0)
    assert [recheck_images(workspace.project(1)) for _ in range(2)] == [0, 0]
    assert host.asked == [1]
