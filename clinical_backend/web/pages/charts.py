"""Where the lines of a chart run: plain numbers in, geometry for SVG out."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from clinical_backend.findings.interval import Interval
    from clinical_backend.rounds.chances import ChanceBin
    from clinical_backend.service.judged_labels import Threshold

__all__ = ["Chart", "Tick", "bars", "chances_chart", "found_chart", "share_chart", "threshold_chart", "ticks"]

_LEFT, _RIGHT, _TOP, _BOTTOM = 48.0, 20.0, 30.0, 50.0  # by eye: what is written at the axes fits, outside the field
_STEPS = (1, 2, 5, 10)  # round numbers, as people count
_QUARTERS = (0.0, 0.25, 0.5, 0.75, 1.0)


@dataclass(frozen=True, slots=True)
class Tick:
    """A mark of an axis: its place in the drawing, and what is written there."""

    place: float
    text: str


@dataclass(frozen=True, slots=True)
class Chart:
    """A drawing in its own units.

    Attributes
    ----------
    width, height
        Of the drawing.
    left, right, top, bottom
        Edges of the field within the axes.
    line
        Path of the measured line; empty without points.
    end
        Where it ends.
    dots
        Its points, each (x, y).
    reference
        Path of the line that it is compared with.
    band
        Outline of the interval around the reference; empty without one.
    x_ticks, y_ticks
        Marks of the axes.
    """

    width: float
    height: float
    left: float
    right: float
    top: float
    bottom: float
    line: str
    end: tuple[float, float] | None
    dots: tuple[tuple[float, float], ...]
    reference: str
    band: str
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]


def ticks(highest: float, count: int = 5) -> list[float]:
    """Return round numbers from 0 up to the first that is at least ``highest``, about ``count`` of them."""
    rough = max(highest, 1e-9) / count
    magnitude = 10.0 ** math.floor(math.log10(rough))
    step = next(size * magnitude for size in _STEPS if size * magnitude >= rough * (1 - 1e-9))
    return [number * step for number in range(math.ceil(highest / step - 1e-9) + 1)] if highest > 0 else [0.0, step]


def found_chart(
    curve: Sequence[tuple[int, int]], prevalence: Interval | None, *, width: float = 640, height: float = 290
) -> Chart:
    """Draw rare cases found against labels, and what random order would have found by the audit's prevalence.

    Where that is a bound alone, only the area below it is drawn.
    """
    labels = max((point[0] for point in curve), default=0)
    found = max((point[1] for point in curve), default=0)
    xs, ys = _counts(max(labels, 10)), _counts(max(found, 5))
    frame = _Frame(width, height, max(labels, 10), ys[-1])
    points = [frame.place(x, y) for x, y in [(0, 0), *curve]] if curve else []
    reference = band = ""
    if prevalence is not None and labels:
        if prevalence.estimate is not None:
            reference = _path([frame.place(0, 0), frame.place(labels, min(prevalence.estimate * labels, ys[-1]))])
        ends = (prevalence.low or 0.0, 1.0 if prevalence.high is None else prevalence.high)
        low, high = (min(share * labels, ys[-1]) for share in ends)
        band = _path([frame.place(0, 0), frame.place(labels, high), frame.place(labels, low)]) + " Z"
    return frame.chart(_stairs(points), points[-1:], (), reference, band, xs, ys, "{:,.0f}")


def chances_chart(bins: Sequence[ChanceBin], *, side: float = 320) -> Chart:
    """Draw the share that turned out rare against the chance that was stated, beside the diagonal."""
    frame = _Frame(side, side, 1.0, 1.0)
    points = [frame.place(one.predicted, one.rare / one.count) for one in bins]
    diagonal = _path([frame.place(0, 0), frame.place(1, 1)])
    return frame.chart(_path(points), points[-1:], tuple(points), diagonal, "", _QUARTERS, _QUARTERS, "{:.0%}")


def share_chart(points: Sequence[tuple[int, float, Interval]], *, width: float = 420, height: float = 240) -> Chart:
    """Draw a share against the number of labels, with its interval as a band.

    Parameters
    ----------
    points
        Labels, share, and its interval, which has both ends, by rising numbers of labels.
    width, height
        Of the drawing.
    """
    labels = [one[0] for one in points]
    xs = _counts(max([*labels, 10]))
    frame = _Frame(width, height, xs[-1], 1.0)
    line = [frame.place(count, share) for count, share, _ in points]
    low, high = ([frame.place(count, end) for count, end in ends] for ends in zip(*map(_ends, points), strict=True))
    band = _path([*high, *reversed(low)]) + " Z"
    return frame.chart(_path(line), line[-1:], tuple(line), "", band, xs, _QUARTERS, "{:,.0f}", "{:.0%}")


def threshold_chart(points: Sequence[Threshold], *, width: float = 420, height: float = 240) -> Chart:
    """Draw how many of what a threshold calls is right, against the share of cases that it finds."""
    frame = _Frame(width, height, 1.0, 1.0)
    line = [frame.place(one.found / one.present, one.found / one.called) for one in points]
    return frame.chart(_path(line), line[-1:], tuple(line), "", "", _QUARTERS, _QUARTERS, "{:.0%}")


def bars(
    counts: Sequence[int], highest: int, *, width: float = 240, height: float = 36
) -> list[tuple[float, float, float, float]]:
    """Return a bar for each count that is not 0: left and upper edge, width and height.

    Parameters
    ----------
    counts
        One for each equal stretch from left to right.
    highest
        Count whose bar is as high as the drawing; several drawings are compared by giving each the same one.
    """
    step = width / max(len(counts), 1)
    drawn = []
    for place, count in enumerate(counts):
        if count:
            tall = max(2.0, height * count / highest)  # one label among hundreds is still seen
            drawn.append((round(place * step, 1), round(height - tall, 1), round(step * 0.8, 1), round(tall, 1)))
    return drawn


def _ends(point: tuple[int, float, Interval]) -> tuple[tuple[int, float], tuple[int, float]]:
    labels, _, interval = point
    low, high = interval.low or 0.0, 1.0 if interval.high is None else interval.high
    return (labels, low), (labels, high)


def _counts(highest: float) -> list[float]:
    return [mark for mark in ticks(highest) if mark == round(mark)]


class _Frame:
    def __init__(self, width: float, height: float, x_highest: float, y_highest: float) -> None:
        self._width, self._height = width, height
        self._x_highest, self._y_highest = x_highest, y_highest

    def place(self, x: float, y: float) -> tuple[float, float]:
        across = (self._width - _LEFT - _RIGHT) * x / self._x_highest
        up = (self._height - _TOP - _BOTTOM) * y / self._y_highest
        return round(_LEFT + across, 1), round(self._height - _BOTTOM - up, 1)

    def chart(
        self,
        line: str,
        end: Sequence[tuple[float, float]],
        dots: tuple[tuple[float, float], ...],
        reference: str,
        band: str,
        xs: Sequence[float],
        ys: Sequence[float],
        text: str,
        y_text: str | None = None,
    ) -> Chart:
        return Chart(
            self._width,
            self._height,
            _LEFT,
            self._width - _RIGHT,
            _TOP,
            self._height - _BOTTOM,
            line,
            end[0] if end else None,
            dots,
            reference,
            band,
            tuple(Tick(self.place(x, 0)[0], text.format(x)) for x in xs if x <= self._x_highest),
            tuple(Tick(self.place(0, y)[1], (y_text or text).format(y)) for y in ys if y <= self._y_highest),
        )


def _path(points: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{'L' if number else 'M'}{x:g} {y:g}" for number, (x, y) in enumerate(points))


def _stairs(points: Sequence[tuple[float, float]]) -> str:
    """Return a path that stays level until the next case is found."""
    if not points:
        return ""
    (x, y), *others = points
    return f"M{x:g} {y:g} " + " ".join(f"H{x:g} V{y:g}" for x, y in others)
