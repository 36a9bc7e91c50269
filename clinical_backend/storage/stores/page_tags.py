"""Tags that were set on a project's page, of tasks that Label Studio has no answer of yet."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from sqlalchemy import delete, select

from clinical_backend.storage.schema import PageTag, TaskImage
from clinical_backend.storage.statements import in_parts, is_answered, is_reserved
from clinical_backend.storage.stores.projects import locked_project

if TYPE_CHECKING:
    from collections.abc import Collection

    from clinical_backend.storage.database import Database

__all__ = ["PageTagStore"]


class PageTagStore:
    """Reads and changes the tags of each project's page."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def open(self, project_id: int) -> dict[int, PageTag]:
        """Return by task the tags that count: once readers have answered a task, their answer decides.

        Nothing is learnt of the test set, so not from tags either.
        """
        query = select(PageTag).where(
            PageTag.project_id == project_id,
            ~is_answered(PageTag.project_id, PageTag.task_id),
            ~is_reserved(PageTag.project_id, PageTag.task_id),
        )
        with self._database.read() as session:
            return {row.task_id: row for row in session.scalars(query.order_by(PageTag.task_id))}

    def set(self, project_id: int, tasks: Collection[int], steer: int, *, by: str) -> list[int]:
        """Tag tasks outside the test set that nobody answered, and return those whose tag that changed.

        Parameters
        ----------
        steer
            1 for "more like this", −1 for "not like this".
        by
            Who says so.
        """
        changed: list[int] = []
        with self._database.write() as session:
            if locked_project(session, project_id) is None:
                return []
            for part in in_parts(sorted(set(tasks))):
                ours = select(TaskImage.task_id).where(
                    TaskImage.project_id == project_id,
                    TaskImage.task_id.in_(part),
                    ~is_answered(TaskImage.project_id, TaskImage.task_id),
                    ~is_reserved(TaskImage.project_id, TaskImage.task_id),
                )
                same = select(PageTag.task_id).where(
                    PageTag.project_id == project_id, PageTag.task_id.in_(part), PageTag.steer == steer
                )
                changed += sorted({*session.scalars(ours)} - {*session.scalars(same)})
            now = time.time()
            for task in changed:
                session.merge(PageTag(project_id=project_id, task_id=task, steer=steer, tagged_by=by, tagged_at=now))
        return changed

    def remove(self, project_id: int, tasks: Collection[int]) -> list[int]:
        """Take tags away, and return the tasks that had one."""
        removed: list[int] = []
        with self._database.write() as session:
            for part in in_parts(sorted(set(tasks))):
                chosen = delete(PageTag).where(PageTag.project_id == project_id, PageTag.task_id.in_(part))
                removed += session.scalars(chosen.returning(PageTag.task_id))
        return removed
