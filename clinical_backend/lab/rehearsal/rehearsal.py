"""What other settings of a project would have found, as far as its labels tell."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import ValidationError

from clinical_backend.errors import InvalidArgumentError
from clinical_backend.lab.rehearsal.known_tasks import read_known_tasks
from clinical_backend.lab.rehearsal.rehearsal_pools import RehearsalPools
from clinical_backend.lab.rehearsal.replay import Replay, Trial
from clinical_backend.project_settings import ProjectOptions
from clinical_backend.text import amount

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from clinical_backend.lab.experiments.simulation import Outcome
    from clinical_backend.lab.rehearsal.known_tasks import KnownTasks
    from clinical_backend.lab.rehearsal.rehearsal_pools import Kind
    from clinical_backend.settings import Settings
    from clinical_backend.workspace.workspace import ProjectWorkspace

__all__ = ["OWN", "RANDOM", "Rehearsal", "Wishes", "rehearse"]

OWN = "your settings"
RANDOM = "random order"
_STOPS = (25, 50, 100, 200, 300, 500, 1000, 2000, 5000)
_LABELS = 300
"""As many as the simulations of docs/finding-power.md give."""
_USUAL: dict[str, tuple[Any, ...]] = {
    "acquisition": ("auto", "p_rare", "flqmi", "entropy"),
    "goal": ("rare", "classifier"),
    "audit_share": (0.05, 0.2),
}
"""What is tried where nothing is asked for: what differs most in docs/finding-power.md, at most six beside the own."""


@dataclass(frozen=True, slots=True)
class Wishes:
    """What is to be tried.

    Attributes
    ----------
    changes
        Values of settings by name, each tried alone; without any, usual ones.
    rare
        What is looked for, in place of what the project looks for.
    pool
        Which tasks are searched; by default what the labels allow.
    labels
        Labels that the reader gives; by default 300, or as many as the project has, or half of what is searched.
    repeats, minutes
        How often, and for how long at most.
    """

    changes: dict[str, tuple[Any, ...]] = field(default_factory=dict)
    rare: tuple[str, ...] = ()
    pool: Kind | None = None
    labels: int | None = None
    repeats: int = 5
    minutes: float = 10.0


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """What came of it.

    Attributes
    ----------
    known
        The tasks.
    pools
        Which of them were searched.
    labels, tasks, rare
        Labels that were given, of how many tasks, of which so many are rare and no exemplars: a mean over repeats.
    trials
        What was tried, the project's own settings first.
    outcomes
        Of each trial, a repeat after the other.
    unanswered
        Of the labels of each, how many went to tasks that nobody labelled.
    finished
        Whether all was tried in time.
    seconds
        How long it took.
    remarks
        How far the figures carry, for people.
    """

    known: KnownTasks
    pools: RehearsalPools
    labels: int
    tasks: int
    rare: float
    trials: tuple[Trial, ...]
    outcomes: dict[str, list[Outcome]]
    unanswered: dict[str, list[int]]
    finished: bool
    seconds: float
    remarks: tuple[str, ...]

    @property
    def stops(self) -> list[int]:
        """Labels after which finds are counted."""
        return [*(stop for stop in _STOPS if stop < self.labels), self.labels]

    def to_json(self) -> dict[str, Any]:
        """Return all of it for machines."""
        return {
            "rare_classes": self.pools.rare_classes,
            "pool": self.pools.kind,
            "tasks": self.tasks,
            "labelled": int(self.known.labelled.sum()),
            "rare": self.rare,
            "labels": self.labels,
            "finished": self.finished,
            "seconds": round(self.seconds, 1),
            "remarks": [*self.known.notes, *self.remarks],
            "trials": [
                {
                    "name": trial.name,
                    "settings": {name: getattr(trial.settings, name) for name in (*_USUAL, "queue_size")},
                    "labels_between_rounds": trial.pace(self.labels),
                    "found": [one.found for one in self.outcomes.get(trial.name, [])],
                    "found_by_class": [one.classes_found for one in self.outcomes.get(trial.name, [])],
                    "to_find": [one.rare for one in self.outcomes.get(trial.name, [])],
                    "unanswered": self.unanswered.get(trial.name, []),
                }
                for trial in self.trials
            ],
        }


def rehearse(project: ProjectWorkspace, wishes: Wishes, show: Callable[[int, int | None], None]) -> Rehearsal:
    """Replay a reader who answers what readers said, for the project's own settings and for others.

    Parameters
    ----------
    show
        Is told how many labels were given, of how many.

    Raises
    ------
    InvalidArgumentError
        When a setting has no such value, nothing is looked for, or too little is labelled.
    """
    started = time.monotonic()
    settings = project.settings
    known = read_known_tasks(project, wishes.rare, seed=settings.seed)
    trials = tuple(_trials(settings, wishes))
    pools, remarks = _pools(known, wishes.pool)
    first = pools.draw(0)
    size = len(first.pool) - len(first.exemplars)
    usual = int(known.labelled.sum()) if pools.kind == "whole" else max(1, size // 2)
    labels = min(wishes.labels or min(_LABELS, usual), size)
    replay = Replay(pools, known.learner, known.groups, labels, started + 60 * wishes.minutes)
    finished = replay.run(trials, wishes.repeats, show)
    if not replay.outcomes:
        raise InvalidArgumentError(
            "minutes", f"{wishes.minutes:g} minutes are too few for one repeat.", "Give more, or fewer --labels."
        )
    rare = float(np.mean([one.rare for one in replay.outcomes[OWN]]))
    return Rehearsal(
        known,
        pools,
        labels,
        len(first.pool),
        rare,
        trials,
        dict(replay.outcomes),
        dict(replay.unanswered),
        finished,
        time.monotonic() - started,
        tuple(remarks),
    )


def _trials(settings: Settings, wishes: Wishes) -> Iterator[Trial]:
    """Yield the project's own settings, random order, and each value that is to be tried alone."""
    yield Trial(OWN, settings)
    yield Trial(RANDOM, settings.model_copy(update={"acquisition": "random"}))
    for name, values in (wishes.changes or _USUAL).items():
        for value in dict.fromkeys(values):
            changed = _changed(settings, name, value)
            if getattr(changed, name) != getattr(settings, name) and value != "random":
                yield Trial(f"{name.replace('_', ' ')} {value}", changed)


def _changed(settings: Settings, name: str, value: object) -> Settings:
    try:
        return settings.for_project(ProjectOptions.model_validate({name: value}))
    except ValidationError as error:
        problem = "; ".join(item["msg"] for item in error.errors())
        raise InvalidArgumentError(name, f"{value!r} is not possible.", f"{problem}.") from None


def _pools(known: KnownTasks, wanted: Kind | None) -> tuple[RehearsalPools, list[str]]:
    """Return what is searched, and how far that is like the project, for people."""
    labelled, tasks = int(known.labelled.sum()), len(known.labelled)
    prevalence = {
        name: share.estimate for name, share in known.shares.items() if share is not None and share.estimate is not None
    }
    enough = len(prevalence) == len(known.rare_classes)
    if wanted == "thinned" and not enough:
        raise InvalidArgumentError(
            "pool",
            f"{amount(known.draws, 'labelled random draw')} tell too little of how frequent rare cases are.",
            "Label more of the queue, whose random draws tell it, or take --pool labelled.",
        )
    biased = known.sought > 0 and labelled < tasks
    kind: Kind = wanted or ("whole" if biased and enough else "labelled")
    pools = RehearsalPools(known.data, known.labelled, known.rare_classes, kind, prevalence)
    return pools, list(_remarks(known, pools, biased=biased, enough=enough))


def _remarks(known: KnownTasks, pools: RehearsalPools, *, biased: bool, enough: bool) -> Iterator[str]:
    labelled, tasks, rare = int(known.labelled.sum()), len(known.labelled), int(known.rare.sum())
    if labelled == tasks:
        yield "Every task is labelled, so nothing has to be corrected."
        return
    if not biased:
        yield (
            "No queue chose these labels, so they are taken as they are: if readers or an import chose them for what"
            " they show, the figures compare settings within them alone."
        )
    else:
        yield (
            f"The search chose {known.sought:,} of {labelled:,} labelled tasks, of which {rare / labelled:.1%} are"
            f" rare; of the project, {_shares(known)}."
        )
    if pools.kind == "whole":
        left = (
            "How many of them are rare is not known."
            if known.most_left is None
            else f"By the random draws at most {known.most_left:,.0f} of them are, with 95 % confidence."
        )
        yield (
            f"The whole project is searched, and {tasks - labelled:,} tasks that nobody labelled count as not rare."
            f" {left} What other settings would have found there is not known, which favours your own settings:"
            " read which one is ahead, not by how much."
        )
    elif pools.kind == "thinned":
        yield (
            "Of the labelled tasks all common ones take part, and so many rare ones, others in each repeat, that they"
            " are as frequent as in the project by the random draws. The common ones that the search chose look more"
            " like rare ones than others do, and what nobody labelled is unknown."
        )
    elif biased:
        why = "" if enough else f" {amount(known.draws, 'labelled random draw')} are too few to correct that."
        yield (
            f"Nothing is corrected.{why} The figures only compare settings within the labelled tasks: in the project"
            " rare cases are further apart, and some were never labelled."
        )


def _shares(known: KnownTasks) -> str:
    told = [
        f"{share.estimate:.1%} ({share.low:.1%} to {share.high:.1%}) {name}"
        for name, share in known.shares.items()
        if share is not None and share.estimate is not None and share.low is not None and share.high is not None
    ]
    return ", ".join(told) + " by the random draws" if told else "too few random draws say how many"


def labels_to(outcomes: Sequence[Outcome], share: float) -> list[int | None]:
    """Return after how many labels each repeat had found this share of the rare cases; ``None`` where it had not."""
    found = []
    for one in outcomes:
        reached = np.flatnonzero(np.array(one.found) >= np.ceil(share * one.rare))
        found.append(int(reached[0]) + 1 if len(reached) else None)
    return found
