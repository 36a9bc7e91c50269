"""Tabs of the Data Manager that the backend makes: the queue in its order, and tasks to look at again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from clinical_backend.errors import InvalidArgumentError
from clinical_backend.labelstudio.publisher import QUEUE_SCORE_LIMIT

if TYPE_CHECKING:
    from collections.abc import Sequence

    from clinical_backend.labelstudio.client import LabelStudioClient
    from clinical_backend.labelstudio.records import View

__all__ = ["QUEUE_TITLE", "show_queue", "show_tasks"]

QUEUE_TITLE = "Rare cases first"


def show_queue(client: LabelStudioClient, project_id: int) -> bool:
    """Make sure that a tab shows the published queue in its order; tell whether it was missing."""
    if any(view.title == QUEUE_TITLE for view in client.views(project_id)):
        return False
    filters = [
        _filter("total_annotations", "equal", 0),
        _filter("predictions_score", "less", QUEUE_SCORE_LIMIT),
    ]
    client.create_view(project_id, _view(QUEUE_TITLE, filters, ordering=["tasks:predictions_score"]))
    return True


def show_tasks(client: LabelStudioClient, project_id: int, title: str, task_ids: Sequence[int]) -> View:
    """Make a tab that shows these tasks, or renew the one of this title.

    Label Studio cannot order a tab by a list: they come by their ids.

    Raises
    ------
    InvalidArgumentError
        When there is no task.
    """
    if not task_ids:
        raise InvalidArgumentError("task_ids", "there is none.", "Choose tasks to show.")
    chosen = [_filter("id", "equal", task_id) for task_id in sorted(set(task_ids))]
    data = _view(title, chosen, ordering=["tasks:id"], conjunction="or")
    known = next((view for view in client.views(project_id) if view.title == title), None)
    return client.create_view(project_id, data) if known is None else client.update_view(known.id, project_id, data)


def _view(
    title: str, filters: list[dict[str, Any]], *, ordering: list[str], conjunction: str = "and"
) -> dict[str, Any]:
    return {
        "title": title,
        "type": "list",
        "target": "tasks",
        "ordering": ordering,
        "filters": {"conjunction": conjunction, "items": filters},
    }


def _filter(column: str, operator: str, value: float) -> dict[str, Any]:
    return {"filter": f"filter:tasks:{column}", "operator": operator, "type": "Number", "value": value}
