"""What the buttons of the pages do: each answers with the page to go on with, which says what came of it."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Annotated

from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response
from starlette.datastructures import FormData

from clinical_backend.errors import ClinicalError
from clinical_backend.labelstudio.connection.checks import Place
from clinical_backend.labelstudio.contract import ProjectId
from clinical_backend.rounds.drift import answer_drift
from clinical_backend.rounds.rollback import what_follows
from clinical_backend.text import storable
from clinical_backend.web.dependencies import ThisBackend
from clinical_backend.web.pages.flash import Flash
from clinical_backend.web.pages.site import Site, ThisSite
from clinical_backend.workspace.controls import classes_of
from clinical_backend.workspace.project_options import (
    decline,
    drop_rare,
    look_for,
    named_classes,
)

if TYPE_CHECKING:
    from clinical_backend.storage.schema import Round

__all__ = ["Form", "router"]

logger = logging.getLogger(__name__)

_MOST_FIELDS = 1000  # Starlette's own default; the largest form has a field for each of 100 tasks


async def _form(request: Request, site: ThisSite) -> FormData:
    """Read a form that one of our pages gave out; a charset that the sender names may leave half a character in it."""
    sent = await request.form(max_files=0, max_fields=_MOST_FIELDS)
    form = FormData([(storable(name), storable(str(value))) for name, value in sent.multi_items()])
    site.check_form(request, str(form.get("token", "")))
    return form


Form = Annotated[FormData, Depends(_form)]


router = APIRouter(include_in_schema=False)


@router.post("/projects/{project_id}/rounds", status_code=202, include_in_schema=True)
def start_round(project_id: ProjectId, backend: ThisBackend) -> dict[str, str]:
    """Make a round due now: for scripts."""
    served = backend.request_round(project_id, "a round was asked for")
    return {"status": "due" if served else "Label Studio is asked about the project first"}


@router.post("/projects/{project_id}/start")
def start(request: Request, site: ThisSite, backend: ThisBackend, project_id: ProjectId, form: Form) -> Response:
    """Make a round due now."""
    del form
    site.project(project_id)
    backend.request_round(project_id, "a round was asked for on the project's page")
    return site.back(request, f"/projects/{project_id}", Flash("A round is due. It begins in a moment."))


@router.post("/projects/{project_id}/looked-for")
def answer(request: Request, site: ThisSite, backend: ThisBackend, project_id: ProjectId, form: Form) -> Response:
    """Take the lead's answer: look for a class, look for it no more, or do not ask for it again."""
    row, project = site.project(project_id), site.workspace.project(project_id)
    classes = classes_of(project)
    chosen, dropped, declined = (str(form.get(field, "")) for field in ("choose", "drop", "decline"))
    named = named_classes(site.settings, row)
    if chosen and {chosen, *named} >= set(classes):
        flash = Flash("Not every class can be rare: take another one away first.", wrong=True)
    elif chosen in classes:
        # Tags alone determine the target while nothing that exists is named: what they stand for is kept.
        tagged = () if set(named) & set(classes) else site.stores.rounds.published_report(project_id).target
        alone = {chosen, *tagged} >= set(classes)  # not every class can be rare, and the lead's choice outranks tags
        look_for(project, chosen, beside=() if alone else tagged)
        flash = Flash(
            f"{chosen}{' alone' if alone else ''} is looked for. The round that is due turns the queue to it."
        )
    elif dropped in named:
        drop_rare(project, dropped)
        flash = Flash(f"{dropped} is no longer chosen. A round is due.")
    elif declined in named:  # another page chose it meanwhile
        flash = Flash(f"{declined} is looked for by name: take it away there first.", wrong=True)
    elif declined in classes:
        decline(project, declined)
        flash = Flash(f"{declined} is not looked for, and is not asked about again. Settings can undo this.")
    else:
        flash = Flash("Nothing was changed: the labeling config has no such class any more.", wrong=True)
    backend.wake(project_id)
    page = "/exemplars" if form.get("back") == "exemplars" else ""
    return site.back(request, f"/projects/{project_id}{page}", flash)


@router.post("/projects/{project_id}/drift")
def answer_change(
    request: Request, site: ThisSite, backend: ThisBackend, project_id: ProjectId, form: Form
) -> Response:
    """Take the lead's answer to what was changed in Label Studio: put it back, or leave it."""
    site.project(project_id)
    put_back = str(form.get("put_back", ""))
    place = next((place for place in Place if place in {put_back, str(form.get("leave", ""))}), None)
    if place is None or not answer_drift(site.workspace.project(project_id), place, put_back=place == put_back):
        flash = Flash("Nothing was changed: it is no longer asked about.", wrong=True)
    elif place == put_back:
        backend.look_at(project_id)
        flash = Flash(f"{place.capitalize()}: it is put back in a moment.")
    else:
        flash = Flash(f"{place.capitalize()}: it is left as it is, and not asked about again unless it changes.")
    return site.back(request, f"/projects/{project_id}", flash)


@router.post("/projects/{project_id}/rollback")
def rollback(request: Request, site: ThisSite, backend: ThisBackend, project_id: ProjectId, form: Form) -> Response:
    """Serve the queue and the model of an earlier round again."""
    site.project(project_id)
    number = str(form.get("round", ""))
    try:
        done = backend.rollback(project_id, int(number) if number.isdecimal() and len(number) < 10 else 0)
    except ClinicalError as error:
        logger.warning("Project %d: %s", project_id, error)
        flash = Flash(str(error), wrong=True)
    else:
        served = f"Readers get the queue and the model of round {number} again, as round {done.number}."
        flash = Flash(" ".join([served, *_what_follows(site, project_id, done)]))
    return site.back(request, f"/projects/{project_id}/model", flash)


def _what_follows(site: Site, project_id: int, done: Round) -> list[str]:
    """Return what follows of going back, which stands whether or not that can be told."""
    try:
        return what_follows(site.workspace.project(project_id), done)
    except ClinicalError as error:
        logger.warning("Project %d: %s", project_id, error)
        return [f"What follows cannot be told: {error}"]
