"""A part of a pool, which answers for its points."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np

from clinical_backend.acquisition.compiled.greedy import TIE, foremost
from clinical_backend.acquisition.compiled.loops.sweep import TAKEN, refresh, sweep
from clinical_backend.acquisition.compiled.threads import Workers
from clinical_backend.acquisition.partitioned.loops import ceilings
from clinical_backend.acquisition.partitioned.proposal import Candidates, Leaders, Proposal, Rest
from clinical_backend.errors import InvalidArgumentError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from clinical_backend.acquisition.embedding import Embedding
    from clinical_backend.acquisition.partitioned.objective import Objective

__all__ = ["LocalShards", "Shard", "Shards"]

_LEAST_ROWS = 32_768  # of a thread, as in `acquisition.lazy`
_GROUPS = 64  # of exemplars, at most: each has ceilings of its own, which are sent with every answer
_NEVER = np.iinfo(np.int32).max


class Shard:
    """The points of one part of a pool, their similarities to the query set computed once.

    Parameters
    ----------
    objective
        What is maximised.
    points
        (n,) the points; their features are not kept.
    indices
        (n,) the rows of the whole pool that they are, ascending.

    Raises
    ------
    InvalidArgumentError
        Where the indices do not fit, or a vector is not finite.
    """

    def __init__(self, objective: Objective, points: Embedding, indices: NDArray[np.int64]) -> None:
        if len(indices) != len(points) or (np.diff(indices) <= 0).any():
            raise InvalidArgumentError(
                "indices", "they are not one ascending row of the pool for each point.", "Sort the points of the shard."
            )
        self._objective, self._indices = objective, indices
        self._round_sent: NDArray[np.int32] = np.full(len(points), _NEVER, np.int32)
        self._scores: NDArray[np.floating] = np.empty(0)
        if len(points) == 0:
            return
        if objective.modular:
            self._scores = objective.scores(points)
            return
        with Workers() as workers:
            terms = objective.terms(points, workers)
        assert terms.between.kernel is not None
        self._kernel, self._own, self._scores = terms.between.kernel, terms.own, terms.between.nearest
        groups = min(_GROUPS, len(objective.query))
        self._groups = (self._kernel.argmax(axis=1) * groups // len(objective.query)).astype(np.int32)

    def __len__(self) -> int:
        return len(self._indices)

    def leaders(self, budget: int) -> Leaders:
        """Return the points of the largest scores: gains of a modular function, else cosines to the query set."""
        rows = foremost(self._scores.astype(np.float64), budget)
        return Leaders(self._indices[rows], self._scores[rows].astype(np.float64))

    def propose(
        self, round_: int, picked: NDArray[np.int64], similarities: NDArray[np.float32], count: int
    ) -> Proposal:
        """Return the most promising points, and bounds of all others.

        The same call gives the same answer, however often it is made.

        Parameters
        ----------
        round_
            Number of the call: what was sent in earlier ones is not sent again.
        picked, similarities
            (m,) the picks so far, in their order, and their (m, q) similarities to the query set.
        count
            Most points to send, beside the foremost.
        """
        if len(self) == 0:
            size = len(self._objective.query)
            none = Candidates(self._indices, np.empty(0, np.float32), np.empty((0, size), np.float32))
            return Proposal([], none, None)
        memo = self._objective.memo()
        for row in similarities:
            memo.add(row)
        own = self._own.copy()
        own[np.flatnonzero(np.isin(self._indices, picked))] = TAKEN
        parts = np.empty_like(own)
        state = (np.float32(1), np.float32(0), *memo.values(), int(memo.increment))
        with Workers() as workers:
            workers.run(refresh, len(self), self._kernel, parts, *state)
            found = workers.run(sweep, len(self), self._kernel, own, parts, *state, TIE, least=_LEAST_ROWS)
            winners = [(row, gain) for row, gain in found if row >= 0]
            self._round_sent[self._round_sent >= round_] = _NEVER  # of a call whose answer was lost
            left = np.flatnonzero((self._round_sent == _NEVER) & (own > TAKEN))
            chosen = _promising(own[left], parts[left], count)
            sent = np.unique(np.concatenate([left[chosen], np.array([row for row, _ in winners], np.int64)]))
            sent = sent[self._round_sent[sent] == _NEVER]
            self._round_sent[sent] = round_
            rest = self._bounds(own, parts, workers)
        return Proposal(
            [(int(self._indices[row]), float(gain)) for row, gain in winners],
            Candidates(self._indices[sent], own[sent], self._kernel[sent]),
            rest,
        )

    def _bounds(self, own: NDArray[np.float32], parts: NDArray[np.float32], workers: Workers) -> Rest | None:
        kept = (self._round_sent == _NEVER) & (own > TAKEN)
        if not kept.any():
            return None
        groups = min(_GROUPS, len(self._objective.query))
        found = workers.run(
            ceilings, len(self), self._kernel, own, parts, self._groups, groups, kept, least=_LEAST_ROWS
        )
        owns, tops, bottoms, supports = (np.stack(each) for each in zip(*found, strict=True))
        return Rest(owns.max(axis=0), tops.max(axis=0), bottoms.min(axis=0), supports.max(axis=0))


class Shards(Protocol):
    """The shards of a pool, wherever they are; each answer holds one entry for each shard."""

    def sizes(self) -> list[int]:
        """Return how many points each has."""

    def propose(
        self, round_: int, picked: NDArray[np.int64], similarities: NDArray[np.float32], count: int
    ) -> list[Proposal]:
        """Ask each for its proposal."""

    def leaders(self, budget: int) -> list[Leaders]:
        """Ask each for its leaders."""


class LocalShards:
    """Shards in this process, asked one after the other."""

    def __init__(self, shards: Sequence[Shard]) -> None:
        self._shards = shards

    def sizes(self) -> list[int]:
        """Return how many points each has."""
        return [len(shard) for shard in self._shards]

    def propose(
        self, round_: int, picked: NDArray[np.int64], similarities: NDArray[np.float32], count: int
    ) -> list[Proposal]:
        """Ask each for its proposal."""
        return [shard.propose(round_, picked, similarities, count) for shard in self._shards]

    def leaders(self, budget: int) -> list[Leaders]:
        """Ask each for its leaders."""
        return [shard.leaders(budget) for shard in self._shards]


def _promising(own: NDArray[np.float32], parts: NDArray[np.float32], count: int) -> NDArray[np.int64]:
    """Return `count` points: half of them those of the largest gains, then those of the largest own parts."""
    if count >= len(own):
        return np.arange(len(own))
    half = (count + 1) // 2
    order = np.empty(len(own), np.bool_)
    order[:] = False
    order[np.argpartition(own + parts, len(own) - half)[-half:]] = True
    others = np.where(order, TAKEN, own)
    if count > half:
        order[np.argpartition(others, len(own) - (count - half))[-(count - half) :]] = True
    return np.flatnonzero(order)
