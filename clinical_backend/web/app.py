"""The application: routes, error replies, and the runner's life."""

from __future__ import annotations

import logging
import os
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse

from clinical_backend.backend import Backend
from clinical_backend.errors import ClinicalError, StorageError
from clinical_backend.jobs.local import LocalRunner
from clinical_backend.jobs.redis_connection import connect_redis
from clinical_backend.jobs.rq import RedisRunner
from clinical_backend.logs import configure_logs
from clinical_backend.settings import load_settings
from clinical_backend.storage.database import Database
from clinical_backend.storage.stores import Stores
from clinical_backend.web.backend_api import make_router
from clinical_backend.web.operations import make_operations_router
from clinical_backend.web.security import BasicAuthentication, BodyLimits

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from fastapi import Request

    from clinical_backend.jobs.runner import JobRunner
    from clinical_backend.settings import Settings

__all__ = ["make_app", "make_app_of_process"]

logger = logging.getLogger(__name__)


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
        database = app.state.database = Database.of(settings)
        app.state.redis = redis
        if runner is not None:
            rounds = runner
        elif redis is not None:
            rounds = RedisRunner(settings, Stores(database), redis)
        else:
            rounds = LocalRunner(settings.environment(os.environ))
        backend = app.state.backend = Backend(settings, database, rounds)
        rounds.start()
        try:
            yield
        finally:
            backend.close()
            rounds.stop()
            database.close()
            if redis is not None:
                redis.close()

    app = FastAPI(title="Clinical backend", lifespan=lifespan, docs_url=None, redoc_url=None)
    app.include_router(make_router())
    app.include_router(make_operations_router())
    app.add_middleware(BodyLimits)
    app.add_middleware(BasicAuthentication, credentials=settings.basic_auth)
    app.add_exception_handler(RequestValidationError, _malformed)
    app.add_exception_handler(ClinicalError, _refused)
    app.add_exception_handler(Exception, _fault)
    return app


def make_app_of_process() -> FastAPI:
    """Return the server of one process of several: it reads the settings itself, and logs by them."""
    settings = load_settings()
    configure_logs(settings)
    return make_app(settings)


async def _malformed(_request: Request, error: Exception) -> JSONResponse:
    """Name the fields that are wrong, without their values."""
    found = error.errors() if isinstance(error, RequestValidationError) else []
    wrong = [f"{'.'.join(str(part) for part in item['loc'])}: {item['msg']}" for item in found]
    return JSONResponse({"detail": wrong}, 422)


async def _refused(request: Request, error: Exception) -> JSONResponse:
    logger.warning("%s %s: %s", request.method, request.url.path, error)
    return JSONResponse({"detail": str(error)}, 503 if isinstance(error, StorageError) else 400)


async def _fault(request: Request, _error: Exception) -> JSONResponse:
    # The server logs the traceback itself; the caller gets none of it.
    return JSONResponse({"detail": f"A fault of the backend in {request.url.path}. Its log says more."}, 500)
