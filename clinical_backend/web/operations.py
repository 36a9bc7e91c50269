"""What operators' tools ask: whether the server may get requests, and its metrics."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse, Response
from prometheus_client import CONTENT_TYPE_LATEST
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from clinical_backend.errors import JobQueueError, StorageError
from clinical_backend.jobs.redis_connection import require_redis
from clinical_backend.jobs.stall import stalls
from clinical_backend.storage.database import Database
from clinical_backend.storage.space import require_space
from clinical_backend.web.metrics import render_metrics

if TYPE_CHECKING:
    from pathlib import Path

    from redis import Redis

    from clinical_backend.web.pages.site import Site

__all__ = ["make_operations_router"]


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
