"""From readers' annotations to one label per task."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from clinical_backend.shown import counted, shown

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from clinical_backend.labelstudio.labeling import LabelingScheme
    from clinical_backend.labelstudio.records import AnnotatedTask, Annotation

__all__ = ["Labels", "read_labels"]


@dataclass(frozen=True, slots=True)
class Labels:
    """What the readers of a project said, task by task.

    Attributes
    ----------
    classes
        The class of each task on which readers agree.
    exemplars, counter_exemplars
        Tasks tagged "more like this" (or starred) and "not like this", ascending.
    skipped
        Tasks that were only skipped.
    disagreed
        The classes between which readers are tied; such a task is neither learnt from nor an exemplar.
    conflicting_tags
        Tasks tagged both ways: neither counts until readers settle it.
    answered
        All tasks with any answer, of which none needs to be queued.
    disputed
        Reader and class of each answer where readers chose different classes and no star settles it: such a task is no
        exemplar, even where most agree.
    tagged
        Who tagged an exemplar or counter-exemplar, and when, in seconds since the epoch.
    unknown_classes
        How many answers name a class that the labeling config does not have (any more). They are not used.
    """

    classes: dict[int, str] = field(default_factory=dict)
    exemplars: tuple[int, ...] = ()
    counter_exemplars: tuple[int, ...] = ()
    skipped: frozenset[int] = frozenset()
    disagreed: dict[int, tuple[str, ...]] = field(default_factory=dict)
    conflicting_tags: frozenset[int] = frozenset()
    answered: frozenset[int] = frozenset()
    disputed: dict[int, tuple[tuple[str | None, str], ...]] = field(default_factory=dict)
    tagged: dict[int, tuple[str | None, float | None]] = field(default_factory=dict)
    unknown_classes: Counter[str] = field(default_factory=Counter)

    @property
    def problems(self) -> tuple[tuple[str, str], ...]:
        """What a person should know about these labels: problems and their cures."""
        found = []
        if self.unknown_classes:
            named = counted(self.unknown_classes)
            found.append(
                (
                    f"Annotations name classes that the labeling config does not have: {named}.",
                    "They are not used: name the classes as before, or annotate these tasks again.",
                )
            )
        if self.disagreed:
            found.append(
                (
                    f"Readers disagree on {len(self.disagreed)} tasks, which are not used.",
                    "Star the right annotation of each.",
                )
            )
        if self.conflicting_tags:
            found.append(
                (
                    f"{len(self.conflicting_tags)} tasks are tagged both as exemplar and counter-exemplar.",
                    "Remove one of the tags; until then neither counts.",
                )
            )
        return tuple(found)

    @property
    def messages(self) -> tuple[str, ...]:
        """The problems with their cures, as text."""
        return tuple(f"{problem} {cure}" for problem, cure in self.problems)


def read_labels(scheme: LabelingScheme, tasks: Iterable[AnnotatedTask]) -> Labels:
    """Combine the answers of all readers into one label per task.

    Skips do not count as answers. Where an annotation is starred (ground truth), only starred ones are read.
    The class is that of most annotations; a tie leaves the task out. One tag is enough to make an exemplar,
    and so is the star; tags both ways leave it out, and so do readers who chose different classes.

    Parameters
    ----------
    scheme
        Of the project's present labeling config.
    tasks
        All tasks with answers, from :meth:`LabelStudioClient.annotated_tasks`.
    """
    classes: dict[int, str] = {}
    disagreed: dict[int, tuple[str, ...]] = {}
    disputed: dict[int, tuple[tuple[str | None, str], ...]] = {}
    tagged: dict[int, tuple[str | None, float | None]] = {}
    unknown: Counter[str] = Counter()
    more, less, skipped, conflicting, answered = (set[int]() for _ in range(5))
    for task in tasks:
        if not task.annotations:
            continue
        answered.add(task.id)
        valid = [annotation for annotation in task.annotations if not annotation.was_cancelled]
        if not valid:
            skipped.add(task.id)
            continue
        starred = [annotation for annotation in valid if annotation.ground_truth]
        heard = starred or valid
        leaders = _leaders(scheme, heard, unknown)
        answers = _answers(scheme, heard)
        if len({name for _, name in answers}) > 1:
            disputed[task.id] = answers
        if len(leaders) > 1:
            disagreed[task.id] = leaders
            continue
        if leaders:
            classes[task.id] = leaders[0]
        if task.id in disputed:
            continue
        tags = {tag for annotation in heard for tag in _chosen(annotation, scheme.exemplar_control)}
        wanted = bool(starred) or scheme.more_value in tags
        unwanted = scheme.less_value in tags
        if wanted and unwanted:
            conflicting.add(task.id)
        elif wanted or unwanted:
            (more if wanted else less).add(task.id)
            tagged[task.id] = _tagger(scheme, heard)
    return Labels(
        classes=classes,
        exemplars=tuple(sorted(more)),
        counter_exemplars=tuple(sorted(less)),
        skipped=frozenset(skipped),
        disagreed=disagreed,
        conflicting_tags=frozenset(conflicting),
        answered=frozenset(answered),
        disputed=disputed,
        tagged=tagged,
        unknown_classes=unknown,
    )


def _answers(scheme: LabelingScheme, annotations: Sequence[Annotation]) -> tuple[tuple[str | None, str], ...]:
    """Return reader and class of each annotation that names one class of the config."""
    chosen = [(annotation, _chosen(annotation, scheme.class_control)) for annotation in annotations]
    return tuple(
        (_reader(annotation), names[0])
        for annotation, names in chosen
        if len(names) == 1 and names[0] in scheme.classes
    )


def _tagger(scheme: LabelingScheme, annotations: Sequence[Annotation]) -> tuple[str | None, float | None]:
    """Return who tagged first, or starred, and when."""
    tags = {scheme.more_value, scheme.less_value} - {None}
    tagging = [
        annotation
        for annotation in annotations
        if annotation.ground_truth or tags.intersection(_chosen(annotation, scheme.exemplar_control))
    ]
    dated = [(annotation.updated_at.timestamp(), annotation) for annotation in tagging if annotation.updated_at]
    if not dated:
        return (_reader(tagging[0]) if tagging else None), None
    when, first = min(dated, key=lambda item: item[0])
    return _reader(first), when


def _reader(annotation: Annotation) -> str | None:
    return None if annotation.completed_by is None else str(annotation.completed_by)


def _leaders(scheme: LabelingScheme, annotations: Sequence[Annotation], unknown: Counter[str]) -> tuple[str, ...]:
    """Return the classes with most votes, in the order of the config, and count the unknown ones."""
    votes: Counter[str] = Counter()
    for annotation in annotations:
        chosen = _chosen(annotation, scheme.class_control)
        if len(chosen) == 1 and chosen[0] in scheme.classes:
            votes[chosen[0]] += 1
        elif chosen:
            unknown[shown(", ".join(chosen))] += 1
    most = max(votes.values(), default=0)
    return tuple(name for name in scheme.classes if most and votes[name] == most)


def _chosen(annotation: Annotation, control: str | None) -> tuple[str, ...]:
    """Return what an annotation chooses in a control; regions of another form are passed over."""
    if control is None:
        return ()
    found: list[str] = []
    for region in annotation.result:
        value = region.get("value")
        if region.get("from_name") == control and isinstance(value, dict):
            choices = value.get("choices")
            found += [str(choice) for choice in choices] if isinstance(choices, list) else []
    return tuple(dict.fromkeys(found))
