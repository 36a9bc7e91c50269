"""What each reader of a project answered, as last read back from Label Studio."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

from sqlalchemy import delete, func, insert, select

from clinical_backend.origins import AnswerKind
from clinical_backend.storage.schema import Reading
from clinical_backend.storage.statements import in_parts, in_transactions
from clinical_backend.storage.stores.projects import locked_project

if TYPE_CHECKING:
    from collections.abc import Collection

    from clinical_backend.storage.database import Database

__all__ = ["ReadingStore", "ReadingValues"]


class ReadingValues(NamedTuple):
    """A row of the table, without its project; the fields mean what those of the table mean."""

    annotation_id: int
    task_id: int
    reader_id: int
    label: str | None
    answered_at: float | None
    lead_time: float | None
    kind: AnswerKind
    blind: bool


_VALUES = tuple(getattr(Reading, name) for name in ReadingValues._fields)


class ReadingStore:
    """Reads and replaces the annotations of each project's readers."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def all(self, project_id: int) -> list[ReadingValues]:
        """Return the annotations of a project's readers, in no order."""
        with self._database.read() as session:
            rows = session.execute(select(*_VALUES).where(Reading.project_id == project_id))
            return [ReadingValues(*row) for row in rows]

    def counts(self, project_id: int) -> tuple[Counter[tuple[int, AnswerKind]], Counter[int]]:
        """Return how many annotations of each kind each reader made, and how many of the answers were blind."""
        query = select(Reading.reader_id, Reading.kind, Reading.blind, func.count())
        chosen = query.where(Reading.project_id == project_id)
        kinds: Counter[tuple[int, AnswerKind]] = Counter()
        blind: Counter[int] = Counter()
        with self._database.read() as session:
            rows = session.execute(chosen.group_by(Reading.reader_id, Reading.kind, Reading.blind)).all()
        for reader, kind, was_blind, count in rows:
            kinds[reader, kind] += count
            blind[reader] += count if was_blind and kind is AnswerKind.OWN else 0
        return kinds, blind

    def answered_since(self, project_id: int, moment: float) -> list[tuple[int, float]]:
        """Return reader and time of each answer since then."""
        query = select(Reading.reader_id, Reading.answered_at).where(
            Reading.project_id == project_id, Reading.kind == AnswerKind.OWN, Reading.answered_at >= moment
        )
        with self._database.read() as session:
            return [(reader, at) for reader, at in session.execute(query) if at is not None]

    def lead_times(self, project_id: int) -> list[tuple[int, float]]:
        """Return reader and seconds of each answer whose time was measured."""
        query = select(Reading.reader_id, Reading.lead_time).where(
            Reading.project_id == project_id, Reading.kind == AnswerKind.OWN, Reading.lead_time.is_not(None)
        )
        with self._database.read() as session:
            return [(reader, lead) for reader, lead in session.execute(query) if lead is not None]

    def replace(self, project_id: int, readings: Collection[ReadingValues]) -> None:
        """Store the annotations of a project's readers in place of all earlier ones; only what changed is written."""
        before = {row.annotation_id: row for row in self.all(project_id)}
        changed = [row for row in readings if before.pop(row.annotation_id, None) != row]
        # What is left of those before is gone from Label Studio.
        for part in in_transactions([*before, *(row.annotation_id for row in changed)]):
            with self._database.write() as session:
                locked_project(session, project_id)
                for some in in_parts(part):
                    gone = Reading.project_id == project_id, Reading.annotation_id.in_(some)
                    session.execute(delete(Reading).where(*gone))
        for rows in in_transactions(changed):
            with self._database.write() as session:
                if locked_project(session, project_id) is None:
                    return
                session.execute(insert(Reading), [{"project_id": project_id, **row._asdict()} for row in rows])
