"""Whether a project is done, in words: reached, not yet and what is the cheapest way, or not to be known."""

from __future__ import annotations

from typing import TYPE_CHECKING

from clinical_backend.findings.recall import RecallState

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
    beside = f" {recall.uncovered:,} tasks that came later are not covered." if recall.uncovered else ""
    return _said(recall) + beside


def _said(recall: Recall) -> str:
    goal = f"{recall.target:.0%}".replace("%", " %")
    if recall.state is RecallState.UNKNOWN or recall.most is None or recall.least is None:
        why = "no label of a random draw counts yet" if recall.found else "no rare case is found yet"
        return f"{goal} cannot be known: {why}."
    least = f"{100 * recall.least:.3g}"
    of_patients = ""
    if recall.patients and recall.most_patients:
        share = f"{100 * recall.patients / recall.most_patients:.3g}"
        of_patients = f"; of patients, {share} % ({recall.patients:,} of at most {recall.most_patients:,})"
    sure = (
        f"at least {least} % are found ({recall.found:,} of at most {recall.most:,}, with 95 % confidence){of_patients}"
    )
    if recall.state is RecallState.REACHED:
        return f"{goal} reached: {sure}."
    if recall.needs_queue:
        way = f"about {recall.left:,} are likely to be left, and {recall.spared:,} may be: go on with the queue"
    else:
        way = f"{recall.draws:,} more labels of random draws prove enough if none is rare: raise AUDIT_SHARE"
    return f"{goal} not yet: {sure}; {way}. At most, {recall.pool:,} labels are left to do."
