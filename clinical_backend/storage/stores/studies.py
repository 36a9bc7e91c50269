"""The images of tasks with several, and what is known of each."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from sqlalchemy import bindparam, case, delete, func, insert, or_, select, update

from clinical_backend.storage.schema import StudyImageRow, TaskImage
from clinical_backend.storage.statements import in_parts, in_transactions, set_columns
from clinical_backend.storage.stores.images import KnownImage
from clinical_backend.storage.stores.projects import locked_project
from clinical_backend.study import PAGE, STUDY, StudyImage, digest_of_images, page_in

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from clinical_backend.storage.database import Database

__all__ = ["StudyStore", "digest_of_study"]

_FEW = 1000
"""Tasks whose rows are read by their ids, in two statements; of more, those of the project are."""
_COLUMNS = (
    StudyImageRow.task_id,
    StudyImageRow.uri,
    StudyImageRow.digest,
    StudyImageRow.problem,
    StudyImageRow.attempts,
    StudyImageRow.tried_at,
    StudyImageRow.position,
    StudyImageRow.total,
    StudyImageRow.view,
)


class StudyStore:
    """Reads and changes the rows of studies' images."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def any(self, project_id: int) -> bool:
        """Tell whether a task of the project has several images."""
        with self._database.read() as session:
            query = select(StudyImageRow.task_id).where(StudyImageRow.project_id == project_id).limit(1)
            return session.scalar(query) is not None

    def tasks(self, project_id: int) -> list[int]:
        """Return the tasks of a project that have several images, ascending."""
        query = select(StudyImageRow.task_id).where(StudyImageRow.project_id == project_id).distinct()
        with self._database.read() as session:
            return sorted(session.execute(query).scalars())

    def all(self, project_id: int, task_ids: Iterable[int] | None = None) -> dict[int, list[KnownImage]]:
        """Return the images of a project's studies by task, in their order, of all studies or of some."""
        query = select(*_COLUMNS).where(StudyImageRow.project_id == project_id)
        query = query.order_by(StudyImageRow.task_id, StudyImageRow.position)
        parts: Iterable[Any] = (query,)
        if task_ids is not None:
            wanted = sorted(set(task_ids))
            parts = (query.where(StudyImageRow.task_id.in_(part)) for part in in_parts(wanted))
        studies: dict[int, list[KnownImage]] = {}
        with self._database.read() as session:
            for part in parts:
                for row in session.execute(part):
                    studies.setdefault(row[0], []).append(KnownImage(*row))
        return studies

    def count_read(self, project_id: int) -> int:
        """Return how many images of studies were read, each as often as it is shown."""
        query = select(func.count()).where(StudyImageRow.project_id == project_id, StudyImageRow.digest.is_not(None))
        with self._database.read() as session:
            return session.scalar(query) or 0

    def digests(self, project_id: int, task_ids: Iterable[int]) -> dict[int, dict[int, str]]:
        """Return the content of each image that was read, by its place, of those of the tasks that are studies.

        A study of which no image was read is among them.
        """
        columns = StudyImageRow.task_id, StudyImageRow.position, StudyImageRow.digest
        query = select(*columns).where(StudyImageRow.project_id == project_id)
        query = query.order_by(StudyImageRow.task_id, StudyImageRow.position)
        found: dict[int, dict[int, str]] = {}
        with self._database.read() as session:
            connection = session.connection()
            for part in in_parts(sorted(set(task_ids))):
                for task, position, digest in connection.execute(query.where(StudyImageRow.task_id.in_(part))):
                    shown = found.setdefault(task, {})
                    if digest is not None:
                        shown[position] = digest
        return found

    def pages(self, project_id: int, task_ids: Collection[int]) -> dict[int, dict[str, int]]:
        """Return how many pages files have of which each is an image of its own, by task and the file's address."""
        query = select(StudyImageRow.task_id, StudyImageRow.uri).where(
            StudyImageRow.project_id == project_id, StudyImageRow.uri.like(f"{PAGE}%")
        )
        parts: Iterable[Any] = (query,)
        if len(task_ids) <= _FEW:
            parts = (query.where(StudyImageRow.task_id.in_(part)) for part in in_parts(sorted(task_ids)))
        found: dict[int, dict[str, int]] = {}
        with self._database.read() as session:
            for part in parts:
                for task, uri in session.execute(part):
                    if page := page_in(uri):
                        found.setdefault(task, {})[page[0]] = page[2]
        return found

    def partly_read(self, project_id: int) -> tuple[int, int]:
        """Return how many studies are used without some of their images, and how many images these are."""
        lacking = (
            select(StudyImageRow.task_id, func.count().label("images"))
            .join(
                TaskImage,
                (TaskImage.project_id == StudyImageRow.project_id) & (TaskImage.task_id == StudyImageRow.task_id),
            )
            .where(
                StudyImageRow.project_id == project_id,
                StudyImageRow.digest.is_(None),
                StudyImageRow.attempts > 0,
                TaskImage.digest.is_not(None),
            )
            .group_by(StudyImageRow.task_id)
            .subquery()
        )
        with self._database.read() as session:
            tasks, images = session.execute(select(func.count(), func.sum(lacking.c.images)).select_from(lacking)).one()
        return tasks, images or 0

    def sampled(self, project_id: int, limit: int) -> int:
        """Return of how many studies not all images are read, since they are more than there is room for.

        Others may have less images than places: some are empty, or show an image again.

        Parameters
        ----------
        limit
            IMAGES_PER_TASK. Files with pages share it.
        """
        pages = func.sum(case((StudyImageRow.uri.like(f"{PAGE}%"), 1), else_=0))
        counts = (
            select(StudyImageRow.task_id)
            .where(StudyImageRow.project_id == project_id)
            .group_by(StudyImageRow.task_id)
            .having(func.count() < func.max(StudyImageRow.total), or_(func.count() >= limit, pages > 0))
            .subquery()
        )
        with self._database.read() as session:
            return session.scalar(select(func.count()).select_from(counts)) or 0

    def synchronise(self, project_id: int, studies: Mapping[int, Sequence[StudyImage]], *, complete: bool) -> None:
        """Take over the images that tasks show; an image that a study showed before stays known by its content.

        Parameters
        ----------
        studies
            By task, also of those that show one image, or none: then no rows are kept of them.
        complete
            Whether these are all tasks of the project: then rows of others are deleted.
        """
        known = self.all(project_id, None if complete else studies)
        gone = [task for task in known if task not in studies]
        changed = [
            task
            for task, images in studies.items()
            if [(one.position, one.total, one.view, one.uri) for one in known.get(task, ())]
            != [(one.position, one.total, one.view, one.uri) for one in images if len(images) > 1]
        ]
        rows = []
        for task in changed:
            read = {one.uri: one.digest for one in known.get(task, ()) if one.digest is not None}
            if len(studies[task]) > 1:
                rows += [_row(project_id, task, image, read.get(image.uri)) for image in studies[task]]
        for part in in_parts(gone + changed):
            with self._database.write() as session:
                if locked_project(session, project_id) is None:
                    return
                session.execute(
                    delete(StudyImageRow).where(StudyImageRow.project_id == project_id, StudyImageRow.task_id.in_(part))
                )
        for entered in in_transactions(rows):
            with self._database.write() as session:
                if locked_project(session, project_id) is None:
                    return
                session.execute(insert(StudyImageRow), list(entered))
        # Rows may have been lost, or a call cut off, while the task itself is unchanged.
        self._forget(project_id, [task for task in changed if len(studies[task]) > 1])

    def found(self, project_id: int, digests: Mapping[tuple[int, int], str]) -> None:
        """Note the content of images, by task and position."""
        rows = [{"task": task, "at": at, "digest": digest} for (task, at), digest in digests.items()]
        self._update(project_id, rows, problem=None)

    def failed(self, project_id: int, problems: Mapping[tuple[int, int], str]) -> None:
        """Note why images could not be read, by task and position."""
        rows = [{"task": task, "at": at, "problem": problem} for (task, at), problem in problems.items()]
        self._update(project_id, rows, attempts=StudyImageRow.attempts + 1, tried_at=time.time())

    def left(self, project_id: int, reasons: Mapping[tuple[int, int], str]) -> None:
        """Note why images were not tried, by task and position."""
        rows = [{"task": task, "at": at, "problem": reason} for (task, at), reason in reasons.items()]
        self._update(project_id, rows, tried_at=time.time())

    def share(self, project_id: int) -> None:
        """Note of images that were not tried what is known of the same address in another study."""
        untried = (
            StudyImageRow.project_id == project_id,
            StudyImageRow.digest.is_(None),
            StudyImageRow.attempts == 0,
        )
        with self._database.read() as session:
            query = select(StudyImageRow.task_id, StudyImageRow.position, StudyImageRow.uri)
            waiting = session.execute(query.where(*untried)).all()
            if not waiting:
                return
            wanted = {uri for *_, uri in waiting}
            tried = select(StudyImageRow.uri, StudyImageRow.digest, StudyImageRow.problem).where(
                StudyImageRow.project_id == project_id,
                StudyImageRow.digest.is_not(None) | (StudyImageRow.attempts > 0),
            )
            told = {uri: (digest, problem) for uri, digest, problem in session.execute(tried) if uri in wanted}
        found, failed = {}, {}
        for task, at, uri in waiting:
            digest, problem = told.get(uri, (None, None))
            if digest is not None:
                found[task, at] = digest
            elif problem is not None:
                failed[task, at] = problem
        self.found(project_id, found)
        self.failed(project_id, failed)

    def _forget(self, project_id: int, tasks: Collection[int]) -> None:
        """Have tasks looked at as if they had not been read: their images are, where these are known."""
        for part in in_parts(list(tasks)):
            with self._database.write() as session:
                session.execute(
                    update(TaskImage)
                    .where(
                        TaskImage.project_id == project_id,
                        TaskImage.task_id.in_(part),
                        TaskImage.uri.like(f"{STUDY}%"),
                    )
                    .values(digest=None, problem=None, attempts=0, tried_at=None)
                )

    def _update(self, project_id: int, rows: list[dict[str, Any]], **same: Any) -> None:
        changed = update(StudyImageRow).where(
            StudyImageRow.project_id == project_id,
            StudyImageRow.task_id == bindparam("task"),
            StudyImageRow.position == bindparam("at"),
        )
        set_columns(self._database.write, changed, ["task", "at"], rows, **same)


def digest_of_study(images: Iterable[KnownImage]) -> str | None:
    """Return what identifies a study by those of its images that were read; ``None`` where none was."""
    digests = [image.digest for image in images if image.digest is not None]
    return digest_of_images(digests) if digests else None


def _row(project_id: int, task: int, image: StudyImage, digest: str | None) -> dict[str, Any]:
    return {
        "project_id": project_id,
        "task_id": task,
        "position": image.position,
        "total": image.total,
        "view": image.view,
        "uri": image.uri,
        "digest": digest,
        "attempts": 0,
    }
