"""Features and labels as a classifier takes them, or a refusal that says what is wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from clinical_backend.errors import InvalidArgumentError, ModelError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

__all__ = ["checked_examples", "checked_features", "checked_labels"]


def checked_examples(
    features: ArrayLike, labels: ArrayLike, classes: Sequence[str]
) -> tuple[NDArray[np.float32], NDArray[np.intp]]:
    """Return features as float32 and labels as indices, of at least two classes.

    Raises
    ------
    InvalidArgumentError
        When an argument has another shape or holds values that cannot be.
    ModelError
        When fewer than two classes have examples.
    """
    rows = checked_features(features, None)
    indices = checked_labels(labels, len(rows), len(classes))
    if len(np.unique(indices)) < 2:
        raise ModelError(
            "A classifier needs labels of at least two classes.",
            "Annotate tasks until a second class has an example.",
        )
    return rows, indices


def checked_features(features: ArrayLike, dimension: int | None) -> NDArray[np.float32]:
    """Return features as float32.

    Raises
    ------
    InvalidArgumentError
        When they are no matrix, have another width than ``dimension``, or are not finite.
    """
    rows = np.asarray(features, dtype=np.float32)
    if rows.ndim != 2 or (dimension is not None and rows.shape[1] != dimension):
        wanted = "d" if dimension is None else str(dimension)
        raise InvalidArgumentError(
            "features", f"they have shape {rows.shape}.", f"Give an array of shape (n, {wanted})."
        )
    if not np.isfinite(rows).all():
        raise InvalidArgumentError("features", "they hold values that are not finite.", "Embed these images again.")
    return rows


def checked_labels(labels: ArrayLike, count: int, classes: int) -> NDArray[np.intp]:
    """Return labels as indices.

    Raises
    ------
    InvalidArgumentError
        When they are no vector of ``count`` integers from 0 to ``classes`` − 1.
    """
    indices = np.asarray(labels)
    if indices.shape != (count,) or (count and not np.issubdtype(indices.dtype, np.integer)):
        raise InvalidArgumentError(
            "labels",
            f"they have shape {indices.shape} and type {indices.dtype}.",
            f"Give {count} class indices.",
        )
    if count and (indices.min() < 0 or indices.max() >= classes):
        raise InvalidArgumentError(
            "labels", "one of them is no index of a class.", f"Give indices from 0 to {classes - 1}."
        )
    return indices.astype(np.intp)
