"""Search by picture: the cases that look most like one that is given, and never kept."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response

from clinical_backend.errors import ClinicalError
from clinical_backend.labelstudio.contract import ProjectId
from clinical_backend.service.picture_search import find_like_picture
from clinical_backend.service.similar import Similar
from clinical_backend.web.pages.site import Site, ThisSite, search_status
from clinical_backend.web.pages.uploads import MOST_BYTES, upload_form, uploads_of

if TYPE_CHECKING:
    from clinical_backend.storage.schema import Project

__all__ = ["router"]

_SHOWN = 48
"""As of the cases like a task."""

router = APIRouter(include_in_schema=False)


async def _picture(request: Request, site: ThisSite) -> bytes | None:
    """Return the file of a form that one of our pages gave out."""
    refusal = f"One picture of {MOST_BYTES // 2**20} MiB is taken at most. Give a smaller version of it."
    async with upload_form(request, site, most_files=1, refusal=refusal) as form:
        uploads = uploads_of(form)
        return await uploads[0].read() if uploads else None


@router.get("/projects/{project_id}/picture")
def ask(request: Request, site: ThisSite, project_id: ProjectId) -> Response:
    """Show the form."""
    return _page(site, request, site.project(project_id))


@router.post("/projects/{project_id}/picture")
def search(
    request: Request, site: ThisSite, project_id: ProjectId, content: Annotated[bytes | None, Depends(_picture)]
) -> Response:
    """Show the cases that look most like a picture. Where scripts run, its page is not reloaded to tag them."""
    row = site.project(project_id)
    if content is None:
        return _page(site, request, row, status=422, problem="No picture was given.")
    try:
        found = site.search(site.adding, find_like_picture, site.workspace.project(project_id), content, _SHOWN)
    except ClinicalError as error:
        return _page(site, request, row, status=search_status(error), problem=str(error))
    return _page(site, request, row, found=found)


def _page(
    site: Site,
    request: Request,
    row: Project,
    *,
    status: int = 200,
    problem: str | None = None,
    found: Similar | None = None,
) -> Response:
    tasks = [one.task_id for one in found.neighbours] if found else []
    return site.page(
        request,
        "picture.html",
        status=status,
        project=row,
        here="queue",
        found=found,
        problem=problem,
        by="picture",
        most_bytes=MOST_BYTES,
        back=f"/projects/{row.id}/picture",
        **site.known_of(row.id, tasks),
    )
