"""The table of what each reader answered. It is part of ``schema.py``, from which the rest of the package takes it."""

from __future__ import annotations

from sqlalchemy import ForeignKey
from sqlalchemy.orm import Mapped, mapped_column

from clinical_backend.origins import AnswerKind
from clinical_backend.storage.declarative import Base

__all__ = ["Reading"]


class Reading(Base):
    """An annotation of a reader, as last read back; none is kept where SHOW_READERS is off."""

    __tablename__ = "readings"

    project_id: Mapped[int] = mapped_column(ForeignKey("projects.id", ondelete="CASCADE"), primary_key=True)
    annotation_id: Mapped[int] = mapped_column(primary_key=True)
    task_id: Mapped[int]
    reader_id: Mapped[int]
    label: Mapped[str | None] = mapped_column(default=None)
    """The class, or several findings; ``None`` for a skip, and where no class can be read."""
    answered_at: Mapped[float | None] = mapped_column(default=None)
    """By Label Studio's clock."""
    lead_time: Mapped[float | None] = mapped_column(default=None)
    """Seconds that the task was open in the browser; ``None`` where that was not measured."""
    kind: Mapped[AnswerKind]
    blind: Mapped[bool] = mapped_column(default=False)
    """Whether it is a second reading that was asked for, so that the reader saw no earlier answer."""
