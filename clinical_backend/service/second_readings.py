"""What came of second readings: both answers and the outcome of each, and how far readers agree."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from clinical_backend.findings.agreement import Agreement, agreement, agreement_on_findings
from clinical_backend.multilabel import disputed, is_multilabel, unknown_of
from clinical_backend.storage.schema import ReadingState

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from clinical_backend.storage.schema import LabelCheck
    from clinical_backend.storage.stores.second_readings import ReadingPattern, ReadTwice
    from clinical_backend.workspace.workspace import ProjectWorkspace

__all__ = [
    "Agreements",
    "Outcome",
    "ReadAgain",
    "Why",
    "is_of_doubt",
    "read_again",
    "read_agreements",
    "report_second_look",
]


class Outcome(StrEnum):
    """What came of a second reading."""

    RIGHT = "right"
    """It gave the same class."""
    OPEN = "open"
    """It gave another class, and nobody has settled it yet."""
    CHANGED = "changed"
    """The task has another class now than it had."""
    KEPT = "kept"
    """It gave another class, and readers settled on the first one."""


class Why(StrEnum):
    """Why a task was read a second time."""

    DOUBT = "doubt"
    LEAD = "lead"
    DRAWN = "drawn"
    UNASKED = "unasked"
    """Since the project wants several answers to each task, or a reader chose it."""
    PAGE = "page"
    """On our own page."""
    WORD = "word"
    """Somebody said on our own page that it was right, having seen the class."""


@dataclass(frozen=True, slots=True)
class ReadAgain:
    """A task that was read again.

    Attributes
    ----------
    task_id
        The task.
    label
        The class that it had.
    answers
        Reader and class of each answer; no reader where a machine, or somebody on our own page, gave it.
    why
        Why it was read again.
    outcome
        What came of it.
    now
        Its class now; ``None`` while readers disagree.
    at
        When, in seconds since the epoch.
    """

    task_id: int
    label: str
    answers: tuple[tuple[str | None, str], ...]
    why: Why
    outcome: Outcome
    now: str | None
    at: float


@dataclass(frozen=True, slots=True)
class Agreements:
    """How far readers agree, each figure of the cases that it is of.

    Attributes
    ----------
    ordinary
        Of answered tasks that were drawn at random.
    doubtful
        Of labels that somebody or something doubted: hard cases, which say nothing of ordinary ones.
    unasked
        Of tasks that were read twice without being asked for.
    """

    ordinary: Agreement
    doubtful: Agreement
    unasked: Agreement


def read_again(project: ProjectWorkspace, limit: int | None = 100, *, differing: bool | None = None) -> list[ReadAgain]:
    """Return what was read a second time, in Label Studio or on our own page: what is open first, then the newest.

    Parameters
    ----------
    limit
        How many at most; ``None`` for all.
    differing
        Return only those whose answers differ, or only those whose answers are the same.
    """
    stores = project.stores
    rows = [
        row for row in stores.second_readings.read_twice(project.id) if differing is None or _differs(row) is differing
    ]
    checks = [
        check
        for check in stores.second_readings.checks(project.id).values()
        if differing is None or bool(disputed([check.label, check.answer])) is differing
    ]
    labels = stores.labels.settled(project.id, {row.task_id for row in rows} | {check.task_id for check in checks})
    known = [_of_row(row, labels[row.task_id]) for row in rows if row.task_id in labels]
    known += [_of_check(check, labels[check.task_id]) for check in checks if check.task_id in labels]
    known.sort(key=lambda one: (one.outcome is not Outcome.OPEN, -one.at, one.task_id))
    return known[:limit]


def is_of_doubt(*, at_random: bool, by_lead: bool, doubted: bool) -> bool:
    """Tell whether a case was read again since somebody or something doubted it: no ordinary one."""
    return not at_random and (doubted or by_lead)


def read_agreements(patterns: Iterable[ReadingPattern], *, seed: int = 0) -> Agreements:
    """Return how far readers agree, by how the cases came to be read twice.

    Parameters
    ----------
    patterns
        What two readers or more answered of a project's cases, each answer as it was first seen.
    seed
        Of resampling.
    """
    groups: dict[str, list[Sequence[str]]] = {"ordinary": [], "doubtful": [], "unasked": []}
    for one in patterns:
        of_doubt = is_of_doubt(at_random=one.at_random, by_lead=one.by_lead, doubted=one.doubted)
        kind = "ordinary" if one.at_random else "doubtful" if of_doubt else "unasked"
        if one.answers:
            groups[kind] += [[name for _, name in one.answers]] * one.cases
    several = any(is_multilabel(label) for cases in groups.values() for case in cases for label in case)
    measure = agreement_on_findings if several else agreement
    return Agreements(**{kind: measure(cases, seed=seed) for kind, cases in groups.items()})


def report_second_look(project: ProjectWorkspace, *, seed: int = 0) -> dict[str, Any]:
    """Return what the status says of second readings."""
    rows = project.stores.second_readings.all(project.id).values()
    agreements = read_agreements(project.stores.second_readings.patterns(project.id), seed=seed)
    return {
        "open": sum(row.state is ReadingState.OPEN for row in rows),
        "read": sum(row.state is ReadingState.READ for row in rows),
        "problem": project.stores.rounds.published_report(project.id).second_look.problem,
        "agreement": {
            "ordinary": asdict(agreements.ordinary),
            "doubtful": {"cases": agreements.doubtful.cases, "disagreements": agreements.doubtful.disagreements},
            "unasked": asdict(agreements.unasked),
        },
    }


def _answers(row: ReadTwice) -> list[tuple[str | None, str]]:
    answers: list[tuple[str | None, str]] = [(str(reader), name) for reader, name in row.answers or []]
    if not row.readings:  # an import or a model had answered, and no reader
        answers.insert(0, (None, row.label))
    return answers


def _differs(row: ReadTwice) -> bool:
    return bool(disputed([name for _, name in _answers(row)]))


def _of_row(row: ReadTwice, label: tuple[str | None, int]) -> ReadAgain:
    answers, (now, readings) = _answers(row), label
    why = (
        Why.LEAD
        if row.by_lead
        else Why.DOUBT
        if row.suspicion is not None
        else Why.DRAWN
        if row.at_random
        else Why.UNASKED
    )
    first = answers[0][1] if answers else row.label
    agreed = not disputed([name for _, name in answers])
    # The ledger of the last round may not know the second answer yet.
    unsettled = not agreed and now == first and readings <= row.readings
    return ReadAgain(
        row.task_id,
        first,
        tuple(answers),
        why,
        Outcome.OPEN if unsettled else _outcome(first, now, [name for _, name in answers]),
        now,
        row.read_at or row.asked_at,
    )


def _of_check(check: LabelCheck, label: tuple[str | None, int]) -> ReadAgain:
    now, agreed = label[0], not disputed([check.label, check.answer])
    answers = ((None, check.label), (None, check.answer)) if check.blind else ((None, check.label),)
    why = Why.PAGE if check.blind else Why.WORD
    # A class that nobody changed since another one was given here is still to be looked at.
    still = now == check.label and not agreed
    outcome = Outcome.OPEN if still else _outcome(check.label, now, [check.label, check.answer])
    return ReadAgain(check.task_id, check.label, answers, why, outcome, now, check.checked_at)


def _outcome(first: str, now: str | None, answers: Sequence[str]) -> Outcome:
    at_odds = disputed(answers)
    if now is None or at_odds & unknown_of(now):  # of several findings, the label says nothing of those in a tie
        return Outcome.OPEN
    if disputed([first, now]):
        return Outcome.CHANGED
    return Outcome.KEPT if at_odds else Outcome.RIGHT
