"""What is handed over of each labelled task."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from clinical_backend.labelstudio.labeling.fields import lookup
from clinical_backend.labelstudio.labeling.labels import readers_answers
from clinical_backend.multilabel import findings_of, is_multilabel, unknown_of
from clinical_backend.rounds.audit import read_draws
from clinical_backend.strategy.copy_pairs import near_copy_pairs
from clinical_backend.strategy.splits import assign_splits, ties_by_key

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from typing import TypeAlias

    from numpy.typing import NDArray

    from clinical_backend.archive.pseudonyms import Pseudonyms
    from clinical_backend.findings.interval import Interval
    from clinical_backend.handover.export_options import ExportOptions
    from clinical_backend.labelstudio.labeling.scheme import LabelingScheme
    from clinical_backend.labelstudio.resources import AnnotatedTask
    from clinical_backend.origins import LedgerEntry
    from clinical_backend.rounds.audit import Draws
    from clinical_backend.study import StudyImage
    from clinical_backend.workspace.workspace import ProjectWorkspace

    Show: TypeAlias = Callable[[int, int | None], None]
    """Is told how much is done, of how much."""

__all__ = ["Collection", "Record", "collect"]

_AT_ONCE = 1000
"""Tasks that are held with all their answers: some MB."""


@dataclass(frozen=True, slots=True)
class Record:
    """A labelled task.

    Attributes
    ----------
    entry
        Its label, and how that came about.
    readers
        Who answered, by id or pseudonym.
    agreement
        Share of the readers' answers that give the label; ``None`` where fewer than two gave one.
    group
        What stands for its patient or study; ``None`` where it names none.
    digest
        sha256 of the image's bytes, of several images of theirs; ``None`` until they were read.
    split
        One of ``SPLITS``.
    weight
        How many tasks of the project it stands for; ``None`` where that cannot be said.
    fields
        What its data says in the chosen fields.
    images
        Where its images are.
    """

    entry: LedgerEntry
    readers: tuple[str, ...]
    agreement: float | None
    group: str | None
    digest: str | None
    split: str
    weight: float | None
    fields: Mapping[str, str | int | float | None] = field(default_factory=dict)
    images: tuple[StudyImage, ...] = ()

    @property
    def task(self) -> int:
        """Label Studio's id of the task."""
        return self.entry.task_id


@dataclass(frozen=True)
class Collection:
    """The labels of a project, and what is known of them together.

    Attributes
    ----------
    project, options
        What is handed over.
    scheme
        What the labeling config asks.
    ledger
        The labelled tasks, ascending by id.
    draws
        The random draws.
    groups, digests
        What stands for patient and image of each task that has one.
    by_copies
        Pairs of tasks that show nearly the same image, shape (p, 2).
    compared
        Tasks whose features are at hand to tell that.
    """

    project: ProjectWorkspace
    options: ExportOptions
    scheme: LabelingScheme
    ledger: Sequence[LedgerEntry]
    draws: Draws
    groups: Mapping[int, str]
    digests: Mapping[int, str]
    by_copies: NDArray[np.int64]
    compared: int

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """Classes or findings, those of the labeling config first, others that labels name behind them."""
        named = {name for entry in self.ledger for name in findings_of(entry.label) | unknown_of(entry.label)}
        return (*self.scheme.classes, *sorted(named - set(self.scheme.classes)))

    @cached_property
    def has_findings(self) -> bool:
        """Whether a label may name several."""
        return self.scheme.several is not None or any(is_multilabel(entry.label) for entry in self.ledger)

    @cached_property
    def ties(self) -> dict[str, NDArray[np.int64]]:
        """Pairs of tasks that no split may part, shape (p, 2), by what ties them."""
        tasks = {entry.task_id for entry in self.ledger}
        return {
            "the same patient or study": ties_by_key({task: key for task, key in self.groups.items() if task in tasks}),
            "the same image": ties_by_key({task: key for task, key in self.digests.items() if task in tasks}),
            "nearly the same image": self.by_copies,
        }

    @cached_property
    def splits(self) -> dict[int, str]:
        """The split of each task."""
        return assign_splits(
            {entry.task_id: sorted(findings_of(entry.label)) for entry in self.ledger},
            np.concatenate(list(self.ties.values())),
            validation=self.options.validation,
            test=self.options.test,
            seed=self.options.seed,
        )

    @cached_property
    def weights(self) -> dict[int, float]:
        """The weight of each task that has one."""
        return self.draws.weights()

    def shares(self) -> dict[str, Interval | None]:
        """Return which share of all tasks has each class, as far as the random draws tell."""
        sample = self.draws.sample
        named = [findings_of(entry.label) for entry in self.draws.ledger]
        return {
            name: sample.share(np.array([name in one for one in named], dtype=np.bool_)) if named else None
            for name in self.classes
        }

    def records(self, pseudonyms: Pseudonyms, show: Show) -> Iterator[Record]:
        """Yield what is handed over of each task, ascending by id, as Label Studio has it now.

        A task that is gone there, or that it cannot give, is left out.
        """
        client, done = self.project.client, 0
        for start in range(0, len(self.ledger), _AT_ONCE):
            part = self.ledger[start : start + _AT_ONCE]
            tasks = {one.id: one for one in client.tasks_with_answers(self.project.id, [e.task_id for e in part])}
            for entry in part:
                if entry.task_id in tasks:
                    yield self._record(entry, tasks[entry.task_id], pseudonyms)
            done += len(part)
            show(done, len(self.ledger))

    def _record(self, entry: LedgerEntry, task: AnnotatedTask, pseudonyms: Pseudonyms) -> Record:
        answers = readers_answers(self.scheme, task)
        names = [str(reader) for reader, _ in answers]
        agreeing = [label == entry.label for _, label in answers]
        group = self.groups.get(entry.task_id)
        return Record(
            entry=entry,
            readers=tuple(names if self.options.with_ids else [pseudonyms.of("reader", name) for name in names]),
            agreement=sum(agreeing) / len(agreeing) if len(agreeing) > 1 else None,
            group=None if group is None else pseudonyms.of("group", group),
            digest=self.digests.get(entry.task_id),
            split=self.splits[entry.task_id],
            weight=self.weights.get(entry.task_id),
            fields={name: _plain(lookup(task.data, name)) for name in self.options.fields},
            images=self.scheme.images_of(task.data, self.project.workspace.settings.images_per_task),
        )


def collect(project: ProjectWorkspace, scheme: LabelingScheme, options: ExportOptions, show: Show) -> Collection:
    """Return the labels of a project, as its last round or a later look at Label Studio left them.

    Parameters
    ----------
    project, options
        What is handed over.
    scheme
        What the labeling config asks, as that look read it.
    show
        Is told how many tasks are compared with all others, of how many.
    """
    stores = project.stores
    ledger = stores.labels.ledger(project.id)
    tasks = sorted(entry.task_id for entry in ledger)
    featured = project.features_of(project.representations()[0], tasks)
    return Collection(
        project,
        options,
        scheme,
        sorted(ledger, key=lambda entry: entry.task_id),
        read_draws(project, ledger),
        stores.images.groups(project.id),
        project.digests(tasks),
        near_copy_pairs(featured, show),
        len(featured),
    )


def _plain(value: object) -> str | int | float | None:
    """Return a value that a table can hold; of lists and objects nothing is handed over."""
    return value if isinstance(value, str | int | float) else None
