"""What the draws at random say: the labels of the audit, and what they leave open."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from clinical_backend.findings.evidence import MOST_UNCOVERED
from clinical_backend.findings.remaining import Remaining, RoundYield, remaining
from clinical_backend.findings.weights import DrawnRound, SampledLabels
from clinical_backend.multilabel import has_any
from clinical_backend.origins import Draw

if TYPE_CHECKING:
    from collections.abc import Sequence

    from clinical_backend.origins import LedgerEntry
    from clinical_backend.storage.schema import Round
    from clinical_backend.workspace.workspace import ProjectWorkspace

__all__ = ["Audit", "Draws", "read_audit", "read_draws"]

_NO_DRAWS = {"audit_labels": 0, "audit_rare": 0}


@dataclass(frozen=True, slots=True)
class Audit:
    """What the random draws tell of the pool.

    Attributes
    ----------
    left
        Rare cases in the pool.
    pool
        Tasks of it that were there when the first of these draws was made.
    yields
        What the queues found since.
    counts
        Labels of these tasks.
    rounds
        Numbers of the first and last round whose draws count; ``None`` without any.
    newer
        Tasks that came later, which all this does not cover.
    passed_over
        Labels of random draws that tell nothing, since many images that are in the pool now could not be read then.
    """

    left: Remaining
    pool: int
    yields: list[RoundYield]
    counts: LabelCounts
    rounds: tuple[int, int] | None
    newer: int
    passed_over: int = 0


def read_audit(project: ProjectWorkspace, target: Sequence[str], ledger: Sequence[LedgerEntry] | None = None) -> Audit:
    """Return what the random draws of a project tell of its pool.

    Parameters
    ----------
    project
        The project.
    target
        The rare classes.
    ledger
        The labels of the project, where they are at hand.
    """
    return read_draws(project, ledger).audit(target)


@dataclass(frozen=True)
class Draws:
    """What was drawn at random, whatever is looked for: what several findings share.

    Each finding's draws are hypergeometric whatever the queue prefers, so its interval holds as it would alone; that
    of all together is not claimed.

    Attributes
    ----------
    ledger
        Labels of tasks that were there when the first of these draws was made.
    open_tasks
        Tasks without an answer, whenever they came.
    pool, newer, passed_over
        As those of :class:`Audit`.
    queues
        Rounds whose queues have labels, from the first whose draws count on.
    of_some
        Numbers of those whose draws tell nothing.
    rounds
        As that of :class:`Audit`.
    """

    ledger: Sequence[LedgerEntry]
    open_tasks: int
    pool: int
    queues: Sequence[Round]
    of_some: frozenset[int]
    rounds: tuple[int, int] | None
    newer: int
    passed_over: int

    def audit(self, target: Sequence[str]) -> Audit:
        """Return what they tell of these classes or findings together."""
        counts = LabelCounts(self.ledger, target)
        yields = [
            replace(counts.yield_of(row, self.pool), **(_NO_DRAWS if row.number in self.of_some else {}))
            for row in self.queues
        ]
        left = remaining(self.pool, yields)
        return Audit(left, self.pool, yields, counts, self.rounds, self.newer, self.passed_over)

    @cached_property
    def sample(self) -> SampledLabels:
        """The labels as a sample of all tasks, in the order of the ledger: what gives each its weight."""
        yields = self.audit(()).yields
        return SampledLabels(
            np.array([entry.round_number or 0 for entry in self.ledger], dtype=np.int64),
            np.array([entry.draw is Draw.AUDIT for entry in self.ledger], dtype=np.bool_),
            [
                DrawnRound(row.number, one.pool, one.audit_labels)
                for row, one in zip(self.queues, yields, strict=True)
                if one.audit_labels
            ],
        )

    def weights(self) -> dict[int, float]:
        """Return how many tasks each labelled one stands for; empty where there are too few random draws to say."""
        weights = self.sample.weights
        if weights is None:
            return {}
        return {entry.task_id: weight for entry, weight in zip(self.ledger, weights.tolist(), strict=True)}


def read_draws(project: ProjectWorkspace, ledger: Sequence[LedgerEntry] | None = None) -> Draws:
    """Return the random draws of a project and the labels that count beside them.

    Parameters
    ----------
    project
        The project.
    ledger
        The labels of the project, where they are at hand.
    """
    labels, rounds = project.stores.labels, project.stores.rounds
    ledger = labels.ledger(project.id) if ledger is None else ledger
    open_ = labels.open_tasks(project.id)
    audited = [entry.round_number for entry in ledger if entry.draw is Draw.AUDIT and entry.round_number is not None]
    known = [
        (row, row.report.newest_task)
        for row in rounds.with_numbers(project.id, set(audited))
        if row.report.newest_task is not None
    ]
    drawing = [(row, newest) for row, newest in known if _drew_from_all(project, row, newest, ledger)]
    of_some = {row.number for row, _ in known} - {row.number for row, _ in drawing}
    passed_over = sum(number in of_some for number in audited)
    if not drawing:
        return Draws(ledger, open_, open_, (), frozenset(of_some), None, 0, passed_over)
    first, newest = _first_usable(project, drawing, tasks=open_ + len(ledger))
    counted = [entry for entry in ledger if entry.task_id <= newest]
    pool = labels.open_tasks(project.id, up_to=newest) if labels.tasks_beyond(project.id, newest) else open_
    served = {entry.round_number or 0 for entry in counted if entry.draw is not None}
    queues = [row for row in rounds.with_numbers(project.id, served) if row.number >= first.number]
    newer = open_ + len(ledger) - pool - len(counted)
    rounds_between = (first.number, drawing[-1][0].number)
    return Draws(counted, open_, pool, queues, frozenset(of_some), rounds_between, newer, passed_over)


def _drew_from_all(project: ProjectWorkspace, row: Round, newest: int, ledger: Sequence[LedgerEntry]) -> bool:
    """Tell whether a round drew from nearly all of what is its pool by now.

    Images that it had no time for are missing at random. Those of a host that was slow or away are not: once they can
    be read, its draws tell nothing of them.
    """
    counts = row.report.counts
    unread = counts.unreadable + counts.held_back
    if unread <= MOST_UNCOVERED * counts.pool:
        return True
    since = sum(entry.task_id <= newest and (entry.round_number or 0) >= row.number for entry in ledger)
    by_now = project.stores.labels.open_tasks(project.id, up_to=newest) + since
    return by_now - (counts.pool - unread) <= MOST_UNCOVERED * counts.pool


def _first_usable(project: ProjectWorkspace, rounds: Sequence[tuple[Round, int]], *, tasks: int) -> tuple[Round, int]:
    """Return the earliest round that knew nearly all tasks of now: what was imported later was not drawn from."""
    for row, newest in rounds:
        if project.stores.labels.tasks_beyond(project.id, newest) <= MOST_UNCOVERED * tasks:
            return row, newest
    return rounds[-1]


class LabelCounts:
    """Counts labels by round, and by what was open when a round drew."""

    def __init__(self, ledger: Sequence[LedgerEntry], target: Sequence[str]) -> None:
        self._rare = np.array([has_any(entry.label, target) for entry in ledger], dtype=bool)
        self._audit = np.array([entry.draw is Draw.AUDIT for entry in ledger], dtype=bool)
        self._queued = np.array([entry.draw is not None for entry in ledger], dtype=bool)
        self._round = np.array([entry.round_number or 0 for entry in ledger], dtype=np.int64)

    def __len__(self) -> int:
        return len(self._rare)

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
