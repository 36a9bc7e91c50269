"""Near-copies: the same picture saved again, compressed, scaled, or with its border cut. They come last in a queue."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from clinical_backend.learner.half_precision import as_single, blocks_in_single
from clinical_backend.strategy.leading_directions import ROUNDED, LeadingDirections, distances_of_pairs, squares_of
from clinical_backend.system.pulse import note_progress

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator
    from typing import Protocol, TypeAlias

    from numpy.typing import NDArray

    from clinical_backend.strategy.tasks import Inputs

    Order: TypeAlias = Callable[[int], NDArray[np.int64]]

    class Take(Protocol):
        """Takes from an order."""

        def __call__(
            self, order: Order, places: NDArray[np.int64], wanted: int, /, *, taken: NDArray[np.int64]
        ) -> NDArray[np.int64]:
            """Return so many of an order of these places, given those that are taken already."""


__all__ = ["NEAR_SHARE", "NEIGHBOURS", "Copies", "CopiesLast", "NearCopies"]

NEAR_SHARE = 0.4
"""Of the squared distance to the tenth nearest: what is nearer is a copy. All skin images saved as JPEG of quality 70
are, and 91 % of X-rays of 128 pixels; of 7,470 lesions six images, which show three lesions twice; of 300 other
photographs of the same lesions none. At 0.45 it is 9 of 7,470, and 97 % of the X-rays (docs/features.md)."""
NEIGHBOURS = 10
"""The tenth nearest tells what is near, so of an image with ten copies none is told. Chosen: with 20, more different
images pass for copies."""
_SAMPLE = 64
"""Images that tell how far the tenth nearest is as a rule. A few X-rays among photographs are far from all others, and
would else pass for copies of each other: of six in 3,000 a third to two thirds did."""
_LEAST_FIFTH = 0.7
"""Of the distance to the tenth nearest, that to the fifth is more where features vary in many ways: 0.93 and more on
the four sets, 0.84 among 50 of their images. Where they vary in fewer than four, as over the frames of a film, an image
is far nearer to its neighbours than to its tenth nearest without being a copy, and nothing is told."""
_BLOCK, _AT_ONCE = 4096, 512
"""So many images are compared with so many at once: 30 MB, whatever the sizes of pool and queue."""
_LOOKED_AT = 1000
"""Places of a queue whose copies are sought: of a million images two minutes. The default queue has 200."""
_MANY = 20_000
"""Images from which on a few directions are looked at first. It takes the time of comparing 64 images with all, and a
decomposition: of fewer images not worth it."""
_DIRECTIONS = 64
"""They hold most of what varies, so that few images are near in them and far in all 1,280."""
_TIMES = 8
"""An order is asked again so often at most; what is left then keeps its place. Where each of 7,470
lesions was there twice, a queue of 200 took four times."""


class Copies(NamedTuple):
    """The near-copies of a task: which of the pool, and whether an answered task is one."""

    pool: frozenset[int]
    answered: bool


class NearCopies:
    """Tells near-copies among the pool and the answered tasks.

    Two images are one that was saved twice if the squared distance of their features is below 0.4 of that to the tenth
    nearest image: of the image asked for, or of the pool's images as a rule, whichever is less. No fixed distance does
    that: what saving changes in a feature depends on the image's size, and how unlike different images are on the pool.
    Frozen features alone are compared: with them it was measured, and what a network learns of the pool may make
    different images alike.

    Parameters
    ----------
    inputs
        Of a round. With ten images or fewer in all there are no near-copies.
    """

    def __init__(self, inputs: Inputs) -> None:
        frozen = inputs.first_part()
        others = (frozen.query, frozen.counter_exemplars)
        # What is tagged without an answer stands in the pool already, and is no copy of itself.
        counted = np.concatenate([frozen.labelled.tasks, frozen.pool.tasks])
        tagged = [one.features[~np.isin(one.tasks, counted)] for one in others]
        self._pool = frozen.pool.features
        self._sets = (self._pool, frozen.labelled.features, *tagged)
        self._usual = self._usual_distance()
        self._short: LeadingDirections | None = None

    @property
    def limit(self) -> float:
        """The squared distance from which on no image is a near-copy of another; 0 where nothing is told."""
        return NEAR_SHARE * self._usual

    def of(self, places: NDArray[np.int64]) -> list[Copies]:
        """Return the near-copies of each of some tasks.

        Parameters
        ----------
        places
            In the pool, shape (b,). The time is that of b comparisons with all images; of many images, of comparisons
            in a few dimensions, and in all of those that have a near one.
        """
        found = [Copies(frozenset(), answered=False)] * len(places)
        if not self._usual:
            return found
        near = np.flatnonzero(self._may_have(places)) if sum(map(len, self._sets)) > _MANY else np.arange(len(places))
        for start in range(0, len(near), _AT_ONCE):
            part = near[start : start + _AT_ONCE]
            for place, copies in zip(part.tolist(), self._of(places[part]), strict=True):
                found[place] = copies
        return found

    def _may_have(self, places: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Tell of which of some tasks another image is nearer than near-copies are as a rule, shape (b,).

        Distances in some directions, at right angles, are never longer than in all: so only what is near there is
        compared in all.
        """
        if self._short is None:
            blocks = (block for _, block in self._blocks())
            self._short = LeadingDirections.of(self._pool, blocks, sum(map(len, self._sets)), _DIRECTIONS)
        found = np.zeros(len(places), dtype=np.bool_)
        for start in range(0, len(places), _AT_ONCE):
            part = places[start : start + _AT_ONCE]
            near = found[start : start + _AT_ONCE]  # a view
            some = as_single(self._pool[part])
            for first, block in self._parts():
                note_progress()
                rows, others = self._short.within(part, first, len(block), NEAR_SHARE * self._usual)
                near[rows[distances_of_pairs(some, block, rows, others) < NEAR_SHARE * self._usual * ROUNDED]] = True
        return found

    def _of(self, places: NDArray[np.int64]) -> Iterator[Copies]:
        distances, nearest = self._nearest(places)
        near = distances < NEAR_SHARE * np.minimum(distances[:, -1:], self._usual)
        size = len(self._pool)
        for row, is_near in zip(nearest, near, strict=True):
            found = row[is_near]
            yield Copies(frozenset(found[found < size].tolist()), answered=bool((found >= size).any()))

    def _usual_distance(self) -> float:
        """Return how far the tenth nearest is as a rule; 0 where that tells nothing."""
        if not len(self._pool) or sum(map(len, self._sets)) <= NEIGHBOURS:
            return 0.0
        sample = np.unique(np.linspace(0, len(self._pool) - 1, _SAMPLE).astype(np.int64))
        distances, _ = self._nearest(sample)
        fifth, tenth = np.median(distances[:, [NEIGHBOURS // 2 - 1, -1]], axis=0)
        return float(tenth) if fifth >= _LEAST_FIFTH * tenth else 0.0

    def _nearest(self, places: NDArray[np.int64]) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Return the squared distances and the places of the ten nearest others, shapes (b, 10), in rising order.

        Places beyond the pool are those of answered tasks.
        """
        some = as_single(self._pool[places])
        squares = squares_of(some)[:, None]
        distances = np.empty((len(some), 0), dtype=np.float32)
        nearest = np.empty((len(some), 0), dtype=np.int64)
        for start, block in self._blocks():
            note_progress()
            products = some @ block.T
            products *= -2
            products += squares_of(block)
            own = np.flatnonzero((places >= start) & (places < start + len(block)))
            products[own, places[own] - start] = np.inf
            least = _least(products)
            nearest = np.concatenate([nearest, start + least], axis=1)
            distances = np.concatenate([distances, np.take_along_axis(products, least, axis=1) + squares], axis=1)
            least = _least(distances)
            nearest = np.take_along_axis(nearest, least, axis=1)
            distances = np.take_along_axis(distances, least, axis=1)
        for column in range(distances.shape[1]):  # a difference of products loses tiny distances to rounding
            distances[:, column] = squares_of(self._at(nearest[:, column]) - some)
        order = np.argsort(distances, axis=1, kind="stable")
        return np.take_along_axis(distances, order, axis=1), np.take_along_axis(nearest, order, axis=1)

    def _at(self, places: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the features of images, shape (b, d); places beyond the pool are those of answered tasks."""
        found = np.empty((len(places), self._pool.shape[1]), dtype=np.float32)
        for start, features in self._parts():
            inside = (places >= start) & (places < start + len(features))
            found[inside] = features[places[inside] - start]
        return found

    def _blocks(self) -> Iterator[tuple[int, NDArray[np.float32]]]:
        start = 0
        for features in self._sets:
            yield from ((start + first, block) for first, block in blocks_in_single(features, _BLOCK))
            start += len(features)

    def _parts(self) -> Iterator[tuple[int, NDArray[np.floating]]]:
        """Return all images, some at a time, as they are kept, each with the place of its first."""
        start = 0
        for features in self._sets:
            for first in range(0, len(features), _BLOCK):
                yield start + first, features[first : first + _BLOCK]
            start += len(features)


def _least(distances: NDArray[np.float32]) -> NDArray[np.intp]:
    """Return the places of the ten least of each row, in no order."""
    count = min(NEIGHBOURS, distances.shape[1])
    least: NDArray[np.intp] = np.argpartition(distances, count - 1, axis=1)[:, :count]
    return least


class CopiesLast:
    """Takes from an order, and notes the near-copies that it meets, so that the order puts them behind all others.

    Parameters
    ----------
    take
        Returns so many of an order of some places in the pool, as caps allow, given those that are taken already.
    last
        Of each task of the pool, whether the order puts it behind all others, shape (n,). Near-copies are noted here.
    copies
        Tells them.
    """

    def __init__(self, take: Take, last: NDArray[np.bool_], copies: NearCopies) -> None:
        self._take, self._last, self._copies = take, last, copies
        self._seen: dict[int, Copies] = {}
        self._before = int(last.sum())

    @property
    def count(self) -> int:
        """How many near-copies were met."""
        return int(self._last.sum()) - self._before

    def __call__(
        self, order: Order, places: NDArray[np.int64], wanted: int, *, taken: NDArray[np.int64]
    ) -> NDArray[np.int64]:
        """Take from an order, anew where a near-copy of an answered or an earlier task stood among the others.

        Parameters
        ----------
        order
            Returns the best of these places, as many as it is asked for, by `last` as it is then.
        places, wanted
            What is ordered, and how many are to be taken.
        taken
            Stand in the queue already. They are never put last: among them are the random draws, which must stay a
            simple random sample of the pool, or the estimates made of them would not hold. A near-copy that was drawn
            stays, and its twins give way to it.
        """
        picks = self._take(order, places, wanted, taken=taken)
        for _ in range(_TIMES):
            if not self._met_copies(picks, taken):
                break
            picks = self._take(order, places, wanted, taken=taken)
        return picks

    def _met_copies(self, picks: NDArray[np.int64], taken: NDArray[np.int64]) -> bool:
        """Note the near-copies of tasks that are taken or picked, and tell whether one of them was picked."""
        fresh = picks[~self._last[picks]][:_LOOKED_AT].tolist()
        stand = taken[:_LOOKED_AT].tolist()
        self._look_up([*stand, *fresh])
        standing = set(taken.tolist())
        self._put_last(frozenset[int]().union(*(self._seen[place].pool for place in stand)) - standing)
        met = False
        for place in fresh:
            copies = self._seen[place]
            if self._last[place] or copies.answered or copies.pool & standing:
                self._put_last({place})
                met = True
            else:
                standing.add(place)
                self._put_last(copies.pool - standing)
        return met

    def _look_up(self, places: list[int]) -> None:
        new = [place for place in dict.fromkeys(places) if place not in self._seen]
        self._seen.update(zip(new, self._copies.of(np.array(new, dtype=np.int64)), strict=True))

    def _put_last(self, places: Collection[int]) -> None:
        self._last[list(places)] = True
