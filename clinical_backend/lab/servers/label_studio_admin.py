"""What administrators and readers do in Label Studio and the backend never does: for demo, tests and benchmarks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import Field

from clinical_backend.errors import LabelStudioRefusedError
from clinical_backend.labelstudio.client import LabelStudioClient
from clinical_backend.labelstudio.project_import import ProjectImport
from clinical_backend.labelstudio.resources import Prediction, Project, Task, Text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["LabelStudioAdmin", "NextTask"]

_SLOW_SECONDS = 600.0
"""A project of 100,000 tasks takes minutes to import, or to delete."""


class NextTask(Task):
    """What a reader is served. ``queue`` is Label Studio's own word for how it was chosen."""

    predictions: list[Prediction] = Field(default_factory=list)
    queue: Text = ""


class LabelStudioAdmin(LabelStudioClient):
    """A client that also makes and deletes projects and tasks, and is served tasks."""

    def projects(self) -> list[Project]:
        """Return all projects that the user sees."""
        found: list[Project] = []
        while True:
            page = self._get("api/projects/", page_size=100, page=len(found) // 100 + 1)
            found += self._read(list[Project], page["results"])
            if len(found) >= page["count"] or not page["results"]:
                return found

    def create_project(self, title: str, label_config: str, **fields: Any) -> Project:
        """Create a project; its title needs at least three characters."""
        body = {"title": title, "label_config": label_config, **fields}
        return self._read(Project, self._send("POST", "api/projects/", body))

    def delete_project(self, project_id: int) -> None:
        """Delete a project and all that it holds."""
        self._send("DELETE", f"api/projects/{project_id}/", time_out=_SLOW_SECONDS)

    def import_tasks(self, project_id: int, tasks: Sequence[Mapping[str, Any]]) -> list[int]:
        """Import tasks, with their annotations if they bring any, and return their ids in order."""
        return ProjectImport(self, project_id).add_tasks(tasks)

    def serve_local_files(self, project_id: int, folder: str, title: str = "Images") -> None:
        """Allow a project to show the files of a folder on Label Studio's machine."""
        ProjectImport(self, project_id).serve_folder(folder, title)

    def delete_task(self, task_id: int) -> None:
        """Delete a task with all its annotations."""
        self._send("DELETE", f"api/tasks/{task_id}/")

    def next_task(self, project_id: int) -> NextTask | None:
        """Return the task that Label Studio serves this user next; ``None`` when none is left."""
        try:
            return self._read(NextTask, self._get(f"api/projects/{project_id}/next/"))
        except LabelStudioRefusedError as error:
            if error.status == 404 and self._exists(project_id):
                return None
            raise

    def train(self, backend_id: int) -> None:
        """Do what the button "Start Training" does."""
        self._send("POST", f"api/ml/{backend_id}/train", {})

    def _exists(self, project_id: int) -> bool:
        """Tell a project without tasks left from one that is not there; raises for the latter."""
        return self.project(project_id).id == project_id
