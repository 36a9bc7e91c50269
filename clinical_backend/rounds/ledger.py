"""The ledger: how each labelled task reached its reader, so that finds can be counted honestly."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from clinical_backend.storage.schema import Draw, TaskLabel

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from clinical_backend.storage.schema import QueuedTask

__all__ = ["enter"]


def enter(
    project_id: int,
    known: Mapping[int, TaskLabel],
    labels: Mapping[int, str],
    answered: Collection[int],
    steer: Mapping[int, int],
    queue: Iterable[QueuedTask],
    round_number: int | None,
    *,
    tagged: Mapping[int, tuple[str | None, float | None]] | None = None,
    disputed: Mapping[int, Sequence[tuple[str | None, str]]] | None = None,
) -> list[TaskLabel]:
    """Return the labels of a project as they stand, with where each came from.

    A task that was annotated before keeps its origin; a new one comes from the published queue, if it was
    in it, and otherwise from elsewhere (an import, a search, a reader's own choice).

    Parameters
    ----------
    known
        The ledger so far.
    labels
        Class by task, as read back now.
    answered
        All tasks with any answer, skips among them.
    steer
        1 or −1 for tagged tasks.
    queue, round_number
        The published queue and the number of its round.
    tagged
        Who tagged a task, and when.
    disputed
        Reader and class of each answer, where they differ.
    """
    draws = {row.task_id: row.draw for row in queue}
    now = time.time()
    entries = []
    for task_id in sorted({*labels, *answered}):
        before = known.get(task_id)
        queued = task_id in draws
        tagged_by, tagged_at = (tagged or {}).get(task_id, (None, None))
        answers = (disputed or {}).get(task_id)
        entries.append(
            TaskLabel(
                project_id=project_id,
                task_id=task_id,
                label=labels.get(task_id),
                steer=steer.get(task_id, 0),
                draw=before.draw if before else draws.get(task_id, Draw.OTHER),
                round_number=before.round_number if before else (round_number if queued else None),
                labelled_at=before.labelled_at if before else now,
                tagged_by=tagged_by,
                tagged_at=tagged_at,
                answers=None if answers is None else [list(answer) for answer in answers],
            )
        )
    return entries
