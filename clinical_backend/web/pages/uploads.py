"""Forms with files, bounded in number and size before they are read."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from fastapi import status
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from fastapi import Request
    from starlette.datastructures import FormData

    from clinical_backend.web.pages.site import Site

__all__ = ["MOST_BYTES", "upload_form", "uploads_of"]

MOST_BYTES = 64 * 2**20
"""Of a form: what one image of a task may have."""
_MOST_FIELDS = 10


@asynccontextmanager
async def upload_form(request: Request, site: Site, *, most_files: int, refusal: str) -> AsyncIterator[FormData]:
    """Read a form with files that one of our pages gave out; its files are gone when it is left.

    Parameters
    ----------
    refusal
        What is said of a form that is too large, or that cannot be read.
    """
    too_much = HTTPException(status.HTTP_413_CONTENT_TOO_LARGE, refusal)
    announced = request.headers.get("content-length", "")
    if announced.isdecimal() and int(announced) > MOST_BYTES:
        raise too_much
    try:
        async with request.form(max_files=most_files, max_fields=_MOST_FIELDS) as form:
            site.check_form(request, str(form.get("token", "")))
            yield form
    except HTTPException as error:
        if error.status_code != status.HTTP_400_BAD_REQUEST:
            raise
        raise too_much from None


def uploads_of(form: FormData) -> list[UploadFile]:
    """Return the files of a form that have a name: browsers send a nameless one for an empty field."""
    return [one for one in form.getlist("files") if isinstance(one, UploadFile) and one.filename]
