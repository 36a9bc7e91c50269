"""What a round learns from where tasks have several images: all of them together, or the one that decides."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from clinical_backend.multilabel import says
from clinical_backend.rounds.image_labels import said_of_images
from clinical_backend.strategy.bags import common_tasks, sampled_tasks
from clinical_backend.strategy.instances import Instances
from clinical_backend.strategy.representation import choose_representation
from clinical_backend.strategy.tasks import FeaturedTasks, Inputs
from clinical_backend.strategy.witness import learn_witnesses
from clinical_backend.workspace.outside_features import outside_in
from clinical_backend.workspace.study_features import WitnessedStudies, images_of, read_instances
from clinical_backend.workspace.word_scores import words_in

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from clinical_backend.rounds.sync import Snapshot
    from clinical_backend.strategy.bags import SaidOfImages
    from clinical_backend.strategy.instances import Witnesses
    from clinical_backend.strategy.outside import OutsideExemplars
    from clinical_backend.strategy.tasks import RankedTask
    from clinical_backend.workspace.features import Representation
    from clinical_backend.workspace.workspace import ProjectWorkspace

__all__ = ["choose_study_inputs", "inputs_as_published", "with_images"]

_SAMPLED_IMAGES = 16_000
"""Of the sample of the pool, at most: 82 MB in 1,280 dimensions."""


def choose_study_inputs(
    project: ProjectWorkspace, snapshot: Snapshot, pooled: Inputs, images: Sequence[Representation]
) -> tuple[Inputs, str]:
    """Return the features to work with, and why: of all images of each task, or of the one that decides.

    Where a network is adapted, joined features find that image; whether they tell the tasks better is judged as of
    single images, and where they tell them worse, the image is found anew by the frozen ones.

    Parameters
    ----------
    pooled
        Features of all images of each task together.
    images
        What single images can be represented by: frozen features first, then joined ones where there are some.
    """
    together = "mean and largest values of the features of each task's images"
    if not len(pooled.query) or not len(pooled.pool):
        return pooled, together
    frozen, best = images[0], images[-1]
    inputs = _witnessed_inputs(project, snapshot, pooled, best)
    decides = "the image that decides in each task, beside the mean of all"
    if inputs is None or best is frozen:
        return (pooled, together) if inputs is None else (inputs, decides)
    chosen, why = choose_representation(inputs.first_part(), inputs, seed=project.workspace.settings.seed)
    if not chosen.pool.parts:
        chosen = _witnessed_inputs(project, snapshot, pooled, frozen) or pooled
    return chosen, f"{decides}; {why}"


class _LookedAt(NamedTuple):
    """Images of rare and common tasks and of a sample of the pool, of which the image that decides is learnt."""

    rare: Instances
    common: Instances
    sample: Instances
    said: SaidOfImages
    seed: int

    @classmethod
    def read(cls, project: ProjectWorkspace, snapshot: Snapshot, known: Inputs, images: Representation) -> _LookedAt:
        """Read them by what single images are represented by; ``known`` has features of the tasks, of any kind."""
        seed = project.workspace.settings.seed
        of_each = (known.query.tasks.tolist(), common_tasks(known), sampled_tasks(known.pool, seed))
        rare, common, sample = (_read(project, images, tasks) for tasks in of_each)
        return cls(rare, common, sample, said_of_images(project, snapshot), seed)

    def learn(self, rare: Instances, common: Instances, target: Collection[str]) -> Witnesses | None:
        """Return what finds the image that decides; ``None`` where that cannot be told."""
        if not len(rare) or not len(self.sample):
            return None
        shows, lacks = self.said.of(rare, target)
        if lacks.all():  # the images that decide are not among those that were read
            return None
        return learn_witnesses(rare, common, self.sample, seed=self.seed, shows=shows, lacks=lacks)


def _witnessed_inputs(
    project: ProjectWorkspace, snapshot: Snapshot, pooled: Inputs, images: Representation
) -> Inputs | None:
    """Return the features of the image that decides in each task; ``None`` where none can be told.

    Parameters
    ----------
    images
        What single images are represented by.
    """
    looked_at = _LookedAt.read(project, snapshot, pooled, images)
    witnesses = looked_at.learn(looked_at.rare, looked_at.common, snapshot.target.classes)
    if witnesses is None:
        return None
    return _with_each(project, snapshot, WitnessedStudies.of(images, witnesses), looked_at)


def inputs_as_published(project: ProjectWorkspace, snapshot: Snapshot, found: WitnessedStudies, own: Inputs) -> Inputs:
    """Return features of the image that a published model takes, and for each of several targets of its own image.

    Parameters
    ----------
    found
        What the published model takes.
    own
        Features that the round learns from, of the same tasks.
    """
    return _with_each(project, snapshot, found, _LookedAt.read(project, snapshot, own, found.images))


def _with_each(project: ProjectWorkspace, snapshot: Snapshot, found: WitnessedStudies, looked_at: _LookedAt) -> Inputs:
    bags = _bags_of_targets(snapshot, looked_at.rare, looked_at.common)
    of_each = {name: looked_at.learn(*bag, (name,)) for name, bag in bags.items()}
    known = {name: one for name, one in of_each.items() if one is not None}
    return inputs_of_images(project, snapshot, found, known)


def _bags_of_targets(snapshot: Snapshot, rare: Instances, common: Instances) -> dict[str, tuple[Instances, Instances]]:
    """Return of each of several findings or classes that are looked for its tasks, and those that lack it.

    None where one alone is looked for: then the image that decides for all is the one.
    """
    target, labels = snapshot.target, snapshot.labels.seen
    if len(target.queries) < 2:
        return {}
    every, against = Instances.joined([rare, common]), set(target.counter_exemplars)
    found = {}
    for name, query in target.queries.items():
        stand = np.isin(every.tasks, query)
        lack = [
            task in against or (task in labels and says(labels[task], name) is False) for task in every.tasks.tolist()
        ]
        if stand.any():
            found[name] = every.among(stand), every.among(np.array(lack, dtype=np.bool_) & ~stand)
    return found


def inputs_of_images(
    project: ProjectWorkspace,
    snapshot: Snapshot,
    found: WitnessedStudies,
    of_target: Mapping[str, Witnesses] | None = None,
) -> Inputs:
    """Return features of the image that stands for each task, in one pass over the images of all.

    Parameters
    ----------
    of_target
        What finds the image that shows each of several targets.
    """
    target, of_target = snapshot.target, of_target or {}
    wanted = {*snapshot.pool, *snapshot.labels.seen, *target.query, *target.counter_exemplars}
    shared, *others = found.witnessed(project.stores, project.id, sorted(wanted), [*of_target.values()])
    outside = outside_in(project, found, target.outside)
    inputs = partial(_inputs, snapshot, found.key, outside)
    by_all = inputs(*shared)
    words = words_in(project, found, by_all.pool, by_all.query, target.words)  # by each image, whichever one decides
    return replace(
        by_all,
        witnesses=found.witnesses,
        words=words,
        of_target={name: replace(inputs(*one), words=words) for name, one in zip(of_target, others, strict=True)},
    )


def _inputs(
    snapshot: Snapshot,
    key: str,
    outside: OutsideExemplars | None,
    every: FeaturedTasks,
    images: Mapping[int, int],
) -> Inputs:
    target = snapshot.target
    places = {task: place for place, task in enumerate(every.tasks.tolist())}

    def of(tasks: Iterable[int]) -> FeaturedTasks:
        rows = [places[task] for task in tasks if task in places]
        return FeaturedTasks(every.tasks[rows], every.features[rows], every.parts)

    pool, labelled = of(snapshot.pool), of(snapshot.labels.seen)
    query, against = of(target.query), of(target.counter_exemplars)
    return Inputs(key, pool, labelled, query, against, snapshot.groups, images=images, outside=outside)


def with_images(project: ProjectWorkspace, inputs: Inputs, ranked: Sequence[RankedTask]) -> list[RankedTask]:
    """Return a queue in which each task of several images names the one that stands for it, where one does.

    Of several targets it is the one that shows that for which the task has its place.
    """
    if not inputs.images:
        return list(ranked)
    studies = project.stores.studies.all(project.id, [task.task_id for task in ranked])
    named = []
    for task in ranked:
        own = inputs.of_target.get(task.targets[0], inputs) if task.targets else inputs
        place = own.images.get(task.task_id)
        image = next((one for one in studies.get(task.task_id, ()) if one.position == place), None)
        if image is not None:
            task = replace(task, image=image.position, images=image.total, view=image.view or None)  # noqa: PLW2901
        named.append(task)
    return named


def _read(project: ProjectWorkspace, features: Representation, tasks: Iterable[int]) -> Instances:
    """Return the images of tasks, of as many tasks as there are memory for."""
    images = images_of(project.stores, project.id, tasks)
    counts = np.cumsum([len(shown) for shown in images.values()])
    some = dict(islice(images.items(), int(np.searchsorted(counts, _SAMPLED_IMAGES, side="right"))))
    parts = list(read_instances(features, some))
    nothing = np.empty(0, dtype=np.int64)
    empty = Instances(nothing, np.empty((0, features.dimension), dtype=np.float32), nothing, nothing)
    return Instances.joined(parts) if parts else empty
