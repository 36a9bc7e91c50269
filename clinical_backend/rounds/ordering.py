"""What a round learns from its labels, and the order that it makes of that.

A round publishes it; the page of the settings shows what it would be with others. Both take these steps.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from clinical_backend.rounds.promotion import promote
from clinical_backend.rounds.second_readings.candidates import choose, places
from clinical_backend.strategy.order import rank
from clinical_backend.strategy.several_fit import fit_labels
from clinical_backend.strategy.suspects import find_suspects
from clinical_backend.workspace.known_images import without_copies

if TYPE_CHECKING:
    from collections.abc import Sequence

    from clinical_backend.rounds.promotion import Promotion
    from clinical_backend.rounds.sync import Snapshot
    from clinical_backend.storage.report import Asked, SecondLook
    from clinical_backend.storage.schema import Round
    from clinical_backend.strategy.choice import Choice
    from clinical_backend.strategy.suspects import Suspect
    from clinical_backend.strategy.tasks import Inputs, RankedTask
    from clinical_backend.workspace.workspace import ProjectWorkspace

__all__ = ["Learnt", "choose_second_readings", "learn", "order_tasks", "place_second_readings", "worth_queueing"]

_SECOND_READINGS = 2
"""Keeps their draws apart from those of the audit, which are made of the same seed and round."""


@dataclass(frozen=True, slots=True)
class Learnt:
    """What a round learns.

    Attributes
    ----------
    suspects
        Labels that deserve a second look, the most doubtful first.
    promotion
        The model that it goes on with.
    """

    suspects: tuple[Suspect, ...]
    promotion: Promotion


def worth_queueing(project: ProjectWorkspace, snapshot: Snapshot) -> tuple[Snapshot, list[int]]:
    """Return a snapshot whose pool is without exact copies of others, and the copies."""
    pooled, copies = without_copies(project.digests(), snapshot.pool, snapshot.aside)
    return replace(snapshot, pool=tuple(pooled)), copies


def learn(project: ProjectWorkspace, snapshot: Snapshot, row: Round, inputs: Inputs) -> Learnt:
    """Learn from the labels at hand, and decide whether that or the published model goes on. Nothing is kept here."""
    target, labels = snapshot.target, snapshot.labels
    fitted = fit_labels(inputs, labels.classes, snapshot.scheme.classes, target, seed=snapshot.settings.seed)
    suspects = find_suspects(inputs, fitted, target.classes, settled=labels.counter_exemplars)
    return Learnt(tuple(suspects), promote(project, snapshot, row, inputs, fitted))


def order_tasks(snapshot: Snapshot, learnt: Learnt, number: int) -> tuple[Choice, list[RankedTask]]:
    """Return what orders the pool in the round of this number, and the ordinary tasks of its queue, best first."""
    return rank(
        snapshot.settings,
        learnt.promotion.inputs,
        snapshot.target,
        learnt.promotion.fitted,
        round_number=number,
        skipped=snapshot.labels.skipped,
    )


def choose_second_readings(
    project: ProjectWorkspace,
    snapshot: Snapshot,
    number: int,
    suspects: Sequence[Suspect],
    *,
    ordinary: int,
    now: float,
) -> SecondLook:
    """Choose what is read again beside so many ordinary tasks.

    Parameters
    ----------
    number
        Of the round: together with SEED it fixes the random draws.
    now
        Seconds since the epoch, by Label Studio's clock.
    """
    store, settings = project.stores.second_readings, snapshot.settings
    return choose(
        settings,
        snapshot.labels,
        suspects,
        store.all(project.id),
        store.checks(project.id),
        ordinary=ordinary,
        answers_wanted=snapshot.project.maximum_annotations,
        generator=np.random.default_rng([settings.seed, number, _SECOND_READINGS]),
        now=now,
    )


def place_second_readings(second: SecondLook, ordinary: int, seed: int, number: int) -> dict[int, Asked]:
    """Spread second readings over the queue, at places that no reader can guess."""
    generator = np.random.default_rng([seed, number, _SECOND_READINGS, 1])
    return dict(zip(places(ordinary + len(second.asked), len(second.asked), generator), second.asked, strict=True))
