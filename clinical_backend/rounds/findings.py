"""The yield ledger read back: what was found for how many labels, and what that says of the rest."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from clinical_backend.findings.forecast import labels_to_share
from clinical_backend.findings.remaining import RoundYield, remaining
from clinical_backend.findings.yields import prevalence, times_random
from clinical_backend.storage.schema import Draw, Origin

if TYPE_CHECKING:
    from collections.abc import Sequence

    from clinical_backend.findings.interval import Interval
    from clinical_backend.storage.labels import LedgerEntry
    from clinical_backend.storage.schema import Round
    from clinical_backend.storage.stores import Stores

__all__ = ["Findings", "read_findings"]

_ESTIMATES = ("prevalence", "times_random", "left", "labels_to_90_percent")
_NO_TARGET = "Nothing is known of the target yet: tag an exemplar, or name RARE_CLASSES."
_NO_AUDIT = "No task that was drawn at random has a label yet: AUDIT_SHARE of each queue is drawn so."
_CURVE_POINTS = 500
_SHARE = 0.9
_UNCOVERED = 0.05
"""Share of a project's tasks that may be newer than the draws that the estimates rest on."""


@dataclass(frozen=True, slots=True)
class Findings:
    """What a project found, and what is estimated of the rest.

    Attributes
    ----------
    target
        The rare classes; empty while nothing is known of them.
    labels, found
        Tasks with a class, and those of a rare one.
    origins
        Labels, and rare cases among them, by how the labels came about; those that there are none of are left out.
    second_readings
        Tasks that two readers or more answered.
    curve
        Labels from queues and rare cases found among them, label after label, thinned to 500 points at most.
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
    origins: dict[Origin, tuple[int, int]] = field(default_factory=dict)
    second_readings: int = 0
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
    ledger = stores.labels.ledger(project_id)
    pool = stores.labels.open_tasks(project_id)
    known = Findings(
        target=target,
        labels=len(ledger),
        found=sum(entry.label in target for entry in ledger),
        origins=_origins(ledger, target),
        second_readings=sum(entry.readings > 1 for entry in ledger),
        curve=_curve([entry.label in target for entry in ledger if entry.draw is not None]),
        audit_labels=sum(entry.draw is Draw.AUDIT for entry in ledger),
        audit_rare=sum(entry.draw is Draw.AUDIT and entry.label in target for entry in ledger),
        pool=pool,
    )
    return _with_estimates(stores, project_id, known, ledger)


def _with_estimates(stores: Stores, project_id: int, known: Findings, ledger: Sequence[LedgerEntry]) -> Findings:
    audited = {entry.round_number for entry in ledger if entry.draw is Draw.AUDIT and entry.round_number is not None}
    drawing = [row for row in stores.rounds.with_numbers(project_id, audited) if "newest_task" in row.report]
    if not known.target:
        return replace(known, methods=dict.fromkeys(_ESTIMATES, _NO_TARGET))
    if not drawing:
        return replace(known, methods=dict.fromkeys(_ESTIMATES, _NO_AUDIT))
    first = _first_usable(stores, project_id, drawing, tasks=known.pool + known.labels)
    newest = int(first.report["newest_task"])
    counts = _Counts([entry for entry in ledger if entry.task_id <= newest], known.target)
    pool = stores.labels.open_tasks(project_id, up_to=newest)
    queues = stores.rounds.with_numbers(project_id, counts.rounds)
    yields = [counts.yield_of(row, pool) for row in queues if row.number >= first.number]
    left = remaining(pool, yields)
    method = (
        f"{sum(one.audit_labels for one in yields)} labels of tasks drawn at random in rounds {first.number} to "
        f"{drawing[-1].number}, each from what was unlabelled then (hypergeometric likelihood, prior ∝ 1/(x + 1))"
    )
    if newer := known.pool + known.labels - pool - len(counts):
        method += f"; {newer} tasks that came later are not covered"
    found, queue_labels, queue_found = counts.found, counts.queue_labels, counts.queue_found
    return replace(
        known,
        prevalence=prevalence(left, found=found, tasks=pool + len(counts)),
        left=left.bound(),
        times_random=times_random(left, found=queue_found, labels=queue_labels, pool=pool),
        labels_to_90_percent=labels_to_share(left, yields, found=found, pool=pool, share=_SHARE),
        methods={
            "prevalence": f"From {method}; the shortest interval that holds 95 %.",
            "left": f"From {method}; the one-sided 95 % bound.",
            "times_random": "Rare cases that the queue found, divided by those that as many labels find in random "
            f"order. The share of rare cases is estimated from {method}; the shortest interval that holds 95 %.",
            "labels_to_90_percent": "Forecast if the queue goes on to prefer rare cases as in its last 500 labels "
            f"(biased urn). The rare cases left are estimated from {method}; the shortest interval that holds 95 %.",
        },
    )


def _first_usable(stores: Stores, project_id: int, rounds: Sequence[Round], *, tasks: int) -> Round:
    """Return the earliest round that knew nearly all tasks of now: what was imported later was not drawn from."""
    for row in rounds:
        if stores.labels.tasks_beyond(project_id, int(row.report["newest_task"])) <= _UNCOVERED * tasks:
            return row
    return rounds[-1]


class _Counts:
    """Counts labels by round, and by what was open when a round drew."""

    def __init__(self, ledger: Sequence[LedgerEntry], target: Sequence[str]) -> None:
        self._rare = np.array([entry.label in target for entry in ledger], dtype=bool)
        self._audit = np.array([entry.draw is Draw.AUDIT for entry in ledger], dtype=bool)
        self._queued = np.array([entry.draw is not None for entry in ledger], dtype=bool)
        self._round = np.array([entry.round_number or 0 for entry in ledger], dtype=np.int64)

    def __len__(self) -> int:
        return len(self._rare)

    @property
    def rounds(self) -> set[int]:
        """Numbers of the rounds whose queues have labels."""
        return set(self._round[self._queued].tolist())

    @property
    def found(self) -> int:
        """Rare cases."""
        return int(self._rare.sum())

    @property
    def queue_labels(self) -> int:
        """Labels that came through a queue."""
        return int(self._queued.sum())

    @property
    def queue_found(self) -> int:
        """Rare cases among them."""
        return int((self._queued & self._rare).sum())

    def yield_of(self, row: Round, pool: int) -> RoundYield:
        """Count what a round's queue found, and what was found since readers got it.

        Its draws are from what was unlabelled then: one that was answered while the round still ran counts for the
        queue before.
        """
        queue = self._queued & (self._round == row.number)
        since = self._round >= row.number
        labelled = int(since.sum())
        return RoundYield(
            pool=pool + labelled,
            audit_labels=int((queue & self._audit).sum()),
            audit_rare=int((queue & self._audit & self._rare).sum()),
            labels=int(queue.sum()),
            rare=int((queue & self._rare).sum()),
            labelled_since=labelled,
            found_since=int((since & self._rare).sum()),
        )


def _origins(ledger: Sequence[LedgerEntry], target: Sequence[str]) -> dict[Origin, tuple[int, int]]:
    rare = {origin: [entry.label in target for entry in ledger if entry.origin is origin] for origin in Origin}
    return {origin: (len(one), sum(one)) for origin, one in rare.items() if one}


def _curve(rare: Sequence[bool]) -> list[tuple[int, int]]:
    found, curve = 0, [(0, 0)]
    for place, one in enumerate(rare, start=1):
        found += one
        curve.append((place, found))
    step = -(-len(curve) // (_CURVE_POINTS - 1))
    return curve if len(curve) <= _CURVE_POINTS else [*curve[:-1:step], curve[-1]]
