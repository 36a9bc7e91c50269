"""Conditional variances of the pool given a growing set: the Schur complements behind the log-determinants."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.linalg import cho_factor, solve_triangular

from clinical_backend.acquisition.similarity import similarities
from clinical_backend.errors import InvalidArgumentError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from clinical_backend.acquisition.embedding import Embedding
    from clinical_backend.acquisition.request import Similarity

__all__ = ["ConditionalVariance"]


class ConditionalVariance:
    """Variance of each point of the pool given a set, by an incremental Cholesky factor.

    Parameters
    ----------
    pool, given
        The points and those that are given from the start, None for none.
    scales
        (m,) factors on the similarities between the pool and what is given.
    ridge
        λ, added to the diagonal.
    """

    def __init__(
        self,
        pool: Embedding,
        given: Embedding | None,
        scales: NDArray[np.floating] | None,
        *,
        ridge: float,
        similarity: Similarity,
        budget: int,
    ) -> None:
        self._pool, self._similarity, self._ridge = pool, similarity, ridge
        start = 0 if given is None else len(given)
        self._factor = np.zeros((len(pool), start + budget), np.float32)
        self._used = start
        norms = np.einsum("ij,ij->i", pool.features, pool.features)
        if pool.residuals is not None:
            norms = np.einsum("ij,ij->i", pool.residuals, pool.residuals)
        self._diagonal = np.where(norms > 0, 1.0, {"rescaled": 0.5}.get(similarity.value, 0.0)) + ridge
        self.variances = self._diagonal.astype(np.float64)
        if given is not None and scales is not None:
            inner = similarities(given, given, similarity, ("query", "query")).astype(np.float64)
            inner[np.diag_indices(start)] += ridge
            cross = similarities(pool, given, similarity).astype(np.float64) * scales
            lower = cho_factor(inner, lower=True)[0]
            self._factor[:, :start] = solve_triangular(lower, cross.T, lower=True).T
            self.variances -= np.einsum("ij,ij->i", self._factor[:, :start], self._factor[:, :start])
        self._check()

    def add(self, pick: int) -> None:
        """Condition on one more point."""
        row = similarities(self._pool, self._pool.take([pick]), self._similarity)[:, 0]
        row[pick] = self._diagonal[pick] - self._ridge
        known = self._factor[:, : self._used]
        pivot = np.sqrt(self.variances[pick])
        column = (row - known @ known[pick]) / pivot
        column[pick] = 0  # of no interest any more
        self._factor[:, self._used] = column
        self._factor[pick, self._used] = pivot
        self._used += 1
        self.variances -= np.square(column, dtype=np.float64)
        self._check()

    def _check(self) -> None:
        if self.variances.min(initial=1.0) <= 0:
            raise InvalidArgumentError(
                "eta",
                "with this eta, nu and lambda_ the similarity matrix is indefinite, so that no log-determinant exists.",
                "Give eta and nu the same value of at most 1, or a larger lambda_.",
            )
