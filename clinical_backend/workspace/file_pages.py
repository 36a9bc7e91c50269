"""Files of tasks that have several pages: each page is an image of the task, once the file was read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from clinical_backend.study import StudyImage, address_of_images, with_pages, without_pages
from clinical_backend.text import amount

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from clinical_backend.storage.stores.images import KnownImage
    from clinical_backend.workspace.workspace import ProjectWorkspace

__all__ = ["as_wanted", "notes_on_pages", "pages_shown", "show_pages"]

_LONGEST_ADDRESS = 8192
"""Characters; web servers take no longer ones as a rule. Of 32 pages they are 256 KiB a task."""


def pages_shown(
    project: ProjectWorkspace, images: Mapping[int, Sequence[StudyImage]]
) -> dict[int, tuple[StudyImage, ...]]:
    """Return the images of tasks with each page of a file as one, of the files that were found to have several.

    Parameters
    ----------
    images
        By task, as its data names them.
    """
    limit = project.workspace.settings.images_per_task
    pages = project.stores.studies.pages(project.id, images)
    return {task: with_pages(shown, pages.get(task, {}), limit) for task, shown in images.items()}


def as_wanted(images: Sequence[KnownImage], limit: int) -> list[KnownImage]:
    """Return a task's images, of which each is asked for its pages where there is room for two of each file.

    One whose address is long is not: it is the content itself (``data:``), which each page would hold once more.

    Parameters
    ----------
    limit
        IMAGES_PER_TASK.
    """
    files, _ = without_pages([_shown(image) for image in images])
    return [image._replace(whole=limit < 2 * len(files) or len(image.uri) > _LONGEST_ADDRESS) for image in images]


def show_pages(project: ProjectWorkspace, pages: Mapping[str, int]) -> None:
    """Make each page of files that were just read an image of the tasks that show them, to be embedded next.

    A file stays one image of the tasks where it was read as one before.

    Parameters
    ----------
    pages
        How many pages the files at some addresses have.
    """
    if not pages:
        return
    stores, limit = project.stores, project.workspace.settings.images_per_task
    studies = stores.studies.all(project.id)
    shown = {}
    for task, alone in stores.images.all(project.id).items():
        images = studies.get(task, [alone])
        counts = {one.uri: pages[one.uri] for one in images if one.uri in pages and one.digest is None}
        if counts:
            before = tuple(_shown(one) for one in images)
            files, known = without_pages(before)
            after = with_pages(files, known | counts, limit)
            if after != before:
                shown[task] = after
    stores.images.move(project.id, {task: address_of_images(images) for task, images in shown.items()})
    stores.studies.synchronise(project.id, shown, complete=False)


def notes_on_pages(project: ProjectWorkspace) -> list[str]:
    """Say, for people, where the pages of a few tasks' files alone make the project one of studies."""
    stores = project.stores
    tasks, count = stores.studies.tasks(project.id), stores.images.count(project.id)
    if not 0 < 2 * len(tasks) < count:
        return []
    pages = stores.studies.pages(project.id, tasks)
    if any(len(pages.get(task, {})) != 1 for task in tasks):
        return []
    show = amount(len(tasks), "shows a file", "show files")
    changed = (
        "So all tasks are represented as studies are: no network is fine-tuned to them, and one that was is not used."
    )
    undone = "IMAGES_PER_TASK=1 takes one image of each file again, of all projects."
    return [f"Of {count} tasks {show} with several pages, each an image of its own. {changed} {undone}"]


def _shown(image: KnownImage) -> StudyImage:
    return StudyImage(image.position or 0, image.total, image.view, image.uri)
