"""The map of a project: its tasks in two dimensions, drawn beside the rounds for those who look at it."""

from __future__ import annotations

import logging
import time
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from clinical_backend.learner.half_precision import as_single
from clinical_backend.learner.neighbourhood import find_neighbourhoods
from clinical_backend.learner.projection import LANDMARKS, Projection, lay_out
from clinical_backend.system.pulse import note_progress
from clinical_backend.training.notes import run_alone
from clinical_backend.workspace.map_files import (
    MapNote,
    ProjectMap,
    asked_since,
    drawn_version,
    load_map,
    save_map,
    save_note,
)
from clinical_backend.workspace.study_features import WitnessedStudies

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from clinical_backend.learner.classifier.linear import LinearClassifier
    from clinical_backend.strategy.tasks import FeaturedTasks
    from clinical_backend.workspace.workspace import ProjectWorkspace, Represented

__all__ = ["draw_map", "map_is_due", "note_map"]

logger = logging.getLogger(__name__)

_KEPT_UP_SECONDS = 24 * 3600.0
"""As long after somebody looked a map follows the rounds: who comes back the next morning finds it drawn."""
_GROWTH = 1.5
"""With half as many tasks more, landmarks are chosen anew, as an adaptation is: all layouts together then cost at most
three times the last one."""
_BLOCK = 8192
"""Features in memory at once: 42 MB in 1,280 dimensions."""


def map_is_due(project: ProjectWorkspace) -> bool:
    """Tell whether somebody looked at the map lately, and a round was published since it was drawn, if it was."""
    asked = asked_since(project.map_folder)
    if asked is None or asked > _KEPT_UP_SECONDS:
        return False
    drawn = drawn_version(project.map_folder)
    return drawn != _version(project) and (drawn is not None or bool(project.digests()))


def draw_map(project: ProjectWorkspace) -> str:
    """Draw the map of a project anew, with the same places where the features are the same.

    Returns
    -------
    str
        What was done, for people.

    Raises
    ------
    ClinicalError
        When features cannot be read, or the map cannot be kept. The earlier one stays.
    """
    noted, busy = partial(note_map, project), "Another process is drawing the map of this project."
    return run_alone(project.map_folder, "drawing of the map", noted, partial(_draw, project), busy=busy)


def note_map(project: ProjectWorkspace, message: str) -> None:
    """Write down why the map could not be drawn, for people.

    Raises
    ------
    ModelError
        When it cannot be written.
    """
    save_note(project.map_folder, MapNote(message=message, failed=True))


def _draw(project: ProjectWorkspace) -> str:
    begun, version = time.monotonic(), _version(project)
    save_note(project.map_folder, MapNote(message="Its features are read."))
    representation = _represented(project)
    before, reserved = load_map(project.map_folder), project.stores.test_sets.ids(project.id)
    tasks = [task for task in project.digests() if task not in reserved]
    projection, laid_out = _projection(project, representation, before, tasks)
    placed = _place(project, representation, projection, tasks, version)
    ids, points, scores = placed
    middles = find_neighbourhoods(
        projection.places, None if before is None else before.middles, seed=project.workspace.settings.seed
    )
    if before is not None and projection is before.projection:
        middles = before.middles  # so that neighbourhoods keep their numbers
    drawn = ProjectMap(representation.key, version, laid_out, time.time(), projection, ids, points, scores, middles)
    save_map(project.map_folder, drawn)
    save_note(project.map_folder, MapNote())
    message = f"{len(ids)} tasks are on the map, in {time.monotonic() - begun:.0f} s."
    logger.info("Project %d: %s", project.id, message)
    return message


def _version(project: ProjectWorkspace) -> str:
    row = project.row
    return (row.published_version if row else None) or ""


def _represented(project: ProjectWorkspace) -> Represented:
    """Return what tells the most of whole images and stays the same for long: joined features, of studies pooled ones.

    The image that decides of a study is found anew in each round, and would have each round draw another map.
    """
    return [one for one in project.representations() if not isinstance(one, WitnessedStudies)][-1]


def _projection(
    project: ProjectWorkspace, representation: Represented, before: ProjectMap | None, tasks: Sequence[int]
) -> tuple[Projection, int]:
    """Return the layout so far while it fits, or else one of landmarks drawn at random, and of how many tasks it is."""
    if before is not None and before.key == representation.key and len(tasks) < _GROWTH * before.laid_out:
        return before.projection, before.laid_out
    save_note(project.map_folder, MapNote(message=f"{min(len(tasks), LANDMARKS):,} tasks are laid out."))
    seed = project.workspace.settings.seed
    drawn = np.random.default_rng(seed).permutation(len(tasks))[:LANDMARKS]
    chosen = project.features_of(representation, [tasks[row] for row in sorted(drawn.tolist())])
    known = None if before is None else _known(before, chosen.tasks)
    return lay_out(_rows(chosen), known, seed=seed, progress=note_progress), len(tasks)


def _known(before: ProjectMap, tasks: NDArray[np.int64]) -> NDArray[np.float32]:
    """Return where tasks stood, shape (n, 2), NaN for those that stood nowhere."""
    places = np.full((len(tasks), 2), np.nan, dtype=np.float32)
    at = np.minimum(np.searchsorted(before.tasks, tasks), max(0, len(before.tasks) - 1))
    if len(before.tasks):
        known = before.tasks[at] == tasks
        places[known] = before.points[at[known]]
    return places


def _place(
    project: ProjectWorkspace,
    representation: Represented,
    projection: Projection,
    tasks: Sequence[int],
    version: str,
) -> tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.float32]]:
    """Return those of the tasks that have a feature, with their places and what the model says of them."""
    save_note(project.map_folder, MapNote(message=f"{len(tasks):,} tasks are placed."))
    model = project.published_model(version) if version else None
    target = project.stores.rounds.published_report(project.id).target
    ids, points, scores = [np.empty(0, np.int64)], [np.empty((0, 2), np.float32)], [np.empty(0, np.float32)]
    for start in range(0, len(tasks), _BLOCK):
        note_progress()
        part = tasks[start : start + _BLOCK]
        featured = project.features_of(representation, part)
        ids.append(featured.tasks)
        points.append(projection.place(_rows(featured)))
        said = np.full(len(featured), np.nan, dtype=np.float32)
        if model is not None:
            classifier, own = model
            judged = featured if own.key == representation.key else project.features_of(own, part)
            said = _aligned(featured.tasks, judged.tasks, _scores(classifier, judged, target))
        scores.append(said)
    return np.concatenate(ids), np.concatenate(points), np.concatenate(scores)


def _scores(classifier: LinearClassifier, featured: FeaturedTasks, target: Sequence[str]) -> NDArray[np.float32]:
    """Return how likely each task shows one of the targets, shape (n,); NaN where none of them was learnt."""
    columns = [classifier.classes.index(name) for name in target if name in classifier.classes]
    if not columns or not len(featured):
        return np.full(len(featured), np.nan, dtype=np.float32)
    of_each = classifier.probabilities(_rows(featured))[:, columns]
    found: NDArray[np.float32] = of_each.max(axis=1) if classifier.independent else of_each.sum(axis=1)
    return found


def _aligned(tasks: NDArray[np.int64], scored: NDArray[np.int64], scores: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the scores in the order of the tasks, NaN for those that have none."""
    of_task = dict(zip(scored.tolist(), scores.tolist(), strict=True))
    return np.array([of_task.get(task, np.nan) for task in tasks.tolist()], dtype=np.float32)


def _rows(featured: FeaturedTasks) -> NDArray[np.float32]:
    return as_single(featured.features)
