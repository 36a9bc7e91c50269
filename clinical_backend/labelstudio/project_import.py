"""Tasks and pictures that are added to a project."""

from __future__ import annotations

import posixpath
from typing import TYPE_CHECKING, Any

from clinical_backend.errors import LabelStudioUnavailableError
from clinical_backend.labelstudio.task_lists import SLOW_SECONDS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from clinical_backend.labelstudio.client import LabelStudioClient

__all__ = ["FILES_PER_UPLOAD", "ProjectImport"]

FILES_PER_UPLOAD = 100
"""Of one request; Label Studio refuses more (DATA_UPLOAD_MAX_NUMBER_FILES in its settings)."""

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
            for task_id in ids:
                self.delete_task(task_id)
        raise LabelStudioUnavailableError(
            f"Label Studio imported tasks without their annotations, {_ATTEMPTS} times.",
            "Import while nothing else writes to it, or run Label Studio on PostgreSQL.",
        )

    def delete_task(self, task_id: int) -> None:
        """Delete a task with all its annotations."""
        self._client.session.request("DELETE", f"api/tasks/{task_id}/")

    def delete_doubles(self, tasks: Mapping[str, Sequence[int]]) -> int:
        """Delete tasks that are there twice and that nobody answered, and return how many these were.

        Parameters
        ----------
        tasks
            Ids of the tasks that show the same.
        """
        doubles = {task for ids in tasks.values() for task in ids[1:]}
        if not doubles:
            return 0
        answered = {task.id for task in self._client.tasks_with_answers(self._project_id, doubles) if task.annotations}
        for task_id in doubles - answered:
            self.delete_task(task_id)
        return len(doubles - answered)

    def upload(self, pictures: Mapping[str, bytes]) -> dict[str, str]:
        """Store pictures in Label Studio and return their addresses by name.

        Parameters
        ----------
        pictures
            Content by name, such as ``1f3a.png``; at most :data:`FILES_PER_UPLOAD`.
        """
        files = {f"file{number}": (name, content) for number, (name, content) in enumerate(pictures.items())}
        # Without committing to the project: otherwise each picture would become a task of its own.
        params = {"commit_to_project": "false"}
        reply = self._client.session.request("POST", self._path, params=params, files=files, time_out=SLOW_SECONDS)
        stored = self._uploads({"ids": str([int(one) for one in reply["file_upload_ids"]])})
        return {name: stored[name] for name in pictures}

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
