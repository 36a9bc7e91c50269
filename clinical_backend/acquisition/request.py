"""What a selection is asked with, and what it answers."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from clinical_backend.acquisition.embedding import Embedding

__all__ = ["Concave", "Request", "Selection", "Similarity"]


class Similarity(StrEnum):
    """How the cosine c of two vectors becomes their similarity."""

    COSINE = "cosine"
    """c itself, in [−1, 1]."""
    RESCALED = "rescaled"
    """(c + 1)/2, in [0, 1], as DISTIL does."""
    CLIPPED = "clipped"
    """max(c, 0), in [0, 1]."""


class Concave(StrEnum):
    """The concave function ψ of COM."""

    LOG = "log"
    """ψ(x) = log(1 + x)."""
    SQRT = "sqrt"
    """ψ(x) = √x."""
    INVERSE = "inverse"
    """ψ(x) = 1 − 1/(1 + x)."""


@dataclass(frozen=True)
class Request:
    """A validated call of `select`: its documentation describes every field."""

    pool: Embedding
    query: Embedding | None
    budget: int
    eta: float
    lambda_: float
    nu: float
    concave: Concave
    similarity: Similarity
    conditioning: Embedding | None
    labelled: Embedding | None
    probabilities: NDArray[np.float32] | None
    weight: float
    seed: int


@dataclass(frozen=True)
class Selection:
    """The images that were picked, in the order of picking.

    Attributes
    ----------
    indices
        (B,) int64, rows of the pool, no row twice.
    gains
        (B,) float64, how much the function grew with each pick. Zero from `saturated_at` on.
    saturated_at
        Number of picks after which the function could grow no further, so that the rest are filled by their
        largest similarity to the query set; None where that did not happen.
    """

    indices: NDArray[np.int64]
    gains: NDArray[np.float64]
    saturated_at: int | None = None

    def __len__(self) -> int:
        return len(self.indices)
