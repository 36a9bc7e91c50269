"""Bodies of requests as JSON that every database and every reply can hold."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastapi import Request
from fastapi.routing import APIRoute

from clinical_backend.text import read_json

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from fastapi.responses import Response

__all__ = ["StorableRoute"]


class _StorableRequest(Request):
    async def json(self) -> Any:  # noqa: ANN401
        return read_json(await self.body())


class StorableRoute(APIRoute):
    """A route that writes out in its body what is no text: one task must not stop a call."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return what answers a request."""
        answer = super().get_route_handler()

        async def handler(request: Request) -> Response:
            return await answer(_StorableRequest(request.scope, request.receive))

        return handler
