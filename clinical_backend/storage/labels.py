"""What readers said of each task, as last read back from Label Studio."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import delete, select

from clinical_backend.storage.projects import locked_project
from clinical_backend.storage.schema import TaskLabel

if TYPE_CHECKING:
    from collections.abc import Sequence

    from clinical_backend.storage.database import Database

__all__ = ["LabelStore"]


class LabelStore:
    """Reads and replaces the labels of a project."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def all(self, project_id: int) -> dict[int, TaskLabel]:
        """Return a project's labels by task."""
        with self._database.read() as session:
            rows = session.scalars(select(TaskLabel).where(TaskLabel.project_id == project_id))
            return {row.task_id: row for row in rows}

    def steering(self, project_id: int) -> frozenset[int]:
        """Return the tasks that are tagged as exemplar or counter-exemplar."""
        query = select(TaskLabel.task_id).where(TaskLabel.project_id == project_id, TaskLabel.steer != 0)
        with self._database.read() as session:
            return frozenset(session.scalars(query))

    def replace(self, project_id: int, labels: Sequence[TaskLabel]) -> None:
        """Store the labels of a project in place of all earlier ones."""
        with self._database.write() as session:
            locked_project(session, project_id)
            session.execute(delete(TaskLabel).where(TaskLabel.project_id == project_id))
            session.add_all(labels)
