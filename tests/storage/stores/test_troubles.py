"""Which tasks something is wrong with, on both databases."""

from __future__ import annotations

import time

import pytest

from clinical_backend.storage.schema import TaskLabel
from clinical_backend.storage.stores.troubles import Trouble, TroubleKind


@pytest.fixture
def troubled(stores):
    stores.projects.register(1)
    stores.projects.register(2)
    for project in (1, 2):
        stores.images.synchronise(project, {task: f"/{task}.png" for task in range(1, 6)}, complete=True)
        stores.images.found(project, dict.fromkeys((1, 2, 3, 4), "digest"))
    stores.images.failed(1, {5: "No image."})
    labels = [
        TaskLabel(project_id=1, task_id=1, label="a", labelled_at=1.0),
        TaskLabel(project_id=1, task_id=2, label="b", labelled_at=2.0, changed_at=time.time() + 60),
        TaskLabel(project_id=1, task_id=3, label=None, labelled_at=3.0, unread="No class."),
    ]
    stores.labels.replace(1, labels)
    stores.images.replaced(1, {1: "new", 2: "new", 3: "new", 4: "new"})
    return stores


def test_unreadable_images_unread_answers_and_labels_of_replaced_images_are_listed(troubled):
    assert troubled.troubles.counts(1) == {TroubleKind.IMAGE: 1, TroubleKind.ANSWER: 1, TroubleKind.REPLACED: 1}
    found = list(troubled.troubles.all(1))
    assert [(one.task_id, one.kind, one.reason) for one in found] == [
        (1, TroubleKind.REPLACED, "a"),  # but not 2, which somebody answered since
        (3, TroubleKind.ANSWER, "No class."),
        (5, TroubleKind.IMAGE, "No image."),
    ]
    assert troubled.troubles.some(1, 1, 1) == [Trouble(3, TroubleKind.ANSWER, "No class.", 3.0)]
    assert troubled.troubles.counts(2) == {}
    assert list(troubled.troubles.all(2)) == []


def test_a_replaced_image_is_made_anew_and_is_not_looked_at_again_at_once(troubled):
    images = troubled.images.all(1)
    assert [images[task].digest for task in (1, 5)] == [None, None]
    assert troubled.images.longest_unseen(1, time.time() + 1, 10) == []
    troubled.images.found(1, {1: "other"})
    ((image, mark),) = troubled.images.longest_unseen(1, time.time() + 1, 10)
    assert (image.task_id, image.digest, mark) == (1, "other", "new")


def test_the_longest_unseen_images_come_first_and_addresses_that_are_contents_never(stores):
    stores.projects.register(1)
    stores.images.synchronise(1, {1: "/1", 2: "/2", 3: "data:image/png;base64,AA", 4: "/4"}, complete=True)
    stores.images.found(1, dict.fromkeys((1, 2, 3), "digest"))
    stores.images.looked(1, {1: "one"}, at=20.0)
    stores.images.looked(1, {2: None}, at=10.0)
    seen = stores.images.longest_unseen(1, 30.0, 10)
    assert [(image.task_id, mark) for image, mark in seen] == [(2, None), (1, "one")]
    assert [image.task_id for image, _ in stores.images.longest_unseen(1, 15.0, 10)] == [2]
    assert len(stores.images.longest_unseen(1, 30.0, 1)) == 1


def test_it_is_known_whether_any_task_names_its_patient(stores):
    stores.projects.register(1)
    assert stores.images.has_groups(1)  # nothing to say while there are no tasks
    stores.images.synchronise(1, {1: "/1", 2: "/2"}, complete=True, groups={1: None, 2: None})
    assert not stores.images.has_groups(1)
    stores.images.synchronise(1, {1: "/1", 2: "/2"}, complete=True, groups={1: None, 2: "key"})
    assert stores.images.has_groups(1)


def test_an_image_that_waits_for_a_slow_host_is_no_trouble(stores):
    stores.projects.register(1)
    stores.images.synchronise(1, {1: "http://slow/1.png", 2: "http://slow/2.png"}, complete=True)
    stores.images.left(1, {1: "The host is slow."})
    stores.images.failed(1, {2: "No image."})
    assert [one.task_id for one in stores.troubles.all(1)] == [2]
    assert stores.troubles.counts(1) == {TroubleKind.IMAGE: 1}
