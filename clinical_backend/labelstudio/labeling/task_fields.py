"""Which fields the tasks' data have, so that people choose one instead of remembering its name; no value is kept."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping

__all__ = ["MOST_VALUES", "TaskField", "count_fields"]

MOST_VALUES = 50_000
"""Different values of a field that are counted: 4 MB of hashes, and more patients than a project of one team has."""
_MOST_FIELDS = 40
"""More are no choice any more, but a search."""
_DEPTH = 3
"""Of fields in fields: as deep as addresses in Label Studio's examples go."""
_LONGEST_NAME = 200
"""As long as the setting that names a field may be."""


@dataclass(frozen=True, slots=True)
class TaskField:
    """A field of the tasks' data that holds text or a number.

    Attributes
    ----------
    name
        As a setting names it, such as ``patient`` or ``case.site``.
    tasks
        How many tasks have it.
    values
        How many different values it has, counted to ``MOST_VALUES``.
    """

    name: str
    tasks: int
    values: int


def count_fields(tasks: Iterable[Mapping[str, Any]], *, without: Collection[str] = ()) -> list[TaskField]:
    """Return the fields that most tasks have, those first, and the rest by name.

    Parameters
    ----------
    tasks
        The data of each.
    without
        Names of fields that are left out, such as that of the image.
    """
    counts: dict[str, int] = {}
    values: dict[str, set[int]] = {}
    for data in tasks:
        for name, value in _told(data):
            if name in without or len(name) > _LONGEST_NAME:
                continue
            counts[name] = counts.get(name, 0) + 1
            seen = values.setdefault(name, set())
            if len(seen) < MOST_VALUES:
                seen.add(hash(str(value)))
    ordered = sorted(counts, key=lambda name: (-counts[name], name))
    return [TaskField(name, counts[name], len(values[name])) for name in ordered[:_MOST_FIELDS]]


def _told(data: Mapping[str, Any], before: str = "", depth: int = 1) -> Iterator[tuple[str, str | int | float]]:
    for name, value in data.items():
        if isinstance(value, dict) and depth < _DEPTH:
            yield from _told(value, f"{before}{name}.", depth + 1)
        elif isinstance(value, str | int | float) and not isinstance(value, bool) and value != "":
            yield f"{before}{name}", value
