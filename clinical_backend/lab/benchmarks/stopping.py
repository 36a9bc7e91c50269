"""Projects that stop when the recall is said to be reached: how many kept it, and what it cost.

``clinical bench stopping``
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table
from scipy.stats import hypergeom

from clinical_backend.findings.recall import CONFIDENCE, TotalBound, likely_enough, spared_at
from clinical_backend.lab.benchmarks.simulated_project import new_project

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from clinical_backend.lab.benchmarks.simulated_project import DrawnProject

__all__ = ["Stopped", "main", "run_project", "stopped_by_test"]

_RUNS = 300
"""A share of 95 % is known to ±2.5 points from so many runs."""
_MOST_TASKS = 5000
_MOST_AUDIT = 0.9
"""The largest AUDIT_SHARE: what is advised once the queue is likely to have found enough."""
_ROWS: dict[str, tuple[float, dict[str, Any]]] = {
    "2 %": (0.95, {"share": 0.02}),
    "5 %": (0.95, {"share": 0.05}),
    "10 %": (0.95, {"share": 0.1}),
    "drawn from 0.5 % to 10 %": (0.95, {}),
    "drawn, half of the rare cases 10 times harder to meet": (0.95, {"hard": 10.0}),
    "drawn, half of them hidden (1,000 times harder)": (0.95, {"hard": 1000.0}),
    "drawn, recall of 80 %": (0.8, {}),
    "the same, half of the rare cases hidden": (0.8, {"hard": 1000.0}),
}


@dataclass(frozen=True, slots=True)
class Stopped:
    """A simulated project at its end.

    Attributes
    ----------
    recall
        That it has reached in fact.
    labels
        It cost, as a share of all tasks.
    """

    recall: float
    labels: float


def run_project(
    generator: np.random.Generator, target: float, *, certain: bool = True, **given: Any
) -> tuple[Stopped, Stopped]:
    """Return how a project ends that stops as the page says, and that stops by the quantile binomial bound.

    It goes on as the page advises: with its audit share, or, once enough is likely to be found, with random draws for
    nine of ten.

    Parameters
    ----------
    target
        The recall.
    certain
        Whether it is stopped when the recall is reached for sure; else when it is likely to be.
    given
        As :func:`new_project` takes it.
    """
    drawn = new_project(generator, most=_MOST_TASKS, **given)
    rare = np.arange(drawn.tasks) < drawn.rare
    by_sample = _by_sample(generator, drawn, target)
    project, bound = drawn.project, TotalBound(drawn.tasks, 1 - CONFIDENCE)
    while project.waiting.any():
        waiting, found = int(project.waiting.sum()), drawn.rare - int(project.waiting[rare].sum())
        queue = project.next_queue(min(drawn.size, waiting))
        project.switch(queue)
        project.answer(drawn.size)
        audits = queue[0][queue[1]]
        bound.add(before=found, pool=waiting, draws=len(audits), rare=int(rare[audits].sum()))
        found = drawn.rare - int(project.waiting[rare].sum())
        spared, left = spared_at(target, found), bound.likely_left(found)
        if found and (bound.most(found) <= found + spared if certain else left <= spared):
            break
        share = _MOST_AUDIT if found and likely_enough(left, spared) else drawn.audit
        project.drawn = round(share * drawn.size)
    return _stopped(drawn, ~project.waiting), by_sample


def stopped_by_test(generator: np.random.Generator, target: float, **given: Any) -> Stopped:
    """Return how a project ends that goes on by its queues until a hypergeometric test says that it may stop.

    It is that of Callaghan and Müller-Hansen (Systematic Reviews 9, 2020), as TARexp 0.1.4 has it: whatever was read
    since an earlier queue passes for a random sample of what waited then, and each look tests anew.

    Parameters
    ----------
    target
        The recall.
    given
        As :func:`~clinical_backend.lab.benchmarks.simulated_project.new_project` takes it.
    """
    drawn = new_project(generator, most=_MOST_TASKS, **given)
    rare, project = np.arange(drawn.tasks) < drawn.rare, drawn.project
    read, found = np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64)
    while project.waiting.any():
        project.switch(project.next_queue(min(drawn.size, int(project.waiting.sum()))))
        project.answer(drawn.size)
        read = np.append(read, drawn.tasks - project.waiting.sum())
        found = np.append(found, drawn.rare - project.waiting[rare].sum())
        left = (found[-1] / target - found[1:]).astype(np.int64)
        chances = hypergeom.cdf(found[-1] - found[1:], drawn.tasks - read[1:], left, read[-1] - read[1:])
        if (chances < 1 - CONFIDENCE).any():
            break
    return _stopped(drawn, ~project.waiting)


def main(runs: int = _RUNS) -> None:
    """Simulate and print the table."""
    console = Console(width=170)
    table = Table(title=f"{runs} simulated projects a row, of 1,000 to 5,000 tasks: recall kept, labels of all tasks")
    table.add_column("rare cases in the project")
    for name in ("reached for sure", "likely reached", "quantile binomial bound", "hypergeometric test"):
        table.add_column(name, justify="right")
    for place, (name, (target, given)) in track(list(enumerate(_ROWS.items())), "rows", console=console):
        pairs = [run_project(np.random.default_rng([2, place, run]), target, **given) for run in range(runs)]
        likely = [
            run_project(np.random.default_rng([2, place, run]), target, certain=False, **given)[0]
            for run in range(runs)
        ]
        tested = [stopped_by_test(np.random.default_rng([2, place, run]), target, **given) for run in range(runs)]
        groups = ([ours for ours, _ in pairs], likely, [theirs for _, theirs in pairs], tested)
        table.add_row(name, *(_cell(one, target) for one in groups))
    console.print(table)


def _by_sample(generator: np.random.Generator, drawn: DrawnProject, target: float) -> Stopped:
    """Return how it ends by a random sample that is read first, until it holds so many rare cases (Lewis et al. 2021).

    So many that all of them are found, with the confidence, only where the recall is reached; then the queue, until it
    has come to all of them. A larger sample, of which not all need be found, costs more (docs/handover.md).
    """
    wanted = math.ceil(math.log(1 - CONFIDENCE) / math.log(target))
    sample = generator.permutation(drawn.tasks)
    finds = np.flatnonzero(sample < drawn.rare)
    read = np.ones(drawn.tasks, dtype=bool)
    if len(finds) >= wanted:
        sampled = sample[: finds[wanted - 1] + 1]
        place_of = np.argsort(drawn.project.order)
        read = place_of <= place_of[sampled[sampled < drawn.rare]].max()
        read[sampled] = True
    return _stopped(drawn, read)


def _stopped(drawn: DrawnProject, read: NDArray[np.bool_]) -> Stopped:
    return Stopped(float(read[: drawn.rare].sum()) / max(1, drawn.rare), float(read.mean()))


def _cell(ends: Sequence[Stopped], target: float) -> str:
    kept = np.mean([one.recall >= target - 1e-9 for one in ends])
    return f"{kept:.1%}; {np.median([one.labels for one in ends]):.0%}"
