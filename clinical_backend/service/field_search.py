"""The tasks with a value in a field of their data, which Label Studio alone keeps: it is asked once."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from clinical_backend.errors import (
    ClinicalError,
    InvalidArgumentError,
    LabelStudioFaultError,
    LabelStudioRefusedError,
)
from clinical_backend.labelstudio.labeling.fields import lookup

if TYPE_CHECKING:
    from clinical_backend.workspace.workspace import ProjectWorkspace

__all__ = ["LONGEST_VALUE", "FoundByField", "find_by_field", "searchable_fields"]

LONGEST_VALUE = 200
"""Characters: accession numbers and names of patients have 64 at most (DICOM PS3.5, SH and PN)."""
_SECONDS = 10.0
"""Label Studio's time for the answer, since a person waits."""


@dataclass(frozen=True, slots=True)
class FoundByField:
    """Tasks that were found by a field.

    Attributes
    ----------
    tasks
        The last ones first, as far as rounds have listed them.
    total
        How many Label Studio has.
    reserved
        How many of those that were looked at are of the test set, and are not among ``tasks``.
    """

    tasks: list[int]
    total: int
    reserved: int


def searchable_fields(project: ProjectWorkspace) -> list[str]:
    """Return the fields that can be searched: those that the tasks had when they were last listed.

    Label Studio finds none whose name has two underscores, by which it is led into fields within fields, nor any within
    one whose name ends with one.
    """
    row = project.row
    names = [] if row is None else [str(name) for name, *_ in row.task_fields]
    return [name for name in names if "__" not in name and "_." not in name]


def find_by_field(
    project: ProjectWorkspace, field: str, value: str, limit: int, *, whole: bool = False
) -> FoundByField:
    """Return the tasks with a value in a field. The value, which may name a patient, stands in no error.

    Parameters
    ----------
    field
        Its name, by dots within other fields.
    limit
        How many are wanted.
    whole
        Whether they have exactly that value, or one that contains it in letters of either case.

    Raises
    ------
    InvalidArgumentError
        When the project has no such field, or the value is empty or too long.
    ClinicalError
        When Label Studio does not answer in time, or cannot search for the value.
    """
    value = value.strip()
    if field not in searchable_fields(project):
        raise InvalidArgumentError("field", "the project has no such field.", "Choose one of the list.")
    if not value or len(value) > LONGEST_VALUE:
        raise InvalidArgumentError("value", f"it has 1 to {LONGEST_VALUE} characters.", "Enter it whole.")
    try:
        found = project.client.tasks_with_value(project.id, field, value, limit, _SECONDS, whole=whole)
    except (LabelStudioRefusedError, LabelStudioFaultError):  # it may repeat what it was asked for
        raise ClinicalError(
            "Label Studio refuses to search for this value.", "Filter for it in Label Studio, or find the task there."
        ) from None
    fits = _is if whole else _contains
    held = {task: lookup(data, field) for task, data in found.data.items()}
    if not all(fits(one, value) for one in held.values()):
        raise ClinicalError(
            "Label Studio does not search for this value.",
            "What is asked may be dropped by a proxy between. Filter for it in Label Studio.",
        )
    filled = [task for task, one in held.items() if one is not None]
    known = project.stores.images.all(project.id, filled)
    reserved = project.stores.test_sets.ids(project.id)
    tasks = [task for task in filled if task in known and task not in reserved]
    total = found.total - len(held) + len(filled)
    return FoundByField(tasks, total, sum(task in reserved for task in filled))


def _contains(held: object, value: str) -> bool:
    """Tell whether what a task holds contains what was asked for, in letters of either case.

    Of what is neither text nor a number Label Studio looks through the JSON: "null" contains "ul".
    """
    forms = [held] if isinstance(held, str) else [json.dumps(held, ensure_ascii=ascii_) for ascii_ in (False, True)]
    return any(value.casefold() in form.casefold() for form in forms)


def _is(held: object, value: str) -> bool:
    """Tell whether what a task holds is what was asked for."""
    if isinstance(held, str):
        return held == value
    if held is None or isinstance(held, bool):
        return json.dumps(held) == value
    if not isinstance(held, (int, float)):
        return False
    try:
        return math.isclose(held, float(value), rel_tol=1e-12)
    except ValueError:
        return False
