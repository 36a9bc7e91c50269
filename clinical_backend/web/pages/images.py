"""The images of tasks, as pages show them: small, to be read, to be looked into, and through a window."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Annotated

from anyio.to_thread import run_sync
from fastapi import APIRouter, Query
from fastapi.responses import Response

from clinical_backend.errors import ImageError
from clinical_backend.images.decoders.levels import Window
from clinical_backend.labelstudio.contract import ProjectId
from clinical_backend.web.pages.previews import Size, placeholder
from clinical_backend.web.pages.site import Site, ThisSite

if TYPE_CHECKING:
    from collections.abc import Callable

    from clinical_backend.storage.stores.images import KnownImage

__all__ = ["router"]

_SECONDS = 600
"""A browser's own copy: nobody waits twice at one sitting, and an image that was replaced is seen by the next."""

Position = Annotated[int | None, Query(ge=0, le=1_000_000)]
Centre = Annotated[int, Query(ge=-4096, le=4352)]
Width = Annotated[int, Query(ge=1, le=8192)]
"""Sixteen times what is shown first, either way: an air gap in a CT of bone is farther from nothing."""

router = APIRouter(include_in_schema=False)


@router.get("/projects/{project_id}/images/{task_id}.webp")
async def image(
    site: ThisSite,
    project_id: ProjectId,
    task_id: ProjectId,
    large: bool = False,
    whole: bool = False,
    at: Position = None,
) -> Response:
    """Show the image of a task of the project, small, large enough to read it, or as a whole; of several one."""
    known = await run_sync(_known_image, site, project_id, task_id, at)
    size = _size(large=large, whole=whole)
    limiter = site.previewing if size is Size.SMALL else site.looking
    return await run_sync(_image, known, partial(site.previews.read, size=size), limiter=limiter)


@router.get("/projects/{project_id}/images/{task_id}/window.webp")
async def window(
    site: ThisSite,
    project_id: ProjectId,
    task_id: ProjectId,
    centre: Centre,
    width: Width,
    whole: bool = False,
    at: Position = None,
) -> Response:
    """Show a part of an image's values; nothing where the file holds no more than what the browser has already."""
    known = await run_sync(_known_image, site, project_id, task_id, at)
    read = partial(site.previews.windowed, window=Window(centre, width), size=_size(large=True, whole=whole))
    return await run_sync(_image, known, read, limiter=site.looking)


def _size(*, large: bool, whole: bool) -> Size:
    if whole:
        return Size.WHOLE
    return Size.LARGE if large else Size.SMALL


def _known_image(site: Site, project_id: int, task_id: int, at: int | None) -> KnownImage | None:
    """Return a task's image; of several the one at a place, or else the first that was read."""
    known = site.stores.images.all(project_id, [task_id]).get(task_id)
    if known is None or not known.is_study:
        return known if at in {None, 0} else None
    images = site.stores.studies.all(project_id, [task_id]).get(task_id, [])
    if at is None:
        return next((image for image in images if image.digest is not None), images[0] if images else known)
    return next((image for image in images if image.position == at), None)


def _image(known: KnownImage | None, read: Callable[[KnownImage], bytes | None]) -> Response:
    if known is None:
        return Response(
            placeholder("The project has no such image."), 404, {"Cache-Control": "no-store"}, "image/svg+xml"
        )
    try:
        content = read(known)
    except ImageError as error:
        # Not an error status: the page is in order, and says in the image's place what is not.
        return Response(placeholder(str(error)), 200, {"Cache-Control": "no-store"}, "image/svg+xml")
    kept = {"Cache-Control": f"private, max-age={_SECONDS}"}
    return Response(status_code=204, headers=kept) if content is None else Response(content, 200, kept, "image/webp")
