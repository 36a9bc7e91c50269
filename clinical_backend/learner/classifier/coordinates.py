"""Features as the classifier's solver takes them: of unit length, centred, and scaled by one common factor."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Coordinates", "lengths"]


@dataclass(frozen=True, slots=True)
class Coordinates:
    """Normalised features in as few dimensions as hold them all.

    With fewer examples than features, the solution lies in the span of the examples: an orthonormal basis of
    it makes the same problem smaller, exactly.

    Attributes
    ----------
    rows
        Of each example, ((x / ‖x‖ − centre) / scale) basis, shape (n, min(n, d)), float32.
    centre
        Mean of the features of unit length, shape (d,).
    scale
        Root of their mean square around it.
    basis
        Shape (d, min(n, d)), whitening included; ``None`` for the identity.
    """

    rows: NDArray[np.float32]
    centre: NDArray[np.float32]
    scale: float
    basis: NDArray[np.float32] | None

    @classmethod
    def of(cls, features: NDArray[np.float32], whitening: NDArray[np.float32] | None = None) -> Coordinates:
        """Return those of features of shape (n, d); ``whitening`` is a symmetric matrix of shape (d, d)."""
        unit = features / lengths(features)
        centre = unit.mean(axis=0)
        unit -= centre
        if whitening is not None:
            unit = unit @ whitening
        scale = float(np.sqrt(np.mean(unit**2)))
        if scale < 1e-9:  # all examples look the same
            scale = 1.0
        unit /= scale
        if len(unit) >= unit.shape[1]:
            return cls(unit, centre, scale, whitening)
        basis, triangle = np.linalg.qr(unit.T)
        return cls(np.ascontiguousarray(triangle.T), centre, scale, basis if whitening is None else whitening @ basis)

    def unfold(
        self, weights: NDArray[np.float32], bias: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return weights and bias for features of unit length."""
        full = (weights if self.basis is None else self.basis @ weights) / np.float32(self.scale)
        return np.ascontiguousarray(full, dtype=np.float32), (bias - self.centre @ full).astype(np.float32)


def lengths(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the Euclidean length of each row, shape (n, 1); 1 for a row of zeros."""
    found: NDArray[np.float32] = np.sqrt(np.einsum("ij,ij->i", rows, rows))[:, None]
    return np.where(found > 0, found, np.float32(1.0))
