"""Test sets, as they are kept: what was drawn, what readers say, what models say."""

import numpy as np
import pytest

from clinical_backend.storage.schema import TaskLabel
from clinical_backend.storage.stores.testsets import KeptScores, ReservedDraw, ReservedWish

WISH = ReservedWish(3, 7, "lead", 1.0)
DRAW = ReservedDraw(3, 7, "lead", 2.0, 9, 5, 3, 2, 1, 0, 10, "patient")


@pytest.fixture
def filled(stores):
    for project in (1, 2):
        stores.projects.register(project)
        stores.images.synchronise(project, {task: f"/{task}.png" for task in range(1, 11)}, complete=True)
    stores.images.found(1, {task: f"digest {task // 2}" for task in range(1, 11)})
    stores.labels.replace(1, [TaskLabel(project_id=1, task_id=10, label="a", labelled_at=1.0)])
    return stores


def test_what_is_asked_for_waits_until_it_is_drawn_or_refused(filled):
    store = filled.test_sets
    assert (store.get(1), store.wish(1), store.draws(1), store.ids(1)) == (None, None, [], frozenset())
    store.ask(1, WISH, readings=2)
    assert (store.wish(1), store.get(1).readings) == (WISH, 2)
    store.refuse(1, "Too few.")
    assert (store.wish(1), store.get(1).problem) == (None, "Too few.")
    store.ask(1, WISH)
    store.add(1, DRAW, [4, 2, 8])
    assert (store.wish(1), store.get(1).problem, store.draws(1), store.get(1).readings) == (None, None, [DRAW], 2)
    assert list(store.tasks(1)) == [4, 2, 8]
    assert DRAW.probability == 0.4
    store.join(1, {6: 0})
    assert list(store.tasks(1)) == [4, 2, 8, 6]
    assert store.tasks(1)[6].joined
    store.ask(3, WISH)
    assert store.ids(2) == store.ids(3) == frozenset()


def test_readings_replace_one_another_and_what_is_taken_back_is_forgotten(filled):
    store = filled.test_sets
    store.ask(1, WISH, readings=2)
    store.add(1, DRAW, [4, 2, 8])
    said = [["7", "a"], ["9", "b"]]
    store.note_readings(1, {4: ("a", 1, None), 2: (None, 2, said), 5: ("a", 1, None)})
    kept = store.tasks(1)
    assert [(kept[task].label, kept[task].readings, kept[task].answers) for task in (4, 2, 8)] == [
        ("a", 1, None),
        (None, 2, said),
        (None, 0, None),
    ]
    store.note_readings(1, {4: (None, 0, None), 2: ("b", 2, said)})
    assert (store.tasks(1)[4].label, store.tasks(1)[4].readings, store.tasks(1)[2].label) == (None, 0, "b")


def test_scores_are_kept_for_each_version_and_listed_once_for_each_model(filled):
    store = filled.test_sets
    tasks, told = np.array([4, 2], dtype=np.int64), np.array([[0.25, 0.75], [1.0, 0.0]], dtype=np.float32)
    for number, made_in in ((1, 1), (2, 1), (3, 3)):
        store.keep_scores(1, KeptScores(f"v{number}", number, made_in, False, ("a", "b"), tasks, told))
    kept = store.scores(1, "v2")
    assert (kept.round_number, kept.made_in, kept.classes, kept.tasks.tolist()) == (2, 1, ("a", "b"), [4, 2])
    assert np.array_equal(kept.probabilities, told)
    assert [one.version for one in store.every_scores(1, 9)] == ["v3", "v2"]
    assert [one.version for one in store.every_scores(1, 1)] == ["v3"]
    assert store.scores(1, "v9") is None
    assert store.every_scores(2, 9) == []


def test_its_tasks_and_copies_of_their_images_count_as_no_open_ones(filled):
    assert (filled.labels.open_tasks(1), filled.labels.unread_tasks(2), filled.labels.tasks_beyond(1, 3)) == (5, 10, 7)
    filled.test_sets.ask(1, WISH)
    filled.test_sets.add(1, DRAW, [4, 2])
    filled.test_sets.ask(2, WISH)
    filled.test_sets.add(2, DRAW, [9])
    assert (filled.labels.open_tasks(1), filled.labels.unread_tasks(2), filled.labels.tasks_beyond(1, 3)) == (3, 9, 6)


def test_tasks_that_are_deleted_leave_it_and_moved_images_do_not(filled):
    filled.test_sets.ask(1, WISH)
    filled.test_sets.add(1, DRAW, [4, 2, 8])
    filled.images.synchronise(1, {2: "/elsewhere.png"}, complete=False)
    assert filled.test_sets.ids(1) == {4, 2, 8}
    filled.images.synchronise(1, {task: f"/{task}.png" for task in range(1, 8)}, complete=True)
    assert filled.test_sets.ids(1) == {4, 2}
    filled.projects.forget(1)
    assert (filled.test_sets.get(1), filled.test_sets.ids(1)) == (None, frozenset())
