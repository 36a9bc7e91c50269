"""Squared distances between the vectors of an embedding, gradients never built."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from clinical_backend.errors import InvalidArgumentError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from clinical_backend.acquisition.embedding import Embedding

__all__ = ["Distances"]


class Distances:
    """Squared Euclidean distances from one point at a time to all of an embedding.

    |g_i − g_j|² = |g_i|² + |g_j|² − 2 ⟨r_i, r_j⟩ (⟨h_i, h_j⟩ + 1) for gradients, without the residuals
    |h_i|² + |h_j|² − 2 ⟨h_i, h_j⟩. One pass over the features each, O(n (d + C)).

    Raises
    ------
    InvalidArgumentError
        Where a row holds NaN or numbers whose square is not finite.
    """

    def __init__(self, embedding: Embedding) -> None:
        self._features, self._residuals = embedding.features, embedding.residuals
        self.squares = _squares(self._features)
        if self._residuals is not None:
            self.squares = (self.squares + 1) * _squares(self._residuals)
        broken = np.flatnonzero(~(self.squares < np.finfo(np.float32).max))
        if len(broken):
            raise InvalidArgumentError(
                "pool",
                f"{len(broken)} of its {len(self.squares)} rows hold NaN or infinite or huge numbers, "
                f"first row {broken[0]}.",
                "Leave out the images whose vectors could not be computed.",
            )

    def to_row(self, row: int) -> NDArray[np.float64]:
        """Return the squared distances to one of the points; exactly 0 to itself."""
        residual = None if self._residuals is None else self._residuals[row]
        found = self.to_point(self._features[row], residual)
        found[row] = 0
        return found

    def to_point(
        self, feature: NDArray[np.float32], residual: NDArray[np.float32] | None = None
    ) -> NDArray[np.float64]:
        """Return the squared distances to any point."""
        inner = (self._features @ feature).astype(np.float64)
        square = float(feature.astype(np.float64) @ feature)
        if self._residuals is not None and residual is not None:
            inner = (inner + 1) * (self._residuals @ residual)
            square = (square + 1) * float(residual.astype(np.float64) @ residual)
        found = self.squares + square - 2 * inner
        found[found < 1e-6 * (self.squares + square)] = 0  # duplicates, as far as float32 can tell
        return np.asarray(found)


def _squares(values: NDArray[np.float32]) -> NDArray[np.float64]:
    with np.errstate(over="ignore", invalid="ignore"):
        return np.asarray(np.einsum("ij,ij->i", values, values), np.float64)
