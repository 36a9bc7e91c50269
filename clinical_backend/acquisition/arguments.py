"""Checks of the arguments of `select`: each refusal names the argument and the reason."""

from __future__ import annotations

import math
from operator import index
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from clinical_backend.errors import InvalidArgumentError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from enum import StrEnum

    from numpy.typing import ArrayLike, NDArray

    from clinical_backend.acquisition.embedding import Embedding

__all__ = ["alike", "choice", "non_negative", "number_of_picks", "probability_matrix", "probability_of_rare"]

_Choice = TypeVar("_Choice", bound="StrEnum")


def number_of_picks(budget: int) -> int:
    """Return a budget that is a whole number of at least 0."""
    try:
        count = index(budget)
    except TypeError:
        count = -1
    if count < 0 or isinstance(budget, bool):
        raise InvalidArgumentError("budget", f"it is {budget!r}.", "Give a whole number of picks, at least 0.")
    return count


def non_negative(argument: str, value: float) -> float:
    """Return a number that is finite and at least 0."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number) or number < 0:
        raise InvalidArgumentError(argument, f"it is {value!r}.", "Give a finite number of at least 0.")
    return number


def choice(argument: str, value: str, kind: type[_Choice]) -> _Choice:
    """Return the member of an enumeration."""
    try:
        return kind(value)
    except ValueError:
        choices = ", ".join(kind)
        raise InvalidArgumentError(argument, f"there is no {value!r}.", f"Choose one of {choices}.") from None


def alike(argument: str, pool: Embedding, other: Embedding) -> None:
    """Refuse a set that is empty or embedded otherwise than the pool."""
    if len(other) == 0:
        raise InvalidArgumentError(argument, "it is empty.", "Give at least one image.")
    if other.features.shape[1] != pool.features.shape[1]:
        raise InvalidArgumentError(
            argument,
            f"its features have length {other.features.shape[1]}, the pool's {pool.features.shape[1]}.",
            "Embed both with the same backbone.",
        )
    classes = [0 if each.residuals is None else each.residuals.shape[1] for each in (other, pool)]
    if classes[0] != classes[1]:
        raise InvalidArgumentError(
            argument,
            f"it has residuals of {classes[0]} classes, the pool of {classes[1]}.",
            "Give both residuals of the same classifier, or neither.",
        )


def probability_matrix(values: ArrayLike, count: int) -> NDArray[np.float32]:
    """Return (n, C) probabilities."""
    array = _probabilities(values, count)
    if array.ndim == 1:
        raise InvalidArgumentError("probabilities", "it has one number for each image.", "Give an (n, C) matrix.")
    return array


def probability_of_rare(values: ArrayLike, rare_classes: Sequence[int] | None, count: int) -> NDArray[np.float32]:
    """Return (n,) P(rare): as given, or summed over the rare classes of (n, C) probabilities."""
    array = _probabilities(values, count)
    if array.ndim == 1:
        return array
    columns = sorted(set(rare_classes or ()))
    if not columns or columns[0] < 0 or columns[-1] >= array.shape[1]:
        raise InvalidArgumentError(
            "rare_classes",
            f"it is {rare_classes!r} beside probabilities of {array.shape[1]} classes.",
            "Name the columns of the rare classes, or give P(rare) alone.",
        )
    return np.asarray(np.minimum(array[:, columns].sum(axis=1), np.float32(1)))


def _probabilities(values: ArrayLike, count: int) -> NDArray[np.float32]:
    array = np.asarray(values)
    if array.dtype.kind not in "fiu":
        raise InvalidArgumentError("probabilities", f"it holds {array.dtype}.", "Give an array of float32.")
    array = array.astype(np.float32)
    if array.ndim not in {1, 2} or len(array) != count or 0 in array.shape[1:]:
        raise InvalidArgumentError(
            "probabilities",
            f"it has shape {array.shape} for a pool of {count}.",
            "Give one row for each image of the pool.",
        )
    if not np.isfinite(array).all() or array.min(initial=0) < 0 or array.max(initial=0) > 1 + 1e-4:
        raise InvalidArgumentError("probabilities", "it holds NaN or numbers outside [0, 1].", "Give probabilities.")
    return array
