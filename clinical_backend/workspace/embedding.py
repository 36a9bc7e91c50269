"""Stage 2: a feature for every image that has none yet, cached by the image's content."""

from __future__ import annotations

import logging
import time
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from itertools import takewhile
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from clinical_backend.errors import ImageError, ImageLeftError
from clinical_backend.images.patience import Patience, host_of
from clinical_backend.images.sources import ImageRequest
from clinical_backend.learner.backbones.embedder import content_key
from clinical_backend.learner.backbones.preprocessing import to_square
from clinical_backend.strategy.tasks import FeaturedTasks
from clinical_backend.system.cluster_workers import map_on_cluster

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from numpy.typing import NDArray

    from clinical_backend.images.sources import ImageSource
    from clinical_backend.learner.backbones.embedder import Embedder
    from clinical_backend.storage.features import FeatureStore
    from clinical_backend.storage.stores.images import KnownImage
    from clinical_backend.storage.stores.stores import Stores

__all__ = [
    "THUMBNAIL",
    "Cluster",
    "Embedded",
    "Station",
    "digests_of",
    "embed_new",
    "features_of",
    "may_try",
    "still_to_read",
    "thumbnail",
]

THUMBNAIL = 48
"""Side of the images in pixels that adaptation learns from."""


logger = logging.getLogger(__name__)

_BATCH = 128
_RETRY_SECONDS = 300.0
_LONGEST_RETRY = 86_400.0


def embed_new(
    stores: Stores,
    source: ImageSource,
    embedder: Embedder,
    features: FeatureStore,
    project_id: int,
    progress: Callable[[int, int], None],
    *,
    thumbnails: FeatureStore | None = None,
    cluster: Cluster | None = None,
    patience: Patience | None = None,
) -> int:
    """Fetch, decode and embed the images that have no feature yet, as far as the patience lasts.

    An image that cannot be read is noted with its reason and tried again later, after a wait that doubles.

    Parameters
    ----------
    progress
        Called with the number of images done and of all.
    thumbnails
        Where small pixels of them are kept, if they are.
    cluster
        Where many new images are embedded, if anywhere but here. What comes of them is kept from here.
    patience
        How long it may take, in all and for each host; without end by default.

    Returns
    -------
    int
        How many images were tried.

    Raises
    ------
    ClusterError
        When the cluster is wanted and fails. What it made until then is kept.
    """
    patience = patience or Patience()
    waiting = _waiting(stores.images.all(project_id).values(), features, thumbnails)
    progress(0, len(waiting))
    starts = takewhile(lambda _: not patience.is_over, range(0, len(waiting), _BATCH))
    batches = (waiting[start : start + _BATCH] for start in starts)
    small = thumbnails is not None
    if cluster is not None and len(waiting) >= cluster.least:
        embedded = map_on_cluster(cluster.address, partial(cluster.make, small), batches)
    else:
        station = Station(source, embedder, small=small, patience=patience)
        embedded = (station(batch) for batch in batches)
    done = 0
    with closing(embedded):
        for each in embedded:
            _keep(stores, features, project_id, each, thumbnails)
            done += len(each.digests) + len(each.problems) + len(each.left)
            progress(done, len(waiting))
    return done


@dataclass(frozen=True, slots=True)
class Cluster:
    """A Ray cluster that embeds.

    Attributes
    ----------
    address
        Of its head.
    least
        The number of new images from which on it does.
    make
        Makes a station on a node, told whether small pixels are wanted.
    """

    address: str
    least: int
    make: Callable[[bool], Station]


@dataclass(frozen=True, slots=True)
class Embedded:
    """What came of some images.

    Attributes
    ----------
    digests, problems, left
        By task: what identifies its image, or why it cannot be read, or why its host's images are left for later.
    features, thumbnails
        By digest: the feature, shape (d,), and the small pixels where they are wanted.
    """

    digests: dict[int, str] = field(default_factory=dict)
    problems: dict[int, str] = field(default_factory=dict)
    left: dict[int, str] = field(default_factory=dict)
    features: dict[str, NDArray[np.float32]] = field(default_factory=dict)
    thumbnails: dict[str, NDArray[np.uint8]] = field(default_factory=dict)


def features_of(stores: Stores, features: FeatureStore, project_id: int, task_ids: Iterable[int]) -> FeaturedTasks:
    """Return those of the tasks that have a feature, in their order."""
    digests = digests_of(stores, project_id, task_ids)
    positions = features.positions(digests.values())
    tasks = [task for task, digest in digests.items() if digest in positions]
    return FeaturedTasks(np.asarray(tasks, dtype=np.int64), features.read([positions[digests[task]] for task in tasks]))


def digests_of(stores: Stores, project_id: int, task_ids: Iterable[int] | None = None) -> dict[int, str]:
    """Return what identifies the image of each task that was read, in the order of the tasks; of all by default."""
    wanted = None if task_ids is None else list(task_ids)
    images = stores.images.all(project_id) if wanted is None else stores.images.all(project_id, wanted)
    known = {task: image.digest for task, image in images.items() if image.digest is not None}
    return known if wanted is None else {task: known[task] for task in wanted if task in known}


def thumbnail(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the pixels that a backbone saw in the size that adaptation learns from."""
    return to_square(Image.fromarray(pixels), THUMBNAIL)


def _waiting(images: Iterable[KnownImage], features: FeatureStore, thumbnails: FeatureStore | None) -> list[KnownImage]:
    """Return the images that lack a feature, or a thumbnail where they are kept: damaged ones count as lacking."""
    known = list(images)
    digests = [image.digest for image in known if image.digest is not None]
    kept = set(features.positions(digests))
    if thumbnails is not None:
        kept.intersection_update(thumbnails.positions(digests))
    now = time.time()
    return [image for image in known if image.digest not in kept and may_try(image, now)]


def may_try(image: KnownImage, now: float) -> bool:
    """Tell whether an image is readable as far as known, or may be tried again at ``now``, in seconds."""
    if image.problem is None or image.tried_at is None:
        return True
    if not image.uri:
        return False  # nothing can be fetched until the task's data changes
    if image.tried_at > now:
        return True  # by a clock that was wrong, so that nothing is known of the wait
    wait = min(_LONGEST_RETRY, _RETRY_SECONDS * 2.0 ** (image.attempts - 1))
    return now - image.tried_at >= wait


def still_to_read(images: Iterable[KnownImage]) -> list[str]:
    """Say of each host, for people, how many images wait for a later round, if any do."""
    by_host: dict[str, list[KnownImage]] = {}
    for image in images:
        by_host.setdefault(host_of(image.uri), []).append(image)
    notes = []
    for host, known in sorted(by_host.items()):
        waiting = [image for image in known if image.is_waiting]
        if waiting:
            read = sum(image.digest is not None for image in known)
            slow = " is slow" if any(image.problem for image in waiting) else ""
            notes.append(f"{host}{slow}: {read} of {len(known)} images are read; later rounds go on.")
    return notes


class Station:
    """Where images are read and embedded, in this process or on a node of a cluster; it knows no store.

    Parameters
    ----------
    source, embedder
        What fetches the images, and what makes features of them.
    small
        Whether small pixels of them are made too.
    patience
        How long that may take.
    """

    def __init__(self, source: ImageSource, embedder: Embedder, *, small: bool, patience: Patience) -> None:
        self._source, self._embedder, self._small, self._patience = source, embedder, small, patience

    def __call__(self, batch: list[KnownImage]) -> Embedded:
        """Fetch, decode and embed some images."""
        tasks: list[tuple[int, str]] = []

        def contents() -> Iterator[bytes | ImageError]:
            # Images pass through one by one: 128 large files are more than memory should hold at once.
            requests = [ImageRequest(image.task_id, image.uri) for image in batch]
            for request, content in self._source.fetch_fairly(requests, self._patience):
                assert request.task_id is not None
                tasks.append((request.task_id, "" if isinstance(content, ImageError) else content_key(content)))
                yield content

        done = Embedded()
        for position, embedded in enumerate(self._embedder.embed_with_pixels(contents())):
            task_id, digest = tasks[position]
            if isinstance(embedded, ImageLeftError):
                if not self._patience.is_over:  # what the round has no time for is simply read by the next one
                    done.left[task_id] = str(embedded)
            elif isinstance(embedded, ImageError):
                done.problems[task_id] = str(embedded)
            else:
                done.digests[task_id] = digest
                done.features[digest], pixels = embedded
                if self._small:
                    done.thumbnails[digest] = thumbnail(pixels)
        return done


def _keep(
    stores: Stores, features: FeatureStore, project_id: int, done: Embedded, thumbnails: FeatureStore | None
) -> None:
    if done.features:
        if thumbnails is not None:
            small = np.stack(list(done.thumbnails.values()))
            thumbnails.add(list(done.thumbnails), small.reshape(len(small), -1))
        features.add(list(done.features), np.stack(list(done.features.values())))
    stores.images.found(project_id, done.digests)
    stores.images.failed(project_id, done.problems)
    stores.images.left(project_id, done.left)
    for task_id, problem in done.problems.items():
        logger.warning("Project %d, task %d is left out: %s", project_id, task_id, problem)
