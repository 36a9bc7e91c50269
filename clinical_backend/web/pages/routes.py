"""The pages of a project: what is stored, shown; nothing here waits for Label Studio."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from anyio.to_thread import run_sync
from fastapi import APIRouter, Query, Request
from fastapi.responses import RedirectResponse, Response, StreamingResponse

from clinical_backend.handover.tables import stored_table
from clinical_backend.jobs.stall import stalls
from clinical_backend.labelstudio.contract import HealthReply, ProjectId
from clinical_backend.origins import ORIGINS_IN_WORDS
from clinical_backend.service.findings import read_findings
from clinical_backend.storage.report import Kind
from clinical_backend.storage.schema import Round
from clinical_backend.storage.stores.projects import wait_left
from clinical_backend.storage.stores.statistics import statistics
from clinical_backend.storage.trail import TrailAction
from clinical_backend.web.pages.charts import found_chart
from clinical_backend.web.pages.progress import STAGES, Progress, progress_of
from clinical_backend.web.pages.site import Site, ThisSite
from clinical_backend.web.security import wants_page
from clinical_backend.workspace.controls import classes_of

if TYPE_CHECKING:
    from collections.abc import Collection

    from clinical_backend.service.status import ProjectStatus

__all__ = ["PageNumber", "Pages", "overview", "router"]

_WALL = 24
"""Cases to pick from: rows of two, three, four, six, eight or twelve come out even, on one screen or two."""

_CLASSES = 12
"""Those whose labels are counted one by one on the first page; by eye."""

PageNumber = Annotated[int, Query(ge=1, le=10_000)]


@dataclass(frozen=True, slots=True)
class Pages:
    """Which part of a list is shown."""

    number: int
    size: int
    count: int

    @property
    def last(self) -> int:
        """Number of the last page."""
        return max(1, -(-self.count // self.size))

    @property
    def offset(self) -> int:
        """How many items come before it."""
        return (self.number - 1) * self.size


router = APIRouter(include_in_schema=False)
"""The routes. A project's first page shares its address with the JSON of its status."""


@router.get("/", include_in_schema=True, response_model=HealthReply)
async def root(request: Request) -> HealthReply | Response:
    """Say that the server is alive; a person is sent to the pages."""
    return RedirectResponse("/projects", 303) if wants_page(request) else HealthReply()


@router.get("/favicon.ico")
async def icon() -> RedirectResponse:
    """Lead to the icon; a browser asks here where a reply is no page that names it."""
    return RedirectResponse("/static/icon.svg", 301)


@router.get("/projects")
def projects(request: Request, site: ThisSite) -> Response:
    """List the projects."""
    stalled = stalls(site.stores.database, site.settings)
    titles = {project: site.project(project).title for project in site.stores.projects.ids()}
    found = statistics(site.stores.database)
    return site.page(request, "projects.html", projects=found, titles=titles, stalled=stalled)


@router.get("/token")
def token(request: Request, site: ThisSite) -> dict[str, str]:
    """Give the forms of a page that was left open a token that counts on: no other site can read it."""
    return {"token": site.token(request)}


@router.get("/projects/{project_id}/fragments/now")
def now(request: Request, site: ThisSite, project_id: ProjectId) -> Response:
    """Show what happens at this moment."""
    return site.fragment(request, "now.html", **_now(site.status(project_id)))


@router.get("/projects/{project_id}/fragments/found")
def found(request: Request, site: ThisSite, project_id: ProjectId) -> Response:
    """Show the yield."""
    return site.fragment(request, "found.html", **_found(site, site.project(project_id).id))


@router.get("/projects/{project_id}/labels.csv")
def labels(site: ThisSite, project_id: ProjectId) -> Response:
    """Give the labels of the last round with their origins and weights, as a file."""
    project = site.project(project_id)
    options = {"form": "csv", "images": "none", "fields": []}
    site.stores.trail.append(TrailAction.LABELS_EXPORTED, project.id, options=options)
    return StreamingResponse(
        stored_table(site.workspace.project(project.id)),
        media_type="text/csv; charset=utf-8",
        headers={"Content-Disposition": f'attachment; filename="project-{project.id}-labels.csv"'},
    )


@router.get("/projects/{project_id}/fragments/target")
def target(request: Request, site: ThisSite, project_id: ProjectId) -> Response:
    """Show what is looked for, and what the lead is asked."""
    return site.fragment(request, "target.html", **_target(site, site.status(project_id)))


@router.get("/projects/{project_id}/fragments/connection")
async def connection(request: Request, site: ThisSite, project_id: ProjectId) -> Response:
    """Show what the doctor finds."""
    project = await run_sync(site.project, project_id)
    findings = await site.checks.run(project_id)
    return site.fragment(request, "connection.html", project=project, findings=findings)


def overview(site: Site, request: Request, project_id: int) -> Response:
    """Return the first page of a project: what happens now, and what was found."""
    status = site.status(project_id)
    parts = _now(status) | _target(site, status) | {"troubles": sum(status.troubles.values())}

    def late() -> str:
        return site.render("found.html", request, **_found(site, project_id))

    return site.page_in_parts(request, "overview.html", late, here="overview", **parts)


def _now(status: ProjectStatus) -> dict[str, Any]:
    project, running = status.project, status.running
    return {
        "project": project,
        "stalled": status.stalled,
        "backbone": status.backbone,
        "latest": status.latest,
        "published": status.published,
        "running": running,
        "progress": None if running is None else _progress(running, status.published),
        "stages": STAGES,
        "drift": status.drift,
        "resting": status.resting,
        "low": status.is_queue_low,
        "to_go": status.labels_until_round,
        "delay": wait_left(project.not_before, time.time()) if project.request is not None else 0.0,
    }


def _target(site: Site, status: ProjectStatus) -> dict[str, Any]:
    project, published, named = status.project, status.published, status.looked_for
    by_tags = () if named or published is None else published.report.target
    tags = site.stores.page_tags.open(project.id)
    which = any(question.kind is Kind.WHICH for question in status.questions)
    # What is picked is not followed yet while its round is due: others are picked beside it.
    picking = any(published is None or tag.tagged_at > published.started_at for tag in tags.values())
    return {
        "project": project,
        "questions": status.questions,
        "which": which,
        "classes": classes_of(site.workspace.project(project.id)),
        "cases": site.stores.labels.cases(project.id),
        "named": named,
        "left": status.drift.left,
        "worded": [one.finding for one in site.stores.phrasings.all(project.id)],
        "by_tags": by_tags,
        "alike": published.report.counts.exemplars if published else 0,
        "tags": {task: tag.steer for task, tag in tags.items()},
        "wall": _varied(site, project.id, published) if which or (picking and not named and not by_tags) else [],
    }


def _varied(site: Site, project_id: int, published: Round | None) -> list[int]:
    """Return cases that nobody answered, to be picked from: the queue while nothing is looked for is varied."""
    if published is not None:
        waiting, _ = site.stores.rounds.open_queue(published, limit=_WALL)
        return [row.task_id for row in waiting]
    reserved = site.stores.test_sets.ids(project_id)
    tasks = [task for task in site.stores.images.tasks(project_id) if task not in reserved]
    return tasks[:: -(-len(tasks) // _WALL)] if tasks else []


def _progress(running: Round, published: Round | None) -> Progress:
    return progress_of(
        running.stage,
        running.done,
        running.total,
        elapsed=max(0.0, time.time() - running.started_at),
        before=published.report.seconds if published else {},
    )


def _found(site: Site, project_id: int) -> dict[str, Any]:
    findings = read_findings(site.workspace.project(project_id))
    return {
        "project": site.project(project_id),
        "found": findings,
        "chart": found_chart(findings.curve, findings.prevalence),
        "balance": _balance(site, project_id, findings.target),
        "origins": ORIGINS_IN_WORDS,
    }


def _balance(site: Site, project_id: int, target: Collection[str]) -> list[tuple[str, int]]:
    """Return how many labels each class has, first what is looked for; those of the last ones together, without a name.

    Without any label there is nothing to compare.
    """
    cases = site.stores.labels.cases(project_id)
    if not cases:
        return []
    classes = dict.fromkeys([*classes_of(site.workspace.project(project_id)), *cases])
    counts = [(name, cases.get(name, (0, 0))[0]) for name in classes]
    counts.sort(key=lambda one: (one[0] not in target, -one[1]))
    rest = counts[_CLASSES:]
    return [*counts[:_CLASSES], *([("", sum(count for _, count in rest))] if rest else [])]
