"""The projects that the backend serves, and what is due for each."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from sqlalchemy import delete, select, update

from clinical_backend.storage.schema import Project
from clinical_backend.storage.statements import insert_if_missing

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy.orm import Session

    from clinical_backend.storage.database import Database

__all__ = ["LONGEST_WAIT", "ProjectStore", "locked_project", "wait_left"]

LONGEST_WAIT = 600.0
"""Longest wait of a project after a failure, in seconds: a cause that passed is noticed within ten minutes."""


class ProjectStore:
    """Reads and changes the rows of projects."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def ids(self) -> list[int]:
        """Return the ids of all projects."""
        with self._database.read() as session:
            return list(session.scalars(select(Project.id).order_by(Project.id)))

    def due(self) -> list[int]:
        """Return the projects for which a round is requested and may begin, the one that waits longest first."""
        now = time.time()
        query = select(Project.id, Project.not_before).where(Project.request.is_not(None))
        with self._database.read() as session:
            found = session.execute(query.order_by(Project.requested_at, Project.id)).all()
        return [project_id for project_id, not_before in found if wait_left(not_before, now) == 0]

    def get(self, project_id: int) -> Project | None:
        """Return a project as it stands now, detached from the database."""
        with self._database.read() as session:
            return session.get(Project, project_id)

    def register(self, project_id: int, options: dict[str, Any] | None = None) -> bool:
        """Make sure that the project is known; ``options`` replaces its options unless ``None``.

        Returns
        -------
        bool
            Whether this was the first time.
        """
        if options is None and self.get(project_id) is not None:
            return False  # reading waits for nobody
        with self._database.write() as session:
            due = {"request": "the project was connected", "requested_at": time.time()}
            new = insert_if_missing(session, Project, {"id": project_id} | due)
            if options is not None:
                session.execute(update(Project).where(Project.id == project_id).values(options=options))
            return new

    def change(self, project_id: int, **values: Any) -> None:
        """Set columns of a project."""
        with self._database.write() as session:
            session.execute(update(Project).where(Project.id == project_id).values(**values))

    def edit(self, project_id: int, change: Callable[[Project], None]) -> None:
        """Change a project by what it has: nobody else changes it meanwhile. An unknown one is left alone."""
        with self._database.write() as session:
            project = locked_project(session, project_id)
            if project is not None:
                change(project)

    def forget(self, project_id: int) -> None:
        """Delete a project with its rounds, queue, labels and image addresses."""
        with self._database.write() as session:
            session.execute(delete(Project).where(Project.id == project_id))

    def request_round(self, project_id: int, reason: str, *, delay: float | None = None) -> None:
        """Make a round due. A request that is not yet taken up keeps its reason: a burst folds into one.

        Parameters
        ----------
        reason
            Why, for people.
        delay
            Seconds to wait first, as after a failure. ``None`` leaves the wait of an earlier failure as it is.
        """
        project = self.get(project_id)
        if project is not None and project.request is not None and (delay is None or delay == project.not_before == 0):
            return  # a burst need not queue for the database: the round that is due begins after this
        with self._database.write() as session:
            chosen = update(Project).where(Project.id == project_id)
            session.execute(chosen.where(Project.request.is_(None)).values(request=reason, requested_at=time.time()))
            if delay is not None:
                session.execute(chosen.values(not_before=time.time() + delay if delay else 0.0))

    def count_annotations(self, project_id: int, number: int, *, from_queue: int = 0) -> tuple[int, int]:
        """Count annotations that were made or changed, and those of them that took a task of the published queue.

        Returns
        -------
        tuple
            How many there were since the last round began, and how many tasks the queue has left.
        """
        with self._database.write() as session:
            project = locked_project(session, project_id)
            if project is None:
                return 0, 0
            project.updates += number
            project.queue_left = max(0, project.queue_left - from_queue)
            return project.updates, project.queue_left


def wait_left(not_before: float, now: float) -> float:
    """Return the seconds until a requested round may begin.

    A moment that no wait of ours can lead to was computed by a clock that was wrong: it counts as over.
    """
    left = not_before - now
    return left if 0 < left <= LONGEST_WAIT else 0.0


def locked_project(session: Session, project_id: int) -> Project | None:
    """Return a project that nobody else changes before this transaction ends."""
    return session.get(Project, project_id, with_for_update=True)
