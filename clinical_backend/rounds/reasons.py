"""Why a task is in the queue, in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from clinical_backend.storage.schema import Draw

if TYPE_CHECKING:
    from clinical_backend.rounds.rank import RankedTask
    from clinical_backend.storage.schema import QueuedTask

__all__ = ["reason_of"]


def reason_of(task: RankedTask | QueuedTask) -> str:
    """Return why a task is in its place of the queue, in one or two sentences."""
    if task.draw is Draw.AUDIT:
        return "Drawn at random, for an honest count of the rare cases."
    if task.draw is Draw.DIVERSE:
        return "Unlike what is labelled: variety, while nothing is known of the target."
    found = []
    if task.rare_probability is not None:
        found.append(f"P(rare) is {task.rare_probability:.0%}.")
    if task.nearest_exemplar is not None and task.similarity is not None:
        found.append(f"Most like task {task.nearest_exemplar} (similarity {task.similarity:.2f}).")
    return " ".join(found) or "Chosen for the target."
