"""The pages of readers: what they did, and the cases that were read twice, to be discussed."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated
from urllib.parse import urlencode

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response

from clinical_backend.labelstudio.contract import ProjectId
from clinical_backend.service.discussion import (
    DIFFERENT,
    OPEN,
    SAME,
    SETTLED,
    CaseFilter,
    cases_of,
    choose_cases,
    count_cases,
)
from clinical_backend.service.readers import DAYS, read_readers
from clinical_backend.service.second_readings import Outcome, Why
from clinical_backend.web.pages.charts import bars
from clinical_backend.web.pages.routes import Pages
from clinical_backend.web.pages.site import ThisSite

if TYPE_CHECKING:
    from collections.abc import Iterable

    from clinical_backend.service.readers import ReaderFigures, ReaderNames

__all__ = ["router"]

_PAGE = 24
"""Full rows of two, three, four, or six cases, a few screens of them; by eye."""
_OUTCOMES = {
    Outcome.RIGHT: "the same",
    Outcome.OPEN: "still open",
    Outcome.CHANGED: "changed",
    Outcome.KEPT: "stays as it was",
}
_WHY = {
    Why.DOUBT: "Read again since the label was doubtful.",
    Why.LEAD: "Read again since it was asked for here.",
    Why.DRAWN: "Read again since it was drawn at random.",
    Why.UNASKED: "Read twice without being asked for.",
    Why.PAGE: "Read again on our own page, without the label.",
    Why.WORD: "Looked at on our own page.",
}
_STATES = {DIFFERENT: "answers that differ", OPEN: "still open", SETTLED: "settled", SAME: "answers that are the same"}

Chosen = Annotated[str, Query(max_length=1000)]

router = APIRouter(include_in_schema=False)


@router.get("/projects/{project_id}/readers")
def readers(request: Request, site: ThisSite, project_id: ProjectId) -> Response:
    """Show what readers did, without ranking them."""
    project, workspace = site.project(project_id), site.workspace.project(project_id)
    names = site.reader_names(project)
    now = time.time()
    differing = cases_of(workspace, CaseFilter())
    figures = read_readers(workspace, names, differing, now=now)
    dates = [datetime.fromtimestamp(now, UTC).date() - timedelta(days=back) for back in reversed(range(DAYS))]
    most = max((max(one.days) for one in figures), default=0)
    return site.page(
        request,
        "readers.html",
        project=project,
        here="readers",
        show=names.show,
        readers=figures,
        rows=[(one, bars(one.days, most)) for one in figures],
        most=most,
        dates=dates,
        by_day=[
            (date, counts)
            for date, *counts in zip(reversed(dates), *(reversed(one.days) for one in figures), strict=True)
            if any(counts)
        ],
        classes=_classes(figures),
        cases=len(differing),
        open=sum(one.outcome is Outcome.OPEN for one in differing),
    )


@router.get("/projects/{project_id}/readers/cases")
def cases(
    request: Request,
    site: ThisSite,
    project_id: ProjectId,
    page: Annotated[int, Query(ge=1, le=10_000)] = 1,
    show: Chosen = DIFFERENT,
    said: Chosen = "",
    pair: Chosen = "",
) -> Response:
    """Show cases that were read twice, with the answers side by side."""
    project, workspace = site.project(project_id), site.workspace.project(project_id)
    names = site.reader_names(project)
    wanted = CaseFilter(show if show in _STATES else DIFFERENT, said, "" if names.show == "off" else pair)
    every = cases_of(workspace, wanted)
    found = choose_cases(every, wanted)
    pages = Pages(page, _PAGE, len(found))
    shown = found[pages.offset : pages.offset + pages.size]
    classes, pairs = count_cases(every)
    given = {"show": wanted.state, "said": wanted.name, "pair": wanted.pair}
    query = urlencode({name: value for name, value in given.items() if value})
    at = "&".join(filter(None, [query, f"page={page}" if page > 1 else ""]))
    return site.page(
        request,
        "cases.html",
        project=project,
        here="readers",
        cases=shown,
        pages=pages,
        names=names,
        studies=site.stores.studies.all(project_id, [one.task_id for one in shown]),
        wanted=given,
        query=query,
        back=f"/projects/{project_id}/readers/cases{'?' if at else ''}{at}",
        states=_STATES,
        filters=[
            ("said", "Class", {name: (name, count) for name, count in sorted(classes.items())}),
            ("pair", "Readers", {} if names.show == "off" else _pairs(pairs, names)),
        ],
        outcomes=_OUTCOMES,
        why=_WHY,
    )


def _pairs(counts: dict[str, int], names: ReaderNames) -> dict[str, tuple[str, int]]:
    """Return how each pair of readers is called, and how many cases it has, by their names."""
    called = {}
    for pair, count in counts.items():
        both = sorted(pair.split("-"), key=names.order)
        called[pair] = (" and ".join(map(names.of, both)), count)
    return dict(sorted(called.items(), key=lambda item: item[1][0].casefold()))


def _classes(figures: Iterable[ReaderFigures]) -> list[str]:
    return sorted({name for one in figures for name in one.agreement.by_class})
