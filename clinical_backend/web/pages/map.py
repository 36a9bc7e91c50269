"""The map: all tasks in two dimensions, coloured by what is known of them, and the same as tables."""

from __future__ import annotations

import hashlib
import json
import logging
from collections import Counter
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import urlencode

import numpy as np
from fastapi import APIRouter, Query, Request
from fastapi.responses import Response, StreamingResponse

from clinical_backend.errors import ClinicalError, ModelError
from clinical_backend.labelstudio.contract import ProjectId
from clinical_backend.service.map_points import (
    NO_SCORE,
    SORTS,
    MapPoints,
    PointFilter,
    choose_points,
    read_points,
)
from clinical_backend.text import csv_row
from clinical_backend.web.pages.actions import Form
from clinical_backend.web.pages.routes import Pages
from clinical_backend.web.pages.site import Site, ThisSite
from clinical_backend.workspace.map_files import ask_for_map, drawn_version, note_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from clinical_backend.storage.schema import Project

__all__ = ["router"]

logger = logging.getLogger(__name__)

_PAGE = 48
"""Full rows of two, three, four, or six images, a few screens of them; by eye."""
_COMMONEST = 3
"""Labels that are named of a neighbourhood; by eye."""
_SORTED = {"task": "task number", "score": "highest score first", "near": "neighbourhood"}

router = APIRouter(include_in_schema=False)

PageNumber = Annotated[int, Query(ge=1, le=10_000)]
Near = Annotated[int, Query(ge=0, le=1000)]
Chosen = Annotated[str, Query(max_length=1000)]
Tasks = Annotated[list[ProjectId], Query(max_length=_PAGE)]


@router.get("/projects/{project_id}/map")
def show(request: Request, site: ThisSite, project_id: ProjectId) -> Response:
    """Show the map, or what becomes of it."""
    return site.page(request, "map.html", here="map", **_state(site, site.project(project_id)))


@router.get("/projects/{project_id}/fragments/map")
def state(request: Request, site: ThisSite, project_id: ProjectId) -> Response:
    """Say how far the drawing is."""
    return site.fragment(request, "map_state.html", **_state(site, site.project(project_id)))


@router.get("/projects/{project_id}/map/points")
def points(request: Request, site: ThisSite, project_id: ProjectId) -> Response:
    """Give all points to the script of the page: what the numbers mean as JSON, and behind it the numbers."""
    site.project(project_id)
    found = read_points(site.workspace.project(project_id))
    if found is None:
        return Response(status_code=404)
    content = _encoded(found)
    mark = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
    # Kept by the browser, which asks each time whether it is still so.
    kept = {"ETag": mark, "Cache-Control": "private, no-cache"}
    if request.headers.get("if-none-match") == mark:
        return Response(status_code=304, headers=kept)
    return Response(content, 200, kept, "application/octet-stream")


@router.get("/projects/{project_id}/fragments/map/cases")
def cases(request: Request, site: ThisSite, project_id: ProjectId, task: Tasks, alone: bool = False) -> Response:
    """Show cases of a selection, in its order, to be tagged together; or one that is looked at closely."""
    row = site.project(project_id)
    values = _cases(site, row, read_points(site.workspace.project(project_id), task), task)
    return site.fragment(request, "map_cases.html", **values, alone=alone, back=f"/projects/{project_id}/map")


@router.get("/projects/{project_id}/map/table")
def table(
    request: Request,
    site: ThisSite,
    project_id: ProjectId,
    page: PageNumber = 1,
    near: Near = 0,
    label: Chosen = "",
    why: Chosen = "",
    score: Chosen = "",
    patient: Chosen = "",
    site_: Annotated[str, Query(alias="site", max_length=1000)] = "",
    sort: Chosen = SORTS[0],
) -> Response:
    """Show what the map shows as tables: its neighbourhoods, and its tasks page by page."""
    row, project = site.project(project_id), site.workspace.project(project_id)
    if drawn_version(project.map_folder) is None:
        return show(request, site, project_id)
    named = {"label": label, "why": why, "score": score, "patient": patient, "site": site_}
    wanted = PointFilter(near, named, sort if sort in SORTS else SORTS[0])
    given = {"near": str(near or "")} | named | {"sort": "" if wanted.sort == SORTS[0] else wanted.sort}
    query = urlencode({name: value for name, value in given.items() if value})
    parts = "&".join(filter(None, [query, f"page={page}" if page > 1 else ""]))
    back = f"/projects/{project_id}/map/table{'?' if parts else ''}{parts}"

    def late() -> str:
        found = read_points(project, gone=True)
        if found is None:
            raise ModelError("The map was changed on disk.", "Open it again: it is drawn anew.")
        rows = choose_points(found, wanted)
        pages = Pages(page, _PAGE, len(rows))
        shown = found.tasks[rows[pages.offset : pages.offset + pages.size]].tolist()
        return site.render(
            "map_lists.html",
            request,
            **_cases(site, row, found, shown),
            alone=False,
            neighbourhoods=_neighbourhoods(found),
            columns=[(column.name, column.title, column.counts()) for column in found.columns],
            wanted=given,
            sorts=_SORTED,
            query=query,
            pages=pages,
            total=len(found.tasks),
            back=back,
        )

    return site.page_in_parts(request, "map_table.html", late, project=row, here="map")


@router.post("/projects/{project_id}/map/selection.csv")
def selection(site: ThisSite, project_id: ProjectId, form: Form) -> Response:
    """Give what the map tells of selected tasks, or of all, as a file; no patient is told apart in it."""
    site.project(project_id)
    found = read_points(site.workspace.project(project_id))
    words = str(form.get("tasks", "")).split()
    given = {int(word) for word in words if word.isascii() and word.isdecimal() and len(word) < 19}
    return StreamingResponse(
        _lines(found, given),
        media_type="text/csv; charset=utf-8",
        headers={"Content-Disposition": f'attachment; filename="project-{project_id}-map.csv"'},
    )


def _state(site: Site, project: Project) -> dict[str, Any]:
    """Return what there is of a map, and have it drawn, and kept up, since somebody looks."""
    folder = site.workspace.project(project.id).map_folder
    problem = None
    try:
        ask_for_map(folder)
    except ClinicalError as error:
        logger.warning("Project %d: %s", project.id, error)
        problem = str(error)
    drawn = drawn_version(folder)
    note = note_of(folder)
    return {
        "project": project,
        "drawn": drawn is not None,
        "older": drawn is not None and drawn != (project.published_version or ""),
        "known": drawn is not None or bool(site.workspace.project(project.id).digests()),
        "message": "" if note.failed else note.message,
        "problem": problem or (note.message if note.failed else None),
    }


def _cases(site: Site, project: Project, found: MapPoints | None, tasks: Sequence[int]) -> dict[str, Any]:
    """Return what the cards of tasks take; of those alone that stand on the map."""
    there = site.stores.images.all(project.id, tasks)
    rows = {} if found is None else _rows(found, [task for task in dict.fromkeys(tasks) if task in there])
    told = [(task, *_told(found, row)) for task, row in rows.items()] if found else []
    return {"project": project, "cases": told, **site.known_of(project.id, list(rows))}


def _rows(found: MapPoints, tasks: Sequence[int]) -> dict[int, int]:
    """Return the row of each of the tasks that stands on the map."""
    at = np.searchsorted(found.tasks, tasks).tolist()
    return {
        task: row for task, row in zip(tasks, at, strict=True) if row < len(found.tasks) and found.tasks[row] == task
    }


def _told(found: MapPoints, row: int) -> tuple[dict[str, str], float | None, int]:
    score = int(found.scores[row])
    return found.facts(row), None if score == NO_SCORE else score / 100, int(found.near[row]) + 1


def _neighbourhoods(found: MapPoints) -> list[tuple[int, int, list[tuple[str, int]], int, int]]:
    """Return of each neighbourhood number, tasks, commonest labels, and how many are labelled and queued."""
    label, why = found.column("label"), found.column("why")
    assert label is not None
    assert why is not None
    queued = np.array([name.startswith("in the queue") for name in why.names])[why.codes]
    told = []
    for near in range(int(found.near.max(initial=-1)) + 1):
        here = found.near == near
        names = Counter(label.names[code] for code in label.codes[here].tolist() if code)
        told.append((near + 1, int(here.sum()), names.most_common(_COMMONEST), names.total(), int(queued[here].sum())))
    return told


def _lines(found: MapPoints | None, given: set[int]) -> Iterator[str]:
    columns = [] if found is None else [one for one in found.columns if one.name not in {"patient", "score"}]
    yield csv_row(["task", "score", "neighbourhood", *(column.name for column in columns)])
    if found is None:
        return
    for row, task in enumerate(found.tasks.tolist()):
        if given and task not in given:
            continue
        _, score, near = _told(found, row)
        cells = [column.names[column.codes[row]] if column.codes[row] else None for column in columns]
        yield csv_row([task, score, near, *cells])


def _encoded(found: MapPoints) -> bytes:
    """Return points as a script reads them: the length of the JSON, the JSON, and arrays that begin at multiples of 8.

    The arrays: tasks (float64, in which each of Label Studio's ids is exact), places (float32, x and y by turns),
    scores, neighbourhoods, and the codes of each column (uint8).
    """
    told = {
        "count": len(found.tasks),
        "columns": [
            {
                "name": column.name,
                "title": column.title,
                "names": column.names,
                "pinned": column.pinned,
                "steps": column.steps,
            }
            for column in found.columns
        ],
    }
    head = json.dumps(told, ensure_ascii=False).encode()
    head += b" " * (-(len(head) + 4) % 8)
    arrays: list[NDArray[Any]] = [
        found.tasks.astype("<f8"),
        found.points.astype("<f4"),
        found.scores,
        (found.near + 1).astype(np.uint8),
        *(column.codes for column in found.columns),
    ]
    return b"".join([len(head).to_bytes(4, "little"), head, *(array.tobytes() for array in arrays)])
