"""Labelled sets whose tasks have several images: bags drawn from a set of single ones, or studies of a table."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from clinical_backend.errors import InvalidArgumentError
from clinical_backend.lab.experiments.datasets import LabelledImages
from clinical_backend.lab.experiments.protocol import draw
from clinical_backend.strategy.bags import common_tasks, sampled_tasks
from clinical_backend.strategy.instances import Instances, pooled
from clinical_backend.strategy.representation import choose_representation
from clinical_backend.strategy.tasks import FeaturedTasks, Inputs
from clinical_backend.strategy.witness import learn_witnesses
from clinical_backend.workspace.features import join
from clinical_backend.workspace.study_features import witnessed_features

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from clinical_backend.lab.experiments.protocol import Protocol
    from clinical_backend.learner.classifier.linear import LinearClassifier

__all__ = ["STUDY_LEARNERS", "StudyLearner", "StudySet", "studies_of"]

STUDY_LEARNERS = ("frozen", "mean", "pooled", "witness", "named", "live")
"""What a task with several images is learnt by: ``frozen`` is the live round before a network is adapted, ``live`` with
one, as the labels at hand say; ``named`` is ``frozen`` where readers say of each image of a task what it shows;
``witness`` the image that decides alone, ``pooled`` what a round learns from while nothing is looked for."""

_COMMON = "none of these"
_TESTED = 300
"""Bags that classifiers are tested on, one in ten of them rare."""
_TESTED_RARE = 0.1
_TASKS = 500
"""Tasks whose images are in memory at once: 41 MB of 16 images in 1,280 dimensions."""


@dataclass(frozen=True, slots=True)
class StudySet:
    """Tasks with several images.

    Attributes
    ----------
    data
        The tasks as a labelled set, without images of their own.
    images
        Which images of the set below each task shows, by task.
    rare_classes
        Names of the rare classes.
    deciding
        Which images of the set below make their tasks rare, where these are, shape (n,); ``None`` where nobody knows.
    """

    data: LabelledImages
    images: Sequence[NDArray[np.int64]]
    rare_classes: tuple[str, ...]
    deciding: NDArray[np.bool_] | None = None

    def instances(self, features: NDArray[np.float32], tasks: NDArray[np.int64]) -> Instances:
        """Return the images of tasks with their features; those of the set below have shape (n, d)."""
        shown = [self.images[task] for task in tasks]
        counts = np.array([len(each) for each in shown], dtype=np.int64)
        rows = np.concatenate([*shown, np.empty(0, dtype=np.int64)]).astype(np.int64)
        starts = np.cumsum(counts) - counts
        return Instances(tasks, features[rows], starts, np.arange(len(rows)) - np.repeat(starts, counts))

    def images_of_pool(self, protocol: Protocol, seed: int) -> list[NDArray[np.int64]]:
        """Return the images of each task of the project that a seed draws."""
        return [self.images[task] for task in draw(tasks_of(protocol, self), self.data, seed).pool]

    def parts(self, features: NDArray[np.float32]) -> Iterator[Instances]:
        """Yield the images of all tasks, some tasks at a time, in order."""
        for start in range(0, len(self.data), _TASKS):
            yield self.instances(features, np.arange(start, min(start + _TASKS, len(self.data))))


def studies_of(protocol: Protocol, data: LabelledImages, seed: int) -> StudySet | None:
    """Return the tasks of a set whose tasks have several images; ``None`` where each has one.

    Raises
    ------
    InvalidArgumentError
        When bags are to be drawn of studies, or with more rare images than a bag holds.
    """
    if data.studies is not None:
        if protocol.images > 1:
            raise InvalidArgumentError("images", f"{data.name} has studies of its own.", "Leave it at 1.")
        return _grouped(data, protocol.rare_classes)
    return _bags(protocol, data, seed) if protocol.images > 1 else None


def _grouped(data: LabelledImages, rare_classes: tuple[str, ...]) -> StudySet:
    """Return the studies of a table: each has the class of its images that is rarest in the set."""
    assert data.studies is not None
    _, codes = np.unique(data.studies, return_inverse=True)
    images = [np.flatnonzero(codes == code) for code in range(int(codes.max()) + 1)]
    counts = np.bincount(data.labels, minlength=len(data.classes))
    labels = np.array([min(data.labels[rows].tolist(), key=lambda code: counts[code]) for rows in images])
    held_out = np.array([bool(data.held_out[rows].any()) for rows in images])
    tasks = LabelledImages(data.name, data.classes, [b""] * len(images), labels, held_out)
    return StudySet(tasks, images, rare_classes, data.labels == labels[codes])


def _bags(protocol: Protocol, data: LabelledImages, seed: int) -> StudySet:
    """Draw bags: common ones of images of common classes, rare ones with so many images of a rare class among them."""
    if not 1 <= protocol.rare_images <= protocol.images:
        raise InvalidArgumentError("rare_images", "a bag does not hold so many.", f"Give 1 to {protocol.images}.")
    generator = np.random.default_rng([seed, protocol.images])
    counts = np.bincount(data.labels[~data.held_out], minlength=len(data.classes))
    names = protocol.rare_classes or tuple(
        data.classes[code] for code in np.argsort(counts, kind="stable")[: protocol.rare_count]
    )
    codes = [data.classes.index(name) for name in names]
    of_each = round(protocol.rare_share * protocol.pool / len(codes)) + protocol.exemplars
    images, labels, held_out = [], [], []
    for tested in (False, True):
        there = np.flatnonzero(data.held_out == tested)
        common = there[~np.isin(data.labels[there], codes)]
        rare_tasks = round(_TESTED_RARE * _TESTED / len(codes)) if tested else of_each
        every = _TESTED if tested else protocol.pool + protocol.exemplars * len(codes)
        kinds = np.repeat(
            [len(codes), *range(len(codes))], [every - rare_tasks * len(codes), *[rare_tasks] * len(codes)]
        )
        members = _drawn(common, len(kinds) * protocol.images, generator).reshape(len(kinds), protocol.images)
        for place, code in enumerate(codes):
            tasks = np.flatnonzero(kinds == place)
            rare = _drawn(there[data.labels[there] == code], len(tasks) * protocol.rare_images, generator)
            members[tasks, : protocol.rare_images] = rare.reshape(len(tasks), protocol.rare_images)
        images += list(generator.permuted(members, axis=1))
        labels += kinds.tolist()
        held_out += [tested] * len(kinds)
    bags = LabelledImages(data.name, (*names, _COMMON), [b""] * len(images), np.array(labels), np.array(held_out))
    return StudySet(bags, images, names, np.isin(data.labels, codes))


def _drawn(images: NDArray[np.int64], count: int, generator: np.random.Generator) -> NDArray[np.int64]:
    """Draw images, none again before all were drawn."""
    turns = -(-count // len(images))
    return np.concatenate([generator.permutation(images) for _ in range(turns)])[:count]


class StudyLearner:
    """Features of tasks with several images.

    Parameters
    ----------
    studies
        The tasks.
    frozen
        Features of the images of the set below, shape (n, d), float32.
    way
        One of ``STUDY_LEARNERS``.
    adapted
        What a network that is adapted to these images makes of them, shape (n, d'), float32; for ``live``.
    """

    def __init__(
        self, studies: StudySet, frozen: NDArray[np.float32], way: str, adapted: NDArray[np.float32] | None = None
    ) -> None:
        self._studies, self._frozen, self._way = studies, frozen, way
        self._features = frozen if adapted is None else join(frozen, adapted)
        self._joined: tuple[int, ...] = () if adapted is None else (frozen.shape[1], adapted.shape[1])
        self.with_frozen = False
        self.of_target: Mapping[str, NDArray[np.float32]] = {}
        make = _mean if way == "mean" else pooled
        self._together = np.concatenate([make(part) for part in studies.parts(self._features)])
        self._pooled: tuple[int, ...] = () if way == "mean" else (self._features.shape[1],) * 2
        self.parts: tuple[int, ...] = self._pooled

    def learn(
        self, labels: Mapping[int, str], query: Sequence[int], pool: NDArray[np.int64], seed: int
    ) -> tuple[NDArray[np.float32], LinearClassifier | None]:
        """Represent all tasks as the live round would, or as it is told."""
        known, rare = np.unique(np.asarray(list(labels), dtype=np.int64)), np.asarray(query, dtype=np.int64)
        self.parts, self.with_frozen, self.of_target = self._pooled, False, {}
        if self._way in {"mean", "pooled"} or not len(rare) or not len(pool):
            return self._together, None

        def inputs_of(features: NDArray[np.float32], parts: tuple[int, ...]) -> Inputs:
            labelled, others, sought = (FeaturedTasks(tasks, features[tasks], parts) for tasks in (known, pool, rare))
            return Inputs.of(labelled, others, sought)

        every = inputs_of(self._together, ())
        common = np.array(common_tasks(every), dtype=np.int64)
        sample = np.array(sampled_tasks(every.pool, seed), dtype=np.int64)
        self.parts, of_images = self._joined, self._features
        features = self._witnessed(of_images, (rare, common, sample), seed)
        if self._joined:
            joined = inputs_of(features, self._joined)
            chosen, _ = choose_representation(joined.first_part(), joined, seed=seed)
            self.parts, self.with_frozen = chosen.pool.parts, chosen.with_frozen
            if not self.parts:
                of_images = self._frozen
                features = self._witnessed(of_images, (rare, common, sample), seed)
        named = np.array([labels[task] for task in rare.tolist()])
        if len(names := np.unique(named).tolist()) > 1:
            self.of_target = {
                name: self._witnessed(
                    of_images, (rare[named == name], np.concatenate([rare[named != name], common]), sample), seed
                )
                for name in names
            }
        return features, None

    def _witnessed(
        self, features: NDArray[np.float32], looked_at: Sequence[NDArray[np.int64]], seed: int
    ) -> NDArray[np.float32]:
        """Return the feature of each task by the image that decides, found by features of images."""
        shows = lacks = None
        if self._way == "named" and self._studies.deciding is not None:
            shows = self._studies.deciding[np.concatenate([self._studies.images[task] for task in looked_at[0]])]
            lacks = ~shows
        instances = (self._studies.instances(features, tasks) for tasks in looked_at)
        witnesses = learn_witnesses(*instances, seed=seed, shows=shows, lacks=lacks)
        found = ((part, witnesses.of(part)) for part in self._studies.parts(features))
        if self._way == "witness":
            return np.concatenate([part.rows[chosen] for part, chosen in found])
        return np.concatenate([witnessed_features(part, chosen, self.parts) for part, chosen in found])


def _mean(instances: Instances) -> NDArray[np.float32]:
    sums = np.add.reduceat(instances.rows, instances.starts, axis=0)
    return (sums / instances.counts[:, None]).astype(np.float32)


def tasks_of(protocol: Protocol, studies: StudySet) -> Protocol:
    """Return the protocol of tasks that were drawn: one rare class and one common one, all of the tasks."""
    return replace(protocol, rare_classes=studies.rare_classes)
