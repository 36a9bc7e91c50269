"""Subgroups of cases by what a field of their data says, none of them so small that it points to a patient."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from clinical_backend.findings.cases import Value

__all__ = ["LEAST_PATIENTS", "Grouping", "group_by"]

LEAST_PATIENTS = 5
"""Patients below which a subgroup is not listed. As many as European statistical offices mostly ask of a cell of a
table at least (they ask for 3 to 10), so that nobody in it is recognised."""
_MOST = 10
"""Values of a field that are told apart: a table that fits on half a page."""
_DECADE = 10
_OLDEST = 130
"""Numbers from 0 to this are banded by tens, as ages are; others by their quartiles."""
_QUARTILES = (0.25, 0.5, 0.75)


@dataclass(frozen=True)
class Grouping:
    """The subgroups of a field.

    Attributes
    ----------
    how
        How they were made, in a sentence.
    members
        By the name of a subgroup, which cases belong to it, shape (n,).
    withheld
        Values that have no subgroup of their own, since too few patients have them.
    """

    how: str
    members: Mapping[str, NDArray[np.bool_]]
    withheld: int


def group_by(values: Sequence[Value], patients: NDArray[np.int64]) -> Grouping:
    """Return subgroups of at least five patients each.

    Values of fewer patients, and all but the nine most frequent of more than ten, are put together; where these
    together are still too few patients they are in no subgroup, and their values are not named. Numbers of more than
    ten values are banded.

    Parameters
    ----------
    values
        What the field says of each case.
    patients
        A number for each case, shape (n,).
    """
    how, names = _named(values)
    found = Counter(names)
    listed = sorted(found, key=lambda name: (-found[name], name))
    row_of = np.array(names, dtype=object)
    members = {name: row_of == name for name in listed}
    small = [name for name in listed if _patients(members[name], patients) < LEAST_PATIENTS]
    kept = [name for name in listed if name not in small]
    rest = list(small)
    if len(listed) > _MOST:
        rest, kept = [*rest, *kept[_MOST - 1 :]], kept[: _MOST - 1]
    subgroups = {name: members[name] for name in sorted(kept, key=_order)}
    if rest and _patients(_any_of(rest, members), patients) >= LEAST_PATIENTS:
        # A value may be called so itself.
        subgroups[_free("others", subgroups)] = _any_of(rest, members)
    return Grouping(how, subgroups, len(small))


def _named(values: Sequence[Value]) -> tuple[str, list[str]]:
    """Return how cases are told apart, and the name of each case's subgroup."""
    missing = "not stated"
    numbers = [_number(value) for value in values]
    told = [number for number, value in zip(numbers, values, strict=True) if not _is_missing(value)]
    if told and all(number is not None for number in told) and len(set(told)) > _MOST:
        known = [number for number in told if number is not None]
        how, edges = _bands(known)
        names = [missing if number is None else _band(number, edges) for number in numbers]
        return how, names
    names = [missing if _is_missing(value) else str(value) for value in values]
    return "By value.", names


def _bands(known: Sequence[float]) -> tuple[str, list[float]]:
    if min(known) >= 0 and max(known) <= _OLDEST:
        low, high = (math.floor(end / _DECADE) * _DECADE for end in (min(known), max(known)))
        edges = [float(edge) for edge in range(low + _DECADE, high + 1, _DECADE)]
        while len(edges) >= _MOST:  # the band with fewer cases at either end joins its neighbour
            below, above = sum(one < edges[0] for one in known), sum(one >= edges[-1] for one in known)
            edges = edges[1:] if below <= above else edges[:-1]
        return "By tens; a band includes its lower end.", edges
    edges = sorted({float(one) for one in np.quantile(known, _QUARTILES)})
    return "By the quartiles of these cases; a band includes its lower end.", edges


def _band(number: float, edges: Sequence[float]) -> str:
    place = int(np.searchsorted(edges, number, side="right"))
    if place == 0:
        return f"below {edges[0]:g}" if edges else "all"
    if place == len(edges):
        return f"{edges[-1]:g} and above"
    return f"{edges[place - 1]:g} to {edges[place]:g}"


def _number(value: Value) -> float | None:
    if _is_missing(value) or isinstance(value, bool):
        return None
    try:
        number = float(value or 0)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _is_missing(value: Value) -> bool:
    return value is None or (isinstance(value, str) and not value.strip()) or (value != value)  # noqa: PLR0124 - NaN


def _order(name: str) -> tuple[float, str]:
    """Sort bands by where they begin, and other values by their name."""
    first = name.removeprefix("below ").split(" ")[0]
    try:
        return float(first) - (0.5 if name.startswith("below ") else 0.0), name
    except ValueError:
        return math.inf, name


def _patients(members: NDArray[np.bool_], patients: NDArray[np.int64]) -> int:
    return len(np.unique(patients[members]))


def _any_of(names: Sequence[str], members: Mapping[str, NDArray[np.bool_]]) -> NDArray[np.bool_]:
    found: NDArray[np.bool_] = np.any([members[name] for name in names], axis=0)
    return found


def _free(name: str, taken: Mapping[str, object]) -> str:
    while name in taken:
        name += " of few"
    return name
