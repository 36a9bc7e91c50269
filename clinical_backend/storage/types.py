"""Column types: what others wrote never stops a transaction, and what was changed past the backend is told of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import JSON, Enum, String
from sqlalchemy.types import TypeDecorator

from clinical_backend.errors import StorageError
from clinical_backend.storage.report import RoundReport
from clinical_backend.text import storable, storable_json

if TYPE_CHECKING:
    from collections.abc import Callable
    from enum import StrEnum

    from sqlalchemy.engine import Dialect

__all__ = ["StoredEnum", "StoredJSON", "StoredReport", "StoredText"]


class StoredText(TypeDecorator[str]):
    """Text as :func:`storable` makes it: no half character and no NUL."""

    impl = String
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        """Return what is stored."""
        del dialect
        return None if value is None else storable(value)


class _Stored(TypeDecorator[Any]):
    """A type whose values, where they were changed past the backend, are told of by name."""

    def result_processor(self, dialect: Dialect, coltype: object) -> Callable[[Any], Any] | None:
        """Return what makes a value of what the database gives."""
        process = super().result_processor(dialect, coltype)
        if process is None:
            return None

        def named(value: Any) -> Any:  # noqa: ANN401 - as the library has it
            try:
                return process(value)
            except (ValueError, LookupError, TypeError):
                raise StorageError(
                    "The database is damaged: it holds a value that the backend never wrote.",
                    "Restart the backend: it says what is wrong, or makes it anew; else restore the last backup.",
                ) from None

        return named


class StoredEnum(_Stored):
    """A member of an enumeration, by its name: PostgreSQL's own type cannot be changed together with the tables."""

    impl = Enum
    cache_ok = True

    def __init__(self, members: type[StrEnum]) -> None:
        super().__init__(members, native_enum=False)
        self.names = tuple(members.__members__)


class StoredJSON(_Stored):
    """JSON as text, as :func:`storable_json` makes it."""

    impl = JSON
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Dialect) -> Any:  # noqa: ANN401
        """Return what is stored."""
        del dialect
        return storable_json(value)


class StoredReport(StoredJSON):
    """The report of a round, as JSON."""

    cache_ok = True

    def process_bind_param(self, value: RoundReport | None, dialect: Dialect) -> Any:  # noqa: ANN401
        """Return what is stored."""
        return super().process_bind_param(None if value is None else value.to_json(), dialect)

    def process_result_value(self, value: Any, dialect: Dialect) -> RoundReport:  # noqa: ANN401
        """Return the report, be it of an earlier version."""
        del dialect
        return RoundReport.from_json(value)
