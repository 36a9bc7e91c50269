"""What is known of the points of a map, over a store that is filled by hand."""

import numpy as np
import pytest

from clinical_backend.service import map_points
from clinical_backend.service.map_points import NO_SCORE, PointFilter, choose_points, read_points
from clinical_backend.storage.schema import ReadingState, SecondReading, TaskLabel
from clinical_backend.storage.stores.testsets import ReservedDraw, ReservedWish
from tests.drawn_map import draw_by_hand
from tests.web.pages.test_routes import configuration, filled, rich, stores, workspace

__all__ = ["configuration", "filled", "rich", "stores", "workspace"]  # fixtures


@pytest.fixture
def project(workspace, rich):
    project = workspace.project(1)
    draw_by_hand(project)
    return project


def said(points, name, task):
    column = points.column(name)
    return column.names[column.codes[points.tasks.tolist().index(task)]]


def test_without_a_map_there_are_no_points(workspace, rich):
    assert read_points(workspace.project(1)) is None


def test_each_point_says_its_label_and_how_readers_come_to_it(project):
    points = read_points(project)
    assert len(points.tasks) == 100
    label, why = points.column("label"), points.column("why")
    assert label.names == ("no label", "b", "a")  # what is looked for comes first
    assert label.pinned == 1
    assert [said(points, "label", task) for task in (99, 1, 2, 50, 60)] == ["b", "b", "a", "no label", "no label"]
    assert said(points, "why", 6) == "labelled as an audit draw"
    assert said(points, "why", 1) == "labelled from a queue"
    assert said(points, "why", 99) == "labelled past the queue"
    assert said(points, "why", 7) == "in the queue: sought"
    assert said(points, "why", 36) == "neither labelled nor queued"
    assert sum(count for _, count in why.counts()) == 100


def test_what_the_model_believes_of_audit_draws_and_second_readings_is_told_by_nothing(project, stores):
    stores.labels.replace(1, [])
    stores.second_readings.keep(
        1,
        [
            SecondReading(
                project_id=1, task_id=80, state=ReadingState.OPEN, label="a", readings=1, by_lead=False, asked_at=1.0
            )
        ],
    )
    points = read_points(project)
    hidden = {6, 16, 26, 80}
    assert {int(task) for task in points.tasks[points.scores == NO_SCORE]} == hidden
    assert said(points, "why", 80) == "waits for a second reading"
    assert all(said(points, "score", task) == "not told" for task in hidden)
    assert said(points, "score", 99) == "0.9 and more"
    last = points.tasks[choose_points(points, PointFilter(0, {}, "score"))][-4:]
    assert set(last.tolist()) == hidden


def test_the_test_set_has_no_points_since_it_is_read_blind(project, stores):
    stores.test_sets.ask(1, ReservedWish(2, 0, "lead", 1.0))
    draw = ReservedDraw(2, 0, "lead", 1.0, 90, 90, 2, 2, 10, 0, 100, None)
    stores.test_sets.add(1, draw, [40, 41])
    for points in (read_points(project), read_points(project, gone=True), read_points(project, [40, 41, 42])):
        assert 42 in points.tasks
        assert not {40, 41} & set(points.tasks.tolist())


def test_patients_are_told_apart_by_numbers_alone_and_sites_by_their_names(project, stores):
    groups = {task: f"hash-{task % 10 if task % 10 < 9 else task}" for task in range(1, 101)}
    sites = {task: "north" if task % 3 else "south" for task in range(1, 51)}
    uris = {task: f"/data/local-files/?d={task}.png" for task in range(1, 101)}
    stores.images.synchronise(1, uris, complete=True, groups=groups, sites=sites)
    points = read_points(project)
    assert points.column("patient").names == (
        "a patient with one task",
        *(f"patient {number}" for number in range(1, 9)),
        "another patient with several tasks",
    )
    assert points.column("patient").pinned == 8  # so that the many others take no colour from them
    assert "hash" not in str(points.column("patient").names)
    assert said(points, "patient", 9) == "a patient with one task"
    assert points.column("site").counts() == [("no site", 50), ("north", 34), ("south", 16)]


def test_without_patients_sites_and_scores_nothing_is_said_of_them(project):
    points = read_points(project)
    assert [column.name for column in points.columns] == ["label", "why", "score"]


def test_some_tasks_say_the_same_as_among_all(project):
    whole, some = read_points(project), read_points(project, [99, 7, 1, 4000])
    assert some.tasks.tolist() == [1, 7, 99]
    rows = [whole.tasks.tolist().index(task) for task in (1, 7, 99)]
    assert [some.facts(row) for row in range(3)] == [whole.facts(row) for row in rows]
    np.testing.assert_array_equal(some.scores, whole.scores[rows])


def test_tasks_that_are_gone_leave_the_map(project, stores):
    uris = {task: f"/data/local-files/?d={task}.png" for task in range(1, 11)}
    stores.images.synchronise(1, uris, complete=True)
    assert read_points(project).tasks.tolist() == list(range(1, 11))


def test_a_test_set_leaves_the_map_as_soon_as_it_is_drawn(project, stores):
    draw = ReservedDraw(3, 7, "lead", 2.0, 9, 5, 3, 2, 1, 0, 10, None)
    stores.test_sets.ask(1, ReservedWish(3, 7, "lead", 1.0))
    stores.test_sets.add(1, draw, [60, 61])
    for points in (read_points(project), read_points(project, gone=True)):
        assert len(points.tasks) == 98
        assert not {60, 61} & set(points.tasks.tolist())
    assert read_points(project, [60, 62]).tasks.tolist() == [62]


def test_points_are_chosen_and_ordered(project):
    points = read_points(project)

    def chosen(near=0, sort="task", **named):
        return points.tasks[choose_points(points, PointFilter(near, named, sort))].tolist()

    assert chosen() == list(range(1, 101))
    assert chosen(label="b") == [1, 3, 5, 99]
    assert chosen(label="b", why="labelled past the queue") == [99]
    assert chosen(label="no such") == []
    assert chosen(sort="score", label="b") == [99, 5, 3, 1]
    near = chosen(near=1)
    assert 0 < len(near) < 100
    assert chosen(sort="near")[: len(near)] == near


def test_of_very_many_names_the_rest_is_one(project, stores, monkeypatch):
    monkeypatch.setattr(map_points, "_MOST_NAMES", 2)
    rows = [TaskLabel(project_id=1, task_id=task, label=f"class {task}", labelled_at=1.0) for task in range(1, 5)]
    stores.labels.replace(1, rows)
    assert read_points(project).column("label").counts() == [
        ("no label", 96),
        ("class 1", 1),
        ("class 2", 1),
        ("other labels", 2),
    ]
