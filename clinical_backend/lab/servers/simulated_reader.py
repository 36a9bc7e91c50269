"""What a reader does in the label stream, through Label Studio's API: for the demonstration and tests."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from clinical_backend.lab.servers.label_studio_admin import LabelStudioAdmin, NextTask
    from clinical_backend.labelstudio.resources import Task

__all__ = ["SimulatedReader"]


class SimulatedReader:
    """A reader who answers one task after the other.

    Parameters
    ----------
    client
        With the reader's own token.
    image_name
        Name of the ``Image`` in the labeling config.
    seconds
        Returns how long the reader says to have looked at a case; by default it is measured.
    """

    def __init__(
        self, client: LabelStudioAdmin, *, image_name: str = "image", seconds: Callable[[], float] | None = None
    ) -> None:
        self._client = client
        self._seconds = seconds
        self._image_name = image_name
        self._opened: tuple[int, float] | None = None

    def next(self, project_id: int) -> NextTask | None:
        """Open the task that is served next, which locks it for this reader; ``None`` when none is left."""
        task = self._client.next_task(project_id)
        self._opened = None if task is None else (task.id, time.monotonic())
        return task

    def annotate(self, task: Task | int, choices: Mapping[str, Sequence[str]]) -> int:
        """Submit an answer and return the annotation's id.

        Parameters
        ----------
        task
            The task, or its id.
        choices
            What is chosen, by the name of the control.
        """
        return self._submit(task, {"result": self._regions(choices)})

    def skip(self, task: Task | int) -> int:
        """Skip a task and return the id of the cancelled annotation that stands for it."""
        return self._submit(task, {"result": [], "was_cancelled": True})

    def change(self, annotation_id: int, choices: Mapping[str, Sequence[str]]) -> None:
        """Correct an answer."""
        self._client.session.request(
            "PATCH", f"api/annotations/{annotation_id}/", json={"result": self._regions(choices)}
        )

    def star(self, annotation_id: int, *, starred: bool = True) -> None:
        """Mark an answer as ground truth, or take the mark away."""
        self._client.session.request("PATCH", f"api/annotations/{annotation_id}/", json={"ground_truth": starred})

    def withdraw(self, annotation_id: int) -> None:
        """Delete an answer."""
        self._client.session.request("DELETE", f"api/annotations/{annotation_id}/")

    def _submit(self, task: Task | int, body: Mapping[str, Any]) -> int:
        task_id = task if isinstance(task, int) else task.id
        opened = self._opened[1] if self._opened is not None and self._opened[0] == task_id else time.monotonic()
        took = time.monotonic() - opened if self._seconds is None else self._seconds()
        body = {**body, "lead_time": round(took, 3)}
        reply = self._client.session.request("POST", f"api/tasks/{task_id}/annotations/", json=body)
        return int(reply["id"])

    def _regions(self, choices: Mapping[str, Sequence[str]]) -> list[dict[str, Any]]:
        return [
            {
                "from_name": control,
                "to_name": self._image_name,
                "type": "choices",
                "value": {"choices": list(chosen)},
            }
            for control, chosen in choices.items()
            if chosen
        ]
