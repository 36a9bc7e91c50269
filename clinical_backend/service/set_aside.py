"""The test set as the lead asks for it, and as pages and commands tell of it."""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING

from clinical_backend.errors import ClinicalError, InvalidArgumentError
from clinical_backend.findings.agreement import agreement, agreement_on_findings
from clinical_backend.findings.performance import measure
from clinical_backend.handover.blind_cases import blind_cases
from clinical_backend.multilabel import is_multilabel
from clinical_backend.rounds.blind_scores import judge
from clinical_backend.storage.stores.testsets import ReservedWish

if TYPE_CHECKING:
    from clinical_backend.findings.agreement import Agreement
    from clinical_backend.findings.cases import JudgedCases
    from clinical_backend.findings.performance import Performance
    from clinical_backend.rounds.blind_scores import JudgedTestset
    from clinical_backend.storage.stores.testsets import ReservedDraw
    from clinical_backend.workspace.workspace import ProjectWorkspace

__all__ = ["Drawable", "SetAside", "ask_for_test_set", "drawable", "models_on_test_set", "read_set_aside"]

_SEEDS = 2**31
_MODELS = 5
"""The latest that are listed: a page waits a second for each where 1,000 cases of eight classes are read."""


@dataclass(frozen=True, slots=True)
class Drawable:
    """What a test set can be drawn from, as far as the last round knows.

    Attributes
    ----------
    tasks
        Tasks that nobody answered.
    answered
        Those that somebody has: they, and others of their patients, are not drawn.
    patients
        How many patients the tasks are of; each task stands for itself where it names none.
    field
        What names the patients; ``None`` where nothing does, so that tasks are drawn one by one.
    """

    tasks: int
    answered: int
    patients: int
    field: str | None


@dataclass(frozen=True, slots=True)
class SetAside:
    """Where a project's test set stands.

    Attributes
    ----------
    draws
        What was drawn from what; empty until the next round draws.
    wish
        What the next round is to draw; ``None`` for nothing.
    problem
        Why nothing was drawn.
    wanted
        Of how many readers each task wants an answer.
    size, lost
        Tasks of it that Label Studio holds, and those that were deleted there.
    joined
        Those that came later and joined, as tasks of patients that were drawn.
    read, begun
        Tasks with as many readings as are wanted, and those with some and too few.
    agreement
        How far readers agree; ``None`` where one reading is wanted.
    """

    draws: tuple[ReservedDraw, ...]
    wish: ReservedWish | None
    problem: str | None
    wanted: int
    size: int
    lost: int
    joined: int
    read: int
    begun: int
    agreement: Agreement | None


def drawable(project: ProjectWorkspace) -> Drawable:
    """Return what a test set can be drawn from, without asking Label Studio."""
    stores = project.stores
    answered = stores.labels.all(project.id).keys()
    aside = answered | stores.test_sets.ids(project.id)
    tasks = [task for task in stores.images.tasks(project.id) if task not in aside]
    groups = stores.images.groups(project.id)
    try:
        field = project.settings.group_field
    except ClinicalError:  # the project's problem says so
        field = None
    return Drawable(len(tasks), len(answered), len({groups.get(task, task) for task in tasks}), field)


def ask_for_test_set(
    project: ProjectWorkspace,
    size: int,
    *,
    by: str,
    seed: int | None = None,
    twice: bool = False,
    extend: bool = False,
) -> None:
    """Have the next round draw a test set, or draw from what came since as large a share as before.

    Parameters
    ----------
    project
        The project.
    size
        How many tasks at least: the last patient that is drawn is taken whole. An extension needs none.
    by
        Who asks for it.
    seed
        Of the draw; by default one that nobody knows beforehand. It is kept.
    twice
        Whether two readers are to read each task.
    extend
        Whether the test set that there is is extended.

    Raises
    ------
    InvalidArgumentError
        When it cannot be drawn so. What only the round can tell it notes as the test set's problem.
    """
    store = project.stores.test_sets
    if seed is not None and not 0 <= seed < _SEEDS:
        raise InvalidArgumentError("seed", f"{seed} is out of range.", f"Give a number from 0 to {_SEEDS - 1}.")
    if store.wish(project.id) is not None:
        raise InvalidArgumentError(
            "testset", "a draw was asked for already.", "The next round draws: `clinical status` tells when it is done."
        )
    if extend:
        _check_extension(project, size, twice=twice)
    else:
        _check_draw(project, size)
    wish = ReservedWish(size, secrets.randbelow(_SEEDS) if seed is None else seed, by, time.time(), extend)
    store.ask(project.id, wish, readings=None if extend else 1 + twice)
    project.stores.projects.request_round(project.id, "a test set is to be drawn", delay=0)


def _check_extension(project: ProjectWorkspace, size: int, *, twice: bool) -> None:
    if not project.stores.test_sets.draws(project.id):
        raise InvalidArgumentError("extend", "there is no test set yet.", "Draw one first, with --size.")
    if size or twice:
        raise InvalidArgumentError(
            "extend",
            "size and readings are those of the first draw.",
            "Leave --size and --twice out: as large a share of what came since is drawn.",
        )


def _check_draw(project: ProjectWorkspace, size: int) -> None:
    if project.stores.test_sets.draws(project.id):
        raise InvalidArgumentError(
            "testset",
            "there is a test set already, and a second one would be drawn from what models have learnt.",
            "Extend it with --extend if tasks came since.",
        )
    if size < 1:
        raise InvalidArgumentError("size", f"{size} tasks are no test set.", "Give how many tasks it is to have.")
    known = drawable(project)
    if (known.tasks or known.answered) and size >= known.tasks:
        raise InvalidArgumentError(
            "size",
            f"nobody has answered {known.tasks} tasks so far, and some must be left to search.",
            f"Give fewer than {known.tasks}." if known.tasks > 1 else "Import more tasks first.",
        )


def read_set_aside(project: ProjectWorkspace) -> SetAside | None:
    """Return where a project's test set stands; ``None`` where none was asked for."""
    store = project.stores.test_sets
    row = store.get(project.id)
    if row is None:
        return None
    tasks, draws = store.tasks(project.id).values(), store.draws(project.id)
    joined = sum(one.joined for one in tasks)
    return SetAside(
        tuple(draws),
        store.wish(project.id),
        row.problem,
        row.readings,
        len(tasks),
        sum(draw.drawn for draw in draws) - (len(tasks) - joined),
        joined,
        sum(one.readings >= row.readings for one in tasks),
        sum(0 < one.readings < row.readings for one in tasks),
        _agreement([[str(name) for _, name in one.answers] for one in tasks if one.answers])
        if row.readings > 1
        else None,
    )


@dataclass(frozen=True)
class _Measurable:
    """Cases that figures are made of, told apart by what the figures depend on."""

    digest: str
    threshold: float | None
    seed: int
    cases: JudgedCases = field(compare=False)


def models_on_test_set(project: ProjectWorkspace) -> list[tuple[JudgedTestset, Performance]]:
    """Return how the latest published models do on the test set, as it is read by now, the newest first.

    Figures are made as those of the model card. What a model says was kept when it was published; labels that come
    later change the figures and no model.
    """
    seed = project.workspace.settings.seed
    judged = [judge(project, scores) for scores in project.stores.test_sets.every_scores(project.id, _MODELS)]
    cases = [blind_cases(one, {}).cases for one in judged]
    return [
        (one, _figures(_Measurable(its.digest, its.threshold, seed, its)))
        for one, its in zip(judged, cases, strict=True)
    ]


@lru_cache(maxsize=4 * _MODELS)  # for a lead who goes to and fro between a few projects
def _figures(of: _Measurable) -> Performance:
    """Return figures; computed anew only once something that they are made of is another one."""
    return measure(of.cases, seed=of.seed)


def _agreement(cases: list[list[str]]) -> Agreement:
    several = any(is_multilabel(label) for case in cases for label in case)
    return (agreement_on_findings if several else agreement)(cases)
