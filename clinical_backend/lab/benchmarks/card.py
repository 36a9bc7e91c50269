"""How often the intervals of a model card hold the truth of all tasks of a project.

``clinical bench card``
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table
from scipy.special import expit
from sklearn.metrics import average_precision_score

from clinical_backend.findings.cases import JudgedCases
from clinical_backend.findings.performance import measure
from clinical_backend.lab.benchmarks.intervals import holds
from clinical_backend.lab.benchmarks.simulated_project import draw_project
from clinical_backend.lab.benchmarks.weights import sample_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from clinical_backend.findings.interval import Interval

__all__ = ["FIGURES", "compare", "main"]

FIGURES = ("average_precision", "sensitivity", "specificity", "brier_score", "excess", "balanced_accuracy")
_RUNS = 500
"""A share of 95 % is known to ±1.9 points from so many runs."""
_REPLICATIONS = 300
"""Of the resampling: fewer than of a card, which has one; percentiles stray by half a point of their level."""
_MOST = 6000
"""Tasks of a project, so that a row takes a minute."""
_ROWS: dict[str, dict[str, Any]] = {
    "drawn from 0.5 % to 10 %": {},
    **{f"{share:.0%}": {"share": share} for share in (0.05, 0.1, 0.3)},
    "10 %, four images a patient": {"share": 0.1, "images": 4},
    "drawn, half of the rare cases 10 times harder to meet": {"hard": 10.0},
    "10 %, half of them hidden (1,000 times harder)": {"share": 0.1, "hard": 1000.0},
}
_EASY, _HARD, _CONFUSABLE, _COMMON = 1.5, -0.2, 1.0, -1.0
"""Mean log-odds by the judged model of rare cases, easy and hard, and of common ones that look rare or not; chosen."""


def compare(
    generator: np.random.Generator, *, images: int = 1, hard: float = 1.0, **given: Any
) -> dict[str, tuple[float, Interval]]:
    """Simulate a project, and return the truth of all its tasks beside what its labels say, for what they carry.

    Parameters
    ----------
    images
        Of a patient; half of the variance of their scores is that of the patients.
    hard
        As of :func:`~clinical_backend.lab.benchmarks.simulated_project.new_project`: the model is worse at such cases.
    """
    drawn = draw_project(generator, confused=True, most=_MOST, hard=hard, **given)
    places = np.arange(drawn.tasks)
    rare, patients = places < drawn.rare, places // images
    means = np.where(rare, _EASY, np.where(drawn.confusable, _CONFUSABLE, _COMMON))
    if hard > 1:
        means[: drawn.rare // 2] = _HARD
    noise = generator.normal(0, 1, drawn.tasks)
    if images > 1:
        noise = (noise + generator.normal(0, 1, patients.max() + 1)[patients]) / np.sqrt(2)
    scores = expit(means + noise)
    called = scores >= 0.5
    labelled = ~drawn.project.waiting
    sample = sample_of(drawn.project.entered, drawn.project.audit, labelled)
    if sample.weights is None or not rare.any():
        return {}
    truth, both = (np.stack([1.0 - one, one], axis=1) for one in (rare.astype(float), scores))
    cases = JudgedCases(
        ("common", "rare"),
        truth[labelled],
        both[labelled],
        patients[labelled],
        sample.weights,
        sample.counted,
    )
    found = measure(cases, replications=_REPLICATIONS)
    true = {
        "average_precision": float(average_precision_score(rare, scores)),
        "sensitivity": float(called[rare].mean()),
        "specificity": float((~called[~rare]).mean()),
        "brier_score": float(((scores - rare) ** 2).mean()),
        "excess": float((scores - rare).mean()),
    }
    true["balanced_accuracy"] = (true["sensitivity"] + true["specificity"]) / 2
    said = {name: getattr(found.classes[1], name, found.balanced_accuracy) for name in FIGURES}
    return {name: (true[name], one) for name, one in said.items() if one is not None and one.low is not None}


def main(runs: int = _RUNS) -> None:
    """Simulate and print the table."""
    console = Console(width=190)
    table = Table(title=f"{runs} simulated projects a row: 95 % intervals that hold, mean error, mean width; cases")
    table.add_column("rare cases in the project")
    for name in FIGURES:
        table.add_column(name.replace("_", " "), justify="right")
    for place, (name, given) in track(list(enumerate(_ROWS.items())), "rows", console=console):
        generator = np.random.default_rng([2, place])
        compared = [compare(generator, **given) for _ in range(runs)]
        table.add_row(name, *(_cell([one[figure] for one in compared if figure in one]) for figure in FIGURES))
    console.print(table)


def _cell(answers: Sequence[tuple[float, Interval]]) -> str:
    if not answers:
        return "–"
    held = np.mean([holds(interval, truth) for truth, interval in answers])
    error = np.mean([(one.estimate or 0.0) - truth for truth, one in answers])
    width = np.mean([(one.high or 0.0) - (one.low or 0.0) for _, one in answers])
    return f"{held:.1%} {error:+.3f} {width:.2f}; {len(answers)}"
