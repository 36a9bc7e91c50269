"""One answer: which class it names, or why none can be read from it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from clinical_backend.labelstudio.labeling.items import parts_of
from clinical_backend.text import amount, counted, printable

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from clinical_backend.labelstudio.labeling.scheme import LabelingScheme
    from clinical_backend.labelstudio.labeling.several_findings import SeveralFindings
    from clinical_backend.labelstudio.resources import Annotation

__all__ = [
    "Unread",
    "Why",
    "chosen",
    "class_of",
    "labels_of_images",
    "problems_of",
    "strange_findings",
    "tagged_images",
    "why_unread",
]

_PATH = " / "
_SERVED_NO_MORE = "Nobody is served these tasks, and nothing is learnt from them."
_ASK_AGAIN = 'Let readers open them again, or delete the answers; required="true" asks for a class.'


class Why(StrEnum):
    """Why no class can be read from an answer, what speaks most against the config first."""

    OTHER_CONTROL = "it is an answer of a control that the labeling config does not have"
    NOT_LEARNT = "it chooses only in a control that is not learnt"
    OTHER_FORM = "what it holds for the control of the classes is no choice"
    UNKNOWN = "it names a class that the labeling config does not have"
    SEVERAL = "it names several classes"
    CONTRADICTORY = "it says that there is no finding, and names one"
    NO_CLASS = "it names no class"
    EMPTY = "it is empty"
    WITHHELD = "Label Studio fails in giving it (status 500), since it holds what is no text"


_PROBLEMS = {
    Why.OTHER_CONTROL: (
        "{tasks} no class: the answers are of {named}, and the labeling config has no such control.",
        "Call the control so in the labeling config, or import the answers again with from_name {control}.",
    ),
    Why.NOT_LEARNT: (
        "{tasks} no class in {control}, which is learnt: the answers are of {named}.",
        "If that is the control to learn, name it in CLASS_CONTROL or on the project's page.",
    ),
    Why.OTHER_FORM: (
        "{tasks} no class: what stands there for {control} is no choice.",
        'Import the answers again with "value": {{"choices": ["…"]}}.',
    ),
    Why.CONTRADICTORY: (
        "{tasks} an answer that contradicts itself: {named}.",
        "Let the readers correct these answers.",
    ),
    Why.NO_CLASS: ("{tasks} no class chosen.", _ASK_AGAIN),
    Why.EMPTY: ("{tasks} an empty answer.", _ASK_AGAIN),
    Why.WITHHELD: (
        "{tasks} an answer that Label Studio fails in giving (status 500), since it holds what is no text.",
        "Delete these answers, and import them again without half characters.",
    ),
}
"""What is said of each, and the cure; of unknown classes each answer is counted instead."""


@dataclass(frozen=True, slots=True)
class Unread:
    """Why the class of an answered task cannot be read.

    Attributes
    ----------
    why
        The reason.
    detail
        The control or the class that it is about; empty where it is about none.
    """

    why: Why
    detail: str = ""

    def __str__(self) -> str:
        named = f": '{printable(self.detail)}'" if self.detail else ""
        return f"The answer has no readable class: {self.why}{named}."


def chosen(annotation: Annotation, control: str | None, known: Sequence[str] = ()) -> tuple[str, ...]:
    """Return what an annotation chooses in a control.

    One choice may stand as a text by itself, and a path through nested choices as a list: of that its last part counts
    where it is a known choice, and else the path as a whole.

    Parameters
    ----------
    control
        Its name.
    known
        Choices that the control has.
    """
    values = (value for value in _values(annotation, control) if isinstance(value, dict))
    found = [name for value in values for name in _names(value.get("choices", value.get("taxonomy")), known)]
    return tuple(dict.fromkeys(found))


def class_of(scheme: LabelingScheme, annotation: Annotation) -> str | None:
    """Return the label that an answer gives: its class, or its findings; ``None`` where none can be read from it.

    Of classes that exclude each other it names one; with none, several, or one that is unknown there is no label. Where
    each image of a list has an answer, it is that of the image that decides, or all findings that one of them shows.
    """
    label = _label(scheme, annotation)
    return label if isinstance(label, str) else None


def why_unread(scheme: LabelingScheme, annotation: Annotation) -> Unread:
    """Return why :func:`class_of` reads no class from an answer."""
    label = _label(scheme, annotation)
    return label if isinstance(label, Unread) else Unread(Why.EMPTY)


def labels_of_images(scheme: LabelingScheme, annotation: Annotation) -> dict[int, str]:
    """Return the label that an answer gives to each image of a list that it says something of, by its place there."""
    if not scheme.per_item:
        return {}
    parts = parts_of(annotation, scheme.learnt_controls)
    read = {item: _label_of_one(scheme, part) for item, part in parts.items() if item is not None}
    return {item: label for item, label in read.items() if isinstance(label, str)}


def tagged_images(scheme: LabelingScheme, annotation: Annotation) -> frozenset[int]:
    """Return the images of a list that an answer tags as exemplars, by their places there."""
    if scheme.exemplar_control is None or not scheme.tags_images:
        return frozenset()
    wanted = {scheme.more_value, *scheme.stands_for}
    parts = parts_of(annotation, {scheme.exemplar_control})
    tags = {item: chosen(part, scheme.exemplar_control) for item, part in parts.items() if item is not None}
    return frozenset(
        item for item, named in tags.items() if wanted.intersection(named) and scheme.less_value not in named
    )


def _label(scheme: LabelingScheme, annotation: Annotation) -> str | Unread:
    """Return the label of an answer, or why it has none."""
    if not scheme.per_item:
        return _label_of_one(scheme, annotation)
    read = [_label_of_one(scheme, part) for part in parts_of(annotation, scheme.learnt_controls).values()]
    wrong = [one for one in read if isinstance(one, Unread) and one.why not in {Why.NO_CLASS, Why.EMPTY}]
    if wrong:  # what could not be read may have decided
        return min(wrong, key=lambda one: list(Why).index(one.why))
    labels = [one for one in read if isinstance(one, str)]
    return scheme.of_task(labels) if labels else _label_of_one(scheme, annotation)


def _label_of_one(scheme: LabelingScheme, annotation: Annotation) -> str | Unread:
    """Return the label of an answer about one image, or why it has none."""
    if scheme.several is not None:
        return _label_of_several(scheme, scheme.several, annotation)
    names = chosen(annotation, scheme.class_control, scheme.classes)
    if len(names) == 1 and names[0] in scheme.classes:
        return names[0]
    if names:
        why = Why.UNKNOWN if len(names) == 1 else Why.SEVERAL
        return Unread(why, ", ".join(names) + _meant(scheme, names))
    if any(True for _ in _values(annotation, scheme.class_control)):
        return Unread(Why.OTHER_FORM, scheme.class_control)
    return _elsewhere(scheme, annotation) or Unread(Why.NO_CLASS if annotation.result else Why.EMPTY)


def _elsewhere(scheme: LabelingScheme, annotation: Annotation) -> Unread | None:
    """Return which other control an answer chooses in, if that tells why it has no class."""
    controls = [name for region in annotation.result if isinstance(name := region.get("from_name"), str)]
    foreign = next((name for name in controls if name not in scheme.controls), None)
    if foreign is not None:
        return Unread(Why.OTHER_CONTROL, foreign)
    other = next((name for name in controls if name in scheme.not_learnt), None)
    return None if other is None else Unread(Why.NOT_LEARNT, other)


def strange_findings(scheme: LabelingScheme, annotation: Annotation) -> tuple[str, ...]:
    """Return the findings that an answer names beside others, and that the labeling config does not have."""
    held = None if scheme.several is None else _held(scheme.several, annotation)
    return scheme.several.strange_in(held) if scheme.several is not None and isinstance(held, dict) else ()


def _held(several: SeveralFindings, annotation: Annotation) -> dict[str, list[Any]] | Unread:
    """Return what an answer chooses in each control that asks for findings, or which of them holds no choice."""
    held: dict[str, list[Any]] = {}
    for control in several.controls:
        for value in _values(annotation, control):
            chosen_here = value.get("choices", value.get("taxonomy")) if isinstance(value, dict) else None
            if chosen_here is None:
                return Unread(Why.OTHER_FORM, control)
            held.setdefault(control, []).extend(chosen_here if isinstance(chosen_here, list) else [chosen_here])
    return held


def _label_of_several(scheme: LabelingScheme, several: SeveralFindings, annotation: Annotation) -> str | Unread:
    """Return the label of an answer that may name several findings, or why it has none."""
    held = _held(several, annotation)
    if isinstance(held, Unread):
        return held
    if not held and (elsewhere := _elsewhere(scheme, annotation)) is not None and elsewhere.why is Why.OTHER_CONTROL:
        return elsewhere
    try:
        label = several.label_of(held)
    except LookupError as error:
        return Unread(Why.UNKNOWN, str(error.args[0]))
    except ValueError as error:
        return Unread(Why.CONTRADICTORY, str(error))
    return label if label is not None else Unread(Why.NO_CLASS if annotation.result else Why.EMPTY)


def problems_of(unread: Mapping[int, Unread], class_control: str) -> Iterator[tuple[str, str]]:
    """Yield what a person should know of tasks whose class cannot be read: problems, each with its cure.

    Parameters
    ----------
    unread
        By task.
    class_control
        The control that holds the classes.
    """
    for why, (problem, cure) in _PROBLEMS.items():
        details = Counter(one.detail for one in unread.values() if one.why is why)
        if count := details.total():
            tasks = amount(count, "answered task has", "answered tasks have")
            words = {"tasks": tasks, "named": counted(details), "control": repr(class_control)}
            yield problem.format(**words), f"{cure.format(**words)} {_SERVED_NO_MORE}"


def _values(annotation: Annotation, control: str | None) -> Iterator[Any]:
    """Yield what the regions of a control hold, whatever it is."""
    for region in annotation.result:
        if control is not None and region.get("from_name") == control:
            yield region.get("value")


def _names(value: object, known: Sequence[str]) -> Iterator[str]:
    for item in value if isinstance(value, list) else [value]:
        if isinstance(item, list):
            parts = [str(part) for part in item if isinstance(part, str | int | float)]
            if parts:
                yield parts[-1] if parts[-1] in known else _PATH.join(parts)
        elif isinstance(item, str | int | float) and item != "":
            yield str(item)


def _meant(scheme: LabelingScheme, names: Sequence[str]) -> str:
    """Return which class may be meant by a name that differs in case or spaces, or is what readers are shown."""
    if len(names) != 1:
        return ""
    plain = " ".join(names[0].split()).casefold()
    shown_names = dict(scheme.displayed) | {name: name for name in scheme.classes}
    near = next((name for text, name in shown_names.items() if " ".join(text.split()).casefold() == plain), None)
    return "" if near is None else f" (for {near}?)"
