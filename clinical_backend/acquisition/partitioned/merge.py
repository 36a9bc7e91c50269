"""The exact greedy over a partitioned pool.

A function of an n × q kernel needs no more of a point than its own part and its q similarities to the query
set. Each shard sends a few hundred promising candidates, and bounds of all the points that it keeps. The
greedy then runs over the candidates alone. A pick is certain while its gain is above those bounds: gains
only fall as picks are added (submodularity), so that nothing that was kept back could have won. Where it is
not certain, the shards are told the picks and asked anew; they then know all gains exactly, so that each
round decides at least one pick. The candidates' numbers and the loop that computes their gains are those of
``acquisition.select``, so the picks and gains are as well.

Two bounds of a group of points that were kept, of which the smaller holds:

- A point that is at least as similar to each exemplar as any of them, and whose own part is as large, has at
  least their gain, whatever was picked.
- With ρ and the offset of the memo (see ``functions.com``), after further picks a sum x of increments is at most
  ρ x + offset, so a gain is at most max_j (own_j + ρ x_j) + offset. That maximum is convex in ρ: between two
  values of ρ at which the shard computed it, it lies below the chord.

GCMI is modular: the B largest of the whole are among the B largest of each shard, and one round suffices.

References
----------
Minoux, "Accelerated greedy algorithms for maximizing submodular set functions", 1978, for stale gains as
bounds; Fagin, Lotem, Naor, "Optimal aggregation algorithms for middleware", JCSS 2003, for stopping as soon as
a threshold shows that what was not sent cannot win.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from clinical_backend.acquisition.arguments import number_of_picks
from clinical_backend.acquisition.compiled.greedy import TIE, largest
from clinical_backend.acquisition.compiled.lazy import Memo, first_of
from clinical_backend.acquisition.compiled.loops.sweep import ROUNDING_OF_A_TERM, TAKEN, refresh, sweep
from clinical_backend.acquisition.partitioned.loops import STEPS
from clinical_backend.acquisition.partitioned.proposal import Candidates, Leaders, Rest
from clinical_backend.acquisition.request import Selection

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from clinical_backend.acquisition.partitioned.objective import Objective
    from clinical_backend.acquisition.partitioned.shard import Shards

__all__ = ["PartitionedSelection", "select_from"]

_LEAST_CANDIDATES = 256
"""Of a shard: near the end few are wanted, and another round of messages costs more than they do."""
_ROUNDING = 1e-5  # of a bound, relatively
_GRID = np.linspace(0, 1, STEPS + 1)


@dataclass(frozen=True)
class PartitionedSelection:
    """What was picked, and what it took.

    Attributes
    ----------
    selection
        As ``acquisition.select`` returns it for the whole pool.
    rounds
        How often the shards were asked.
    candidates
        How many points each shard sent.
    received, sent
        Bytes of the arrays that came from all shards, and went to all.
    """

    selection: Selection
    rounds: int
    candidates: list[int]
    received: int
    sent: int


def select_from(objective: Objective, shards: Shards, budget: int) -> PartitionedSelection:
    """Pick from a pool that lies in shards.

    Parameters
    ----------
    objective
        What is maximised.
    shards
        The parts of the pool; any partition gives the same picks, apart from what rounding in the product of
        matrices that makes the similarities does to gains that differ by less than 1e-6.
    budget
        B, the number of picks.

    Raises
    ------
    InvalidArgumentError
        Where the budget is no number of picks, or a shard refuses its points.
    """
    sizes = shards.sizes()
    merge = _Merge(objective, shards, min(number_of_picks(budget), sum(sizes)), [0] * len(sizes))
    return merge.run()


@dataclass
class _Merge:
    objective: Objective
    shards: Shards
    budget: int
    candidates: list[int]
    rounds: int = 0
    received: int = 0
    sent: int = 0
    picks: list[int] = field(default_factory=list)
    gains: list[float] = field(default_factory=list)
    rows: list[NDArray[np.float32]] = field(default_factory=list)

    def run(self) -> PartitionedSelection:
        if self.budget == 0:
            selection = Selection(np.empty(0, np.int64), np.empty(0))
        elif self.objective.modular:
            selection = self._largest(self.budget)
        else:
            selection = self._greedy()
        return PartitionedSelection(selection, self.rounds, self.candidates, self.received, self.sent)

    def _greedy(self) -> Selection:
        memo = self.objective.memo()
        held = self._none()
        while len(self.picks) < self.budget:
            found, new, rests = self._ask()
            held = Candidates.joined([held, *new])
            index, gain = first_of(found)
            if gain <= memo.least:
                return self._filled()
            ceilings = [_Ceiling(self.objective, rest, self.rows) for rest in rests]
            self._take(held, held.row(index), gain, memo, ceilings)
            self._take_certain(held, memo, ceilings)
        return Selection(np.array(self.picks, np.int64), np.array(self.gains))

    def _take_certain(self, held: Candidates, memo: Memo, ceilings: list[_Ceiling]) -> None:
        """Take candidates while none that a shard kept could be better."""
        parts = np.empty_like(held.own)
        one, zero, increment = np.float32(1), np.float32(0), int(memo.increment)
        refresh(0, len(parts), held.kernel, parts, one, zero, *memo.values(), increment)
        while len(self.picks) < self.budget:
            row, gain = sweep(0, len(parts), held.kernel, held.own, parts, one, zero, *memo.values(), increment, TIE)
            bound = max((ceiling.of(memo) for ceiling in ceilings), default=0.0)
            if gain <= memo.least or gain * (1 - 2 * float(TIE)) <= bound:
                return
            self._take(held, row, gain, memo, ceilings)

    def _take(self, held: Candidates, row: int, gain: float, memo: Memo, ceilings: list[_Ceiling]) -> None:
        similarities = held.kernel[row].copy()
        self.picks.append(int(held.indices[row]))
        self.gains.append(float(gain))
        self.rows.append(similarities)
        held.own[row] = TAKEN
        memo.add(similarities)
        for ceiling in ceilings:
            ceiling.add(similarities)

    def _ask(self) -> tuple[list[tuple[int, float]], list[Candidates], list[Rest]]:
        count = max(_LEAST_CANDIDATES, 3 * (self.budget - len(self.picks)))
        picked = np.array(self.picks, np.int64)
        similarities = np.stack(self.rows) if self.rows else self._none().kernel
        proposals = self.shards.propose(self.rounds, picked, similarities, count)
        self.rounds += 1
        self.sent += len(proposals) * (picked.nbytes + similarities.nbytes)
        for place, proposal in enumerate(proposals):
            self.candidates[place] += len(proposal.candidates.indices)
            self.received += proposal.nbytes
        found = sorted(pair for proposal in proposals for pair in proposal.foremost) or [(-1, 0.0)]
        rests = [proposal.rest for proposal in proposals if proposal.rest is not None]
        return found, [proposal.candidates for proposal in proposals], rests

    def _filled(self) -> Selection:
        """Fill a selection whose function is saturated, as ``acquisition.greedy.complete`` does."""
        taken = len(self.picks)
        rest = self._largest(self.budget - taken)
        return Selection(
            np.concatenate([np.array(self.picks, np.int64), rest.indices]),
            np.concatenate([np.array(self.gains), np.zeros(len(rest))]),
            saturated_at=taken,
        )

    def _largest(self, count: int) -> Selection:
        leaders = self.shards.leaders(self.budget)
        self.rounds += 1
        for place, each in enumerate(leaders):
            self.candidates[place] += len(each.indices)
            self.received += each.nbytes
        free = _joined(leaders, without=self.picks)
        found = largest(free.scores, count)
        return Selection(free.indices[found.indices], found.gains)

    def _none(self) -> Candidates:
        size = len(self.objective.query)
        return Candidates(np.empty(0, np.int64), np.empty(0, np.float32), np.empty((0, size), np.float32))


class _Ceiling:
    """The bound of the points that one shard keeps, from the picks at which it was asked on."""

    def __init__(self, objective: Objective, rest: Rest, rows: list[NDArray[np.float32]]) -> None:
        self._own = rest.own.copy()
        self._kernel = rest.kernel.copy()  # of the type that the loops are compiled for
        self._support = rest.support.astype(np.float64)
        self._parts = np.empty_like(self._own)
        self._memo = objective.memo(rest.kernel.max(axis=0), rest.bottom)
        for row in rows:
            self._memo.add(row)
        self._ratio, self._offset = 1.0, 0.0

    def add(self, similarities: NDArray[np.float32]) -> None:
        """Learn of a pick."""
        ratio, offset = self._memo.add(similarities)
        self._ratio, self._offset = self._ratio * ratio, self._offset * ratio + offset

    def of(self, memo: Memo) -> float:
        """Return what no gain exceeds, rounding included."""
        one, zero = np.float32(1), np.float32(0)
        refresh(0, len(self._parts), self._kernel, self._parts, one, zero, *memo.values(), int(memo.increment))
        dominating = float((self._own + self._parts).max())
        support = float(np.interp(min(self._ratio, 1.0), _GRID, self._support))
        affine = support + self._offset + _ROUNDING * (abs(support) + abs(self._offset))
        terms = float(ROUNDING_OF_A_TERM) * int(self._kernel.shape[1])
        return min(dominating + _ROUNDING * abs(dominating), affine) + terms


def _joined(leaders: list[Leaders], without: list[int]) -> Leaders:
    indices = np.concatenate([each.indices for each in leaders])
    scores = np.concatenate([each.scores for each in leaders])
    order = np.argsort(indices)
    order = order[~np.isin(indices[order], without)]
    return Leaders(indices[order], scores[order])
