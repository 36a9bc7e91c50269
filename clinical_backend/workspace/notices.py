"""What is wrong with a project's tasks and settings, as its own state tells: problems with their cures."""

from __future__ import annotations

from typing import TYPE_CHECKING

from clinical_backend.errors import ClinicalError
from clinical_backend.labelstudio.connection.checks import CheckResult, Status
from clinical_backend.storage.stores.troubles import TroubleKind
from clinical_backend.text import amount
from clinical_backend.workspace.backbone_record import load_trial

if TYPE_CHECKING:
    from clinical_backend.workspace.workspace import ProjectWorkspace

__all__ = ["backbone_notice", "group_notice", "notices"]


def notices(project: ProjectWorkspace) -> list[CheckResult]:
    """Return what a person should know of a project, apart from its labels, which the doctor reads afresh."""
    counts = project.stores.troubles.counts(project.id)
    where = f"See them with their reasons on {project.page}/unreadable, or with `clinical unreadable`."
    found = []
    if number := counts.get(TroubleKind.IMAGE):
        images = amount(number, "image")
        found.append(
            CheckResult("images", Status.WARNING, f"{images} cannot be read, and these tasks are left out.", where)
        )
    if number := counts.get(TroubleKind.REPLACED):
        images = "The image of 1 labelled task was" if number == 1 else f"The images of {number} labelled tasks were"
        found.append(
            CheckResult(
                "replaced images",
                Status.WARNING,
                f"{images} replaced; the labels stay.",
                f"Have readers look at them again. {where}",
            )
        )
    test_set = project.stores.test_sets.get(project.id)
    if test_set is not None and test_set.problem is not None:
        found.append(CheckResult("test set", Status.WARNING, test_set.problem))
    return [*found, *filter(None, [backbone_notice(project), group_notice(project)])]


def backbone_notice(project: ProjectWorkspace) -> CheckResult | None:
    """Return what to say where the backbone that the settings name does not serve, as worse or for a failure."""
    trial = load_trial(project.serving_folder)
    if trial is None or trial.choice != project.workspace.configured.choice:
        return None
    if trial.state not in {"declined", "failed"}:
        return None
    return CheckResult("backbone", Status.WARNING, trial.message)


def group_notice(project: ProjectWorkspace) -> CheckResult | None:
    """Return what to say where no task has the field that names its patient or study."""
    row = project.row
    try:
        field = project.settings.group_field
    except ClinicalError:  # the project's problem says so
        return None
    if row is None or not field or row.grouped_by != field or project.stores.images.has_groups(project.id):
        return None
    return CheckResult(
        "patients",
        Status.WARNING,
        f"No task has text or a number in the field {field!r}, which GROUP_FIELD names: every task stands for itself.",
        "Write the field as it stands in the tasks' data, with dots where it lies deeper, as in case.patient.",
    )
