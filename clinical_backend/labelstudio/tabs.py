"""The tab of the Data Manager that the backend makes: the queue in its order."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from clinical_backend.labelstudio.publisher import QUEUE_SCORE_LIMIT
from clinical_backend.labelstudio.task_lists import task_filter

if TYPE_CHECKING:
    from clinical_backend.labelstudio.client import LabelStudioClient

__all__ = ["QUEUE_TITLE", "show_queue"]

QUEUE_TITLE = "Rare cases first"


def show_queue(client: LabelStudioClient, project_id: int) -> bool:
    """Make sure that a tab shows the published queue in its order; tell whether it was missing."""
    if any(view.title == QUEUE_TITLE for view in client.views(project_id)):
        return False
    filters = [
        task_filter("total_annotations", "equal", 0),
        task_filter("predictions_score", "less", QUEUE_SCORE_LIMIT),
    ]
    client.create_view(project_id, _view(QUEUE_TITLE, filters, ordering=["tasks:predictions_score"]))
    return True


def _view(title: str, filters: list[dict[str, Any]], *, ordering: list[str]) -> dict[str, Any]:
    return {
        "title": title,
        "type": "list",
        "target": "tasks",
        "ordering": ordering,
        "filters": {"conjunction": "and", "items": filters},
    }
