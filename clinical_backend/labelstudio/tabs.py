"""The tabs of the Data Manager that the backend makes: the queue in its order, and the test set."""

from __future__ import annotations

from typing import TYPE_CHECKING

from clinical_backend.labelstudio.publisher import QUEUE_SCORE_LIMIT
from clinical_backend.labelstudio.task_lists import task_filter

if TYPE_CHECKING:
    from collections.abc import Collection

    from clinical_backend.labelstudio.client import LabelStudioClient

__all__ = ["ORDINARY_TITLE", "QUEUE_TITLE", "TEST_SET_TITLE", "show_queue", "show_test_set"]

QUEUE_TITLE = "Rare cases first"
TEST_SET_TITLE = "Test set"
ORDINARY_TITLE = "Default"
"""The title of the tab that Label Studio makes in a project without one."""
_HIDDEN = tuple(
    f"tasks:{name}"
    for name in (
        *("id", "inner_id", "completed_at", "total_annotations", "cancelled_annotations", "total_predictions"),
        *("annotators", "annotations_results", "annotations_ids", "predictions_score", "predictions_results"),
        *("predictions_model_versions", "file_upload", "storage_filename", "created_at", "updated_at", "updated_by"),
        *("avg_lead_time", "draft_exists", "comment_count", "allow_skip"),
    )
)
"""Columns that say nothing of a case: what is left are the fields of the tasks, the image first among them. The score
orders the queue and is no chance (docs/findings.md); the reason and the chance stand on the backend's page."""
_COLUMNS = 5
"""Of the gallery; Label Studio offers 3 to 10. At 1280 pixels five show a finding."""


def show_queue(client: LabelStudioClient, project_id: int) -> bool:
    """Make sure that a tab shows the published queue in its order; tell whether it was missing.

    Label Studio makes its own tab when somebody opens a project that has none. It is made here where there is none, so
    that a project with this one has it too, and as the second: a link to the label stream takes the first tab, and
    serves tasks in its order, whatever the sampling of the project (tried in 1.23.2).
    """
    titles = [view.title for view in client.views(project_id)]
    if QUEUE_TITLE in titles:
        return False
    filters = [
        task_filter("total_annotations", "equal", 0),
        task_filter("predictions_score", "less", QUEUE_SCORE_LIMIT),
    ]
    queue = {
        "title": QUEUE_TITLE,
        "type": "grid",
        "gridWidth": _COLUMNS,
        "target": "tasks",
        "ordering": ["tasks:predictions_score"],
        "filters": {"conjunction": "and", "items": filters},
        "hiddenColumns": {place: list(_HIDDEN) for place in ("explore", "labeling")},
    }
    client.create_view(project_id, queue)
    if not titles:
        client.create_view(project_id, {"title": ORDINARY_TITLE, "type": "list", "target": "tasks"})
    return True


def show_test_set(client: LabelStudioClient, project_id: int, tasks: Collection[int]) -> bool:
    """Make sure that a tab holds these tasks and no other; tell whether it did not.

    Its filter names each by its number, as people can in Label Studio's page: what that page has no word for it would
    replace once somebody opens the filters.

    Parameters
    ----------
    tasks
        Those that are to be read; with none, the tab is empty.
    """
    filters = [task_filter("id", "equal", task) for task in sorted(tasks) or [0]]
    tab = {
        "title": TEST_SET_TITLE,
        "type": "list",
        "target": "tasks",
        "filters": {"conjunction": "or", "items": filters},
        "hiddenColumns": {place: list(_HIDDEN) for place in ("explore", "labeling")},
    }
    present = next((view for view in client.views(project_id) if view.title == TEST_SET_TITLE), None)
    if present is None:
        client.create_view(project_id, tab)
    elif present.filters != tab["filters"]:
        client.update_view(present, project_id, tab)
    else:
        return False
    return True
