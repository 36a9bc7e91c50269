"""The rounds of each project, with their queues."""

from __future__ import annotations

import json
import time
from itertools import chain
from typing import TYPE_CHECKING, Any

from sqlalchemy import func, select, update

from clinical_backend.errors import RoundAbandonedError
from clinical_backend.origins import NOTHING_SHOWN, Draw
from clinical_backend.storage.report import RoundReport
from clinical_backend.storage.schema import ModelFolder, Project, QueuedTask, Round, RoundState
from clinical_backend.storage.statements import in_parts, is_answered, is_reserved
from clinical_backend.storage.stores.projects import locked_project, wait_left
from clinical_backend.storage.trail import TrailAction, TrailEntry, note_action
from clinical_backend.versions import installation_id, queue_version

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from sqlalchemy import ColumnElement, Select
    from sqlalchemy.orm import Session

    from clinical_backend.storage.database import Database

__all__ = ["RoundStore"]


_CUT_OFF = "The process that ran this round died, or gave no sign of life for too long."


class RoundStore:
    """Reads and changes the rows of rounds and their queues."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def start(self, project_id: int) -> Round | None:
        """Begin the round that is due: whatever is requested from now on makes the next one due.

        Returns
        -------
        Round or None
            ``None`` when none is due, or not yet.
        """
        with self._database.write() as session:
            project = locked_project(session, project_id)
            if project is None or project.request is None or wait_left(project.not_before, time.time()):
                return None
            row = _begin(session, project_id, project.request)
            project.request, project.requested_at, project.updates = None, None, 0
            return row

    def begin_rollback(self, project_id: int, number: int) -> Round:
        """Begin a round of a known project that goes back to an earlier one; what is due stays due."""
        with self._database.write() as session:
            locked_project(session, project_id)
            row = _begin(session, project_id, f"rollback to round {number}")
            note_action(session, TrailAction.ROLLBACK_BEGUN, project_id, to=number, round=row.number)
            return row

    def progress(self, round_id: int, stage: str, done: int = 0, total: int = 0) -> None:
        """Note how far a running round is.

        Raises
        ------
        RoundAbandonedError
            When it was given up meanwhile: it must not go on.
        """
        running = update(Round).where(Round.id == round_id, Round.state == RoundState.RUNNING)
        with self._database.write() as session:
            if session.scalar(running.values(stage=stage, done=done, total=total).returning(Round.id)) is None:
                raise RoundAbandonedError(
                    "The round was given up while it ran: its worker was silent for too long, or its project is gone.",
                    "Nothing is to be done: what is due is run again.",
                )

    def running(self) -> list[int]:
        """Return the projects with a round that runs, as far as is known: its process may have died."""
        query = select(Round.project_id).where(Round.state == RoundState.RUNNING).distinct()
        with self._database.read() as session:
            return list(session.scalars(query))

    def keep_queue(self, queue: Sequence[QueuedTask]) -> None:
        """Store the queue of a round, before it is published."""
        with self._database.write() as session:
            session.add_all(queue)

    def prepare(self, row: Round, report: RoundReport, at: float) -> None:
        """Note what is to be kept of a round right before readers get its queue, in case that is the last it can do."""
        with self._database.write() as session:
            session.execute(update(Round).where(Round.id == row.id).values(report=report, switched_at=at))

    def cut_off_at_the_switch(self, project_id: int) -> list[Round]:
        """Return rounds that prepared to be published, and neither were nor failed; call it while holding the lease."""
        prepared = (Round.state == RoundState.RUNNING, Round.switched_at.is_not(None))
        with self._database.read() as session:
            return list(session.scalars(select(Round).where(Round.project_id == project_id, *prepared)))

    def publish(
        self, row: Round, report: RoundReport, size: int, switched_at: float | None = None, *, aside: int = 0
    ) -> None:
        """Note that the round came to its end with a queue of this size, which Label Studio serves.

        With none, since nothing is left to annotate, the earlier version stays published.

        Parameters
        ----------
        switched_at
            When readers got the queue, by Label Studio's clock.
        aside
            Tasks of it that do not count as left: those that a reader skipped before, and second readings. They are
            served to some readers alone, and would make one round after the other due.
        """
        values: dict[str, Any] = {"queue_left": size - aside, "problem": None, "failures": 0, "not_before": 0.0}
        if size:
            values["published_version"] = row.version
        ended = {
            "state": RoundState.PUBLISHED,
            "stage": "publish",
            "finished_at": time.time(),
            "switched_at": switched_at,
            "report": report,
        }
        with self._database.write() as session:
            session.execute(update(Project).where(Project.id == row.project_id).values(values))
            session.execute(update(Round).where(Round.id == row.id).values(ended))
            if size:
                _note_publication(session, row, report, size)

    def fail(self, round_id: int, project_id: int, problem: str, *, state: RoundState) -> int:
        """Note why a round ended without a new queue; the old one stays published.

        Returns
        -------
        int
            How many rounds of the project failed in a row.
        """
        with self._database.write() as session:
            project = locked_project(session, project_id)
            session.execute(update(Round).where(Round.id == round_id).values(_ended(state, problem)))
            if project is None:
                return 1
            project.problem = problem
            project.failures += 1
            return project.failures

    def call_off(self, round_id: int, problem: str) -> None:
        """Note why a round that was not requested failed: nothing is due for that."""
        with self._database.write() as session:
            session.execute(update(Round).where(Round.id == round_id).values(_ended(RoundState.FAILED, problem)))

    def abandon_running(self, project_id: int) -> int:
        """Mark rounds as abandoned whose process died or stood still; call it only while holding the project's lease.

        Returns
        -------
        int
            How many there were.
        """
        with self._database.write() as session:
            running = update(Round).where(Round.project_id == project_id, Round.state == RoundState.RUNNING)
            dead = session.scalars(running.values(_ended(RoundState.ABANDONED, _CUT_OFF)).returning(Round.id))
            return len(dead.all())

    def versions(self, project_id: int) -> dict[str, RoundState]:
        """Return the version of every round of a project, with what became of the round."""
        with self._database.read() as session:
            query = select(Round.version, Round.state).where(Round.project_id == project_id)
            return {row.version: row.state for row in session.execute(query)}

    def latest(self, project_id: int, *, state: RoundState | None = None) -> Round | None:
        """Return the newest round of a project, in one state if that is given."""
        query = select(Round).where(Round.project_id == project_id).order_by(Round.number.desc()).limit(1)
        if state is not None:
            query = query.where(Round.state == state)
        with self._database.read() as session:
            return session.scalar(query)

    def history(self, project_id: int, limit: int = 100) -> list[Round]:
        """Return the newest rounds of a project, newest first."""
        with self._database.read() as session:
            return list(
                session.scalars(
                    select(Round).where(Round.project_id == project_id).order_by(Round.number.desc()).limit(limit)
                )
            )

    def with_numbers(self, project_id: int, numbers: Collection[int]) -> list[Round]:
        """Return the rounds of a project with these numbers whose queue was published, oldest first."""
        published = select(Round).where(Round.project_id == project_id, Round.state == RoundState.PUBLISHED)
        with self._database.read() as session:
            parts = in_parts(sorted(numbers))
            rows = (session.scalars(published.where(Round.number.in_(part)).order_by(Round.number)) for part in parts)
            return list(chain.from_iterable(rows))

    def with_queue(self, project_id: int, limit: int) -> list[Round]:
        """Return the newest rounds of a project whose queue was published, newest first."""
        with self._database.read() as session:
            return list(session.scalars(_with_queue(project_id).order_by(Round.number.desc()).limit(limit)))

    def published(self, project_id: int) -> Round | None:
        """Return the round whose queue Label Studio serves."""
        with self._database.read() as session:
            return session.scalar(
                select(Round).join(Project, Project.published_version == Round.version).where(Project.id == project_id)
            )

    def published_report(self, project_id: int) -> RoundReport:
        """Return the report of that round; an empty one before the first."""
        published = self.published(project_id)
        return RoundReport() if published is None else published.report

    def report_of(self, project_id: int, version: str) -> RoundReport:
        """Return the report of the round of a version; an empty one where there is none."""
        query = select(Round).where(Round.project_id == project_id, Round.version == version)
        with self._database.read() as session:
            found = session.scalar(query)
            return RoundReport() if found is None else found.report

    def queued(self, round_id: int, tasks: Collection[int]) -> frozenset[int]:
        """Return which tasks are in a round's queue."""
        query = select(QueuedTask.task_id).where(QueuedTask.round_id == round_id)
        with self._database.read() as session:
            found = (session.scalars(query.where(QueuedTask.task_id.in_(part))) for part in in_parts(list(tasks)))
            return frozenset(chain.from_iterable(found))

    def served(self, project_id: int) -> list[tuple[int, float]]:
        """Return the rounds whose queues readers got, by number, and when they got each, ascending by time."""
        at = func.coalesce(Round.switched_at, Round.finished_at)
        query = _with_queue(project_id).with_only_columns(Round.number, at).order_by(at, Round.number)
        with self._database.read() as session:
            return [(number, when) for number, when in session.execute(query)]

    def draws(self, project_id: int, tasks: Collection[int]) -> dict[tuple[int, int], Draw]:
        """Return why queues of a project held some tasks, by the round's number and the task."""
        query = (
            select(Round.number, QueuedTask.task_id, QueuedTask.draw)
            .join(Round, Round.id == QueuedTask.round_id)
            .where(Round.project_id == project_id, Round.state == RoundState.PUBLISHED)
        )
        with self._database.read() as session:
            found = (session.execute(query.where(QueuedTask.task_id.in_(part))) for part in in_parts(list(tasks)))
            return {(number, task): draw for number, task, draw in chain.from_iterable(found)}

    def shown(self, project_id: int, tasks: Collection[int]) -> dict[tuple[int, int], str]:
        """Return what readers of queues were shown of some tasks, by the round's number and the task.

        It is the version of the prediction that stood ticked, or that nothing did. Queues of earlier versions do not
        tell.
        """
        query = (
            select(Round.number, QueuedTask.task_id, Round.version, QueuedTask.preannotated)
            .join(Round, Round.id == QueuedTask.round_id)
            .where(Round.project_id == project_id, QueuedTask.preannotated.is_not(None))
        )
        with self._database.read() as session:
            found = (session.execute(query.where(QueuedTask.task_id.in_(part))) for part in in_parts(list(tasks)))
            rows = list(chain.from_iterable(found))
        return {(number, task): version if ticked else NOTHING_SHOWN for number, task, version, ticked in rows}

    def drawn_at_random(self, project_id: int, tasks: Collection[int]) -> frozenset[int]:
        """Return which tasks the published queue, or one that is on its way, holds as draws of the audit."""
        published = self.published(project_id)
        query = (
            select(QueuedTask.task_id)
            .join(Round, Round.id == QueuedTask.round_id)
            .where(Round.project_id == project_id, QueuedTask.draw == Draw.AUDIT)
            .where(Round.number >= (published.number if published else 0))
        )
        with self._database.read() as session:
            found = (session.scalars(query.where(QueuedTask.task_id.in_(part))) for part in in_parts(list(tasks)))
            return frozenset(chain.from_iterable(found))

    def queue(self, round_id: int) -> list[QueuedTask]:
        """Return a round's queue, best first."""
        with self._database.read() as session:
            return list(
                session.scalars(select(QueuedTask).where(QueuedTask.round_id == round_id).order_by(QueuedTask.rank))
            )

    def note_answers(self, round_id: int, tasks: Collection[int], *, answered: bool = True) -> None:
        """Note which tasks of a round's queue somebody answered, or nobody did after all, before a round reads that."""
        chosen = update(QueuedTask).where(QueuedTask.round_id == round_id)
        changed = chosen.where(QueuedTask.answered_at.is_(None) if answered else QueuedTask.answered_at.is_not(None))
        with self._database.write() as session:
            for part in in_parts(sorted(tasks)):
                at = time.time() if answered else None
                session.execute(changed.where(QueuedTask.task_id.in_(part)).values(answered_at=at))

    def open_queue(self, row: Round, offset: int = 0, limit: int = 100) -> tuple[list[QueuedTask], int]:
        """Return tasks of a round's queue that nobody answered as far as is known, best first, and how many there are.

        Parameters
        ----------
        row
            The round.
        offset, limit
            Which of them are returned.
        """
        waiting = _waiting(row)
        with self._database.read() as session:
            count = session.scalar(select(func.count()).select_from(QueuedTask).where(*waiting)) or 0
            query = select(QueuedTask).where(*waiting).order_by(QueuedTask.rank).offset(offset).limit(limit)
            return list(session.scalars(query)), count

    def open_tasks(self, row: Round) -> list[int]:
        """Return the tasks of a round's queue that nobody answered as far as is known, best first."""
        query = select(QueuedTask.task_id).where(*_waiting(row)).order_by(QueuedTask.rank)
        with self._database.read() as session:
            return list(session.scalars(query))


def _waiting(row: Round) -> tuple[ColumnElement[bool], ...]:
    """Say which tasks of a round's queue nobody answered as far as is known, without those drawn into a test set."""
    ours = row.project_id, QueuedTask.task_id
    waiting = QueuedTask.round_id == row.id, QueuedTask.answered_at.is_(None)
    return *waiting, ~is_answered(*ours), ~is_reserved(*ours)


def _with_queue(project_id: int) -> Select[Round]:
    """Return the rounds of a project whose queue was published."""
    queued = select(QueuedTask.round_id).where(QueuedTask.round_id == Round.id).exists()
    return select(Round).where(Round.project_id == project_id, Round.state == RoundState.PUBLISHED, queued)


def _ended(state: RoundState, problem: str) -> dict[str, Any]:
    """Return what is noted of a round that ended without a queue."""
    ended = {"state": state, "finished_at": time.time(), "error": problem}
    return ended | {"report": RoundReport(), "switched_at": None}


def _note_publication(session: Session, row: Round, report: RoundReport, size: int) -> None:
    """Note a queue that readers have, with its model and settings; the settings in full where they are others."""
    recipe = report.recipe
    model = {"model_round": recipe.model_round, "model_sha256": recipe.model_sha256}
    if recipe.model_round is not None:
        promoted = report.promotion.promoted is not False
        action = TrailAction.MODEL_PUBLISHED if promoted else TrailAction.MODEL_HELD_BACK
        note_action(session, action, row.project_id, round=row.number, reason=report.promotion.reason, **model)
    query = select(TrailEntry.details).where(
        TrailEntry.project_id == row.project_id, TrailEntry.action == TrailAction.QUEUE_PUBLISHED
    )
    before = session.scalar(query.order_by(TrailEntry.number.desc()).limit(1))
    digest = recipe.settings_sha256
    told = before is not None and f'"settings_sha256":{json.dumps(digest)}' in before
    note_action(
        session,
        TrailAction.QUEUE_PUBLISHED,
        row.project_id,
        round=row.number,
        version=row.version,
        because=row.request,
        tasks=size,
        acquisition=report.acquisition,
        looked_for=list(report.target),
        settings_sha256=digest,
        **model,
        **({} if told else {"settings": dict(recipe.settings)}),
    )


def _begin(session: Session, project_id: int, reason: str) -> Round:
    """Insert the next round of a project that is locked."""
    number = (session.scalar(select(func.max(Round.number)).where(Round.project_id == project_id)) or 0) + 1
    row = Round(
        project_id=project_id,
        number=number,
        version=queue_version(number, installation_id(session.scalars(select(ModelFolder.identity)).one())),
        request=reason,
        state=RoundState.RUNNING,
        started_at=time.time(),
    )
    session.add(row)
    session.flush()
    return row
