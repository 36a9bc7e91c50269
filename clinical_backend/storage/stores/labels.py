"""What readers said of each task, as last read back from Label Studio."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import delete, func, insert, select

from clinical_backend.multilabel import findings_of
from clinical_backend.origins import Draw, LedgerEntry, Origin
from clinical_backend.storage.schema import (
    LabelCheck,
    QueuedTask,
    ReadingState,
    ReservedTask,
    Round,
    SecondReading,
    SuspectedLabel,
    TaskImage,
    TaskLabel,
)
from clinical_backend.storage.statements import in_parts, is_answered, is_reserved
from clinical_backend.storage.stores.projects import locked_project

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from clinical_backend.storage.database import Database

__all__ = ["JudgedScore", "LabelStore"]


@dataclass(frozen=True, slots=True)
class JudgedScore:
    """What a queue held of a task, and the label that came of it.

    Attributes
    ----------
    round_number
        Of the queue.
    score, chance
        As they were stored when the task was queued.
    label
        The class.
    """

    round_number: int
    score: float
    chance: float | None
    label: str


class LabelStore:
    """Reads and replaces the labels of a project."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def all(self, project_id: int, tasks: Collection[int] | None = None) -> dict[int, TaskLabel]:
        """Return a project's labels by task, or those of some tasks."""
        query = select(TaskLabel).where(TaskLabel.project_id == project_id)
        parts = [query] if tasks is None else [query.where(TaskLabel.task_id.in_(part)) for part in in_parts([*tasks])]
        with self._database.read() as session:
            return {row.task_id: row for part in parts for row in session.scalars(part)}

    def settled(self, project_id: int, tasks: Collection[int]) -> dict[int, tuple[str | None, int]]:
        """Return class and number of readings of those of these tasks that have a label."""
        columns = (TaskLabel.task_id, TaskLabel.label, TaskLabel.readings)
        found: dict[int, tuple[str | None, int]] = {}
        with self._database.read() as session:
            for part in in_parts([*tasks]):
                query = select(*columns).where(TaskLabel.project_id == project_id, TaskLabel.task_id.in_(part))
                found |= {task: (label, readings) for task, label, readings in session.execute(query)}
        return found

    def ledger(self, project_id: int) -> list[LedgerEntry]:
        """Return the tasks of a project that have a class, in the order in which they were answered.

        Where readers are tied it is that of the first answer: a second reading takes no find and no draw away.
        """
        label = func.coalesce(TaskLabel.label, TaskLabel.first_class)
        columns = (
            TaskLabel.task_id,
            label,
            TaskLabel.origin,
            TaskLabel.draw,
            TaskLabel.round_number,
            TaskLabel.readings,
            TaskLabel.shown_prediction,
        )
        query = select(*columns).where(TaskLabel.project_id == project_id, label.is_not(None))
        with self._database.read() as session:
            rows = session.execute(query.order_by(TaskLabel.labelled_at, TaskLabel.task_id))
            return [LedgerEntry(row[0], row[1] or "", *row[2:]) for row in rows]

    def origins(
        self, project_id: int, tasks: Collection[int] | None = None
    ) -> dict[int, tuple[str, Origin, Draw | None]]:
        """Return class, origin and draw of each task that has a class, as the ledger has them; of all or of some."""
        label = func.coalesce(TaskLabel.label, TaskLabel.first_class)
        columns = select(TaskLabel.task_id, label, TaskLabel.origin, TaskLabel.draw)
        query = columns.where(TaskLabel.project_id == project_id, label.is_not(None))
        parts = [query] if tasks is None else [query.where(TaskLabel.task_id.in_(part)) for part in in_parts([*tasks])]
        with self._database.read() as session:
            connection = session.connection()  # its rows are made in half the time
            rows = [row for part in parts for row in connection.execute(part)]
        return {task: (said or "", origin, draw) for task, said, origin, draw in rows}

    def judged_scores(self, project_id: int, limit: int) -> list[JudgedScore]:
        """Return the latest labels that came of queues, audit draws left out, in the order in which they were answered.

        A label counts for the queue that its reader was served from, and only where that queue stored a score.
        """
        # Found by their task, of which few queues have one, and not among all tasks of the queue: so SQLite may not use
        # the key, which begins with the round.
        of_the_round = QueuedTask.round_id + 0 == Round.id
        query = (
            select(Round.number, QueuedTask.rare_probability, QueuedTask.chance, TaskLabel.label)
            .join(Round, (Round.project_id == TaskLabel.project_id) & (Round.number == TaskLabel.round_number))
            .join(QueuedTask, of_the_round & (QueuedTask.task_id == TaskLabel.task_id))
            .where(
                TaskLabel.project_id == project_id,
                TaskLabel.origin == Origin.QUEUE,
                TaskLabel.draw != Draw.AUDIT,
                TaskLabel.label.is_not(None),
                QueuedTask.rare_probability.is_not(None),
            )
            .order_by(TaskLabel.labelled_at.desc(), TaskLabel.task_id.desc())
            .limit(limit)
        )
        with self._database.read() as session:
            rows = [
                JudgedScore(number, score or 0.0, chance, label or "")
                for number, score, chance, label in session.execute(query)
            ]
        return rows[::-1]

    def open_tasks(self, project_id: int, *, up_to: int | None = None) -> int:
        """Return how many tasks have a readable image and no answer, exact copies and the test set left out.

        Parameters
        ----------
        up_to
            Greatest id of a task that counts.
        """
        label = (TaskLabel.project_id == TaskImage.project_id) & (TaskLabel.task_id == TaskImage.task_id)
        reserved = (ReservedTask.project_id == TaskImage.project_id) & (ReservedTask.task_id == TaskImage.task_id)
        open_ = (
            select(TaskImage.digest)
            .outerjoin(TaskLabel, label)
            .outerjoin(ReservedTask, reserved)
            .where(TaskImage.project_id == project_id, TaskImage.digest.is_not(None))
            .group_by(TaskImage.digest)
            .having(func.count(TaskLabel.task_id) + func.count(ReservedTask.task_id) == 0)
        )
        if up_to is not None:
            open_ = open_.having(func.min(TaskImage.task_id) <= up_to)
        with self._database.read() as session:
            return session.scalar(select(func.count()).select_from(open_.subquery())) or 0

    def unread_tasks(self, project_id: int) -> int:
        """Return how many tasks have no answer, and an image that was not read; the test set is left out."""
        query = select(func.count()).where(
            TaskImage.project_id == project_id,
            TaskImage.digest.is_(None),
            ~is_answered(TaskImage.project_id, TaskImage.task_id),
            ~is_reserved(TaskImage.project_id, TaskImage.task_id),
        )
        with self._database.read() as session:
            return session.scalar(query) or 0

    def tasks_beyond(self, project_id: int, newest: int) -> int:
        """Return how many tasks have a greater id, labelled or not; the test set is left out."""
        query = select(func.count()).where(
            TaskImage.project_id == project_id,
            TaskImage.task_id > newest,
            ~is_reserved(TaskImage.project_id, TaskImage.task_id),
        )
        with self._database.read() as session:
            return session.scalar(query) or 0

    def tagged_or_disputed(self, project_id: int) -> list[TaskLabel]:
        """Return the tasks that are tagged, or whose class readers do not agree on, by id."""
        query = select(TaskLabel).where(
            TaskLabel.project_id == project_id, (TaskLabel.steer != 0) | TaskLabel.answers.is_not(None)
        )
        with self._database.read() as session:
            return list(session.scalars(query.order_by(TaskLabel.task_id)))

    def cases(self, project_id: int) -> dict[str, tuple[int, int]]:
        """Return of each class or finding that a label gives how many there are, and the first task."""
        query = select(TaskLabel.label, func.count(), func.min(TaskLabel.task_id))
        chosen = query.where(TaskLabel.project_id == project_id, TaskLabel.label.is_not(None))
        with self._database.read() as session:
            rows = session.execute(chosen.group_by(TaskLabel.label)).all()
        cases: dict[str, tuple[int, int]] = {}
        for label, count, task in rows:
            for name in findings_of(label or ""):
                before, first = cases.get(name, (0, task))
                cases[name] = (before + count, min(first, task))
        return cases

    def suspect(self, project_id: int, labels: Sequence[SuspectedLabel]) -> None:
        """Store the labels that deserve a second look in place of all earlier ones."""
        with self._database.write() as session:
            locked_project(session, project_id)
            session.execute(delete(SuspectedLabel).where(SuspectedLabel.project_id == project_id))
            session.add_all(labels)

    def suspected(self, project_id: int, limit: int) -> list[SuspectedLabel]:
        """Return the labels that deserve a second look; left out are those that were changed or looked at since."""
        same = (
            (TaskLabel.project_id == SuspectedLabel.project_id)
            & (TaskLabel.task_id == SuspectedLabel.task_id)
            & (TaskLabel.label == SuspectedLabel.label)
        )
        read = select(SecondReading.task_id).where(
            SecondReading.project_id == SuspectedLabel.project_id,
            SecondReading.task_id == SuspectedLabel.task_id,
            SecondReading.state == ReadingState.READ,
        )
        checked = select(LabelCheck.task_id).where(
            LabelCheck.project_id == SuspectedLabel.project_id,
            LabelCheck.task_id == SuspectedLabel.task_id,
            LabelCheck.label == SuspectedLabel.label,
        )
        query = (
            select(SuspectedLabel)
            .join(TaskLabel, same)
            .where(SuspectedLabel.project_id == project_id, TaskLabel.readings < 2, ~read.exists(), ~checked.exists())
        )
        order = (SuspectedLabel.suspicion.desc(), SuspectedLabel.similarity.desc(), SuspectedLabel.task_id)
        with self._database.read() as session:
            return list(session.scalars(query.order_by(*order).limit(limit)))

    def steering(self, project_id: int) -> frozenset[int]:
        """Return the tasks that are tagged as exemplar or counter-exemplar."""
        query = select(TaskLabel.task_id).where(TaskLabel.project_id == project_id, TaskLabel.steer != 0)
        with self._database.read() as session:
            return frozenset(session.scalars(query))

    def replace(self, project_id: int, labels: Sequence[TaskLabel]) -> None:
        """Store the labels of a project in place of all earlier ones; only what changed is written."""
        now = {label.task_id: _values(label) for label in labels}
        table = TaskLabel.__table__
        with self._database.write() as session:
            locked_project(session, project_id)
            rows = session.execute(select(*table.columns).where(TaskLabel.project_id == project_id)).mappings()
            before = {row["task_id"]: dict(row) for row in rows}
            changed = [task for task, values in now.items() if before.get(task) != values]
            for part in in_parts([*(before.keys() - now.keys()), *(before.keys() & changed)]):
                session.execute(
                    delete(TaskLabel).where(TaskLabel.project_id == project_id, TaskLabel.task_id.in_(part))
                )
            if changed:
                session.execute(insert(TaskLabel), [now[task] for task in changed])


def _values(label: TaskLabel) -> dict[str, Any]:
    """Return what a row of a label holds, with the defaults that a new one has not got yet."""
    values = {column.key: getattr(label, column.key) for column in TaskLabel.__table__.columns}
    defaults = {column.key: column.default for column in TaskLabel.__table__.columns if column.default is not None}
    return values | {key: default.arg for key, default in defaults.items() if values[key] is None}
