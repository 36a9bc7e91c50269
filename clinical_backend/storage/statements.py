"""Statements that both databases have in a form of their own, and long lists in them."""

from __future__ import annotations

import time
from operator import itemgetter
from typing import TYPE_CHECKING, Any, TypeVar

from sqlalchemy import bindparam, inspect, select, update
from sqlalchemy.dialects import postgresql, sqlite

from clinical_backend.storage.schema import Project, ReservedTask, TaskLabel

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager

    from sqlalchemy import Connection, CursorResult, Exists, Select, Update
    from sqlalchemy.orm import InstrumentedAttribute, Session

    from clinical_backend.storage.schema import Base

__all__ = [
    "fetched",
    "in_parts",
    "in_transactions",
    "insert_if_missing",
    "is_answered",
    "is_reserved",
    "request_all",
    "set_columns",
]

Value = TypeVar("Value")

_SIZE = 500
"""Well below the 999 variables that SQLite before 3.32 takes in a statement."""
_ROWS = 5000
"""Of a transaction: they take some 50 ms."""
_FETCHED = 5000
"""Rows at a time, chosen: of a million, no more than these lie about."""


def in_parts(values: Sequence[Value], size: int = _SIZE) -> Iterator[Sequence[Value]]:
    """Yield values in parts that one statement may name: SQLite bounds the number of its variables."""
    return (values[start : start + size] for start in range(0, len(values), size))


def in_transactions(rows: Sequence[Value]) -> Iterator[Sequence[Value]]:
    """Yield rows in parts to be written one after the other: on SQLite everybody else waits for a writer meanwhile.

    A part takes some 50 ms.
    """
    return in_parts(rows, _ROWS)


def fetched(connection: Connection, query: Select[*tuple[Any, ...]]) -> CursorResult[*tuple[Any, ...]]:
    """Return rows that are fetched many at a time: one by one, a million take a fifth longer."""
    return connection.execute(query, execution_options={"yield_per": _FETCHED})


def set_columns(
    write: Callable[[], AbstractContextManager[Session]],
    changed: Update,
    keys: Sequence[str],
    rows: Sequence[Mapping[str, Any]],
    **same: Any,
) -> None:
    """Set columns of some rows, part by part, in one order, lest two writers wait for each other.

    Parameters
    ----------
    write
        Begins a transaction.
    changed
        Names the rows by bound parameters; those that are gone meanwhile are passed over.
    keys
        Names of these parameters.
    rows
        A value for each of them, and for each column that differs from row to row.
    same
        Columns that are the same for all.
    """
    if not rows:
        return
    values = {name: bindparam(name) for name in rows[0] if name not in keys} | same
    for part in in_transactions(sorted(rows, key=itemgetter(*keys))):
        with write() as session:
            session.connection().execute(changed.values(values), list(part))


def insert_if_missing(session: Session, table: type[Base], values: Mapping[str, Any]) -> bool:
    """Insert a row unless there is one of its key, which another process may just have made; tell whether this did."""
    insert = postgresql.insert if session.get_bind().dialect.name == "postgresql" else sqlite.insert
    key = inspect(table).primary_key
    made = session.execute(insert(table).values(values).on_conflict_do_nothing().returning(*key))
    return made.first() is not None


def is_answered(project_id: InstrumentedAttribute[int] | int, task_id: InstrumentedAttribute[int]) -> Exists:
    """Return a condition of a query: that the task it looks at, whose project and id these are, has a label."""
    return select(TaskLabel.task_id).where(TaskLabel.project_id == project_id, TaskLabel.task_id == task_id).exists()


def is_reserved(project_id: InstrumentedAttribute[int] | int, task_id: InstrumentedAttribute[int]) -> Exists:
    """Return a condition of a query: that the task it looks at, whose project and id these are, is of a test set."""
    chosen = ReservedTask.project_id == project_id, ReservedTask.task_id == task_id
    return select(ReservedTask.task_id).where(*chosen).exists()


def request_all(connection: Connection, reason: str) -> None:
    """Make a round due for every project, which lists all its tasks."""
    connection.execute(update(Project).values(listed_at=0.0, not_before=0.0))
    connection.execute(
        update(Project).where(Project.request.is_(None)).values(request=reason, requested_at=time.time())
    )
