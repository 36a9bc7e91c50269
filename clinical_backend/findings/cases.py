"""Labelled cases beside what a model says that had not seen them: what the figures of a model card are made of."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from clinical_backend.errors import InvalidArgumentError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

__all__ = ["JudgedCases", "Value"]

Value: TypeAlias = "str | int | float | None"
"""What a field of a task's data says; ``None`` where it says nothing that a table holds."""


@dataclass(frozen=True)
class JudgedCases:
    """Cases that judge a model.

    Whatever judges it, such as a test set that was set aside, is one source of them.

    Attributes
    ----------
    classes
        The C classes, or findings, that the model knows.
    truth
        1 where a label says that the class is there, 0 where not, NaN where it says nothing of it, or the model was not
        judged by it: shape (n, C), float64.
    probabilities
        The model's, by a training that had not seen the case, shape (n, C), float64; finite where ``truth`` is.
    patients
        A number for each case: those of one patient or study have the same, shape (n,), int64.
    weights
        How many tasks of the project each stands for, shape (n,), float64, at least 0; ``None`` where that cannot be
        said, so that figures hold of these cases alone.
    drawn
        Which were drawn at random, shape (n,): the weights are as good as these are many. All by default.
    threshold
        From which probability on a class is called; ``None``: the likeliest class is.
    fields
        What subgroups are made of: by the name of the field, a value for each case.
    source
        Where they are from and why the model had not seen them, in a sentence for people.

    Raises
    ------
    InvalidArgumentError
        When shapes or values contradict this.
    """

    classes: tuple[str, ...]
    truth: NDArray[np.float64]
    probabilities: NDArray[np.float64]
    patients: NDArray[np.int64]
    weights: NDArray[np.float64] | None = None
    drawn: NDArray[np.bool_] | None = None
    threshold: float | None = None
    fields: Mapping[str, Sequence[Value]] = field(default_factory=dict)
    source: str = ""

    def __post_init__(self) -> None:
        shape = (len(self.patients), len(self.classes))
        lengths = {len(values) for values in self.fields.values()} | {shape[0]}
        lengths |= {len(array) for array in (self.weights, self.drawn) if array is not None}
        if self.truth.shape != shape or self.probabilities.shape != shape or len(lengths) != 1:
            raise InvalidArgumentError("cases", "they are not as many everywhere.", "Give a row for each case.")
        told = ~np.isnan(self.truth)
        if not np.isfinite(self.probabilities[told]).all() or not np.isin(self.truth[told], (0.0, 1.0)).all():
            raise InvalidArgumentError(
                "cases", "a label or a probability is no number that it may be.", "Give NaN for what is not judged."
            )
        if self.weights is not None and not (np.isfinite(self.weights) & (self.weights >= 0)).all():
            raise InvalidArgumentError("weights", "one is negative or not finite.", "Give how many tasks each counts.")

    def __len__(self) -> int:
        return len(self.patients)

    @cached_property
    def called(self) -> NDArray[np.bool_]:
        """Which classes the model calls, shape (n, C)."""
        if self.threshold is not None:
            return self.probabilities >= self.threshold
        called = np.zeros(self.probabilities.shape, dtype=np.bool_)
        if len(self):
            called[np.arange(len(self)), self.probabilities.argmax(axis=1)] = True
        return called

    def counted(self) -> NDArray[np.float64]:
        """Return the weights, 1 for each case where there are none, shape (n,)."""
        return np.ones(len(self)) if self.weights is None else self.weights

    def carrying(self) -> NDArray[np.bool_]:
        """Return the cases that figures rest on, shape (n,): the random draws, all where there are no weights."""
        everything = np.ones(len(self), dtype=np.bool_)
        return everything if self.weights is None or self.drawn is None else self.drawn

    def those(self, chosen: NDArray[np.bool_]) -> JudgedCases:
        """Return some of them; ``chosen`` tells which, shape (n,)."""
        places = np.flatnonzero(chosen).tolist()
        return replace(
            self,
            truth=self.truth[chosen],
            probabilities=self.probabilities[chosen],
            patients=self.patients[chosen],
            weights=None if self.weights is None else self.weights[chosen],
            drawn=None if self.drawn is None else self.drawn[chosen],
            fields={name: [values[place] for place in places] for name, values in self.fields.items()},
        )

    @property
    def digest(self) -> str:
        """Sha256 of labels, probabilities, patients and weights: the same figures are made of the same digest."""
        found = hashlib.sha256("\0".join(self.classes).encode(errors="surrogatepass"))
        for array in (self.truth, self.probabilities, self.patients, self.counted()):
            found.update(np.ascontiguousarray(array).tobytes())
        return found.hexdigest()
