"""The versions of the tables, and the way from each to the next."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from alembic.operations import Operations
from alembic.runtime.migration import MigrationContext, MigrationStep
from alembic.script import ScriptDirectory
from alembic.util.exc import CommandError
from sqlalchemy import inspect, text

from clinical_backend.errors import StorageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Connection

__all__ = ["upgrade"]

_FIRST = "0001"
_LOCK = 0x636C696E6963616C  # "clinical", in ASCII
_one_at_a_time = threading.Lock()  # the operations of a migration script are a global of Alembic's


def upgrade(connection: Connection) -> None:
    """Bring the tables of a database up to date, in the transaction of the connection.

    Parameters
    ----------
    connection
        Within a transaction; on SQLite, one that holds the write lock.

    Raises
    ------
    StorageError
        When a newer version made the tables, or one from before the first release.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
    scripts = ScriptDirectory(__path__[0])

    def steps(present: tuple[str, ...], _context: MigrationContext) -> Sequence[MigrationStep]:
        _check_known(scripts, present)
        ahead = scripts.iterate_revisions("head", present, implicit_base=True)
        return [MigrationStep.upgrade_from_script(scripts.revision_map, script) for script in reversed(list(ahead))]

    with _one_at_a_time:
        context = MigrationContext.configure(connection, opts={"fn": steps})
        if not context.get_current_heads() and _is_unversioned(connection):
            context.stamp(scripts, _FIRST)
        with Operations.context(context):
            context.run_migrations()


def _check_known(scripts: ScriptDirectory, present: tuple[str, ...]) -> None:
    try:
        scripts.get_revisions(present)
    except CommandError:
        raise StorageError(
            "The database was made by a newer version of the backend.",
            "Install that version again, or restore the copy of the database from before its upgrade.",
        ) from None


def _is_unversioned(connection: Connection) -> bool:
    """Tell whether the tables are of the last release that kept no version of them; other ones are refused."""
    inspector = inspect(connection)
    if not inspector.has_table("projects"):
        return False
    if "adaptation" not in {column["name"] for column in inspector.get_columns("projects")}:
        raise StorageError(
            "The database is of a version from before the first release.",
            "Move clinical.sqlite3 out of MODEL_DIR and start again: tasks, labels and tags are read back from "
            "Label Studio, and images are embedded anew.",
        )
    return True
