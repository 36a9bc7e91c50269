"""Stage 4 where several targets have an order each: one queue, in which each gets its due."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

__all__ = ["deal"]


def deal(orders: Mapping[str, Sequence[int]], budget: int) -> tuple[NDArray[np.int64], list[tuple[str, ...]]]:
    """Deal the places of a queue out to targets, one after the other to the one that is served least.

    A place serves the target that it is taken for, and each other one that has it among its best: as many of them as
    fall to each. So a case that shows two findings counts for both, and the rest of what falls to these goes on to
    those that nobody else serves.

    Parameters
    ----------
    orders
        By target, places best first; each may lack some of the others'.
    budget
        Places wanted.

    Returns
    -------
    tuple
        The places, in order, shape (min(budget, all places),), and which targets each serves: first the one that it
        was taken for.
    """
    due = -(-budget // max(1, len(orders)))
    best = {name: set(order[:due]) for name, order in orders.items()}
    waiting = {name: iter(order) for name, order in orders.items()}
    served = dict.fromkeys(orders, 0)
    picks: list[int] = []
    serves: list[tuple[str, ...]] = []
    taken: set[int] = set()
    while waiting and len(picks) < budget:
        name = min(waiting, key=lambda one: served[one])
        place = next((one for one in waiting[name] if one not in taken), None)
        if place is None:
            del waiting[name]
            continue
        others = [other for other in orders if other != name and place in best[other]]
        for one in (name, *others):
            served[one] += 1
        taken.add(place)
        picks.append(place)
        serves.append((name, *others))
    return np.asarray(picks, dtype=np.int64), serves
