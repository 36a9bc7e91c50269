"""The test set: asked for, with what that means, and where it stands."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response

from clinical_backend.errors import ClinicalError
from clinical_backend.labelstudio.contract import ProjectId
from clinical_backend.labelstudio.tabs import TEST_SET_TITLE
from clinical_backend.service.set_aside import ask_for_test_set, drawable, read_set_aside
from clinical_backend.service.set_aside_words import warnings_on_draw
from clinical_backend.web.dependencies import ThisBackend
from clinical_backend.web.pages.actions import Form
from clinical_backend.web.pages.flash import Flash
from clinical_backend.web.pages.site import ThisSite

__all__ = ["router"]

_LONGEST = 9
"""Digits of a number that is entered."""

router = APIRouter(include_in_schema=False)

Entered = Annotated[str, Query(max_length=100)]


@router.get("/projects/{project_id}/test-set")
def show(
    request: Request, site: ThisSite, project_id: ProjectId, size: Entered = "", seed: Entered = "", twice: Entered = ""
) -> Response:
    """Show where the test set stands; before there is one, say what the one that was entered would mean."""
    row, project = site.project(project_id), site.workspace.project(project_id)
    known = drawable(project)
    wanted = _number(size)
    there = f"There are {known.tasks:,} tasks that nobody answered" if known.tasks or known.answered else ""
    problem = ""
    if size and not wanted:
        problem = "Enter how many tasks the test set is to have, 1 or more."
    elif wanted and there and wanted >= known.tasks:
        problem = f"{there}, and some must be left to search: enter fewer."
    elif seed and _number(seed) is None:
        problem = "Enter the seed as a number, or none."
    return site.page(
        request,
        "testset.html",
        status=422 if problem else 200,
        project=row,
        here="model",
        found=read_set_aside(project),
        known=known,
        warnings=warnings_on_draw(known),
        size=size,
        seed=seed,
        twice=bool(twice),
        asked=None if problem else wanted,
        problem=problem,
        tab=TEST_SET_TITLE,
    )


@router.post("/projects/{project_id}/test-set")
def ask(request: Request, site: ThisSite, backend: ThisBackend, project_id: ProjectId, form: Form) -> Response:
    """Have the next round draw a test set, or extend the one that there is."""
    site.project(project_id)
    size, seed, twice, extend = (str(form.get(name, "")) for name in ("size", "seed", "twice", "extend"))
    try:
        ask_for_test_set(
            site.workspace.project(project_id),
            _number(size) or 0,
            by=site.user,
            seed=_number(seed),
            twice=bool(twice),
            extend=bool(extend),
        )
        flash = Flash("The round that is due draws it.")
    except ClinicalError as error:
        flash = Flash(str(error), wrong=True)
    backend.wake(project_id)
    return site.back(request, f"/projects/{project_id}/test-set", flash)


def _number(entered: str) -> int | None:
    text = entered.strip()
    return int(text) if text.isdecimal() and text.isascii() and len(text) <= _LONGEST else None
