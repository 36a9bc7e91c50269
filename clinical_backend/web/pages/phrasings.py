"""Findings that are looked for by words: shown, changed and removed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastapi import APIRouter, Request, status
from fastapi.responses import Response

from clinical_backend.errors import ClinicalError
from clinical_backend.labelstudio.contract import ProjectId
from clinical_backend.service.phrasings import idle_because, keep_phrasings, remove_phrasings, suggested, words_problem
from clinical_backend.web.dependencies import ThisBackend
from clinical_backend.web.pages.actions import Form
from clinical_backend.web.pages.flash import Flash
from clinical_backend.web.pages.site import Site, ThisSite
from clinical_backend.workspace.controls import classes_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["router"]

router = APIRouter(include_in_schema=False)


@router.get("/projects/{project_id}/words")
def words(request: Request, site: ThisSite, project_id: ProjectId) -> Response:
    """Show the words of each finding, or suggested ones, and what to set where none can be used."""
    return _page(request, site, project_id, {})


@router.post("/projects/{project_id}/words")
def change(request: Request, site: ThisSite, backend: ThisBackend, project_id: ProjectId, form: Form) -> Response:
    """Take the words of a finding, or take them away; what is refused is shown again, to be corrected."""
    site.project(project_id)
    project = site.workspace.project(project_id)
    finding = str(form.get("finding", ""))
    if form.get("remove"):
        there = remove_phrasings(project, finding)
        text = f"{finding} is no longer looked for by words. A round is due." if there else "Nothing was changed."
        flash = Flash(text, wrong=not there)
    else:
        phrasings, contrasts = (str(form.get(name, "")).splitlines() for name in ("phrasings", "contrasts"))
        try:
            keep_phrasings(project, finding, classes_of(project), phrasings, contrasts, by=site.user)
        except ClinicalError as error:
            return _page(request, site, project_id, {finding: (phrasings, contrasts)}, refused=str(error))
        idle = idle_because(project, finding)
        said = "has these words" if idle else "is looked for by these words"
        flash = Flash(f"{finding} {said}. {idle or 'A round is due.'}", wrong=bool(idle))
    backend.wake(project_id)
    return site.back(request, f"/projects/{project_id}/words", flash)


def _page(
    request: Request,
    site: Site,
    project_id: int,
    entered: Mapping[str, tuple[Sequence[str], Sequence[str]]],
    refused: str = "",
) -> Response:
    """Return the page, with what was entered and why it is refused."""
    shown = site.project(project_id)
    project = site.workspace.project(project_id)
    classes, kept = classes_of(project), {one.finding: one for one in site.stores.phrasings.all(project_id)}
    published = site.stores.rounds.published(project_id)
    sought = published.report.target if published else ()
    texts: dict[str, tuple[Sequence[str], Sequence[str]]] = {name: suggested(name, classes) for name in classes}
    texts |= {name: (one.phrasings, one.contrasts) for name, one in kept.items()}
    texts |= entered
    rows = [
        (name, kept.get(name), texts[name], idle_because(project, name) if name in kept else "") for name in classes
    ]
    rows.sort(key=lambda row: (row[0] not in entered, row[1] is None, row[0] not in sought))
    return site.page(
        request,
        "words.html",
        status=status.HTTP_422_UNPROCESSABLE_CONTENT if refused else status.HTTP_200_OK,
        project=shown,
        here="overview",
        rows=rows,
        entered=entered,
        gone=[name for name in kept if name not in classes],
        sought=sought,
        problem=words_problem(project),
        refused=refused,
    )
