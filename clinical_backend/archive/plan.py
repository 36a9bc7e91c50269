"""Which tasks an import makes of what an archive holds: one for each image, or one for each series or study."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, Any, Literal

from clinical_backend.archive.header import FIELDS
from clinical_backend.archive.pseudonyms import is_pseudonym
from clinical_backend.study import evenly_spaced

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from clinical_backend.archive.found import Found
    from clinical_backend.archive.header import Header
    from clinical_backend.archive.pseudonyms import Pseudonyms

__all__ = ["IDENTITY", "RESERVED", "TOTAL", "Picture", "PlannedTask", "facts_of", "patients_of", "plan_tasks"]

IDENTITY = "dicom"
"""Field of a task that tells what it was imported from, as a keyed hash: an import that is run again finds it."""

TOTAL = "images_in_all"
"""Field of a task that says how many images there are where it shows fewer."""

RESERVED = frozenset({IDENTITY, TOTAL, "patient", "study", "year", *FIELDS})
"""Fields that an import writes, so that none may hold the images' addresses."""

Grouping = Literal["series", "study"]


@dataclass(frozen=True, slots=True)
class Picture:
    """One image that readers are to see.

    Attributes
    ----------
    found, frame
        An object of the archive, and the number of the frame, from 0.
    name
        Keyed hash of both, with the ending of its file.
    """

    found: Found
    frame: int
    name: str


@dataclass(frozen=True, slots=True)
class PlannedTask:
    """A task to be made.

    Attributes
    ----------
    identity
        Keyed hash of what it shows, which stands in its field ``dicom``.
    pictures
        What it shows, in order.
    data
        Its other fields.
    total
        How many images there are, also where not all are shown.
    """

    identity: str
    pictures: tuple[Picture, ...]
    data: dict[str, Any]
    total: int


def plan_tasks(
    objects: Iterable[Found],
    pseudonyms: Pseudonyms,
    *,
    grouping: Grouping | None,
    limit: int,
    year: bool = False,
) -> list[PlannedTask]:
    """Return the tasks to be made of the objects of an archive, in the order of these.

    Parameters
    ----------
    objects
        Each once.
    pseudonyms
        Makes what stands for patients, studies and objects.
    grouping
        What makes a task of several images; without one each object is a task, of several frames the middle one.
    limit
        Most images of a task; of more, evenly spaced ones are taken, the first and the last among them.
    year
        Whether a task says in which year the study was made.
    """
    groups: dict[tuple[str, str], list[Found]] = {}
    for one in objects:
        header = one.header
        group = {None: "", "series": header.series, "study": header.study}[grouping]
        key = (grouping or "", group) if group else ("instance", header.instance)
        groups.setdefault(key, []).append(one)
    return [
        _task(kind, identifier, members, pseudonyms, limit if grouping else 1, year)
        for (kind, identifier), members in groups.items()
    ]


def facts_of(header: Header, pseudonyms: Pseudonyms) -> dict[str, Any]:
    """Return what a task may say of an object, with hashes in place of its patient and its study."""
    facts: dict[str, Any] = dict(header.fields)
    for name, identifier in (("patient", header.patient), ("study", header.study)):
        if identifier:
            facts[name] = pseudonyms.of(name, identifier)
    return facts


def patients_of(tasks: Iterable[Mapping[str, Any]]) -> set[str]:
    """Return what stands for the patients of tasks, by these tasks' data.

    Where names were removed, often one number was left for all.
    """
    return {patient for data in tasks if is_pseudonym(patient := data.get("patient"))}


def _task(
    kind: str, identifier: str, members: Sequence[Found], pseudonyms: Pseudonyms, limit: int, year: bool
) -> PlannedTask:
    ordered = sorted(members, key=lambda one: (one.header.series, *one.header.order, one.header.instance))
    ends = list(accumulate(one.header.frames for one in ordered))
    places = ((at, bisect_right(ends, at)) for at in _chosen(ends[-1], limit))
    shown = [_picture(ordered[one], at - ends[one] + ordered[one].header.frames, pseudonyms) for at, one in places]
    header = shown[0].found.header
    data = facts_of(header, pseudonyms)
    if year and header.year is not None:
        data["year"] = header.year
    return PlannedTask(pseudonyms.of(kind, identifier), tuple(shown), data, ends[-1])


def _picture(found: Found, frame: int, pseudonyms: Pseudonyms) -> Picture:
    return Picture(found, frame, f"{pseudonyms.of('picture', f'{found.header.instance} {frame}')}.png")


def _chosen(count: int, limit: int) -> list[int]:
    return [(count - 1) // 2] if limit == 1 else evenly_spaced(count, limit)  # as a decoder takes the middle frame
