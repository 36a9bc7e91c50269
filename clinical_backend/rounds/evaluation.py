"""How good the published classifier is, by labels that it did not learn from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from clinical_backend.storage.stores import Stores

__all__ = ["CalibrationBin", "Evaluation", "read_evaluation"]


@dataclass(frozen=True, slots=True)
class CalibrationBin:
    """Labelled tasks of about the same P(rare).

    Attributes
    ----------
    predicted
        Their mean P(rare).
    rare
        The share of them that is rare.
    count
        How many they are.
    """

    predicted: float
    rare: float
    count: int


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Measures of a classifier on labelled tasks, each judged by a training that had not seen it.

    Attributes
    ----------
    classes
        The C classes.
    confusion
        Counts, C × C: true class by row, most likely class by column.
    recall, precision
        By class; ``None`` where there is no case.
    support
        Labelled tasks by class.
    calibration
        Bins of P(rare), ascending; empty where no class is rare.
    method
        In one sentence.
    """

    classes: tuple[str, ...]
    confusion: list[list[int]]
    recall: list[float | None]
    precision: list[float | None]
    support: list[int]
    calibration: list[CalibrationBin]
    method: str


def read_evaluation(stores: Stores, project_id: int) -> Evaluation | None:
    """Return the evaluation of the published classifier; ``None`` while too few labels judge one."""
    published = stores.rounds.published(project_id)
    found = published.report.get("evaluation") if published else None
    if found is None:
        return None
    bins = [CalibrationBin(**item) for item in found["calibration"]]
    return Evaluation(**{**found, "classes": tuple(found["classes"]), "calibration": bins})
