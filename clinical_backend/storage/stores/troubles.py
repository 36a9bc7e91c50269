"""Tasks that something is wrong with: which, and what."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from sqlalchemy import func, literal, select, union_all

from clinical_backend.storage.schema import TaskImage, TaskLabel

if TYPE_CHECKING:
    from collections.abc import Iterator

    from clinical_backend.storage.database import Database

__all__ = ["Trouble", "TroubleKind", "TroubleStore"]

_AT_A_TIME = 1000  # read at once while a list is written: of the order of 100 kB; not measured


class TroubleKind(StrEnum):
    """What is wrong with a task."""

    IMAGE = "image"
    """Its image cannot be read. One that was not tried yet, since its host is slow, is none of them."""
    ANSWER = "answer"
    """It is answered, and no class can be read from that."""
    REPLACED = "replaced"
    """Its image was replaced after its answers were given."""


@dataclass(frozen=True, slots=True)
class Trouble:
    """What is wrong with a task, and why.

    Attributes
    ----------
    task_id
        The task.
    kind
        What is wrong.
    reason
        For people; for a replaced image the class that it was given.
    since
        When that was found, in seconds since the epoch; ``None`` where it is not known.
    """

    task_id: int
    kind: TroubleKind
    reason: str
    since: float | None


class TroubleStore:
    """Reads which tasks of a project something is wrong with."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def counts(self, project_id: int) -> dict[TroubleKind, int]:
        """Return how many tasks there are of each kind, with those of which there are some."""
        with self._database.read() as session:
            numbers = {
                kind: session.scalar(select(func.count()).select_from(query.subquery()))
                for kind, query in _queries(project_id).items()
            }
        return {kind: number for kind, number in numbers.items() if number}

    def some(self, project_id: int, offset: int, limit: int) -> list[Trouble]:
        """Return some of them, by task."""
        found = union_all(*_queries(project_id).values()).subquery()
        query = select(found).order_by(found.c.task_id, found.c.kind).offset(offset).limit(limit)
        with self._database.read() as session:
            return [Trouble(row[0], TroubleKind(row[1]), row[2], row[3]) for row in session.execute(query)]

    def all(self, project_id: int) -> Iterator[Trouble]:
        """Yield all of them, by task, as they stand while they are read."""
        offset = 0
        while part := self.some(project_id, offset, _AT_A_TIME):
            yield from part
            offset += len(part)


def _queries(project_id: int) -> dict[TroubleKind, Any]:
    same = (TaskImage.project_id == TaskLabel.project_id) & (TaskImage.task_id == TaskLabel.task_id)
    answered = func.coalesce(TaskLabel.changed_at, TaskLabel.labelled_at)
    images = select(
        TaskImage.task_id, literal(TroubleKind.IMAGE.value).label("kind"), TaskImage.problem, TaskImage.tried_at
    ).where(TaskImage.project_id == project_id, TaskImage.problem.is_not(None), TaskImage.attempts > 0)
    answers = select(
        TaskLabel.task_id, literal(TroubleKind.ANSWER.value), TaskLabel.unread, TaskLabel.labelled_at
    ).where(TaskLabel.project_id == project_id, TaskLabel.unread.is_not(None))
    replaced = (
        select(TaskLabel.task_id, literal(TroubleKind.REPLACED.value), TaskLabel.label, TaskImage.replaced_at)
        .join(TaskImage, same)
        .where(TaskLabel.project_id == project_id, TaskLabel.label.is_not(None), TaskImage.replaced_at > answered)
    )
    return {TroubleKind.IMAGE: images, TroubleKind.ANSWER: answers, TroubleKind.REPLACED: replaced}
