"""Which image of a task decides: multiple-instance learning on features that stay as they are.

A task is rare when one of its images is (Dietterich, Lathrop and Lozano-Pérez, Artificial Intelligence 1997). Nobody
says which: the images of rare tasks that are like each other, and unlike those of the pool and of common tasks, are
taken to be it, as the diverse density has it (Maron and Lozano-Pérez, NIPS 1997). Where a reader does say, that is
taken instead. They teach a detector of images, and the best-scoring image of every task, its witness, stands for the
task. All else is learnt as from single images.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from clinical_backend.learner.classifier.coordinates import lengths
from clinical_backend.learner.classifier.semi_supervised import PoolExamples
from clinical_backend.strategy.instances import Instances, Witnesses
from clinical_backend.strategy.kept_whitening import whitening_of
from clinical_backend.strategy.tasks import FeaturedTasks

if TYPE_CHECKING:
    from numpy.typing import NDArray

    _Parts = list[tuple[NDArray[np.float32], Instances]]
    """Images in the directions that they are likened in, and whose they are."""

__all__ = ["learn_witnesses"]

_DIRECTIONS = 64
"""In which images are likened: of 32 to 300, in bags of cells with 5 and 10 exemplars the most of the images that
decide were found with 64 to 128 (docs/studies.md)."""
_EXPONENT = -0.25
"""Of the variances, as `half_whitening` has it: with -1/2 fewer were found."""
_STEPS = 5
"""The choice rarely changes after three."""
_MOST_SEEDING = 24
"""Rare tasks whose images are tried as the first of a choice: the time grows with the cube of their number."""
_MOST_COMMON = 1500
"""Images of common tasks that a detector learns from, as many as of the pool."""
_LEAST_COMMON = 5
"""Of fewer common tasks a share says too little."""
_PLACES = 1 << 20
"""More than the places of the images of a task: keeps apart the images that a whitening is kept by."""


def learn_witnesses(
    rare: Instances,
    common: Instances,
    pool: Instances,
    *,
    seed: int,
    shows: NDArray[np.bool_] | None = None,
    lacks: NDArray[np.bool_] | None = None,
) -> Witnesses:
    """Find the images that make tasks rare, and learn to tell them.

    Each image of a rare task is tried as the one that decides: in every other rare task the most similar one joins it,
    and each choice is made anew by the mean of the others until nothing changes. Of all choices that one is taken by
    which the rare tasks come before most of the pool and of the common tasks, each by the others' images alone.

    Parameters
    ----------
    rare, common
        Labelled tasks, at least one that is rare.
    pool
        A sample of unlabelled ones, at least one: nearly all are common.
    seed
        Of what is drawn.
    shows, lacks
        Which images of the rare tasks make them so as readers said, and which do not, but not all of them: shape (m,)
        each. A task with images that do is searched for none.
    """
    generator = np.random.default_rng(seed)
    shows, lacks = (np.zeros(len(rare.rows), dtype=np.bool_) if said is None else said for said in (shows, lacks))
    every, rare = rare, _candidates(rare, shows, lacks)
    if lacks.any():
        common = Instances.joined([common, every.only(lacks)])
    some = pool.among(np.arange(-(-len(pool) // 2)))  # the time of the decomposition grows with the images
    project = _Projection(some.rows)
    chosen = _chosen(rare, common, pool, project, generator)
    against = common.rows
    if len(against) > _MOST_COMMON:
        against = against[generator.choice(len(against), _MOST_COMMON, replace=False)]
    deciding = rare.rows[_with_named(chosen, rare, every.only(shows))]
    examples = PoolExamples.of(
        np.concatenate([deciding, against]),
        np.repeat([0, 1], [len(deciding), len(against)]),
        ("rare", "common"),
        pool.rows,
        rare=[0],
        seed=seed,
    )
    ids = np.repeat(pool.tasks, pool.counts) * _PLACES + pool.positions
    detector = examples.fit(whitening_of([FeaturedTasks(ids, pool.rows)]))
    return Witnesses(detector, dict(zip(rare.tasks.tolist(), rare.positions[chosen].tolist(), strict=True)))


def _candidates(rare: Instances, shows: NDArray[np.bool_], lacks: NDArray[np.bool_]) -> Instances:
    """Return the images of each rare task that may make it so.

    They are those that readers named, or else all that they did not rule out.
    """
    named = np.maximum.reduceat(shows, rare.starts)
    return rare.only(np.where(np.repeat(named, rare.counts), shows, ~lacks))


def _with_named(chosen: NDArray[np.int64], rare: Instances, named: Instances) -> NDArray[np.int64]:
    """Return the rows of the chosen images and of all other images of the same tasks that readers named."""
    of_named = np.repeat(np.isin(rare.tasks, named.tasks), rare.counts)
    return np.union1d(chosen, np.flatnonzero(of_named))


class _Projection:
    """Directions in which images of the pool vary most, the less stretched the more they do."""

    def __init__(self, rows: NDArray[np.float32]) -> None:
        from sklearn.utils.extmath import randomized_svd  # noqa: PLC0415 (slow to import)

        unit = _unit(rows)
        self._centre = unit.mean(axis=0)
        centred = unit - self._centre
        count = min(_DIRECTIONS, *centred.shape)
        _, values, directions = randomized_svd(centred, count, random_state=0)
        variances = np.maximum(np.square(values, dtype=np.float64), 1e-9)  # all alike: rounding is not stretched
        scales = (variances / variances[0]) ** _EXPONENT
        self._scaled: NDArray[np.float32] = (directions.T * scales).astype(np.float32)

    def __call__(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return images in these directions, of unit length, shape (m, directions)."""
        return _unit((_unit(rows) - self._centre) @ self._scaled)


def _unit(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    unit: NDArray[np.float32] = rows / lengths(rows)
    return unit


def _chosen(
    rare: Instances, common: Instances, pool: Instances, project: _Projection, generator: np.random.Generator
) -> NDArray[np.int64]:
    """Return the row of the image that makes each rare task rare, by the images of the others: shape (n,)."""
    others = project(pool.rows)
    centre = others.mean(axis=0)
    others = others - centre
    rows = project(rare.rows) - centre
    if len(rare) == 1:  # nothing is known but that it is unlike the pool
        nearest = np.stack([_best(others @ row, pool).mean() for row in rows])
        return rare.largest(-nearest.astype(np.float32))
    seeding = np.sort(generator.permutation(len(rare))[:_MOST_SEEDING])
    bags = [rows[start : start + count] for start, count in zip(rare.starts, rare.counts, strict=True)]
    seeds = [bags[place] for place in seeding]
    parts = [(others, pool)]
    if len(common) >= _LEAST_COMMON:
        parts.append((project(common.rows) - centre, common))
    choice = _likeliest(_settled(seeds), seeds, parts)
    total = _chosen_rows(choice[None], seeds)[0].sum(axis=0)
    found = np.array([int((bag @ total).argmax()) for bag in bags])
    found[seeding] = choice
    rows_chosen: NDArray[np.int64] = rare.starts + found
    return rows_chosen


def _likeliest(choices: NDArray[np.intp], bags: list[NDArray[np.float32]], parts: _Parts) -> NDArray[np.intp]:
    """Return the choice by which bags come before most tasks of each part, by the others' images: shape (bags,)."""
    directions = _by_others(choices, bags)
    density = np.zeros(len(choices))
    for place, bag in enumerate(bags):
        own = (directions[:, place] @ bag.T).max(axis=1)
        for part in parts:
            density -= _log_share(own, directions[:, place], *part)
    likeliest: NDArray[np.intp] = choices[int(density.argmax())]
    return likeliest


def _settled(bags: list[NDArray[np.float32]]) -> NDArray[np.intp]:
    """Return choices of one image of each bag that the others' mean confirms, shape (choices, bags)."""
    choices = np.concatenate([np.stack([(bag @ other.T).argmax(axis=1) for other in bags], axis=1) for bag in bags])
    starts = np.cumsum([0, *(len(bag) for bag in bags)])
    for place, bag in enumerate(bags):
        choices[starts[place] : starts[place + 1], place] = np.arange(len(bag))
    for _ in range(_STEPS):
        directions = _by_others(choices, bags)
        again = np.stack([(directions[:, place] @ bag.T).argmax(axis=1) for place, bag in enumerate(bags)], axis=1)
        if (again == choices).all():
            break
        choices = np.unique(again, axis=0)
    settled: NDArray[np.intp] = choices
    return settled


def _chosen_rows(choices: NDArray[np.intp], bags: list[NDArray[np.float32]]) -> NDArray[np.float32]:
    return np.stack([bag[choices[:, place]] for place, bag in enumerate(bags)], axis=1)


def _by_others(choices: NDArray[np.intp], bags: list[NDArray[np.float32]]) -> NDArray[np.float32]:
    """Return the mean of the images that are chosen of the other bags, shape (choices, bags, d)."""
    rows = _chosen_rows(choices, bags)
    means: NDArray[np.float32] = (rows.sum(axis=1, keepdims=True) - rows) / np.float32(len(bags) - 1)
    return means


def _best(scores: NDArray[np.float32], instances: Instances) -> NDArray[np.float32]:
    """Return the largest score of each task's images, of the last axis."""
    best: NDArray[np.float32] = np.maximum.reduceat(scores, instances.starts, axis=-1)
    return best


def _log_share(
    own: NDArray[np.float32], directions: NDArray[np.float32], rows: NDArray[np.float32], instances: Instances
) -> NDArray[np.float64]:
    """Return the logarithm of the share of tasks that score higher, for each direction: shape (choices,)."""
    above = (_best(directions @ rows.T, instances) >= own[:, None]).sum(axis=1)
    shares: NDArray[np.float64] = np.log((above + 0.5) / (len(instances) + 1))
    return shares
