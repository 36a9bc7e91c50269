"""The exemplars of a project, who tagged them, what each one brought, and where readers disagree."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from clinical_backend.findings.interval import Interval, interval_of_share
from clinical_backend.multilabel import has_any, unknown_of

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from clinical_backend.storage.stores.exemplar_labels import LabelledCase
    from clinical_backend.workspace.workspace import ProjectWorkspace

__all__ = ["Brought", "CasesLike", "Conflict", "Exemplar", "read_brought", "read_cases_like", "read_exemplars"]

_SHOWN_CASES = 48
"""Of those found, and of those that misled: full rows of two, three, four or six, a few screens; by eye."""


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


@dataclass(frozen=True, slots=True)
class Brought:
    """What came of the cases that queues sought near an exemplar, each counted for its nearest exemplar alone.

    Attributes
    ----------
    found
        How many readers found to be of the target.
    misled
        How many they labelled as something else.
    """

    found: int = 0
    misled: int = 0

    @property
    def read(self) -> int:
        """How many were read; those of which the reader says nothing of the target are left out."""
        return self.found + self.misled

    @property
    def share(self) -> Interval | None:
        """How many of such cases are of the target, as far as those that were read carry it; ``None`` without any."""
        return interval_of_share(self.found, self.read) if self.read else None


@dataclass(frozen=True, slots=True)
class CasesLike:
    """The last cases that were sought near an exemplar, the newest first.

    Attributes
    ----------
    brought
        How many there are in all.
    found
        Those of the target.
    misled
        Look-alikes: those that readers labelled as something else.
    """

    brought: Brought
    found: list[LabelledCase]
    misled: list[LabelledCase]


def read_brought(project: ProjectWorkspace, exemplars: Collection[int] | None = None) -> dict[int, Brought]:
    """Return what exemplars brought, by what stands for them in queues; those near which nothing was read are left out.

    Counted is what the published round looks for, whatever an earlier queue looked for.

    Parameters
    ----------
    exemplars
        Which; all by default.
    """
    target = project.stores.rounds.published_report(project.id).target
    counts = project.stores.exemplar_labels.counts(project.id, exemplars) if target else {}
    brought = {exemplar: _brought(labels, target) for exemplar, labels in counts.items()}
    return {exemplar: one for exemplar, one in brought.items() if one.read}


def read_cases_like(project: ProjectWorkspace, exemplar: int) -> CasesLike:
    """Return the last cases that queues sought near an exemplar, given what stands for it in queues."""
    target = project.stores.rounds.published_report(project.id).target
    store = project.stores.exemplar_labels
    labels = store.counts(project.id, [exemplar]).get(exemplar, {}) if target else {}
    parts = (store.newest(project.id, exemplar, part, _SHOWN_CASES) for part in _parted(labels, target))
    return CasesLike(_brought(labels, target), *parts)


def _brought(labels: Mapping[str, int], target: Collection[str]) -> Brought:
    """Return what came of cases, by how often each label was given to them."""
    return Brought(*(sum(labels[one] for one in part) for part in _parted(labels, target)))


def _parted(labels: Collection[str], target: Collection[str]) -> tuple[list[str], list[str]]:
    """Return the labels that say that something of the target is there, and those that say that nothing is."""
    found = [label for label in labels if has_any(label, target)]
    misled = [label for label in labels if label not in found and unknown_of(label).isdisjoint(target)]
    return found, misled


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
