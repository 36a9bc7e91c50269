"""Labels that deserve a second look: tasks called common that look rare. A missed finding costs most.

The order is that of confident learning (Northcutt, Jiang and Chuang, Journal of Artificial Intelligence Research 70,
2021): by the probability that classifiers which had not seen a label give against it. The likeness to the nearest
exemplar explains it, and decides between equals; pooled with the probability it made the order no better
(docs/findings.md).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from clinical_backend.storage.schema import SuspectedLabel
    from clinical_backend.storage.stores.stores import Stores

__all__ = ["SecondLookTask", "read_second_look"]


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
        From 0 to 1: how much speaks against the label. It orders, and is no chance.
    rare_probability
        The score of the rare classes by classifiers that had not seen the label; ``None`` where there is none.
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
        How many at most. Tasks whose label changed since are left out.
    """
    return [
        SecondLookTask(
            row.task_id,
            row.label,
            row.suspicion,
            row.rare_probability,
            row.nearest_exemplar,
            row.similarity,
            _reason(row),
        )
        for row in stores.labels.suspected(project_id, limit)
    ]


def _reason(row: SuspectedLabel) -> str:
    found = [f"Labelled {row.label!r}."]
    if row.rare_probability is not None:
        found.append("Classifiers that had not seen this label call it rare.")
    if row.nearest_exemplar is not None and row.similarity is not None:
        found.append(f"Most like task {row.nearest_exemplar} (similarity {row.similarity:.2f}).")
    return " ".join(found)
