"""Search by field: the tasks with a value in their data, of which nothing is kept."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from fastapi import APIRouter, Request
from fastapi.responses import Response

from clinical_backend.errors import ClinicalError
from clinical_backend.labelstudio.contract import ProjectId
from clinical_backend.service.field_search import LONGEST_VALUE, find_by_field, searchable_fields
from clinical_backend.web.pages.actions import Form
from clinical_backend.web.pages.site import Site, ThisSite, search_status

if TYPE_CHECKING:
    from clinical_backend.service.field_search import FoundByField
    from clinical_backend.storage.schema import Project

__all__ = ["router"]

_SHOWN = 48
"""As of the cases like a task."""

router = APIRouter(include_in_schema=False)


@router.get("/projects/{project_id}/field")
def ask(request: Request, site: ThisSite, project_id: ProjectId) -> Response:
    """Show the form."""
    return _page(site, request, site.project(project_id))


@router.post("/projects/{project_id}/field")
def search(request: Request, site: ThisSite, project_id: ProjectId, form: Form) -> Response:
    """Show the tasks with a value. It is sent in the body, since addresses are logged and remembered."""
    row, project = site.project(project_id), site.workspace.project(project_id)
    field, value = (str(form.get(name, "")) for name in ("field", "value"))
    whole = form.get("match") == "whole"
    try:
        found = site.search(site.asking, partial(find_by_field, whole=whole), project, field, value, _SHOWN)
    except ClinicalError as error:
        status = search_status(error)
        return _page(site, request, row, status=status, field=field, whole=whole, problem=str(error))
    return _page(site, request, row, field=field, whole=whole, found=found)


def _page(
    site: Site,
    request: Request,
    row: Project,
    *,
    status: int = 200,
    field: str = "",
    whole: bool = False,
    problem: str | None = None,
    found: FoundByField | None = None,
) -> Response:
    tasks = found.tasks if found else []
    return site.page(
        request,
        "field.html",
        status=status,
        project=row,
        here="queue",
        fields=searchable_fields(site.workspace.project(row.id)),
        field=field,
        whole=whole,
        found=found,
        problem=problem,
        longest=LONGEST_VALUE,
        back=f"/projects/{row.id}/field",
        **site.known_of(row.id, tasks),
    )
