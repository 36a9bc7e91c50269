"""Similarities between the rows of embeddings, without ever building a gradient embedding."""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from clinical_backend.acquisition.compiled.loops.products import finish
from clinical_backend.acquisition.request import Similarity
from clinical_backend.errors import InvalidArgumentError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from clinical_backend.acquisition.compiled.threads import Workers
    from clinical_backend.acquisition.embedding import Embedding

__all__ = ["Cross", "Directions", "Factor", "Map", "cross"]

_ROWS = 4096  # of a block, which stays in a processor's cache


@dataclass(frozen=True)
class Map:
    """How a cosine becomes a similarity: max(slope · cosine + offset, least)."""

    slope: np.float32
    offset: np.float32
    least: np.float32

    @classmethod
    def of(cls, similarity: Similarity, *, non_negative: bool = False) -> Map:
        """Return the map of a similarity; `non_negative` cuts it off at 0."""
        slope, offset, least = {
            Similarity.COSINE: (1, 0, 0 if non_negative else -1),
            Similarity.RESCALED: (0.5, 0.5, 0),
            Similarity.CLIPPED: (1, 0, 0),
        }[similarity]
        return cls(np.float32(slope), np.float32(offset), np.float32(least))

    def __call__(self, cosines: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the similarities of an array of cosines."""
        return np.asarray(np.maximum(self.slope * cosines + self.offset, self.least))


@dataclass(frozen=True)
class Factor:
    """Rows of one array and the inverse norms of the rows, or of [row, 1] with a bias."""

    values: NDArray[np.float32]
    inverse: NDArray[np.float32]
    bias: bool

    def dense(self) -> NDArray[np.float32]:
        """Return the unit rows, (n, d) or (n, d + 1)."""
        units = self.values * self.inverse[:, None]
        return np.concatenate([units, self.inverse[:, None]], axis=1) if self.bias else units


class Directions:
    """The directions of an embedding's vectors: their cosine is the product of the cosines of the factors.

    Parameters
    ----------
    embedding
        Its rows are not copied, unless one is so large or small that its square leaves the range of float32.
    argument
        Name of the embedding in an error.
    deferred
        Leave the norms to `cross`, which reads every row anyway.

    Raises
    ------
    InvalidArgumentError
        Where a row holds NaN or an infinite number.
    """

    def __init__(self, embedding: Embedding, argument: str, workers: Workers, *, deferred: bool = False) -> None:
        self._embedding, self._argument = embedding, argument
        self.settled = not deferred
        if self.settled:
            self.settle(workers)
            return
        self.factors = [Factor(values, np.empty(len(values), np.float32), bias) for values, bias in self._sources()]

    def settle(self, workers: Workers) -> None:
        """Compute all norms."""
        self.factors = [_factor(values, self._argument, workers, bias=bias) for values, bias in self._sources()]
        self.settled = True

    def settle_block(self, rows: slice) -> bool:
        """Compute the norms of some rows; return False where a row needs the care that `settle` takes."""
        for factor in self.factors:
            values = factor.values[rows]
            squares = np.einsum("ij,ij->i", values, values)
            if not _safe(squares).all():
                return False
            factor.inverse[rows] = 1 / np.sqrt(squares + np.float32(factor.bias))
        return True

    def _sources(self) -> list[tuple[NDArray[np.float32], bool]]:
        """Return the factors' values, and whether each has a bias."""
        if self._embedding.residuals is None:
            return [(self._embedding.features, False)]
        return [(self._embedding.features, True), (self._embedding.residuals, False)]

    def __len__(self) -> int:
        return len(self.factors[0].values)

    def take(self, rows: NDArray[np.int64]) -> Directions:
        """Return the directions of some of the points."""
        some = copy(self)
        some.factors = [
            Factor(_read_only(factor.values[rows]), factor.inverse[rows], factor.bias) for factor in self.factors
        ]
        return some

    def dense(self, rows: slice | NDArray[np.int64]) -> list[NDArray[np.float32]]:
        """Return the transposed unit rows of some points, one array for each factor."""
        return [
            np.ascontiguousarray(Factor(factor.values[rows], factor.inverse[rows], factor.bias).dense().T)
            for factor in self.factors
        ]


@dataclass(frozen=True)
class Cross:
    """The similarities of a pool to a small set.

    Attributes
    ----------
    kernel
        (n, m) similarities, or None where they were not kept.
    nearest
        (n,) largest cosine of each row.
    total
        (n,) sum of the similarities of each row.
    """

    kernel: NDArray[np.float32] | None
    nearest: NDArray[np.float32]
    total: NDArray[np.float32]


def cross(pool: Directions, others: Directions, to: Map, workers: Workers, *, keep: bool = True) -> Cross:
    """Return the similarities of a pool to a small set: a thin product for each factor, and one pass."""
    count, size = len(pool), len(others)
    dense = others.dense(slice(None))
    kernel = np.empty((count, size), np.float32) if keep else None
    nearest, total = np.empty(count, np.float32), np.empty(count, np.float32)
    width = pool.factors[0].values.shape[1]
    bias = dense[0][width] if pool.factors[0].bias else np.zeros(size, np.float32)
    deferred = not pool.settled
    odd: list[int] = []

    def block(start: int, stop: int) -> None:
        rows = slice(start, stop)
        if odd or (deferred and not pool.settle_block(rows)):
            odd.append(start)
            return
        products = np.empty((stop - start, size), np.float32) if kernel is None else kernel[rows]
        np.matmul(pool.factors[0].values[rows], dense[0][:width], out=products)
        inverse = pool.factors[0].inverse[rows]
        second: NDArray[np.float32] = np.empty((0, size), np.float32)
        if len(dense) == 2:
            second = pool.factors[1].values[rows] @ dense[1]
            inverse = np.asarray(inverse * pool.factors[1].inverse[rows])
        finish(
            0, stop - start, products, inverse, bias, second,
            to.slope, to.offset, to.least, nearest[rows], total[rows],
        )  # fmt: skip

    workers.blocks(block, count, _ROWS)
    if odd:
        pool.settle(workers)
        return cross(pool, others, to, workers, keep=keep)
    pool.settled = True
    return Cross(kernel, nearest, total)


def _factor(values: NDArray[np.float32], argument: str, workers: Workers, *, bias: bool) -> Factor:
    squares: NDArray[np.float32] = np.empty(len(values), np.float32)
    workers.run(_squares, len(values), values, squares)
    unsafe = np.flatnonzero(~_safe(squares))
    if len(unsafe):
        values, squares = _rescaled(values, squares, unsafe, argument, bias=bias)
    if bias:
        squares += 1
    norms = np.sqrt(squares)
    inverse = np.divide(1, norms, out=np.zeros_like(norms), where=norms > 0)
    return Factor(values, inverse, bias)


def _safe(squares: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Tell which squared norms are far from the ends of float32."""
    return np.asarray((squares > 1e-20) & (squares < 1e20))


def _rescaled(
    values: NDArray[np.float32],
    squares: NDArray[np.float32],
    unsafe: NDArray[np.int64],
    argument: str,
    *,
    bias: bool,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Bring rows whose squares are not safe numbers of float32 to a length that is."""
    largest = np.abs(values[unsafe].astype(np.float64)).max(axis=1)
    broken = unsafe[~np.isfinite(largest)]
    if len(broken):
        raise InvalidArgumentError(
            argument,
            f"{len(broken)} of its {len(values)} rows hold NaN or infinite numbers, first row {broken[0]}.",
            "Leave out the images whose vectors could not be computed.",
        )
    if bias:  # beside the 1 of the bias, a tiny row is as good as zero and a huge one as good as a direction
        largest = np.maximum(largest / 1e9, (largest > 0).astype(np.float64))
    moved = np.flatnonzero((largest > 0) & (largest != 1))
    if len(moved):
        values, squares = values.copy(), squares.copy()
        rows = unsafe[moved]
        values[rows] = (values[rows] / largest[moved, None]).astype(np.float32)
        squares[rows] = np.einsum("ij,ij->i", values[rows], values[rows])
    return _read_only(values), squares


def _read_only(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Make an array of the one type that the compiled loops were compiled for."""
    values.setflags(write=False)
    return values


def _squares(start: int, stop: int, values: NDArray[np.float32], squares: NDArray[np.float32]) -> None:
    np.einsum("ij,ij->i", values[start:stop], values[start:stop], out=squares[start:stop])
