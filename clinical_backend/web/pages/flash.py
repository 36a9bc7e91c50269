"""A message that the next page shows once: what came of a form that was sent."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fastapi import Request, Response

    from clinical_backend.web.pages.signing import Signer

__all__ = ["Flash", "forget_flash", "keep_flash", "read_flash"]

_COOKIE = "clinical_flash"
_SECONDS = 60  # the page that shows it follows at once; a slow one is given a minute
_LONGEST = 1200
"""Bytes: with a link, signed and encoded, some 2,000, and 3,500 where all are quotes, of the 4,096 of a cookie (RFC
6265, 6.1), more of which browsers drop."""


@dataclass(frozen=True, slots=True)
class Flash:
    """What came of a form.

    Attributes
    ----------
    text
        A sentence for people.
    wrong
        Whether it did not work.
    link, link_text
        Where to go on, if there is such a place.
    """

    text: str
    wrong: bool = False
    link: str | None = None
    link_text: str | None = None


def keep_flash(response: Response, signer: Signer, flash: Flash, *, secure: bool) -> None:
    """Give a message to the browser for the page that it is sent to."""
    start = flash.text.encode(errors="replace")[:_LONGEST].decode(errors="ignore")
    values = asdict(flash) | {"text": start if len(start) == len(flash.text) else f"{start}…"}
    response.set_cookie(
        _COOKIE,
        signer.sign(_COOKIE, json.dumps(values, ensure_ascii=False)),
        max_age=_SECONDS,
        path="/projects",
        secure=secure,
        httponly=True,
        samesite="strict",
    )


def read_flash(request: Request, signer: Signer) -> Flash | None:
    """Return the message that the browser brings, if it is ours and not old."""
    text = signer.read(_COOKIE, request.cookies.get(_COOKIE, ""), seconds=_SECONDS)
    return None if text is None else Flash(**json.loads(text))


def forget_flash(response: Response) -> None:
    """Have the browser drop the message, now that it is shown."""
    response.delete_cookie(_COOKIE, path="/projects")
