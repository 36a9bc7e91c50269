"""How likely the tasks of a queue are rare, and whether what was said of earlier ones came true."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from clinical_backend.findings.chance import USED, Judged, calibrate, missing_labels
from clinical_backend.multilabel import has_any
from clinical_backend.rounds.audit import read_audit

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from clinical_backend.storage.stores.labels import JudgedScore
    from clinical_backend.strategy.fit import Fit
    from clinical_backend.strategy.tasks import FeaturedTasks, RankedTask
    from clinical_backend.workspace.workspace import ProjectWorkspace

__all__ = ["ChanceBin", "read_reliability", "with_chances"]

_BIN = 20
"""Labels of a bin at least: with fewer, chance alone would move its share by a quarter (95 %: ±22 points at a half)."""
_BINS = 10
"""As many as a chart of this size keeps apart; by eye."""
_READ = 200 * _BINS
"""Latest labels that are looked at: of 200, a share of 10 % is known to ±4 points, and what was said long ago of
another queue weighs nothing."""


@dataclass(frozen=True, slots=True)
class ChanceBin:
    """Labels of tasks that were queued with about the same chance.

    Attributes
    ----------
    predicted
        The mean of these chances.
    rare, count
        How many turned out rare, of how many.
    """

    predicted: float
    rare: int
    count: int


def with_chances(
    project: ProjectWorkspace,
    target: Sequence[str],
    fitted: Fit,
    pool: FeaturedTasks,
    ranked: Sequence[RankedTask],
) -> tuple[list[RankedTask], str]:
    """Return a queue with the chance that each task is rare, and what that rests on or what is missing.

    Parameters
    ----------
    project
        The project: its labels, and the queues that they came from.
    target
        The rare classes.
    fitted
        The training that ranked it.
    pool
        All tasks that might have been queued.
    ranked
        The queue.
    """
    scores = fitted.rare_probability_in(pool) if len(pool) else None
    if scores is None:
        return list(ranked), "No chance is given while nothing is known of the target."
    known = _same_target(project, target, project.stores.labels.judged_scores(project.id, USED))
    rare = np.array([has_any(one.label, target) for one in known], dtype=bool)
    judged = Judged(np.array([one.score for one in known], dtype=np.float64), rare)
    calibration = calibrate(scores, read_audit(project, target).left, judged)
    if calibration is None:
        return list(ranked), f"How likely a task is rare can be said after {_missing(rare)} from queues."
    score_of = dict(zip(pool.tasks.tolist(), scores.tolist(), strict=True))
    chances = calibration.chances([score_of[task.task_id] for task in ranked])
    queue = [
        replace(task, chance=one.estimate, chance_low=one.low, chance_high=one.high)
        for task, one in zip(ranked, chances, strict=True)
    ]
    rests_on = f"{len(rare)} labels of queues, {int(rare.sum())} of them rare, and the audit"
    return queue, f"The chance of being rare is learnt from {rests_on}."


def read_reliability(project: ProjectWorkspace) -> list[ChanceBin]:
    """Return what became of tasks for which a chance was stated, by that chance, ascending.

    Empty while fewer than 20 of them have a label.
    """
    target = project.stores.rounds.published_report(project.id).target
    known = _same_target(project, target, project.stores.labels.judged_scores(project.id, _READ))
    stated = sorted((one.chance, has_any(one.label, target)) for one in known if one.chance is not None)
    number = min(_BINS, len(stated) // _BIN)
    parts = [stated[len(stated) * n // number : len(stated) * (n + 1) // number] for n in range(number)]
    return [
        ChanceBin(float(np.mean([chance for chance, _ in part])), sum(rare for _, rare in part), len(part))
        for part in parts
    ]


def _same_target(project: ProjectWorkspace, target: Sequence[str], judged: Sequence[JudgedScore]) -> list[JudgedScore]:
    """Return those whose queue looked for these classes: another target has other scores."""
    rounds = project.stores.rounds.with_numbers(project.id, {one.round_number for one in judged})
    same = {row.number for row in rounds if set(row.report.target) == set(target)}
    return [one for one in judged if one.round_number in same]


def _missing(rare: NDArray[np.bool_]) -> str:
    needed = zip(missing_labels(rare), ("rare", "common"), strict=True)
    return " and ".join(f"{count} more {kind} {'labels' if count > 1 else 'label'}" for count, kind in needed if count)
