"""Cases like one: shown beside it, and tagged together."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, HTTPException, Query, Request
from fastapi.responses import RedirectResponse, Response

from clinical_backend.errors import ClinicalError
from clinical_backend.labelstudio.contract import ProjectId
from clinical_backend.service.similar import Similar, find_similar
from clinical_backend.web.pages.site import Site, ThisSite

if TYPE_CHECKING:
    from clinical_backend.storage.schema import Project
    from clinical_backend.storage.stores.images import KnownImage

__all__ = ["router"]

logger = logging.getLogger(__name__)

_SHOWN = 48
"""A few screens; by eye. What is less alike than the fiftieth is rarely like it."""

router = APIRouter(include_in_schema=False)


@router.get("/projects/{project_id}/similar")
def find(site: ThisSite, project_id: ProjectId, task: Annotated[str, Query(max_length=100)] = "") -> Response:
    """Lead from the field for a task's number to the page of that task."""
    site.project(project_id)
    number = task.strip().lstrip("#")
    known = number.isascii() and number.isdecimal() and len(number) < 19
    return RedirectResponse(f"/projects/{project_id}/similar/{int(number) if known else 0}", 303)


@router.get("/projects/{project_id}/similar/{task_id}")
def similar(request: Request, site: ThisSite, project_id: ProjectId, task_id: int, wait: bool = False) -> Response:
    """Show a case. Those that look most like it follow as soon as they are compared, or are waited for."""
    row = site.project(project_id)
    image = site.stores.images.all(project_id, [task_id]).get(task_id) if 0 < task_id < 2**63 else None
    values = _neighbours(site, row, image) if image and wait else _shown(site, row, image, None)
    return site.page(request, "similar.html", status=200 if image else 404, here="queue", task=task_id, **values)


@router.get("/projects/{project_id}/fragments/similar/{task_id}")
def neighbours(request: Request, site: ThisSite, project_id: ProjectId, task_id: ProjectId) -> Response:
    """Show the cases that look most like one."""
    row = site.project(project_id)
    image = site.stores.images.all(project_id, [task_id]).get(task_id)
    if image is None:
        raise HTTPException(404)
    return site.fragment(request, "neighbours.html", task=task_id, **_neighbours(site, row, image))


def _neighbours(site: Site, row: Project, image: KnownImage) -> dict[str, Any]:
    try:
        found = find_similar(site.workspace.project(row.id), image.task_id, _SHOWN)
    except ClinicalError as error:
        logger.warning("Project %d: %s", row.id, error)
        return _shown(site, row, image, Similar((), 0, 0, has_feature=False)) | {"problem": str(error)}
    return _shown(site, row, image, found)


def _shown(site: Site, row: Project, image: KnownImage | None, found: Similar | None) -> dict[str, Any]:
    """Return what both templates take; ``found`` is nothing where it follows."""
    tasks = [] if image is None else [image.task_id, *(one.task_id for one in (found.neighbours if found else ()))]
    return {
        "project": row,
        "image": image,
        "found": found,
        "problem": None,
        "by": "task",
        **site.known_of(row.id, tasks),
        "back": f"/projects/{row.id}/similar/{image.task_id if image else 0}",
    }
