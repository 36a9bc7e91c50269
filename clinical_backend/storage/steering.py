"""The tables of what steers a queue beside what readers say: tags of the page, exemplars from outside, words.

They are part of ``schema.py``, from which the rest of the package takes them.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import ForeignKey, LargeBinary, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from clinical_backend.storage.declarative import Base

__all__ = ["FindingWords", "OutsideExemplar", "PageTag"]


class PageTag(Base):
    """A tag of the page, 1 for "more like this", −1 for "not like this": it counts until a reader answers the task."""

    __tablename__ = "page_tags"

    project_id: Mapped[int] = mapped_column(ForeignKey("projects.id", ondelete="CASCADE"), primary_key=True)
    task_id: Mapped[int] = mapped_column(primary_key=True)
    steer: Mapped[int]
    tagged_by: Mapped[str]
    tagged_at: Mapped[float]


class OutsideExemplar(Base):
    """An image from outside the project that stands for one of its findings."""

    __tablename__ = "outside_exemplars"
    __table_args__ = (
        UniqueConstraint("project_id", "finding", "digest"),
        {"sqlite_autoincrement": True},  # queues name them: no number is given twice
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    project_id: Mapped[int] = mapped_column(ForeignKey("projects.id", ondelete="CASCADE"))
    finding: Mapped[str]
    name: Mapped[str]
    """Of its file, or the task of another project that it was taken of."""
    note: Mapped[str]
    digest: Mapped[str]
    """sha256 of its bytes."""
    added_by: Mapped[str]
    added_at: Mapped[float]
    keeps_pixels: Mapped[bool]
    pixels: Mapped[bytes | None] = mapped_column(LargeBinary, default=None)
    """The square that the backbone takes, as PNG; where pixels are not kept, until its feature is made."""
    backbone: Mapped[str | None] = mapped_column(default=None)
    """Key of what made the feature."""
    feature: Mapped[bytes | None] = mapped_column(LargeBinary, default=None)
    """Values as float32, little-endian."""


class FindingWords(Base):
    """What stands in words for a finding of a project."""

    __tablename__ = "finding_words"

    project_id: Mapped[int] = mapped_column(ForeignKey("projects.id", ondelete="CASCADE"), primary_key=True)
    finding: Mapped[str] = mapped_column(primary_key=True)
    phrasings: Mapped[list[Any]]
    contrasts: Mapped[list[Any]]
    changed_by: Mapped[str]
    changed_at: Mapped[float]
    backbone: Mapped[str | None] = mapped_column(default=None)
    """Key of what placed them among images."""
    places: Mapped[bytes | None] = mapped_column(LargeBinary, default=None)
    """Where: those of the phrasings, then those of the contrasts, as float32, little-endian."""
