"""The tables of a test set: what was asked for and drawn, its tasks with their readings, and what models say of them.

They are part of ``schema.py``, from which the rest of the package takes them.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import ForeignKey, LargeBinary
from sqlalchemy.orm import Mapped, mapped_column

from clinical_backend.storage.declarative import Base
from clinical_backend.storage.types import StoredJSON

__all__ = ["ReservedTask", "Testset", "TestsetScores"]


class Testset(Base):
    """The test set of a project; a row without draws is still to be drawn."""

    __tablename__ = "test_sets"

    project_id: Mapped[int] = mapped_column(ForeignKey("projects.id", ondelete="CASCADE"), primary_key=True)
    readings: Mapped[int]
    """Of how many readers each task wants an answer, 1 or 2."""
    wish: Mapped[dict[str, Any] | None] = mapped_column(StoredJSON(none_as_null=True), default=None)
    """What the next round is to draw; ``None`` while nothing is wished for."""
    problem: Mapped[str | None] = mapped_column(default=None)
    """Why nothing was drawn, with the cure."""
    draws: Mapped[list[Any]]
    """What was drawn from what, one draw after the other; see ``stores.testsets``."""


class ReservedTask(Base):
    """A task of a test set: no search queues it, and nothing is learnt from it."""

    __tablename__ = "test_tasks"

    project_id: Mapped[int] = mapped_column(ForeignKey("projects.id", ondelete="CASCADE"), primary_key=True)
    task_id: Mapped[int] = mapped_column(primary_key=True)
    draw: Mapped[int]
    """Which draw it is of, from 0; one that joined later, as of a patient that was drawn, is of that patient's."""
    place: Mapped[int]
    """In which order they are read, which is random."""
    joined: Mapped[bool] = mapped_column(default=False)
    """Whether it came later and joined, as a task of a patient that was drawn."""
    label: Mapped[str | None] = mapped_column(default=None)
    """What readers said, imports and accepted predictions left out; ``None`` where nobody did, or they disagree."""
    readings: Mapped[int] = mapped_column(default=0)
    """How many readers answered it."""
    answers: Mapped[list[Any] | None] = mapped_column(StoredJSON(none_as_null=True), default=None)
    """Reader and label of each reader's answer, where two or more gave one."""


class TestsetScores(Base):
    """What a published model says of a test set."""

    __tablename__ = "test_scores"

    project_id: Mapped[int] = mapped_column(ForeignKey("projects.id", ondelete="CASCADE"), primary_key=True)
    version: Mapped[str] = mapped_column(primary_key=True)
    round_number: Mapped[int]
    """Of the round that published it."""
    made_in: Mapped[int]
    """Number of the round that learnt it: an earlier one where that round's own was not taken."""
    several: Mapped[bool]
    """Whether an image may have several of the classes."""
    classes: Mapped[list[Any]]
    judged_at: Mapped[float]
    tasks: Mapped[bytes] = mapped_column(LargeBinary)
    """Ids as int64, little-endian."""
    probabilities: Mapped[bytes] = mapped_column(LargeBinary)
    """A row of the classes' for each task, as float32, little-endian."""
