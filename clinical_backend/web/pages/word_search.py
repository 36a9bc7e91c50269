"""Search by words: the cases that are most like what is typed, which is not kept."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastapi import APIRouter, Request
from fastapi.responses import Response

from clinical_backend.errors import ClinicalError
from clinical_backend.labelstudio.contract import ProjectId
from clinical_backend.service.phrasings import words_problem
from clinical_backend.service.word_search import find_by_words
from clinical_backend.web.pages.actions import Form
from clinical_backend.web.pages.site import Site, ThisSite, search_status

if TYPE_CHECKING:
    from collections.abc import Sequence

    from clinical_backend.service.similar import Similar

__all__ = ["router"]

_SHOWN = 48
"""As of the cases like a task."""
_CONTRAST = "a normal medical image"
"""What the form begins with, as the words of a finding do."""

router = APIRouter(include_in_schema=False)


@router.get("/projects/{project_id}/words/search")
def ask(request: Request, site: ThisSite, project_id: ProjectId) -> Response:
    """Show the form, or what to set where the backbone has no text tower."""
    return _page(site, request, project_id, contrasts=[_CONTRAST])


@router.post("/projects/{project_id}/words/search")
def search(request: Request, site: ThisSite, project_id: ProjectId, form: Form) -> Response:
    """Show the cases that are most like words."""
    site.project(project_id)
    entered = [str(form.get(name, "")).splitlines() for name in ("phrasings", "contrasts")]
    try:
        found = site.search(site.reading, find_by_words, site.workspace.project(project_id), *entered, _SHOWN)
    except ClinicalError as error:
        return _page(site, request, project_id, *entered, status=search_status(error), problem=str(error))
    return _page(site, request, project_id, *entered, found=found)


def _page(
    site: Site,
    request: Request,
    project_id: int,
    phrasings: Sequence[str] = (),
    contrasts: Sequence[str] = (),
    *,
    status: int = 200,
    problem: str | None = None,
    found: Similar | None = None,
) -> Response:
    tasks = [one.task_id for one in found.neighbours] if found else []
    return site.page(
        request,
        "word_search.html",
        status=status,
        project=site.project(project_id),
        here="queue",
        phrasings=phrasings,
        contrasts=contrasts,
        cannot=words_problem(site.workspace.project(project_id)),
        found=found,
        problem=problem,
        by="words",
        back=f"/projects/{project_id}/words/search",
        **site.known_of(project_id, tasks),
    )
