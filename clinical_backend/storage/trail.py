"""The trail: who did what, in rows that are only added, each bound to the one before by its digest.

Whoever changes something notes it in the same session; :meth:`Database.write` adds what was noted as the last thing of
the transaction. So neither stands without the other, and nobody waits for long for the end of the chain.
"""

from __future__ import annotations

import hashlib
import json
import time
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from sqlalchemy import Index, insert, select, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Mapped, mapped_column

from clinical_backend.errors import TrailError
from clinical_backend.storage.declarative import Base
from clinical_backend.text import printable, storable_json

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Connection
    from sqlalchemy.orm import Session

__all__ = [
    "BACKEND",
    "FIRST",
    "LABEL_STUDIO",
    "Actor",
    "TrailAction",
    "TrailEntry",
    "act_as",
    "acting",
    "append",
    "append_by_backend",
    "digest_of",
    "every_entry",
    "in_turn",
    "note_action",
    "present_actor",
    "write_noted",
]

FIRST = "0" * 64
"""What stands for the digest before the first entry."""
_NOTED = "trail"
_LOCK = 0x747261696C  # "trail", in ASCII
_LONGEST_NAME = 200
_ROWS = 1000
"""Held at once: some 500 kB."""


class TrailAction(StrEnum):
    """What an entry tells of; there are no others."""

    CONNECTED = "connected"
    DISCONNECTED = "disconnected"
    SETTING_CHANGED = "setting changed"
    CHANGE_ANSWERED = "change in Label Studio answered"
    ROLLBACK_BEGUN = "going back to a round begun"
    MODEL_PUBLISHED = "model published"
    MODEL_HELD_BACK = "model not published"
    QUEUE_PUBLISHED = "queue published"
    CLEARED_UP = "older queues and models deleted"
    SECOND_READING_ASKED = "second reading asked for"
    SECOND_READING_TAKEN_BACK = "second reading taken back"
    LABEL_CHECKED = "label checked on the page"
    CHECK_TAKEN_BACK = "check of a label taken back"
    CASES_TAGGED = "cases tagged on the page"
    TAGS_REMOVED = "tags of the page removed"
    EXEMPLARS_ADDED = "exemplars from outside added"
    EXEMPLAR_REMOVED = "exemplar from outside removed"
    WORDS_CHANGED = "words for a finding changed"
    WORDS_REMOVED = "words for a finding removed"
    LABELS_EXPORTED = "labels exported"
    REPORTS_EXPORTED = "structured reports exported"
    MODEL_EXPORTED = "model exported"
    CARD_WRITTEN = "model card written"
    TEST_SET_ASKED = "test set asked for"
    TEST_SET_DRAWN = "test set drawn"
    LOOKED = "looked"
    CHANGED_PAST_BACKEND = "database found changed past the backend"


@dataclass(frozen=True, slots=True)
class Actor:
    """Who does something.

    Attributes
    ----------
    name
        As the pages, or the operating system, know the person.
    through
        Through what: a page, a command, Label Studio, or the backend by itself.
    """

    name: str
    through: str

    @property
    def shown_name(self) -> str:
        """The name as the trail has it: on one line, and not too long."""
        return printable(self.name, _LONGEST_NAME)


BACKEND = Actor("the backend", "backend")
LABEL_STUDIO = Actor("Label Studio", "Label Studio")
_actor: ContextVar[Actor] = ContextVar("actor", default=BACKEND)


class TrailEntry(Base):
    """One thing that somebody did. Triggers of the database refuse to change or delete a row.

    It outlives its project, which Label Studio may delete. All but the numbers is text, so that a changed value is
    found by its digest, whatever it says.
    """

    __tablename__ = "trail"
    __table_args__ = (
        Index("trail_by_project", "project_id", "number"),
        Index("trail_by_action", "project_id", "action", "number"),
    )

    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    """From 1, without a gap."""
    at: Mapped[float]
    who: Mapped[str]
    through: Mapped[str]
    project_id: Mapped[int | None] = mapped_column(default=None)
    action: Mapped[str]
    details: Mapped[str]
    """Canonical JSON: no patient data, no data of tasks, no secret."""
    previous: Mapped[str]
    """Digest of the entry before."""
    digest: Mapped[str]


@contextmanager
def acting(actor: Actor) -> Iterator[None]:
    """Have what is noted within the block told of somebody."""
    token = _actor.set(actor)
    try:
        yield
    finally:
        _actor.reset(token)


def act_as(actor: Actor) -> None:
    """Have what is noted in this context, such as a request, told of somebody."""
    _actor.set(actor)


def present_actor() -> Actor:
    """Return who acts in this context."""
    return _actor.get()


def note_action(session: Session, action: TrailAction, project_id: int | None, **details: Any) -> None:
    """Have an entry added at the end of the transaction of a session, by whoever acts.

    Parameters
    ----------
    project_id
        ``None`` where it is about none.
    details
        What JSON holds: a few names, numbers and ids. No patient data, no data of tasks, no secret.
    """
    session.info.setdefault(_NOTED, []).append(_noted(_actor.get(), action, project_id, details))


def write_noted(session: Session) -> None:
    """Add what was noted in a session, after all else in its transaction.

    Raises
    ------
    TrailError
        When it cannot be added. The transaction must not be committed then.
    """
    noted = session.info.pop(_NOTED, None)
    if not noted:
        return
    session.flush()
    append(session.connection(), noted)


def append_by_backend(connection: Connection, action: TrailAction) -> None:
    """Add in the transaction of a connection that the backend did something by itself that is about no project."""
    append(connection, [_noted(BACKEND, action, None, {})])


def append(connection: Connection, noted: list[dict[str, Any]]) -> None:
    """Add entries in the transaction of a connection; see :func:`write_noted`."""
    try:
        in_turn(connection)
        last = select(TrailEntry.number, TrailEntry.digest).order_by(TrailEntry.number.desc()).limit(1)
        number, previous = connection.execute(last).one_or_none() or (0, FIRST)
        rows = []
        for one in noted:
            number += 1
            row = one | {"number": number, "at": round(time.time(), 3), "previous": previous}
            row["digest"] = previous = digest_of(row)
            rows.append(row)
        connection.execute(insert(TrailEntry), rows)
    except DBAPIError as error:
        reason = str(error.orig).strip().splitlines() or [type(error).__name__]
        raise TrailError(
            f"The trail cannot be written: {reason[0].rstrip(' .:')}. What it was to tell of is not done.",
            "See that the database can be written and has space; `clinical trail --verify` checks what is there.",
        ) from None


def every_entry(connection: Connection) -> Iterator[dict[str, Any]]:
    """Yield every column of all entries, ascending by number, some at a time."""
    query = select(*TrailEntry.__table__.columns).order_by(TrailEntry.number).limit(_ROWS)
    rows = connection.execute(query).all()
    while rows:
        yield from (row._asdict() for row in rows)
        rows = connection.execute(query.where(TrailEntry.number > rows[-1].number)).all()


def in_turn(connection: Connection) -> None:
    """Keep all others from adding until the transaction ends; on SQLite who writes is alone anyway."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})


def digest_of(row: dict[str, Any]) -> str:
    """Return the sha256 of an entry's fields but its own digest, as canonical JSON: sorted keys, no spaces, ASCII."""
    told = ("number", "at", "who", "through", "project_id", "action", "details", "previous")
    return hashlib.sha256(_canonical({name: row[name] for name in told}).encode()).hexdigest()


def _noted(actor: Actor, action: TrailAction, project_id: int | None, details: dict[str, Any]) -> dict[str, Any]:
    return {
        "who": actor.shown_name,
        "through": actor.through,
        "project_id": project_id,
        "action": action.value,
        "details": _canonical(storable_json(details)),
    }


def _canonical(value: dict[str, Any]) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), default=str)
