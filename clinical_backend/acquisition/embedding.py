"""The embedding of a set of images: features, or last-layer gradients kept as their two factors."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from clinical_backend.errors import InvalidArgumentError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

__all__ = ["Embedding"]


class Embedding:
    """A set of images as vectors that similarities are taken of.

    With features alone the vector of image i is h_i. With residuals it is the gradient of the
    cross-entropy loss with respect to the last layer, g_i = [r_i, r_i ⊗ h_i], where r = softmax(z) −
    onehot(y) is the gradient with respect to the logits (y the predicted class for a pool, the true one
    for exemplars) and the first block belongs to the bias. That vector of C·(d + 1) numbers is never
    built, since

        ⟨g_i, g_j⟩ = ⟨r_i, r_j⟩ · ⟨[h_i, 1], [h_j, 1]⟩.

    Parameters
    ----------
    features
        (n, d) numbers, kept as float32 without a copy where they are C-contiguous float32 already. The
        rows must be finite; a row of zeros is similar to nothing.
    residuals
        (n, C) numbers or None.

    Raises
    ------
    InvalidArgumentError
        Where an array has the wrong shape, is no array of real numbers, or the two differ in length.

    References
    ----------
    Ash et al., "Deep Batch Active Learning by Diverse, Uncertain Gradient Lower Bounds", ICLR 2020,
    section 3.
    """

    def __init__(self, features: ArrayLike, residuals: ArrayLike | None = None) -> None:
        self.features = _matrix("features", features)
        self.residuals = None if residuals is None else _matrix("residuals", residuals)
        if self.residuals is not None and len(self.residuals) != len(self.features):
            raise InvalidArgumentError(
                "residuals",
                f"it has {len(self.residuals)} rows and features has {len(self.features)}.",
                "Give one row of residuals for each row of features.",
            )

    def __len__(self) -> int:
        return len(self.features)

    def __repr__(self) -> str:
        residuals = "" if self.residuals is None else f", residuals {self.residuals.shape}"
        return f"Embedding(features {self.features.shape}{residuals})"

    def take(self, rows: ArrayLike | slice) -> Embedding:
        """Return the embedding of some of the images.

        Parameters
        ----------
        rows
            (m,) indices, (n,) booleans or a slice.
        """
        index = rows if isinstance(rows, slice) else np.asarray(rows)
        if isinstance(index, np.ndarray) and index.size == 0:
            index = index.astype(np.int64)
        return Embedding(
            self.features[index],
            None if self.residuals is None else self.residuals[index],
        )


def _matrix(argument: str, values: ArrayLike) -> NDArray[np.float32]:
    array = np.asarray(values)
    if array.ndim != 2 or array.shape[1] == 0:
        raise InvalidArgumentError(
            argument,
            f"it has shape {array.shape}.",
            "Give a matrix with one row for each image and at least one column.",
        )
    if array.dtype.kind not in "fiu":
        raise InvalidArgumentError(argument, f"it holds {array.dtype}, not real numbers.", "Give an array of float32.")
    rows = np.ascontiguousarray(array, dtype=np.float32).view()
    rows.setflags(write=False)
    return rows
