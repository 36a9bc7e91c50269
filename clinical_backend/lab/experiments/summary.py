"""What many runs say together: tables with spread, and every strategy paired with the live round's."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from clinical_backend.lab.experiments.simulation import CHECKPOINTS
from clinical_backend.lab.experiments.strategies import LIVE, STRATEGIES

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

__all__ = ["MEASURES", "curve", "first_after", "found_after", "found_by_class", "markdown", "standard_error"]

_BASE = "p_rare"
_COVERAGE = "class_coverage"

MEASURES = {
    "average_precision": "rare-class average precision",
    "recall_at_specificity": "recall at 90 % specificity",
    "balanced_accuracy": "balanced accuracy",
    "rare_accuracy": "accuracy on rare classes",
    _COVERAGE: "class coverage",
}


def markdown(results: Iterable[dict[str, Any]]) -> str:
    """Return a section for each protocol and learner: means ± standard errors, and differences to ``auto``.

    Differences are paired by seed: auto − strategy, so that a positive one is a win of ``auto``. A protocol
    that several learners were run on has a section that sets them side by side.
    """
    grouped: dict[str, dict[str, dict[str, dict[int, dict[str, Any]]]]] = {}
    for result in results:
        learners = grouped.setdefault(result["name"], {})
        learners.setdefault(result["learner"], {}).setdefault(result["strategy"], {})[result["seed"]] = result
    sections = []
    for name, learners in grouped.items():
        sections += [_section(name, learner, group) for learner, group in learners.items()]
        if len(learners) > 1:
            sections.append(_side_by_side(name, learners))
    return "\n".join(sections)


def found_after(result: dict[str, Any], labels: int) -> float:
    """Return how many rare cases a run had found after so many labels."""
    found = result["found"]
    return float(found[min(labels, len(found)) - 1]) if labels and found else 0.0


def _covered(runs: Iterable[dict[str, Any]], stops: Sequence[int]) -> str:
    """Return the class coverage after so many labels; at the end queues that find all differ no more."""
    curves = [dict(zip(*curve(run, _COVERAGE), strict=True)) for run in runs]
    values = [[points[stop] for points in curves if stop in points] for stop in stops]
    return " / ".join(f"{_mean(value):.2f}" if value else "–" for value in values)


def found_by_class(runs: Sequence[dict[str, Any]], stops: Sequence[int]) -> str:
    """Return how many cases of each rare class were found after so many labels, on average, the worst class first."""
    found = {
        name: [
            _mean(float(run["classes_found"][name][min(stop, len(run["found"])) - 1]) for run in runs) for stop in stops
        ]
        for name in runs[0]["classes_found"]
    }
    worst_first = sorted(found, key=lambda name: found[name][::-1])
    return "; ".join(f"{name} " + " / ".join(f"{count:.1f}" for count in found[name]) for name in worst_first)


def first_after(result: dict[str, Any]) -> float:
    """Return the number of labels at which a run met the first rare case; one more than its labels if never."""
    found = np.asarray(result["found"])
    return float(np.argmax(found > 0) + 1 if len(found) and found[-1] else len(found) + 1)


def curve(result: dict[str, Any], measure: str) -> tuple[list[int], list[float]]:
    """Return labels and values of a measure of one run; what could not be measured yet is left out."""
    points = [
        (int(labels), values[measure])
        for labels, values in result["measured"].items()
        if values.get(measure) is not None
    ]
    points.sort()
    return [labels for labels, _ in points], [value for _, value in points]


def _stops(one: dict[str, Any]) -> list[int]:
    last = one["protocol"]["labels"]
    return [*(count for count in CHECKPOINTS if count < last), last]


def _side_by_side(name: str, learners: dict[str, dict[str, dict[int, dict[str, Any]]]]) -> str:
    """Set the strategies that several learners were run on beside P(rare) on frozen features."""
    shared = [
        strategy
        for strategy in STRATEGIES
        if strategy == _BASE or sum(strategy in group for group in learners.values()) > 1
    ]
    base = list(learners.get("frozen", {}).get(_BASE, {}).values())
    stops = _stops(next(iter(next(iter(next(iter(learners.values())).values())).values())))
    lines = [
        f"### {name}, learners side by side",
        "",
        "In brackets: times as many as P(rare) on frozen features.",
        "",
        "| strategy, features | labels to the first | "
        + " | ".join(f"found after {stop}" for stop in stops)
        + " | rare-class AP |",
        "|---" * (len(stops) + 3) + "|",
    ]
    for strategy in shared:
        for learner, group in learners.items():
            runs = list(group.get(strategy, {}).values())
            if not runs:
                continue
            cells = [_cell([first_after(run) for run in runs], 1)]
            for stop in stops:
                found = [found_after(run, stop) for run in runs]
                reference = _mean(found_after(run, stop) for run in base) if base else 0.0
                cells.append(_cell(found, 1) + (f" ({_mean(found) / reference:.2f})" if reference else ""))
            cells.append(_cell([value for run in runs for value in curve(run, "average_precision")[1][-1:]], 3))
            lines.append(f"| {strategy}, {learner} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _section(name: str, learner: str, group: dict[str, dict[int, dict[str, Any]]]) -> str:
    one = next(iter(next(iter(group.values())).values()))
    stops = _stops(one)
    last = stops[-1]
    seeds = sorted({seed for runs in group.values() for seed in runs})
    rare = np.mean([run["rare"] for runs in group.values() for run in runs.values()])
    several = len(one["classes_found"]) > 1
    lines = [
        f"### {name}, {learner}",
        "",
        (
            f"{len(seeds)} seeds; a pool of {one['pool']}, on average {rare:.0f} rare cases to find; "
            f"{one['protocol']['exemplars']} exemplars of each rare class and "
            f"{one['protocol']['initial'] + one['protocol']['common']} other labels at the start; "
            f"{one['protocol']['batch']} labels a round."
        ),
        "",
        "| strategy | "
        + " | ".join(f"found after {stop}" for stop in stops)
        + " | "
        + " | ".join(MEASURES.values())
        + f" | auto − it after {stops[-1]} | won, lost | s/round |"
        + (" of each class, the worst first |" if several else ""),
        "|---" * (len(stops) + len(MEASURES) + 4 + several) + "|",
    ]
    live = group.get(LIVE, {})
    order = sorted(group, key=lambda item: -_mean(found_after(run, last) for run in group[item].values()))
    for strategy in order:
        runs = group[strategy]
        cells = [_cell([found_after(run, stop) for run in runs.values()], 1) for stop in stops]
        cells += [
            _cell([value for run in runs.values() for value in curve(run, measure)[1][-1:]], 3)
            for measure in MEASURES
            if measure != _COVERAGE
        ]
        cells.append(_covered(runs.values(), stops))
        shared = sorted(set(runs) & set(live)) if strategy != LIVE else []
        gaps = [found_after(live[seed], last) - found_after(runs[seed], last) for seed in shared]
        cells.append(_cell(gaps, 1, sign=True) if gaps else "")
        cells.append(f"{sum(gap > 0 for gap in gaps)}, {sum(gap < 0 for gap in gaps)}" if gaps else "")
        cells.append(f"{np.median([second for run in runs.values() for second in run['seconds']]):.2f}")
        if several:
            cells.append(found_by_class(list(runs.values()), stops))
        shown = f"**{strategy}**" if strategy == LIVE else strategy
        lines.append(f"| {shown} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _cell(values: Sequence[float], digits: int, *, sign: bool = False) -> str:
    """Return mean ± standard error."""
    if not values:
        return "–"
    mean = f"{np.mean(values):{'+' if sign else ''}.{digits}f}"
    return mean if len(values) < 2 else f"{mean} ± {standard_error(values):.{digits}f}"


def standard_error(values: Sequence[float] | NDArray[np.float64]) -> float:
    """Return the standard error of the mean of at least two values."""
    return float(np.std(values, ddof=1) / math.sqrt(len(values)))


def _mean(values: Iterable[float]) -> float:
    listed = list(values)
    return sum(listed) / len(listed)
