"""Labels of several findings, each in one text: so they are stored, compared and shown where a class stands else.

A label of one class is the name of the class. A label of several findings is JSON that says which are there, and of
which the reader says nothing (uncertain, or not asked); all others are absent.
"""

from __future__ import annotations

import json
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

__all__ = [
    "LIKELY",
    "any_of",
    "as_words",
    "completed",
    "disputed",
    "findings_of",
    "has_any",
    "is_multilabel",
    "majority",
    "pack",
    "predicted",
    "says",
    "unknown_of",
]

_PRESENT = '{"findings":'
_NONE = "no finding"
LIKELY = 0.5
"""From this probability on a finding is predicted: more likely there than not."""
_KEPT = 65_536  # different combinations that are read once: far more than readers come upon


def pack(findings: Iterable[str], unknown: Iterable[str] = ()) -> str:
    """Return the label of some findings; the same ones give the same text.

    Parameters
    ----------
    findings
        Those that are there.
    unknown
        Those of which nothing is said.
    """
    present = sorted(set(findings))
    label: dict[str, list[str]] = {"findings": present}
    if silent := sorted(set(unknown) - set(present)):
        label["unknown"] = silent
    return json.dumps(label, ensure_ascii=False, separators=(",", ":"))


def is_multilabel(label: str) -> bool:
    """Tell whether a label is one of several findings."""
    return label.startswith(_PRESENT)


def findings_of(label: str) -> frozenset[str]:
    """Return what a label says is there: its findings, or its one class."""
    return _unpacked(label)[0]


def unknown_of(label: str) -> frozenset[str]:
    """Return the findings of which a label says nothing."""
    return _unpacked(label)[1]


def says(label: str, finding: str) -> bool | None:
    """Return whether a label says that a finding is there; ``None`` where it says nothing of it."""
    present, unknown = _unpacked(label)
    return True if finding in present else None if finding in unknown else False


def has_any(label: str, findings: Collection[str]) -> bool:
    """Tell whether one of these findings is there."""
    return not _unpacked(label)[0].isdisjoint(findings)


def as_words(label: str | None) -> str:
    """Return a label as people read it; empty for none."""
    if label is None:
        return ""
    if not is_multilabel(label):
        return label
    present, unknown = _unpacked(label)
    words = ", ".join(sorted(present)) or _NONE
    return f"{words} (uncertain: {', '.join(sorted(unknown))})" if unknown else words


def predicted(classes: Sequence[str], probabilities: Iterable[float], findings: Collection[str]) -> str:
    """Return the label of what is more likely there than not.

    Of a finding that was not learnt nothing is said: "no" would be a guess that a reader may follow.

    Parameters
    ----------
    classes, probabilities
        What was learnt, and how likely each of it is there.
    findings
        Those of the labeling config.
    """
    likely = [name for name, one in zip(classes, probabilities, strict=True) if one >= LIKELY]
    return pack((name for name in likely if name in findings), set(findings) - set(classes))


def majority(labels: Sequence[str]) -> str:
    """Return the label that most of some labels of several findings give, finding by finding.

    Where as many say that a finding is there as that it is not, or none says, nothing is said of it.
    """
    named = sorted(frozenset[str]().union(*(findings_of(label) | unknown_of(label) for label in labels)))
    votes = {name: [said for label in labels if (said := says(label, name)) is not None] for name in named}
    present = [name for name, said in votes.items() if 2 * sum(said) > len(said)]
    return pack(present, [name for name, said in votes.items() if 2 * sum(said) == len(said)])


def any_of(labels: Sequence[str]) -> str:
    """Return what labels of several images say of all of them together: what one of them shows is there.

    Nothing is said of what one leaves open, unless another one shows it.
    """
    present = frozenset[str]().union(*map(findings_of, labels))
    return pack(present, frozenset[str]().union(*map(unknown_of, labels)))


def completed(label: str, by: str) -> str:
    """Return a label of several findings with what it says nothing of taken from another one."""
    present, unknown = _unpacked(label)
    return pack(present | (unknown & findings_of(by)), unknown & unknown_of(by))


def disputed(labels: Collection[str]) -> frozenset[str]:
    """Return what some labels do not agree on: the findings that one gives and another denies, or all of the classes.

    Empty where they are all the same.
    """
    if len(set(labels)) < 2:
        return frozenset()
    named = frozenset[str]().union(*(findings_of(label) for label in labels))
    return frozenset(name for name in named if any(says(label, name) is False for label in labels))


@lru_cache(maxsize=_KEPT)
def _unpacked(label: str) -> tuple[frozenset[str], frozenset[str]]:
    if not is_multilabel(label):
        return frozenset({label}), frozenset()
    read = json.loads(label)
    return frozenset(read["findings"]), frozenset(read.get("unknown", ()))
