"""Reports of the studies of an archive, found again by the keyed hashes that their tasks carry."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from clinical_backend.archive.found import Found, PassedOver
from clinical_backend.archive.structured_report import Reported, make_report
from clinical_backend.errors import ArchiveError
from clinical_backend.labelstudio.labeling.project_labels import Source as Answerer
from clinical_backend.multilabel import findings_of, unknown_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from clinical_backend.archive.found import Source
    from clinical_backend.archive.pseudonyms import Pseudonyms
    from clinical_backend.labelstudio.labeling.project_labels import Labels

__all__ = ["StudyReport", "readers_labels", "report_studies", "store_reports"]

_NO_FINDING = "no finding"
_MOST_IMAGES = 1000
"""Of a task, that its report names: more than a series of slices has, so that no archive fills the memory; chosen."""
_GIVEN_UP = 3
"""Refusals in a row after which an archive is taken to want no report: one may be about a single study."""


@dataclass(frozen=True, slots=True)
class StudyReport:
    """A report of a study.

    Attributes
    ----------
    study
        Keyed hash of the study, as its tasks have it: the same each time.
    content
        The DICOM file.
    """

    study: str
    content: bytes


def readers_labels(tasks: Mapping[str, Sequence[int]], said: Labels) -> dict[str, list[str]]:
    """Return the classes or findings of each task that may be reported, by its identity.

    What an import or a model answered is left out: nobody looked at it here. So is what readers do not agree on, and an
    answer without a finding that leaves some of them open, which is no "no finding".

    Parameters
    ----------
    tasks
        Ids of the tasks that show the same, by identity.
    said
        Of the project.
    """
    found = {}
    for identity, ids in tasks.items():
        labels = {said.classes[task] for task in ids if task in said.classes and _is_a_readers(task, said)}
        if len(labels) != 1:
            continue
        (label,) = labels
        findings = sorted(findings_of(label))
        if findings or not unknown_of(label):
            found[identity] = findings or [_NO_FINDING]
    return found


def _is_a_readers(task: int, said: Labels) -> bool:
    return task in said.first_answers and said.first_answers[task].source is Answerer.READER


def report_studies(
    source: Source, pseudonyms: Pseudonyms, labels: Mapping[str, Sequence[str]], project: str
) -> Iterator[StudyReport | PassedOver]:
    """Yield a Structured Report of each study of which a task is answered, and what none can be made of.

    Nothing that was kept ties tasks to an archive: the archive is searched, and what it holds is hashed again.

    Parameters
    ----------
    source
        Holds what the tasks were imported from.
    pseudonyms
        Those of the import.
    labels
        Classes or findings of each answered task, by its identity. One that the source does not hold is passed over,
        under its identity.
    project
        Title of the project.
    """
    studies: dict[str, dict[str, list[Found]]] = {}
    missing = set(labels)
    for one, identity in _tasks_of(source.find(), pseudonyms, labels):
        missing.discard(identity)
        if one.header.study:
            images = studies.setdefault(one.header.study, {}).setdefault(identity, [])
            if len(images) < _MOST_IMAGES:
                images.append(one)
        else:
            yield PassedOver(one.name, "it belongs to no study")
    for identity in sorted(missing):
        yield PassedOver(identity, "what this task shows is not in what was named")
    for study, tasks in studies.items():
        try:
            content = make_report(
                [
                    Reported(identity, labels[identity], [source.describe(one) for one in images])
                    for identity, images in tasks.items()
                ],
                project,
            )
            yield StudyReport(pseudonyms.of("study", study), content)
        except ArchiveError as error:
            yield PassedOver(next(iter(tasks.values()))[0].name, str(error))


def store_reports(
    reports: Iterable[StudyReport | PassedOver], store: Callable[[bytes], None]
) -> Iterator[StudyReport | PassedOver]:
    """Yield the reports that an archive takes, and what it does not take, as what was passed over before.

    Parameters
    ----------
    reports
        From :func:`report_studies`.
    store
        Gives the archive a file.

    Raises
    ------
    ArchiveError
        When the archive takes none at all, or several in a row are refused.
    """
    refused: list[ArchiveError] = []
    taken = False
    for one in reports:
        if isinstance(one, StudyReport):
            try:
                store(one.content)
            except ArchiveError as error:
                refused.append(error)
                if len(refused) == _GIVEN_UP:
                    raise
                yield PassedOver(one.study, str(error))
                continue
            refused, taken = [], True
        yield one
    if refused and not taken:
        raise refused[-1]


def _tasks_of(
    found: Iterable[Found | PassedOver], pseudonyms: Pseudonyms, labels: Mapping[str, Sequence[str]]
) -> Iterator[tuple[Found, str]]:
    """Yield each object once with the identity of every answered task that shows it."""
    seen: set[str] = set()
    for one in found:
        if not isinstance(one, Found) or one.header.instance in seen:
            continue
        seen.add(one.header.instance)
        header = one.header
        for kind, identifier in (("instance", header.instance), ("series", header.series), ("study", header.study)):
            identity = pseudonyms.of(kind, identifier)
            if identity in labels:
                yield one, identity
