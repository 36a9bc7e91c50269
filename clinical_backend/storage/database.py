"""Opening the database: SQLite in WAL mode by default, anything SQLAlchemy knows by URL."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Engine, create_engine, event, inspect
from sqlalchemy.exc import DatabaseError
from sqlalchemy.orm import Session

from clinical_backend.errors import StorageError
from clinical_backend.storage.schema import Base

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["Database"]


class Database:
    """The backend's state. One instance serves all threads of a process; several processes may share it.

    Parameters
    ----------
    url
        SQLAlchemy URL.

    Raises
    ------
    StorageError
        When the database cannot be opened, its tables cannot be made, or another version made them.
    """

    def __init__(self, url: str) -> None:
        self._engine = create_engine(url, connect_args={"timeout": 30} if url.startswith("sqlite") else {})
        if self._engine.dialect.name == "sqlite":
            _configure_sqlite(self._engine)
        try:
            with self._write_connection() as connection:
                Base.metadata.create_all(connection)
                _check_columns(connection)
        except StorageError:
            self._engine.dispose()
            raise
        except DatabaseError as error:
            self._engine.dispose()
            raise StorageError(
                f"The database cannot be opened: {error.orig}.",
                "Check that MODEL_DIR is on a writable disk with free space; a damaged database may be moved away.",
            ) from error

    @classmethod
    def in_folder(cls, folder: Path) -> Database:
        """Open, or create, the SQLite database of a model folder."""
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StorageError(
                f"The folder {folder} cannot be created: {error.strerror}.",
                "Set MODEL_DIR to a folder that this user may write to.",
            ) from error
        return cls(f"sqlite:///{folder / 'clinical.sqlite3'}")

    @contextmanager
    def read(self) -> Iterator[Session]:
        """Yield a session for reading; it sees one state of the database."""
        with Session(self._engine, expire_on_commit=False) as session:
            yield session

    @contextmanager
    def write(self) -> Iterator[Session]:
        """Yield a session whose changes are committed together, or not at all if an error leaves the block.

        Writers queue for the database from the start of the block, so keep it short.
        """
        with self._write_connection() as connection, Session(connection, expire_on_commit=False) as session:
            yield session
            session.flush()

    @contextmanager
    def _write_connection(self) -> Iterator[Connection]:
        with self._engine.connect().execution_options(writes=True) as connection, connection.begin():
            yield connection

    def close(self) -> None:
        """Close every connection."""
        self._engine.dispose()


def _check_columns(connection: Connection) -> None:
    """Refuse tables that another version of the backend made."""
    inspector = inspect(connection)
    for table in Base.metadata.tables.values():
        there = {column["name"] for column in inspector.get_columns(table.name)}
        if missing := sorted(set(table.columns.keys()) - there):
            raise StorageError(
                f"The database is of another version of the backend: its table {table.name} has no {missing[0]}.",
                "Move clinical.sqlite3 out of MODEL_DIR and start again: tasks, labels and tags are read back from "
                "Label Studio, and images are embedded anew.",
            )


def _configure_sqlite(engine: Engine) -> None:
    @event.listens_for(engine, "connect")
    def _connect(connection: Any, _record: object) -> None:  # noqa: ANN401
        connection.isolation_level = None  # transactions begin below, not where the driver guesses
        cursor = connection.cursor()
        cursor.execute("PRAGMA journal_mode=WAL")
        cursor.execute("PRAGMA synchronous=NORMAL")
        cursor.execute("PRAGMA foreign_keys=ON")
        cursor.close()

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        # A transaction that reads first and then writes fails at once if another wrote meanwhile.
        immediate = connection.get_execution_options().get("writes", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if immediate else "BEGIN")
