"""More like this, not like this: tags that are set on a page before a reader has answered the case."""

from __future__ import annotations

import re

from fastapi import APIRouter, Request
from fastapi.responses import Response
from starlette.datastructures import FormData

from clinical_backend.labelstudio.contract import ProjectId
from clinical_backend.storage.stores.page_tags import TagChangedError
from clinical_backend.web.dependencies import ThisBackend
from clinical_backend.web.pages.actions import Form
from clinical_backend.web.pages.flash import Flash
from clinical_backend.web.pages.site import Site, ThisSite

__all__ = ["router"]

_TAGS = {"more": (1, "more like this"), "less": (-1, "not like this"), "none": (0, "")}
_UNKNOWN = Flash("Nothing was changed: there is no such tag.", wrong=True)
_STEERS = {"1", "0", "-1"}
_REASON = "an exemplar was tagged on the project's page"
_NUMBER = re.compile(r"\d{1,18}", re.ASCII)
_PATH = re.compile(
    r"(/(queue|exemplars|map(/table)?|picture|field|words/search|similar/\d{1,18}))?(\?[\w%=&+.~\-]*)?", re.ASCII
)
"""Where a form may lead back to: to our own pages alone, with all that ``urlencode`` writes."""

router = APIRouter(include_in_schema=False)


@router.get("/projects/{project_id}/exemplars/tags")
def standing(site: ThisSite, project_id: ProjectId) -> dict[int, int]:
    """Tell which tags of pages stand, by task: a list that is open asks, once it was told what others changed."""
    site.project(project_id)
    return {task: tag.steer for task, tag in site.stores.page_tags.open(project_id).items()}


@router.post("/projects/{project_id}/tags")
def tag(request: Request, site: ThisSite, backend: ThisBackend, project_id: ProjectId, form: Form) -> Response:
    """Tag cases, or take tags away; the round that is due follows them."""
    site.project(project_id)
    tasks = sorted({int(value) for value in map(str, form.getlist("task")) if _NUMBER.fullmatch(value)})
    wanted = _TAGS.get(str(form.get("tag", "")))
    try:
        changed = [] if wanted is None else _change(site, project_id, tasks, wanted[0], _shown(form, tasks))
        flash = _UNKNOWN if wanted is None else _said(tasks, changed, wanted[1])
    except TagChangedError as error:
        changed, flash = [], Flash(str(error), wrong=True)
    if changed:
        backend.request_round(project_id, _REASON)
    back = str(form.get("back", "")) or f"/projects/{project_id}/exemplars"
    prefix = f"/projects/{project_id}"
    allowed = back.startswith(prefix) and _PATH.fullmatch(back.removeprefix(prefix))
    return site.back(request, back if allowed else f"{prefix}/exemplars", flash)


def _change(site: Site, project_id: int, tasks: list[int], steer: int, shown: dict[int, int]) -> list[int]:
    store = site.stores.page_tags
    if not steer:
        return store.remove(project_id, tasks, shown=shown)
    return store.set(project_id, tasks, steer, by=site.user, shown=shown)


def _shown(form: FormData, tasks: list[int]) -> dict[int, int]:
    """Return the tag that the form showed of each task: one for all, or ``TASK:TAG`` of each that could be ticked."""
    shown: dict[int, int] = {}
    for value in map(str, form.getlist("shown")):
        task, colon, tag = value.rpartition(":")
        if tag in _STEERS and (not colon or _NUMBER.fullmatch(task)):
            shown |= dict.fromkeys([int(task)] if colon else tasks, int(tag))
    return shown


def _said(tasks: list[int], changed: list[int], name: str) -> Flash:
    """Say what came of it."""
    if not tasks:
        return Flash("No case is ticked.", wrong=True)
    if not changed and not name:
        return Flash("There was no tag to take away.", wrong=True)
    if not changed:
        one = "It is" if len(tasks) == 1 else "They are"
        return Flash(f"Nothing was changed. {one} tagged so already, or answered: tag answered cases in Label Studio.")
    which = f"Task {changed[0]}" if len(changed) == 1 else f"{len(changed)} tasks"
    verb = "is" if len(changed) == 1 else "are"
    if not name:
        return Flash(f"{which} {verb} tagged no more. A round is due.")
    return Flash(
        f"{which} {verb} tagged “{name}”. The round that is due follows {'it' if len(changed) == 1 else 'them'}."
    )
