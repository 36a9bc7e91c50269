"""The application: routes, error replies, and the runner's life."""

from __future__ import annotations

import gc
import logging
import os
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from fastapi import FastAPI, status
from fastapi.exception_handlers import http_exception_handler
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from clinical_backend.errors import ClinicalError, InstallationError, StorageError
from clinical_backend.jobs.local_runner import LocalRunner
from clinical_backend.jobs.redis_connection import connect_redis
from clinical_backend.jobs.redis_runner import RedisRunner
from clinical_backend.logs import configure_logs
from clinical_backend.service.backend import Backend
from clinical_backend.settings import load_settings
from clinical_backend.text import printable
from clinical_backend.web.backend_api import make_router
from clinical_backend.web.head import HeadAsGet
from clinical_backend.web.hosts import KnownHosts, known_hosts
from clinical_backend.web.operations import make_operations_router
from clinical_backend.web.pages import (
    actions,
    comparison,
    exemplars,
    field_search,
    images,
    model,
    model_card,
    outside_exemplars,
    phrasings,
    picture_search,
    queue,
    readers,
    second_look,
    similar,
    tags,
    testset,
    trail,
    troubles,
    word_search,
)
from clinical_backend.web.pages import map as map_page
from clinical_backend.web.pages import routes as pages
from clinical_backend.web.pages import settings as settings_page
from clinical_backend.web.pages.site import ForeignFormError, Site, UnknownProjectError
from clinical_backend.web.pages.templating import StaticPart
from clinical_backend.web.security import BasicAuthentication, BodyLimits, SameOrigin, SecurityHeaders, wants_page
from clinical_backend.workspace.workspace import open_workspace

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from fastapi import Request, Response

    from clinical_backend.jobs.runner import JobRunner
    from clinical_backend.settings import Settings

__all__ = ["make_app", "make_app_of_process"]

logger = logging.getLogger(__name__)

_STATUS: dict[type[ClinicalError], int] = {
    StorageError: 503,
    InstallationError: 409,
    UnknownProjectError: 404,
    ForeignFormError: 403,
}


def make_app(settings: Settings, runner: JobRunner | None = None) -> FastAPI:
    """Return the server of a backend.

    Parameters
    ----------
    settings
        Of the backend.
    runner
        Runs the rounds; by default workers that Redis reaches where the settings name one, and otherwise one
        supervised child process.
    """
    redis = None if settings.redis_url is None else connect_redis(settings)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        workspace = open_workspace(settings)
        app.state.database = workspace.stores.database
        app.state.redis = redis
        app.state.folder = settings.model_dir
        if runner is not None:
            rounds = runner
        elif redis is not None:
            rounds = RedisRunner(settings, workspace.stores, redis)
        else:
            rounds = LocalRunner(settings.environment(os.environ), settings.worker_timeout_seconds)
        backend = app.state.backend = Backend(workspace, rounds)
        site = app.state.site = Site(workspace)
        rounds.start()
        try:
            yield
        finally:
            site.close()
            backend.close()
            rounds.stop()
            workspace.close()
            if redis is not None:
                redis.close()

    app = FastAPI(title="Clinical backend", lifespan=lifespan, docs_url=None, redoc_url=None)
    app.include_router(make_router())
    app.include_router(make_operations_router())
    for part in (
        pages,
        images,
        queue,
        tags,
        similar,
        trail,
        map_page,
        troubles,
        actions,
        settings_page,
        model,
        comparison,
        model_card,
        second_look,
        readers,
        outside_exemplars,
        exemplars,
        picture_search,
        field_search,
        phrasings,
        word_search,
        testset,
    ):
        app.include_router(part.router)
    app.mount("/static", StaticPart())
    app.add_middleware(HeadAsGet)
    app.add_middleware(BodyLimits)
    app.add_middleware(SameOrigin, addresses=[settings.public_url, *settings.allowed_hosts])
    app.add_middleware(KnownHosts, names=known_hosts(settings))
    app.add_middleware(BasicAuthentication, credentials=settings.basic_auth, names=settings.basic_auth_names)
    app.add_middleware(SecurityHeaders)
    app.add_exception_handler(HTTPException, _not_done)
    app.add_exception_handler(RequestValidationError, _malformed)
    app.add_exception_handler(ClinicalError, _refused)
    app.add_exception_handler(Exception, _fault)
    return app


def make_app_of_process(settings: Settings | None = None) -> FastAPI:
    """Return the server that a process serves to its end.

    What is loaded by then lives as long as the process: no collection of garbage looks through it again. A third of a
    second look's time went that way, every few pages (``clinical bench dashboard``).

    Parameters
    ----------
    settings
        Of the backend; one process of several reads them itself, and logs by them.
    """
    if settings is None:
        settings = load_settings()
        configure_logs(settings)
    app = make_app(settings)
    gc.collect()
    gc.freeze()
    return app


async def _malformed(request: Request, error: Exception) -> Response:
    """Name the fields that are wrong, without their values."""
    found = error.errors() if isinstance(error, RequestValidationError) else []
    wrong = [f"{'.'.join(str(part) for part in item['loc'])}: {item['msg']}" for item in found]
    if wants_page(request):
        return _page(request, "There is no such page.", 404)
    return JSONResponse({"detail": wrong}, 422)


async def _not_done(request: Request, error: Exception) -> Response:
    if wants_page(request) and isinstance(error, HTTPException):
        text = "There is no such page." if error.status_code == status.HTTP_404_NOT_FOUND else str(error.detail)
        return _page(request, text, error.status_code)
    return await http_exception_handler(request, error)  # type: ignore[arg-type]


async def _refused(request: Request, error: Exception) -> Response:
    logger.warning("%s %s: %s", printable(request.method), printable(request.url.path), error)
    code = next((code for kind, code in _STATUS.items() if isinstance(error, kind)), 400)
    return _page(request, str(error), code) if wants_page(request) else JSONResponse({"detail": str(error)}, code)


async def _fault(request: Request, _error: Exception) -> Response:
    # The server logs where itself; the caller gets none of it.
    text = f"A fault of the backend in {request.url.path}. Its log says more."
    return _page(request, text, 500) if wants_page(request) else JSONResponse({"detail": text}, 500)


def _page(request: Request, text: str, code: int) -> Response:
    site: Site = request.app.state.site
    return site.page(request, "problem.html", status=code, text=text)
