"""Whether a project is done, in words: reached, not yet and what is the cheapest way, or not to be known."""

from __future__ import annotations

from typing import TYPE_CHECKING

from clinical_backend.findings.recall import RecallState
from clinical_backend.text import amount

if TYPE_CHECKING:
    from collections.abc import Mapping

    from clinical_backend.findings.recall import Recall

__all__ = ["say_recall", "say_recalls"]


def say_recalls(recalls: Mapping[str, Recall]) -> str:
    """Say of all that is looked for whether the recall is reached; empty where nothing is looked for."""
    if not recalls:
        return ""
    if len(recalls) == 1:
        return say_recall(next(iter(recalls.values())))
    return " ".join(f"{name}: {say_recall(one)}" for name, one in recalls.items())


def say_recall(recall: Recall) -> str:
    """Say whether a recall is reached, and what is the cheapest way to it."""
    goal = f"{recall.target:.0%}".replace("%", " %")
    if recall.most is None or recall.least is None:
        return f"cannot be known: {_why(recall)}."
    sure = f"at least {100 * recall.least:.3g} % are found{_counts(recall.found, recall.most)}, with 95 % confidence"
    if recall.patients and recall.most_patients:
        share = f"{100 * recall.patients / recall.most_patients:.3g}"
        sure += f"; of patients, {share} %{_counts(recall.patients, recall.most_patients)}"
    beside = f" {recall.uncovered:,} other tasks are not covered." if recall.uncovered else ""
    if recall.state is RecallState.REACHED:
        return f"{goal} reached: {sure}.{beside}"
    if recall.needs_queue:
        way = f"about {recall.left:,} are likely to be left, and {recall.spared:,} may be: go on with the queue"
    else:
        way = f"{recall.draws:,} more labels of random draws prove enough if none is rare: raise the audit share"
    return f"{goal} not yet: {sure}; {way}. At most, {recall.pool:,} labels are left to do.{beside}"


def _why(recall: Recall) -> str:
    if not recall.found:
        return "no rare case is found yet"
    if recall.missing:
        return amount(recall.missing, "more label of random draws is needed", "more labels of random draws are needed")
    return f"nothing is known of {recall.uncovered:,} tasks, which came late or whose image is not read"


def _counts(found: int, most: int) -> str:
    return f" ({found:,} of at most {most:,})"
