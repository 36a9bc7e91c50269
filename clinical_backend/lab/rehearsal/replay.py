"""Settings tried on the same tasks, by a reader who answers what readers said."""

from __future__ import annotations

import time
from collections import defaultdict
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from clinical_backend.lab.experiments.protocol import Protocol
from clinical_backend.lab.experiments.simulation import Outcome, simulate
from clinical_backend.lab.experiments.strategies import LIVE

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from clinical_backend.lab.experiments.learners import Learner
    from clinical_backend.lab.experiments.protocol import Draw
    from clinical_backend.lab.experiments.strategies import Situation
    from clinical_backend.lab.rehearsal.rehearsal_pools import RehearsalPools
    from clinical_backend.settings import Settings
    from clinical_backend.strategy.tasks import RankedTask

__all__ = ["MOST_ROUNDS", "Replay", "Trial"]

MOST_ROUNDS = 15
"""Of one repeat: 300 labels at 20 a round, as in the simulations of docs/finding-power.md. For more labels rounds are
further apart, so that the time does not grow with them."""

_ORDER = 1
"""Tells the random order from the other draws of a seed."""


@dataclass(frozen=True, slots=True)
class Trial:
    """Settings that are tried.

    Attributes
    ----------
    name
        For people.
    settings
        Of the project, with what is tried laid over them.
    """

    name: str
    settings: Settings

    @property
    def is_random(self) -> bool:
        """Whether all is drawn at random, and nothing learnt."""
        return self.settings.acquisition == "random"

    def pace(self, labels: int) -> int:
        """Return how many labels are given between two rounds."""
        own = min(self.settings.start_training_each_n_updates, self.settings.queue_size)
        return max(own, -(-labels // MOST_ROUNDS))


@dataclass
class Replay:
    """Runs trials side by side: each repeat has its own tasks and exemplars, the same for all trials.

    Attributes
    ----------
    pools, learner, groups
        What is searched, by which features, and what stands for the patient of each task that names one.
    labels
        Labels that the reader gives.
    deadline
        By ``time.monotonic``: what is not finished then is left out.
    outcomes
        What came of each trial, by its name, a repeat after the other.
    unanswered
        Of the labels of each, how many went to tasks that nobody labelled.
    """

    pools: RehearsalPools
    learner: Learner
    groups: Mapping[int, str]
    labels: int
    deadline: float
    outcomes: dict[str, list[Outcome]] = field(default_factory=lambda: defaultdict(list))
    unanswered: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))

    def run(self, trials: Sequence[Trial], repeats: int, show: Callable[[int, int | None], None]) -> bool:
        """Run so many repeats of each, until the deadline; return whether all were finished.

        Parameters
        ----------
        show
            Is told how many labels were given, of how many.
        """
        work = self.labels * repeats * len(trials)
        for repeat in range(repeats):
            drawn = self.pools.draw(repeat)
            for place, trial in enumerate(trials):
                before = self.labels * (repeat * len(trials) + place)
                queued: list[int] = []
                try:
                    outcome = self._outcome(trial, drawn, repeat, queued, partial(_show_more, show, before, work))
                except _OutOfTimeError:
                    return False
                self.outcomes[trial.name].append(outcome)
                self.unanswered[trial.name].append(int((~self.pools.labelled[queued]).sum()))
        show(work, work)
        return True

    def _outcome(self, trial: Trial, drawn: Draw, seed: int, queued: list[int], show: Callable[[int], None]) -> Outcome:
        """Return what came of a trial, and note what it labels; the time may be over before its end."""
        if trial.is_random:
            return self._at_random(drawn, seed, queued)
        pools = self.pools

        def witness(_: Situation, ranked: Sequence[RankedTask]) -> None:
            show(len(queued))
            if time.monotonic() > self.deadline:
                raise _OutOfTimeError
            queued.extend(task.task_id for task in ranked)

        protocol = Protocol(
            pools.data.name,
            pools.rare_classes,
            exemplars=len(drawn.exemplars),
            named=True,
            labels=self.labels,
            batch=trial.pace(self.labels),
        )
        return simulate(
            protocol,
            drawn,
            pools.data,
            self.learner,
            LIVE,
            seed=seed,
            settings=trial.settings,
            groups=self.groups,
            witness=witness,
        )

    def _at_random(self, drawn: Draw, seed: int, queued: list[int]) -> Outcome:
        waiting = np.setdiff1d(drawn.pool, drawn.exemplars)
        order = np.random.default_rng([seed, _ORDER]).permutation(waiting)[: self.labels]
        queued.extend(order.tolist())
        members = {name: self.pools.data.members(name) for name in drawn.rare_classes}
        by_class = {name: np.cumsum(of_class[order]).tolist() for name, of_class in members.items()}
        found = np.sum(list(by_class.values()), axis=0).tolist()
        return Outcome(sum(int(of_class[waiting].sum()) for of_class in members.values()), found, by_class)


class _OutOfTimeError(Exception):
    """The time is over; whoever set it goes on with what is finished."""


def _show_more(show: Callable[[int, int | None], None], before: int, work: int, given: int) -> None:
    show(before + given, work)
