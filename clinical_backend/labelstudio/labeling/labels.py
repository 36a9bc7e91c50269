"""From readers' annotations to one label per task: what people meant counts, and what a machine set does not."""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING

from clinical_backend.labelstudio.labeling.answers import (
    Unread,
    Why,
    chosen,
    class_of,
    labels_of_images,
    strange_findings,
    tagged_images,
    why_unread,
)
from clinical_backend.labelstudio.labeling.items import agreed, completed_by_others
from clinical_backend.labelstudio.labeling.project_labels import Answered, Labels, ReaderAnswer, Source
from clinical_backend.labelstudio.labeling.reader_answers import answer_of_reader, source_of
from clinical_backend.multilabel import completed, disputed, majority, unknown_of
from clinical_backend.text import printable

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from clinical_backend.labelstudio.labeling.scheme import LabelingScheme
    from clinical_backend.labelstudio.resources import AnnotatedTask, Annotation

__all__ = ["Answered", "Labels", "Source", "read_labels", "readers_answers", "with_counts"]


def read_labels(
    scheme: LabelingScheme,
    tasks: Iterable[AnnotatedTask],
    *,
    stars: bool = False,
    offered_again: Collection[int] = (),
    counted: Sequence[AnnotatedTask] | None = None,
    by_reader: bool = False,
) -> Labels:
    """Combine the answers of all readers into one label per task.

    Skips do not count as answers. Readers are heard before imports, and these before accepted predictions, which nobody
    looked at. The class is that of most annotations; a tie leaves the task out. One tag is enough to make an
    exemplar; tags both ways leave it out, and so do readers who chose different classes. Where each image of a list has
    an answer, the class that fewest images have decides what a task is; see :func:`deciding_order`.

    Parameters
    ----------
    scheme
        Of the project's present labeling config.
    tasks
        All tasks with answers, from :meth:`LabelStudioClient.annotated_tasks`.
    stars
        Whether a reader's star (ground truth) tags an exemplar and settles a tie. One that came with an import does
        neither, since Label Studio sets it by itself, and answers and tags go before any star.
    offered_again
        Readers whom Label Studio serves what others skipped; a task that one of them did not skip counts as unanswered.
    counted
        Tasks whose answers tell which class fewest images have; by default these.
    by_reader
        Whether to return each annotation of a reader too.
    """
    tasks = list(tasks)
    scheme = with_counts(scheme, tasks if counted is None else counted)
    reading = _Reading(scheme, stars, frozenset(offered_again), by_reader)
    for task in tasks:
        if task.withheld:
            reading.withhold(task)
        elif task.annotations:
            reading.take(task)
    return reading.labels()


def with_counts(scheme: LabelingScheme, tasks: Iterable[AnnotatedTask]) -> LabelingScheme:
    """Return a scheme in which the class decides that fewest images have, by all answers of its project."""
    if not scheme.counts_images:
        return scheme
    answers = (each for task in tasks for each in task.annotations if not each.was_cancelled)
    return scheme.counting(Counter(name for each in answers for name in labels_of_images(scheme, each).values()))


class _Reading:
    """Goes through the tasks one by one."""

    def __init__(self, scheme: LabelingScheme, stars: bool, offered_again: frozenset[int], by_reader: bool) -> None:
        self._scheme, self._stars, self._readers = scheme, stars, offered_again
        self._classes: dict[int, str] = {}
        self._first: dict[int, Answered] = {}
        self._disagreed: dict[int, tuple[str, ...]] = {}
        self._disputed: dict[int, tuple[tuple[str | None, str], ...]] = {}
        self._tagged: dict[int, tuple[str | None, float | None]] = {}
        self._unknown: Counter[str] = Counter()
        self._idle_stars = 0
        self._stands_for: dict[int, frozenset[str]] = {}
        self._images: dict[int, dict[int, str]] = {}
        self._tagged_images: dict[int, frozenset[int]] = {}
        self._sources: dict[int, Source] = {}
        self._more, self._less, self._skipped, self._conflicting = (set[int]() for _ in range(4))
        self._contradicted, self._corrected, self._empty = (set[int]() for _ in range(3))
        self._unread: dict[int, Unread] = {}
        self._changed: dict[int, float] = {}
        self._read_twice: dict[int, tuple[tuple[int, str], ...]] = {}
        self._last_answers: dict[int, float] = {}
        self._by_reader: list[ReaderAnswer] | None = [] if by_reader else None

    def labels(self) -> Labels:
        """Return what was read."""
        return Labels(
            classes=self._classes,
            exemplars=tuple(sorted(self._more)),
            counter_exemplars=tuple(sorted(self._less)),
            skipped=frozenset(self._skipped),
            disagreed=self._disagreed,
            conflicting_tags=frozenset(self._conflicting),
            answered=frozenset(self._first),
            first_answers=self._first,
            disputed=self._disputed,
            tagged=self._tagged,
            unknown_classes=self._unknown,
            idle_stars=self._idle_stars,
            contradicted_stars=frozenset(self._contradicted),
            corrected=frozenset(self._corrected),
            empty=frozenset(self._empty),
            unread=self._unread,
            class_control=self._scheme.class_control,
            changed=self._changed,
            read_twice=self._read_twice,
            last_answers=self._last_answers,
            stands_for=self._stands_for,
            images=self._images,
            tagged_images=self._tagged_images,
            deciding=self._scheme.deciding,
            by_reader=tuple(self._by_reader or ()),
        )

    def withhold(self, task: AnnotatedTask) -> None:
        """Take a task for answered of which Label Studio fails in giving the answers."""
        self._first[task.id] = Answered(Source.READER)
        self._unread[task.id] = Unread(Why.WITHHELD)

    def take(self, task: AnnotatedTask) -> None:
        """Read the answers of a task that has some."""
        sources = self._sources = {annotation.id: source_of(annotation, task) for annotation in task.annotations}
        seen_by = frozenset(each.completed_by for each in task.annotations if each.completed_by is not None)
        for annotation in task.annotations:
            if self._by_reader is not None and (one := answer_of_reader(self._scheme, annotation, task)) is not None:
                self._by_reader.append(one)
            if sources[annotation.id] is Source.READER and annotation.completed_by is not None:
                latest = self._last_answers.get(annotation.completed_by, 0.0)
                self._last_answers[annotation.completed_by] = max(latest, _time(annotation) or 0.0)
        valid = [annotation for annotation in task.annotations if not annotation.was_cancelled]
        if not valid:
            self._skipped.add(task.id)
            if self._readers <= {annotation.completed_by for annotation in task.annotations}:
                self._first[task.id] = _first_answer(task.annotations, sources, readings=0, seen_by=seen_by)
            return
        if changes := [annotation.updated_at.timestamp() for annotation in valid if annotation.updated_at is not None]:
            self._changed[task.id] = max(changes)
        readers = [annotation for annotation in valid if sources[annotation.id] is Source.READER]
        self._first[task.id] = _first_answer(
            valid, sources, readings=len({annotation.completed_by for annotation in readers}), seen_by=seen_by
        )
        imported = [annotation for annotation in valid if sources[annotation.id] is Source.IMPORT]
        every = readers or imported or valid
        machine = [annotation for annotation in valid if annotation not in every]
        heard = _completed_by_others(self._scheme, every)
        if readers and len(answers := _latest_by_reader(self._scheme, heard)) > 1:
            self._read_twice[task.id] = answers
        heard = self._class_of(task.id, heard, machine)
        if images := agreed(labels_of_images(self._scheme, each) for each in heard):
            self._images[task.id] = images
        # Of several findings, an exemplar stands for those that readers agree on.
        if self._scheme.several is not None or task.id not in {*self._disagreed, *self._disputed}:
            self._tags_of(task.id, heard)

    def _class_of(
        self, task_id: int, heard: Sequence[Annotation], machine: Sequence[Annotation]
    ) -> Sequence[Annotation]:
        """Settle the class of a task, and return the answers whose tags count: not those that a star overruled."""
        scheme = self._scheme
        if self._is_empty(heard):
            self._empty.add(task_id)
            return heard
        leaders = _leaders(scheme, heard, self._unknown)
        answers = _answers(scheme, heard)
        if unsettled := disputed([name for _, name in answers]):
            starred = self._starred_classes(heard)
            if scheme.several is not None and len(starred) == 1:
                voted, leaders = leaders[0], (completed(leaders[0], starred[0]),)
                unsettled -= unknown_of(voted) - unknown_of(leaders[0])
            if len(leaders) > 1 and len(starred) == 1 and starred[0] in leaders:
                leaders = starred
                heard = [each for each in heard if class_of(scheme, each) == starred[0]]
            elif unsettled:
                self._disputed[task_id] = answers
                if self._contradict(starred, leaders):
                    self._contradicted.add(task_id)
        if len(leaders) > 1:
            self._disagreed[task_id] = leaders
        elif leaders:
            self._classes[task_id] = leaders[0]
            by_reader = self._sources[heard[0].id] is Source.READER
            if by_reader and any(disputed([leaders[0], name]) for _, name in _answers(scheme, machine)):
                self._corrected.add(task_id)
        else:
            reasons = [why_unread(scheme, each) for each in heard]
            self._unread[task_id] = min(reasons, key=lambda reason: list(Why).index(reason.why))
        return heard

    def _contradict(self, starred: Sequence[str], leaders: Sequence[str]) -> bool:
        """Tell whether stars say something else than most readers; who says nothing of a finding denies it not."""
        if self._scheme.several is None:
            return bool(starred) and set(starred) != set(leaders)
        return any(disputed([star, leaders[0]]) for star in starred)

    def _is_empty(self, heard: Sequence[Annotation]) -> bool:
        """Tell whether these are accepted predictions that say nothing, as those of a queue are."""
        return all(self._sources[each.id] is Source.MODEL and not each.result for each in heard)

    def _starred_classes(self, heard: Sequence[Annotation]) -> tuple[str, ...]:
        if not self._stars:
            return ()
        return tuple(dict.fromkeys(name for _, name in _answers(self._scheme, [a for a in heard if a.ground_truth])))

    def _tags_of(self, task_id: int, heard: Sequence[Annotation]) -> None:
        scheme = self._scheme
        tags = {tag for annotation in heard for tag in chosen(annotation, scheme.exemplar_control)}
        starred = [each for each in heard if each.ground_truth and self._sources[each.id] is Source.READER]
        named = frozenset(scheme.stands_for[tag] for tag in tags if tag in scheme.stands_for)
        images = frozenset[int]().union(*(tagged_images(scheme, each) for each in heard))
        wanted = scheme.more_value in tags or bool(named)
        unwanted = scheme.less_value in tags and not images  # beside these it is about other images
        if starred and not self._stars:
            self._idle_stars += 0 if wanted or unwanted else len(starred)
        elif starred and unwanted and not wanted:
            self._contradicted.add(task_id)
        elif starred:
            wanted = True
        if wanted and unwanted:
            self._conflicting.add(task_id)
        elif wanted or unwanted:
            (self._more if wanted else self._less).add(task_id)
            if wanted and named:
                self._stands_for[task_id] = named
            if wanted and images:
                self._tagged_images[task_id] = images
            self._tagged[task_id] = _tagger(scheme, heard)


def readers_answers(scheme: LabelingScheme, task: AnnotatedTask) -> tuple[tuple[int, str], ...]:
    """Return reader and class of each reader's latest answer with a class, in the order of their first answers.

    Of images that an answer leaves open it goes along with the others.
    """
    readers = [each for each in task.annotations if not each.was_cancelled and source_of(each, task) is Source.READER]
    return _latest_by_reader(scheme, _completed_by_others(scheme, readers))


def _completed_by_others(scheme: LabelingScheme, heard: Sequence[Annotation]) -> Sequence[Annotation]:
    """Let each of several answers about single images go along with the others where it says nothing."""
    if not scheme.per_item or len(heard) < 2:
        return heard
    said = [labels_of_images(scheme, each) for each in heard]
    return completed_by_others(heard, said, scheme.learnt_controls)


def _latest_by_reader(scheme: LabelingScheme, readers: Sequence[Annotation]) -> tuple[tuple[int, str], ...]:
    found: dict[int, str] = {}
    for annotation in _in_order(readers):
        name = class_of(scheme, annotation)
        if annotation.completed_by is not None and name is not None:
            found[annotation.completed_by] = name
    return tuple(found.items())


def _in_order(annotations: Sequence[Annotation]) -> list[Annotation]:
    return sorted(annotations, key=lambda annotation: (_time(annotation) or math.inf, annotation.id))


def _first_answer(
    annotations: Sequence[Annotation], sources: dict[int, Source], *, readings: int, seen_by: frozenset[int]
) -> Answered:
    """Return how a task was answered first: by whom, when, and what had answered it before a reader did."""
    ordered = _in_order(annotations)
    readers = [annotation for annotation in ordered if sources[annotation.id] is Source.READER]
    imported = [annotation for annotation in ordered if sources[annotation.id] is Source.IMPORT]
    first = (readers or imported or ordered)[0]
    at = _time(first)
    lead = first.lead_time if first.lead_time is not None and math.isfinite(first.lead_time) else 0.0
    served_at = None if at is None else at - max(0.0, lead)
    after_machine = bool(readers) and first is not ordered[0]
    return Answered(
        sources[first.id],
        at,
        served_at,
        readings,
        _time(ordered[0]) if after_machine else None,
        after_machine,
        seen_by,
    )


def _time(annotation: Annotation) -> float | None:
    return None if annotation.created_at is None else annotation.created_at.timestamp()


def _answers(scheme: LabelingScheme, annotations: Sequence[Annotation]) -> tuple[tuple[str | None, str], ...]:
    """Return reader and class of each annotation that names one class of the config."""
    named = [(annotation, class_of(scheme, annotation)) for annotation in annotations]
    return tuple((_reader(annotation), name) for annotation, name in named if name is not None)


def _tagger(scheme: LabelingScheme, annotations: Sequence[Annotation]) -> tuple[str | None, float | None]:
    """Return who tagged first, or starred, and when."""
    tags = {scheme.more_value, scheme.less_value, *scheme.stands_for} - {None}
    tagging = [
        annotation
        for annotation in annotations
        if annotation.ground_truth or tags.intersection(chosen(annotation, scheme.exemplar_control))
    ]
    dated = [(annotation.updated_at.timestamp(), annotation) for annotation in tagging if annotation.updated_at]
    if not dated:
        return (_reader(tagging[0]) if tagging else None), None
    when, first = min(dated, key=lambda item: item[0])
    return _reader(first), when


def _reader(annotation: Annotation) -> str | None:
    return None if annotation.completed_by is None else str(annotation.completed_by)


def _leaders(scheme: LabelingScheme, annotations: Sequence[Annotation], unknown: Counter[str]) -> tuple[str, ...]:
    """Return the classes with most votes, in the order of the config, and count the unknown ones.

    Of several findings each is voted on by itself, so that there is one label.
    """
    votes: Counter[str] = Counter()
    for annotation in annotations:
        name = class_of(scheme, annotation)
        if name is not None:
            votes[name] += 1
            unknown.update(map(printable, strange_findings(scheme, annotation)))
        elif (unread := why_unread(scheme, annotation)).why in {Why.UNKNOWN, Why.SEVERAL}:
            unknown[printable(unread.detail)] += 1
    if scheme.several is not None:
        return (majority([*votes.elements()]),) if votes else ()
    most = max(votes.values(), default=0)
    return tuple(name for name in scheme.classes if most and votes[name] == most)
