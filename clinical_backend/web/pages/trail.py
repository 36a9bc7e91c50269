"""Who changed what: the trail of a project, some entries at a time."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response

from clinical_backend.labelstudio.contract import ProjectId
from clinical_backend.storage.trail import TrailAction
from clinical_backend.web.pages.routes import PageNumber, Pages
from clinical_backend.web.pages.settings_form import in_words
from clinical_backend.web.pages.site import ThisSite

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["router"]

_PAGE = 50  # by eye: a few screens
_MOST_NAMED = 10
"""Tasks of one entry that are named; by eye."""
_WAYS = {"page": "on a page", "command": "by a command"}
_ELSEWHERE = frozenset({"options", "settings", "day"})
"""Shown by themselves; the day of a look is that of its entry."""
_NOTHING = (None, "")
_DIGEST = re.compile(r"[0-9a-f]{64}", re.ASCII)

router = APIRouter(include_in_schema=False)

Chosen = Annotated[str, Query(max_length=1000)]


@router.get("/projects/{project_id}/trail")
def trail(
    request: Request, site: ThisSite, project_id: ProjectId, page: PageNumber = 1, action: Chosen = "", who: Chosen = ""
) -> Response:
    """Show what was done at a project, and by whom, the newest first."""
    project, store = site.project(project_id), site.stores.trail
    chosen = {"action": action or None, "who": who or None}
    pages = Pages(page, _PAGE, store.count(project_id, **chosen))
    found = store.some(project_id, pages.offset, pages.size, **chosen)
    return site.page(
        request,
        "trail.html",
        project=project,
        here="settings",
        rows=[(one, told(one.details), settings_of(one.details)) for one in found],
        ways=_WAYS,
        pages=pages,
        actions=[one.value for one in TrailAction],
        people=store.people(project_id),
        action=action,
        who=who,
        query=urlencode({name: value for name, value in (("action", action), ("who", who)) if value}),
    )


def told(details: Mapping[str, Any]) -> str:
    """Return what an entry says beside its action, in plain words, but for the settings of a queue."""
    if "setting" in details:
        name = str(details["setting"])
        label, old = in_words(name, details.get("old"))
        _, new = in_words(name, details.get("new"))
        elsewhere = "" if details.get("where") == "page" else f" ({_plain(details.get('where'))})"
        return f"{label}: {old} → {new}{elsewhere}"
    options = details.get("options")
    shown = {name: value for name, value in details.items() if name not in _ELSEWHERE}
    shown |= options if isinstance(options, dict) else {}
    return "; ".join(
        f"{name.replace('_', ' ')}: {_plain(value)}" for name, value in shown.items() if value not in _NOTHING
    )


def settings_of(details: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return what the settings of a queue are called, and their values, where an entry has them."""
    settings = details.get("settings")
    return [in_words(name, value) for name, value in settings.items()] if isinstance(settings, dict) else []


def _plain(value: object) -> str:
    """Return a value as people read it; of a digest its beginning, which tells it from others."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        more = f" and {len(value) - _MOST_NAMED} more" if len(value) > _MOST_NAMED else ""
        return ", ".join(map(_plain, value[:_MOST_NAMED])) + more or "none"
    if isinstance(value, str) and _DIGEST.fullmatch(value):
        return f"{value[:12]}…"
    return str(value) if isinstance(value, str | int | float) else json.dumps(value)
