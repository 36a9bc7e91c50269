"""What the lead is asked: which findings are rare, and what readers' tags meant. A round finds the questions."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from clinical_backend.errors import ClinicalError
from clinical_backend.labelstudio.labeling.scheme import nearest_classes
from clinical_backend.multilabel import findings_of, has_any
from clinical_backend.rounds.drift import Drift
from clinical_backend.storage.report import Kind, Question
from clinical_backend.text import amount
from clinical_backend.workspace.controls import classes_of
from clinical_backend.workspace.outside_features import outside_findings

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from clinical_backend.labelstudio.labeling.labels import Labels
    from clinical_backend.rounds.sync import Snapshot
    from clinical_backend.strategy.target import Target
    from clinical_backend.workspace.workspace import ProjectWorkspace

__all__ = ["find_questions", "open_questions", "questions_of_round"]

_SHOWN_TASKS = 24
"""So many tasks of a question are kept, and shown: a page of the queue has as many."""

_ENOUGH_LABELS = 20
"""With fewer labels that nobody sought, a class at 10 % is missed more often than once in eight times."""

_RARE_SHARE = 0.1
_RARE_SHARE_OF_EVEN = 0.5
"""A class is rare so far below a tenth of the labels, or below half of what each of few classes would have."""

_COMMON_SHARE = 0.3
"""Of 20 labels that nobody sought: a class at 10 % goes beyond it by chance once in 400 times (binomial)."""

_MOST_SUGGESTED = 3
"""The rarest; the next one moves up when one is declined. By eye: more fill the first page."""


def find_questions(
    labels: Labels, target: Target, rare_classes: Sequence[str], classes: Sequence[str], declined: Collection[str]
) -> list[Question]:
    """Return what a round has to ask.

    Parameters
    ----------
    labels
        What readers said.
    target
        What the round looks for.
    rare_classes
        What the lead named.
    classes
        Of the labeling config.
    declined
        Classes of which the lead said that they are not looked for.
    """
    named = [name for name in rare_classes if name in classes]
    steering = [task for task in labels.exemplars if task not in target.passed_over]
    found = [*_which([*rare_classes, *target.outside, *target.words], steering), *_unknown(rare_classes, classes)]
    if not named and not steering:
        found += _rare_so_far(target, [name for name in classes if name not in declined], len(classes))
    found += _also(labels, target, named, declined)
    if target.unsought >= _ENOUGH_LABELS:
        for name in target.classes:
            if target.met.get(name, 0) > _COMMON_SHARE * target.unsought:
                text = f"{name} is looked for, and {_share(target, name)} are {name}. Choose what is rare."
                found.append(Question(Kind.COMMON, name, (), text))
    if labels.conflicting_tags:
        text = f"{_cases(labels.conflicting_tags)} tagged “more like this” and “not like this”: neither counts."
        found.append(Question(Kind.BOTH_TAGS, None, _first(labels.conflicting_tags), f"{text} Remove one of the tags."))
    for name, tasks in _by_class(labels, labels.counter_exemplars):
        if name in target.classes:
            text = (
                f"{_cases(tasks)} labelled {name}, which is looked for, and tagged “not like this”: the queue turns"
                " away from such cases. If that is not meant, correct the tag or the class."
            )
            found.append(Question(Kind.AGAINST, name, _first(tasks), text))
    return found


def questions_of_round(project: ProjectWorkspace, snapshot: Snapshot) -> tuple[Question, ...]:
    """Return what a round has to ask, as its report keeps it."""
    row, rare_classes = project.row, snapshot.settings.rare_classes
    declined = row.declined if row else ()
    found = find_questions(snapshot.labels, snapshot.target, rare_classes, snapshot.scheme.classes, declined)
    return tuple(found)


def open_questions(project: ProjectWorkspace) -> list[Question]:
    """Return what is open now: what the last round asked and nobody answered since, and what the choice leaves open."""
    stores = project.stores
    row = project.row
    if row is None:
        return []
    try:
        rare_classes = project.settings.rare_classes
    except ClinicalError:  # the project's problem says so
        rare_classes = ()
    tagged = stores.labels.tagged_or_disputed(project.id)
    exemplars = [one.task_id for one in tagged if one.steer > 0 and not has_any(one.label or "", row.declined)]
    exemplars += [one.task_id for one in stores.page_tags.open(project.id).values() if one.steer > 0]
    classes = classes_of(project)
    changed = [
        Question(Kind.CHANGED, place, (), f"{asked['evidence']} Was that meant?")
        for place, asked in Drift.of(row).asked.items()
    ]
    found: list[Question] = []
    if classes:
        elsewhere = {*outside_findings(project).values(), *(one.finding for one in stores.phrasings.all(project.id))}
        given = elsewhere & set(classes) - set(row.declined)
        found = [*_which([*rare_classes, *given], exemplars), *_unknown(rare_classes, classes)]
        if found and found[0].kind is Kind.WHICH and row.page_options.get("rare_classes") is not None:
            found = []  # "none by name" is an answer
    answered = {*rare_classes, *row.declined}
    for question in stores.rounds.published_report(project.id).questions:
        moot = question.kind is Kind.RARE_SO_FAR and (rare_classes or exemplars)
        if (
            question.kind not in {Kind.WHICH, Kind.UNKNOWN}
            and not moot
            and not (question.is_yes_or_no and question.name in answered)
        ):
            found.append(question)
    return [*changed, *found]


def _which(chosen: Sequence[str], exemplars: Sequence[int]) -> list[Question]:
    if chosen or exemplars:
        return []
    text = "Nobody chose what to look for, and no case is tagged: the queue is ordered for variety."
    return [Question(Kind.WHICH, None, (), text)]


def _unknown(rare_classes: Sequence[str], classes: Sequence[str]) -> list[Question]:
    text = (
        "{} was chosen, and the labeling config has no such class (any more).{} Take it away, or choose its new name."
    )
    return [
        Question(Kind.UNKNOWN, name, (), text.format(name, nearest_classes(name, classes)))
        for name in rare_classes
        if name not in classes
    ]


def _rare_so_far(target: Target, classes: Sequence[str], number: int) -> list[Question]:
    """Return the rarest classes so far, if labels that nobody sought are enough to tell."""
    limit = max(_RARE_SHARE, _RARE_SHARE_OF_EVEN / number) * target.unsought
    if target.unsought < _ENOUGH_LABELS:
        return []
    rare = [name for name in classes if target.met.get(name, 0) <= limit]
    rare.sort(key=lambda name: target.met.get(name, 0))
    return [
        Question(Kind.RARE_SO_FAR, name, (), f"{name} is rare so far: {_share(target, name)}.")
        for name in rare[:_MOST_SUGGESTED]
    ]


def _also(labels: Labels, target: Target, named: Sequence[str], declined: Collection[str]) -> Iterable[Question]:
    sought = " and ".join(target.classes)
    for name, tasks in _by_class(labels, target.passed_over):
        if name in declined:
            continue
        text = f"{_cases(tasks)} of {name} and tagged “more like this”"
        if named:
            text += f", and only {sought} is looked for"
        elif target.unsought:
            text += f", and {_share(target, name)} are {name}: a slip, or a wish"
        else:
            text += f", and most tags are on {sought}: a slip, or a wish"
        yield Question(Kind.ALSO, name, _first(tasks), f"{text}. Until you answer, such cases are not sought.")


def _by_class(labels: Labels, tasks: Iterable[int]) -> list[tuple[str, list[int]]]:
    grouped: dict[str, list[int]] = defaultdict(list)
    for task in tasks:
        for name in findings_of(labels.classes[task]) if task in labels.classes else ():
            grouped[name].append(task)
    return sorted(grouped.items())


def _share(target: Target, name: str) -> str:
    return f"{target.met.get(name, 0)} of {target.unsought} labels that were not sought"


def _cases(tasks: Collection[int]) -> str:
    return amount(len(tasks), "case is", "cases are")


def _first(tasks: Iterable[int]) -> tuple[int, ...]:
    return tuple(sorted(tasks)[:_SHOWN_TASKS])
