"""A project that is labelled as teams do it: past the queue too, with tasks skipped, and with some that come late."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from clinical_backend.findings.remaining import RoundYield
from clinical_backend.findings.weights import DrawnRound, SampledLabels


@dataclass
class LabelledProject:
    """Rounds of queues that seek what a model takes for rare, a part of each drawn at random.

    ``rare``, ``predicted``, ``open``, ``skipped``, ``entered`` (round; 0 for none) and ``drawn`` are arrays of all
    tasks. Half of the rare cases are met ``hidden`` times less readily.
    """

    generator: np.random.Generator
    tasks: int = 2000
    share: float = 0.05
    size: int = 100
    audit: float = 0.1
    past: float = 0.0
    skips: float = 0.0
    late: float = 0.0
    hidden: float = 1.0

    def __post_init__(self):
        chance = self.generator.random
        self.rare = chance(self.tasks) < self.share
        hard = self.rare & (chance(self.tasks) < 0.5)
        self.predicted = np.where(self.rare, chance(self.tasks) < np.where(hard, 0.6, 0.95), chance(self.tasks) < 0.03)
        rates = np.where(self.predicted, 15.0, np.where(self.rare, 5.0, 1.0)) / np.where(hard, self.hidden, 1.0)
        self._order = np.argsort(self.generator.exponential(1 / rates))
        self.there = np.arange(self.tasks) < self.tasks * (1 - self.late)
        self.open, self.skipped = np.ones(self.tasks, dtype=bool), chance(self.tasks) < self.skips
        self.drawn, self.entered = np.zeros(self.tasks, dtype=bool), np.zeros(self.tasks, dtype=np.int64)
        self.number = 0

    def work(self):
        """Read one more queue; return whether there was one."""
        waiting = np.flatnonzero(self.open & self.there)
        self.number += 1
        if not len(waiting):
            return False
        draws = self.generator.choice(waiting, min(len(waiting), round(self.audit * self.size)), replace=False)
        self.drawn[draws] = True
        sought = self._order[(self.open & self.there & ~self.drawn)[self._order]][: self.size - len(draws)]
        self._answer(np.concatenate([draws, sought]))
        waiting = np.flatnonzero(self.open & self.there)
        times = self.generator.exponential(np.where(self.rare[waiting], 0.1, 1.0))
        self._answer(waiting[np.argsort(times)][: round(self.past * self.size)])
        self.there[:] = self.there | (self.number >= 3)
        return True

    def labels(self, covered):
        """Return the labelled ones of some tasks, with the rounds that the draws are from."""
        known = np.flatnonzero(covered & ~self.open & ~self.skipped)
        left = int((covered & self.open).sum())
        rounds = []
        for number in range(1, self.number + 1):
            draws = int((self.drawn & (self.entered == number))[known].sum())
            if draws:
                rounds.append(DrawnRound(number, left + int((self.entered[known] >= number).sum()), draws))
        return known, SampledLabels(self.entered[known], self.drawn[known], rounds)

    def yields(self, covered):
        """Return the same as the yields of rounds."""
        known, sample = self.labels(covered)
        rare, told = self.rare[known], []
        for one in sample.rounds:
            queue, since = sample.entered == one.number, sample.entered >= one.number
            rare_draws = int((queue & sample.drawn & rare).sum())
            labelled = (int(queue.sum()), int((queue & rare).sum()), int(since.sum()), int((since & rare).sum()))
            told.append(RoundYield(one.pool, one.draws, rare_draws, *labelled))
        return told

    def _answer(self, tasks):
        self.open[tasks] = False
        self.entered[tasks] = self.number
