"""The exemplars of a project, who tagged them, and where readers disagree."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from clinical_backend.workspace.workspace import ProjectWorkspace

__all__ = ["Conflict", "Exemplar", "read_exemplars"]


@dataclass(frozen=True, slots=True)
class Exemplar:
    """A task that readers tagged.

    Attributes
    ----------
    task_id
        The task.
    kind
        "More like this", or "not like this".
    label
        Its class; ``None`` where it has none.
    tagged_by
        Label Studio's id of the reader, or the page's user; for pages behind authentication, never for a log.
    tagged_at
        Seconds since the epoch.
    on_page
        Whether it was tagged on the project's page, and no reader has answered it.
    """

    task_id: int
    kind: Literal["exemplar", "counter-exemplar"]
    label: str | None
    tagged_by: str | None
    tagged_at: float | None
    on_page: bool = False


@dataclass(frozen=True, slots=True)
class Conflict:
    """A task whose readers chose different classes, and no star settles it.

    Attributes
    ----------
    task_id
        The task.
    answers
        Reader and class of each annotation.
    """

    task_id: int
    answers: list[tuple[str | None, str]]


def read_exemplars(project: ProjectWorkspace) -> tuple[list[Exemplar], list[Conflict]]:
    """Return the exemplars and counter-exemplars of a project, newest first, and its unsettled conflicts."""
    rows = project.stores.labels.tagged_or_disputed(project.id)
    tagged = [
        Exemplar(
            row.task_id,
            "exemplar" if row.steer > 0 else "counter-exemplar",
            row.label,
            row.tagged_by,
            row.tagged_at,
        )
        for row in rows
        if row.steer
    ]
    tagged += [
        Exemplar(
            tag.task_id,
            "exemplar" if tag.steer > 0 else "counter-exemplar",
            None,
            tag.tagged_by,
            tag.tagged_at,
            on_page=True,
        )
        for tag in project.stores.page_tags.open(project.id).values()
    ]
    tagged.sort(key=lambda exemplar: (-(exemplar.tagged_at or 0.0), exemplar.task_id))
    conflicts = [Conflict(row.task_id, [(reader, name) for reader, name in row.answers]) for row in rows if row.answers]
    return tagged, conflicts
