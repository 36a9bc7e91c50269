"""What a classifier says of tasks that it did not learn from: the terms on which two are compared."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from numpy.typing import NDArray

    from clinical_backend.learner.classifier.linear import LinearClassifier

__all__ = ["HeldOut"]


@dataclass(frozen=True, slots=True)
class HeldOut:
    """A training, as it is evaluated: by classifiers that learnt from labels alone and had not seen the task.

    Attributes
    ----------
    tasks
        The tasks that it learnt from, shape (n,), int64.
    probabilities
        Theirs, out of fold, by the classes of ``reference``: shape (n, C), float32.
    reference
        Learnt from all of these tasks: it evaluates those that were labelled later.
    """

    tasks: NDArray[np.int64]
    probabilities: NDArray[np.float32]
    reference: LinearClassifier

    def probabilities_of(self, tasks: NDArray[np.int64], features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return class probabilities of tasks, each by a classifier that did not learn from it.

        Parameters
        ----------
        tasks
            Shape (m,).
        features
            Theirs, in the representation of this training, shape (m, d).

        Returns
        -------
        NDArray
            By the classes of ``reference``, shape (m, C), float32.
        """
        probabilities = self.reference.probabilities(features)
        row_of = {int(task): row for row, task in enumerate(self.tasks)}
        for place, task in enumerate(tasks.tolist()):
            if task in row_of:
                probabilities[place] = self.probabilities[row_of[task]]
        return probabilities

    def rare_probability(
        self, tasks: NDArray[np.int64], features: NDArray[np.float32], rare: Collection[str]
    ) -> NDArray[np.float32]:
        """Return P(rare) of tasks, shape (m,), float32, each by a classifier that did not learn from it.

        Parameters
        ----------
        tasks, features
            As in :meth:`probabilities_of`.
        rare
            Names of the rare classes; one that was not learnt has no probability. Where an image may have several, it
            is that of the likeliest.
        """
        columns = [index for index, name in enumerate(self.reference.classes) if name in rare]
        of_each = self.probabilities_of(tasks, features)[:, columns]
        rare_probability: NDArray[np.float32] = (
            of_each.max(axis=1, initial=0.0) if self.reference.independent else of_each.sum(axis=1)
        )
        return rare_probability

    def may_evaluate(self, tasks: NDArray[np.int64], groups: Mapping[int, str]) -> NDArray[np.bool_]:
        """Tell which tasks it may evaluate, shape (m,): not those of a patient whose other tasks it learnt from.

        Parameters
        ----------
        tasks
            Shape (m,).
        groups
            What names the patient or study, by task; one without stands for itself.
        """
        learnt = set(self.tasks.tolist())
        known = {groups[task] for task in learnt if task in groups}
        return np.array([task in learnt or groups.get(task) not in known for task in tasks.tolist()], dtype=bool)
