"""Stage 5: make the new queue the one that readers are served from."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from clinical_backend.labelstudio.labeling.regions import choice_result, text_result
from clinical_backend.labelstudio.publisher import QueueItem, queue_score
from clinical_backend.rounds.second_readings.candidates import free_places
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
    from clinical_backend.workspace.workspace import ProjectWorkspace

__all__ = ["as_served", "find_switched", "publish"]


def publish(
    stores: Stores,
    publisher: Publisher,
    scheme: LabelingScheme,
    row: Round,
    ranked: Sequence[RankedTask],
    ticked: Mapping[int, str],
    second: Mapping[int, Asked] | None = None,
    *,
    ready: Callable[[Sequence[int]], None] = lambda _: None,
) -> Published:
    """Store the queue, import it, and switch Label Studio to it.

    Parameters
    ----------
    ticked
        The class that is ticked when a reader opens the task, by task; see :mod:`preannotation`.
    second
        By their places in the whole queue, tasks that are read again, without anything of the earlier answer.
    ready
        Called right before the switch, with the tasks that readers are going to be served.

    Returns
    -------
    Published
        What readers are served now; with no task, the old queue stays.
    """
    second = second or {}
    placed = list(zip(free_places(second), ranked, strict=False))
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
                targets=list(task.targets) or None,
                image=task.image,
                images=task.images,
                view=task.view,
                words=task.words,
                preannotated=task.task_id in ticked,
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


def as_served(report: RoundReport, tasks: Sequence[int], skipped: Collection[int]) -> RoundReport:
    """Return a round's report with the counts of what readers are served: tasks may have been deleted meanwhile.

    Parameters
    ----------
    tasks
        What readers are served.
    skipped
        Tasks that a reader skipped.
    """
    queue = set(tasks) - {one.task_id for one in report.second_look.asked}
    counts = replace(
        report.counts,
        queue=len(queue),
        skipped_in_queue=len(queue.intersection(skipped)),
        second_readings=len(tasks) - len(queue),
    )
    return replace(report, counts=counts)


def find_switched(project: ProjectWorkspace, round_id: int | None = None) -> Round | None:
    """Return the round that was cut off after the switch, whose queue readers have; ``None`` where there is none.

    Call it while holding the lease.

    Parameters
    ----------
    round_id
        Asks of that round alone.

    Raises
    ------
    LabelStudioError
        While Label Studio does not tell what readers have.
    """
    prepared = project.stores.rounds.cut_off_at_the_switch(project.id)
    asked = [row for row in prepared if round_id in (None, row.id)]
    if not asked:
        return None
    served = project.client.project(project.id).model_version
    return next((row for row in asked if row.version == served), None)


def _preannotation(scheme: LabelingScheme, class_name: str | None) -> list[dict[str, object]]:
    return [] if class_name is None else choice_result(scheme, class_name)
