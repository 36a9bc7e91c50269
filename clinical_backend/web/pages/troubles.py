"""The list of tasks that something is wrong with, as a page and as files."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response, StreamingResponse

from clinical_backend.labelstudio.contract import ProjectId
from clinical_backend.service.troubles import said, write_troubles
from clinical_backend.storage.stores.troubles import TroubleKind
from clinical_backend.web.pages.routes import Pages
from clinical_backend.web.pages.site import ThisSite
from clinical_backend.workspace.controls import learnt_of

__all__ = ["router"]

_PAGE = 50  # by eye: a few screens
_KINDS = {
    TroubleKind.IMAGE: "Image cannot be read",
    TroubleKind.ANSWER: "Answer has no class",
    TroubleKind.REPLACED: "Image was replaced",
}
_TYPES = {"csv": "text/csv; charset=utf-8", "json": "application/json"}

router = APIRouter(include_in_schema=False)


@router.get("/projects/{project_id}/unreadable")
def troubles(
    request: Request, site: ThisSite, project_id: ProjectId, page: Annotated[int, Query(ge=1, le=10_000)] = 1
) -> Response:
    """Show them, some at a time."""
    project = site.project(project_id)
    counts = site.stores.troubles.counts(project_id)
    pages = Pages(page, _PAGE, sum(counts.values()))
    found = site.stores.troubles.some(project_id, pages.offset, pages.size)
    return site.page(
        request,
        "troubles.html",
        project=project,
        learnt=learnt_of(site.workspace.project(project.id)),
        kinds=_KINDS,
        counts=counts,
        rows=[(one, said(one)) for one in found],
        pages=pages,
    )


@router.get("/projects/{project_id}/unreadable.{form}")
def download(site: ThisSite, project_id: ProjectId, form: Literal["csv", "json"]) -> Response:
    """Give all of them as a file."""
    project = site.project(project_id)
    return StreamingResponse(
        write_troubles(site.workspace.project(project_id), form, site.settings.browser_url),
        media_type=_TYPES[form],
        headers={"Content-Disposition": f'attachment; filename="project-{project.id}-unreadable.{form}"'},
    )
