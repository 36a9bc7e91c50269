"""Cases from outside on the page of exemplars: given there, shown, and removed."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Annotated

from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response

from clinical_backend.errors import ClinicalError
from clinical_backend.labelstudio.contract import ProjectId
from clinical_backend.service.outside_exemplars import MOST_AT_ONCE, Added, add_images, read_tasks, remove, said
from clinical_backend.web.dependencies import ThisBackend
from clinical_backend.web.pages.actions import Form
from clinical_backend.web.pages.flash import Flash
from clinical_backend.web.pages.previews import placeholder
from clinical_backend.web.pages.site import Site, ThisSite
from clinical_backend.web.pages.uploads import MOST_BYTES, upload_form, uploads_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from clinical_backend.errors import ImageError

__all__ = ["router"]

logger = logging.getLogger(__name__)

_SECONDS = 60.0
"""After which no further image is begun: browsers and proxies wait for some minutes."""
_IMAGE_SECONDS = 600
"""A browser's own copy: as of the images of tasks."""
_SHOWN_REFUSALS = 3
"""In a message, which has room for a few sentences."""

router = APIRouter(include_in_schema=False)


@dataclass(frozen=True, slots=True)
class Given:
    """What a form brought.

    Attributes
    ----------
    finding, note
        What the cases stand for, and where they come from.
    keeps_pixels
        Whether their pixels are to be kept.
    other
        Number of the project that they are to be taken of, if of one.
    files
        Name and bytes of each.
    """

    finding: str
    note: str
    keeps_pixels: bool
    other: int | None
    files: list[tuple[str, bytes | ImageError]]


async def _given(request: Request, site: ThisSite) -> Given:
    """Read a form with images that one of our pages gave out."""
    refusal = (
        f"A form takes {MOST_AT_ONCE} images of {MOST_BYTES // 2**20} MiB together at most. Give fewer at a time,"
        " or use the command clinical exemplar add."
    )
    async with upload_form(request, site, most_files=MOST_AT_ONCE, refusal=refusal) as form:
        other = str(form.get("other", ""))
        return Given(
            finding=str(form.get("finding", "")),
            note=str(form.get("note", "")),
            keeps_pixels=bool(form.get("pixels")),
            other=int(other) if other.isdecimal() and len(other) < 10 else None,
            files=[(one.filename or "", await one.read()) for one in uploads_of(form)],
        )


@router.post("/projects/{project_id}/exemplars/outside")
def add(
    request: Request,
    site: ThisSite,
    backend: ThisBackend,
    project_id: ProjectId,
    given: Annotated[Given, Depends(_given)],
) -> Response:
    """Take images, or cases of another project, for exemplars of a finding."""
    site.project(project_id)
    if not site.adding.acquire(blocking=False):
        flash = Flash("Other images are being read. Try again in a moment.", wrong=True)
    else:
        try:
            flash = _add(site, project_id, given)
        finally:
            site.adding.release()
    backend.wake(project_id)
    return site.back(request, f"/projects/{project_id}/exemplars", flash)


def _add(site: Site, project_id: int, given: Given) -> Flash:
    images: Iterable[tuple[str, bytes | ImageError]] = given.files
    try:
        if given.other is not None and not given.files:
            other = site.workspace.project(given.other)
            images = islice(read_tasks(other, given.finding, (), site.previews.source), MOST_AT_ONCE)
        added = add_images(
            site.workspace.project(project_id),
            given.finding,
            images,
            by=site.user,
            note=given.note,
            keeps_pixels=given.keeps_pixels,
            deadline=time.monotonic() + _SECONDS,
        )
    except ClinicalError as error:
        return Flash(str(error), wrong=True)
    return Flash(_said(added), wrong=not added.kept)


def _said(added: Added) -> str:
    """Return what came of images, as far as a message has room."""
    more = len(added.refused) - _SHOWN_REFUSALS
    if more > 0:
        added = Added(added.kept, added.known, [*added.refused[:_SHOWN_REFUSALS], f"And {more} more."])
    return said(added)


@router.post("/projects/{project_id}/exemplars/outside/remove")
def take_away(request: Request, site: ThisSite, backend: ThisBackend, project_id: ProjectId, form: Form) -> Response:
    """Remove an exemplar from outside, with its pixels and its feature."""
    site.project(project_id)
    number = str(form.get("number", ""))
    known = number.isdecimal() and len(number) < 10
    if known and remove(site.workspace.project(project_id), int(number)):
        flash = Flash(f"Exemplar {number} from outside is removed. A round is due.")
    else:
        flash = Flash("Nothing was changed: it was removed before.", wrong=True)
    backend.wake(project_id)
    return site.back(request, f"/projects/{project_id}/exemplars", flash)


@router.get("/projects/{project_id}/exemplars/outside/{number}.png")
def image(site: ThisSite, project_id: ProjectId, number: ProjectId) -> Response:
    """Show the pixels of an exemplar from outside, as they are kept."""
    content = site.stores.outside_exemplars.pixels(site.project(project_id).id, number)
    if content is None:
        return Response(placeholder("Its pixels are not kept."), 200, {"Cache-Control": "no-store"}, "image/svg+xml")
    return Response(content, 200, {"Cache-Control": f"private, max-age={_IMAGE_SECONDS}"}, "image/png")
