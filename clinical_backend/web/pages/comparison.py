"""Two rounds beside each other."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response

from clinical_backend.labelstudio.contract import ProjectId
from clinical_backend.service.round_comparison import compare_rounds
from clinical_backend.web.pages.flash import Flash
from clinical_backend.web.pages.site import ThisSite

__all__ = ["router"]

_PAIR = 2

router = APIRouter(include_in_schema=False)

Number = Annotated[int, Query(ge=1, le=10**9)]


@router.get("/projects/{project_id}/model/compare")
def compare(request: Request, site: ThisSite, project_id: ProjectId, first: Number, second: Number) -> Response:
    """Show two rounds beside each other, the older one first."""
    row = site.project(project_id)
    rounds = site.stores.rounds.with_numbers(project_id, {first, second})
    if len(rounds) != _PAIR:
        text = "Choose two different rounds." if first == second else "One of these rounds published no queue."
        return site.back(request, f"/projects/{project_id}/model", Flash(text, wrong=True))
    compared = compare_rounds(site.workspace.project(project_id), *rounds)
    return site.page(
        request,
        "comparison.html",
        project=row,
        here="model",
        compared=compared,
        pair=rounds,
        labels=site.stores.labels.all(project_id, [*compared.gained, *compared.lost]),
    )
