"""What is wrong with a project's tasks and settings, as its own state tells: problems with their cures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from clinical_backend.errors import ClinicalError
from clinical_backend.storage.stores.troubles import TroubleKind

if TYPE_CHECKING:
    from clinical_backend.workspace.workspace import ProjectWorkspace

__all__ = ["Notice", "group_notice", "notices"]


@dataclass(frozen=True, slots=True)
class Notice:
    """Something that a person should know.

    Attributes
    ----------
    about
        What was looked at, in a word.
    problem, cure
        What is wrong, and what to do.
    """

    about: str
    problem: str
    cure: str

    def __str__(self) -> str:
        return f"{self.problem} {self.cure}"


def notices(project: ProjectWorkspace) -> list[Notice]:
    """Return what a person should know of a project, apart from its labels, which the doctor reads afresh."""
    counts = project.stores.troubles.counts(project.id)
    where = f"See them with their reasons on {project.page}/unreadable, or with `clinical unreadable`."
    found = []
    if number := counts.get(TroubleKind.IMAGE):
        images = "1 image" if number == 1 else f"{number} images"
        found.append(Notice("images", f"{images} cannot be read, and these tasks are left out.", where))
    if number := counts.get(TroubleKind.REPLACED):
        images = "The image of 1 labelled task was" if number == 1 else f"The images of {number} labelled tasks were"
        found.append(
            Notice(
                "replaced images", f"{images} replaced; the labels stay.", f"Have readers look at them again. {where}"
            )
        )
    group = group_notice(project)
    return found if group is None else [*found, group]


def group_notice(project: ProjectWorkspace) -> Notice | None:
    """Return what to say where no task has the field that names its patient or study."""
    row = project.row
    try:
        field = project.settings.group_field
    except ClinicalError:  # the project's problem says so
        return None
    if row is None or not field or row.grouped_by != field or project.stores.images.has_groups(project.id):
        return None
    return Notice(
        "patients",
        f"No task has text or a number in the field {field!r}, which GROUP_FIELD names: every task stands for itself.",
        "Write the field as it stands in the tasks' data, with dots where it lies deeper, as in case.patient.",
    )
