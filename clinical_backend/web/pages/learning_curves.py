"""How recall of each class or finding went with the labels, from round to round."""

from __future__ import annotations

from typing import TYPE_CHECKING

from clinical_backend.findings.interval import interval_of_share
from clinical_backend.web.pages.charts import share_chart

if TYPE_CHECKING:
    from collections.abc import Sequence

    from clinical_backend.storage.report import Evaluation
    from clinical_backend.storage.schema import Round
    from clinical_backend.web.pages.charts import Chart

__all__ = ["learning_curves"]

_MOST_OTHERS = 24
"""Of what is not looked for; by eye."""
_LEAST_POINTS = 2
"""A line needs two."""


def learning_curves(
    rounds: Sequence[Round], target: Sequence[str]
) -> list[tuple[str, Chart, list[tuple[int, int, int]]]]:
    """Return of each class or finding its chart, and of each round its labels, cases called right, and all cases.

    Where an image may have several findings, cases are called right where nine in ten without it are not called.

    Parameters
    ----------
    rounds
        The latest first.
    target
        What is looked for: it comes first, then others, those with the most cases first.
    """
    measured = [one.report.evaluation for one in reversed(rounds) if one.report.evaluation is not None]
    found = [(name, [point for one in measured if (point := _point(one, name))]) for name in _names(measured, target)]
    return [
        (name, _chart(points), points) for name, points in found if len({one[0] for one in points}) >= _LEAST_POINTS
    ]


def _names(measured: Sequence[Evaluation], target: Sequence[str]) -> list[str]:
    if not measured:
        return []
    last = measured[-1]
    cases = {one.name: one.present for one in last.findings} or dict(zip(last.classes, last.support, strict=True))
    others = sorted((name for name in cases if name not in target), key=lambda name: -cases[name])
    return [*target, *others[:_MOST_OTHERS]]


def _point(measured: Evaluation, name: str) -> tuple[int, int, int] | None:
    for one in measured.findings:
        if one.name == name and one.present and one.recall_at_specificity is not None:
            return one.labels, round(one.recall_at_specificity * one.present), one.present
    if measured.findings or name not in measured.classes:
        return None
    place = measured.classes.index(name)
    cases = measured.support[place]
    return (sum(measured.support), measured.confusion[place][place], cases) if cases else None


def _chart(points: Sequence[tuple[int, int, int]]) -> Chart:
    return share_chart([(labels, right / cases, interval_of_share(right, cases)) for labels, right, cases in points])
