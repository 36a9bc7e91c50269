"""How often weighted labels hold the truth, and how far labels without weights are off.

``clinical bench weights``
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

from clinical_backend.findings.interval import Interval, interval_of_share
from clinical_backend.findings.weights import DrawnRound, SampledLabels, mean_of_shares
from clinical_backend.lab.benchmarks.intervals import holds
from clinical_backend.lab.benchmarks.simulated_project import draw_project

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = ["FIGURES", "Answer", "ask", "held", "main", "sample_of"]

FIGURES = ("prevalence", "sensitivity", "specificity", "balanced accuracy")
_RUNS = 500
"""A share of 95 % is known to ±1.9 points from so many runs."""
_ROWS: dict[str, dict[str, Any]] = {
    "drawn from 0.5 % to 10 %": {},
    **{f"{share:.0%}": {"share": share} for share in (0.01, 0.02, 0.05, 0.1, 0.3)},
    "drawn, audit share 10 %": {"audit": 0.1},
    "drawn, audit share 30 %": {"audit": 0.3},
    "drawn, 1 to 5 rounds": {"rounds": (1, 6)},
    "10 %, 1 to 5 rounds": {"rounds": (1, 6), "share": 0.1},
    "drawn, half of the rare cases 10 times harder to meet": {"hard": 10.0},
    "10 %, the same": {"hard": 10.0, "share": 0.1},
    "drawn, a third of the labels while a round runs": {"late": 1 / 3},
}
_RECOGNISED, _OF_HARD = 0.9, 0.5
_MISTAKEN, _OF_CONFUSABLE = 0.03, 0.5
"""What the judged model says is rare: of easy and hard rare cases, of ordinary and confusable common ones; chosen."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What is said of one figure of a simulated project.

    Attributes
    ----------
    truth
        Of all its tasks.
    weighted
        By the weights; ``None`` where they say nothing.
    plain
        By the labels as if they were a random sample.
    """

    truth: float
    weighted: Interval | None
    plain: Interval


def ask(generator: np.random.Generator, **given: Any) -> dict[str, Answer]:
    """Simulate a project, and return what its labels say of how frequent rare cases are, and of a model."""
    drawn = draw_project(generator, confused=True, **given)
    rare = np.arange(drawn.tasks) < drawn.rare
    chances = np.where(rare, _RECOGNISED, np.where(drawn.confusable, _OF_CONFUSABLE, _MISTAKEN))
    if given.get("hard", 1.0) > 1:
        chances[: drawn.rare // 2] = _OF_HARD
    said = generator.random(drawn.tasks) < chances
    labelled = ~drawn.project.waiting
    sample = sample_of(drawn.project.entered, drawn.project.audit, labelled)
    everything = np.ones(drawn.tasks, dtype=bool)
    questions = {
        "prevalence": (rare, everything),
        "sensitivity": (said & rare, rare),
        "specificity": (~said & ~rare, ~rare),
    }
    answers = {
        name: Answer(
            hits.sum() / max(1, of.sum()),
            sample.share(hits[labelled], None if of is everything else of[labelled]),
            interval_of_share(int((hits & labelled).sum()), max(1, int((of & labelled).sum()))),
        )
        for name, (hits, of) in questions.items()
    }
    parts = [answers["sensitivity"], answers["specificity"]]
    both = [one.weighted for one in parts if one.weighted is not None and one.weighted.estimate is not None]
    plain = [one.plain for one in parts if one.plain.estimate is not None]
    answers["balanced accuracy"] = Answer(
        sum(one.truth for one in parts) / 2,
        mean_of_shares(both) if len(both) == len(parts) else None,
        mean_of_shares(plain) if len(plain) == len(parts) else Interval(None, 0.0, 1.0),
    )
    return answers


def held(answers: Sequence[Answer], *, by_weights: bool) -> tuple[float, float, int]:
    """Return in which share of the answers the interval holds the truth, the mean error, and how many answers count.

    Those count in which the weights say something.
    """
    chosen = [(one.truth, one.weighted if by_weights else one.plain) for one in answers if one.weighted is not None]
    holding = [holds(interval, truth) for truth, interval in chosen if interval is not None]
    errors = [one.estimate - truth for truth, one in chosen if one is not None and one.estimate is not None]
    share, error = (float(np.mean(values)) if values else float("nan") for values in (holding, errors))
    return share, error, len(holding)


def main(runs: int = _RUNS) -> None:
    """Simulate and print the table."""
    console = Console(width=170)
    table = Table(title=f"{runs} simulated projects a row: 95 % intervals that hold, mean error in points; cases")
    table.add_column("rare cases in the project")
    for name in FIGURES:
        table.add_column(name, justify="right")
    for place, (name, given) in track(list(enumerate(_ROWS.items())), "rows", console=console):
        generator = np.random.default_rng([1, place])
        answers = [ask(generator, **given) for _ in range(runs)]
        for weighted in (True, False):
            cells = [_cell([one[figure] for one in answers], by_weights=weighted) for figure in FIGURES]
            table.add_row(name if weighted else "    without weights", *cells)
    console.print(table)


def _cell(answers: Sequence[Answer], *, by_weights: bool) -> str:
    share, error, cases = held(answers, by_weights=by_weights)
    return f"{share:.1%} {100 * error:+.1f}; {cases}" if cases else "–"


def sample_of(entered: NDArray[np.int64], audit: NDArray[np.bool_], labelled: NDArray[np.bool_]) -> SampledLabels:
    """Return the labels of a simulated project as a sample of its tasks.

    Parameters
    ----------
    entered, audit, labelled
        Round, random draws and labelled ones of all tasks, shape (tasks,).
    """
    own, drawn = entered[labelled], audit[labelled]
    numbers, draws = np.unique(own[drawn], return_counts=True)
    open_ = int((~labelled).sum())
    rounds = [
        DrawnRound(int(number), open_ + int((own >= number).sum()), int(count))
        for number, count in zip(numbers, draws, strict=True)
    ]
    return SampledLabels(own, drawn, rounds)
