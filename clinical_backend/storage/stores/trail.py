"""The trail, read and checked."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import func, select

from clinical_backend.storage.trail import FIRST, TrailAction, TrailEntry, digest_of, in_turn, note_action

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from sqlalchemy import ColumnElement, Row

    from clinical_backend.storage.database import Database

__all__ = ["KeptEntry", "TrailStore", "Verification", "verify_entries"]

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


@dataclass(frozen=True, slots=True)
class Verification:
    """What came of checking the chain.

    Attributes
    ----------
    entries
        How many hold, from the first on.
    digest
        Of the last one that holds.
    broken
        Number of the first entry that does not hold; ``None`` where all do.
    problem
        What is wrong, as a sentence; empty where nothing is.
    whole
        Whether all were checked, in the time given.
    """

    entries: int
    digest: str
    broken: int | None = None
    problem: str = ""
    whole: bool = True


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

    def look(self, project_id: int, who: str, page: str, day: str) -> None:
        """Add, once a day, that somebody looked at a kind of page of a project."""
        details = {"page": page, "day": day}
        told = (
            TrailEntry.project_id == project_id,
            TrailEntry.action == TrailAction.LOOKED,
            TrailEntry.who == who,
            TrailEntry.details == json.dumps(details, sort_keys=True, separators=(",", ":")),
        )
        query = select(TrailEntry.number).where(*told).limit(1)
        with self._database.read() as session:
            if session.scalar(query) is not None:
                return  # reading waits for nobody
        with self._database.write() as session:
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
        """Yield the entries of a project, the oldest first."""
        query = select(TrailEntry).where(*_chosen(project_id, None, None)).order_by(TrailEntry.number)
        with self._database.read() as session:
            for row in session.scalars(query.execution_options(yield_per=_ROWS)):
                yield _kept(row)

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
        query = select(*TrailEntry.__table__.columns).order_by(TrailEntry.number)
        with self._database.read() as session:
            rows = session.execute(query.execution_options(yield_per=_ROWS))
            return verify_entries(rows, expect, seconds=seconds)


def verify_entries(
    rows: Iterable[Row[Any]], expect: str | None = None, *, seconds: float | None = None
) -> Verification:
    """Check entries in the order of their numbers; see :meth:`TrailStore.verify`."""
    deadline = None if seconds is None else time.monotonic() + seconds
    count, previous, found = 0, FIRST, expect in {None, FIRST}
    for row in rows:
        values = row._asdict()
        number = count + 1
        if values["number"] != number:
            return Verification(count, previous, number, f"Entry {number} is missing.")
        if values["previous"] != previous:
            problem = f"Entry {number} does not go on from the one before it."
            return Verification(count, previous, number, problem)
        if digest_of(values) != values["digest"]:
            return Verification(count, previous, number, f"Entry {number} was changed.")
        count, previous = number, values["digest"]
        found = found or previous == expect
        if deadline is not None and count % _ROWS == 0 and time.monotonic() > deadline:
            return Verification(count, previous, whole=False)
    if not found:
        problem = f"No entry has the digest {expect}: entries after {count} were cut off, or the chain was made anew."
        return Verification(count, previous, count + 1, problem)
    return Verification(count, previous)


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
