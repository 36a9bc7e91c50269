"""How often others say what a reader says, of cases that two or more read without seeing each other's answer."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from clinical_backend.findings.agreement import LEAST_READINGS
from clinical_backend.findings.interval import Interval, interval_of_share
from clinical_backend.multilabel import disputed, findings_of, says

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["ReaderAgreement", "Same", "agreement_by_reader"]


@dataclass(slots=True)
class Same:
    """Of how many cases others say the same.

    Attributes
    ----------
    same, cases
        Cases on which at least half of the other readers say the same, and all.
    """

    same: int = 0
    cases: int = 0

    @property
    def interval(self) -> Interval | None:
        """The share with its 95 % interval; ``None`` of fewer than ten cases, which say nothing of others."""
        return interval_of_share(self.same, self.cases) if self.cases >= LEAST_READINGS else None

    def count(self, agrees: bool, times: int) -> None:
        """Count so many cases."""
        self.same += times if agrees else 0
        self.cases += times


@dataclass(slots=True)
class ReaderAgreement:
    """How often others say what a reader says.

    Attributes
    ----------
    whole
        Of all cases that the reader and another one read.
    by_class
        Of those to which the reader gave each class, or in which each of several findings was seen.
    """

    whole: Same = field(default_factory=Same)
    by_class: dict[str, Same] = field(default_factory=dict)


def agreement_by_reader(cases: Iterable[tuple[Sequence[tuple[str, str]], int]]) -> dict[str, ReaderAgreement]:
    """Return of each reader how often others say the same.

    Parameters
    ----------
    cases
        Reader and label of each answer to a case, one answer of each reader, and how many such cases there are. Of
        several findings, two labels are the same where none is given by one and denied by the other, and a finding is
        counted by itself; who says nothing of it is left out.
    """
    found: dict[str, ReaderAgreement] = {}
    for answers, times in cases:
        for reader, label in answers if len(answers) > 1 else ():
            others = [other for name, other in answers if name != reader]
            if not others:
                continue
            own = found.setdefault(reader, ReaderAgreement())
            own.whole.count(2 * sum(not disputed([label, other]) for other in others) >= len(others), times)
            for name in findings_of(label):
                told = [said for other in others if (said := says(other, name)) is not None]
                if told:
                    own.by_class.setdefault(name, Same()).count(2 * sum(told) >= len(told), times)
    return found
