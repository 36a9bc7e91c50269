"""Projects of clustered points, entered by hand: labels, how they came about, and features of tasks."""

from __future__ import annotations

import numpy as np

from clinical_backend.origins import Draw, Origin
from clinical_backend.storage.report import RoundReport
from clinical_backend.storage.schema import Project, Round, RoundState, StudyImageRow, TaskImage, TaskLabel

TASKS, RARE = 200, 20


def points(seed=0):
    """Return the features of tasks, of which the first ones are rare and far from all others."""
    generator = np.random.default_rng(seed)
    features = generator.normal(size=(TASKS, 4)).astype(np.float32)
    features[:RARE] += (6, 0, 0, 0)
    return features + 10


def enter(workspace, *, featured=TASKS, target=("rare",), groups=None, images=1):
    """Enter tasks 1 to 200 of project 1, of which the first ones have features, and a round that published."""
    with workspace.stores.database.write() as session:
        session.get(Project, 1).published_version = "v1"
        session.add(
            Round(
                project_id=1,
                number=1,
                version="v1",
                request="a test",
                state=RoundState.PUBLISHED,
                started_at=1.0,
                finished_at=2.0,
                report=RoundReport(target=target, newest_task=TASKS),
            )
        )
        session.add_all(
            TaskImage(project_id=1, task_id=task, uri="u", digest=f"{task}", group_key=(groups or {}).get(task))
            for task in range(1, TASKS + 1)
        )
        if images > 1:
            session.add_all(
                StudyImageRow(
                    project_id=1, task_id=task, position=at, total=images, view="", uri="u", digest=f"{task}/{at}"
                )
                for task in range(1, TASKS + 1)
                for at in range(images)
            )
    store = workspace.feature_store(workspace.backbone.key, 4)
    rows = points()[:featured]
    if images == 1:
        store.add([f"{task}" for task in range(1, featured + 1)], rows)
        return
    for at in range(images):  # the first image decides, and all others are the same common one
        shown = rows if not at else np.tile(rows[-1], (featured, 1))
        store.add([f"{task}/{at}" for task in range(1, featured + 1)], shown)


def label(workspace, tasks, *, draws=None, name=None, origin=Origin.IMPORTED):
    """Label tasks; those with a draw came from the queue of round 1."""
    draws = draws or {}
    workspace.stores.labels.replace(
        1,
        [
            TaskLabel(
                project_id=1,
                task_id=task,
                label=(name or named)(task),
                origin=Origin.QUEUE if task in draws else origin,
                draw=draws.get(task),
                round_number=1 if task in draws else None,
                labelled_at=float(task),
            )
            for task in tasks
        ],
    )


def named(task):
    """Return the class of a task."""
    return "rare" if task <= RARE else "common"


def searched(workspace, audit=30):
    """Label what a search would have: most rare cases, common ones, and some tasks at random."""
    generator = np.random.default_rng(3)
    drawn = (generator.permutation(np.arange(1, TASKS + 1))[:audit]).tolist()
    sought = [task for task in [*range(1, 17), *range(60, 100)] if task not in drawn]
    draws = dict.fromkeys(drawn, Draw.AUDIT) | dict.fromkeys(sought, Draw.TARGET)
    label(workspace, sorted(draws), draws=draws)
    return draws
