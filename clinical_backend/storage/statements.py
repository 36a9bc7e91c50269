"""Long lists in statements."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["in_parts", "in_transactions"]

Value = TypeVar("Value")

_SIZE = 500


_ROWS = 5000


def in_parts(values: Sequence[Value], size: int = _SIZE) -> Iterator[Sequence[Value]]:
    """Yield values in parts that one statement may name: SQLite bounds the number of its variables."""
    return (values[start : start + size] for start in range(0, len(values), size))


def in_transactions(rows: Sequence[Value]) -> Iterator[Sequence[Value]]:
    """Yield rows in parts to be written one after the other: on SQLite everybody else waits for a writer meanwhile.

    A part takes some 50 ms.
    """
    return in_parts(rows, _ROWS)
