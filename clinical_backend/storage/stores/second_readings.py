"""Which tasks are read a second time, what came of it, and what was said of labels on our own page."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy import String, cast, delete, func, select, update

from clinical_backend.storage.schema import LabelCheck, ReadingState, SecondReading
from clinical_backend.storage.statements import in_parts
from clinical_backend.storage.stores.projects import locked_project
from clinical_backend.storage.trail import TrailAction, note_action

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from clinical_backend.storage.database import Database

__all__ = ["ReadTwice", "ReadingPattern", "SecondReadingStore"]


class ReadTwice(NamedTuple):
    """A second reading that was given; the fields mean what those of the table mean."""

    task_id: int
    label: str
    readings: int
    suspicion: float | None
    at_random: bool
    by_lead: bool
    asked_at: float
    read_at: float | None
    answers: list[Any] | None


class ReadingPattern(NamedTuple):
    """Cases that readers answered in the same way, and that came to be read twice in the same way.

    ``answers`` is a row's, ``cases`` how many rows have them, ``doubted`` whether something spoke against their label.
    """

    answers: list[Any] | None
    at_random: bool
    by_lead: bool
    doubted: bool
    cases: int


_READ_TWICE = tuple(getattr(SecondReading, name) for name in ReadTwice._fields)


class SecondReadingStore:
    """Reads and changes the second readings of each project, and the checks of its labels."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def all(self, project_id: int) -> dict[int, SecondReading]:
        """Return the second readings of a project by task, detached from the database."""
        with self._database.read() as session:
            rows = session.scalars(select(SecondReading).where(SecondReading.project_id == project_id))
            return {row.task_id: row for row in rows}

    def waiting(self, project_id: int) -> dict[int, SecondReading]:
        """Return the second readings of a project that were not given yet by task, detached from the database."""
        query = select(SecondReading).where(
            SecondReading.project_id == project_id, SecondReading.state != ReadingState.READ
        )
        with self._database.read() as session:
            return {row.task_id: row for row in session.scalars(query)}

    def is_any_read(self, project_id: int) -> bool:
        """Tell whether a second reading was given, or something was said of a label on our own page."""
        read = select(SecondReading.task_id).where(
            SecondReading.project_id == project_id, SecondReading.state == ReadingState.READ
        )
        checked = select(LabelCheck.task_id).where(LabelCheck.project_id == project_id)
        with self._database.read() as session:
            return any(session.scalar(query.limit(1)) is not None for query in (read, checked))

    def read_twice(self, project_id: int) -> list[ReadTwice]:
        """Return the second readings of a project that were given."""
        query = select(*_READ_TWICE).where(
            SecondReading.project_id == project_id, SecondReading.state == ReadingState.READ
        )
        with self._database.read() as session:
            return [ReadTwice(*row) for row in session.execute(query)]

    def patterns(self, project_id: int) -> list[ReadingPattern]:
        """Return what two readers or more answered, each pattern once: far fewer than there are cases."""
        doubted = SecondReading.suspicion.is_not(None)
        same = (cast(SecondReading.answers, String), SecondReading.at_random, SecondReading.by_lead, doubted)
        query = select(func.min(SecondReading.task_id), func.count(), *same[1:]).where(
            SecondReading.project_id == project_id,
            SecondReading.state == ReadingState.READ,
            SecondReading.readings > 0,
        )
        with self._database.read() as session:
            groups = session.execute(query.group_by(*same)).all()
            answers: dict[int, list[Any] | None] = {}
            for part in in_parts([task for task, *_ in groups]):
                told = select(SecondReading.task_id, SecondReading.answers).where(
                    SecondReading.project_id == project_id, SecondReading.task_id.in_(part)
                )
                answers |= {row.task_id: row.answers for row in session.execute(told)}
        return [
            ReadingPattern(answers[task], at_random, by_lead, bool(by_doubt), cases)
            for task, cases, at_random, by_lead, by_doubt in groups
        ]

    def read_blind(self, project_id: int) -> frozenset[tuple[int, int]]:
        """Return task and reader of each second reading that Label Studio was told to ask for, and that was given."""
        query = select(SecondReading.task_id, SecondReading.readings, SecondReading.answers).where(
            SecondReading.project_id == project_id,
            SecondReading.state == ReadingState.READ,
            SecondReading.raised_to.is_not(None),
        )
        with self._database.read() as session:
            rows = session.execute(query).all()
        return frozenset(
            (task, int(reader)) for task, before, answers in rows for reader, _ in (answers or [])[before:]
        )

    def open_tasks(self, project_id: int) -> frozenset[int]:
        """Return the tasks that Label Studio is told to serve to another reader."""
        query = select(SecondReading.task_id).where(
            SecondReading.project_id == project_id, SecondReading.state == ReadingState.OPEN
        )
        with self._database.read() as session:
            return frozenset(session.scalars(query))

    def keep(self, project_id: int, rows: Collection[SecondReading]) -> None:
        """Store second readings of a project in place of what was stored of their tasks.

        Whether the lead asks for one is taken from what is stored: it may have changed since these rows were read.
        """
        if not rows:
            return
        with self._database.write() as session:
            if locked_project(session, project_id) is not None:
                for row in rows:
                    stored = session.get(SecondReading, (project_id, row.task_id))
                    if stored is not None or row.state is not ReadingState.READ:
                        row.by_lead = stored is not None and stored.by_lead
                    session.merge(row)

    def ask(self, project_id: int, labels: Mapping[int, tuple[str, int]]) -> int:
        """Note that the lead asks for second readings, and return of how many tasks that is new.

        Parameters
        ----------
        labels
            Class and number of readings, by task. Tasks that are read already, or are asked of readers, stay as they
            are but for this.
        """
        new = []
        with self._database.write() as session:
            if locked_project(session, project_id) is None:
                return 0
            for task_id, (label, readings) in labels.items():
                row = session.get(SecondReading, (project_id, task_id))
                if row is None:
                    row = SecondReading(
                        project_id=project_id,
                        task_id=task_id,
                        state=ReadingState.ASKED,
                        label=label,
                        readings=readings,
                        asked_at=time.time(),
                    )
                    session.add(row)
                if row.state is not ReadingState.READ and not row.by_lead:
                    row.by_lead = True
                    new.append(task_id)
            if new:
                note_action(session, TrailAction.SECOND_READING_ASKED, project_id, tasks=sorted(new))
        return len(new)

    def take_back(self, project_id: int, task_id: int) -> bool:
        """Note that the lead no longer asks for a second reading; tell whether one had been asked for.

        One that stands in the queue for another reason too, stays.
        """
        with self._database.write() as session:
            locked_project(session, project_id)
            row = session.get(SecondReading, (project_id, task_id))
            if row is None or not row.by_lead or row.state is ReadingState.READ:
                return False
            row.by_lead = False
            note_action(session, TrailAction.SECOND_READING_TAKEN_BACK, project_id, task=task_id)
            if row.state is ReadingState.ASKED:
                session.delete(row)
            return True

    def give_up(self, project_id: int, task_id: int) -> None:
        """Note that nobody is asked to read a task any more; what the lead asks for waits for another queue."""
        with self._database.write() as session:
            locked_project(session, project_id)
            row = session.get(SecondReading, (project_id, task_id))
            if row is not None and row.by_lead:
                row.state, row.overlap, row.raised_to = ReadingState.ASKED, None, None
            elif row is not None:
                session.delete(row)

    def mark_drawn(self, project_id: int, tasks: Collection[int]) -> None:
        """Note of tasks that were read twice that a random draw fell on them as well."""
        if not tasks:
            return
        with self._database.write() as session:
            chosen = update(SecondReading).where(SecondReading.project_id == project_id)
            for part in in_parts(list(tasks)):
                session.execute(chosen.where(SecondReading.task_id.in_(part)).values(at_random=True))

    def drop(self, project_id: int, tasks: Collection[int]) -> None:
        """Forget second readings."""
        if not tasks:
            return
        with self._database.write() as session:
            chosen = delete(SecondReading).where(SecondReading.project_id == project_id)
            for part in in_parts(list(tasks)):
                session.execute(chosen.where(SecondReading.task_id.in_(part)))

    def forget_outcomes(self, project_id: int) -> None:
        """Forget what was read twice and what was said of labels: both name classes of a control learnt no more."""
        read = SecondReading.project_id == project_id, SecondReading.state == ReadingState.READ
        with self._database.write() as session:
            session.execute(delete(SecondReading).where(*read))
            session.execute(delete(LabelCheck).where(LabelCheck.project_id == project_id))

    def checks(self, project_id: int) -> dict[int, LabelCheck]:
        """Return what was said of labels on our own page, by task."""
        with self._database.read() as session:
            rows = session.scalars(select(LabelCheck).where(LabelCheck.project_id == project_id))
            return {row.task_id: row for row in rows}

    def check(self, project_id: int, task_id: int, label: str, answer: str, *, blind: bool) -> None:
        """Note what a person said of a label, in place of what was said before."""
        row = LabelCheck(
            project_id=project_id,
            task_id=task_id,
            label=label,
            answer=answer,
            blind=blind,
            checked_at=time.time(),
        )
        with self._database.write() as session:
            if locked_project(session, project_id) is not None:
                session.merge(row)
                note_action(session, TrailAction.LABEL_CHECKED, project_id, task=task_id, blind=blind)

    def uncheck(self, project_id: int, task_id: int) -> None:
        """Forget what was said of a label on our own page."""
        chosen = delete(LabelCheck).where(LabelCheck.project_id == project_id, LabelCheck.task_id == task_id)
        with self._database.write() as session:
            if session.execute(chosen.returning(LabelCheck.task_id)).first() is not None:
                note_action(session, TrailAction.CHECK_TAKEN_BACK, project_id, task=task_id)
