"""Stage 2: a feature for every image that has none yet, cached by the image's content."""

from __future__ import annotations

import logging
import math
import time
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from itertools import chain, takewhile
from typing import TYPE_CHECKING

import numpy as np

from clinical_backend.errors import ImageError, ImageLeftError
from clinical_backend.images.patience import Patience
from clinical_backend.images.sources import ImageRequest
from clinical_backend.learner.backbones.embedder import content_key
from clinical_backend.study import FilePage
from clinical_backend.system.cluster_workers import map_on_cluster
from clinical_backend.workspace.components import (
    open_backbone,
    open_client,
    open_decoders,
    open_embedder,
    open_source,
)
from clinical_backend.workspace.features import thumbnail
from clinical_backend.workspace.file_pages import as_wanted, show_pages
from clinical_backend.workspace.known_images import may_try, settle_studies

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator
    from typing import TypeAlias

    from numpy.typing import NDArray

    from clinical_backend.images.sources import ImageSource
    from clinical_backend.learner.backbones.embedder import Embedder
    from clinical_backend.settings import Settings
    from clinical_backend.storage.stores.images import KnownImage
    from clinical_backend.workspace.workspace import ProjectWorkspace

    Place: TypeAlias = tuple[int, int | None]
    """A task, and the place of an image among those of a study."""

__all__ = ["BatchEmbedder", "Embedded", "embed_new"]

logger = logging.getLogger(__name__)

_BATCH = 128
"""Images between two looks at the time, and of a part that a cluster's worker gets: four batches of the network; not
measured."""
_FIRST_SECONDS = 106.0
"""From the start of a project's first round to the last image of its queue, which readers wait for; later rounds go on.
They have it two minutes after the connection: 4 seconds passed before the round began, and 3 between the last image and
the queue, on two cores with other work (docs/speed.md). As much again is left for slower ones."""
_FIRST_IMAGES = 512
"""So many are read for it, however long that takes: of fewer, a diverse order shows a reader little of a project."""


def embed_new(
    project: ProjectWorkspace,
    progress: Callable[[int, int], None],
    make: Callable[[Settings], BatchEmbedder] | None = None,
    *,
    begun_at: float | None = None,
) -> int:
    """Fetch, decode and embed the images that have no feature yet, as far as the time for them goes.

    The first queue of a project is there after two minutes, as far as 512 images are read by then: no more are begun
    that would make it late if they took as long as the last ones. Later rounds read for EMBED_SECONDS. They are read in
    random order: a round draws its audit from what is read by then, and imports often come class by class.

    Where the settings name a cluster, many new images are embedded there; what comes of them is kept from here. An
    image that cannot be read is noted with its reason and tried again later, after a wait that doubles. A file that
    turns out to have several pages is read a second time, for these.

    Parameters
    ----------
    progress
        Called with the number of images done and of all.
    make
        Makes what embeds on a node of the cluster.
    begun_at
        When the round began, in seconds since the epoch; by default now.

    Returns
    -------
    int
        How many images were tried.

    Raises
    ------
    ClusterError
        When the cluster is wanted and fails. What it made until then is kept.
    """
    settings, features = project.workspace.settings, project.workspace.features
    patience = Patience(settings.embed_seconds, settings.slow_host_seconds)
    passed = 0.0 if begun_at is None else max(0.0, time.time() - begun_at)
    soon = time.monotonic() + _FIRST_SECONDS - passed if _has_no_queue(project) else math.inf
    _share(project)
    done, paged = _embed_waiting(project, progress, patience, soon, make)
    if paged:
        done += _embed_waiting(project, progress, patience, soon, make, among=paged)[0]
    features.source.forget_files()
    return done


def _embed_waiting(
    project: ProjectWorkspace,
    progress: Callable[[int, int], None],
    patience: Patience,
    soon: float,
    make: Callable[[Settings], BatchEmbedder] | None,
    among: Collection[int] | None = None,
) -> tuple[int, set[int]]:
    """Embed what waits, and return how many images were tried, and the tasks whose files turned out to have pages.

    Parameters
    ----------
    soon
        By when, by ``time.monotonic``, the images of a first queue are wanted.
    among
        The tasks that are looked at; all by default.
    """
    settings, features = project.workspace.settings, project.workspace.features
    tasks = [images for images in _to_embed(project) if among is None or images[0].task_id in among]
    order = list(range(len(tasks)))
    np.random.default_rng(settings.seed).shuffle(order)
    waiting = [image for place in order for image in tasks[place]]
    progress(0, len(waiting))
    if len(waiting) <= _FIRST_IMAGES:
        soon = math.inf

    last_took = 0.0

    def go_on(start: int) -> bool:
        return not patience.is_over and (start < _FIRST_IMAGES or time.monotonic() + last_took < soon)

    starts = takewhile(go_on, range(0, len(waiting), _BATCH))
    batches = (waiting[start : start + _BATCH] for start in starts)
    if settings.ray_address is not None and len(waiting) >= settings.ray_min_images:
        embedded = map_on_cluster(settings.ray_address, partial(make or BatchEmbedder.on_node, settings), batches)
    else:
        small = features.thumbnails is not None
        embed = BatchEmbedder(
            features.source, features.embedder, project.workspace.decoders.count, small=small, patience=patience
        )
        embedded = (embed(batch) for batch in batches)
    done = 0
    pages: dict[Place, int] = {}
    with closing(embedded):
        began = time.monotonic()
        for each in embedded:
            _keep(project, each)
            last_took, began = time.monotonic() - began, time.monotonic()
            pages |= each.pages
            done += len(each.digests) + len(each.problems) + len(each.left) + len(each.pages)
            progress(done, len(waiting))
    # Only now, since the places of other images move.
    addresses = {(image.task_id, image.position): image.uri for image in waiting}
    show_pages(project, {addresses[place]: count for place, count in pages.items()})
    _share(project)
    return done, {task for task, _ in pages}


@dataclass(frozen=True, slots=True)
class Embedded:
    """What came of some images.

    Attributes
    ----------
    digests, problems, left
        By image: what identifies it, or why it cannot be read, or why its host's images are left for later.
    pages
        By image how many pages its file has, where it has several: each is an image of its own.
    features, thumbnails
        By digest: the feature, shape (d,), and the small pixels where they are wanted.
    """

    digests: dict[Place, str] = field(default_factory=dict)
    problems: dict[Place, str] = field(default_factory=dict)
    left: dict[Place, str] = field(default_factory=dict)
    pages: dict[Place, int] = field(default_factory=dict)
    features: dict[str, NDArray[np.float32]] = field(default_factory=dict)
    thumbnails: dict[str, NDArray[np.uint8]] = field(default_factory=dict)


class BatchEmbedder:
    """Reads and embeds images, in this process or on a node of a cluster; it knows no store.

    Parameters
    ----------
    source, embedder
        What fetches the images, and what makes features of them.
    count
        Returns how many pages a file has.
    small
        Whether small pixels of them are made too.
    patience
        How long that may take.
    """

    def __init__(
        self,
        source: ImageSource,
        embedder: Embedder,
        count: Callable[[bytes], int],
        *,
        small: bool,
        patience: Patience,
    ) -> None:
        self._source, self._embedder, self._count = source, embedder, count
        self._small, self._patience = small, patience

    @classmethod
    def on_node(cls, settings: Settings) -> BatchEmbedder:
        """Return one that is made of the settings alone."""
        source = open_source(settings, open_client(settings))
        backbone = open_backbone(settings)
        decoders = open_decoders(backbone.sizes)
        patience = Patience(settings.embed_seconds, settings.slow_host_seconds)
        small = settings.adaptation != "off"
        return cls(source, open_embedder(backbone, decoders.decode), decoders.count, small=small, patience=patience)

    def __call__(self, batch: list[KnownImage]) -> Embedded:
        """Fetch, decode and embed some images."""
        places: list[tuple[Place, str]] = []
        done = Embedded()

        def contents() -> Iterator[bytes | ImageError]:
            # Images pass through one by one: 128 large files are more than memory should hold at once.
            requests = [ImageRequest(image.task_id, image.uri, image.position) for image in batch]
            whole = {(image.task_id, image.position) for image in batch if image.whole}
            for request, content in self._source.fetch_fairly(requests, self._patience):
                assert request.task_id is not None
                place = request.task_id, request.position
                if place not in whole and (pages := self._pages(content)) > 1:
                    done.pages[place] = pages
                    continue
                places.append((place, "" if isinstance(content, ImageError) else content_key(content)))
                yield content

        for number, embedded in enumerate(self._embedder.embed_with_pixels(contents())):
            place, digest = places[number]
            if isinstance(embedded, ImageLeftError):
                if not self._patience.is_over:  # what the round has no time for is simply read by the next one
                    done.left[place] = str(embedded)
            elif isinstance(embedded, ImageError):
                done.problems[place] = str(embedded)
            else:
                done.digests[place] = digest
                done.features[digest], pixels = embedded
                if self._small:
                    done.thumbnails[digest] = thumbnail(pixels)
        return done

    def _pages(self, content: bytes | ImageError) -> int:
        """Return how many pages a file has, of which not one alone is meant."""
        if isinstance(content, ImageError | FilePage):
            return 1
        try:
            return self._count(content)
        except ImageError:  # decoding says what is wrong
            return 1


def _to_embed(project: ProjectWorkspace) -> list[list[KnownImage]]:
    """Return the images that lack a feature, or a thumbnail where they are kept, and may be tried now.

    Those of a task are together. Damaged features count as lacking, and those of another backbone. Thumbnails, which
    take more room than features, are checked where they are read.
    """
    features, stores = project.workspace.features, project.stores
    studies, digests = stores.studies.all(project.id), project.digests()
    read = {*digests.values(), *(image.digest for images in studies.values() for image in images if image.digest)}
    kept: Collection[str] = features.store.positions(read)
    if features.thumbnails is not None:
        kept = features.thumbnails.indexed(read).intersection(kept)
    waiting = [task for task in stores.images.tasks(project.id) if task in studies or digests.get(task) not in kept]
    now, limit = time.time(), project.workspace.settings.images_per_task
    asked: set[str] = set()
    wanted = []
    for task, image in stores.images.all(project.id, waiting).items():
        images = studies.get(task, [image])
        lacking = [image for image in as_wanted(images, limit) if image.digest not in kept and may_try(image, now)]
        if len(images) > 1:  # an image of several studies is read once
            lacking = list({image.uri: image for image in lacking if image.uri not in asked}.values())
            asked.update(image.uri for image in lacking)
        if lacking:
            wanted.append(lacking)
    return wanted


def _share(project: ProjectWorkspace) -> None:
    """Bring studies in line with what is known of their images."""
    project.stores.studies.share(project.id)
    settle_studies(project)


def _has_no_queue(project: ProjectWorkspace) -> bool:
    row = project.row
    return row is None or row.published_version is None


def _keep(project: ProjectWorkspace, done: Embedded) -> None:
    project.workspace.features.keep(done.features, done.thumbnails)
    stores = project.stores
    for notes, of_task, of_image in (
        (done.digests, stores.images.found, stores.studies.found),
        (done.problems, stores.images.failed, stores.studies.failed),
        (done.left, stores.images.left, stores.studies.left),
    ):
        of_task(project.id, {task: note for (task, at), note in notes.items() if at is None})
        of_image(project.id, {(task, at): note for (task, at), note in notes.items() if at is not None})
    for (task, at), problem in done.problems.items():
        image = "" if at is None else f", image {at + 1}"
        logger.warning("Project %d, task %d%s is left out: %s", project.id, task, image, problem)
    noted = chain(done.digests, done.problems, done.left)
    settle_studies(project, {task for task, at in noted if at is not None})
