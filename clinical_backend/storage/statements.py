"""Long lists in statements."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["in_parts"]

Value = TypeVar("Value")

_SIZE = 500


def in_parts(values: Sequence[Value]) -> Iterator[Sequence[Value]]:
    """Yield values in parts that one statement may name: SQLite bounds the number of its variables."""
    return (values[start : start + _SIZE] for start in range(0, len(values), _SIZE))
