"""The points of a project's map with what is known of each: its label, why readers get it, its score, its site."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from itertools import chain, pairwise
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from clinical_backend.learner.neighbourhood import nearest
from clinical_backend.multilabel import as_words, findings_of
from clinical_backend.origins import DRAWS_OF_QUEUE, Draw, Origin
from clinical_backend.workspace.controls import classes_of
from clinical_backend.workspace.map_files import load_map

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from numpy.typing import NDArray

    from clinical_backend.workspace.map_files import ProjectMap
    from clinical_backend.workspace.workspace import ProjectWorkspace

    Labelled: TypeAlias = tuple[str, Origin, Draw | None]

__all__ = ["NO_SCORE", "SORTS", "MapColumn", "MapPoints", "PointFilter", "choose_points", "read_points"]

NO_SCORE = 255
"""Where the model says nothing, or nobody is to be told; scores are per cent."""
SORTS = ("task", "score", "near")
"""By number, by the model's score with the highest first, and by neighbourhood."""
_MOST_NAMES = 250
"""A code has 8 bits, and some are taken by what is said of all others."""
_GROUPS = 8
"""Patients that are told apart: as many as there are colours."""
_SCORES = (10, 30, 50, 70, 90)
"""Per cent where the steps of the score's colours begin: narrow where a case is nearly decided."""
_WAITING = {draw: f"in the queue: {text}" for draw, text in DRAWS_OF_QUEUE.items()}
_AGAIN = "waits for a second reading"
_ANSWERED = {
    Origin.QUEUE: "labelled from a queue",
    Origin.PAST_QUEUE: "labelled past the queue",
    Origin.SECOND_LOOK: "read again after an import or the model",
    Origin.IMPORTED: "label imported",
    Origin.ACCEPTED: "label accepted from a model",
}
_AT_RANDOM = "labelled as an audit draw"
_NOTHING = "neither labelled nor queued"


@dataclass(frozen=True, slots=True)
class MapColumn:
    """What is told of each point in one respect.

    Attributes
    ----------
    name, title
        For addresses, and for people.
    names
        What each code means. The first one says that nothing is known.
    codes
        Of each point, shape (n,), uint8.
    pinned
        So many names after the first are told apart however rare they are.
    steps
        Whether the names are steps of one scale.
    """

    name: str
    title: str
    names: tuple[str, ...]
    codes: NDArray[np.uint8]
    pinned: int = 0
    steps: bool = False

    def counts(self) -> list[tuple[str, int]]:
        """Return how many points there are of each name that any has."""
        numbers = np.bincount(self.codes, minlength=len(self.names)).tolist()
        return [(name, number) for name, number in zip(self.names, numbers, strict=True) if number]


@dataclass(frozen=True, slots=True)
class MapPoints:
    """The points of a map that stand for tasks which the project has; those of the test set are left out.

    Attributes
    ----------
    drawn_at, version
        When the map was drawn, and with the scores of which model.
    tasks
        Ids, ascending, shape (n,), int64.
    points
        Places, shape (n, 2), float32.
    scores
        The model's score of what is looked for, per cent, shape (n,), uint8; ``NO_SCORE`` where there is none, and for
        audit draws and second readings, whose readers nobody is to lead.
    near
        The neighbourhood of each, from 0, shape (n,).
    columns
        What is told of each.
    """

    drawn_at: float
    version: str
    tasks: NDArray[np.int64]
    points: NDArray[np.float32]
    scores: NDArray[np.uint8]
    near: NDArray[np.intp]
    columns: tuple[MapColumn, ...]

    def facts(self, row: int) -> dict[str, str]:
        """Return what is known of a point by column, empty where nothing is; the score stands for itself."""
        facts = {column.name: column.names[column.codes[row]] if column.codes[row] else "" for column in self.columns}
        return {"site": "", "patient": ""} | {name: said for name, said in facts.items() if name != "score"}

    def column(self, name: str) -> MapColumn | None:
        """Return a column by its name."""
        return next((column for column in self.columns if column.name == name), None)


@dataclass(frozen=True, slots=True)
class PointFilter:
    """Which points are wanted.

    Attributes
    ----------
    near
        A neighbourhood, from 1; 0 for all.
    named
        What a column is to say, by its name; empty for all.
    sort
        One of ``SORTS``.
    """

    near: int
    named: Mapping[str, str]
    sort: str = SORTS[0]


def read_points(
    project: ProjectWorkspace, tasks: Collection[int] | None = None, *, gone: bool = False
) -> MapPoints | None:
    """Return the points of a project's map, or those of some tasks; ``None`` where none was drawn yet.

    The test set has none.

    Parameters
    ----------
    gone
        Whether tasks that were deleted since the last round are among all; to look for them takes as long as the rest.
    """
    drawn = load_map(project.map_folder)
    if drawn is None:
        return None
    stores, wanted = project.stores, None if tasks is None else sorted(tasks)
    shown = ~np.isin(drawn.tasks, list(stores.test_sets.ids(project.id)))  # which is read blind
    if wanted is not None or not gone:
        there = stores.images.tasks(project.id) if wanted is None else list(stores.images.all(project.id, wanted))
        shown &= np.isin(drawn.tasks, there)
    rows = np.flatnonzero(shown)
    ids = drawn.tasks[rows]
    labelled = stores.labels.origins(project.id, wanted)
    again = stores.second_readings.open_tasks(project.id)
    queued = _queued(project, labelled.keys())
    audit = {task for task, draw in queued.items() if draw is Draw.AUDIT}
    scores = _per_cent(drawn, rows, ids, audit | again)
    columns = [
        _labels(project, ids, labelled),
        _why(ids, labelled, queued, again),
        _steps(scores),
        _groups(ids, stores.images.groups(project.id, wanted)),
        _sites(ids, stores.images.sites(project.id, wanted)),
    ]
    near = nearest(drawn.points[rows], drawn.middles)
    told = tuple(column for column in columns if column is not None)
    return MapPoints(drawn.drawn_at, drawn.version, ids, drawn.points[rows], scores, near, told)


def choose_points(points: MapPoints, wanted: PointFilter) -> NDArray[np.intp]:
    """Return the rows of the points that are wanted, in the order that is wanted."""
    chosen = np.ones(len(points.tasks), dtype=bool)
    if wanted.near:
        chosen &= points.near == wanted.near - 1
    for name, value in wanted.named.items():
        column = points.column(name) if value else None
        if column is not None:
            chosen &= column.codes == (column.names.index(value) if value in column.names else NO_SCORE)
    rows = np.flatnonzero(chosen)
    if wanted.sort == "score":
        told = points.scores[rows].astype(np.int64)
        return rows[np.argsort(np.where(told == NO_SCORE, 1, -told), kind="stable")]
    return rows[np.argsort(points.near[rows], kind="stable")] if wanted.sort == "near" else rows


def _queued(project: ProjectWorkspace, labelled: Collection[int]) -> dict[int, Draw]:
    """Return why unlabelled tasks stand in the queue that readers get, or in one that is on its way."""
    rounds = project.stores.rounds
    published, latest = rounds.published(project.id), rounds.latest(project.id)
    shown = [] if published is None else rounds.queue(published.id)
    coming = [] if latest is None or (published and latest.number <= published.number) else rounds.queue(latest.id)
    return {row.task_id: row.draw for row in chain(shown, coming) if row.task_id not in labelled}


def _per_cent(
    drawn: ProjectMap, rows: NDArray[np.intp], ids: NDArray[np.int64], unled: Collection[int]
) -> NDArray[np.uint8]:
    scores = drawn.scores[rows]
    told = np.isfinite(scores) & ~np.isin(ids, list(unled))
    return np.where(told, np.round(100 * np.nan_to_num(scores)), NO_SCORE).astype(np.uint8)


def _labels(project: ProjectWorkspace, tasks: NDArray[np.int64], labelled: Mapping[int, Labelled]) -> MapColumn:
    """Return the labels: first those with what is looked for, then the labeling config's own order."""
    target = set(project.stores.rounds.published_report(project.id).target)
    found = {label for label, _, _ in labelled.values()}
    places = {name: place for place, name in enumerate(classes_of(project))}
    sought = {label for label in found if not target.isdisjoint(findings_of(label))}
    ordered = sorted(found, key=lambda label: (label not in sought, places.get(label, len(places)), label))
    words = {label: as_words(label) for label in ordered}
    pinned = len({words[label] for label in sought})
    names = list(dict.fromkeys(words.values()))
    values = {task: words[label] for task, (label, _, _) in labelled.items()}
    return _column("label", "Label", "no label", names, tasks, values, pinned=pinned, others="other labels")


def _why(
    tasks: NDArray[np.int64], labelled: Mapping[int, Labelled], queued: Mapping[int, Draw], again: Collection[int]
) -> MapColumn:
    why = {task: _WAITING[draw] for task, draw in queued.items()}
    for task, (_, origin, draw) in labelled.items():
        why[task] = _AT_RANDOM if origin is Origin.QUEUE and draw is Draw.AUDIT else _ANSWERED[origin]
    why |= dict.fromkeys(again, _AGAIN)
    first, *others = _ANSWERED.values()
    return _column(
        "why", "Queue and origin", _NOTHING, [*_WAITING.values(), _AGAIN, first, _AT_RANDOM, *others], tasks, why
    )


def _steps(scores: NDArray[np.uint8]) -> MapColumn | None:
    """Return the steps that the model's scores lie in; ``None`` where there are none."""
    told = scores != NO_SCORE
    if not told.any():
        return None
    bounds = [f"0.{bound // 10}" for bound in _SCORES]
    between = [f"{low} to {high}" for low, high in pairwise(bounds)]
    names = ("not told", f"below {bounds[0]}", *between, f"{bounds[-1]} and more")
    codes = np.where(told, 1 + np.searchsorted(_SCORES, scores, side="right"), 0).astype(np.uint8)
    return MapColumn("score", "Model's score", names, codes, steps=True)


def _groups(tasks: NDArray[np.int64], groups: Mapping[int, str]) -> MapColumn | None:
    """Return which of the patients with the most tasks each is of, by numbers that name nobody."""
    sizes = Counter(groups.values())
    largest = sorted((key for key in sizes if sizes[key] > 1), key=lambda key: (-sizes[key], key))
    if not largest:
        return None
    name = {key: f"patient {number}" for number, key in enumerate(largest[:_GROUPS], 1)}
    told_apart = len(name)
    name |= dict.fromkeys(largest[_GROUPS:], "another patient with several tasks")
    values = {task: name[key] for task, key in groups.items() if key in name}
    names = list(dict.fromkeys(name.values()))
    return _column("patient", "Patient", "a patient with one task", names, tasks, values, pinned=told_apart)


def _sites(tasks: NDArray[np.int64], sites: Mapping[int, str]) -> MapColumn | None:
    if not sites:
        return None
    names = [name for name, _ in Counter(sites.values()).most_common()]
    return _column("site", "Site", "no site", names, tasks, sites, others="other sites")


def _column(
    name: str,
    title: str,
    nothing: str,
    names: Sequence[str],
    tasks: NDArray[np.int64],
    values: Mapping[int, str],
    *,
    pinned: int = 0,
    others: str = "others",
) -> MapColumn:
    """Return a column of names, of which those beyond what a code can tell are one."""
    told = list(names[:_MOST_NAMES])
    rest = [others] if len(names) > _MOST_NAMES else []
    code = {value: number for number, value in enumerate(told, 1)}
    codes = np.zeros(len(tasks), dtype=np.uint8)
    if len(tasks) and values:
        whose = np.fromiter(values, dtype=np.int64, count=len(values))
        said = np.fromiter((code.get(value, len(told) + 1) for value in values.values()), dtype=np.uint8)
        at = np.minimum(np.searchsorted(tasks, whose), len(tasks) - 1)
        there = tasks[at] == whose
        codes[at[there]] = said[there]
    return MapColumn(name, title, (nothing, *told, *rest), codes, pinned=min(pinned, len(told)))
