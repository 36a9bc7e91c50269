"""What all tables share: how values of each type are stored, and the states of a round and of a second reading."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from sqlalchemy import Double
from sqlalchemy.orm import DeclarativeBase

from clinical_backend.origins import AnswerKind, Draw, Origin
from clinical_backend.storage.report import RoundReport
from clinical_backend.storage.types import StoredEnum, StoredJSON, StoredReport, StoredText

__all__ = ["Base", "ReadingState", "RoundState"]


class RoundState(StrEnum):
    """Where a round stands."""

    RUNNING = "running"
    PUBLISHED = "published"
    FAILED = "failed"
    ABANDONED = "abandoned"


class ReadingState(StrEnum):
    """Where a second reading stands."""

    ASKED = "asked"
    """The lead asked for it; it waits for the next queue."""
    OPEN = "open"
    """Label Studio serves it to another reader, or is about to."""
    READ = "read"
    """Another reader has answered."""


class Base(DeclarativeBase):
    """Base of all tables."""

    type_annotation_map = {  # noqa: RUF012 - read by SQLAlchemy as a class attribute
        str: StoredText,
        dict[str, Any]: StoredJSON,
        list[Any]: StoredJSON,
        RoundReport: StoredReport,
        float: Double,
        RoundState: StoredEnum(RoundState),
        AnswerKind: StoredEnum(AnswerKind),
        Draw: StoredEnum(Draw),
        Origin: StoredEnum(Origin),
        ReadingState: StoredEnum(ReadingState),
    }
