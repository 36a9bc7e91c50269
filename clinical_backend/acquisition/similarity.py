"""Similarities between the rows of embeddings, without ever building a gradient embedding."""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from clinical_backend.acquisition.loops.cross import finish
from clinical_backend.acquisition.request import Similarity
from clinical_backend.errors import InvalidArgumentError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from clinical_backend.acquisition.compiled import Workers
    from clinical_backend.acquisition.embedding import Embedding

__all__ = ["Cross", "Directions", "Factor", "Map", "cross"]

_ROWS = 65_536  # of a block: its similarities to 50 exemplars stay in a processor's cache


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

    Raises
    ------
    InvalidArgumentError
        Where a row holds NaN or an infinite number.
    """

    def __init__(self, embedding: Embedding, argument: str, workers: Workers) -> None:
        gradient = embedding.residuals is not None
        self.factors = [_factor(embedding.features, argument, workers, bias=gradient)]
        if embedding.residuals is not None:
            self.factors.append(_factor(embedding.residuals, argument, workers, bias=False))

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
    kernel = np.empty((count if keep else min(count, _ROWS), size), np.float32)
    second = np.empty((min(count, _ROWS), size) if len(dense) == 2 else (0, size), np.float32)
    nearest, total = np.empty(count, np.float32), np.empty(count, np.float32)
    features = pool.factors[0]
    width = features.values.shape[1]
    bias = dense[0][width] if features.bias else np.zeros(size, np.float32)
    residuals = pool.factors[1] if len(dense) == 2 else None
    for start in range(0, count, _ROWS):
        rows = slice(start, min(start + _ROWS, count))
        block = kernel[rows] if keep else kernel[: rows.stop - start]
        np.matmul(features.values[rows], dense[0][:width], out=block)
        inverse = features.inverse[rows]
        factor = second[: len(block)] if residuals is not None else second
        if residuals is not None:
            np.matmul(residuals.values[rows], dense[1], out=factor)
            inverse = inverse * residuals.inverse[rows]
        workers.run(
            finish, len(block), block, inverse, bias, factor,
            to.slope, to.offset, to.least, nearest[rows], total[rows],
        )  # fmt: skip
    return Cross(kernel if keep else None, nearest, total)


def _factor(values: NDArray[np.float32], argument: str, workers: Workers, *, bias: bool) -> Factor:
    squares: NDArray[np.float32] = np.empty(len(values), np.float32)
    workers.run(_squares, len(values), values, squares)
    unsafe = np.flatnonzero(~((squares > 1e-20) & (squares < 1e20)))
    if len(unsafe):
        values, squares = _rescaled(values, squares, unsafe, argument, bias=bias)
    if bias:
        squares += 1
    norms = np.sqrt(squares)
    inverse = np.divide(1, norms, out=np.zeros_like(norms), where=norms > 0)
    return Factor(values, inverse, bias)


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
