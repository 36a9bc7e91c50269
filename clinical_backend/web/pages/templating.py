"""Templates, and how numbers and times are written in them."""

from __future__ import annotations

import hashlib
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from fastapi.staticfiles import StaticFiles
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from clinical_backend.findings.interval import interval_of_share
from clinical_backend.multilabel import as_words
from clinical_backend.service.completion import say_recall
from clinical_backend.service.set_aside_words import say_test_set
from clinical_backend.strategy.outside import exemplar_of
from clinical_backend.web.pages.settings_form import orders

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.responses import Response
    from starlette.types import Scope

__all__ = ["StaticPart", "make_environment"]

_HERE = Path(__file__).parent
_STATIC = _HERE / "static"

_MINUTE, _HOUR, _DAY = 60, 3600, 86_400


class StaticPart(StaticFiles):
    """Serves the files that give pages their looks; browsers keep them, since their addresses change with them."""

    def __init__(self) -> None:
        super().__init__(directory=_STATIC)

    async def get_response(self, path: str, scope: Scope) -> Response:
        """Return a file."""
        response = await super().get_response(path, scope)
        response.headers["Cache-Control"] = "public, max-age=86400"
        return response


def make_environment() -> Environment:
    """Return the templates. What is put into them is escaped; a name that is not given is an error."""
    environment = Environment(
        loader=FileSystemLoader(_HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    filters: tuple[Callable[..., str | bool | int | None], ...] = (
        ago,
        as_words,
        coefficient,
        duration,
        exemplar_of,
        figure,
        moment,
        number,
        percent,
        say_recall,
        say_test_set,
        share,
    )
    environment.filters.update({one.__name__: one for one in filters})
    environment.globals["acquisitions"] = orders()
    environment.globals["static"] = _static_addresses().__getitem__
    return environment


def number(value: float) -> str:
    """Write a count with a comma between thousands."""
    return f"{value:,.0f}"


def figure(value: float) -> str:
    """Write a ratio with the digits that mean something: ``6.4``, ``23``."""
    return f"{value:.1f}" if abs(value) < 10 else f"{value:,.0f}"


def coefficient(value: float) -> str:
    """Write a coefficient that is 1 at best: ``0.83``."""
    return f"{value:.2f}"


def percent(value: float) -> str:
    """Write a share, with a digit after the point below 10 %."""
    return f"{value:.1%}" if 0 < value < 0.0995 else f"{value:.0%}"


def share(hits: int, cases: int) -> str:
    """Write a share as far as its cases carry it: the range that it lies in while they are few."""
    found = interval_of_share(hits, cases)
    if found.estimate is None and found.low is not None and found.high is not None:
        return f"{percent(found.low)} to {percent(found.high)}"
    return percent(hits / cases)


def duration(seconds: float) -> str:
    """Write a span of time in its two leading units at most."""
    if seconds < _MINUTE:
        return f"{max(1, round(seconds))} s"
    if seconds < _HOUR:
        return f"{round(seconds / _MINUTE)} min"
    hours, minutes = divmod(round(seconds / _MINUTE), 60)
    return f"{hours} h {minutes} min" if hours < 24 else f"{round(seconds / _DAY)} days"


def ago(moment_: float) -> str:
    """Write how long ago a time was, in seconds since the epoch."""
    seconds = time.time() - moment_
    return "just now" if seconds < 5 else f"{duration(seconds)} ago"


def moment(value: float) -> str:
    """Write a time, in seconds since the epoch, to the minute."""
    return f"{datetime.fromtimestamp(value, UTC):%Y-%m-%d %H:%M} UTC"


def _static_addresses() -> dict[str, str]:
    """Return the address of each static file; it changes with the content, so browsers may keep what they have."""
    return {
        path.name: f"/static/{path.name}?v={hashlib.sha256(path.read_bytes()).hexdigest()[:12]}"
        for path in _STATIC.iterdir()
    }
