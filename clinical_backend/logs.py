"""Logs as text for people, or as JSON lines that carry the ids of project and round."""

from __future__ import annotations

import logging
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

from pythonjsonlogger.core import RESERVED_ATTRS
from pythonjsonlogger.json import JsonFormatter

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from clinical_backend.settings import Settings

__all__ = ["configure_logs", "log_context"]

_TEXT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
_context: ContextVar[Mapping[str, int]] = ContextVar("log_context", default={})  # noqa: B039 - never changed


@contextmanager
def log_context(**ids: int) -> Iterator[None]:
    """Give every record that is logged within the block these ids, such as ``project`` and ``round``."""
    token = _context.set({**_context.get(), **ids})
    try:
        yield
    finally:
        _context.reset(token)


def configure_logs(settings: Settings) -> None:
    """Send what this process logs to its standard error, in the format that the settings ask for."""
    handler = logging.StreamHandler()
    handler.addFilter(_add_context)
    handler.setFormatter(_json_formatter() if settings.log_format == "json" else logging.Formatter(_TEXT))
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    for ours in ("clinical_backend", "uvicorn"):
        logging.getLogger(ours).setLevel(settings.log_level)


def _add_context(record: logging.LogRecord) -> bool:
    vars(record).update(_context.get())
    return True


def _json_formatter() -> logging.Formatter:
    return JsonFormatter(
        "%(levelname)s %(name)s %(message)s",
        rename_fields={"levelname": "level", "name": "logger"},
        reserved_attrs=[*RESERVED_ATTRS, "color_message"],  # what uvicorn writes for terminals
        timestamp=True,
    )
