"""The projects that the backend serves, and what is due for each."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from sqlalchemy import delete, select, update

from clinical_backend.storage.schema import Project
from clinical_backend.storage.statements import insert_if_missing
from clinical_backend.storage.trail import TrailAction, note_action

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from sqlalchemy.orm import Session

    from clinical_backend.storage.database import Database

__all__ = ["LONGEST_WAIT", "ProjectStore", "locked_project", "wait_left"]

LONGEST_WAIT = 600.0
"""Longest wait of a project after a failure, in seconds: a cause that passed is noticed within ten minutes."""
_DECLINED = "declined"
"""How the trail calls the classes that are not looked for, which the page keeps beside its settings."""


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

    def register(
        self, project_id: int, options: dict[str, Any] | None = None, *, settings: Collection[str] = ()
    ) -> bool:
        """Make sure that the project is known; ``options`` replaces its options unless ``None``.

        Parameters
        ----------
        settings
            Which of the options are settings, so that the trail has their values: others may be anything.

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
            if new:
                note_action(session, TrailAction.CONNECTED, project_id)
            project = locked_project(session, project_id)
            if options is not None and project is not None:
                before, after = (
                    {name: one[name] for name in settings if name in one} for one in (project.options, options)
                )
                _note_settings(session, project_id, before, after, "extra parameters")
                project.options = options
            return new

    def change(self, project_id: int, **values: Any) -> None:
        """Set columns of a project."""
        with self._database.write() as session:
            session.execute(update(Project).where(Project.id == project_id).values(**values))

    def edit(
        self, project_id: int, change: Callable[[Project], None], *, answer: Mapping[str, Any] | None = None
    ) -> None:
        """Change a project by what it has: nobody else changes it meanwhile. An unknown one is left alone.

        It is the one way to what the page sets; the trail has each setting that is another one then.

        Parameters
        ----------
        answer
            What a person answered to a change in Label Studio, if that is what changes it.
        """
        with self._database.write() as session:
            project = locked_project(session, project_id)
            if project is not None:
                before, drift = project.page_options | {_DECLINED: project.declined}, project.drift
                change(project)
                _note_settings(
                    session, project_id, before, project.page_options | {_DECLINED: project.declined}, "page"
                )
                if answer is not None and project.drift != drift:
                    note_action(session, TrailAction.CHANGE_ANSWERED, project_id, **answer)

    def forget(self, project_id: int) -> None:
        """Delete a project with its rounds, queue, labels and image addresses."""
        with self._database.write() as session:
            gone = session.execute(delete(Project).where(Project.id == project_id).returning(Project.id))
            if gone.first() is not None:
                note_action(session, TrailAction.DISCONNECTED, project_id)

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


def _note_settings(
    session: Session, project_id: int, before: Mapping[str, Any], after: Mapping[str, Any], where: str
) -> None:
    """Note each setting that changed, ``None`` standing for one that is not set there."""
    for name in sorted(before.keys() | after.keys()):
        old, new = before.get(name), after.get(name)
        if old != new:
            note_action(session, TrailAction.SETTING_CHANGED, project_id, setting=name, old=old, new=new, where=where)


def wait_left(not_before: float, now: float) -> float:
    """Return the seconds until a requested round may begin.

    A moment that no wait of ours can lead to was computed by a clock that was wrong: it counts as over.
    """
    left = not_before - now
    return left if 0 < left <= LONGEST_WAIT else 0.0


def locked_project(session: Session, project_id: int) -> Project | None:
    """Return a project that nobody else changes before this transaction ends."""
    return session.get(Project, project_id, with_for_update=True)
