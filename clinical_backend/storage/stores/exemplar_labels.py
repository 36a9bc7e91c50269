"""What readers said of the cases that queues sought, by the exemplar that each was most like."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import func, select

from clinical_backend.origins import Draw, Origin
from clinical_backend.storage.schema import QueuedTask, Round, TaskLabel
from clinical_backend.storage.statements import in_parts

if TYPE_CHECKING:
    from collections.abc import Collection

    from sqlalchemy import Select

    from clinical_backend.storage.database import Database

__all__ = ["ExemplarLabelStore", "LabelledCase"]

_LABEL = func.coalesce(TaskLabel.label, TaskLabel.first_class)
"""Where readers are tied, what the first one said, as everywhere that cases are counted."""


@dataclass(frozen=True, slots=True)
class LabelledCase:
    """A case that a queue sought, and what its reader said.

    Attributes
    ----------
    task_id
        The task.
    label
        Its class, or its findings.
    round_number
        Of the queue that its reader was served from.
    similarity
        To the exemplar, as that queue had it.
    labelled_at
        Seconds since the epoch, by Label Studio's clock.
    """

    task_id: int
    label: str
    round_number: int
    similarity: float | None
    labelled_at: float


class ExemplarLabelStore:
    """Reads the labels of what was sought, by nearest exemplar."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def counts(self, project_id: int, exemplars: Collection[int] | None = None) -> dict[int, dict[str, int]]:
        """Return by exemplar how often each label was given to cases that were most like it.

        Parameters
        ----------
        exemplars
            Which are asked about, by what stands for them in queues; all by default.
        """
        nearest = QueuedTask.nearest_exemplar
        query = _sought(project_id).with_only_columns(nearest, _LABEL, func.count()).group_by(nearest, _LABEL)
        parts = [query] if exemplars is None else [query.where(nearest.in_(part)) for part in in_parts([*exemplars])]
        found: dict[int, dict[str, int]] = defaultdict(dict)
        with self._database.read() as session:
            for part in parts:
                for exemplar, label, count in session.execute(part):
                    found[exemplar or 0][label] = count
        return dict(found)

    def newest(self, project_id: int, exemplar: int, labels: Collection[str], limit: int) -> list[LabelledCase]:
        """Return the cases most like an exemplar that were given one of these labels, the last ones first.

        Parameters
        ----------
        limit
            How many, at most.
        """
        query = _sought(project_id).where(QueuedTask.nearest_exemplar == exemplar)
        latest = query.order_by(TaskLabel.labelled_at.desc(), TaskLabel.task_id.desc()).limit(limit)
        found: list[LabelledCase] = []
        with self._database.read() as session:
            for part in in_parts(sorted(labels)):
                rows = session.execute(latest.where(_LABEL.in_(part)))
                found += [LabelledCase(*row) for row in rows]
        return sorted(found, key=lambda one: (-one.labelled_at, -one.task_id))[:limit]


def _sought(project_id: int) -> Select[int, str, int, float | None, float]:
    """Return the labels of readers whom a queue served a case that it sought near an exemplar."""
    # From the project's rounds over their queues to the labels: SQLite would begin with all labels, and look through a
    # whole queue for each. So where a label is to be found is not told without a queue.
    found_by_the_queue = QueuedTask.round_id * 0 + project_id
    columns = (TaskLabel.task_id, _LABEL, Round.number, QueuedTask.similarity, TaskLabel.labelled_at)
    return (
        select(*columns)
        .select_from(Round)
        .join(QueuedTask, QueuedTask.round_id == Round.id)
        .join(
            TaskLabel,
            (TaskLabel.project_id == found_by_the_queue)
            & (TaskLabel.task_id == QueuedTask.task_id)
            & (TaskLabel.round_number == Round.number),
        )
        .where(
            Round.project_id == project_id,
            QueuedTask.nearest_exemplar.is_not(None),
            QueuedTask.draw == Draw.TARGET,
            TaskLabel.origin == Origin.QUEUE,
            TaskLabel.draw == Draw.TARGET,
            _LABEL.is_not(None),
        )
    )
