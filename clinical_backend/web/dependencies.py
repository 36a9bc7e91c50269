"""What requests are given of the application."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Request

from clinical_backend.service.backend import Backend

__all__ = ["ThisBackend"]


async def _backend(request: Request) -> Backend:  # a plain function would cost a thread
    backend: Backend = request.app.state.backend
    return backend


ThisBackend = Annotated[Backend, Depends(_backend)]
