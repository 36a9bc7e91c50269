"""Opening the database: SQLite in WAL mode by default, PostgreSQL by URL."""

from __future__ import annotations

import logging
import sqlite3
import time
from contextlib import closing, contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from sqlalchemy import Connection, Engine, create_engine, event, update
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import (
    ArgumentError,
    DataError,
    DBAPIError,
    IntegrityError,
    NotSupportedError,
    ProgrammingError,
)
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.orm import Session

from clinical_backend.errors import StorageError
from clinical_backend.storage.integrity import DAMAGED_CURE, check_pages, check_rows
from clinical_backend.storage.migrations import upgrade
from clinical_backend.storage.schema import ModelFolder
from clinical_backend.storage.seal import Seal
from clinical_backend.storage.statements import request_all
from clinical_backend.storage.trail import TrailAction, append_by_backend, every_entry, write_noted
from clinical_backend.storage.trail_chain import verify_chain
from clinical_backend.system.permissions import keep_private, make_file

if TYPE_CHECKING:
    from collections.abc import Iterator


__all__ = ["Database", "Fence", "fenced"]

logger = logging.getLogger(__name__)

_LOCK_SECONDS = 30
"""Longest wait for a lock; on PostgreSQL also how long a transaction may stand still, as that of a stopped process."""
_LOOK_SECONDS = 0.02
"""The switch to WAL takes another process some milliseconds; not measured."""
_TRAIL_SECONDS = 5.0
"""After a change past the backend; on two cores they check some 200,000 entries."""
_FAULTS_OF_OURS = (DataError, IntegrityError, NotSupportedError, ProgrammingError)
"""What no state of disk or network explains."""


class Fence(Protocol):
    """Raises where this thread may write no more; ``lock`` keeps that from changing until the transaction ends."""

    def __call__(self, session: Session, *, lock: bool) -> None:
        """Look in the session's transaction."""


_fence: ContextVar[Fence | None] = ContextVar("fence", default=None)


@contextmanager
def fenced(fence: Fence | None) -> Iterator[None]:
    """Have every transaction that this thread writes within the block look first whether it still may."""
    token = _fence.set(fence)
    try:
        yield
    finally:
        _fence.reset(token)


class Database:
    """The backend's state. One instance serves all threads of a process; several processes may share it.

    Opening it brings its tables up to date; of several processes that do so at once, one does and the others wait.
    A connection that was lost is made anew by the next call.

    Parameters
    ----------
    url
        SQLAlchemy URL of an SQLite or PostgreSQL database.
    password
        Of the user in the URL, where it does not hold one.

    Raises
    ------
    StorageError
        When the database cannot be opened, its tables cannot be made, or a newer version made them. It names no
        password.
    """

    def __init__(self, url: str, password: str | None = None) -> None:
        self._url = _parse(url)
        self._seal: Seal | None = None
        if password is not None and self._url.password is None:
            self._url = self._url.set(password=password)
        if self._url.get_backend_name() == "sqlite" and self._url.database not in {None, "", ":memory:"}:
            path = Path(self._url.database or "")
            _make_private(path)
            self._seal = Seal(path)
        self._engine = _make_engine(self._url, seal=self._seal)
        try:
            with self._named_errors("opened", faults=()), self._migration() as connection:
                self._open(connection)
        except BaseException:
            self._engine.dispose()
            raise

    @classmethod
    def in_folder(cls, folder: Path) -> Database:
        """Open, or create, the SQLite database of a model folder."""
        try:
            keep_private(folder)
        except OSError as error:
            raise StorageError(
                f"The folder {folder} cannot be created: {error.strerror}.",
                "Set MODEL_DIR to a folder that this user may write to.",
            ) from error
        return cls(f"sqlite:///{folder / 'clinical.sqlite3'}")

    @property
    def note(self) -> Path | None:
        """The file that is there once an SQLite database was found changed past the backend; ``None`` elsewhere."""
        return None if self._seal is None else self._seal.note

    @contextmanager
    def read(self) -> Iterator[Session]:
        """Yield a session for reading; it sees one state of the database."""
        with self._named_errors("read"), self._engine.connect() as connection:
            if self._url.get_backend_name() == "postgresql":
                connection = connection.execution_options(isolation_level="REPEATABLE READ")  # noqa: PLW2901
            with Session(connection, expire_on_commit=False) as session:
                yield session

    @contextmanager
    def write(self) -> Iterator[Session]:
        """Yield a session whose changes are committed together, or not at all if an error leaves the block.

        What was noted for the trail is added last, in the same transaction.

        On SQLite, writers queue for the database from the start of the block, so keep it short. On PostgreSQL, they
        queue for the rows that they change or lock: what is read in order to be changed must be locked
        (``with_for_update``, which SQLite takes as said), a project before what belongs to it.
        """
        with (
            self._named_errors("written"),
            self._engine.connect().execution_options(writes=True) as connection,
            connection.begin(),
            Session(connection, expire_on_commit=False) as session,
        ):
            if (fence := _fence.get()) is not None:
                fence(session, lock=True)
            yield session
            session.flush()
            write_noted(session)

    def require_fence(self) -> None:
        """Raise what a write of this thread would raise, if it may write no more; for what is changed elsewhere."""
        if (fence := _fence.get()) is not None:
            with self.read() as session:
                fence(session, lock=False)

    def require_writable(self) -> None:
        """Write something that changes nothing. A database that another writer has for a moment counts as writable.

        Raises
        ------
        StorageError
            When it cannot be written: its disk is full, or it is a copy that may only be read.
        """
        sqlite = self._url.get_backend_name() == "sqlite"
        try:
            with self._named_errors("written"), self._engine.connect() as connection:
                driver: Any = connection.connection.driver_connection
                if sqlite:
                    driver.execute("PRAGMA busy_timeout=0")
                try:
                    with connection.execution_options(writes=True).begin():
                        connection.execute(update(ModelFolder).values(bound=ModelFolder.bound))
                finally:
                    if sqlite:
                        driver.execute(f"PRAGMA busy_timeout={1000 * _LOCK_SECONDS}")
        except _BusyError:
            return

    def close(self) -> None:
        """Close every connection."""
        if self._seal is not None and self._seal.database.exists():
            self._set_seal(self._seal)
        self._engine.dispose()

    def _open(self, connection: Connection) -> None:
        """Check the database, and bring its tables up to date."""
        if connection.dialect.name != "sqlite":
            upgrade(connection)
            return
        driver = connection.connection.driver_connection
        assert isinstance(driver, sqlite3.Connection)
        changed = self._seal is not None and self._seal.is_broken()
        check_pages(connection)
        upgrade(connection)
        check_rows(connection)
        if self._seal is not None and changed:
            self._seal.tell()
            request_all(connection, "the database was changed past the backend")
            trail = verify_chain(every_entry(connection), seconds=_TRAIL_SECONDS)
            if trail.broken is not None:
                logger.warning("%s", trail)
            append_by_backend(connection, TrailAction.CHANGED_PAST_BACKEND)
        if self._seal is not None and driver.total_changes:
            self._seal.lift()

    def _set_seal(self, seal: Seal) -> None:
        """Seal the database where nobody is writing to it; where that fails, it only stays unsealed."""
        try:
            with closing(self._engine.raw_connection()) as connection:
                driver = connection.driver_connection
                assert isinstance(driver, sqlite3.Connection)
                driver.execute("PRAGMA busy_timeout=0")
                driver.execute("PRAGMA wal_checkpoint(TRUNCATE)")
                driver.execute("BEGIN IMMEDIATE")
                try:
                    seal.set()
                finally:
                    driver.execute("ROLLBACK")
        except (DBAPIError, sqlite3.Error) as error:
            logger.debug("The database is not sealed (%s)", type(error).__name__)

    @contextmanager
    def _migration(self) -> Iterator[Connection]:
        """Yield a connection that nobody else writes beside, without checks of references.

        SQLite can change some columns only by making the table anew, which must not cascade.
        """
        engine = _make_engine(self._url, references=False)
        try:
            with engine.connect().execution_options(writes=True) as connection, connection.begin():
                yield connection
        finally:
            engine.dispose()

    @contextmanager
    def _named_errors(self, done: str, faults: tuple[type[DBAPIError], ...] = _FAULTS_OF_OURS) -> Iterator[None]:
        """Raise as an error of ours what the database, its disk or the way to it is the cause of."""
        try:
            yield
        except faults:
            raise
        except DBAPIError as error:
            if _code(error) == sqlite3.SQLITE_BUSY:
                raise _BusyError(f"The database cannot be {done}: {self._reason(error)}.", self._cure) from None
            cure = DAMAGED_CURE if _is_damage(error) else self._cure
            raise StorageError(f"The database cannot be {done}: {self._reason(error)}.", cure) from None
        except PoolTimeoutError:
            raise StorageError(f"The database cannot be {done}: all connections are busy.", self._cure) from None

    def _reason(self, error: DBAPIError) -> str:
        """Return the driver's first line: those that follow may hold values."""
        lines = str(error.orig).strip().splitlines()
        reason = lines[0].rstrip(" .:") if lines else type(error).__name__
        return reason.replace(str(self._url.password), "…") if self._url.password else reason

    @property
    def _cure(self) -> str:
        if self._url.get_backend_name() == "postgresql":
            return (
                "See that PostgreSQL runs, has free space, and lets the user of DATABASE_URL write; "
                "what could not be done is tried again."
            )
        return "Check that MODEL_DIR is on a writable disk with free space; what could not be done is tried again."


class _BusyError(StorageError):
    """Another writer has the SQLite database for too long."""


def _is_damage(error: DBAPIError) -> bool:
    return _code(error) in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}


def _code(error: DBAPIError) -> int:
    code: int = getattr(error.orig, "sqlite_errorcode", 0)
    return code & 0xFF  # the rest says of what kind


def _parse(url: str) -> URL:
    """Return a URL with its driver.

    Raises
    ------
    StorageError
        When it is of another database, or none.
    """
    try:
        parsed = make_url(url)
        backend = parsed.get_backend_name()
    except (ArgumentError, ValueError):
        backend = ""
    if backend in {"postgresql", "postgres"}:
        return parsed.set(drivername="postgresql+psycopg")
    if backend == "sqlite":
        return parsed
    raise StorageError(
        "DATABASE_URL names no database that the backend can work with.",
        "Set it to postgresql://user:password@host/database, or leave it out for SQLite in MODEL_DIR.",
    )


def _make_private(path: Path) -> None:
    """See that an SQLite database is its user's alone: its journals get the mode that it has."""
    with suppress(OSError):  # SQLite says better what stands in its way
        make_file(path)


def _make_engine(url: URL, *, references: bool = True, seal: Seal | None = None) -> Engine:
    sqlite = url.get_backend_name() == "sqlite"
    try:
        engine = create_engine(
            url,
            connect_args={"timeout" if sqlite else "connect_timeout": _LOCK_SECONDS},
            hide_parameters=True,  # labels do not belong in a log
            pool_pre_ping=not sqlite,
        )
    except ModuleNotFoundError:
        raise StorageError(
            "DATABASE_URL names PostgreSQL, whose driver is not installed.",
            "Install it: pip install 'clinical-backend[postgresql]'.",
        ) from None
    if sqlite:
        _configure_sqlite(engine, references=references, seal=seal)
    elif references:  # a migration may wait for another one for as long as that takes
        _bound_waits(engine)
    return engine


def _bound_waits(engine: Engine) -> None:
    """Have PostgreSQL end waits for locks, and the transaction of a process that was stopped within it."""

    @event.listens_for(engine, "connect")
    def _connect(connection: Any, _record: object) -> None:  # noqa: ANN401
        with connection.cursor() as cursor:
            for name in ("lock_timeout", "idle_in_transaction_session_timeout"):
                cursor.execute("SELECT set_config(%s, %s, false)", (name, f"{_LOCK_SECONDS}s"))
        connection.commit()


def _configure_sqlite(engine: Engine, *, references: bool, seal: Seal | None) -> None:
    @event.listens_for(engine, "connect")
    def _connect(connection: Any, _record: object) -> None:  # noqa: ANN401
        connection.isolation_level = None  # transactions begin below, not where the driver guesses
        cursor = connection.cursor()
        _journal_ahead(cursor)
        cursor.execute("PRAGMA synchronous=NORMAL")
        cursor.execute(f"PRAGMA foreign_keys={'ON' if references else 'OFF'}")
        cursor.close()

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        # A transaction that reads first and then writes fails at once if another wrote meanwhile.
        immediate = connection.get_execution_options().get("writes", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if immediate else "BEGIN")
        if immediate and seal is not None:
            seal.lift()


def _journal_ahead(cursor: sqlite3.Cursor) -> None:
    """Switch the database to WAL, which SQLite refuses at once, without its timeout, while another does so."""
    deadline = time.monotonic() + _LOCK_SECONDS
    while True:
        try:
            cursor.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError as error:
            busy = error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY  # the rest of the code says of what kind
            if not busy or time.monotonic() > deadline:
                raise
            time.sleep(_LOOK_SECONDS)
        else:
            return
