import logging
from types import SimpleNamespace

import numpy as np
import pytest

from clinical_backend.rounds import embed as embedding
from clinical_backend.rounds.embed import embed_new
from clinical_backend.storage.schema import TaskImage
from clinical_backend.storage.stores.images import KnownImage
from clinical_backend.workspace.known_images import may_try
from tests.small_workspace import picture


def embed(workspace, progress=lambda done, total: None):
    return embed_new(workspace.project(1), progress)


def features_of(workspace, tasks):
    (frozen,) = workspace.project(1).representations()
    return workspace.project(1).features_of(frozen, tasks)


def test_each_content_is_embedded_once_and_never_again(workspace):
    uris = {1: picture(10), 2: picture(200), 3: picture(10)}
    workspace.stores.images.synchronise(1, uris, complete=True)
    steps = []
    assert embed(workspace, lambda done, total: steps.append((done, total))) == 3
    assert steps == [(0, 3), (3, 3)]
    assert embed(workspace) == 0
    known = workspace.stores.images.all(1)
    assert known[1].digest == known[3].digest != known[2].digest
    found = features_of(workspace, [3, 2, 99])
    assert found.tasks.tolist() == [3, 2]
    assert found.features[0, 0] < found.features[1, 0]


def test_an_unreadable_image_is_noted_and_tried_again_only_after_a_wait(workspace, caplog):
    uris = {1: picture(10), 2: "data:image/png;base64,AAAA", 3: ""}
    workspace.stores.images.synchronise(1, uris, complete=True)
    with caplog.at_level(logging.WARNING):
        embed(workspace)
    known = workspace.stores.images.all(1)
    assert known[1].problem is None
    assert known[2].problem
    assert known[3].problem
    assert "task 2 is left out" in caplog.text
    assert embed(workspace) == 0
    assert features_of(workspace, [1, 2, 3]).tasks.tolist() == [1]


@pytest.mark.parametrize(("attempts", "wait"), [(1, 300), (2, 600), (3, 1200), (30, 86_400)])
def test_an_unreadable_image_is_tried_again_after_a_wait_that_doubles_up_to_a_day(workspace, attempts, wait):
    tried = KnownImage(1, "uri", digest=None, problem="unreadable", attempts=attempts, tried_at=1000.0)
    assert not may_try(tried, 1000.0 + wait - 1)
    assert may_try(tried, 1000.0 + wait)


def test_a_try_that_a_wrong_clock_put_into_the_future_keeps_no_image_waiting(workspace):
    tried = KnownImage(1, "uri", digest=None, problem="unreadable", attempts=9, tried_at=200_000.0)
    assert may_try(tried, 1000.0)


def test_an_image_that_became_readable_is_embedded_when_its_wait_is_over(workspace, monkeypatch):
    workspace.stores.images.synchronise(1, {1: picture(10)}, complete=True)
    workspace.stores.images.failed(1, {1: "the disk was away"})
    assert embed(workspace) == 0
    with workspace.stores.database.write() as session:
        session.get(TaskImage, (1, 1)).tried_at = 0.0
    assert embed(workspace) == 1
    (known,) = workspace.stores.images.all(1).values()
    assert known.problem is None
    assert known.digest is not None


def test_more_images_than_a_batch_are_embedded_each_with_its_own_feature(workspace):
    uris = {task: picture(task % 250, task // 250) for task in range(1, 301)}
    workspace.stores.images.synchronise(1, uris, complete=True)
    steps = []
    assert embed(workspace, lambda done, total: steps.append((done, total))) == 300
    assert steps == [(0, 300), (128, 300), (256, 300), (300, 300)]
    found = features_of(workspace, uris)
    red = (found.features[:, 0] / found.features[:, 3]) ** 2  # the fourth number is 1 before normalisation
    assert np.allclose(red * 255, [task % 250 for task in uris], atol=0.5)


def test_a_moved_image_is_read_anew(workspace):
    workspace.stores.images.synchronise(1, {1: picture(10)}, complete=True)
    embed(workspace)
    workspace.stores.images.synchronise(1, {1: picture(90)}, complete=True)
    assert embed(workspace) == 1


def test_the_first_queue_waits_for_some_images_and_later_ones_go_on_with_the_rest(workspace, monkeypatch):
    monkeypatch.setattr(embedding, "_BATCH", 3)
    monkeypatch.setattr(embedding, "_FIRST_IMAGES", 6)
    monkeypatch.setattr(embedding, "_FIRST_SECONDS", -1.0)
    tasks = range(1, 41)
    workspace.stores.images.synchronise(1, {task: picture(task) for task in tasks}, complete=True)
    assert embed(workspace) == 6
    first = set(features_of(workspace, tasks).tasks.tolist())
    assert first != set(range(1, 7))  # an import often comes class by class
    workspace.stores.projects.change(1, published_version="clinical-1")
    assert embed(workspace) == 34
    assert embed(workspace) == 0


@pytest.fixture
def slow(workspace, monkeypatch):
    """Let each image take a second, by a clock that nothing else moves, and batches have three images."""
    passed = [0.0]
    clock = SimpleNamespace(monotonic=lambda: 1000.0 + passed[0], time=lambda: 5000.0 + passed[0])
    monkeypatch.setattr(embedding, "time", clock)
    monkeypatch.setattr(embedding, "_BATCH", 3)
    monkeypatch.setattr(embedding, "_FIRST_IMAGES", 6)
    keep = embedding._keep

    def kept(project, done):
        passed[0] += len(done.digests)
        keep(project, done)

    monkeypatch.setattr(embedding, "_keep", kept)
    workspace.stores.images.synchronise(1, {task: picture(task) for task in range(1, 61)}, complete=True)


@pytest.mark.usefixtures("slow")
@pytest.mark.parametrize(("seconds", "before", "read"), [(30, 0, 30), (32, 0, 30), (30, 9, 21), (30, 100, 6)])
def test_no_images_are_begun_for_a_first_queue_that_would_make_it_late(workspace, monkeypatch, seconds, before, read):
    monkeypatch.setattr(embedding, "_FIRST_SECONDS", seconds + 0.5)
    assert embed_new(workspace.project(1), lambda *_: None, begun_at=5000.0 - before) == read


@pytest.mark.usefixtures("slow")
def test_a_clock_that_was_put_back_does_not_make_a_first_queue_late(workspace, monkeypatch):
    monkeypatch.setattr(embedding, "_FIRST_SECONDS", 30.5)
    assert embed_new(workspace.project(1), lambda *_: None, begun_at=9000.0) == 30


def test_a_later_round_that_has_no_time_for_all_images_reads_some_of_each_part_of_the_project(workspace, monkeypatch):
    workspace.stores.projects.change(1, published_version="clinical-1")
    workspace.stores.images.synchronise(1, {task: picture(task) for task in range(1, 41)}, complete=True)
    monkeypatch.setattr(embedding, "_BATCH", 20)
    over = iter([False])
    monkeypatch.setattr(embedding.Patience, "is_over", property(lambda _: next(over, True)))
    assert embed(workspace) == 20
    read = features_of(workspace, range(1, 41)).tasks
    assert 5 <= np.count_nonzero(read > 20) <= 15


def test_a_small_project_is_read_whole_for_its_first_queue(workspace, monkeypatch):
    monkeypatch.setattr(embedding, "_FIRST_SECONDS", -1.0)
    workspace.stores.images.synchronise(1, {task: picture(task) for task in range(1, 41)}, complete=True)
    assert embed(workspace) == 40
