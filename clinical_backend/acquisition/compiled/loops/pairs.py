"""The loops over pairs of points of the pool."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from clinical_backend.acquisition.compiled.threads import compiled

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["encode", "gains_of", "screen"]

_PART = 4096  # numbers that are summed in float32
_LINES, _SEGMENT = 64, 256  # of a part of a tile that is transposed within a processor's cache


@compiled
def encode(
    start: int,
    stop: int,
    tile: NDArray[np.float32],
    transposed: bool,
    slope: float,
    offset: float,
    least: float,
    cap: NDArray[np.float32],
    covered: NDArray[np.float32],
    low: NDArray[np.float32],
    scale: NDArray[np.float32],
    codes: NDArray[np.uint8],
    column: int,
    gains: NDArray[np.float64],
) -> None:
    """Add a tile of cosines, (candidates, rows) or its transpose, to the gains; write codes if wanted."""
    buffer = np.empty((_LINES, _SEGMENT + 16), np.float32)  # not a power of two apart, or lines share cache sets
    for first in range(start, stop, _LINES):
        size = min(_LINES, stop - first)
        for begin in range(0, len(cap), _SEGMENT):
            caps, levels = cap[begin : begin + _SEGMENT], covered[begin : begin + _SEGMENT]
            lows, scales = low[begin : begin + _SEGMENT], scale[begin : begin + _SEGMENT]
            width = len(caps)
            if transposed:
                for place in range(width):
                    line = tile[begin + place, first : first + size]
                    for row in range(size):
                        buffer[row, place] = line[row]
            for row in range(size):
                values = buffer[row, :width] if transposed else tile[first + row, begin : begin + width]
                summed = np.float32(0)
                if len(codes):
                    coded = codes[first + row, column + begin : column + begin + width]
                    for place in range(width):
                        value = min(max(slope * values[place] + offset, least), caps[place])
                        summed += max(value - levels[place], np.float32(0))
                        code = (value - lows[place]) * scales[place] + np.float32(1)
                        coded[place] = np.uint8(np.int32(min(max(code, np.float32(0)), np.float32(255))))
                else:
                    for place in range(width):
                        value = min(max(slope * values[place] + offset, least), caps[place])
                        summed += max(value - levels[place], np.float32(0))
                gains[first + row] += summed


@compiled
def screen(
    start: int,
    stop: int,
    candidates: NDArray[np.int64],
    codes: NDArray[np.uint8],
    threshold: NDArray[np.float32],
    weight: NDArray[np.float32],
    found: NDArray[np.float64],
) -> None:
    """Bound the gains of some candidates: Σ_i weight_i (code_i − threshold_i)₊."""
    width = len(threshold)
    for place in range(start, stop):
        line = codes[candidates[place], :width]
        total = 0.0
        for first in range(0, width, _PART):
            some = line[first : first + _PART]
            levels, weights = threshold[first : first + _PART], weight[first : first + _PART]
            summed = np.float32(0)
            for row in range(len(some)):
                summed += weights[row] * max(np.float32(some[row]) - levels[row], np.float32(0))
            total += float(summed)
        found[place] = total


@compiled
def gains_of(
    start: int,
    stop: int,
    similarities: NDArray[np.float32],
    cap: NDArray[np.float32],
    covered: NDArray[np.float32],
    gains: NDArray[np.float64],
) -> None:
    """Compute gains, Σ_i (min(s_i, cap_i) − covered_i)₊, from the candidates' rows of similarities."""
    width = len(cap)
    for place in range(start, stop):
        line = similarities[place]
        total = 0.0
        for first in range(0, width, _PART):
            some = line[first : first + _PART]
            caps, levels = cap[first : first + _PART], covered[first : first + _PART]
            summed = np.float32(0)
            for row in range(len(some)):
                summed += max(min(some[row], caps[row]) - levels[row], np.float32(0))
            total += float(summed)
        gains[place] = total
