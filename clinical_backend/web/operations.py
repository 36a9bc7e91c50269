"""What operators' tools ask: whether the server may get requests, and metrics in Prometheus' format."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse, Response
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from clinical_backend.errors import JobQueueError, StorageError
from clinical_backend.jobs.redis_connection import require_redis
from clinical_backend.jobs.stall import stalls
from clinical_backend.rounds.due import is_running_low
from clinical_backend.storage.database import Database
from clinical_backend.storage.space import require_space
from clinical_backend.storage.stores.statistics import ProjectStatistics, statistics

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from prometheus_client import Metric
    from redis import Redis

    from clinical_backend.settings import Settings
    from clinical_backend.web.pages.site import Site

__all__ = ["make_operations_router", "render_metrics"]


async def _database(request: Request) -> Database:
    database: Database = request.app.state.database
    return database


ThisDatabase = Annotated[Database, Depends(_database)]


def make_operations_router() -> APIRouter:
    """Return the routes. ``/health`` is among Label Studio's own calls."""
    router = APIRouter()

    @router.get("/ready")
    def ready(request: Request, database: ThisDatabase) -> JSONResponse:
        """Say whether all is well, for whoever watches; otherwise what is not, and which projects stand still."""
        problems = {
            name: problem
            for name, problem in (
                ("disk", _problem_of_disk(request.app.state.folder)),
                ("database", _problem_of_database(database)),
                *_redis(request.app.state.redis),
            )
            if problem is not None
        }
        stalled = {} if problems else _stalled(request, database)
        well = not (problems or stalled)
        return JSONResponse({"ready": well, "problems": problems, "stalled": stalled}, 200 if well else 503)

    @router.get("/metrics")
    def metrics(request: Request, database: ThisDatabase) -> Response:
        """Return counts of all projects."""
        site: Site = request.app.state.site
        return Response(render_metrics(database, site.settings), media_type=CONTENT_TYPE_LATEST)

    return router


def _problem_of_database(database: Database) -> str | None:
    try:
        with database.read() as session:
            session.execute(text("SELECT 1 FROM projects LIMIT 1"))
        database.require_writable()
    except StorageError as error:
        return str(error)
    except SQLAlchemyError as error:
        return f"The database cannot be read ({type(error).__name__})."
    return None


def _stalled(request: Request, database: Database) -> dict[str, str]:
    site: Site = request.app.state.site
    return {f"project {project_id}": problem for project_id, problem in stalls(database, site.settings).items()}


def _problem_of_disk(folder: Path) -> str | None:
    try:
        require_space(folder)
    except StorageError as error:
        return str(error)
    return None


def _redis(connection: Redis | None) -> list[tuple[str, str | None]]:
    if connection is None:
        return []
    try:
        require_redis(connection)
    except JobQueueError as error:
        return [("redis", str(error))]
    return [("redis", None)]


_GAUGES = {
    "queue_left": "Tasks of the published queue that nobody annotated yet.",
    "due_seconds": "Seconds that a round has been due; 0 while none is.",
    "progress_seconds": "Seconds since the running round last got on; 0 while none runs.",
    "failures": "Rounds that failed in a row.",
    "has_problem": "1 while something is wrong that somebody should look at.",
    "labels": "Tasks with a class.",
    "exemplars": "Tasks tagged as exemplars.",
    "rare_found": "Labels that give something that the published queue looks for.",
    "stands_back": "1 while another installation serves the project, so that this one does not.",
    "images": "Images known.",
    "unreadable": "Images that could not be read.",
    "waiting": "Images that no round has tried to read yet.",
}


class _Collector:
    def __init__(self, projects: list[ProjectStatistics]) -> None:
        self._projects = projects

    def collect(self) -> Iterator[Metric]:
        for name, meaning in _GAUGES.items():
            gauge = GaugeMetricFamily(f"clinical_{name}", meaning, labels=["project"])
            for project in self._projects:
                gauge.add_metric([str(project.project_id)], float(getattr(project, name)))
            yield gauge
        low = GaugeMetricFamily(
            "clinical_queue_low", "1 while readers are near the end of the published queue.", labels=["project"]
        )
        for project in self._projects:
            low.add_metric([str(project.project_id)], float(is_running_low(project.queue_left, project.queue)))
        yield low
        repairs = CounterMetricFamily(
            "clinical_repairs", "What was put right in a project in Label Studio.", labels=["project"]
        )
        for project in self._projects:
            repairs.add_metric([str(project.project_id)], project.repairs)
        yield repairs
        yield from self._rounds()
        stages = GaugeMetricFamily(
            "clinical_stage_seconds", "Seconds of each stage of the published round.", labels=["project", "stage"]
        )
        for project in self._projects:
            for stage, seconds in project.stage_seconds.items():
                stages.add_metric([str(project.project_id), stage], seconds)
        yield stages

    def _rounds(self) -> Iterator[Metric]:
        labels = ["project", "state", "stage"]
        running = GaugeMetricFamily(
            "clinical_rounds_running", "Rounds that run, by stage.", labels=["project", "stage"]
        )
        ended = CounterMetricFamily("clinical_rounds", "Rounds that ended, by state and last stage.", labels=labels)
        seconds = CounterMetricFamily("clinical_round_seconds", "Seconds that ended rounds took.", labels=labels)
        for project in self._projects:
            identifier = str(project.project_id)
            for row in project.rounds:
                if row.state == "running":
                    running.add_metric([identifier, row.stage], row.rounds)
                else:
                    ended.add_metric([identifier, row.state.value, row.stage], row.rounds)
                    seconds.add_metric([identifier, row.state.value, row.stage], row.seconds)
        yield from (running, ended, seconds)


def render_metrics(database: Database, settings: Settings) -> bytes:
    """Return the metrics of all projects in Prometheus' text format: counts by project id, no patient data."""
    registry = CollectorRegistry()
    stalled = stalls(database, settings)
    counted = statistics(database)
    registry.register(
        _Collector([replace(one, has_problem=one.has_problem or one.project_id in stalled) for one in counted])
    )
    return generate_latest(registry)
