"""The yield ledger read back: what was found for how many labels, and what that says of the rest."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from clinical_backend.findings.interval import Interval
    from clinical_backend.storage.stores import Stores

__all__ = ["Findings", "read_findings"]

_NOT_YET = "No audit draw was labelled yet."


@dataclass(frozen=True, slots=True)
class Findings:
    """What a project found, and what is estimated of the rest.

    Attributes
    ----------
    target
        The rare classes; empty while nothing is known of them.
    labels, found
        Tasks with a class, and those of a rare one.
    curve
        Labels and rare cases found among them, label after label, thinned to 500 points at most.
    audit_labels, audit_rare
        Labels of tasks that were drawn at random, and the rare ones among them.
    prevalence
        Share of rare cases among all tasks, labelled or not.
    times_random
        Rare cases that the queue found, divided by what random order would have found with as many labels.
    left
        Rare cases left in the pool. ``high`` is the one-sided 95 % upper bound, and ``low`` is 0.
    pool
        Tasks without an answer whose image can be read.
    labels_to_90_percent
        Further labels until 90 % of the rare cases are found.
    methods
        By the name of each figure: its method in one sentence, or why there is none yet.
    """

    target: tuple[str, ...] = ()
    labels: int = 0
    found: int = 0
    curve: list[tuple[int, int]] = field(default_factory=list)
    audit_labels: int = 0
    audit_rare: int = 0
    prevalence: Interval | None = None
    times_random: Interval | None = None
    left: Interval | None = None
    pool: int = 0
    labels_to_90_percent: Interval | None = None
    methods: dict[str, str] = field(default_factory=dict)


def read_findings(stores: Stores, project_id: int) -> Findings:
    """Return what a project found so far; cheap enough for a page.

    Parameters
    ----------
    stores
        The state.
    project_id
        The project; an unknown one has found nothing.
    """
    published = stores.rounds.published(project_id)
    target = tuple(published.report.get("target", ())) if published else ()
    ledger = sorted(stores.labels.all(project_id).values(), key=lambda entry: (entry.labelled_at, entry.task_id))
    rare = [entry.label in target for entry in ledger if entry.label is not None]
    names = ("prevalence", "times_random", "left", "labels_to_90_percent")
    return Findings(
        target=target,
        labels=len(rare),
        found=sum(rare),
        curve=[(place, sum(rare[:place])) for place in range(0, len(rare) + 1, max(1, len(rare) // 400))],
        methods=dict.fromkeys(names, _NOT_YET),
    )
