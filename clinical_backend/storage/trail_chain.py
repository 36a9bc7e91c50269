"""Whether the entries of the trail are those that were written: each is bound to the one before."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from clinical_backend.storage.trail import FIRST, digest_of
from clinical_backend.text import amount

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Verification", "verify_chain"]

_BETWEEN_LOOKS = 1000
"""Entries between two looks at the clock: some 10 ms."""


@dataclass(frozen=True, slots=True)
class Verification:
    """What came of checking the chain.

    Attributes
    ----------
    entries
        How many hold, from the first on.
    digest
        Of the last one that holds.
    broken
        Number of the first entry that does not hold; ``None`` where all do.
    problem
        What is wrong, as a sentence; empty where nothing is.
    whole
        Whether all were checked, in the time given.
    """

    entries: int
    digest: str
    broken: int | None = None
    problem: str = ""
    whole: bool = True

    def __str__(self) -> str:
        entries = amount(self.entries, "entry", "entries")
        if self.broken is not None:
            return f"The trail is broken at entry {self.broken}. {self.problem} Before it: {entries}."
        return f"The trail holds: {entries}."


def verify_chain(
    rows: Iterable[dict[str, Any]], expect: str | None = None, *, seconds: float | None = None
) -> Verification:
    """Check entries, and that one of them has a digest that was kept elsewhere.

    Parameters
    ----------
    rows
        Every column of all entries, ascending by number.
    expect
        That digest: where the last entries were cut off, nothing else tells.
    seconds
        How long; by default as long as it takes.
    """
    deadline = None if seconds is None else time.monotonic() + seconds
    count, previous, found = 0, FIRST, expect in {None, FIRST}
    for values in rows:
        number = count + 1
        if values["number"] != number:
            return Verification(count, previous, number, f"Entry {number} is missing.")
        if values["previous"] != previous:
            problem = f"Entry {number} does not go on from the one before it."
            return Verification(count, previous, number, problem)
        if digest_of(values) != values["digest"]:
            return Verification(count, previous, number, f"Entry {number} was changed.")
        count, previous = number, values["digest"]
        found = found or previous == expect
        if deadline is not None and count % _BETWEEN_LOOKS == 0 and time.monotonic() > deadline:
            return Verification(count, previous, whole=False)
    if not found:
        problem = f"No entry has the digest {expect}: entries after {count} were cut off, or the chain was made anew."
        return Verification(count, previous, count + 1, problem)
    return Verification(count, previous)
