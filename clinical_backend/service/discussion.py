"""Cases that were read twice, to be discussed: which of them a page shows."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

from clinical_backend.multilabel import findings_of
from clinical_backend.service.second_readings import Outcome, read_again

if TYPE_CHECKING:
    from collections.abc import Iterable

    from clinical_backend.service.second_readings import ReadAgain
    from clinical_backend.workspace.workspace import ProjectWorkspace

__all__ = ["DIFFERENT", "OPEN", "SAME", "SETTLED", "CaseFilter", "cases_of", "choose_cases", "count_cases"]

DIFFERENT, OPEN, SETTLED, SAME = "", "open", "settled", "same"
"""Which cases are meant: those whose answers differ, those of them that are open or settled, and all others."""


@dataclass(frozen=True, slots=True)
class CaseFilter:
    """Which cases are shown.

    Attributes
    ----------
    state
        One of the four.
    name
        A class or finding that one of the answers gives; empty for any.
    pair
        Two readers who answered, as ``3-7`` by their numbers; empty for any.
    """

    state: str = DIFFERENT
    name: str = ""
    pair: str = ""


def cases_of(project: ProjectWorkspace, wanted: CaseFilter) -> list[ReadAgain]:
    """Return the cases of a state, those that are open first, then the newest."""
    cases = read_again(project, None, differing=wanted.state != SAME)
    if wanted.state not in {OPEN, SETTLED}:
        return cases
    return [one for one in cases if (one.outcome is Outcome.OPEN) is (wanted.state == OPEN)]


def choose_cases(cases: Iterable[ReadAgain], wanted: CaseFilter) -> list[ReadAgain]:
    """Return the cases of a class and a pair of readers."""
    return [
        one
        for one in cases
        if (not wanted.name or wanted.name in _names(one)) and (not wanted.pair or wanted.pair in _pairs(one))
    ]


def count_cases(cases: Iterable[ReadAgain]) -> tuple[Counter[str], Counter[str]]:
    """Return how many cases there are of each class that an answer gives, and of each pair of readers."""
    names: Counter[str] = Counter()
    pairs: Counter[str] = Counter()
    for one in cases:
        names.update(_names(one))
        pairs.update(_pairs(one))
    return names, pairs


def _names(case: ReadAgain) -> frozenset[str]:
    return frozenset[str]().union(*(findings_of(label) for _, label in case.answers))


def _pairs(case: ReadAgain) -> set[str]:
    readers = sorted({int(reader) for reader, _ in case.answers if reader is not None})
    return {f"{first}-{second}" for first, second in combinations(readers, 2)}
