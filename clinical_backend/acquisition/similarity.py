"""Similarities between the rows of embeddings."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from clinical_backend.acquisition.request import Similarity
from clinical_backend.errors import InvalidArgumentError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from clinical_backend.acquisition.embedding import Embedding

__all__ = ["cosines", "similarities", "unit_rows"]


def unit_rows(values: NDArray[np.float32], argument: str, *, bias: bool = False) -> NDArray[np.float32]:
    """Return the rows divided by their Euclidean norms; with `bias`, of [h, 1] instead of h.

    Raises
    ------
    InvalidArgumentError
        Where a row holds NaN or an infinite number.
    """
    if bias:
        values = np.concatenate([values, np.ones((len(values), 1), np.float32)], axis=1)
    squares = np.einsum("ij,ij->i", values, values, dtype=np.float64)
    refuse_non_finite(squares, argument)
    norms = np.sqrt(squares)
    norms[norms == 0] = 1
    return (values / norms[:, None].astype(np.float32)).astype(np.float32, copy=False)


def refuse_non_finite(per_row: NDArray[np.floating], argument: str) -> None:
    """Raise if a number that was computed of each row is not finite."""
    broken = np.flatnonzero(~np.isfinite(per_row))
    if len(broken):
        raise InvalidArgumentError(
            argument,
            f"{len(broken)} of its {len(per_row)} rows hold NaN or infinite numbers, the first is row {broken[0]}.",
            "Leave out the images whose features could not be computed.",
        )


def cosines(left: Embedding, right: Embedding, names: tuple[str, str]) -> NDArray[np.float32]:
    """Return the (n, m) cosines between the rows of two embeddings."""
    gradient = left.residuals is not None
    result = (
        unit_rows(left.features, names[0], bias=gradient)
        @ unit_rows(right.features, names[1], bias=gradient).T
    )
    if left.residuals is not None and right.residuals is not None:
        result *= unit_rows(left.residuals, names[0]) @ unit_rows(right.residuals, names[1]).T
    return np.clip(result, -1, 1)


def similarities(
    left: Embedding, right: Embedding, similarity: Similarity, names: tuple[str, str] = ("pool", "query")
) -> NDArray[np.float32]:
    """Return the (n, m) similarities between the rows of two embeddings."""
    result = cosines(left, right, names)
    match similarity:
        case Similarity.COSINE:
            return result
        case Similarity.RESCALED:
            return (result + np.float32(1)) / np.float32(2)
        case Similarity.CLIPPED:
            return np.maximum(result, np.float32(0))
