"""What a shard tells of its points: candidates in full, the rest by bounds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

__all__ = ["Candidates", "Leaders", "Proposal", "Rest"]


@dataclass(frozen=True)
class Candidates:
    """Points with all that their gains depend on.

    Attributes
    ----------
    indices
        (k,) int64, rows of the pool, ascending.
    own
        (k,) the part of a gain that never changes.
    kernel
        (k, q) similarities to the query set.
    """

    indices: NDArray[np.int64]
    own: NDArray[np.float32]
    kernel: NDArray[np.float32]

    @classmethod
    def joined(cls, several: Iterable[Candidates]) -> Self:
        """Return all of several, each point once."""
        parts = list(several)
        indices, rows = np.unique(np.concatenate([part.indices for part in parts]), return_index=True)
        return cls(
            indices,
            np.concatenate([part.own for part in parts])[rows],
            np.concatenate([part.kernel for part in parts])[rows],
        )

    def row(self, index: int) -> int:
        """Return the place of a point."""
        return int(np.searchsorted(self.indices, index))

    @property
    def nbytes(self) -> int:
        """Size of the arrays."""
        return self.indices.nbytes + self.own.nbytes + self.kernel.nbytes


@dataclass(frozen=True)
class Rest:
    """What no gain of the points that stay in the shard exceeds.

    Attributes
    ----------
    own, kernel
        (g,) and (g, q): of each group of points the largest own part, and the largest similarity to each exemplar.
    bottom
        (q,) the least similarities.
    support
        (STEPS + 1,) the largest own + ρ · part for ρ from 0 to 1, the parts being those of the picks so far.
    """

    own: NDArray[np.float32]
    kernel: NDArray[np.float32]
    bottom: NDArray[np.float32]
    support: NDArray[np.float32]

    @property
    def nbytes(self) -> int:
        """Size of the arrays."""
        return self.own.nbytes + self.kernel.nbytes + self.bottom.nbytes + self.support.nbytes


@dataclass(frozen=True)
class Proposal:
    """A shard's answer to the picks so far.

    Attributes
    ----------
    foremost
        Indices and gains of the first point that reaches the largest gain, one for each part of the shard.
    candidates
        Points that were not sent before, those of `foremost` among them.
    rest
        Bounds of all others, or None where there are no others.
    """

    foremost: list[tuple[int, float]]
    candidates: Candidates
    rest: Rest | None

    @property
    def nbytes(self) -> int:
        """Size of the arrays."""
        return self.candidates.nbytes + (0 if self.rest is None else self.rest.nbytes)


@dataclass(frozen=True)
class Leaders:
    """The points of the largest scores, with all that tie with the last of them.

    Attributes
    ----------
    indices
        (k,) int64, rows of the pool, ascending.
    scores
        (k,) float64.
    """

    indices: NDArray[np.int64]
    scores: NDArray[np.float64]

    @property
    def nbytes(self) -> int:
        """Size of the arrays."""
        return self.indices.nbytes + self.scores.nbytes
