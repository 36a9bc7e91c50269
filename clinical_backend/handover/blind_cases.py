"""Cases of a test set that was set aside and read blind, which the model card and the page *Model* are made of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from clinical_backend.findings.cases import JudgedCases
from clinical_backend.multilabel import LIKELY, says

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from clinical_backend.findings.cases import Value
    from clinical_backend.rounds.blind_scores import JudgedTestset

__all__ = ["BlindCases", "blind_cases"]

_SOURCE = (
    "A test set that was drawn at random, set aside before the model learnt, never queued by the search and read"
    " blind; judged once, when the model was published."
)


@dataclass(frozen=True, slots=True)
class BlindCases:
    """The cases, and what a card says of them.

    Attributes
    ----------
    cases, tasks
        The cases, and their tasks.
    counts
        Of tasks, by what they are.
    in_words, weighting
        What was judged and what was left out, and how figures are weighted.
    missing_draws
        None: they were drawn at random.
    """

    cases: JudgedCases
    tasks: NDArray[np.int64]
    counts: Mapping[str, int]
    in_words: str
    weighting: str
    missing_draws: int = 0


def blind_cases(blind: JudgedTestset, fields: Mapping[str, Mapping[int, Value]]) -> BlindCases:
    """Return the cases of a test set, each weighted by the inverse of the chance that it had to be drawn.

    Parameters
    ----------
    blind
        What readers and the model say.
    fields
        By the name of a field of the tasks' data, what it says of each task.
    """
    tasks = blind.tasks.tolist()
    said = [[says(label, name) for name in blind.classes] for label in blind.labels]
    truth = np.array([[np.nan if one is None else float(one) for one in row] for row in said], dtype=np.float64)
    cases = JudgedCases(
        blind.classes,
        truth.reshape(len(tasks), len(blind.classes)),
        blind.probabilities.astype(np.float64),
        np.unique(np.array(blind.groups, dtype=str), return_inverse=True)[1].astype(np.int64),
        1 / blind.inclusion,
        None,
        LIKELY if blind.several else None,
        {name: [values.get(task) for task in tasks] for name, values in fields.items()},
        _SOURCE,
    )
    words = (
        f"{len(tasks):,} cases of {blind.size:,} set aside. Left out: {blind.disputed:,} on which readers disagree,"
        f" {blind.unknown:,} of a class that the model does not know, {blind.unjudged:,} whose images it could not"
        " judge."
    )
    weighting = "Figures are weighted by the inverse of the chance to be drawn: they are estimates for all that was"
    counts = {"set_aside": blind.size, "disputed": blind.disputed, "unknown": blind.unknown, "unjudged": blind.unjudged}
    return BlindCases(cases, blind.tasks, counts, words, f"{weighting} there when the set was drawn.")
