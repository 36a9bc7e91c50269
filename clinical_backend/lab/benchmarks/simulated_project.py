"""Projects drawn at random, labelled round after round, with the truth at hand: what coverage is measured on."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["DrawnProject", "Queue", "SimulatedProject", "draw_project", "new_project"]

_CONFUSABLE = 0.05
"""Share of the common cases that a queue takes for rare ones, where some are; chosen."""
_MIXED_UP = 3.0
"""It meets them so much less readily than rare ones; chosen."""


@dataclass(frozen=True, slots=True)
class DrawnProject:
    """A simulated project with its truth.

    Attributes
    ----------
    tasks, rare
        All tasks, and the rare ones, which are the first of them.
    confusable
        Which tasks look rare and are not, shape (tasks,).
    size, number
        Of its queues: their size, and how many it is to have.
    audit
        Share of them that is drawn at random.
    project
        As readers left it so far.
    """

    tasks: int
    rare: int
    confusable: NDArray[np.bool_]
    size: int
    number: int
    audit: float
    project: SimulatedProject


def draw_project(
    generator: np.random.Generator, *, late: float = 0.0, lost: bool = False, **given: Any
) -> DrawnProject:
    """Return a project as :func:`new_project` makes it, after its rounds.

    Parameters
    ----------
    late
        Share of each queue's labels that arrive while the next round runs, on a pool from before them.
    lost
        Whether these are compared with the queue of that round alone: in it, or from no queue.
    """
    drawn = new_project(generator, **given)
    project, size = drawn.project, drawn.size
    on_time = size - round(late * size)
    queue = project.next_queue(size)
    for _ in range(drawn.number):
        project.switch(queue)
        project.answer(on_time)
        queue = project.next_queue(size)
        project.answer(size - on_time, meanwhile=queue if lost else None)
    return drawn


def new_project(
    generator: np.random.Generator,
    *,
    share: float | None = None,
    audit: float | None = None,
    hard: float = 1.0,
    rounds: tuple[int, int] = (3, 21),
    beside: bool = False,
    confused: bool = False,
    most: int = 20_000,
) -> DrawnProject:
    """Return a project of 1,000 to 20,000 tasks with queues of 50 to 200, before its first round.

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
    beside
        Whether the queue seeks another finding too, of its own frequency and met in its own way; some cases have both.
    confused
        Whether one common case of twenty looks rare, and is met a third as readily as one.
    most
        Tasks at most.
    """
    tasks = int(_log_uniform(generator, 1000, most))
    share = _log_uniform(generator, 0.005, 0.1) if share is None else share
    audit = float(generator.choice([0.05, 0.1, 0.2, 0.3])) if audit is None else audit
    size = int(generator.integers(50, 201))
    number = min(int(generator.integers(*rounds)), max(1, int(0.6 * tasks / size)))
    preference = _log_uniform(generator, 1, 50)
    rare = int(generator.binomial(tasks, share))
    rates = np.ones(tasks)
    rates[:rare] = preference
    rates[: rare // 2] /= hard
    confusable = np.zeros(tasks, dtype=bool)
    if confused:
        confusable[rare:] = generator.random(tasks - rare) < _CONFUSABLE
        rates[confusable] = max(1.0, preference / _MIXED_UP)
    if beside:
        others = generator.choice(tasks, generator.binomial(tasks, _log_uniform(generator, 0.005, 0.1)), replace=False)
        rates[others] = np.maximum(rates[others], _log_uniform(generator, 1, 50))
    # A race without memory: whoever is in front of those that still wait was so from the start.
    project = SimulatedProject(np.argsort(generator.exponential(1 / rates)), round(audit * size), generator)
    return DrawnProject(tasks, rare, confusable, size, number, audit, project)


Queue = tuple["NDArray[np.int64]", "NDArray[np.bool_]"]
"""Tasks in the order in which readers get them, and which of them were drawn at random."""


class SimulatedProject:
    """Tasks that are queued and answered, and what a ledger keeps of them.

    Parameters
    ----------
    sought
        All tasks in the order in which queues seek them.
    drawn
        How many of each queue are drawn at random.
    """

    def __init__(self, sought: NDArray[np.int64], drawn: int, generator: np.random.Generator) -> None:
        self._sought, self._generator = sought, generator
        self.order = sought
        """All tasks, as queues seek them."""
        self.drawn = drawn
        """How many of each queue are drawn at random."""
        self.waiting = np.ones(len(sought), dtype=bool)
        self.number = 0
        """Of the round whose queue readers have."""
        self.queue_of = np.zeros(len(sought), dtype=np.int64)
        """The round whose queue each task was answered from, by the ledger; 0 where it knows of none."""
        self.entered = np.zeros(len(sought), dtype=np.int64)
        """The latest round that readers had a queue of when the ledger entered the task."""
        self.audit = np.zeros(len(sought), dtype=bool)

    def next_queue(self, size: int) -> Queue:
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

    def switch(self, queue: Queue) -> None:
        """Serve readers from a queue."""
        self.number += 1
        self._queue = queue

    def answer(self, count: int, *, meanwhile: Queue | None = None) -> None:
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
        wanted = min(self.drawn, int(self.waiting.sum()))
        while len(drawn) < wanted:  # without listing all that wait
            tried = self._generator.integers(0, len(self.waiting), 4 * wanted)
            merged = np.concatenate([drawn, tried[self.waiting[tried]]])
            drawn = merged[np.sort(np.unique(merged, return_index=True)[1])][:wanted]
        return drawn


def _log_uniform(generator: np.random.Generator, low: float, high: float) -> float:
    """Return a number between two, all orders of magnitude alike."""
    return float(np.exp(generator.uniform(np.log(low), np.log(high))))
