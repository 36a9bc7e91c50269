"""What a classifier says of tasks that it did not learn from: the terms on which two are compared."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection

    import numpy as np
    from numpy.typing import NDArray

    from clinical_backend.learner.classifier import LinearClassifier

__all__ = ["HeldOut"]


@dataclass(frozen=True, slots=True)
class HeldOut:
    """A training, as it is judged: by classifiers that learnt from labels alone and had not seen the task.

    Attributes
    ----------
    tasks
        The tasks that it learnt from, shape (n,), int64.
    probabilities
        Theirs, out of fold, by the classes of ``reference``: shape (n, C), float32.
    reference
        Learnt from all of these tasks: it judges those that were labelled later.
    """

    tasks: NDArray[np.int64]
    probabilities: NDArray[np.float32]
    reference: LinearClassifier

    def rare_probability(
        self, tasks: NDArray[np.int64], features: NDArray[np.float32], rare: Collection[str]
    ) -> NDArray[np.float32]:
        """Return P(rare) of tasks, each by a classifier that did not learn from it.

        Parameters
        ----------
        tasks
            Shape (m,).
        features
            Theirs, in the representation of this training, shape (m, d).
        rare
            Names of the rare classes; one that was not learnt has no probability.

        Returns
        -------
        NDArray
            Shape (m,), float32.
        """
        columns = [index for index, name in enumerate(self.reference.classes) if name in rare]
        probabilities = self.reference.probabilities(features)
        row_of = {int(task): row for row, task in enumerate(self.tasks)}
        for place, task in enumerate(tasks.tolist()):
            if task in row_of:
                probabilities[place] = self.probabilities[row_of[task]]
        rare_probability: NDArray[np.float32] = probabilities[:, columns].sum(axis=1)
        return rare_probability
