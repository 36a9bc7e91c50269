"""Tasks and pictures that are added to a project."""

from __future__ import annotations

import posixpath
from typing import TYPE_CHECKING, Any

from clinical_backend.errors import LabelStudioUnavailableError
from clinical_backend.labelstudio.task_lists import SLOW_SECONDS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from clinical_backend.labelstudio.client import LabelStudioClient

__all__ = ["BYTES_PER_UPLOAD", "FILES_PER_UPLOAD", "ProjectImport"]

FILES_PER_UPLOAD = 100
"""Of one request; Label Studio refuses more (DATA_UPLOAD_MAX_NUMBER_FILES in its settings)."""

BYTES_PER_UPLOAD = 64 * 2**20
"""Of one request, unless one file alone has more; Label Studio takes 250 MB (DATA_UPLOAD_MAX_MEMORY_SIZE)."""

_TASKS_PER_DELETION = 500
"""Of one request: Label Studio 1.23 takes 0.2 s for so many."""

_ATTEMPTS = 10
"""Beside two clients that write all the time, one import in ten lost its annotations."""


class ProjectImport:
    """Adds to one project.

    Parameters
    ----------
    client
        With a user who may edit the project.
    project_id
        The project.
    """

    def __init__(self, client: LabelStudioClient, project_id: int) -> None:
        self._client = client
        self._project_id = project_id
        self._path = f"api/projects/{project_id}/import"

    def add_tasks(self, tasks: Sequence[Mapping[str, Any]]) -> list[int]:
        """Add tasks, with their annotations if they bring any, and return their ids in order.

        Raises
        ------
        LabelStudioUnavailableError
            When Label Studio leaves the annotations out each time.
        """
        brought = sum(len(task.get("annotations", ())) for task in tasks)
        for _ in range(_ATTEMPTS):
            reply = self._client.session.request(
                "POST", self._path, params={"return_task_ids": "true"}, json=list(tasks), time_out=SLOW_SECONDS
            )
            ids = [int(task_id) for task_id in reply["task_ids"]]
            if reply["annotation_count"] == brought:
                return ids
            # On SQLite, Label Studio 1.23 repeats an import that found the database locked without its annotations.
            self._delete(ids)
        raise LabelStudioUnavailableError(
            f"Label Studio imported tasks without their annotations, {_ATTEMPTS} times.",
            "Import while nothing else writes to it, or run Label Studio on PostgreSQL.",
        )

    def delete_doubles(self, tasks: Mapping[str, Sequence[int]]) -> int:
        """Delete what is there twice, and return how many tasks these were; what somebody answered always stays.

        Parameters
        ----------
        tasks
            Ids of the tasks that show the same. Where nobody answered any of them, the first one stays.
        """
        groups = [ids for ids in tasks.values() if len(ids) > 1]
        if not groups:
            return 0
        every = {task_id for ids in groups for task_id in ids}
        answered = {task.id for task in self._client.tasks_with_answers(self._project_id, every) if task.annotations}
        doubles = [task for ids in groups for task in ids if task not in (answered.intersection(ids) or {ids[0]})]
        self._delete(doubles)
        return len(doubles)

    def _delete(self, tasks: Sequence[int]) -> None:
        for start in range(0, len(tasks), _TASKS_PER_DELETION):
            # One by one each takes 0.3 s; and of the tasks that are gone by now, none is missed.
            self._client.session.request(
                "POST",
                "api/dm/actions",
                params={"id": "delete_tasks", "project": self._project_id},
                json={"selectedItems": {"all": False, "included": tasks[start : start + _TASKS_PER_DELETION]}},
                repeatable=True,
                time_out=SLOW_SECONDS,
            )

    def upload(self, pictures: Mapping[str, bytes]) -> dict[str, str]:
        """Store pictures in Label Studio, in several requests where they are many, and return their addresses by name.

        Parameters
        ----------
        pictures
            Content by name, such as ``1f3a.png``.
        """
        stored: dict[str, str] = {}
        for some in _requests(pictures):
            stored |= self._upload(some)
        return {name: stored[name] for name in pictures}

    def _upload(self, pictures: Mapping[str, bytes]) -> dict[str, str]:
        files = {f"file{number}": (name, content) for number, (name, content) in enumerate(pictures.items())}
        # Without committing to the project: otherwise each picture would become a task of its own.
        params = {"commit_to_project": "false"}
        reply = self._client.session.request("POST", self._path, params=params, files=files, time_out=SLOW_SECONDS)
        return self._uploads({"ids": str([int(one) for one in reply["file_upload_ids"]])})

    def uploaded(self) -> dict[str, str]:
        """Return the addresses of all pictures that this user has stored in the project, by name."""
        return self._uploads({"all": "true"})

    def serve_folder(self, folder: str, title: str) -> None:
        """Allow the project to show the files of a folder on Label Studio's machine.

        Tasks then name them as ``/data/local-files/?d=<path below the document root>``.
        """
        body = {"project": self._project_id, "path": folder, "title": title, "use_blob_urls": False}
        self._client.session.request("POST", "api/storages/localfiles", json=body)

    def _uploads(self, params: Mapping[str, str]) -> dict[str, str]:
        path = f"api/projects/{self._project_id}/file-uploads"
        rows = self._client.session.request("GET", path, params=params, time_out=SLOW_SECONDS)
        # Label Studio puts 8 random digits and a dash before the name that was given.
        return {posixpath.basename(row["file"]).partition("-")[2]: f"/data/{row['file']}" for row in rows}


def _requests(pictures: Mapping[str, bytes]) -> Iterator[dict[str, bytes]]:
    """Yield the pictures in parts that one request may carry each."""
    part: dict[str, bytes] = {}
    for name, content in pictures.items():
        if part and (len(part) == FILES_PER_UPLOAD or sum(map(len, part.values())) + len(content) > BYTES_PER_UPLOAD):
            yield part
            part = {}
        part[name] = content
    if part:
        yield part
