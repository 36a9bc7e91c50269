"""Exemplars from outside the project, which steer its queue until its own cases do."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from numpy.typing import NDArray

__all__ = ["OutsideExemplars", "exemplar_of", "outside_shares", "own_cases_worth", "standing_id"]


@dataclass(frozen=True, slots=True)
class OutsideExemplars:
    """Images from outside a project that stand for its findings. They are no tasks, and never count as found.

    Attributes
    ----------
    ids
        What stands for each among tasks, shape (m,): a number below 0, which no task has.
    features
        Their features, shape (m, d), float32.
    findings
        The finding that each stands for.
    """

    ids: NDArray[np.int64]
    features: NDArray[np.float32]
    findings: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def labels(self) -> Mapping[int, str]:
        """The finding of each."""
        return dict(zip(self.ids.tolist(), self.findings, strict=True))

    def of(self, finding: str) -> OutsideExemplars:
        """Return those of one finding."""
        kept = [place for place, name in enumerate(self.findings) if name == finding]
        return OutsideExemplars(self.ids[kept], self.features[kept], (finding,) * len(kept))

    def first(self, width: int) -> OutsideExemplars:
        """Return the same with the first values of each feature alone."""
        return replace(self, features=self.features[:, :width])


def standing_id(exemplar: int) -> int:
    """Return what stands among tasks for an exemplar from outside, by its number."""
    return -exemplar


def exemplar_of(task: int) -> int | None:
    """Return the number of the exemplar from outside that a number among tasks stands for; ``None`` for a task."""
    return -task if task < 0 else None


def own_cases_worth(count: int) -> float:
    """Return how many own cases so many from elsewhere are worth where they lie off: m / (1 + m), below one case."""
    return count / (1.0 + count)


def outside_shares(given: Mapping[str, int], own: Mapping[str, int], shifts: Mapping[str, float]) -> dict[str, float]:
    """Return how far exemplars from outside tell what a finding looks like, beside the project's own cases.

    What comes from another scanner or another stain lies off by a shift that all of it shares. With the variance τ² of
    that shift and σ² within a class, the mean of m images has the variance σ² / m + τ², as m / (1 + m τ² / σ²) own
    cases have: weighing by the inverse of the variance is best (Cochran, Biometrics 10, 1954). So where τ² is σ² they
    are worth w = m / (1 + m) and have the share w / (w + n) beside n own cases; where there is no shift, they are
    examples as own cases are, and the share is 1. Between the two it goes with τ² / σ².

    Parameters
    ----------
    given, own
        By finding how many exemplars there are from outside, and how many own cases.
    shifts
        By finding τ² / σ², from 0 to 1: see :func:`~clinical_backend.strategy.shift.shifts_of`.

    Returns
    -------
    dict
        The share of each finding that has some from outside, in (0, 1].
    """
    worth = {name: own_cases_worth(count) for name, count in given.items() if count}
    return {name: 1.0 - shifts[name] * own.get(name, 0) / (alone + own.get(name, 0)) for name, alone in worth.items()}
