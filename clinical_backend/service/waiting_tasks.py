"""The tasks that wait in a project's queue: which of them are shown, and in which order."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from clinical_backend.multilabel import findings_of
from clinical_backend.origins import Draw

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from clinical_backend.storage.schema import QueuedTask

__all__ = ["SORTS", "QueueFilter", "WaitingTask", "choose_waiting", "count_choices"]

SORTS = ("place", "chance", "doubt")
"""By place in the queue, by how likely a task is rare, and by how unsure the classifier is of its class."""


@dataclass(frozen=True, slots=True)
class QueueFilter:
    """Which tasks of a queue are wanted.

    Attributes
    ----------
    why
        The value of a draw; empty for all.
    target
        Of several findings, the one that they are sought for; empty for all.
    predicted
        The class that the model says; empty for all.
    site
        Where they come from; empty for all.
    sort
        One of ``SORTS``.
    """

    why: str = ""
    target: str = ""
    predicted: str = ""
    site: str = ""
    sort: str = SORTS[0]

    def takes(self, row: QueuedTask, site: str | None) -> bool:
        """Tell whether a task is wanted. What the model says of an audit draw is not told by a filter either."""
        return (
            self.why in {"", row.draw.value}
            and self.site in {"", site}
            and (not self.target or self.target in (row.targets or ()))
            and (not self.predicted or self.predicted in _said(row))
        )


@dataclass(frozen=True, slots=True)
class WaitingTask:
    """A task of the queue that nobody answered.

    Attributes
    ----------
    row
        As it was queued.
    place
        Its place among those that wait, from 1.
    """

    row: QueuedTask
    place: int


def choose_waiting(
    rows: Sequence[QueuedTask], wanted: QueueFilter, sites: Mapping[int, str] | None = None
) -> list[WaitingTask]:
    """Return those of the waiting tasks that are wanted, in the order that is wanted.

    By chance and by doubt, audit draws come last: what the model believes of them is not told.

    Parameters
    ----------
    rows
        All that wait, in the order of the queue.
    sites
        Where each task comes from that says so.
    """
    sites = sites or {}
    found = [WaitingTask(row, place) for place, row in enumerate(rows, 1) if wanted.takes(row, sites.get(row.task_id))]
    if wanted.sort == "chance":
        found.sort(key=lambda one: -_likelihood(one.row))
    elif wanted.sort == "doubt":
        found.sort(key=lambda one: _certainty(one.row))
    return found


def count_choices(rows: Iterable[QueuedTask]) -> tuple[Mapping[str, int], Mapping[str, int], Mapping[str, int]]:
    """Return how many of the waiting tasks there are by draw, by target, and by what the model says."""
    every = list(rows)
    return (
        Counter(row.draw.value for row in every),
        _sorted(name for row in every for name in row.targets or ()),
        _sorted(name for row in every for name in _said(row)),
    )


def _sorted(names: Iterable[str]) -> dict[str, int]:
    return dict(sorted(Counter(names).items()))


def _said(row: QueuedTask) -> frozenset[str]:
    return frozenset() if row.draw is Draw.AUDIT or row.predicted is None else findings_of(row.predicted)


def _likelihood(row: QueuedTask) -> float:
    if row.draw is Draw.AUDIT:
        return -1.0
    return next((value for value in (row.chance, row.rare_probability) if value is not None), -0.5)


def _certainty(row: QueuedTask) -> float:
    if row.draw is Draw.AUDIT:
        return 2.0
    return 1.5 if row.probability is None else row.probability
