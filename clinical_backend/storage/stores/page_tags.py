"""Tags that were set on a project's page, of tasks that Label Studio has no answer of yet."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from sqlalchemy import delete, select

from clinical_backend.errors import ClinicalError
from clinical_backend.storage.schema import PageTag, TaskImage
from clinical_backend.storage.statements import in_parts, is_answered, is_reserved
from clinical_backend.storage.stores.projects import locked_project
from clinical_backend.storage.trail import TrailAction, note_action
from clinical_backend.text import printable

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from sqlalchemy.orm import Session

    from clinical_backend.storage.database import Database

__all__ = ["PageTagStore", "TagChangedError"]

_NAMES = {1: "tagged “more like this”", 0: "tagged no more", -1: "tagged “not like this”"}

_NAMED = 10  # by eye: a line of a message


class TagChangedError(ClinicalError):
    """Somebody else tagged cases otherwise since they were shown.

    Parameters
    ----------
    tags
        The tag of each of them by now; ``None`` for none.
    """

    def __init__(self, tags: Mapping[int, PageTag | None]) -> None:
        tasks: dict[str, list[int]] = {}
        for task, tag in sorted(tags.items()):
            by = "" if tag is None else f" by {printable(tag.tagged_by)}"
            tasks.setdefault(f"{_NAMES[0 if tag is None else tag.steer]}{by}", []).append(task)
        said = [
            f"task {which[0]} is {how}" if len(which) == 1 else f"tasks {_some(which)} are {how}"
            for how, which in tasks.items()
        ]
        super().__init__(
            f"Nothing was changed: meanwhile {'; '.join(said)}.",
            "Press again if you want something else; load the page again if it does not show that.",
        )


def _some(tasks: Sequence[int]) -> str:
    more = [f"and {len(tasks) - _NAMED} more"] if len(tasks) > _NAMED else []
    return ", ".join([*map(str, tasks[:_NAMED]), *more])


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

    def set(
        self, project_id: int, tasks: Collection[int], steer: int, *, by: str, shown: Mapping[int, int] | None = None
    ) -> list[int]:
        """Tag tasks outside the test set that nobody answered, and return those whose tag that changed.

        Parameters
        ----------
        steer
            1 for "more like this", −1 for "not like this".
        by
            Who says so.
        shown
            The tag of each that stood on the page of whoever says so, 0 for none, by task, as far as that is known.

        Raises
        ------
        TagChangedError
            When another tag, that is not the wanted one, has taken its place.
        """
        changed: list[int] = []
        with self._database.write() as session:
            if locked_project(session, project_id) is None:
                return []
            _require_shown(session, project_id, tasks, steer, shown or {})
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
            if changed:
                tag = "more like this" if steer > 0 else "not like this"
                note_action(session, TrailAction.CASES_TAGGED, project_id, tasks=changed, tag=tag)
        return changed

    def remove(self, project_id: int, tasks: Collection[int], *, shown: Mapping[int, int] | None = None) -> list[int]:
        """Take tags away, and return the tasks that had one; see :meth:`set` for the rest."""
        removed: list[int] = []
        with self._database.write() as session:
            locked_project(session, project_id)
            _require_shown(session, project_id, tasks, 0, shown or {})
            for part in in_parts(sorted(set(tasks))):
                chosen = delete(PageTag).where(PageTag.project_id == project_id, PageTag.task_id.in_(part))
                removed += session.scalars(chosen.returning(PageTag.task_id))
            if removed:
                note_action(session, TrailAction.TAGS_REMOVED, project_id, tasks=sorted(removed))
        return removed


def _require_shown(
    session: Session, project_id: int, tasks: Collection[int], wanted: int, shown: Mapping[int, int]
) -> None:
    """Make sure that nobody tagged tasks otherwise since they were shown."""
    changed: dict[int, PageTag | None] = {}
    for part in in_parts(sorted(shown.keys() & set(tasks))):
        chosen = select(PageTag).where(PageTag.project_id == project_id, PageTag.task_id.in_(part))
        tags = {row.task_id: row for row in session.scalars(chosen)}
        for task in part:
            tag = tags.get(task)
            if (0 if tag is None else tag.steer) not in {shown[task], wanted}:
                changed[task] = tag
    if changed:
        raise TagChangedError(changed)
