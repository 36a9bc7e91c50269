"""How often what is stated holds the truth, on projects drawn at random: intervals, bounds, and how far points are off.

``clinical bench coverage``
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

from clinical_backend.findings.forecast import labels_to_share
from clinical_backend.findings.remaining import Remaining, RoundYield, remaining
from clinical_backend.findings.yields import prevalence, times_random

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from clinical_backend.findings.interval import Interval

__all__ = ["FIGURES", "Case", "coverage", "draw_case", "factors_off", "main"]

FIGURES = ("prevalence", "times random", "left", "labels to 90 %")
_RUNS = 1000
_SHARE = 0.9
"""A share of 95 % is known to ±1.4 points from so many runs. 90 % is the share that the figure is named by."""
_HARD = 10.0
"""In the case that breaks the model, half of the rare cases are met so much less readily."""
_EARLY = (1, 6)
"""Rounds of a project that has few audit labels yet."""
_LATE = 1 / 3
"""Share of a queue's labels that arrive while the next round runs: it takes minutes, and readers read on."""
_ROWS: dict[str, dict[str, Any]] = {
    "drawn from 0.5 % to 10 %": {},
    **{f"{share:.1%}": {"share": share} for share in (0.005, 0.01, 0.02, 0.05, 0.1)},
    **{f"drawn, audit share {audit:.0%}": {"audit": audit} for audit in (0.05, 0.1, 0.3)},
    "drawn, 1 to 5 rounds": {"rounds": _EARLY},
    "0.5 %, 1 to 5 rounds": {"rounds": _EARLY, "share": 0.005},
    "2 %, 1 to 5 rounds": {"rounds": _EARLY, "share": 0.02},
    "10 %, 1 to 5 rounds": {"rounds": _EARLY, "share": 0.1},
    "drawn, a third of the labels while a round runs": {"late": _LATE},
    "the same, their draws lost": {"late": _LATE, "lost": True},
    "drawn, half of the rare cases 10 times harder to meet": {"hard": _HARD},
    "the same, 1 to 5 rounds": {"hard": _HARD, "rounds": _EARLY},
    "drawn, the queue seeks another finding too": {"beside": True},
    "the same, 1 to 5 rounds (another finding)": {"beside": True, "rounds": _EARLY},
}
_DRAWN = tuple(range(6))  # rare audit labels, as the table of docs/findings.md has them


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
    queue_labels, queue_found
        Labels of which the ledger knows that they came from a queue, and the rare cases among them.
    rounds
        What the queues found, by the ledger.
    further
        Labels until 90 % of the rare cases were found, when the queues went on as before.
    """

    tasks: int
    rare: int
    found: int
    left: int
    pool: int
    queue_labels: int
    queue_found: int
    rounds: tuple[RoundYield, ...]
    further: int

    def estimate(self) -> Remaining:
        """Return what the audit says of the rare cases left."""
        return remaining(self.pool, self.rounds)

    def stated(self, left: Remaining) -> tuple[Interval | None, ...]:
        """Return what a person is told, in the order of ``FIGURES``."""
        return (
            prevalence(left, found=self.found, tasks=self.tasks),
            times_random(left, found=self.queue_found, labels=self.queue_labels, pool=self.pool),
            left.bound(),
            labels_to_share(left, self.rounds, found=self.found, pool=self.pool, share=_SHARE),
        )

    @property
    def truths(self) -> tuple[float, ...]:
        """What is true, in the order of ``FIGURES``."""
        labels = self.tasks - self.pool
        times = self.found * self.tasks / (labels * self.rare) if self.found else 0.0
        return self.rare / self.tasks, times, float(self.left), float(self.further)


def main(runs: int = _RUNS) -> None:
    """Simulate and print the tables."""
    console = Console(width=170)
    held = Table(title=f"{runs} simulated projects a row: how often what is stated holds, an estimate / a bound alone")
    lost = Table(title=f"{runs} simulated projects a row: audit labels that count, and the width of the interval")
    for name in ("rare cases in the project", "nothing, bound, estimate", *FIGURES):
        held.add_column(name, justify="left" if name.startswith("rare") else "right")
    for name in ("rare cases in the project", "audit labels, median", "times random, high over low, median"):
        lost.add_column(name, justify="left" if name.startswith("rare") else "right")
    early: list[Case] = []
    for place, (name, given) in track(list(enumerate(_ROWS.items())), "rows", console=console):
        generator = np.random.default_rng([0, place])
        cases = [draw_case(generator, **given) for _ in range(runs)]
        early += cases if given == {"rounds": _EARLY} else []
        kinds, shares = coverage(cases)
        held.add_row(name, " / ".join(f"{kinds[kind]:.0%}" for kind in ("nothing", "bound", "estimate")), *shares)
        if "late" in given:
            lost.add_row(name, *_evidence(cases))
    console.print(held)
    console.print(lost)
    off = Table(
        title=f"How far the median is from the true prevalence, by rare cases drawn; {len(early)} early projects"
    )
    for name in ("rare audit labels", "projects", "half of them within", "19 of 20 within", "too low"):
        off.add_column(name, justify="right")
    for rare in _DRAWN:
        factors = factors_off(early, rare, open_ended=rare == _DRAWN[-1])
        way = np.abs(np.log(factors))
        off.add_row(
            f"{rare}{' or more' * (rare == _DRAWN[-1])}",
            str(len(factors)),
            *(f"{np.exp(np.quantile(way, level)):.1f} ×" for level in (0.5, 0.95)),
            f"{np.mean(factors < 1):.0%}",
        )
    console.print(off)


def coverage(cases: Sequence[Case]) -> tuple[dict[str, float], list[str]]:
    """Return how much is said, and for each figure in which share of the cases it holds the truth.

    Returns
    -------
    tuple
        Shares of the cases in which nothing, a bound and an estimate is given; and for each of ``FIGURES`` the share
        of these that hold, "estimates / bounds".
    """
    kinds = dict.fromkeys(("nothing", "bound", "estimate"), 0.0)
    held: dict[tuple[str, str], list[bool]] = {}
    for case in cases:
        left = case.estimate()
        kind = "nothing" if left.evidence.missing else "estimate" if left.evidence.carries_estimate else "bound"
        kinds[kind] += 1 / len(cases)
        for figure, truth, stated in zip(FIGURES, case.truths, case.stated(left), strict=True):
            if stated is not None:
                held.setdefault((figure, kind), []).append(_holds(stated, truth))
    shares = {key: f"{np.mean(one):.1%}" for key, one in held.items()}
    return kinds, [" / ".join(shares.get((figure, kind), "–") for kind in ("estimate", "bound")) for figure in FIGURES]


def factors_off(cases: Sequence[Case], rare: int, *, open_ended: bool = False) -> NDArray[np.float64]:
    """Return estimate over truth of the prevalence, of cases with so many rare draws, whether it is shown or not."""
    factors = []
    for case in cases:
        left = case.estimate()
        drawn, labels = left.evidence.rare, left.evidence.labels
        if case.rare and labels and (drawn == rare or (open_ended and drawn > rare)) and not left.evidence.missing:
            factors.append((case.found + left.quantile(0.5)) / case.rare)
    return np.asarray(factors)


def draw_case(
    generator: np.random.Generator,
    *,
    share: float | None = None,
    audit: float | None = None,
    hard: float = 1.0,
    rounds: tuple[int, int] = (3, 21),
    late: float = 0.0,
    lost: bool = False,
    beside: bool = False,
) -> Case:
    """Simulate a project of 1,000 to 20,000 tasks with queues of 50 to 200.

    The queue meets a rare case 1 to 50 times as readily as a common one (all orders of magnitude alike).

    Parameters
    ----------
    share
        Of rare cases; drawn between 0.5 % and 10 % by default, all orders of magnitude alike.
    audit
        Share of the queue that is drawn at random; one of 5, 10, 20 and 30 % by default.
    hard
        By how much half of the rare cases are met less readily than the other half.
    rounds
        Least number of rounds, and the first number that is too many.
    late
        Share of each queue's labels that arrive while the next round runs, on a pool from before them.
    beside
        Whether the queue seeks another finding too, of its own frequency and met in its own way; some cases have both.
    lost
        Whether these are compared with the queue of that round alone: in it, or from no queue.
    """
    tasks = int(_log_uniform(generator, 1000, 20_000))
    share = _log_uniform(generator, 0.005, 0.1) if share is None else share
    audit = float(generator.choice([0.05, 0.1, 0.2, 0.3])) if audit is None else audit
    size = int(generator.integers(50, 201))
    number = min(int(generator.integers(*rounds)), max(1, int(0.6 * tasks / size)))
    preference = _log_uniform(generator, 1, 50)
    rare = int(generator.binomial(tasks, share))
    rates = np.ones(tasks)
    rates[:rare] = preference
    rates[: rare // 2] /= hard
    if beside:
        others = generator.choice(tasks, generator.binomial(tasks, _log_uniform(generator, 0.005, 0.1)), replace=False)
        rates[others] = np.maximum(rates[others], _log_uniform(generator, 1, 50))
    # A race without memory: whoever is in front of those that still wait was so from the start.
    project = _Project(np.argsort(generator.exponential(1 / rates)), round(audit * size), generator)
    on_time = size - round(late * size)
    queue = project.next_queue(size)
    for _ in range(number):
        project.switch(queue)
        project.answer(on_time)
        queue = project.next_queue(size)
        project.answer(size - on_time, meanwhile=queue if lost else None)
    pool, left = int(project.waiting.sum()), int(project.waiting[:rare].sum())
    queued = project.queue_of > 0
    further, missing = 0, int(np.ceil(_SHARE * rare - 1e-9)) - (rare - left)
    yields = _yields(project, rare, pool)
    labels_, found_ = int(queued.sum()), int(queued[:rare].sum())
    while missing > 0:
        order = project.next_queue(size)[0]
        finds = np.flatnonzero(order < rare)
        further += int(finds[missing - 1]) + 1 if len(finds) >= missing else len(order)
        missing -= len(finds)
        project.waiting[order] = False
    return Case(tasks, rare, rare - left, left, pool, labels_, found_, yields, further)


_Queue = tuple["NDArray[np.int64]", "NDArray[np.bool_]"]
"""Tasks in the order in which readers get them, and which of them were drawn at random."""


class _Project:
    """Tasks that are queued and answered, and what a ledger keeps of them.

    Parameters
    ----------
    sought
        All tasks in the order in which queues seek them.
    drawn
        How many of each queue are drawn at random.
    """

    def __init__(self, sought: NDArray[np.int64], drawn: int, generator: np.random.Generator) -> None:
        self._sought, self._drawn, self._generator = sought, drawn, generator
        self.waiting = np.ones(len(sought), dtype=bool)
        self.number = 0
        """Of the round whose queue readers have."""
        self.queue_of = np.zeros(len(sought), dtype=np.int64)
        """The round whose queue each task was answered from, by the ledger; 0 where it knows of none."""
        self.entered = np.zeros(len(sought), dtype=np.int64)
        """The latest round that readers had a queue of when the ledger entered the task."""
        self.audit = np.zeros(len(sought), dtype=bool)

    def next_queue(self, size: int) -> _Queue:
        """Return the next queue, from what waits."""
        drawn = self._draw()
        in_audit = np.zeros(len(self.waiting), dtype=bool)
        in_audit[drawn] = True
        self._sought = self._sought[self.waiting[self._sought]]
        ahead = self._sought[: size + len(drawn)]
        chosen = ahead[~in_audit[ahead]][: size - len(drawn)]
        # One draw at a random place of each equal stretch, as in a round.
        audits = np.zeros(len(chosen) + len(drawn), dtype=bool)
        edges = np.linspace(0, len(audits), len(drawn) + 1).astype(int)
        audits[[int(self._generator.integers(low, high)) for low, high in pairwise(edges)]] = True
        order = np.empty(len(audits), dtype=np.int64)
        order[audits], order[~audits] = drawn, chosen
        return order, audits

    def switch(self, queue: _Queue) -> None:
        """Serve readers from a queue."""
        self.number += 1
        self._queue = queue

    def answer(self, count: int, *, meanwhile: _Queue | None = None) -> None:
        """Answer so many tasks of the present queue; ``meanwhile``, what they are compared with in its place."""
        order, audits = self._queue
        places = np.flatnonzero(self.waiting[order])[:count]
        tasks = order[places]
        self.waiting[tasks] = False
        self.queue_of[tasks] = self.entered[tasks] = self.number
        self.audit[tasks] = audits[places]
        if meanwhile is not None:
            known = dict(zip(meanwhile[0].tolist(), meanwhile[1].tolist(), strict=True))
            self.entered[tasks] = self.number + 1
            self.queue_of[tasks] = [self.number + 1 if task in known else 0 for task in tasks.tolist()]
            self.audit[tasks] = [known.get(task, False) for task in tasks.tolist()]

    def _draw(self) -> NDArray[np.int64]:
        drawn: NDArray[np.int64] = np.empty(0, dtype=np.int64)
        wanted = min(self._drawn, int(self.waiting.sum()))
        while len(drawn) < wanted:  # without listing all that wait
            tried = self._generator.integers(0, len(self.waiting), 4 * wanted)
            merged = np.concatenate([drawn, tried[self.waiting[tried]]])
            drawn = merged[np.sort(np.unique(merged, return_index=True)[1])][:wanted]
        return drawn


def _yields(project: _Project, rare: int, pool: int) -> tuple[RoundYield, ...]:
    answered = ~project.waiting
    is_rare = np.arange(len(answered)) < rare
    yields = []
    for number in range(1, project.number + 1):
        queue = answered & (project.queue_of == number)
        since = answered & (project.entered >= number)
        drawn = queue & project.audit
        yields.append(
            RoundYield(
                pool=pool + int(since.sum()),
                audit_labels=int(drawn.sum()),
                audit_rare=int((drawn & is_rare).sum()),
                labels=int(queue.sum()),
                rare=int((queue & is_rare).sum()),
                labelled_since=int(since.sum()),
                found_since=int((since & is_rare).sum()),
            )
        )
    return tuple(yields)


def _evidence(cases: Sequence[Case]) -> tuple[str, str]:
    """Return the audit labels of the median case, and how wide its interval is."""
    labels, widths = [], []
    for case in cases:
        left = case.estimate()
        labels.append(left.evidence.labels)
        times = times_random(left, found=case.queue_found, labels=case.queue_labels, pool=case.pool)
        if times is not None and times.low and times.high:
            widths.append(times.high / times.low)
    return f"{np.median(labels):.0f}", f"{np.median(widths):.2f}"


def _log_uniform(generator: np.random.Generator, low: float, high: float) -> float:
    return float(np.exp(generator.uniform(np.log(low), np.log(high))))


def _holds(interval: Interval, truth: float) -> bool:
    above = interval.low is None or interval.low - 1e-9 <= truth
    return above and (interval.high is None or truth <= interval.high + 1e-9)
