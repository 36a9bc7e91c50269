"""Conditional variances of the pool given a growing set: what the log-determinants grow by.

A similarity matrix S + λI is the Gram matrix of vectors z plus λI: z = √slope · ĝ for a cosine, with
one more coordinate √offset for a rescaled one. So no similarity between two points of the pool is ever
needed: with the vectors of what is given, u_1 … u_m, orthogonalised against each other, the variance of
a point is λ + |z|² − Σ_t ⟨u_t, z⟩², and one more point costs one pass over the pool's features.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from clinical_backend.acquisition.compiled.loops.variances import advance_features, advance_gradients
from clinical_backend.acquisition.compiled.similarity import cross
from clinical_backend.errors import InvalidArgumentError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from clinical_backend.acquisition.compiled.similarity import Directions, Map
    from clinical_backend.acquisition.compiled.threads import Workers

__all__ = ["Volume"]

_ROWS = 16_384  # of a block: in float64, with 100 exemplars, 13 MB instead of as much for each row of the pool


class Volume:
    """The variance of each point of the pool given the picks, and the share of it that more points explain.

    Parameters
    ----------
    pool
        (n) points.
    known
        Given to both: the counter-exemplars, with ν; None for none.
    explaining
        Given only to the second: the query set, with η; None for none.
    ridge
        λ.

    Attributes
    ----------
    variances
        (n,) float64, d1 = var(j | known, picks).
    explained
        (n,) float64, d1 − var(j | known, explaining, picks), kept apart since it may be far smaller than d1.
    """

    def __init__(
        self,
        pool: Directions,
        known: tuple[Directions, float] | None,
        explaining: tuple[Directions, float] | None,
        *,
        to: Map,
        ridge: float,
        workers: Workers,
    ) -> None:
        self._pool, self._to, self._ridge, self._workers = pool, to, ridge, workers
        nonzero = np.ones(len(pool), np.bool_)
        for factor in pool.factors:
            nonzero &= factor.inverse > 0
        self.variances = ridge + float(to.offset) + float(to.slope) * nonzero.astype(np.float64)
        self.explained = np.zeros(len(pool))
        sets = [given for given in (known, explaining) if given is not None]
        first = 0 if known is None else len(known[0])
        basis: NDArray[np.float64] = np.empty((0, self._points(pool, slice(0, 0)).shape[1]))
        if sets:
            basis = self._condition(sets, first)
        self._basis = (basis[:first], basis)
        self._check()

    def add(self, pick: int) -> tuple[float, float]:
        """Condition on one more point of the pool; return its variance and the explained part of it."""
        point = self._points(self._pool, slice(pick, pick + 1))[0]
        one, two = (point - (basis @ point) @ basis for basis in self._basis)
        variance = self._ridge + point @ one
        explained = float(point @ (one - two))
        rest = variance - explained
        first, second = one / np.sqrt(variance), two / np.sqrt(rest)
        self._basis = (np.vstack([self._basis[0], first]), np.vstack([self._basis[1], second]))
        self._advance(first, first - second)
        self._check()
        return float(variance), explained

    def _points(self, directions: Directions, rows: slice) -> NDArray[np.float64]:
        """Return the vectors z of some points, (m, D)."""
        dense = [factor.T.astype(np.float64) for factor in directions.dense(rows)]
        vectors: NDArray[np.float64] = dense[0]
        if len(dense) == 2:
            vectors = (dense[1][:, :, None] * dense[0][:, None, :]).reshape(
                len(vectors), dense[0].shape[1] * dense[1].shape[1]
            )
        vectors *= np.sqrt(float(self._to.slope))
        if self._to.offset > 0:
            last = np.full((len(vectors), 1), np.sqrt(float(self._to.offset)))
            vectors = np.concatenate([vectors, last], axis=1)
        return vectors

    def _condition(self, sets: list[tuple[Directions, float]], first: int) -> NDArray[np.float64]:
        """Condition on what is given: the first sets of it change `variances`, the rest `explained`."""
        points = np.concatenate([self._points(part, slice(None)) for part, _ in sets])
        scales = np.concatenate([np.full(len(part), scale) for part, scale in sets])
        gram = points @ points.T + self._ridge * np.eye(len(points))
        back = np.linalg.inv(np.linalg.cholesky(gram)) * scales
        kernels = [cross(self._pool, part, self._to, self._workers).kernel for part, _ in sets]
        back32 = back.T.astype(np.float32)
        for start in range(0, len(self._pool), _ROWS):
            rows = slice(start, start + _ROWS)
            block = np.concatenate([kernel[rows] for kernel in kernels if kernel is not None], axis=1)
            squares = np.square(block @ back32, dtype=np.float64)
            self.variances[rows] -= squares[:, :first].sum(axis=1)
            self.explained[rows] += squares[:, first:].sum(axis=1)
        return np.asarray(back @ points)

    def _advance(self, first: NDArray[np.float64], difference: NDArray[np.float64]) -> None:
        """Subtract what one more direction explains."""
        slope = np.sqrt(float(self._to.slope))
        last = np.zeros(2, np.float32)
        if self._to.offset > 0:
            last = (np.sqrt(float(self._to.offset)) * np.array([first[-1], difference[-1]])).astype(np.float32)
            first, difference = first[:-1], difference[:-1]
        features = self._pool.factors[0]
        width = features.values.shape[1]
        count = len(self._pool)
        if len(self._pool.factors) == 1:
            directions = (slope * np.stack([first, difference])).astype(np.float32)
            self._workers.run(
                advance_features, count, features.values, features.inverse, directions[0], directions[1],
                last[0], last[1], self.variances, self.explained,
            )  # fmt: skip
            return
        residuals = self._pool.factors[1]
        classes = residuals.values.shape[1]
        both = np.concatenate([first.reshape(classes, -1), difference.reshape(classes, -1)])
        towards = np.ascontiguousarray((slope * both).astype(np.float32).T)
        for start in range(0, count, _ROWS):
            rows = slice(start, start + _ROWS)
            product = features.values[rows] @ towards[:width]
            inverse = features.inverse[rows] * residuals.inverse[rows]
            self._workers.run(
                advance_gradients, len(product), product, towards[width], residuals.values[rows], inverse,
                last[0], last[1], self.variances[rows], self.explained[rows],
            )  # fmt: skip

    def _check(self) -> None:
        if len(self.variances) and (self.variances.min() <= 0 or (self.variances - self.explained).min() <= 0):
            raise InvalidArgumentError(
                "eta",
                "with this eta, nu and lambda_ the similarity matrix is indefinite.",
                "Give eta and nu the same value of at most 1, or a larger lambda_.",
            )
