"""Tasks as their images: which of them tell what a task is, and features of a task made of theirs."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from clinical_backend.learner.adaptation.network import join_features
from clinical_backend.learner.classifier.coordinates import lengths

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from clinical_backend.learner.classifier.linear import LinearClassifier

__all__ = ["Instances", "Witnesses", "beside_mean", "pooled"]


@dataclass(frozen=True, slots=True)
class Instances:
    """Features of the images of some tasks.

    Attributes
    ----------
    tasks
        Ids of the n tasks, shape (n,).
    rows
        Features of their images, those of a task together, shape (m, d), float32.
    starts
        Where each task begins among the rows, shape (n,), ascending; none is empty.
    positions
        Place of each image among those that its task shows, shape (m,).
    """

    tasks: NDArray[np.int64]
    rows: NDArray[np.float32]
    starts: NDArray[np.int64]
    positions: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.tasks)

    @property
    def counts(self) -> NDArray[np.int64]:
        """How many images each task has, shape (n,)."""
        return np.diff(self.starts, append=len(self.rows))

    def among(self, places: NDArray[np.int64] | NDArray[np.bool_]) -> Instances:
        """Return some of the tasks, by their places or a mask."""
        chosen = np.arange(len(self))[places]
        counts = self.counts[chosen]
        starts = np.cumsum(counts) - counts
        within = np.arange(counts.sum()) - np.repeat(starts, counts)
        rows = np.repeat(self.starts[chosen], counts) + within
        return Instances(self.tasks[chosen], self.rows[rows], starts, self.positions[rows])

    def only(self, kept: NDArray[np.bool_]) -> Instances:
        """Return the tasks with some of their images; ``kept`` tells which, shape (m,). Tasks without any are gone."""
        counts = np.add.reduceat(kept, self.starts, dtype=np.int64) if len(self) else self.starts
        some = counts > 0
        counts = counts[some]
        return Instances(self.tasks[some], self.rows[kept], np.cumsum(counts) - counts, self.positions[kept])

    def largest(self, scores: NDArray[np.float32]) -> NDArray[np.int64]:
        """Return the row of each task's image with the largest score, the first of several: shape (n,).

        Parameters
        ----------
        scores
            Of all images, shape (m,).
        """
        best = np.maximum.reduceat(scores, self.starts)
        hit = np.flatnonzero(scores == np.repeat(best, self.counts))
        return hit[np.searchsorted(hit, self.starts)]

    @classmethod
    def joined(cls, parts: Sequence[Instances]) -> Instances:
        """Return the tasks of several parts together."""
        offsets = np.cumsum([0, *(len(part.rows) for part in parts)])
        return cls(
            np.concatenate([part.tasks for part in parts]),
            np.concatenate([part.rows for part in parts]),
            np.concatenate([part.starts + offset for part, offset in zip(parts, offsets, strict=False)]),
            np.concatenate([part.positions for part in parts]),
        )


@dataclass(frozen=True, slots=True)
class Witnesses:
    """What finds the image that decides.

    Attributes
    ----------
    detector
        Of images: its first class is rare.
    rows
        Which of its images stands for each rare task that it learnt from, by the others: place by task.
    """

    detector: LinearClassifier
    rows: dict[int, int]

    def scores(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return how much more likely rare than common each image is, as log-odds, shape (m,)."""
        logits = self.detector.logits(rows)
        scores: NDArray[np.float32] = logits[:, 0] - logits[:, 1:].max(axis=1)
        return scores

    def of(self, instances: Instances) -> NDArray[np.int64]:
        """Return the row of the image that stands for each task, shape (n,)."""
        rows = instances.largest(self.scores(instances.rows))
        for place, task in enumerate(instances.tasks.tolist()):
            if task in self.rows:
                start = instances.starts[place]
                own = instances.positions[start : start + instances.counts[place]]
                found = np.flatnonzero(own == self.rows[task])
                if len(found):
                    rows[place] = start + found[0]
        return rows


def beside_mean(instances: Instances, chosen: NDArray[np.int64]) -> NDArray[np.float32]:
    """Return the feature of one image of each task and the mean of all its images' features as one, shape (n, d).

    The sum of both, each of unit length. Images differ more than means of several do, so that one image that decides
    outweighs the others; where all of them show the same, or the image is a wrong one, the mean tells it.

    Parameters
    ----------
    chosen
        Row of the image of each task, shape (n,).
    """
    rows, scales = instances.rows, 1 / lengths(instances.rows)[:, 0]
    sums = np.empty((len(instances), rows.shape[1]), dtype=np.float32)
    for place, shown in enumerate(_spans(instances)):
        sums[place] = scales[shown] @ rows[shown]
    both: NDArray[np.float32] = rows[chosen] * scales[chosen, None] + sums / lengths(sums)
    return both


def pooled(instances: Instances) -> NDArray[np.float32]:
    """Return mean and largest value of the features of each task's images, joined, shape (n, 2 d), float32.

    The mean tells what most images show; the largest values, what one of them shows strongly.
    """
    mean, largest = (np.empty((len(instances), instances.rows.shape[1]), dtype=np.float32) for _ in range(2))
    for place, shown in enumerate(_spans(instances)):
        instances.rows[shown].mean(axis=0, out=mean[place])
        instances.rows[shown].max(axis=0, out=largest[place])
    return join_features([mean, largest])


def _spans(instances: Instances) -> Iterator[slice]:
    """Yield the rows of each task: one call for each is five times as fast as ``reduceat`` of whole rows."""
    yield from (slice(start, stop) for start, stop in pairwise([*instances.starts.tolist(), len(instances.rows)]))
