"""The queue: the tasks that readers get next, filtered and sorted as the address says."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Annotated
from urllib.parse import urlencode

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response

from clinical_backend.labelstudio.contract import ProjectId
from clinical_backend.origins import DRAWS_OF_QUEUE
from clinical_backend.service.waiting_tasks import SORTS, QueueFilter, WaitingTask, choose_waiting, count_choices
from clinical_backend.strategy.reasons import chance_of, reason_of
from clinical_backend.web.pages.routes import Pages
from clinical_backend.web.pages.site import ThisSite

if TYPE_CHECKING:
    from collections.abc import Mapping

    from clinical_backend.storage.report import Evaluation
    from clinical_backend.storage.schema import Round

__all__ = ["router"]

_PAGE = 24
"""Full rows of two, three, four, or six images, a few screens of them; by eye."""
_MOST = 100_000
"""Tasks of a queue: more than QUEUE_SIZE allows, so that all are counted."""
_SECOND = "second"
"""Why a task stands in the queue that is read again; no draw is called so."""
_WHY = {**{draw.value: text for draw, text in DRAWS_OF_QUEUE.items()}, _SECOND: "second reading"}
_SORTED = {"place": "place in the queue", "chance": "likeliest rare first", "doubt": "least sure class first"}

Number = Annotated[int, Query(alias="round", ge=0, lt=2**31)]
Chosen = Annotated[str, Query(max_length=1000)]

router = APIRouter(include_in_schema=False)


@router.get("/projects/{project_id}/queue")
def queue(
    request: Request,
    site: ThisSite,
    project_id: ProjectId,
    page: Annotated[int, Query(ge=1, le=10_000)] = 1,
    why: Chosen = "",
    target: Chosen = "",
    said: Chosen = "",
    site_: Annotated[str, Query(alias="site", max_length=1000)] = "",
    sort: Chosen = SORTS[0],
) -> Response:
    """Show the tasks that readers get next."""
    project = site.project(project_id)
    published = site.stores.rounds.published(project_id)
    rows = [] if published is None else site.stores.rounds.open_queue(published, limit=_MOST)[0]
    sites = site.stores.images.sites(project_id, [row.task_id for row in rows])
    wanted = QueueFilter(why, target, said, site_, sort if sort in SORTS else SORTS[0])
    found = choose_waiting(rows, wanted, sites)
    again = sorted(site.stores.second_readings.open_tasks(project_id))
    pages = Pages(page, _PAGE, len(again) if why == _SECOND else len(found))
    part = slice(pages.offset, pages.offset + pages.size)
    shown = [] if why == _SECOND else found[part]
    draws, targets, classes = count_choices(rows)
    evaluation = published.report.evaluation if published else None
    tasks = [
        (one, reason_of(one.row, with_chance=False), chance_of(one.row), _called(evaluation, published, one))
        for one in shown
    ]
    again_shown = again[part] if why == _SECOND else []
    given = {"why": why, "target": target, "said": said, "site": site_}
    given |= {"sort": "" if wanted.sort == SORTS[0] else wanted.sort}
    query = urlencode({name: value for name, value in given.items() if value})
    return site.page(
        request,
        "queue.html",
        project=project,
        here="queue",
        round=published,
        waiting=len(rows),
        tasks=tasks,
        again=again_shown,
        pages=pages,
        studies=site.stores.studies.all(project_id, [*(one.row.task_id for one in shown), *again_shown]),
        tags={task: tag.steer for task, tag in site.stores.page_tags.open(project_id).items()},
        wanted=given,
        query=query,
        back=_address(project_id, query, page),
        filters=[
            ("why", "Why", {name: (text, _count(name, draws, again)) for name, text in _WHY.items()}),
            ("target", "Sought for", {name: (name, count) for name, count in targets.items()}),
            ("said", "Predicted", {name: (name, count) for name, count in classes.items()}),
            ("site", "Site", {name: (name, count) for name, count in sorted(Counter(sites.values()).items())}),
        ],
        sorts=_SORTED,
    )


@router.get("/projects/{project_id}/queue/waiting")
def waiting(site: ThisSite, project_id: ProjectId, number: Number) -> dict[str, object]:
    """Say which tasks of a round's queue wait, and whose queue readers get: a page that is open asks."""
    site.project(project_id)
    published = site.stores.rounds.published(project_id)
    shown = site.stores.rounds.with_numbers(project_id, [number])
    tasks = [task for one in shown for task in site.stores.rounds.open_tasks(one)]
    return {"round": None if published is None else published.number, "tasks": tasks}


def _address(project_id: int, query: str, page: int) -> str:
    parts = "&".join(filter(None, [query, f"page={page}" if page > 1 else ""]))
    return f"/projects/{project_id}/queue{'?' if parts else ''}{parts}"


def _count(name: str, draws: Mapping[str, int], again: list[int]) -> int:
    return len(again) if name == _SECOND else draws.get(name, 0)


def _called(evaluation: Evaluation | None, published: Round | None, task: WaitingTask) -> tuple[int, int] | None:
    """Return how often the predicted class was right of how often it was said, where the judged classifier said it."""
    judged = published is not None and published.report.preannotations in {None, "head", "none"}
    predicted = task.row.predicted
    return evaluation.called(predicted) if evaluation is not None and judged and predicted else None
