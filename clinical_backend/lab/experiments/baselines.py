"""Baselines that the experiments compare with, and that no project may be ordered by.

GALAXY and DIRECT lay all images on a line for each class, from the most to the least confident, and ask for labels one
by one: a label within a batch decides where the next is asked for, without the classifier learning in between. So they
are handed a reader who answers, which no acquisition of the product is.

They are written from the papers' abstracts, and GALAXY and DIRECT from the authors' published code (LabelBench): the
full texts were not at hand, so no algorithm is cited by its number.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    Reader = Callable[[int], int]
    """Takes an image's place in the pool and answers its class: a column of the probabilities, or −1 for none."""

__all__ = ["Known", "direct", "galaxy", "positive_first"]

_UNASKED = -2
_BOUNDARY = 0.5
_TIE = 1e-8
"""Tells images apart by confidence of which the class is the most likely one, as in the authors' code."""


@dataclass(frozen=True, slots=True)
class Known:
    """What is known before a batch.

    Attributes
    ----------
    pool
        The classifier's belief of each image of the pool, shape (n, C).
    labelled
        The same of what is labelled, shape (l, C).
    classes
        Columns that those labels stand for, shape (l,), −1 for a class that the classifier does not know.
    """

    pool: NDArray[np.float64]
    labelled: NDArray[np.float64]
    classes: NDArray[np.int64]


def positive_first(rare: NDArray[np.float64], budget: int) -> NDArray[np.int64]:
    """Positive-First Most Ambiguous: of what is predicted rare the nearest to the boundary.

    Where less is predicted rare than is wanted, the most likely of the rest follow, which are the nearest to the
    boundary on its other side. The boundary is P(rare) = ½. What the paper does on a tie, or with more than one rare
    class, is not in its abstract: ties go to the lower index here, and P(rare) is the sum over the rare classes.

    Parameters
    ----------
    rare
        P(rare), shape (n,).
    budget
        Picks wanted.

    Returns
    -------
    NDArray
        Places in the pool, in the order of picking.

    References
    ----------
    Zaher, Buisson and Joly, "Positive-First Most Ambiguous: A Simple Active Learning Criterion for Interactive
    Retrieval of Rare Categories", 2026, arXiv 2603.24480.
    """
    predicted = rare >= _BOUNDARY
    return np.lexsort((np.arange(len(rare)), np.abs(rare - _BOUNDARY), ~predicted))[:budget].astype(np.int64)


def galaxy(known: Known, ask: Reader, budget: int, *, seed: int) -> NDArray[np.int64]:
    """GALAXY: bisect between the labels of a class and those of the others, on a line sorted by margin.

    For each pick a class is drawn. On its line the shortest run of unlabelled images between two labels of which one
    alone is of the class (the *shortest shortest path*, as in S²) is cut in the middle. Where no such run is left, all
    changes of label stand between neighbours, and the unlabelled image nearest to one of them is asked for; where the
    labels never change, one at random. With two classes there is one line.

    Where no path is left, the published code looks at changes of one direction alone, here those of both count. Ties go
    to the more confident end of the line.

    Parameters
    ----------
    known
        What the lines are made of.
    ask
        The reader.
    budget
        Picks wanted.
    seed
        Of the classes, and of picks at random.

    References
    ----------
    Zhang, Katz-Samuels and Nowak, "GALAXY: Graph-based Active Learning at the Extreme", ICML 2022, arXiv 2202.01402;
    Dasarathy, Nowak and Zhu, "S²: An Efficient Graph Based Active Learning Algorithm", COLT 2015.
    """
    lines = _Lines(known, ask)
    generator = np.random.default_rng(seed)
    count = lines.classes if lines.classes > 2 else 1
    while len(lines.asked) < min(budget, len(known.pool)):
        column = int(generator.integers(count))
        signs = lines.signs(column)
        place = _middle_of_shortest_path(signs)
        if place is None:
            place = _nearest_to_a_change(signs)
        if place is None:
            place = int(generator.choice(np.flatnonzero(signs == 0)))
        lines.ask(column, place)
    return lines.picks()


def direct(known: Known, ask: Reader, budget: int, *, seed: int, parallel: int = 1) -> NDArray[np.int64]:
    """DIRECT: find the threshold that separates each class best, then label on both sides of it.

    The line of each class is cut where labels of the class above less labels of others above, and the reverse below,
    are most: its *optimal separation threshold*. A half of the budget, the same for each class in whole labels,
    narrows down where that is: labels drawn at random between the last place down to which all labels are of the
    class and the first from which on none is; after each, the worse end moves inwards until m^(1 − 1/b) of the m
    unlabelled images between are left, b being the labels that were to come. The rest, again in equal parts, is asked
    for in turn on either side of the threshold, outwards.

    As in the authors' code, all classes share in the first half while the budget is below 120 labels a class, and the
    first of equal thresholds counts. Their setting answers 20 labels at a time; here one reader gives one.

    Parameters
    ----------
    known
        What the lines are made of.
    ask
        The reader.
    budget
        Picks wanted.
    seed
        Of the draws.
    parallel
        Labels between two steps of narrowing down.

    References
    ----------
    Nuggehalli, Zhang, Jain and Nowak, "DIRECT: Deep Active Learning under Imbalance and Label Noise", 2023, and
    "Improved Algorithm for Deep Active Learning under Imbalance via Optimal Separation", ICML 2025, arXiv 2312.09196.
    """
    lines = _Lines(known, ask)
    generator = np.random.default_rng(seed)
    budget = min(budget, len(known.pool))
    counts = np.bincount(known.classes[known.classes >= 0], minlength=lines.classes)
    for column in np.argsort(-counts, kind="stable"):
        _narrow_down(lines, int(column), budget // lines.classes // 2, parallel, generator)
    rest = budget - len(lines.asked)
    for part, column in enumerate(generator.permutation(lines.classes)):
        share = rest * (part + 1) // lines.classes - rest * part // lines.classes
        signs = lines.signs(int(column))
        threshold = int(np.argmax(_separation(signs)))
        for place in _outwards(np.flatnonzero(signs == 0), threshold)[:share]:
            lines.ask(int(column), place)
    return lines.picks()


class _Lines:
    """The images of pool and labels on a line for each class, and what the reader has answered."""

    def __init__(self, known: Known, ask: Reader) -> None:
        beliefs = np.concatenate([known.pool, known.labelled]).astype(np.float64)
        surest = beliefs.max(axis=1, keepdims=True)
        margins = beliefs - surest + _TIE * surest
        self._answers = np.concatenate([np.full(len(known.pool), _UNASKED), known.classes])
        self._ask = ask
        self.classes = beliefs.shape[1]
        self.asked: list[int] = []
        if self.classes == 2:  # one line, read from either end
            margins = beliefs
        self._orders = np.argsort(-margins, axis=0, kind="stable").T

    def signs(self, column: int) -> NDArray[np.int64]:
        """Return 1 where a label is of a class, −1 where it is of another, 0 where there is none, along its line."""
        answers = self._answers[self._orders[column]]
        return np.where(answers == _UNASKED, 0, np.where(answers == column, 1, -1))

    def ask(self, column: int, place: int) -> None:
        """Have the reader label the image at a place of a line."""
        image = int(self._orders[column, place])
        self._answers[image] = self._ask(image)
        self.asked.append(image)

    def picks(self) -> NDArray[np.int64]:
        """Return what was asked for, in that order."""
        return np.asarray(self.asked, dtype=np.int64)


def _middle_of_shortest_path(signs: NDArray[np.int64]) -> int | None:
    labelled = np.flatnonzero(signs)
    between = np.diff(labelled) - 1
    crossed = np.flatnonzero((signs[labelled[1:]] != signs[labelled[:-1]]) & (between > 0))
    if not len(crossed):
        return None
    shortest = crossed[np.argmin(between[crossed])]
    return int(labelled[shortest] + labelled[shortest + 1]) // 2


def _nearest_to_a_change(signs: NDArray[np.int64]) -> int | None:
    changes = np.flatnonzero(signs[:-1] * signs[1:] == -1) + 0.5
    free = np.flatnonzero(signs == 0)
    if not len(changes) or not len(free):
        return None
    return int(free[np.argmin(np.abs(free[:, None] - changes).min(axis=1))])


def _separation(signs: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return for each threshold, before the image of that place, how many more labels it has right than wrong."""
    above = np.cumsum(np.concatenate([[0], signs]))
    better: NDArray[np.int64] = 2 * above - above[-1]
    return better


def _narrow_down(lines: _Lines, column: int, budget: int, parallel: int, generator: np.random.Generator) -> None:
    signs = lines.signs(column)
    ours, others = np.flatnonzero(signs == 1), np.flatnonzero(signs == -1)
    first_other = others[0] if len(others) else len(signs)
    last_ours = ours[-1] if len(ours) else -1
    low = int(max(ours[ours < first_other], default=0))
    high = int(min(others[others > last_ours], default=len(signs) - 1))
    while budget > 0:
        free = low + np.flatnonzero(signs[low : high + 1] == 0)
        if not len(free):
            return
        drawn = generator.choice(free, size=min(budget, parallel, len(free)), replace=False)
        for place in drawn:
            lines.ask(column, int(place))
        signs = lines.signs(column)
        steps = budget // parallel
        if steps > 1:
            low, high = _shrunk(signs, low, high, 1 / steps, generator)
        budget -= len(drawn)


def _shrunk(
    signs: NDArray[np.int64], low: int, high: int, power: float, generator: np.random.Generator
) -> tuple[int, int]:
    """Move the end inwards at which a threshold is worse, until m^(1 − power) of the m unlabelled images are left."""
    right = _separation(signs)
    left = int((signs[low : high + 1] == 0).sum())
    wanted = np.ceil(left / left**power) if left else 0
    while left > wanted:
        if right[low] < right[high] or (right[low] == right[high] and generator.integers(2)):
            left -= int(signs[low] == 0)
            low += 1
        else:
            left -= int(signs[high] == 0)
            high -= 1
    return low, high


def _outwards(free: NDArray[np.int64], threshold: int) -> Sequence[int]:
    """Return places in turn before and behind a threshold, the nearest first."""
    before, behind = free[free < threshold][::-1], free[free >= threshold]
    turns = np.concatenate([2 * np.arange(len(before)), 2 * np.arange(len(behind)) + 1])
    places: list[int] = np.concatenate([before, behind])[np.argsort(turns, kind="stable")].tolist()
    return places
