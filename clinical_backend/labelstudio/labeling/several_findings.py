"""Labeling configs with several findings for one image: how an answer says which are there, and a prediction too."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Literal

from clinical_backend.errors import LabelingConfigError
from clinical_backend.labelstudio.labeling.tags import attributes_of, choices_of
from clinical_backend.multilabel import findings_of, pack, says, unknown_of
from clinical_backend.text import printable

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence
    from xml.etree.ElementTree import Element

    from clinical_backend.labelstudio.labeling.tags import ClassControl

__all__ = ["EmptyAnswer", "Form", "Question", "SeveralFindings", "is_no_finding", "region", "several_findings"]

EmptyAnswer = Literal["auto", "no finding", "not answered"]
"""What an answer says that ticks none of several findings."""

_NO_FINDING = re.compile(
    r"(no|without)\s+(significant\s+|acute\s+)?(findings?|abnormalit(y|ies))|none(\s+of\s+these)?|normal|unremarkable",
    re.IGNORECASE,
)
_YES = frozenset({"yes", "present", "positive", "true", "1", "1.0"})
_NO = frozenset({"no", "absent", "negative", "false", "0", "0.0"})
_UNCERTAIN = frozenset(
    {"uncertain", "unsure", "unclear", "equivocal", "indeterminate", "maybe", "possible", "-1", "-1.0"}
)
_PATH = " / "


class Form(StrEnum):
    """How a config asks for several findings."""

    CHOICES = "choices"
    """One ``Choices`` of which several may be ticked."""
    TREE = "taxonomy"
    """A ``Taxonomy``: what is ticked implies what it is a kind of."""
    QUESTIONS = "questions"
    """A ``Choices`` for each finding: yes, no, perhaps uncertain."""


@dataclass(frozen=True, slots=True)
class Question:
    """What a ``Choices`` about one finding answers with; ``uncertain`` holds all answers that say nothing of it."""

    yes: str
    no: str
    uncertain: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class SeveralFindings:
    """How readers say which findings an image has.

    Attributes
    ----------
    form
        What the config asks with.
    control
        Name of the ``Choices`` or ``Taxonomy``; of the first one where each finding has its own.
    names
        The findings, in the order of the config; where each has its own control, the controls' names.
    no_finding
        The choice, or the control, that says that there is none; ``None`` where the config has no such thing.
    empty_is_none
        Whether an answer that ticks nothing says that there is no finding; else it says nothing.
    questions
        By control, where each finding has its own.
    paths
        Of each finding in a tree, as they stand in annotations.
    """

    form: Form
    control: str
    names: tuple[str, ...]
    no_finding: str | None = None
    empty_is_none: bool = True
    questions: Mapping[str, Question] = field(default_factory=dict)
    paths: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def controls(self) -> frozenset[str]:
        """Names of the controls that ask for findings."""
        return frozenset(self.questions) or frozenset({self.control})

    def label_of(self, held: Mapping[str, Sequence[Any]]) -> str | None:
        """Return the label of what an answer holds; ``None`` where it says nothing of any finding.

        Where it names a finding that the config does not have (any more), that may be one of the others by another
        name: those that are not ticked are then unknown, and those that are stay.

        Parameters
        ----------
        held
            By control, the choices of each of its regions: texts, or paths through a tree.

        Raises
        ------
        LookupError
            When it names nothing but what the config does not have; the text is the name.
        ValueError
            When it says that there is no finding, and names one.
        """
        if self.form is Form.QUESTIONS:
            return self._label_of_questions(held)
        named = held.get(self.control, ())
        ticked = frozenset[str]().union(*(self._findings_of(item) for item in named))
        present, strange = ticked - {self.no_finding}, self.strange_in(held)
        if self.no_finding in ticked and (present or strange):
            raise ValueError(", ".join([str(self.no_finding), *sorted(present), *strange]))
        if strange and not present:
            raise LookupError(strange[0])
        if not named and not self.empty_is_none:
            return None
        return pack(present, self.names if strange else ())

    def strange_in(self, held: Mapping[str, Sequence[Any]]) -> tuple[str, ...]:
        """Return what an answer names that the config does not have, where one control asks for all findings."""
        if self.form is Form.QUESTIONS:
            return ()
        known = {*self.paths.values()} or {(name,) for name in self._choices}
        paths = [_path_of(item) if self.paths else _path_of(item)[-1:] for item in held.get(self.control, ())]
        return tuple(_PATH.join(path) for path in paths if path not in known)

    def regions(self, label: str, image_name: str) -> list[dict[str, Any]]:
        """Return the regions of a prediction that says what a label says.

        Parameters
        ----------
        label
            See :mod:`clinical_backend.multilabel`. What it says nothing of is left open.
        image_name
            Of the ``Image``.
        """
        present = findings_of(label)
        if self.form is Form.QUESTIONS:
            answers = {name: says(label, name) for name in self.names}
            if self.no_finding is not None and (present or None not in answers.values()):
                answers[self.no_finding] = not present
            return [
                region(name, image_name, "choices", [one.yes if answers[name] else one.no])
                for name, one in self.questions.items()
                if answers.get(name) is not None
            ]
        ticked: list[Any] = [name for name in self.names if name in present]
        if self.form is Form.TREE:
            paths = [self.paths[name] for name in ticked]
            ticked = [list(path) for path in paths if not any(path == other[: len(path)] != other for other in paths)]
        if not ticked and self.no_finding is not None and not unknown_of(label):
            ticked = [list(self.paths[self.no_finding])] if self.form is Form.TREE else [self.no_finding]
        kind = "taxonomy" if self.form is Form.TREE else "choices"
        return [region(self.control, image_name, kind, ticked)] if ticked else []

    def implied(self, names: Collection[str]) -> frozenset[str]:
        """Return some of the findings and, in a tree, what they are a kind of."""
        paths = [self.paths[name] for name in names if name in self.paths]
        above = {path[:length] for path in paths for length in range(1, len(path))}
        return frozenset({*names, *(name for name, path in self.paths.items() if path in above)})

    @property
    def _choices(self) -> frozenset[str]:
        return frozenset(self.names) | ({self.no_finding} if self.no_finding is not None else frozenset())

    def _findings_of(self, item: object) -> frozenset[str]:
        """Return the findings that one choice of an answer says are there, as far as the config has them."""
        path = _path_of(item)
        if self.form is Form.CHOICES:
            return frozenset({path[-1]}) & self._choices
        nodes = {node: name for name, node in self.paths.items()}
        above = (path[:length] for length in range(1, len(path) + 1))
        return frozenset(nodes[node] for node in above if node in nodes)

    def _label_of_questions(self, held: Mapping[str, Sequence[Any]]) -> str | None:
        present, unknown = [], []
        for name, question in self.questions.items():
            answers = {str(item) for item in held.get(name, ())}
            if strange := answers - {question.yes, question.no} - question.uncertain:
                raise LookupError(min(strange))
            if question.yes in answers and question.no in answers:
                raise ValueError(f"{question.yes}, {question.no}")
            if question.yes in answers:
                present.append(name)
            elif question.no not in answers:
                unknown.append(name)
        if self.no_finding in present:
            if len(present) > 1:
                raise ValueError(", ".join(present))
            return pack([])
        unknown = [name for name in unknown if name != self.no_finding]
        return None if len(unknown) == len(self.names) else pack(present, unknown)


def is_no_finding(name: str) -> bool:
    """Tell whether a choice says that there is no finding."""
    return _NO_FINDING.fullmatch(" ".join(name.split())) is not None


def _question_of(choices: Sequence[str]) -> Question | None:
    """Return what the choices of a control answer with, if they are yes, no and perhaps uncertain; else ``None``."""
    plain = {name: " ".join(name.split()).casefold() for name in choices}
    yes = [name for name, text in plain.items() if text in _YES]
    no = [name for name, text in plain.items() if text in _NO]
    uncertain = frozenset(name for name, text in plain.items() if text in _UNCERTAIN)
    if len(yes) != 1 or len(no) != 1 or len(uncertain) + 2 != len(choices):
        return None
    return Question(yes[0], no[0], uncertain)


def several_findings(
    control: ClassControl, others: Sequence[ClassControl], empty_answer: EmptyAnswer
) -> SeveralFindings | None:
    """Return how a config asks for several findings; ``None`` where its control asks for one class.

    Parameters
    ----------
    control
        The one that holds the classes.
    others
        Further ones that may ask for findings beside it.
    empty_answer
        What an answer that ticks nothing says.

    Raises
    ------
    LabelingConfigError
        When the control names no finding, or names one twice.
    """
    element, name = control.element, control.name
    if not control.allows_several:
        about = element.get("toName")
        fit = [one for one in others if one.refusal is None and one.element.get("toName") == about]
        fit = [one for one in fit if one.is_per_item is control.is_per_item]
        asked = [control, *(one for one in fit if not one.allows_several)]
        questions = {one.name: found for one in asked if (found := _question_of(choices_of(one.element))) is not None}
        if len(questions) < 2 or len(questions) < len(asked):
            return None
        none = next((one for one in questions if is_no_finding(one.replace("_", " "))), None)
        names = tuple(one for one in questions if one != none)
        return SeveralFindings(Form.QUESTIONS, name, names, none, questions=questions)
    paths = _nodes_of(control) if element.tag == "Taxonomy" else {}
    named = tuple(paths) or choices_of(element)
    none = next((one for one in named if is_no_finding(one)), None)
    names = tuple(one for one in named if one != none)
    if not names:
        raise LabelingConfigError(f"The {element.tag} {name!r} names no finding.", "Add a Choice for each finding.")
    is_required = attributes_of(element).get("required", "").strip().lower() == "true"
    guessed = none is None and not is_required
    empty_is_none = guessed if empty_answer == "auto" else empty_answer == "no finding"
    form = Form.TREE if paths else Form.CHOICES
    return SeveralFindings(form, name, names, none, empty_is_none, paths=paths)


def _nodes_of(control: ClassControl) -> dict[str, tuple[str, ...]]:
    """Return the findings of a ``Taxonomy`` and their paths: each by its own name, or by its path where names repeat.

    Raises
    ------
    LabelingConfigError
        When it takes them from elsewhere, or one path is there twice.
    """
    element = control.element
    if element.get("value") or element.get("apiUrl"):
        raise LabelingConfigError(
            f"The Taxonomy {control.name!r} takes its choices from the data of each task, or from elsewhere.",
            "List them as Choice tags: a classifier needs the same ones for all tasks.",
        )
    paths = list(_paths(element, ()))
    if double := [path for path, count in Counter(paths).items() if count > 1]:
        named = printable(_PATH.join(double[0]))
        raise LabelingConfigError(f"The Taxonomy {control.name!r} lists {named!r} more than once.", "Keep one of them.")
    names = Counter(path[-1] for path in paths)
    return {path[-1] if names[path[-1]] == 1 else _PATH.join(path): path for path in paths}


def region(control: str, image_name: str, kind: str, values: list[Any]) -> dict[str, Any]:
    """Return a region of a prediction that chooses in a control."""
    return {"from_name": control, "to_name": image_name, "type": kind, "value": {kind: values}}


def _path_of(item: object) -> tuple[str, ...]:
    return tuple(str(part) for part in item) if isinstance(item, list) and item else (str(item),)


def _paths(element: Element, above: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    for child in element:
        if child.tag != "Choice":
            continue
        name = child.get("alias") or child.get("value")
        if name:
            yield (*above, name)
            yield from _paths(child, (*above, name))
