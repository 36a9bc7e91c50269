"""Features of tasks with several images, made of the features of these and kept by the content of all of them."""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from clinical_backend.images.sources import ImageRequest
from clinical_backend.strategy.instances import Instances, beside_mean, pooled
from clinical_backend.strategy.tasks import FeaturedTasks
from clinical_backend.system.pulse import note_progress
from clinical_backend.workspace.features import join

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from clinical_backend.storage.feature_files import FeatureStore
    from clinical_backend.storage.stores.stores import Stores
    from clinical_backend.strategy.instances import Witnesses
    from clinical_backend.study import StudyImage
    from clinical_backend.workspace.features import Representation

__all__ = [
    "PooledStudies",
    "WitnessedStudies",
    "images_of",
    "look_up_images",
    "look_up_studies",
    "read_instances",
    "witnessed_features",
]

_IMAGES = 4096
"""Features of images in memory at once: 21 MB in 1,280 dimensions, beside which the call of a file is nothing."""


@dataclass(frozen=True, slots=True)
class PooledStudies:
    """Mean and largest values of the features of a task's images.

    Attributes
    ----------
    key
        Identifies the backbone and the way of pooling: a classifier fits features of its own key only.
    images
        Features of single images.
    store
        What was made so far, by the content of all images of a task.
    """

    key: str
    images: Representation
    store: FeatureStore

    @property
    def parts(self) -> tuple[int, int]:
        """Lengths of the two parts."""
        return self.images.dimension, self.images.dimension

    def represent(self, instances: Instances) -> NDArray[np.float32]:
        """Return the feature of each task, shape (n, 2 d)."""
        return pooled(instances)

    def features_of(self, stores: Stores, project_id: int, tasks: Iterable[int]) -> FeaturedTasks:
        """Return those of the tasks that have a feature, in their order; no image is fetched for one."""
        digests = stores.images.digests(project_id, tasks)
        kept = self.store.positions(digests.values())
        missing = [task for task, digest in digests.items() if digest not in kept]
        if missing:
            for part in read_instances(self.images, images_of(stores, project_id, missing)):
                if len(part.tasks):
                    self.store.add([digests[task] for task in part.tasks.tolist()], self.represent(part))
            kept = self.store.positions(digests.values())
        found = [task for task, digest in digests.items() if digest in kept]
        rows = self.store.read([kept[digests[task]] for task in found])
        return FeaturedTasks(np.array(found, dtype=np.int64), rows, self.parts)


@dataclass(frozen=True, slots=True)
class WitnessedStudies:
    """The image that stands for a task, the one that a detector of images scores highest, beside the mean of all.

    Attributes
    ----------
    key
        Identifies what the features of single images are, and the detector.
    images
        Features of single images.
    witnesses
        What finds the image.
    """

    key: str
    images: Representation
    witnesses: Witnesses

    @property
    def parts(self) -> tuple[int, ...]:
        """Lengths of the parts that a feature is joined of; empty for one."""
        return self.images.parts

    @classmethod
    def of(cls, images: Representation, witnesses: Witnesses) -> WitnessedStudies:
        """Return what a detector of images makes of features of single images."""
        detector = witnesses.detector
        digest = hashlib.sha256(detector.weights.tobytes() + detector.bias.tobytes()).hexdigest()
        return cls(f"{images.key}+witness+mean-{digest[:16]}", images, witnesses)

    def represent(self, instances: Instances) -> NDArray[np.float32]:
        """Return the feature of each task, shape (n, d)."""
        return witnessed_features(instances, self.witnesses.of(instances), self.parts)

    def features_of(self, stores: Stores, project_id: int, tasks: Iterable[int]) -> FeaturedTasks:
        """Return those of the tasks that have a feature, in their order; no image is fetched for one."""
        return self.witnessed(stores, project_id, tasks)[0][0]

    def witnessed(
        self, stores: Stores, project_id: int, tasks: Iterable[int], others: Sequence[Witnesses] = ()
    ) -> list[tuple[FeaturedTasks, dict[int, int]]]:
        """Return those of the tasks that have a feature, in their order, and the place of the image that it is of.

        Parameters
        ----------
        others
            What finds other images of the same tasks: the same is returned of each, in one pass over the images.
        """
        finders = [self.witnesses, *others]
        found = []
        rows: list[list[NDArray[np.float32]]] = [[] for _ in finders]
        places: list[dict[int, int]] = [{} for _ in finders]
        for part in read_instances(self.images, images_of(stores, project_id, tasks)):
            found.append(part.tasks)
            for at, finder in enumerate(finders):
                chosen = finder.of(part)
                rows[at].append(witnessed_features(part, chosen, self.parts))
                places[at].update(zip(part.tasks.tolist(), part.positions[chosen].tolist(), strict=True))
        if not found:
            nothing = np.empty((0, self.images.dimension), dtype=np.float32)
            return [(FeaturedTasks(np.empty(0, dtype=np.int64), nothing, self.parts), {}) for _ in finders]
        ids = np.concatenate(found)
        return [
            (FeaturedTasks(ids, np.concatenate(own), self.parts), where)
            for own, where in zip(rows, places, strict=True)
        ]


def witnessed_features(
    instances: Instances, chosen: NDArray[np.int64], parts: Sequence[int] = ()
) -> NDArray[np.float32]:
    """Return the feature of one image of each task beside the mean of all; joined ones are joined as images' are.

    So their first part is what frozen features alone would make of the same images.

    Parameters
    ----------
    chosen
        Row of the image of each task, shape (n,).
    parts
        Lengths of the frozen and the adapted part of joined features; empty for frozen ones.
    """
    if not parts:
        return beside_mean(instances, chosen)
    of_each = np.hsplit(instances.rows, [parts[0]])
    return join(*(beside_mean(replace(instances, rows=rows), chosen) for rows in of_each))


def images_of(stores: Stores, project_id: int, tasks: Iterable[int]) -> dict[int, dict[int, str]]:
    """Return the content of each image that was read, by its place, of each of the tasks that has one."""
    wanted = list(tasks)
    studies = stores.studies.digests(project_id, wanted)
    singles = stores.images.digests(project_id, [task for task in wanted if task not in studies])
    found = studies | {task: {0: digest} for task, digest in singles.items()}
    return {task: found[task] for task in wanted if found.get(task)}


def look_up_studies(
    stores: Stores,
    project_id: int,
    representation: PooledStudies | WitnessedStudies,
    tasks: Sequence[tuple[int | None, Sequence[StudyImage]]],
    deadline: float,
) -> dict[int, NDArray[np.float32]]:
    """Return by its place the feature of each task; see :func:`look_up_images`."""
    found = look_up_images(stores, project_id, representation.images, tasks, deadline)
    return {place: representation.represent(instances)[0] for place, instances in found.items()}


def look_up_images(
    stores: Stores,
    project_id: int,
    features: Representation,
    tasks: Sequence[tuple[int | None, Sequence[StudyImage]]],
    deadline: float,
) -> dict[int, Instances]:
    """Return by its place each task of which all images could be looked at before the deadline.

    Images that cannot be read are passed over, where another one can.

    Parameters
    ----------
    tasks
        Each with its id and the images that it shows.
    deadline
        By ``time.monotonic``.
    """
    ids = [task for task, _ in tasks if task is not None]
    studies = stores.studies.all(project_id, ids)
    alone = stores.images.all(project_id, ids)
    singles = {task: [image] for task, image in alone.items() if task not in studies}
    known = {(task, image.uri): image.digest for task, images in (studies | singles).items() for image in images}
    requests = [ImageRequest(task, image.uri) for task, images in tasks for image in images]
    found = features.look_up(
        [known.get((request.task_id or 0, request.uri)) for request in requests], requests, deadline
    ).by_place
    late = time.monotonic() > deadline
    answered: dict[int, Instances] = {}
    start = 0
    for place, (task, images) in enumerate(tasks):
        rows = [(image.position, found[at]) for at, image in enumerate(images, start) if at in found]
        start += len(images)
        if rows and not (late and len(rows) < len(images)):
            answered[place] = Instances(
                np.array([task or 0], dtype=np.int64),
                np.stack([row for _, row in rows]),
                np.zeros(1, dtype=np.int64),
                np.array([position for position, _ in rows], dtype=np.int64),
            )
    return answered


def read_instances(features: Representation, images: Mapping[int, Mapping[int, str]]) -> Iterator[Instances]:
    """Yield the features of tasks' images, block by block; a task of which one was lost is left out.

    Parameters
    ----------
    features
        Of single images.
    images
        Content of each image by its place, by task.
    """
    # Asked for at once, many are checked once in a while alone.
    known = features.kept(digest for shown in images.values() for digest in shown.values())
    for block in _blocks(images):
        note_progress()
        whole = [task for task in block if images[task] and all(one in known for one in images[task].values())]
        sizes = [len(images[task]) for task in whole]
        _, rows = known.read([digest for task in whole for digest in images[task].values()])
        yield Instances(
            np.array(whole, dtype=np.int64),
            rows,
            np.cumsum([0, *sizes[:-1]], dtype=np.int64)[: len(whole)],
            np.array([at for task in whole for at in images[task]], dtype=np.int64),
        )


def _blocks(images: Mapping[int, Mapping[int, str]]) -> Iterator[Sequence[int]]:
    block: list[int] = []
    count = 0
    for task, shown in images.items():
        if block and count + len(shown) > _IMAGES:
            yield block
            block, count = [], 0
        block.append(task)
        count += len(shown)
    if block:
        yield block
