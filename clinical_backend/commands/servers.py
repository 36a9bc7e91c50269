"""Commands that run until they are told to end: the server, and workers of their own."""

from __future__ import annotations

import logging
import os
from typing import Annotated

import typer

from clinical_backend.commands.shared import read_settings

__all__ = ["serve", "worker"]

logger = logging.getLogger(__name__)

_LAST_REQUESTS_SECONDS = 30
"""How long requests in progress may take when the server is told to end."""

_KEEP_ALIVE_SECONDS = 75
"""Longer than clients and proxies keep an idle connection, so that none sends into one that is being closed."""


def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on, instead of HOST.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on, instead of PORT.", min=0, max=65535)] = None,
) -> None:
    """Serve Label Studio's calls and run rounds. Settings come from the environment and .env."""
    # Processes that this one starts read there where it listens.
    os.environ.update({name: str(value) for name, value in (("HOST", host), ("PORT", port)) if value is not None})
    import uvicorn

    from clinical_backend.service.exposure import examine_exposure, require_consent
    from clinical_backend.storage.opening import open_database
    from clinical_backend.system.connectivity import trusted_authorities
    from clinical_backend.web.app import make_app_of_process
    from clinical_backend.web.hosts import known_hosts
    from clinical_backend.web.http_protocol import TimelyProtocol

    settings = read_settings()
    settings.api_key  # noqa: B018 - refuses to start without one
    require_consent(settings)
    known_hosts(settings)
    trusted_authorities()
    open_database(settings).close()  # here a refusal is a sentence, in the server a traceback
    for finding in examine_exposure(settings):
        logger.warning("%s %s", finding.message, finding.cure)
    several = f"{make_app_of_process.__module__}:{make_app_of_process.__name__}"
    uvicorn.run(
        make_app_of_process(settings) if settings.workers == 1 else several,
        factory=settings.workers > 1,
        workers=settings.workers,
        host=settings.host,
        port=settings.port,
        http=TimelyProtocol,
        log_config=None,
        access_log=False,
        timeout_keep_alive=_KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=_LAST_REQUESTS_SECONDS,
    )


def worker(
    embedded: Annotated[bool, typer.Option("--embedded", hidden=True, help="For a server that starts it.")] = False,
    watched: Annotated[bool, typer.Option("--watched", hidden=True, help="For the command that starts it.")] = False,
) -> None:
    """Run rounds that servers queue in Redis (REDIS_URL): any number of workers, on any number of machines."""
    from clinical_backend.jobs.child_process import give_signs

    settings = read_settings()
    if not (embedded or watched):
        from clinical_backend.jobs.supervisor import watch_worker

        raise typer.Exit(watch_worker(settings))
    give_signs(settings)  # before what takes long to import
    if embedded:
        from clinical_backend.jobs.local_worker import run_worker

        run_worker(settings)
    else:
        from clinical_backend.jobs.child_process import end_with_input
        from clinical_backend.jobs.redis_worker import run_redis_worker

        end_with_input()
        run_redis_worker(settings)
