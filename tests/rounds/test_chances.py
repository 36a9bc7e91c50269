"""Chances of a queue from what earlier queues stored, and what became of them."""

from __future__ import annotations

import numpy as np
import pytest

from clinical_backend.origins import Draw, Origin
from clinical_backend.rounds.chances import read_reliability, with_chances
from clinical_backend.rounds.reconcile import reconcile
from clinical_backend.rounds.rollback import roll_back
from clinical_backend.storage.report import RoundReport
from clinical_backend.storage.schema import Project, QueuedTask, Round, RoundState, TaskImage, TaskLabel
from clinical_backend.strategy.reasons import chance_of, reason_of
from clinical_backend.strategy.tasks import FeaturedTasks, RankedTask
from tests.rounds.fake_label_studio import FakeLabelStudio
from tests.small_workspace import picture

RED = range(1, 19)
POOL = FeaturedTasks(np.arange(501, 601), np.linspace(0.01, 0.99, 100, dtype=np.float32)[:, None])


class Scores:
    """Stands in for a training: the only feature is the score."""

    def rare_probability_in(self, pool):
        return pool.features[:, 0]


@pytest.fixture
def project(workspace):
    """Return a project that no round ran in."""
    return workspace.project(1)


def fill(
    project, *, origin=Origin.QUEUE, draw=Draw.TARGET, target="rare", answered_from=1, score=0.8, rare=10, chance=None
):
    """Enter a round that queued 40 tasks with a score, and the label of each, some of them rare."""
    with project.stores.database.write() as session:
        session.get(Project, 1).published_version = "v1"
        row = Round(
            project_id=1,
            number=1,
            version="v1",
            request="a test",
            state=RoundState.PUBLISHED,
            started_at=1.0,
            finished_at=2.0,
            report=RoundReport(target=(target,), newest_task=600),
        )
        session.add(row)
        session.flush()
        session.add_all(TaskImage(project_id=1, task_id=task, uri="u", digest=f"{task}") for task in range(1, 601))
        session.add_all(
            QueuedTask(
                round_id=row.id,
                rank=task,
                task_id=task,
                draw=draw,
                rare_probability=score,
                chance=chance and chance(task),
            )
            for task in range(1, 41)
        )
    labels = [
        TaskLabel(
            project_id=1,
            task_id=task,
            label="rare" if task <= rare else "common",
            origin=origin,
            draw=draw if origin is Origin.QUEUE else None,
            round_number=answered_from,
            labelled_at=10.0 + task,
        )
        for task in range(1, 41)
    ]
    project.stores.labels.replace(1, labels)


def queue():
    return [RankedTask(task, Draw.TARGET, None, None, None, None, None) for task in (600, 580, 501)]


def test_a_score_that_came_true_in_a_quarter_of_the_cases_is_a_chance_of_about_a_quarter(project):
    fill(project)
    ranked, text = with_chances(project, ("rare",), Scores(), POOL, queue())
    chance = with_chances(
        project, ("rare",), Scores(), POOL, [RankedTask(581, Draw.TARGET, None, None, None, None, None)]
    )[0][0]
    assert POOL.features[80, 0] == pytest.approx(0.8, abs=0.01)
    assert 0.1 < chance.chance < 0.35
    assert chance.chance_low < chance.chance < chance.chance_high
    assert ranked[0].chance > ranked[1].chance > ranked[2].chance
    assert "40 labels of queues, 10 of them rare" in text


@pytest.mark.parametrize(
    "other",
    [
        {"origin": Origin.PAST_QUEUE},
        {"origin": Origin.IMPORTED},
        {"origin": Origin.SECOND_LOOK},
        {"origin": Origin.ACCEPTED},
        {"draw": Draw.AUDIT},
        {"answered_from": 2},
        {"target": "another"},
        {"score": None},
    ],
)
def test_labels_that_did_not_come_of_a_score_for_this_target_teach_nothing(project, other):
    fill(project, **other)
    ranked, text = with_chances(project, ("rare",), Scores(), POOL, queue())
    assert [task.chance for task in ranked] == [None] * 3
    assert (
        text == "How likely a task is rare can be said after 3 more rare labels and 10 more common labels from queues."
    )


def test_what_is_missing_is_said(project):
    fill(project, rare=31)
    assert with_chances(project, ("rare",), Scores(), POOL, queue())[1] == (
        "How likely a task is rare can be said after 1 more common label from queues."
    )


def test_what_became_of_stated_chances_is_counted_by_chance(project):
    fill(project, rare=15, chance=lambda task: 0.6 if task <= 20 else 0.1)
    low, high = read_reliability(project)
    assert (low.predicted, low.rare, low.count) == (pytest.approx(0.1), 0, 20)
    assert (high.predicted, high.rare, high.count) == (pytest.approx(0.6), 15, 20)


@pytest.mark.parametrize("other", [{}, {"chance": lambda task: 0.2 if task < 20 else None}, {"target": "another"}])
def test_too_few_stated_chances_are_counted_not_at_all(project, other):
    fill(project, **other)
    assert read_reliability(project) == []


def test_a_reason_has_a_share_only_where_a_chance_is_known_and_none_for_an_audit_draw():
    scored = RankedTask(1, Draw.TARGET, "rare", 0.9, 0.9, 7, 0.5)
    assert reason_of(scored) == "Most like task 7 (similarity 0.50)."
    stated = RankedTask(1, Draw.TARGET, "rare", 0.9, 0.9, 7, 0.5, 0.08, 0.002, 0.2)
    assert reason_of(stated).startswith("The chance that it is rare is 8% (under 1% to 20%).")
    assert "%" not in reason_of(stated, with_chance=False)
    audit = RankedTask(1, Draw.AUDIT, "rare", 0.9, 0.9, 7, 0.5, 0.08, 0.002, 0.2)
    assert chance_of(audit) is None
    assert "%" not in reason_of(audit)


@pytest.fixture
def fake_client():
    return FakeLabelStudio({n: picture(200 + n if n in RED else n // 4, blue=n) for n in range(1, 121)})


def test_rounds_store_chances_once_labels_of_their_queues_came_and_going_back_keeps_them(workspace, fake_client):
    studio = fake_client
    settings = {"queue_size": 20, "audit_share": 0.1, "rare_classes": ("red",), "backend_url": "http://backend"}
    workspace.settings = workspace.settings.model_copy(update=settings)

    def run(*tasks):
        for task in tasks:
            studio.annotate(task, "red" if task in RED else "dark")
        workspace.stores.projects.request_round(1, "test", delay=0)
        reconcile(workspace.project(1), look=False)
        latest = workspace.stores.rounds.latest(1)
        return latest, workspace.stores.rounds.queue(latest.id)

    first, queue = run(*range(1, 11), *range(101, 121))
    assert {task.chance for task in queue} == {None}
    assert "3 more rare labels and 10 more common labels" in first.report.chances
    second, queue = run(*(task.task_id for task in queue))
    assert all(0 < task.chance_low <= task.chance <= task.chance_high < 1 for task in queue)
    assert "labels of queues" in second.report.chances
    run(queue[0].task_id)
    row = roll_back(workspace.project(1), second.number)
    again = {task.task_id: task for task in workspace.stores.rounds.queue(row.id)}
    assert len(again) == 19
    for task in queue[1:]:
        kept = again[task.task_id]
        assert (kept.chance, kept.chance_low, kept.chance_high) == (task.chance, task.chance_low, task.chance_high)
