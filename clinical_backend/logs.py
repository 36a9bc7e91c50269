"""Logs as text for people, or as JSON lines that carry the ids of project and round."""

from __future__ import annotations

import logging
import sys
import threading
import time
import traceback
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from pythonjsonlogger.core import RESERVED_ATTRS
from pythonjsonlogger.json import JsonFormatter

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from types import TracebackType

    from clinical_backend.settings import Settings

__all__ = ["SeldomLogger", "configure_logs", "log_context"]

logger = logging.getLogger(__name__)

_TEXT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
_SELDOM_SECONDS = 60.0  # a line a minute shows that it goes on, and fills no disk
_CAUSES = 10  # a chain of causes may be a ring
_context: ContextVar[Mapping[str, int]] = ContextVar("log_context", default={})  # noqa: B039 - never changed


@contextmanager
def log_context(**ids: int) -> Iterator[None]:
    """Give every record that is logged within the block these ids, such as ``project`` and ``round``."""
    token = _context.set({**_context.get(), **ids})
    try:
        yield
    finally:
        _context.reset(token)


class SeldomLogger:
    """Warns of what any caller can bring about: each message at most once a minute, whatever calls come.

    Parameters
    ----------
    name
        Of the logger.
    """

    def __init__(self, name: str) -> None:
        self._logger = logging.getLogger(name)
        self._logged_at: dict[str, float] = {}

    def warning(self, message: str, *arguments: object) -> None:
        """Warn, unless this message, before its arguments are filled in, was logged within the last minute."""
        now = time.monotonic()
        if now - self._logged_at.get(message, -_SELDOM_SECONDS) >= _SELDOM_SECONDS:
            self._logged_at[message] = now
            self._logger.warning(message, *arguments)


def configure_logs(settings: Settings) -> None:
    """Send what this process logs to its standard error, in the format that the settings ask for."""
    handler = logging.StreamHandler()
    handler.addFilter(_add_context)
    handler.setFormatter(_json_formatter() if settings.log_format == "json" else _WithoutValues(_TEXT))
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    sys.excepthook = _log_fault
    threading.excepthook = lambda fault: _log_fault(fault.exc_type, fault.exc_value, fault.exc_traceback)
    for ours in ("clinical_backend", "uvicorn"):
        logging.getLogger(ours).setLevel(settings.log_level)


def _log_fault(kind: type[BaseException], fault: BaseException | None, trail: TracebackType | None, /) -> None:
    if issubclass(kind, KeyboardInterrupt):
        return
    logger.critical("A fault of the backend ended this", exc_info=(kind, fault or kind(), trail))


class _WithoutValues(logging.Formatter):
    """Writes of an exception what it is and where it came from.

    Its message may hold what a reader or a patient's file says, and a line of source what is none of a log's business.
    """

    def formatException(self, ei: Any) -> str:  # noqa: ANN401, N802 - as the library has it
        """Return one line for an exception and for each that caused it, the innermost place first."""
        lines: list[str] = []
        fault: BaseException | None = ei[1]
        while fault is not None and len(lines) < _CAUSES:
            frames = traceback.extract_tb(fault.__traceback__)
            places = [f"{frame.filename}:{frame.lineno} in {frame.name}" for frame in reversed(frames)]
            lines.append(f"{type(fault).__name__} at {', from '.join(places) or 'an unknown place'}")
            fault = fault.__cause__ or (None if fault.__suppress_context__ else fault.__context__)
        return "\nafter ".join(lines)


class _JsonFormatter(_WithoutValues, JsonFormatter):
    pass


def _add_context(record: logging.LogRecord) -> bool:
    vars(record).update(_context.get())
    return True


def _json_formatter() -> logging.Formatter:
    return _JsonFormatter(
        "%(levelname)s %(name)s %(message)s",
        rename_fields={"levelname": "level", "name": "logger"},
        reserved_attrs=[*RESERVED_ATTRS, "color_message"],  # what uvicorn writes for terminals
        timestamp=True,
    )
