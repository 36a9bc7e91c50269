"""Which image each task shows, and what is known of it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy import bindparam, delete, func, insert, select, update

from clinical_backend.storage.schema import PageTag, ReservedTask, TaskImage
from clinical_backend.storage.statements import fetched, in_parts, in_transactions, set_columns
from clinical_backend.storage.stores.projects import locked_project
from clinical_backend.storage.stores.testsets import forget_scores
from clinical_backend.study import STUDY

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from sqlalchemy import Row, Select
    from sqlalchemy.orm import Session

    from clinical_backend.storage.database import Database

__all__ = ["ImageStore", "KnownImage"]

_MANY = 5000
"""Tasks that are asked for one part after the other; of more, all between the first and the last are read at once: for
10,000 of a project's tasks in a quarter of the time."""


class KnownImage(NamedTuple):
    """The image of one task: its address, its content's sha256 once read, or why it could not be read.

    An image of a study has its place among all that the task shows, their number, and the name of its view. The task
    itself stands for all of them together, and has no place. What is ``whole`` is one image, however many pages its
    file has.
    """

    task_id: int
    uri: str
    digest: str | None
    problem: str | None
    attempts: int
    tried_at: float | None
    position: int | None = None
    total: int = 1
    view: str = ""
    whole: bool = False

    @property
    def is_study(self) -> bool:
        """Whether it stands for several images together."""
        return self.uri.startswith(STUDY)

    @property
    def is_waiting(self) -> bool:
        """Whether it was never tried, as far as it has this address."""
        return self.digest is None and self.attempts == 0


_COLUMNS = (
    TaskImage.task_id,
    TaskImage.uri,
    TaskImage.digest,
    TaskImage.problem,
    TaskImage.attempts,
    TaskImage.tried_at,
)


class ImageStore:
    """Reads and changes the rows of tasks' images."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def all(self, project_id: int, task_ids: Iterable[int] | None = None) -> dict[int, KnownImage]:
        """Return the images of a project by task, of all its tasks or of some."""
        with self._database.read() as session:
            return _known(session, project_id, task_ids)

    def tasks(self, project_id: int) -> list[int]:
        """Return the tasks of a project, ascending."""
        query = select(TaskImage.task_id).where(TaskImage.project_id == project_id).order_by(TaskImage.task_id)
        with self._database.read() as session:
            return list(fetched(session.connection(), query).scalars())

    def digests(self, project_id: int, task_ids: Iterable[int] | None = None) -> dict[int, str]:
        """Return what identifies the image of each task that was read, ascending; of all tasks or of some."""
        read = TaskImage.digest.is_not(None)
        with self._database.read() as session:
            rows = _rows(session, select(TaskImage.task_id, TaskImage.digest).where(read), project_id, task_ids)
            return {task: digest for task, digest in rows}  # noqa: C416 - dict() is told no types

    def groups(self, project_id: int, task_ids: Iterable[int] | None = None) -> dict[int, str]:
        """Return what stands for the patient or study of each task that names one, of all tasks or of some."""
        named = TaskImage.group_key.is_not(None)
        with self._database.read() as session:
            rows = _rows(session, select(TaskImage.task_id, TaskImage.group_key).where(named), project_id, task_ids)
            return {task: key for task, key in rows}  # noqa: C416 - dict() is told no types

    def sites(self, project_id: int, task_ids: Iterable[int] | None = None) -> dict[int, str]:
        """Return where each task comes from that says so, of all tasks or of some."""
        told = TaskImage.site.is_not(None)
        with self._database.read() as session:
            rows = _rows(session, select(TaskImage.task_id, TaskImage.site).where(told), project_id, task_ids)
            return {task: site for task, site in rows}  # noqa: C416 - dict() is told no types

    def has_groups(self, project_id: int) -> bool:
        """Tell whether any task names its patient or study, or there are no tasks."""
        query = select(TaskImage.group_key.is_not(None)).where(TaskImage.project_id == project_id)
        with self._database.read() as session:
            first = session.scalar(query.order_by(TaskImage.group_key.is_(None)).limit(1))
        return first is None or bool(first)

    def count(self, project_id: int) -> int:
        """Return how many tasks of a project are known."""
        with self._database.read() as session:
            query = select(func.count()).select_from(TaskImage).where(TaskImage.project_id == project_id)
            return session.scalar(query) or 0

    def synchronise(
        self,
        project_id: int,
        uris: Mapping[int, str],
        *,
        complete: bool,
        groups: Mapping[int, str | None] | None = None,
        sites: Mapping[int, str | None] | None = None,
    ) -> None:
        """Take over the tasks that Label Studio has.

        Parameters
        ----------
        uris
            Address of the image by task.
        complete
            Whether these are all tasks of the project: then tasks that are not among them are deleted.
        groups
            What stands for their patient or study; ``None`` for a task that names none.
        sites
            Where they come from; ``None`` for a task that does not say.
        """
        with self._database.write() as session:
            locked_project(session, project_id)
            known = _known(session, project_id, None if complete else uris)
            gone = [task_id for task_id in known if task_id not in uris] if complete else []
            moved = [task_id for task_id, uri in uris.items() if task_id in known and known[task_id].uri != uri]
            fresh = [task_id for task_id in uris if task_id not in known]
            for part in in_parts(gone + moved):
                for table in (TaskImage, PageTag):  # a tag was meant for the picture that is gone
                    session.execute(delete(table).where(table.project_id == project_id, table.task_id.in_(part)))
            for part in in_parts(gone):
                session.execute(
                    delete(ReservedTask).where(ReservedTask.project_id == project_id, ReservedTask.task_id.in_(part))
                )
            forget_scores(session, project_id, moved)
        for part in in_transactions(fresh + moved):
            self._enter(project_id, {task_id: uris[task_id] for task_id in part})
        if groups is not None:
            self._regroup(project_id, groups)
        if sites is not None:
            before = self.sites(project_id)
            self._update(
                project_id,
                [{"task": task, "site": site} for task, site in sites.items() if before.get(task) != site],
            )

    def _enter(self, project_id: int, uris: Mapping[int, str]) -> None:
        """Insert tasks that are not there yet; a project that was forgotten meanwhile is left alone."""
        with self._database.write() as session:
            if locked_project(session, project_id) is None:
                return
            known = _known(session, project_id, uris)
            rows = [
                {"project_id": project_id, "task_id": task_id, "uri": uri, "attempts": 0}
                for task_id, uri in uris.items()
                if task_id not in known
            ]
            if rows:
                session.execute(insert(TaskImage), rows)

    def _regroup(self, project_id: int, groups: Mapping[int, str | None]) -> None:
        known = self.groups(project_id)
        rows = [{"task": task, "group_key": key} for task, key in groups.items() if known.get(task) != key]
        self._update(project_id, rows)

    def move(self, project_id: int, uris: Mapping[int, str]) -> None:
        """Take over other addresses of tasks' images, which are to be read there."""
        self._update(
            project_id,
            [{"task": task, "uri": uri} for task, uri in uris.items()],
            digest=None,
            problem=None,
            attempts=0,
            tried_at=None,
            looked_at=None,
            mark=None,
        )

    def found(self, project_id: int, digests: Mapping[int, str]) -> None:
        """Note the content of tasks' images."""
        self._update(
            project_id,
            [{"task": task, "digest": digest, "problem": None} for task, digest in digests.items()],
            looked_at=time.time(),
        )

    def failed(self, project_id: int, problems: Mapping[int, str]) -> None:
        """Note why tasks' images could not be read."""
        now = time.time()
        rows = [{"task": task, "problem": problem, "tried_at": now} for task, problem in problems.items()]
        self._update(project_id, rows, attempts=TaskImage.attempts + 1)

    def without_address(self, project_id: int, reasons: Mapping[int, str]) -> None:
        """Note why tasks have no address of an image, where that is not known already."""
        known = self.all(project_id, reasons) if reasons else {}
        fresh = {task: reason for task, reason in reasons.items() if task in known and known[task].problem != reason}
        self.failed(project_id, fresh)

    def longest_unseen(self, project_id: int, before: float, limit: int) -> list[tuple[KnownImage, str | None]]:
        """Return images whose bytes were not looked at since a moment, with their marks, the longest unseen first.

        Those whose address is their content are left out, and studies.
        """
        seen = func.coalesce(TaskImage.looked_at, 0.0)
        query = (
            select(*_COLUMNS, TaskImage.mark)
            .where(
                TaskImage.project_id == project_id,
                TaskImage.digest.is_not(None),
                seen < before,
                TaskImage.uri.not_like("data:%"),
                TaskImage.uri.not_like(f"{STUDY}%"),
            )
            .order_by(seen, TaskImage.task_id)
            .limit(limit)
        )
        with self._database.read() as session:
            return [(KnownImage(*row[:-1]), row[-1]) for row in session.execute(query)]

    def looked(self, project_id: int, marks: Mapping[int, str | None], at: float) -> None:
        """Note when images were looked at and found the same, and their marks."""
        self._update(project_id, [{"task": task, "mark": mark} for task, mark in marks.items()], looked_at=at)

    def replaced(self, project_id: int, marks: Mapping[int, str | None]) -> None:
        """Note that other bytes were found at images' addresses: their features are to be made anew."""
        now = time.time()
        self._update(
            project_id,
            [{"task": task, "mark": mark} for task, mark in marks.items()],
            digest=None,
            problem=None,
            attempts=0,
            tried_at=None,
            looked_at=now,
            replaced_at=now,
        )

    def left(self, project_id: int, reasons: Mapping[int, str]) -> None:
        """Note why tasks' images were not tried: they are tried after half the wait of one that failed once."""
        now = time.time()
        rows = [{"task": task, "problem": reason, "tried_at": now} for task, reason in reasons.items()]
        self._update(project_id, rows)

    def _update(self, project_id: int, rows: list[dict[str, Any]], **same: Any) -> None:
        """Set columns of some tasks' images; rows of tasks that are gone meanwhile are passed over."""
        changed = update(TaskImage).where(TaskImage.project_id == project_id, TaskImage.task_id == bindparam("task"))
        set_columns(self._database.write, changed, ["task"], rows, **same)


def _known(session: Session, project_id: int, task_ids: Iterable[int] | None) -> dict[int, KnownImage]:
    rows = _rows(session, select(*_COLUMNS), project_id, task_ids)
    return {row[0]: KnownImage(*row) for row in rows}


def _rows(
    session: Session, columns: Select[*tuple[Any, ...]], project_id: int, task_ids: Iterable[int] | None
) -> Iterator[Row[*tuple[Any, ...]]]:
    """Yield columns of a project's tasks, of which the first is the task, ascending."""
    query = columns.where(TaskImage.project_id == project_id).order_by(TaskImage.task_id)
    connection = session.connection()
    if task_ids is None:
        yield from fetched(connection, query)
        return
    wanted = sorted(set(task_ids))
    if len(wanted) <= _MANY:
        for part in in_parts(wanted):
            yield from connection.execute(query.where(TaskImage.task_id.in_(part)))
        return
    among = set(wanted)
    for row in fetched(connection, query.where(TaskImage.task_id.between(wanted[0], wanted[-1]))):
        if row[0] in among:
            yield row
