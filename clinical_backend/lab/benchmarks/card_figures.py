"""The figures of a model card computed a second time, by scikit-learn alone, and how far the two are apart."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.metrics import average_precision_score, brier_score_loss, recall_score

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

__all__ = ["Difference", "compare"]

_FIGURES = ("average_precision", "sensitivity", "specificity", "brier_score")
_BAND = re.compile(r"below (?P<below>[\d.]+)|(?P<low>[\d.]+) to (?P<high>[\d.]+)|(?P<from>[\d.]+) and above")
_MISSING, _OTHERS = "not stated", "others"


@dataclass(frozen=True, slots=True)
class Difference:
    """A figure of a card beside the same by scikit-learn.

    Attributes
    ----------
    figure
        Its name.
    of
        The class, and the subgroup where it is of one.
    stated, computed
        Both.
    """

    figure: str
    of: str
    stated: float
    computed: float

    @property
    def size(self) -> float:
        """How far they are apart."""
        return abs(self.stated - self.computed)


def compare(
    card: Mapping[str, Any],
    labels: Sequence[str],
    probabilities: NDArray[np.float64],
    weights: NDArray[np.float64] | None = None,
    fields: Mapping[str, Sequence[str]] | None = None,
    *,
    figures: Sequence[str] = _FIGURES,
) -> list[Difference]:
    """Return every figure that a card states beside the same, computed anew: of all cases and of each subgroup.

    Parameters
    ----------
    card
        What ``figures.json`` says.
    labels
        Class of each case.
    probabilities
        By the classes in the order of the card, shape (n, C); the likeliest class is what a case is called.
    weights
        Shape (n,); each case counts alike by default.
    fields
        By name, what the tasks' data says of each case, as text; empty where it says nothing.
    figures
        Those that are computed.
    """
    truth = np.array(labels)
    weight = np.ones(len(truth)) if weights is None else weights
    found = list(_of(card["classes"], "", truth, probabilities, weight, figures))
    for grouping in card["subgroups"]:
        values = np.array((fields or {})[grouping["field"]])
        for name, classes in grouping["classes"].items():
            if name != _OTHERS:  # what is in it, the card does not say
                of = _members(name, values)
                where = f" of {grouping['field']} {name}"
                found += _of(classes, where, truth[of], probabilities[of], weight[of], figures)
    return found


def _of(
    classes: Sequence[Mapping[str, Any]],
    where: str,
    truth: NDArray[np.str_],
    probabilities: NDArray[np.float64],
    weights: NDArray[np.float64],
    figures: Sequence[str],
) -> Iterator[Difference]:
    called = probabilities.argmax(axis=1)
    for column, one in enumerate(classes):
        there, score = truth == one["name"], probabilities[:, column]
        for name in figures:
            if one[name] is not None and one[name]["estimate"] is not None:
                computed = _figure(name, there, score, called == column, weights)
                yield Difference(name, f"{one['name']}{where}", one[name]["estimate"], computed)


def _figure(
    name: str,
    there: NDArray[np.bool_],
    score: NDArray[np.float64],
    called: NDArray[np.bool_],
    weights: NDArray[np.float64],
) -> float:
    if name == "average_precision":
        return float(average_precision_score(there, score, sample_weight=weights))
    if name == "brier_score":
        return float(brier_score_loss(there, score, sample_weight=weights))
    return float(recall_score(there, called, sample_weight=weights, pos_label=name == "sensitivity"))


def _members(name: str, values: NDArray[np.str_]) -> NDArray[np.bool_]:
    """Return which values a subgroup holds, by its name; a band includes its lower end."""
    band = _BAND.fullmatch(name)
    if name == _MISSING or band is None:
        return np.equal(values, "" if name == _MISSING else name)
    numbers = np.array([float(value) if value else math.nan for value in values])
    low = float(band["low"] or band["from"] or -math.inf)
    high = float(band["high"] or band["below"] or math.inf)
    members: NDArray[np.bool_] = (numbers >= low) & (numbers < high)
    return members
