"""What the readers of a project said, and what a person should know of that."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

from clinical_backend.labelstudio.labeling.answers import Unread, problems_of
from clinical_backend.origins import AnswerKind  # noqa: TC001 - pydantic reads what is kept by it
from clinical_backend.text import amount, counted

if TYPE_CHECKING:
    from collections.abc import Collection

__all__ = ["Answered", "Labels", "ReaderAnswer", "Source"]

_NAMED = 5
"""So many tasks of each problem are named: enough to look at, short enough to read."""


class Source(StrEnum):
    """Who made an annotation."""

    READER = "reader"
    IMPORT = "import"
    MODEL = "model"
    """A prediction that was made an annotation without anybody looking at the image."""


@dataclass(frozen=True, slots=True)
class Answered:
    """How a task was answered first.

    Attributes
    ----------
    source
        Who answered it: a reader, if any did, and else an import before a model.
    at
        When, in seconds since the epoch by Label Studio's clock; ``None`` where it does not say.
    served_at
        When the reader opened the task, as far as the lead time tells.
    readings
        How many readers answered it, skips left out.
    machine_at
        When an import or a model answered, if one did before the first reader; ``None`` also where that is not told.
    after_machine
        Whether one did.
    seen_by
        Everybody who answered or skipped it, be it by an import: Label Studio serves it to none of them again.
    """

    source: Source
    at: float | None = None
    served_at: float | None = None
    readings: int = 0
    machine_at: float | None = None
    after_machine: bool = False
    seen_by: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class ReaderAnswer:
    """One annotation of a reader.

    Attributes
    ----------
    annotation, task, reader
        Their ids in Label Studio.
    label
        The class, or several findings (:mod:`clinical_backend.multilabel`); ``None`` for a skip, and where no class can
        be read.
    at
        When it was made, in seconds since the epoch by Label Studio's clock; ``None`` where it does not say.
    lead_time
        Seconds that the task was open in the reader's browser; ``None`` where that was not measured.
    kind
        What the reader did.
    """

    annotation: int
    task: int
    reader: int
    label: str | None
    at: float | None
    lead_time: float | None
    kind: AnswerKind


@dataclass(frozen=True, slots=True)
class Labels:
    """What the readers of a project said, task by task.

    Attributes
    ----------
    classes
        The label of each task: the class on which readers agree, or what most of them say of each of several findings.
        Where no reader answered, it is that of an import, and without one that of an accepted prediction.
    exemplars, counter_exemplars
        Tasks tagged "more like this" (or starred, where stars steer) and "not like this", ascending.
    skipped
        Tasks that were only skipped.
    disagreed
        The classes between which readers are tied; such a task is neither learnt from nor an exemplar.
    conflicting_tags
        Tasks tagged both ways: neither counts until readers settle it.
    answered
        All tasks with an answer, of which none needs to be queued.
    first_answers
        How each of them was answered first.
    disputed
        Reader and class of each answer where readers chose different classes and no star settles it: such a task is no
        exemplar, even where most agree.
    tagged
        Who tagged an exemplar or counter-exemplar, and when, in seconds since the epoch.
    unknown_classes
        How many answers name a class that the labeling config does not have (any more). They are not used.
    idle_stars
        Answers that a reader's star marks while stars do not steer.
    contradicted_stars
        Tasks whose star says something else than most readers, or than a tag: the star is passed over.
    empty
        Tasks of which nothing but an accepted prediction without any class is known.
    unread
        Why the class of an answered task cannot be read, where no answer names one. None is served again: they are
        answered in Label Studio.
    class_control
        The control that holds the classes.
    changed
        When one of a task's answers was last changed, in seconds since the epoch.
    corrected
        Tasks in which readers gave another class than an import or an accepted prediction: theirs is used.
    read_twice
        Reader and class of each reader's answer, the first one first, where two readers or more gave a class.
    last_answers
        When each reader answered last, in seconds since the epoch.
    stands_for
        The findings that the tag of an exemplar names, where it names some.
    images
        Where each image of a list has an answer, the label on which readers agree by its place there, by task.
    tagged_images
        The places of the images that readers tagged as exemplars, where the tag is about single images, by task.
    deciding
        With answers for each image: the classes in the order in which one of them decides what a task is.
    users_refused
        Why Label Studio does not tell who else there is, where the project offers what one reader skipped to others.
    by_reader
        Each annotation of a reader, where that was asked for.
    names
        What readers are called, by id, as far as they gave a name; ``None`` where Label Studio was not asked, or does
        not tell.
    """

    classes: dict[int, str] = field(default_factory=dict)
    exemplars: tuple[int, ...] = ()
    counter_exemplars: tuple[int, ...] = ()
    skipped: frozenset[int] = frozenset()
    disagreed: dict[int, tuple[str, ...]] = field(default_factory=dict)
    conflicting_tags: frozenset[int] = frozenset()
    answered: frozenset[int] = frozenset()
    first_answers: dict[int, Answered] = field(default_factory=dict)
    disputed: dict[int, tuple[tuple[str | None, str], ...]] = field(default_factory=dict)
    tagged: dict[int, tuple[str | None, float | None]] = field(default_factory=dict)
    unknown_classes: Counter[str] = field(default_factory=Counter)
    idle_stars: int = 0
    contradicted_stars: frozenset[int] = frozenset()
    corrected: frozenset[int] = frozenset()
    empty: frozenset[int] = frozenset()
    unread: dict[int, Unread] = field(default_factory=dict)
    class_control: str = ""
    changed: dict[int, float] = field(default_factory=dict)
    read_twice: dict[int, tuple[tuple[int, str], ...]] = field(default_factory=dict)
    last_answers: dict[int, float] = field(default_factory=dict)
    users_refused: str | None = None
    stands_for: dict[int, frozenset[str]] = field(default_factory=dict)
    images: dict[int, dict[int, str]] = field(default_factory=dict)
    tagged_images: dict[int, frozenset[int]] = field(default_factory=dict)
    deciding: tuple[str, ...] = ()
    by_reader: tuple[ReaderAnswer, ...] = ()
    names: dict[int, str] | None = None

    @property
    def seen(self) -> dict[int, str]:
        """The class of each task that somebody looked at, to learn from: what was accepted is a model's own word."""
        accepted = {task for task, answered in self.first_answers.items() if answered.source is Source.MODEL}
        return {task: name for task, name in self.classes.items() if task not in accepted}

    @property
    def problems(self) -> tuple[tuple[str, str], ...]:
        """What a person should know about these labels: problems and their cures."""
        found: list[tuple[str, str]] = []

        def note(problem: str, cure: str) -> None:
            found.append((problem, cure))

        if self.unknown_classes:
            note(
                f"Annotations name classes that the labeling config does not have: {counted(self.unknown_classes)}.",
                "They are not used: name the classes as before, or annotate these tasks again.",
            )
        if self.disagreed:
            note(
                f"Readers disagree and are not used: {_some(self.disagreed)}.",
                "Let one of them correct the answer, or a third reader answer as well.",
            )
        if self.conflicting_tags:
            note(
                f"Tagged both as exemplar and counter-exemplar: {_some(self.conflicting_tags)}.",
                "Remove one of the tags; until then neither counts.",
            )
        if self.contradicted_stars:
            note(
                f"The star contradicts readers' answers or tags: {_some(self.contradicted_stars)}.",
                "The answers and tags count: correct them, or take the star away.",
            )
        if self.empty:
            note(
                f"Accepted predictions name no class: {_some(self.empty)}.",
                "Nobody is served these tasks. Delete the annotations that were created from predictions.",
            )
        if self.idle_stars:
            starred = amount(self.idle_stars, "answer is", "answers are")
            note(
                f"{starred} starred, and stars do not steer.",
                "Tag what to look for, or set STARS to true if your readers star exemplars.",
            )
        if self.users_refused is not None and self.skipped:
            note(
                "The project offers skipped tasks to other readers, and Label Studio does not tell this token who they"
                f" are ({self.users_refused.removesuffix('.')}). Left out of the queue: {_some(self.skipped)}.",
                "Use the token of a user who may list the organisation's users.",
            )
        if self.corrected:
            note(
                f"Readers contradict an import or an accepted prediction: {_some(self.corrected)}.",
                "The readers' class is used. If these are many, look at the other labels of that source.",
            )
        return (*found, *problems_of(self.unread, self.class_control))

    @property
    def messages(self) -> tuple[str, ...]:
        """The problems with their cures, as text."""
        return tuple(f"{problem} {cure}" for problem, cure in self.problems)


def _some(tasks: Collection[int]) -> str:
    """Say how many tasks there are, and which are the first."""
    named = ", ".join(map(str, sorted(tasks)[:_NAMED]))
    return f"{amount(len(tasks), 'task')} ({named}{', …' if len(tasks) > _NAMED else ''})"
