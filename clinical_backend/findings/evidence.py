"""What the labels of random draws can carry: nothing yet, a one-sided bound, or an estimate with its interval.

The first two numbers are measured by ``clinical bench coverage``; docs/findings.md has its tables.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["LEAST_LABELS", "LEAST_RARE", "MOST_UNCOVERED", "Evidence"]

LEAST_LABELS = 20
"""From so many on, even none that is rare bounds the share of rare cases: 13 % at most. After half as many it is
24 %, mostly more than ten times the truth."""

LEAST_RARE = 3
"""With so many rare ones, 19 of 20 estimates are within 2.7 times the truth either way, and with more within 2 times.
With two it is 3.3 times, with one 4, with none 11."""

MOST_UNCOVERED = 0.05
"""Share of a project's tasks that may be newer than the draws that the estimates rest on, or readable only since. To
begin anew with each import would lose all draws; how many tasks are left out is said beside the figures."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """How much was drawn at random, and what that allows to say.

    Attributes
    ----------
    labels, rare
        Labels of tasks that were drawn at random, and the rare ones among them.
    """

    labels: int
    rare: int

    @property
    def missing(self) -> int:
        """How many more such labels it takes until anything can be said."""
        return max(0, LEAST_LABELS - self.labels)

    @property
    def carries_estimate(self) -> bool:
        """Whether an estimate may be given, and not a bound alone."""
        return not self.missing and self.rare >= LEAST_RARE
