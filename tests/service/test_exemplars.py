"""What each exemplar brought, by what readers said of the cases that queues sought near it."""

import pytest

from clinical_backend.multilabel import pack
from clinical_backend.origins import Draw, Origin
from clinical_backend.service import exemplars
from clinical_backend.service.exemplars import Brought, read_brought, read_cases_like
from clinical_backend.storage.report import RoundReport
from clinical_backend.storage.schema import QueuedTask, TaskLabel
from tests.storage.started import start_round

EXEMPLAR, OTHER, OUTSIDE = 900, 901, -3
TARGET = RoundReport.from_json({"target": ["b"]})


@pytest.fixture
def project(workspace):
    return workspace.project(1)


def publish(stores, nearest, *, project=1, report=TARGET):
    """Publish a queue of tasks, each sought near the exemplar that is given of it, or drawn at random."""
    row = start_round(stores, project)
    queue = [
        QueuedTask(
            round_id=row.id,
            rank=place,
            task_id=task,
            draw=Draw.TARGET if exemplar else Draw.AUDIT,
            nearest_exemplar=exemplar or EXEMPLAR,
            similarity=0.5,
        )
        for place, (task, exemplar) in enumerate(nearest.items())
    ]
    stores.rounds.keep_queue(queue)
    stores.rounds.publish(row, report, len(queue))
    return row.number


def label(stores, number, labels, *, project=1, **same):
    values = {"origin": Origin.QUEUE, "draw": Draw.TARGET} | same
    rows = [
        TaskLabel(project_id=project, task_id=task, label=name, round_number=number, labelled_at=float(task), **values)
        for task, name in labels.items()
    ]
    stores.labels.replace(project, rows)


def test_cases_count_for_the_exemplar_that_their_queue_had_named_as_nearest(project):
    number = publish(project.stores, {1: EXEMPLAR, 2: EXEMPLAR, 3: EXEMPLAR, 4: OTHER, 5: OUTSIDE, 6: OUTSIDE})
    label(project.stores, number, {1: "b", 2: "a", 3: "b", 4: "a", 5: "b"})
    assert read_brought(project) == {EXEMPLAR: Brought(2, 1), OTHER: Brought(0, 1), OUTSIDE: Brought(1, 0)}
    assert read_brought(project, [OTHER, 7]) == {OTHER: Brought(0, 1)}


def test_a_case_counts_by_the_queue_that_its_reader_was_served_from(project):
    first = publish(project.stores, {1: EXEMPLAR})
    publish(project.stores, {1: OTHER})
    label(project.stores, first, {1: "b"})
    assert read_brought(project) == {EXEMPLAR: Brought(1, 0)}


@pytest.mark.parametrize(
    "how",
    [
        {"origin": Origin.PAST_QUEUE, "draw": None},
        {"origin": Origin.ACCEPTED},
        {"origin": Origin.IMPORTED, "draw": None},
        {"draw": Draw.AUDIT},
    ],
)
def test_what_no_queue_had_sought_counts_for_no_exemplar(project, how):
    number = publish(project.stores, {1: EXEMPLAR})
    label(project.stores, number, {1: "b"}, **how)
    assert read_brought(project) == {}


def test_random_draws_and_other_projects_count_for_no_exemplar(project):
    project.stores.projects.register(2)
    number = publish(project.stores, {1: None})
    publish(project.stores, {2: EXEMPLAR}, project=2)
    label(project.stores, number, {1: "b"})
    label(project.stores, number, {2: "b"}, project=2)
    assert read_brought(project) == {}
    assert read_brought(project.workspace.project(2)) == {EXEMPLAR: Brought(1, 0)}


def test_where_readers_are_tied_the_first_one_counts(project):
    number = publish(project.stores, {1: EXEMPLAR})
    label(project.stores, number, {1: None}, first_class="b")
    assert read_brought(project) == {EXEMPLAR: Brought(1, 0)}


def test_what_a_reader_leaves_open_is_neither_found_nor_a_look_alike(project):
    number = publish(project.stores, dict.fromkeys((1, 2, 3), EXEMPLAR))
    label(project.stores, number, {1: pack(["a"], ["b"]), 2: pack(["a", "b"]), 3: pack(["a"])})
    assert read_brought(project) == {EXEMPLAR: Brought(1, 1)}
    cases = read_cases_like(project, EXEMPLAR)
    assert [[one.task_id for one in part] for part in (cases.found, cases.misled)] == [[2], [3]]


def test_while_nothing_is_looked_for_nothing_is_counted(project):
    number = publish(project.stores, {1: EXEMPLAR}, report=RoundReport())
    label(project.stores, number, {1: "b"})
    assert read_brought(project) == {}
    assert read_cases_like(project, EXEMPLAR).found == []


def test_a_share_is_stated_from_twenty_cases_on_and_has_its_interval_before():
    assert Brought().share is None
    few, many = Brought(6, 8).share, Brought(6, 14).share
    assert few.estimate is None
    assert few.low == pytest.approx(0.1766, abs=1e-4)  # Clopper and Pearson, 6 of 14
    assert few.high == pytest.approx(0.7114, abs=1e-4)
    assert many.estimate == pytest.approx(0.3)


def test_the_last_cases_are_given_newest_first_found_and_misled_apart(project, monkeypatch):
    monkeypatch.setattr(exemplars, "_SHOWN_CASES", 2)
    number = publish(project.stores, dict.fromkeys(range(1, 9), EXEMPLAR) | {9: OTHER})
    label(project.stores, number, {task: "b" if task % 2 else "a" for task in range(1, 10)})
    cases = read_cases_like(project, EXEMPLAR)
    assert [(one.task_id, one.label) for one in cases.found] == [(7, "b"), (5, "b")]
    assert [(one.task_id, one.label) for one in cases.misled] == [(8, "a"), (6, "a")]
    assert (cases.found[0].round_number, cases.found[0].similarity) == (number, 0.5)
    assert read_brought(project, [EXEMPLAR]) == {EXEMPLAR: Brought(4, 4)}
