"""Files of tasks that have several pages: each page is an image of the task, once the file was read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from clinical_backend.study import StudyImage, address_of_images, file_of, with_pages, without_pages

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from clinical_backend.storage.stores.images import KnownImage
    from clinical_backend.workspace.workspace import ProjectWorkspace

__all__ = ["as_wanted", "pages_shown", "show_pages"]


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

    Parameters
    ----------
    limit
        IMAGES_PER_TASK.
    """
    alone = sum(file_of(image.uri) == image.uri for image in images)
    files = alone + len({file_of(image.uri) for image in images if file_of(image.uri) != image.uri})
    return [image._replace(whole=limit < 2 * files) for image in images]


def show_pages(project: ProjectWorkspace, found: Mapping[tuple[int, int | None], int]) -> None:
    """Make each page of files that were just read an image of its task, to be embedded next.

    Parameters
    ----------
    found
        How many pages the file has that is an image of a task, by task and the image's place.
    """
    if not found:
        return
    stores, limit = project.stores, project.workspace.settings.images_per_task
    tasks = {task for task, _ in found}
    studies = stores.studies.all(project.id, tasks)
    shown = {}
    for task, image in stores.images.all(project.id, tasks).items():
        present = [_shown(one) for one in studies.get(task, [image])]
        counts = {one.uri: found[task, at] for one, at in _places(present, image) if (task, at) in found}
        files, pages = without_pages(present)
        shown[task] = with_pages(files, pages | counts, limit)
    stores.images.move(project.id, {task: address_of_images(images) for task, images in shown.items()})
    stores.studies.synchronise(project.id, shown, complete=False)


def _shown(image: KnownImage) -> StudyImage:
    return StudyImage(image.position or 0, image.total, image.view, image.uri)


def _places(images: Iterable[StudyImage], task: KnownImage) -> list[tuple[StudyImage, int | None]]:
    """Return images with the places by which they are asked for: none where the task has one alone."""
    return [(one, one.position if task.is_study else None) for one in images]
