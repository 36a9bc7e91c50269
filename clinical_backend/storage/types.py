"""Column types that take whatever others wrote: no half character and no NUL stops a transaction."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import JSON, String
from sqlalchemy.types import TypeDecorator

from clinical_backend.storable import storable, storable_json

if TYPE_CHECKING:
    from sqlalchemy.engine import Dialect

__all__ = ["StorableJSON", "StorableText"]


class StorableText(TypeDecorator[str]):
    """Text as :func:`storable` makes it."""

    impl = String
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        """Return what is stored."""
        del dialect
        return None if value is None else storable(value)


class StorableJSON(TypeDecorator[Any]):
    """JSON as :func:`storable_json` makes it."""

    impl = JSON
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Dialect) -> Any:  # noqa: ANN401
        """Return what is stored."""
        del dialect
        return storable_json(value)
