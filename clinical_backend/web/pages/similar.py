"""Cases like one: shown beside it, and tagged together."""

from __future__ import annotations

import logging
from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import RedirectResponse, Response

from clinical_backend.errors import ClinicalError
from clinical_backend.labelstudio.contract import ProjectId
from clinical_backend.service.similar import Similar, find_similar
from clinical_backend.web.pages.site import ThisSite

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
def similar(request: Request, site: ThisSite, project_id: ProjectId, task_id: int) -> Response:
    """Show a case, and those that look most like it."""
    row, project = site.project(project_id), site.workspace.project(project_id)
    image = site.stores.images.all(project_id, [task_id]).get(task_id) if 0 < task_id < 2**63 else None
    found, problem = Similar((), 0, 0, has_feature=False), None
    if image is not None:
        try:
            found = find_similar(project, task_id, _SHOWN)
        except ClinicalError as error:
            logger.warning("Project %d: %s", project_id, error)
            problem = str(error)
    shown = [one.task_id for one in found.neighbours] + ([task_id] if image else [])
    return site.page(
        request,
        "similar.html",
        status=200 if image else 404,
        project=row,
        here="queue",
        task=task_id,
        image=image,
        found=found,
        problem=problem,
        labels=site.stores.labels.all(project_id, shown),
        studies=site.stores.studies.all(project_id, shown),
        tags={task: tag.steer for task, tag in site.stores.page_tags.open(project_id).items()},
        back=f"/projects/{project_id}/similar/{task_id}",
    )
