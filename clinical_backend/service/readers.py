"""What readers did, as far as SHOW_READERS lets it be told: counts, times, and how often others say the same."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from clinical_backend.findings.reader_agreement import ReaderAgreement, agreement_by_reader
from clinical_backend.origins import AnswerKind
from clinical_backend.service.second_readings import Outcome, is_of_doubt

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from clinical_backend.service.second_readings import ReadAgain
    from clinical_backend.storage.stores.second_readings import ReadingPattern
    from clinical_backend.workspace.workspace import ProjectWorkspace

__all__ = ["DAYS", "ReaderFigures", "ReaderNames", "Times", "read_readers"]

DAYS = 30
"""Of which labels are shown day by day: whoever answered nothing for so long is asked for no second reading either."""

_DAY = 86_400
_LEAST_TIMES = 10
"""Of fewer, a quarter of them is one case or two."""


@dataclass(frozen=True, slots=True)
class Times:
    """Seconds per case, of answers whose time was measured.

    Attributes
    ----------
    cases
        How many these are.
    median, low, high
        Half took less, a quarter less than ``low``, and a quarter more than ``high``.
    """

    cases: int
    median: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class ReaderFigures:
    """What one reader did.

    Attributes
    ----------
    reader
        Label Studio's id.
    name
        As it is shown.
    labels, second, skipped, accepted
        Annotations: answers, those of them that were blind second readings, skips, and predictions accepted in bulk.
    days
        Answers of each of the last days by UTC, the latest last.
    times
        ``None`` while fewer than ten answers have one.
    agreement
        Of cases that were drawn at random, or read twice without being asked for.
    doubtful
        Of cases that were read again since somebody or something doubted the label.
    open
        Cases on which readers differ, and which nobody has settled.
    """

    reader: int
    name: str
    labels: int
    second: int
    skipped: int
    accepted: int
    days: tuple[int, ...]
    times: Times | None
    agreement: ReaderAgreement
    doubtful: ReaderAgreement
    open: int


class ReaderNames:
    """What readers are called on pages.

    Parameters
    ----------
    names
        By Label Studio's id, as far as known.
    show
        SHOW_READERS.
    """

    def __init__(self, names: Mapping[str, str], show: Literal["names", "numbers", "off"]) -> None:
        self.show = show
        self._names = names if show == "names" else {}
        self._counts = Counter(name.casefold() for name in self._names.values())

    def of(self, reader: str | int | None) -> str:
        """Return a reader's name; the number, where none is known or several have one name, and neither where off."""
        if self.show == "off" or reader is None:
            return "a reader"
        name = self._names.get(str(reader))
        if name is None:
            return f"reader {reader}"
        return name if self._counts[name.casefold()] == 1 else f"{name} ({reader})"

    def order(self, reader: str | int) -> tuple[bool, str, int]:
        """Return by what readers are sorted: named ones by name, then the others by number."""
        return str(reader) not in self._names, self._names.get(str(reader), "").casefold(), int(reader)


def read_readers(
    project: ProjectWorkspace, names: ReaderNames, differing: Iterable[ReadAgain], *, now: float | None = None
) -> list[ReaderFigures]:
    """Return what each reader of a project did, by name. Who only imported, or accepted in bulk, is no reader.

    Parameters
    ----------
    names
        What they are called; where SHOW_READERS is off, nothing is returned.
    differing
        The cases that were read twice with answers that differ.
    now
        Seconds since the epoch.
    """
    if names.show == "off":
        return []
    store = project.stores.readings
    today = int((time.time() if now is None else now) // _DAY)
    kinds, second = store.counts(project.id)
    since = (today - DAYS + 1) * _DAY
    # By the clock of Label Studio it may be tomorrow.
    days = Counter((reader, min(int(at // _DAY), today)) for reader, at in store.answered_since(project.id, since))
    seconds: dict[int, list[float]] = {}
    for reader, lead in store.lead_times(project.id):
        seconds.setdefault(reader, []).append(lead)
    patterns = project.stores.second_readings.patterns(project.id)
    agreement, doubtful = (_agreements(patterns, of_doubt=of_doubt) for of_doubt in (False, True))
    open_ = Counter(
        reader for one in differing if one.outcome is Outcome.OPEN for reader in {name for name, _ in one.answers}
    )
    readers = {reader for reader, kind in kinds if kind is not AnswerKind.ACCEPTED}
    return [
        ReaderFigures(
            reader,
            names.of(reader),
            kinds[reader, AnswerKind.OWN],
            second[reader],
            kinds[reader, AnswerKind.SKIP],
            kinds[reader, AnswerKind.ACCEPTED],
            tuple(days[reader, day] for day in range(today - DAYS + 1, today + 1)),
            _times(seconds.get(reader, [])),
            agreement.get(str(reader), ReaderAgreement()),
            doubtful.get(str(reader), ReaderAgreement()),
            open_[str(reader)],
        )
        for reader in sorted(readers, key=names.order)
    ]


def _agreements(patterns: Iterable[ReadingPattern], *, of_doubt: bool) -> dict[str, ReaderAgreement]:
    return agreement_by_reader(
        ([(str(reader), name) for reader, name in one.answers or ()], one.cases)
        for one in patterns
        if is_of_doubt(at_random=one.at_random, by_lead=one.by_lead, doubted=one.doubted) is of_doubt
    )


def _times(seconds: Sequence[float]) -> Times | None:
    if len(seconds) < _LEAST_TIMES:
        return None
    low, median, high = np.quantile(seconds, [0.25, 0.5, 0.75]).tolist()
    return Times(len(seconds), median, low, high)
