"""A task with several images as one feature: their mean and their largest values."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from clinical_backend.learner.adaptation.network import join_features

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["pooled"]


def pooled(rows: NDArray[np.float32], starts: NDArray[np.int64]) -> NDArray[np.float32]:
    """Return mean and largest value of the features of each study, joined, shape (n, 2 d), float32.

    The mean tells what most images show; the largest values, what one of them shows strongly.

    Parameters
    ----------
    rows
        Features of images, those of a study together, shape (m, d).
    starts
        Where each of the n studies begins, ascending, the first at 0; none is empty.
    """
    counts = np.diff(starts, append=len(rows))
    mean = np.add.reduceat(rows, starts, axis=0) / counts[:, None]
    return join_features([mean.astype(np.float32), np.maximum.reduceat(rows, starts, axis=0)])
