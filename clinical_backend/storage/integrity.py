"""What a flipped byte, a crash of the machine or a foreign hand may have done to the database, found at its opening."""

from __future__ import annotations

import logging
import sqlite3
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from sqlalchemy import Boolean, Enum, Integer, LargeBinary, String, inspect
from sqlalchemy.exc import OperationalError

from clinical_backend.errors import StorageError
from clinical_backend.storage.schema import (
    Base,
    Feature,
    QueuedTask,
    StudyImageRow,
    SuspectedLabel,
    TaskImage,
    TaskLabel,
)
from clinical_backend.storage.types import StoredEnum, StoredJSON, StoredText

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Column, Connection, Table

__all__ = ["DAMAGED_CURE", "check_pages", "check_rows"]

logger = logging.getLogger(__name__)

DAMAGED_CURE = (
    "Restore the last backup of the database. Without one, move clinical.sqlite3 and the files whose names begin so out"
    " of MODEL_DIR and start again: tasks, labels and tags are read back from Label Studio and images embedded anew;"
    " the history of rounds and what was set on the project's page are lost."
)

_SECONDS = 10.0
"""A database whose check takes longer is opened unchecked: readers wait. On two busy cores it is some 200,000 tasks."""
_STEPS_BETWEEN_LOOKS = 100_000
"""Of SQLite's virtual machine: 3 to 5 ms, measured on 200,000 rows in memory."""
_MOST_PROBLEMS = 3
"""That are told: the cure is the same for one as for many."""

_REBUILT = {table.__tablename__ for table in (Feature, TaskImage, StudyImageRow, TaskLabel, SuspectedLabel)}
"""Tables whose rows the next round makes anew, from Label Studio and from the images."""

_SHARES = {
    (QueuedTask.__tablename__, "probability"),
    (QueuedTask.__tablename__, "rare_probability"),
    (QueuedTask.__tablename__, "chance"),
    (QueuedTask.__tablename__, "chance_low"),
    (QueuedTask.__tablename__, "chance_high"),
    (SuspectedLabel.__tablename__, "rare_probability"),
}
"""Columns whose values are from 0 to 1."""


def check_pages(connection: Connection) -> None:
    """Have SQLite check its file, and make indexes anew where only they are wrong.

    Raises
    ------
    StorageError
        When the database is damaged.
    """
    problems = _problems_of_pages(connection)
    if problems and all("index" in problem for problem in problems):
        logger.warning("Indexes of the database are damaged and are made anew: %s", "; ".join(problems))
        connection.exec_driver_sql("REINDEX")
        problems = _problems_of_pages(connection)
    if problems:
        raise StorageError(f"The database is damaged: {'; '.join(problems)}.", DAMAGED_CURE)


def check_rows(connection: Connection) -> None:
    """Find values that the backend never wrote: of another type, no JSON, no known state. What can be is made anew.

    Raises
    ------
    StorageError
        When there are some that nothing can be read back for.
    """
    there = set(inspect(connection).get_table_names())
    for name, table in Base.metadata.tables.items():
        if name not in there:
            continue
        wrong = " OR ".join(f"({condition})" for column in table.columns for condition in _conditions(table, column))
        with _bounded(connection):
            count = connection.exec_driver_sql(f'SELECT count(*) FROM "{name}" WHERE {wrong}').scalar()  # noqa: S608 - our own names
            if not count:
                continue
            if name not in _REBUILT:
                raise StorageError(
                    f"The database is damaged: {count} rows of the table {name} hold what the backend never wrote.",
                    DAMAGED_CURE,
                )
            logger.warning("%d rows of the table %s are damaged; the next round makes them anew", count, name)
            connection.exec_driver_sql(f'DELETE FROM "{name}" WHERE {wrong}')  # noqa: S608


def _problems_of_pages(connection: Connection) -> list[str]:
    answers: list[Any] = []
    with _bounded(connection):
        answers += connection.exec_driver_sql(f"PRAGMA integrity_check({_MOST_PROBLEMS})").scalars()
    lines = [line.strip() for answer in answers for line in str(answer).splitlines()]
    return [line for line in lines if line not in {"ok", "*** in database main ***"}][:_MOST_PROBLEMS]


def _conditions(table: Table, column: Column[Any]) -> Iterator[str]:
    """Yield what is true in SQL of a wrong value of a column."""
    quoted = f'"{column.name}"'
    if isinstance(column.type, LargeBinary):
        kinds = ["'blob'"]
    elif isinstance(column.type, (String, Enum, StoredEnum, StoredJSON, StoredText)):
        kinds = ["'text'"]
    else:
        kinds = ["'integer'"] if isinstance(column.type, (Integer, Boolean)) else ["'integer'", "'real'"]
    if column.nullable:
        kinds.append("'null'")
    yield f"typeof({quoted}) NOT IN ({', '.join(kinds)})"
    if isinstance(column.type, StoredJSON):
        yield f"{quoted} IS NOT NULL AND NOT json_valid({quoted})"
    elif isinstance(column.type, StoredEnum):
        yield f"{quoted} NOT IN ({', '.join(repr(name) for name in column.type.names)})"
    elif isinstance(column.type, Boolean):
        yield f"{quoted} NOT IN (0, 1)"
    if (table.name, column.name) in _SHARES:
        yield f"{quoted} NOT BETWEEN 0 AND 1"


@contextmanager
def _bounded(connection: Connection) -> Iterator[None]:
    """Give up what takes too long, without a fault."""
    driver = connection.connection.driver_connection
    assert isinstance(driver, sqlite3.Connection)
    deadline = time.monotonic() + _SECONDS
    driver.set_progress_handler(lambda: time.monotonic() > deadline, _STEPS_BETWEEN_LOOKS)
    try:
        yield
    except OperationalError as error:
        code = getattr(error.orig, "sqlite_errorcode", 0)
        if code & 0xFF != sqlite3.SQLITE_INTERRUPT:
            raise
        logger.info("The database is too large to be checked within %.0f seconds", _SECONDS)
    finally:
        driver.set_progress_handler(None, 0)
