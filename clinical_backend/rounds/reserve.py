"""The project's test set: a round draws it once, and from then on it is in nothing that rounds learn from or queue.

All labels that a round or a look reads back come through :func:`read_answers`, which takes those of the test set out.
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from clinical_backend.labelstudio.labeling.labels import Source
from clinical_backend.labelstudio.labeling.retrieval import fetch_labels_apart
from clinical_backend.storage.stores.testsets import ReservedDraw
from clinical_backend.strategy.cluster_sample import sample_clusters
from clinical_backend.strategy.splits import ties_by_key
from clinical_backend.text import amount

if TYPE_CHECKING:
    from clinical_backend.labelstudio.labeling.labels import Labels
    from clinical_backend.labelstudio.labeling.scheme import LabelingScheme
    from clinical_backend.labelstudio.resources import Project
    from clinical_backend.settings import Settings
    from clinical_backend.storage.stores.testsets import ReservedWish
    from clinical_backend.strategy.cluster_sample import ClusterSample
    from clinical_backend.workspace.workspace import ProjectWorkspace

__all__ = ["Answers", "draw_if_asked", "drawn_next", "join_patients", "notes_on_reserve", "read_answers"]

logger = logging.getLogger(__name__)

_TOO_FEW_CAME = (
    "Too few patients came since the test set was drawn for its share of them to be one; it stays as it is. Extend it"
    " once more have come."
)


class Answers(NamedTuple):
    """What readers said: of the tasks that are learnt from, and of those of the test set."""

    learnt: Labels
    blind: Labels


def read_answers(
    project: ProjectWorkspace,
    remote: Project,
    scheme: LabelingScheme,
    settings: Settings,
    *,
    by_reader: bool = False,
    names: bool = False,
) -> Answers:
    """Read a project's answers back, and keep what they say of the test set.

    Parameters
    ----------
    by_reader, names
        As of :func:`fetch_labels_apart`.

    Raises
    ------
    LabelStudioError
        When Label Studio cannot be read.
    """
    store = project.stores.test_sets
    reserved = store.ids(project.id)
    answers = Answers(
        *fetch_labels_apart(
            project.client, remote, scheme, reserved, stars=settings.stars, by_reader=by_reader, names=names
        )
    )
    if reserved:
        blind = answers.blind
        by_readers = {task: one for task, one in blind.first_answers.items() if one.source is Source.READER}
        twice = {task: [list(answer) for answer in said] for task, said in blind.read_twice.items()}
        store.note_readings(
            project.id,
            {
                task: (blind.classes.get(task), by_readers[task].readings, twice.get(task))
                if task in by_readers
                else (None, 0, None)
                for task in reserved
            },
        )
    return answers


def join_patients(project: ProjectWorkspace, settings: Settings) -> None:
    """Add tasks that came later to the test set where it holds others of their patients: none is ever parted."""
    store, field = project.stores.test_sets, settings.group_field
    draws = store.draws(project.id)
    if not draws or not field:
        return
    reserved, groups = store.tasks(project.id), project.stores.images.groups(project.id)
    draw_of = {
        groups[task]: one.draw
        for task, one in reserved.items()
        if task in groups and draws[one.draw].grouped_by == field
    }
    late = {task: draw_of[key] for task, key in groups.items() if key in draw_of and task not in reserved}
    if late:
        logger.info("Project %d: %d later tasks of patients of the test set joined it", project.id, len(late))
        store.join(project.id, late)


class _Sampled(NamedTuple):
    """What is drawn for a wish: from the tasks after one, up to the newest."""

    wish: ReservedWish
    sample: ClusterSample
    after: int
    newest: int
    problem: str | None


def drawn_next(project: ProjectWorkspace, labels: Labels) -> frozenset[int]:
    """Return the tasks that a round which read these labels would draw into the test set; none is drawn here."""
    sampled = _sampled(project, labels)
    return frozenset() if sampled is None or sampled.problem is not None else frozenset(sampled.sample.drawn)


def draw_if_asked(project: ProjectWorkspace, labels: Labels, settings: Settings) -> None:
    """Draw what the lead asked for, or note why that cannot be done.

    Parameters
    ----------
    labels
        As read back now: patients of whom anything is answered are not drawn, since that is learnt from.
    settings
        The project's.
    """
    store, sampled = project.stores.test_sets, _sampled(project, labels)
    if sampled is None:
        if store.draws(project.id):  # what kept an extension away was told until now; the test set is as good as before
            store.refuse(project.id, None)
        return
    wish, sample, after, newest, problem = sampled
    if problem is not None:
        logger.warning("Project %d: %s", project.id, problem)
        store.refuse(project.id, problem)
        return
    draw = ReservedDraw(
        size=wish.size,
        seed=wish.seed,
        by=wish.by,
        at=time.time(),
        tasks=sample.tasks,
        patients=sample.clusters,
        drawn=len(sample.drawn),
        drawn_patients=sample.drawn_clusters,
        excluded=sample.excluded,
        after=after,
        newest=newest,
        grouped_by=settings.group_field,
    )
    store.add(project.id, draw, sample.drawn)
    logger.info("Project %d: %d tasks were drawn into the test set", project.id, draw.drawn)


def _sampled(project: ProjectWorkspace, labels: Labels) -> _Sampled | None:
    """Return what is drawn for what the lead asked for; ``None`` where nothing is asked for."""
    stores = project.stores
    store = stores.test_sets
    wish, before = store.wish(project.id), store.draws(project.id)
    if wish is None:
        return None
    reserved, tasks = store.ids(project.id), stores.images.tasks(project.id)
    after = before[-1].newest if wish.extend and before else 0
    candidates = [task for task in tasks if task > after and task not in reserved]
    elsewhere = {task for task in tasks if task <= after} - reserved
    keys = (stores.images.groups(project.id), stores.images.digests(project.id))
    sample = sample_clusters(
        candidates,
        np.concatenate([ties_by_key(one) for one in keys]),
        labels.answered | elsewhere,
        size=None if wish.extend else wish.size,
        share=before[0].probability if before else 0.0,
        seed=wish.seed,
    )
    problem = _problem(wish.size, sample.tasks, len(sample.drawn), extend=wish.extend)
    return _Sampled(wish, sample, after, tasks[-1] if tasks else 0, problem)


def notes_on_reserve(project: ProjectWorkspace, blind: Labels, settings: Settings) -> tuple[str, ...]:
    """Say what a person should know of the test set, as a round finds it."""
    notes = [f"Test set: {message}" for message in blind.messages]
    if tagged := len({*blind.exemplars, *blind.counter_exemplars}):
        tags = amount(tagged, "task of the test set is tagged", "tasks of the test set are tagged")
        notes.append(f"{tags} as an exemplar: such a tag is ignored, since nothing is learnt from the test set.")
    if any(draw.grouped_by != settings.group_field for draw in project.stores.test_sets.draws(project.id)):
        notes.append(
            "GROUP_FIELD was changed since the test set was drawn: a patient may have tasks in it and outside of it."
        )
    return tuple(notes)


def _problem(wanted: int, there: int, drawn: int, *, extend: bool) -> str | None:
    """Say why a draw cannot be, with the cure."""
    if extend and not there:
        return "No task that could be drawn came since the test set was drawn; it stays as it is."
    if extend:
        return None if drawn else _TOO_FEW_CAME
    if not there:
        return "No test set was drawn: of every patient something is answered already."
    if wanted > there or drawn >= there:
        return (
            f"No test set was drawn: {wanted} tasks were asked for, {there} can be drawn, and some must be left to"
            " search. Ask for fewer."
        )
    return None
