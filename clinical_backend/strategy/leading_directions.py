"""Distances in the few directions in which images vary most: they tell which pairs may be near at all."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from clinical_backend.learner.half_precision import as_single
from clinical_backend.system.pulse import note_progress

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

__all__ = ["ROUNDED", "LeadingDirections", "distances_of_pairs", "squares_of"]

_TELLING = 4000
"""Images of which the directions are learnt: any directions would do, and these are near the best."""
_STEPS = 3
"""After so many the directions hold what the leading ones do, to some per cent (Halko, Martinsson and Tropp, SIAM
Review 2011, section 4.5)."""
ROUNDED = 1.001
"""Of a squared distance, in float32: what rounding hides must not pass for far."""
_MANY_PAIRS = 8
"""Times the images of a block: with more pairs, a product of all takes less time than a copy for each of them."""


class LeadingDirections:
    """Images in a few directions, at right angles, in which no distance is longer than in all.

    Parameters
    ----------
    rows
        Shape (n, e + 2): of each image x its coordinates, 1, and |x|². With such a row (y, 1, |y|²) the product of
        (−2x, |x|², 1) is the squared distance.
    """

    def __init__(self, rows: NDArray[np.float32]) -> None:
        self._rows = rows

    @classmethod
    def of(
        cls, sample: NDArray[np.floating], blocks: Iterable[NDArray[np.floating]], count: int, directions: int
    ) -> LeadingDirections:
        """Return images in so many directions, in which some of them vary most.

        Parameters
        ----------
        sample
            Of these the directions are learnt, shape (m, d).
        blocks, count
            All images, some at a time, and how many they are.
        directions
            How many; of features of fewer numbers, as many as these.
        """
        some = as_single(sample[:: max(1, len(sample) // _TELLING)])
        centre = some.mean(axis=0, keepdims=True)
        centred = some - centre
        leading = np.random.default_rng(0).standard_normal((centred.shape[1], directions), dtype=np.float32)
        for _ in range(_STEPS):  # of subspace iteration, which needs no decomposition of a large matrix
            leading = np.linalg.qr(centred.T @ (centred @ leading))[0]
        rows, start = np.ones((count, leading.shape[1] + 2), dtype=np.float32), 0
        for block in blocks:
            note_progress()
            part = rows[start : start + len(block)]  # a view
            part[:, :-2] = (block - centre) @ leading  # in float32, as the centre is
            part[:, -1] = squares_of(part[:, :-2])
            start += len(block)
        return cls(rows)

    def within(
        self, places: NDArray[np.int64], first: int, count: int, limit: float
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return pairs of images, of these places and of some others, that are nearer in the directions than a limit.

        Parameters
        ----------
        places
            Of the images asked for, shape (b,).
        first, count
            The others are so many from this place on.
        limit
            Of the squared distance.

        Returns
        -------
        tuple
            Which of `places`, and which of the others, shapes (p,). No image is paired with itself.
        """
        asked, others = self._rows[places], self._rows[first : first + count]
        # What a sum of so many products may be off by (Higham, Accuracy and Stability, section 3.1).
        longest = asked[:, -1].max(initial=0) + others[:, -1].max(initial=0)
        hidden = 2 * asked.shape[1] * np.finfo(np.float32).eps * longest
        asked = np.column_stack([-2 * asked[:, :-2], asked[:, -1], asked[:, -2]])
        near = np.flatnonzero(asked @ others.T < np.float32(ROUNDED * limit + hidden))
        row, other = np.divmod(near, len(others))
        different = places[row] != other + first
        return row[different], other[different]


def distances_of_pairs(
    some: NDArray[np.float32], block: NDArray[np.floating], rows: NDArray[np.int64], others: NDArray[np.int64]
) -> NDArray[np.float32]:
    """Return the squared distances of pairs of images, one of each array, shape (p,)."""
    if len(rows) > _MANY_PAIRS * len(block):
        whole = as_single(block)
        products = some @ whole.T
        return squares_of(some)[rows] + squares_of(whole)[others] - 2 * products[rows, others]
    found = np.empty(len(rows), dtype=np.float32)
    for start in range(0, len(rows), len(block)):
        part = slice(start, start + len(block))
        found[part] = squares_of(as_single(block[others[part]]) - some[rows[part]])
    return found


def squares_of(features: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the squared length of each row, shape (n,)."""
    squares: NDArray[np.float32] = np.einsum("ij,ij->i", features, features)
    return squares
