"""The trail, read and checked."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import func, select

from clinical_backend.storage.trail import TrailAction, TrailEntry, acting, every_entry, in_turn, note_action
from clinical_backend.storage.trail_chain import verify_chain

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from sqlalchemy import ColumnElement

    from clinical_backend.storage.database import Database
    from clinical_backend.storage.trail import Actor
    from clinical_backend.storage.trail_chain import Verification

__all__ = ["KeptEntry", "TrailStore"]

_ROWS = 1000
"""Held at once: some 500 kB."""


@dataclass(frozen=True, slots=True)
class KeptEntry:
    """An entry as it is shown; the fields mean what those of :class:`TrailEntry` mean."""

    number: int
    at: float
    who: str
    through: str
    project_id: int | None
    action: str
    details: Mapping[str, Any]
    digest: str


class TrailStore:
    """Reads the trail of all projects, and adds what is in no other transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def append(self, action: TrailAction, project_id: int | None, **details: Any) -> None:
        """Add an entry by itself, before what it tells of; see :func:`clinical_backend.storage.trail.note_action`.

        Raises
        ------
        TrailError
            When it cannot be added: what it tells of must not be done then.
        """
        with self._database.write() as session:
            note_action(session, action, project_id, **details)

    def look(self, project_id: int, actor: Actor, page: str, day: str) -> None:
        """Add, once a day, that somebody looked at a kind of page of a project."""
        details = {"page": page, "day": day}
        told = (
            TrailEntry.project_id == project_id,
            TrailEntry.action == TrailAction.LOOKED,
            TrailEntry.who == actor.shown_name,
            TrailEntry.details == json.dumps(details, sort_keys=True, separators=(",", ":")),
        )
        query = select(TrailEntry.number).where(*told).limit(1)
        with self._database.read() as session:
            if session.scalar(query) is not None:
                return  # reading waits for nobody
        with acting(actor), self._database.write() as session:
            in_turn(session.connection())
            if session.scalar(query) is None:
                note_action(session, TrailAction.LOOKED, project_id, **details)

    def some(
        self, project_id: int, offset: int, limit: int, *, action: str | None = None, who: str | None = None
    ) -> list[KeptEntry]:
        """Return entries of a project, the newest first."""
        query = select(TrailEntry).where(*_chosen(project_id, action, who)).order_by(TrailEntry.number.desc())
        with self._database.read() as session:
            return [_kept(row) for row in session.scalars(query.offset(offset).limit(limit))]

    def count(self, project_id: int, *, action: str | None = None, who: str | None = None) -> int:
        """Return how many entries of a project there are."""
        with self._database.read() as session:
            return session.scalar(select(func.count()).where(*_chosen(project_id, action, who))) or 0

    def each(self, project_id: int) -> Iterator[KeptEntry]:
        """Yield the entries of a project, the oldest first.

        No transaction stays open between them: who reads may take as long as a pager does, and entries only come.
        """
        query = select(TrailEntry).where(TrailEntry.project_id == project_id).order_by(TrailEntry.number).limit(_ROWS)
        last = 0
        while True:
            with self._database.read() as session:
                rows = list(session.scalars(query.where(TrailEntry.number > last)))
            if not rows:
                return
            yield from map(_kept, rows)
            last = rows[-1].number

    def people(self, project_id: int) -> list[str]:
        """Return who did something at a project, by name."""
        query = select(TrailEntry.who).where(TrailEntry.project_id == project_id).distinct().order_by(TrailEntry.who)
        with self._database.read() as session:
            return list(session.scalars(query))

    def verify(self, expect: str | None = None, *, seconds: float | None = None) -> Verification:
        """Check the whole chain, and that it holds a digest that was kept elsewhere.

        Parameters
        ----------
        expect
            That digest: where the last entries were cut off, nothing else tells.
        seconds
            How long; by default as long as it takes.
        """
        with self._database.read() as session:
            return verify_chain(every_entry(session.connection()), expect, seconds=seconds)


def _chosen(project_id: int, action: str | None, who: str | None) -> Iterator[ColumnElement[bool]]:
    yield TrailEntry.project_id == project_id
    if action is not None:
        yield TrailEntry.action == action
    if who is not None:
        yield TrailEntry.who == who


def _kept(row: TrailEntry) -> KeptEntry:
    """Return an entry, be it one that was changed past the backend."""
    try:
        details = json.loads(row.details)
    except ValueError:
        details = {"details": row.details}
    if not isinstance(details, dict):
        details = {"details": details}
    return KeptEntry(row.number, row.at, row.who, row.through, row.project_id, row.action, details, row.digest)
