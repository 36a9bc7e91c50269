"""The queue that the next round would publish with other settings, from what is stored: nothing is published or kept.

A round's own steps order it, with the random draws of the round that would be next. It has no answers that came since
the last round, and no tasks or features that a round would still add.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from clinical_backend.errors import ClinicalError
from clinical_backend.project_settings import ProjectOptions, effect_on_queue
from clinical_backend.rounds.inputs import choose_inputs
from clinical_backend.rounds.ordering import (
    Learnt,
    choose_second_readings,
    learn,
    order_tasks,
    place_second_readings,
    worth_queueing,
)
from clinical_backend.rounds.reserve import drawn_next
from clinical_backend.rounds.second_readings.candidates import free_places
from clinical_backend.rounds.sync import snapshot_of
from clinical_backend.storage.schema import Round
from clinical_backend.workspace.controls import read_as_set
from clinical_backend.workspace.kept_answers import load_answers
from clinical_backend.workspace.project_options import settings_of_reading
from clinical_backend.workspace.settings_preview_files import PreviewAnswer, PreviewedTask

if TYPE_CHECKING:
    from collections.abc import Sequence

    from clinical_backend.rounds.sync import Snapshot
    from clinical_backend.settings import Settings
    from clinical_backend.storage.schema import Project as Row
    from clinical_backend.workspace.kept_answers import KeptAnswers
    from clinical_backend.workspace.settings_preview_files import PreviewQuestion
    from clinical_backend.workspace.workspace import ProjectWorkspace

__all__ = ["Changes", "NothingToPreviewError", "changes_of", "preview_queue"]


class NothingToPreviewError(ClinicalError):
    """There is no queue that settings could change, or not what it was made of."""


class Changes(NamedTuple):
    """Settings that would be others, by what they do to the queue.

    Attributes
    ----------
    ordering
        Whose effect is told by what is stored.
    read
        Whose effect a round tells, which reads answers and tasks by them.
    beside
        That change no place of a queue.
    """

    ordering: tuple[str, ...]
    read: tuple[str, ...]
    beside: tuple[str, ...]


class _Prepared(NamedTuple):
    """What a queue is made of."""

    snapshot: Snapshot
    learnt: Learnt


def changes_of(project: ProjectWorkspace, row: Row, question: PreviewQuestion) -> Changes:
    """Return which settings would be others.

    Raises
    ------
    SettingsError
        When those that are set in Label Studio cannot be worked with.
    """
    before, after = project.settings, project.settings_with(question.options)
    changed = [name for name in ProjectOptions.model_fields if getattr(before, name) != getattr(after, name)]
    by_effect = {
        effect: tuple(n for n in changed if effect_on_queue(n) == effect) for effect in ("order", "read", "none")
    }
    ordering, read = by_effect["order"], by_effect["read"]
    if set(row.declined) != set(question.declined):
        ordering = (*ordering, "declined")
    if "rare_classes" in ordering and read_as_set(row.label_config or "", before).counts_images:
        # Which of several images decides what a task is depends on what is looked for: answers are read by it.
        ordering, read = tuple(name for name in ordering if name != "rare_classes"), (*read, "rare_classes")
    return Changes(ordering, read, by_effect["none"])


def preview_queue(project: ProjectWorkspace, question: PreviewQuestion) -> PreviewAnswer:
    """Return the queue of the next round with settings that are not saved, and with those that are.

    Raises
    ------
    NothingToPreviewError
        While nothing is published, or no round has kept what it read as it would be read by now.
    ClinicalError
        When features cannot be read, or nothing can be learnt by these settings.
    """
    begun = time.monotonic()
    row, published = project.row, project.stores.rounds.published(project.id)
    if row is None or published is None:
        raise NothingToPreviewError("No queue is published yet.", "Wait for the first round.")
    answers = load_answers(project.settings_preview_folder)
    if answers is None or not row.label_config:
        raise NothingToPreviewError(
            "What the last round read is not kept: an earlier version ran it, or it was changed on disk.",
            "Start a round.",
        )
    if answers.project.label_config != row.label_config or answers.read_by != settings_of_reading(project.settings):
        raise NothingToPreviewError(
            "The labeling config, or a setting by which answers are read, was changed since the last round.",
            "Wait for the next round.",
        )
    latest = project.stores.rounds.latest(project.id)
    following = Round(project_id=project.id, number=1 + (latest or published).number, version="")
    reserving = drawn_next(project, answers.labels)
    as_set = _prepare(project, answers, row, following, project.settings, row.declined, reserving)
    if as_set.snapshot.pool and not len(as_set.learnt.promotion.inputs.pool):
        raise NothingToPreviewError("No case that may be queued has a feature.", "Start a round, which makes them.")
    changed = project.settings_with(question.options)
    wanted = _prepare(project, answers, row, following, changed, question.declined, reserving, before=as_set)
    told = [_order(project, one, following.number) for one in (wanted, as_set)]
    return PreviewAnswer(
        key=question.key,
        version=published.version,
        number=following.number,
        with_these=told[0][1],
        as_set=told[1][1],
        reasons=(told[0][0], told[1][0]),
        test_set=len(reserving),
        seconds=round(time.monotonic() - begun, 3),
    )


def _prepare(
    project: ProjectWorkspace,
    answers: KeptAnswers,
    row: Row,
    following: Round,
    settings: Settings,
    declined: Sequence[str],
    reserving: frozenset[int],
    *,
    before: _Prepared | None = None,
) -> _Prepared:
    """Return what a round with these settings learns; what it looks for may be the same as before."""
    kept = project.settings  # answers were read by these, and are not read again
    scheme = read_as_set(row.label_config or "", kept)
    labels = answers.labels
    scheme = replace(scheme, deciding=labels.deciding)
    ledger = [*project.stores.labels.all(project.id).values()]
    snapshot = snapshot_of(
        project,
        settings,
        answers.project,
        scheme,
        labels,
        ledger=ledger,
        declined=declined,
        reserving=reserving,
    )
    snapshot, _ = worth_queueing(project, snapshot)
    if before is not None and before.snapshot.target == snapshot.target:
        return _Prepared(snapshot, before.learnt)
    inputs, _ = choose_inputs(project, snapshot)
    return _Prepared(snapshot, learn(project, snapshot, following, inputs))


def _order(project: ProjectWorkspace, prepared: _Prepared, number: int) -> tuple[str, tuple[PreviewedTask, ...]]:
    """Return why a queue has its order, and its tasks by their places, second readings among them."""
    snapshot, learnt = prepared
    choice, ranked = order_tasks(snapshot, learnt, number)
    second = choose_second_readings(project, snapshot, number, learnt.suspects, ordinary=len(ranked), now=time.time())
    among = place_second_readings(second, len(ranked), snapshot.settings.seed, number)
    placed = {place: PreviewedTask(task_id=one.task_id, draw=None) for place, one in among.items()}
    for place, task in zip(free_places(among), ranked, strict=False):
        placed[place] = PreviewedTask(task_id=task.task_id, draw=task.draw)
    return choice.reason, tuple(placed[place] for place in sorted(placed))
