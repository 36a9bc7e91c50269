"""Capped coverage of a pool by its own points: the n × n heart of FLVMI, in one byte for each pair.

The gain of candidate j is Σ_i (min(s_ij, cap_i) − c_i)₊. Every similarity is computed once, in square
tiles of which the mirror image is the transpose, and kept rounded up to one of 255 steps between a low
similarity of row i and its cap: enough for an upper bound of each gain, at a quarter of the memory
traffic of float32. Only the few candidates whose bound reaches the best gain known are computed
exactly, in float32 from the features.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import numpy as np

from clinical_backend.acquisition.compiled.greedy import TIE
from clinical_backend.acquisition.compiled.loops.pairs import encode, gains_of, screen

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from clinical_backend.acquisition.compiled.similarity import Directions, Map
    from clinical_backend.acquisition.compiled.threads import Workers

__all__ = ["Coverage"]

_TILE = 4096  # two of them in float32 take 128 MB
_SAMPLE = 64  # similarities of a row that estimate that quantile: an estimate alone, which makes no bound wrong
_LOW = 0.3  # quantile of a row's similarities below which its code does not tell them apart
_STEPS = 254  # of a byte: its 0 stands for what is below
_LEAST_STEP = np.float32(1e-12)  # only more than 0: far below what float32 tells apart near 1
_PROBES = 64  # twice a batch: of the best by old bounds, the better half by new ones is computed
_BATCH = 32  # candidates of one product, which reads the features once for all of them
_SLACK = 1 + 1e-5  # of the rounding of a bound's sum
_SHARE_OF_MEMORY = 0.4  # less than half of the machine's: features, tiles and the rest of a round must fit beside it


class Coverage:
    """The rows that can still be covered better, and bounds on what each candidate would add.

    Parameters
    ----------
    pool
        (n) points, both rows and candidates.
    cap, covered
        (n,) what a row can count at most and counts already.
    to
        The map of cosines to similarities.
    """

    def __init__(
        self,
        pool: Directions,
        cap: NDArray[np.float32],
        covered: NDArray[np.float32],
        *,
        to: Map,
        workers: Workers,
    ) -> None:
        open_rows = cap > covered
        self._order = np.argsort(~open_rows, kind="stable")  # rows that can be covered first
        self._place = np.argsort(self._order, kind="stable")
        self._units = [np.ascontiguousarray(factor.T) for factor in pool.dense(self._order)]
        self._to, self._workers = to, workers
        width = int(open_rows.sum())
        rows = self._order[:width]
        self._rows = [units[:width] for units in self._units]
        self._cap, self._covered = cap[rows], covered[rows]
        self._low, self._step = self._scale()
        self._width = width
        self._columns: NDArray[np.int64] = np.arange(width)  # of the codes, the rows that are still open
        self._computed: dict[int, NDArray[np.float32]] = {}  # similarities of the candidates of this step
        self._codes: NDArray[np.uint8] | None = None
        self._bounds = np.zeros(len(pool))
        self._taken = np.zeros(len(pool), np.bool_)
        self._measure(keep=len(pool) * width <= _SHARE_OF_MEMORY * _memory())
        self._exact = np.ones(len(pool), np.bool_)

    def best(self, least: float) -> tuple[int, float]:
        """Return the candidate of the largest gain, lowest index on a tie; (−1, 0) if below `least`."""
        self._bounds[self._taken] = -1
        level = self._bounds[self._exact].max(initial=least)
        if not self._exact.all():
            level = self._probe(level)
            self._screen(np.flatnonzero((self._bounds >= level * (1 - TIE)) & ~self._exact))
            while True:
                left = np.flatnonzero((self._bounds >= level * (1 - TIE)) & ~self._exact)
                if len(left) == 0:
                    break
                first = left[np.argsort(-self._bounds[left], kind="stable")[:_BATCH]]
                level = max(level, self._evaluate(first))
        winners = np.flatnonzero(self._exact & (self._bounds >= level * (1 - TIE)) & ~self._taken)
        if len(winners) == 0:
            return -1, 0.0
        pick = int(self._order[winners].min())
        return pick, float(self._bounds[self._place[pick]])

    def add(self, pick: int) -> None:
        """Cover the rows with a candidate."""
        place = int(self._place[pick])
        self._taken[place] = True
        self._exact[:] = False
        similarities = self._computed.get(place)
        if similarities is None:
            similarities = self._similarities(np.array([place]))[0]
        self._computed.clear()
        np.maximum(self._covered, np.minimum(similarities, self._cap), out=self._covered)
        still = np.flatnonzero(self._covered < self._cap)
        if len(still) < 0.6 * len(self._cap):
            self._close(still)

    def _scale(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return the low end and the step of each row's code."""
        sample = np.linspace(0, len(self._units[0]) - 1, min(_SAMPLE, len(self._units[0]))).astype(np.int64)
        low = np.quantile(self._similarities(np.unique(sample)), _LOW, axis=0) if len(self._cap) else self._cap
        room = self._cap - self._covered
        low = np.clip(low, self._covered, self._covered + np.float32(0.9) * room).astype(np.float32)
        # A row may be open by less than a step can tell: the step must not be 0 for it.
        return low, np.maximum((self._cap - low) / np.float32(_STEPS), _LEAST_STEP)

    def _measure(self, *, keep: bool) -> None:
        """Compute all gains and, where the memory allows, the codes."""
        count, width = len(self._bounds), self._width
        if keep:
            self._codes = np.empty((count, width), np.uint8)
        codes = np.empty((0, 0), np.uint8) if self._codes is None else self._codes
        tile = np.empty((min(_TILE, count), min(_TILE, count)), np.float32)
        other = np.empty_like(tile)
        for start in range(0, count, _TILE):
            stop = min(start + _TILE, count)
            for column in range(0, start + 1, _TILE):
                end = min(column + _TILE, count)
                if column >= width:
                    continue
                products = tile.reshape(-1)[: (stop - start) * (end - column)].reshape(stop - start, end - column)
                np.matmul(self._units[0][start:stop], self._units[0][column:end].T, out=products)
                if len(self._units) == 2:
                    more = other.reshape(-1)[: products.size].reshape(products.shape)
                    np.matmul(self._units[1][start:stop], self._units[1][column:end].T, out=more)
                    products *= more
                self._encode(products, start, column, codes, transposed=False)
                if column < start < width:
                    self._encode(products, column, start, codes, transposed=True)

    def _encode(
        self,
        tile: NDArray[np.float32],
        start: int,
        column: int,
        codes: NDArray[np.uint8],
        *,
        transposed: bool,
    ) -> None:
        candidates, rows = tile.shape[::-1] if transposed else tile.shape
        end = min(column + rows, self._width)
        span = slice(column, end)
        self._workers.run(
            encode, candidates, tile, transposed, self._to.slope, self._to.offset, self._to.least,
            self._cap[span], self._covered[span], self._low[span], 1 / self._step[span],
            codes[start : start + candidates], column, self._bounds[start : start + candidates], least=64,
        )  # fmt: skip

    def _probe(self, level: float) -> float:
        """Compute some promising candidates, so that few others can still win."""
        bounds = np.where(self._exact, -1, self._bounds)
        some = min(_PROBES, len(bounds))
        promising = np.argpartition(-bounds, some - 1)[:some]
        self._screen(promising[bounds[promising] >= 0])
        promising = promising[np.argsort(-self._bounds[promising], kind="stable")[:_BATCH]]
        promising = promising[~self._taken[promising] & ~self._exact[promising]]
        return max(level, self._evaluate(promising)) if len(promising) else level

    def _screen(self, candidates: NDArray[np.int64]) -> None:
        """Tighten the bounds of some candidates from the codes."""
        if self._codes is None or len(candidates) == 0:
            return
        threshold, weight = np.zeros(self._width, np.float32), np.zeros(self._width, np.float32)
        step = self._step[self._columns]
        threshold[self._columns] = (self._covered - self._low[self._columns]) / step
        weight[self._columns] = np.where(self._covered < self._cap, step, 0)
        found = np.empty(len(candidates))
        self._workers.run(screen, len(candidates), candidates, self._codes, threshold, weight, found, least=16)
        self._bounds[candidates] = np.minimum(self._bounds[candidates], found * _SLACK)

    def _evaluate(self, candidates: NDArray[np.int64]) -> float:
        """Compute the gains of some candidates exactly; return the largest."""
        similarities = self._similarities(candidates)
        gains = np.empty(len(candidates))
        self._workers.run(gains_of, len(candidates), similarities, self._cap, self._covered, gains, least=4)
        self._bounds[candidates] = gains
        self._exact[candidates] = True
        self._computed.update(zip(candidates.tolist(), similarities, strict=True))
        return float(gains.max())

    def _similarities(self, candidates: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the (m, rows) similarities of some candidates to the rows that are still open."""
        result = self._rows[0] @ self._units[0][candidates].T
        if len(self._units) == 2:
            result *= self._rows[1] @ self._units[1][candidates].T
        return self._to(np.ascontiguousarray(result.T))

    def _close(self, still: NDArray[np.int64]) -> None:
        """Forget the rows that are covered up to their cap."""
        self._rows = [rows[still] for rows in self._rows]
        self._cap, self._covered = self._cap[still], self._covered[still]
        self._columns = self._columns[still]


def _memory() -> int:
    """Return the bytes of memory of this machine."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
