"""Labels that deserve a second look, as the last round found them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from clinical_backend.multilabel import as_words
from clinical_backend.strategy.suspects import Suspect

if TYPE_CHECKING:
    from clinical_backend.storage.schema import SuspectedLabel
    from clinical_backend.workspace.workspace import ProjectWorkspace

__all__ = ["SecondLookTask", "read_second_look"]


@dataclass(frozen=True, slots=True)
class SecondLookTask(Suspect):
    """A label that may be wrong, as a page shows it.

    Attributes
    ----------
    reason
        Why it is here, for people.
    """

    reason: str = ""


def read_second_look(project: ProjectWorkspace, limit: int = 100) -> list[SecondLookTask]:
    """Return the tasks that deserve a second look, the most suspicious first, as the last round stored them.

    Parameters
    ----------
    project
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
        for row in project.stores.labels.suspected(project.id, limit)
    ]


def _reason(row: SuspectedLabel) -> str:
    found = [f"Labelled {as_words(row.label)!r}."]
    if row.rare_probability is not None:
        found.append("Classifiers that had not seen this label call it rare.")
    if row.nearest_exemplar is not None and row.similarity is not None:
        found.append(f"Most like task {row.nearest_exemplar} (similarity {row.similarity:.2f}).")
    return " ".join(found)
