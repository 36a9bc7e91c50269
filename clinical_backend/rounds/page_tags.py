"""Tags of the project's page, which steer a round as readers' own do."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from clinical_backend.labelstudio.labeling.labels import Labels
    from clinical_backend.storage.schema import PageTag

__all__ = ["with_page_tags"]


def with_page_tags(labels: Labels, tags: Iterable[PageTag]) -> Labels:
    """Return what readers said with the tags of the page beside theirs, of tasks that they have not answered.

    Such a task stands for itself, as one does that a reader tags without giving a class. It stays in the pool: nobody
    has found anything until a reader answers it.
    """
    more = {tag.task_id for tag in tags if tag.steer > 0} - labels.answered
    less = {tag.task_id for tag in tags if tag.steer < 0} - labels.answered
    return replace(
        labels,
        exemplars=tuple(sorted({*labels.exemplars, *more})),
        counter_exemplars=tuple(sorted({*labels.counter_exemplars, *less})),
    )
