"""Curves over labels: rare cases found, and what the classifier learnt from them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from clinical_backend.lab.experiments.strategies import LIVE
from clinical_backend.lab.experiments.summary import MEASURES, curve
from clinical_backend.lab.plotting import pyplot

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from matplotlib.axes import Axes
    from numpy.typing import NDArray

__all__ = ["save_curves", "save_found"]

_COLOURS = {LIVE: "#0f766e", "p_rare": "#d97706", "random": "#6b7280", "oracle": "#111827"}
_LINES = ("-", "--", "-.", (0, (1, 1)))
_OTHERS = ("#2563eb", "#9333ea", "#dc2626", "#0891b2", "#65a30d", "#c026d3", "#78716c", "#f59e0b")


def save_curves(results: Sequence[dict[str, Any]], title: str, path: Path) -> None:
    """Draw the runs of one protocol as PNG and SVG: means over seeds, with one standard error around them.

    Parameters
    ----------
    path
        Without suffix.
    """
    plt = pyplot()
    figure, grid = plt.subplots(2, (1 + len(MEASURES)) // 2, figsize=(16, 8), layout="constrained")
    axes = grid.ravel()
    series = list(dict.fromkeys((result["strategy"], result["learner"]) for result in results))
    learners = list(dict.fromkeys(learner for _, learner in series))
    others = iter(_OTHERS * (1 + len(series) // len(_OTHERS)))
    colours: dict[str, str] = dict(_COLOURS)
    for strategy, learner in series:
        runs = [result for result in results if (result["strategy"], result["learner"]) == (strategy, learner)]
        style = {
            "color": colours.get(strategy) or colours.setdefault(strategy, next(others)),
            "label": strategy if len(learners) == 1 else f"{strategy}, {learner}",
            "linewidth": 2.4 if strategy == LIVE else 1.2,
            "linestyle": ":" if strategy == "oracle" else _LINES[learners.index(learner) % len(_LINES)],
        }
        _draw_found(axes[0], runs, style, banded=strategy in _COLOURS)
        for axis, measure in zip(axes[1:], MEASURES, strict=True):
            _draw_measure(axis, runs, measure, style, banded=strategy in _COLOURS)
    axes[0].set(xlabel="labels", title="rare cases found", ylabel="cases")
    for axis, heading in zip(axes[1:], MEASURES.values(), strict=True):
        axis.set(xlabel="labels", title=heading)
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(alpha=0.2)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right center", frameon=False, fontsize=8)
    figure.suptitle(title)
    figure.savefig(path.with_suffix(".svg"), metadata={"Date": None})
    figure.savefig(path.with_suffix(".png"), dpi=110)
    plt.close(figure)


def save_found(found: Mapping[str, Sequence[Sequence[int]]], title: str, path: Path) -> None:
    """Draw what was found against labels as PNG and SVG: means over runs, with one standard error around them.

    Parameters
    ----------
    found
        Rare cases found after each label, of each run, by what was tried; the first of it stands out.
    path
        Without suffix.
    """
    plt = pyplot()
    figure, axis = plt.subplots(figsize=(8, 5), layout="constrained")
    colours = iter(_OTHERS * (1 + len(found) // len(_OTHERS)))
    for place, (name, runs) in enumerate(found.items()):
        style = {"color": next(colours) if place else _COLOURS[LIVE], "label": name, "linewidth": 1.2 if place else 2.4}
        _draw_found(axis, [{"found": run} for run in runs], style, banded=True)
    axis.set(xlabel="labels", ylabel="cases", title=f"rare cases found, {title}")
    axis.spines[["top", "right"]].set_visible(False)
    axis.grid(alpha=0.2)
    axis.legend(frameon=False, fontsize=8)
    figure.savefig(path.with_suffix(".svg"), metadata={"Date": None})
    figure.savefig(path.with_suffix(".png"), dpi=110)
    plt.close(figure)


def _draw_found(axis: Axes, runs: Sequence[dict[str, Any]], style: dict[str, Any], *, banded: bool) -> None:
    length = min(len(run["found"]) for run in runs)
    rows = np.array([[0, *run["found"][:length]] for run in runs])
    _draw(axis, np.arange(length + 1), rows, style, banded=banded)


def _draw_measure(
    axis: Axes, runs: Sequence[dict[str, Any]], measure: str, style: dict[str, Any], *, banded: bool
) -> None:
    curves = [dict(zip(*curve(run, measure), strict=True)) for run in runs]
    labels = sorted(set.intersection(*(set(points) for points in curves)))
    if labels:
        rows = np.array([[points[label] for label in labels] for points in curves])
        _draw(axis, np.array(labels), rows, style, banded=banded)


def _draw(axis: Axes, labels: NDArray[np.int64], rows: NDArray[Any], style: dict[str, Any], *, banded: bool) -> None:
    mean = rows.mean(axis=0)
    axis.plot(labels, mean, **style)
    if banded and len(rows) > 1:
        error = rows.std(axis=0, ddof=1) / np.sqrt(len(rows))
        axis.fill_between(labels, mean - error, mean + error, color=style["color"], alpha=0.15, linewidth=0)
