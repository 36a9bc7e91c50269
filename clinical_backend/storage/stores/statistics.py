"""Counts over all projects, for monitoring."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import case, func, select

from clinical_backend.multilabel import has_any
from clinical_backend.storage.report import RoundReport
from clinical_backend.storage.schema import Project, Round, RoundState, TaskImage, TaskLabel
from clinical_backend.storage.stores.standing import Standing, standings

if TYPE_CHECKING:
    from clinical_backend.storage.database import Database

__all__ = ["ProjectStatistics", "RoundCount", "statistics"]


@dataclass(frozen=True, slots=True)
class RoundCount:
    """Rounds of one state that are, or ended, in one stage, and the seconds that the ended ones took together."""

    state: RoundState
    stage: str
    rounds: int
    seconds: float


@dataclass(frozen=True, slots=True)
class ProjectStatistics:
    """What is counted of a project.

    Attributes
    ----------
    queue_left, queue
        Tasks of the published queue that nobody annotated yet, and how many it had.
    due_seconds
        How long a round has been due; 0 while none is.
    progress_seconds
        How long ago the running round last got on; 0 while none runs.
    failures
        Rounds that failed in a row.
    has_problem
        Whether something is wrong that somebody should look at.
    labels, exemplars
        Tasks with a class, and tasks tagged "more like this".
    repairs
        What was put right in the project in Label Studio, in all.
    stands_back
        Whether another installation serves the project.
    rare_found
        Labels that give something that the published queue looks for.
    images, unreadable, waiting
        Images that are known, those of them that could not be read, and those that no round has tried.
    stage_seconds
        Seconds that each stage of the latest published round took.
    """

    project_id: int
    queue_left: int
    queue: int
    due_seconds: float
    progress_seconds: float
    failures: int
    has_problem: bool
    labels: int
    exemplars: int
    repairs: int
    stands_back: bool
    rare_found: int
    images: int
    unreadable: int
    waiting: int
    rounds: list[RoundCount]
    stage_seconds: dict[str, float]


def statistics(database: Database) -> list[ProjectStatistics]:
    """Count, project by project, from one state of the database."""
    ended = case((Round.finished_at.is_not(None), Round.finished_at - Round.started_at), else_=0.0)
    rounds = select(Round.project_id, Round.state, Round.stage, func.count(), func.sum(ended)).group_by(
        Round.project_id, Round.state, Round.stage
    )
    labels = (
        select(TaskLabel.project_id, TaskLabel.label, func.count(), func.sum(case((TaskLabel.steer > 0, 1), else_=0)))
    ).group_by(TaskLabel.project_id, TaskLabel.label)
    untried = case(((TaskImage.digest.is_(None)) & (TaskImage.attempts == 0), 1), else_=0)
    failed = case(((TaskImage.problem.is_not(None)) & (TaskImage.attempts > 0), 1), else_=0)
    images = select(TaskImage.project_id, func.count(), func.sum(failed), func.sum(untried)).group_by(
        TaskImage.project_id
    )
    published = select(Round.project_id, Round.report).join(Project, Project.published_version == Round.version)
    with database.read() as session:
        projects = session.scalars(select(Project).order_by(Project.id)).all()
        counted_rounds = session.execute(rounds).all()
        counted_labels = session.execute(labels).all()
        counted_images = {row[0]: (row[1], row[2], row[3]) for row in session.execute(images)}
        reports = {row[0]: row[1] for row in session.execute(published)}
    standing_of = defaultdict(lambda: Standing(None, 0.0), standings(database))
    found = []
    for project in projects:
        report = reports.get(project.id, RoundReport())
        classes = [row for row in counted_labels if row[0] == project.id]
        known, unreadable, waiting = counted_images.get(project.id, (0, 0, 0))
        standing = standing_of[project.id]
        found.append(
            ProjectStatistics(
                project_id=project.id,
                queue_left=project.queue_left,
                queue=report.counts.queue,
                due_seconds=standing.due,
                progress_seconds=standing.running.idle if standing.running is not None else 0.0,
                failures=project.failures,
                has_problem=project.problem is not None,
                labels=sum(count for _, label, count, _ in classes if label is not None),
                exemplars=sum(exemplars for *_, exemplars in classes),
                repairs=project.drift.get("repaired", 0),
                stands_back=project.standing_back is not None,
                rare_found=sum(count for _, label, count, _ in classes if has_any(label or "", report.target)),
                images=known,
                unreadable=unreadable,
                waiting=waiting,
                rounds=[RoundCount(*row[1:]) for row in counted_rounds if row[0] == project.id],
                stage_seconds=dict(report.seconds),
            )
        )
    return found
