"""How often the stated 95 % intervals hold the truth, on projects drawn at random.

``clinical bench coverage``
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from rich.console import Console
from rich.table import Table

from clinical_backend.findings.forecast import labels_to_share
from clinical_backend.findings.remaining import RoundYield, remaining
from clinical_backend.findings.yields import prevalence, times_random

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from clinical_backend.findings.interval import Interval

__all__ = ["FIGURES", "Case", "coverage", "draw_case", "main"]

FIGURES = ("prevalence", "times random", "upper bound on what is left", "labels to 90 %")
_RUNS = 1000
_SHARE = 0.9
_HARD = 10.0
"""In the case that breaks the model, half of the rare cases are met so much less readily."""


@dataclass(frozen=True, slots=True)
class Case:
    """A simulated project, as far as it was labelled, with the truth.

    Attributes
    ----------
    tasks, rare
        All tasks, and the rare ones.
    found, left
        Rare cases with a label, and without.
    pool
        Tasks without a label.
    rounds
        What the queues found.
    further
        Labels until 90 % of the rare cases were found, when the queues went on as before.
    """

    tasks: int
    rare: int
    found: int
    left: int
    pool: int
    rounds: tuple[RoundYield, ...]
    further: int


def main(runs: int = _RUNS) -> None:
    """Simulate and print the table."""
    rows: list[tuple[str, Mapping[str, float]]] = [("drawn from 0.5 % to 10 %", {})]
    rows += [(f"{share:.1%}", {"share": share}) for share in (0.005, 0.01, 0.02, 0.05, 0.1)]
    rows += [(f"drawn, audit share {audit:.0%}", {"audit": audit}) for audit in (0.05, 0.1, 0.3)]
    rows += [("drawn, half of the rare cases 10 times harder to meet", {"hard": _HARD})]
    table = Table(title=f"Share of {runs} simulated projects in which the 95 % interval holds the truth")
    table.add_column("rare cases in the project")
    for figure in FIGURES:
        table.add_column(figure, justify="right")
    for place, (name, given) in enumerate(rows):
        generator = np.random.default_rng([0, place])
        found = coverage([draw_case(generator, **given) for _ in range(runs)])
        table.add_row(name, *(f"{found[figure]:.1%}" for figure in FIGURES))
    Console(width=140).print(table)


def coverage(cases: Sequence[Case]) -> dict[str, float]:
    """Return for each figure in which share of the cases its interval holds the truth."""
    hits = dict.fromkeys(FIGURES, 0)
    for case in cases:
        left = remaining(case.pool, case.rounds)
        labels = case.tasks - case.pool
        truths = (
            case.rare / case.tasks,
            case.found * case.tasks / (labels * case.rare) if case.found else 0.0,
            case.left,
            case.further,
        )
        intervals = (
            prevalence(left, found=case.found, tasks=case.tasks),
            times_random(left, found=case.found, labels=labels, pool=case.pool),
            left.bound(),
            labels_to_share(left, case.rounds, found=case.found, pool=case.pool, share=_SHARE),
        )
        for figure, truth, interval in zip(FIGURES, truths, intervals, strict=True):
            hits[figure] += _holds(interval, truth)
    return {figure: count / len(cases) for figure, count in hits.items()}


def draw_case(
    generator: np.random.Generator, *, share: float | None = None, audit: float | None = None, hard: float = 1.0
) -> Case:
    """Simulate a project of 1,000 to 20,000 tasks over 3 to 20 rounds with queues of 50 to 200.

    The queue meets a rare case 1 to 50 times as readily as a common one (all orders of magnitude alike).

    Parameters
    ----------
    share
        Of rare cases; drawn between 0.5 % and 10 % by default, all orders of magnitude alike.
    audit
        Share of the queue that is drawn at random; one of 5, 10, 20 and 30 % by default.
    hard
        By how much half of the rare cases are met less readily than the other half.
    """
    tasks = int(_log_uniform(generator, 1000, 20_000))
    share = _log_uniform(generator, 0.005, 0.1) if share is None else share
    audit = float(generator.choice([0.05, 0.1, 0.2, 0.3])) if audit is None else audit
    size = int(generator.integers(50, 201))
    number = min(int(generator.integers(3, 21)), max(1, int(0.6 * tasks / size)))
    preference = _log_uniform(generator, 1, 50)
    rare = int(generator.binomial(tasks, share))
    rates = np.ones(tasks)
    rates[:rare] = preference
    rates[: rare // 2] /= hard
    # A race without memory: whoever is in front of those that still wait was so from the start.
    queue = _Queue(
        sought=np.argsort(generator.exponential(1 / rates)),
        mixed=generator.permutation(tasks),
        drawn=round(audit * size),
    )
    history: list[tuple[int, int, int, int]] = []
    while len(history) < number:
        drawn, chosen = queue.take(size)
        history.append((len(drawn), int((drawn < rare).sum()), len(chosen), int((chosen < rare).sum())))
    pool, left = int(queue.waiting.sum()), int(queue.waiting[:rare].sum())
    further, missing = 0, int(np.ceil(_SHARE * rare - 1e-9)) - (rare - left)
    while missing > 0:
        order = generator.permutation(np.concatenate(queue.take(size)))
        finds = np.flatnonzero(order < rare)
        further += int(finds[missing - 1]) + 1 if len(finds) >= missing else len(order)
        missing -= len(finds)
    return Case(tasks, rare, rare - left, left, pool, _yields(history, pool), further)


class _Queue:
    """Takes queues from tasks in two orders: as sought, and at random."""

    def __init__(self, sought: NDArray[np.int64], mixed: NDArray[np.int64], drawn: int) -> None:
        self._sought, self._mixed, self._drawn = sought, mixed, drawn
        self.waiting = np.ones(len(sought), dtype=bool)

    def take(self, size: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the random draws and the others of the next queue."""
        drawn, self._mixed = self._first(self._mixed, self._drawn)
        chosen, self._sought = self._first(self._sought, size - self._drawn)
        return drawn, chosen

    def _first(self, order: NDArray[np.int64], number: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        ahead = 4 * number
        while (places := np.flatnonzero(self.waiting[order[:ahead]])).size < number and ahead < len(order):
            ahead *= 4
        taken = order[places[:number]]
        self.waiting[taken] = False
        return taken, order[places[: number + 1][-1] :] if places.size else order[:0]


def _yields(history: Sequence[tuple[int, int, int, int]], pool: int) -> tuple[RoundYield, ...]:
    yields = []
    labels = found = 0
    for drawn, drawn_rare, chosen, chosen_rare in reversed(history):
        labels += drawn + chosen
        found += drawn_rare + chosen_rare
        yields.append(
            RoundYield(
                pool=pool + labels,
                audit_labels=drawn,
                audit_rare=drawn_rare,
                labels=drawn + chosen,
                rare=drawn_rare + chosen_rare,
                labelled_since=labels,
                found_since=found,
            )
        )
    return tuple(reversed(yields))


def _log_uniform(generator: np.random.Generator, low: float, high: float) -> float:
    return float(np.exp(generator.uniform(np.log(low), np.log(high))))


def _holds(interval: Interval, truth: float) -> bool:
    return interval.low - 1e-9 <= truth <= interval.high + 1e-9
