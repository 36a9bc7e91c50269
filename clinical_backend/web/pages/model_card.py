"""The model card as a page that prints: that of ``clinical card``, made of what the rounds keep."""

from __future__ import annotations

from threading import Lock
from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.responses import HTMLResponse, Response

from clinical_backend.errors import InvalidArgumentError, ProjectBusyError
from clinical_backend.handover.document import stylesheet_source
from clinical_backend.handover.model_card import CardOptions, make_card
from clinical_backend.labelstudio.contract import ProjectId
from clinical_backend.web.pages.site import ThisSite
from clinical_backend.web.security import content_policy

__all__ = ["router"]

_MOST_LABELS = 2000
"""Some 2 s a field on two cores; more are for the command, which nobody waits for in a browser."""
_MOST_FIELDS = 5
"""By eye: a card of some pages."""
_LONGEST = 200  # characters of a field's name
_MAKING = Lock()
"""Held while a card is made: it takes a processor for seconds, and other pages go on."""

router = APIRouter(include_in_schema=False)

Fields = Annotated[list[str] | None, Query(max_length=_MOST_FIELDS)]


@router.get("/projects/{project_id}/model/card")
def model_card(site: ThisSite, project_id: ProjectId, field: Fields = None) -> Response:
    """Show the card of the published model, by site where there is one, and by the fields that are chosen."""
    row, project = site.project(project_id), site.workspace.project(project_id)
    site_field = row.sited_by if row.sited_by and site.stores.images.sites(project_id) else ""
    wanted = [site_field, *(name.strip() for name in field or ())]
    fields = tuple(dict.fromkeys(name for name in wanted if name))
    if len(fields) > _MOST_FIELDS + 1 or any(len(name) > _LONGEST for name in fields):
        raise InvalidArgumentError("field", "there are too many, or one is too long.", "Name five fields at most.")
    labels = len(site.stores.labels.ledger(project_id))
    if labels > _MOST_LABELS:
        raise InvalidArgumentError(
            "project",
            f"it has {labels:,} labels, more than a page makes a card of.",
            f"Run `clinical card --project {project_id} --out FOLDER`.",
        )
    if not _MAKING.acquire(blocking=False):
        raise ProjectBusyError("A model card is being made already.", "Load the page again in some seconds.")
    try:
        card = make_card(project, CardOptions(fields, seed=site.settings.seed), ask=False)
    finally:
        _MAKING.release()
    policy = content_policy(styles=stylesheet_source())
    return HTMLResponse(card.document.html(), headers={"Content-Security-Policy": policy, "Vary": "Accept"})
