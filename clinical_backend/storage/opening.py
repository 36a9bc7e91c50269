"""One database, one model folder: the index in the one is of the files in the other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from sqlalchemy import select, update

from clinical_backend.errors import StorageError
from clinical_backend.storage.database import Database
from clinical_backend.storage.schema import ModelFolder
from clinical_backend.system.permissions import keep_private, make_file

if TYPE_CHECKING:
    from pathlib import Path

    from pydantic import SecretStr

__all__ = ["bind", "identity_of", "open_database"]


class Place(Protocol):
    """Where a backend keeps what it knows: the settings of these names."""

    @property
    def model_dir(self) -> Path:
        """The folder of everything that is kept."""

    @property
    def database_url(self) -> SecretStr | None:
        """PostgreSQL, in place of the SQLite database in that folder."""

    @property
    def database_password(self) -> SecretStr | None:
        """Its password, where the address holds none."""


def open_database(settings: Place) -> Database:
    """Open, or create, the database of DATABASE_URL; by default the SQLite database of the model folder.

    Raises
    ------
    StorageError
        When it cannot be opened, or was used with another folder.
    """
    if settings.database_url is None:
        return Database.in_folder(settings.model_dir)
    password = settings.database_password
    database = Database(settings.database_url.get_secret_value(), password.get_secret_value() if password else None)
    try:
        bind(database, settings.model_dir)
    except BaseException:
        database.close()
        raise
    return database


def identity_of(database: Database) -> str:
    """Return the random digits that tell a database from others."""
    with database.read() as session:
        return session.scalars(select(ModelFolder.identity)).one()


def bind(database: Database, folder: Path) -> None:
    """Note the folder that a database is used with, or refuse another one.

    With another folder, features of one image would be taken for those of another, and models be missing.

    Raises
    ------
    StorageError
        When the folder is another one, or cannot be written.
    """
    mark = folder / "database-id"
    with database.write() as session:
        unbound = update(ModelFolder).where(ModelFolder.bound.is_(False))
        first = session.scalar(unbound.values(bound=True).returning(ModelFolder.identity))
        identity = session.scalar(select(ModelFolder.identity))
        try:
            if first is not None or folder.is_dir():
                keep_private(folder)
            if first is not None:
                make_file(mark)
                mark.write_text(f"{identity}\n")
            there = mark.read_text().strip()
        except FileNotFoundError:
            there = ""
        except OSError as error:
            raise StorageError(
                f"The folder {folder} cannot be used: {error.strerror}.",
                "Set MODEL_DIR to a folder that this user may write to.",
            ) from None
    if there != identity:
        raise StorageError(
            f"The folder {folder} is not the one that the database of DATABASE_URL was used with.",
            f"Let MODEL_DIR be the same shared folder on every machine; if it is lost, write {identity} into {mark}, "
            "and images are embedded anew.",
        )
