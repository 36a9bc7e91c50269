"""What a project's images are known for: worth a try, waiting, exact copies of others, replaced in place."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

from clinical_backend.errors import ImageError
from clinical_backend.images.patience import host_of
from clinical_backend.learner.backbones.embedder import content_key
from clinical_backend.storage.stores.studies import digest_of_study
from clinical_backend.text import amount
from clinical_backend.workspace.file_pages import notes_on_pages

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from clinical_backend.storage.stores.images import KnownImage
    from clinical_backend.workspace.workspace import ProjectWorkspace

__all__ = [
    "every_image",
    "may_try",
    "notes_on_studies",
    "recheck_images",
    "settle_studies",
    "still_to_read",
    "without_copies",
]

logger = logging.getLogger(__name__)

_RETRY_SECONDS = 300.0
_LONGEST_RETRY = 86_400.0
"""A host that is down is often back within minutes. The wait doubles up to a day, which the tenth attempt reaches: what
is wrong by then is mended by a person. Chosen, not measured."""

_DAY = 86_400.0
_EARLY = 0.5
"""An image is looked at from this part of IMAGE_CHECK_DAYS on, so that all are before the days are over."""

_SECONDS = 1.0
"""For one project and look; at the default RECONCILE_SECONDS that is half a per cent of a core where files are at hand,
and 300,000 images in 3.5 days where a host answers 60 a second."""

_MOST = 200
"""Read at once for a look: what bounds it where files are at hand; elsewhere the second does."""
_FAILURES = 3
"""One may be of the image; three within a second are of their host."""
_AGAIN_SECONDS = 3600.0
"""Until what failed is looked at again, before others that are due: longer than a restart; chosen, not measured."""
_SLOW_SECONDS = 2.0
"""More than an image takes usually, as for rounds: its host is busy."""
_REST_SECONDS = 600.0
"""A host that is busy is left to those who read; chosen, not measured."""


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


def every_image(project: ProjectWorkspace) -> list[KnownImage]:
    """Return the images of a project one by one, those of studies too."""
    stores = project.stores
    studies = stores.studies.all(project.id)
    tasks = stores.images.all(project.id).items()
    return [one for task, image in tasks for one in studies.get(task, (image,))]


def notes_on_studies(project: ProjectWorkspace) -> list[str]:
    """Say of which tasks with several images not all are used, for people."""
    stores, limit = project.stores, project.workspace.settings.images_per_task
    notes = []
    tasks, images = stores.studies.partly_read(project.id)
    if tasks:
        unread = f"{amount(images, 'image')} cannot be read"
        used = (
            "1 task that shows others, which is used"
            if tasks == 1
            else f"{tasks} tasks that show others, which are used"
        )
        notes.append(f"{unread} in {used} without {'it' if images == 1 else 'them'}.")
    sampled = stores.studies.sampled(project.id, limit)
    if sampled:
        shown = amount(sampled, "task shows", "tasks show")
        notes.append(
            f"{shown} more than {limit} images (IMAGES_PER_TASK): of each, at most {limit} evenly spaced ones are used,"
            " the first and the last among them."
        )
    return [*notes, *notes_on_pages(project)]


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


def settle_studies(project: ProjectWorkspace, tasks: Iterable[int] | None = None) -> None:
    """Say of studies what their images tell: what identifies them together, or why none of them can be read.

    A study counts as read once each of its images was tried, be it in vain: it goes on with the others.

    Parameters
    ----------
    tasks
        Those that may have changed; all by default.
    """
    stores = project.stores
    studies = stores.studies.all(project.id, tasks)
    if not studies:
        return
    known = stores.images.all(project.id, studies)
    found: dict[int, str] = {}
    failed: dict[int, str] = {}
    left: dict[int, str] = {}
    for task, images in studies.items():
        if task not in known:
            continue
        untried = [image for image in images if image.is_waiting]
        digest = None if untried else digest_of_study(images)
        problem = next((image.problem for image in images if image.problem), None)
        if untried:
            reasons = [image.problem for image in untried if image.problem]
            if reasons and known[task].problem != reasons[0]:
                left[task] = reasons[0]
        elif digest is not None and digest != known[task].digest:
            found[task] = digest
        elif digest is None and problem is not None and known[task].problem != problem:
            failed[task] = f"None of its {len(images)} images can be read: {problem}"
    stores.images.found(project.id, found)
    stores.images.failed(project.id, failed)
    stores.images.left(project.id, left)


def without_copies(
    digests: Mapping[int, str], pool: Iterable[int], answered: Iterable[int]
) -> tuple[list[int], list[int]]:
    """Split tasks into those that are worth a place in a queue, and exact copies of others.

    A copy has the same bytes as the image of an answered task, or of a task of the pool that came before it.

    Parameters
    ----------
    digests
        What identifies the image of each task that was read.
    pool
        Tasks that may be queued, in the order in which they are kept.
    answered
        Tasks with an answer.

    Returns
    -------
    tuple
        The tasks that stay, and the copies. An image that was not read yet counts as no copy.
    """
    seen = {digests[task] for task in answered if task in digests}
    kept, copies = [], []
    for task in pool:
        digest = digests.get(task)
        if digest in seen:
            copies.append(task)
            continue
        kept.append(task)
        if digest is not None:
            seen.add(digest)
    return kept, copies


def recheck_images(project: ProjectWorkspace) -> int:
    """Look at the images of a project that were not looked at for longest, for a second, and note what was replaced.

    A host that answers slowly is left alone for ten minutes, and one that fails three times until the next look; what
    failed is tried again after an hour and keeps its feature.

    Returns
    -------
    int
        How many were replaced. A round is due then.
    """
    workspace, images = project.workspace, project.stores.images
    days = workspace.settings.image_check_days
    started = time.monotonic()
    if not days or started < project.rests_until:
        return 0
    latest = time.time() - _EARLY * days * _DAY
    same: dict[int, str | None] = {}
    failed: dict[int, str | None] = {}
    replaced: dict[int, str | None] = {}
    for image, mark in images.longest_unseen(project.id, latest, _MOST):
        began = time.monotonic()
        if began - started > _SECONDS or len(failed) >= _FAILURES:
            break
        try:
            found = workspace.watching_source.look(image.uri, image.task_id, mark)
        except ImageError as error:
            logger.debug("Project %d, task %d is not looked at again: %s", project.id, image.task_id, error)
            failed[image.task_id] = mark
        else:
            changed = found.content is not None and content_key(found.content) != image.digest
            (replaced if changed else same)[image.task_id] = found.mark
        if time.monotonic() - began > _SLOW_SECONDS:
            project.rests_until = time.monotonic() + _REST_SECONDS
            break
    images.looked(project.id, same, at=time.time())
    images.looked(project.id, failed, at=latest + _AGAIN_SECONDS)
    images.replaced(project.id, replaced)
    if replaced:
        logger.warning("Project %d: the images of %d tasks were replaced", project.id, len(replaced))
        project.stores.projects.request_round(project.id, "images were replaced")
    return len(replaced)
