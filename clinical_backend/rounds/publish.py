"""Stage 5: make the new queue the one that readers are served from."""

from __future__ import annotations

from dataclasses import replace
from itertools import count
from typing import TYPE_CHECKING

from clinical_backend.labelstudio.labeling.scheme import choice_result, text_result
from clinical_backend.labelstudio.publisher import QueueItem, queue_score
from clinical_backend.storage.schema import QueuedTask
from clinical_backend.strategy.reasons import UNLED_REASON, reason_for_reader

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from clinical_backend.labelstudio.labeling.scheme import LabelingScheme
    from clinical_backend.labelstudio.publisher import Published, Publisher
    from clinical_backend.storage.report import Asked, RoundReport
    from clinical_backend.storage.schema import Round
    from clinical_backend.storage.stores.stores import Stores
    from clinical_backend.strategy.tasks import RankedTask

__all__ = ["as_published", "publish"]


def publish(
    stores: Stores,
    publisher: Publisher,
    scheme: LabelingScheme,
    row: Round,
    ranked: Sequence[RankedTask],
    ticked: Mapping[int, str],
    second: Mapping[int, Asked] | None = None,
    *,
    ready: Callable[[], None] = lambda: None,
) -> Published:
    """Store the queue, import it, and switch Label Studio to it.

    Parameters
    ----------
    ticked
        The class that is ticked when a reader opens the task, by task; see :mod:`preannotation`.
    second
        By their places in the whole queue, tasks that are read again, without anything of the earlier answer.
    ready
        Called right before the switch.

    Returns
    -------
    Published
        What readers are served now; with no task, the old queue stays.
    """
    second = second or {}
    free = (place for place in count() if place not in second)
    placed = list(zip(free, ranked, strict=False))
    stores.rounds.keep_queue(
        [
            QueuedTask(
                round_id=row.id,
                rank=place,
                task_id=task.task_id,
                draw=task.draw,
                predicted=task.predicted,
                probability=task.probability,
                rare_probability=task.rare_probability,
                chance=task.chance,
                chance_low=task.chance_low,
                chance_high=task.chance_high,
                nearest_exemplar=task.nearest_exemplar,
                similarity=task.similarity,
            )
            for place, task in placed
        ]
    )
    items = [
        QueueItem(
            task_id=task.task_id,
            result=[*_preannotation(scheme, ticked.get(task.task_id)), *text_result(scheme, reason_for_reader(task))],
            score=queue_score(place),
        )
        for place, task in placed
    ]
    items += [
        QueueItem(one.task_id, text_result(scheme, UNLED_REASON), queue_score(place)) for place, one in second.items()
    ]
    items.sort(key=lambda item: item.score)
    return publisher.publish(row.project_id, row.version, items, ready)


def as_published(report: RoundReport, published: Published, skipped: Collection[int]) -> RoundReport:
    """Return a round's report with the counts of what readers are served: tasks may have been deleted meanwhile.

    Parameters
    ----------
    skipped
        Tasks that a reader skipped.
    """
    queue = set(published.task_ids) - {one.task_id for one in report.second_look.asked}
    counts = replace(
        report.counts,
        queue=len(queue),
        skipped_in_queue=len(queue.intersection(skipped)),
        second_readings=len(published.task_ids) - len(queue),
    )
    return replace(report, counts=counts)


def _preannotation(scheme: LabelingScheme, class_name: str | None) -> list[dict[str, object]]:
    return [] if class_name is None else choice_result(scheme, class_name)
