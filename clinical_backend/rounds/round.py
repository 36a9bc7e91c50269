"""One round: sync → embed → fit → rank → publish."""

from __future__ import annotations

import logging
import time
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from clinical_backend.labelstudio.publisher import Publisher
from clinical_backend.rounds.blind_readings import try_to_attend
from clinical_backend.rounds.chances import with_chances
from clinical_backend.rounds.drift import require_unchanged
from clinical_backend.rounds.embed import embed_new
from clinical_backend.rounds.image_labels import keep_image_classifier
from clinical_backend.rounds.inputs import choose_inputs
from clinical_backend.rounds.ledger import unled
from clinical_backend.rounds.ordering import (
    choose_second_readings,
    learn,
    order_tasks,
    place_second_readings,
    worth_queueing,
)
from clinical_backend.rounds.publish import as_served, publish
from clinical_backend.rounds.questions import questions_of_round
from clinical_backend.rounds.second_readings.overlap import try_to_settle
from clinical_backend.rounds.study_inputs import with_images
from clinical_backend.rounds.sync import synchronise
from clinical_backend.rounds.unread_images import find_unread, notes_on_images
from clinical_backend.storage.recipe import Recipe
from clinical_backend.storage.report import Counts, Evaluation, FindingMeasures, Preannotation, RoundReport
from clinical_backend.storage.schema import SuspectedLabel
from clinical_backend.strategy.evaluation import evaluate_findings, evaluate_labels
from clinical_backend.strategy.preannotation import confidence, preannotations
from clinical_backend.system.pulse import note_progress
from clinical_backend.workspace.finetuned import with_finetuned_predictions
from clinical_backend.workspace.known_images import notes_on_studies
from clinical_backend.workspace.notices import group_notice
from clinical_backend.workspace.outside_features import embed_outside, notes_on_outside
from clinical_backend.workspace.project_options import settings_of_queue
from clinical_backend.workspace.word_scores import place_words

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from clinical_backend.labelstudio.publisher import Published
    from clinical_backend.labelstudio.resources import Project
    from clinical_backend.rounds.promotion import Model, Promotion
    from clinical_backend.rounds.sync import Snapshot
    from clinical_backend.rounds.unread_images import UnreadImages
    from clinical_backend.settings import Settings
    from clinical_backend.storage.schema import Round
    from clinical_backend.strategy.suspects import Suspect
    from clinical_backend.strategy.tasks import Inputs, RankedTask
    from clinical_backend.workspace.workspace import ProjectWorkspace

__all__ = ["run_round"]

logger = logging.getLogger(__name__)

_METHOD = (
    "{count} labelled tasks, each judged by classifiers that learnt from other labels alone (cross-validation, "
    "patients kept together). Queues seek the rare, so the shares are those of the labels, not of the project."
)


def run_round(project: ProjectWorkspace, row: Round) -> bool:
    """Run one round of a project from end to end. Until its last step readers keep the old queue.

    Parameters
    ----------
    project
        The project.
    row
        The round, as begun in the database.

    Returns
    -------
    bool
        Whether there are images that it had no time for, and that may be read at once.

    Raises
    ------
    ClinicalError
        When a stage cannot be done. Nothing that readers see has changed then.
    """
    stages = _Stages(project, row)
    _ = project.workspace.backbone  # without one there is no round: said before Label Studio is asked for anything

    with stages.stage("sync"):
        unplaced_words, snapshot = place_words(project), synchronise(project)  # in this order: it reads the places
    with stages.stage("embed"):
        embedded = embed_new(project, stages.progress, begun_at=row.started_at)
        embed_outside(project)
        snapshot, copies = worth_queueing(project, snapshot)
        inputs, adaptation = choose_inputs(project, snapshot)
        unread = find_unread(project, snapshot, inputs)
    with stages.stage("fit"):
        learnt = learn(project, snapshot, row, inputs)
        promotion, inputs = learnt.promotion, learnt.promotion.inputs
        promotion.keep(project, row)
        if promotion.model is not None:
            keep_image_classifier(project, snapshot, row)
        evaluation = _evaluation(promotion, snapshot)
    with stages.stage("rank"):
        choice, ranked = order_tasks(snapshot, learnt, row.number)
        ranked, chances = with_chances(
            project, snapshot.target.classes, promotion.fitted, inputs.pool, with_images(project, inputs, ranked)
        )
    with stages.stage("publish"):
        preannotated = _preannotate(project, snapshot, promotion, ranked)
        now = project.client.server_time()
        second = choose_second_readings(project, snapshot, row.number, learnt.suspects, ordinary=len(ranked), now=now)
        among = place_second_readings(second, len(ranked), snapshot.settings.seed, row.number)
        require_unchanged(project)
        report = RoundReport(
            acquisition=choice.acquisition,
            reason=choice.reason,
            class_control=snapshot.scheme.class_control,
            not_learnt=snapshot.scheme.not_learnt,
            target=snapshot.target.classes,
            questions=questions_of_round(project, snapshot),
            newest_task=snapshot.newest_task,
            counts=_counts(snapshot, inputs, unread, copies=len(copies), embedded=embedded),
            second_look=second,
            measurements=promotion.fitted.measurements,
            promotion=promotion.report,
            evaluation=evaluation,
            chances=chances,
            features=adaptation,
            preannotations=preannotated.model,
            preannotation=preannotated.report,
            seconds=stages.seconds,
            doubtful_labels=snapshot.labels.messages,
            notes=(
                *_notes(project, snapshot, unplaced_words),
                *notes_on_images(project, unread, len(copies), choice.near_copies),
            ),
            recipe=_recipe(promotion.model, snapshot.settings),
        )
        published = publish(
            project.stores,
            Publisher(project.client, project.stores.database.require_fence),
            snapshot.scheme,
            row,
            preannotated.ranked,
            preannotated.ticked,
            among,
            ready=partial(_prepare, project, row, report, snapshot.labels.skipped),
        )
    report = replace(as_served(report, published.task_ids, skipped=snapshot.labels.skipped), seconds=stages.seconds)
    _keep_published(project, row, report, published, learnt.suspects)
    _serve_beside(project, snapshot.project)
    logger.info(
        "Project %d, round %d: %d tasks in queue %s by %s (%s)",
        project.id,
        row.number,
        report.counts.queue,
        row.version,
        choice.acquisition,
        choice.reason,
    )
    return unread.goes_on


@dataclass(frozen=True, slots=True)
class _Preannotated:
    """What is ticked when a reader opens a task of a queue.

    Attributes
    ----------
    ranked
        The queue, with what is predicted.
    ticked
        Class of each task that has one ticked.
    model
        Which model answers, as a report has it.
    report
        What may be ticked.
    """

    ranked: list[RankedTask]
    ticked: Mapping[int, str]
    model: str
    report: Preannotation


def _preannotate(
    project: ProjectWorkspace, snapshot: Snapshot, promotion: Promotion, ranked: list[RankedTask]
) -> _Preannotated:
    """Decide what is ticked when a reader opens a task."""
    mode, classes, fitted, model = snapshot.preannotate, snapshot.scheme.classes, promotion.fitted, "none"
    confident = confidence(
        promotion.held_out,
        promotion.inputs,
        ranked,
        snapshot.labels.classes,
        evidence=_unled(project),
        target=snapshot.target.classes,
    )
    if mode == "all" and fitted.classifier is not None and not fitted.classifier.independent:
        ranked, model = with_finetuned_predictions(project, fitted.classes, classes, ranked)
    ticked = preannotations(mode, ranked, confident.tasks, classes)
    proofs = {name: asdict(one) for name, one in confident.proofs.items()}
    return _Preannotated(ranked, ticked, model, Preannotation.of(mode, confident.tasks, proofs))


def _counts(snapshot: Snapshot, inputs: Inputs, unread: UnreadImages, *, copies: int, embedded: int) -> Counts:
    labels = snapshot.labels
    return Counts(
        pool=len(snapshot.pool),
        unreadable=unread.unreadable,
        waiting=unread.waiting,
        held_back=unread.held_back,
        copies=copies,
        skipped=len(labels.skipped),
        labelled=len(labels.classes),
        unread=len(labels.unread),
        exemplars=snapshot.target.exemplars,
        query=len(inputs.query),
        embedded=embedded,
    )


def _notes(project: ProjectWorkspace, snapshot: Snapshot, unplaced_words: Sequence[str]) -> list[str]:
    """Return what a lead is told of a round, but for its images."""
    return [
        *snapshot.labels.messages,
        *(str(group) for group in [group_notice(project)] if group is not None),
        *notes_on_studies(project),
        *notes_on_outside(project),
        *snapshot.reserve_notes,
        *unplaced_words,
    ]


def _prepare(
    project: ProjectWorkspace, row: Round, report: RoundReport, skipped: Collection[int], tasks: Sequence[int]
) -> None:
    """Keep the report of a queue that readers are about to be served, should the process be cut off right after."""
    served = as_served(report, tasks, skipped=skipped)
    project.stores.rounds.prepare(row, served, project.client.server_time())


def _keep_published(
    project: ProjectWorkspace, row: Round, report: RoundReport, published: Published, suspects: Sequence[Suspect]
) -> None:
    """Keep what was published, and what came of the round beside it."""
    stores = project.stores
    stores.labels.suspect(project.id, [SuspectedLabel(project_id=project.id, **asdict(one)) for one in suspects])
    aside = report.counts.skipped_in_queue + report.counts.second_readings
    stores.rounds.publish(row, report, len(published.task_ids), published.switched_at, aside=aside)
    stores.second_readings.mark_drawn(project.id, report.second_look.drawn_read)


def _serve_beside(project: ProjectWorkspace, remote: Project) -> None:
    """Have Label Studio serve second readings and the test set beside the queue."""
    try_to_settle(project, remote)
    try_to_attend(project, remote)


def _recipe(model: Model | None, settings: Settings) -> Recipe:
    """Return what the queue is made with."""
    if model is None:
        return Recipe(settings_of_queue(settings))
    return Recipe(settings_of_queue(settings), model.metadata.round, model.classifier.digest)


def _unled(project: ProjectWorkspace) -> frozenset[int]:
    """Return the tasks whose class a reader gave without being shown one, as the reports of their rounds tell."""
    stores = project.stores
    ledger = stores.labels.ledger(project.id)
    numbers = {entry.round_number for entry in ledger if entry.round_number is not None}
    return unled(ledger, {row.number: row.report for row in stores.rounds.with_numbers(project.id, numbers)})


def _evaluation(promotion: Promotion, snapshot: Snapshot) -> Evaluation | None:
    """Return how good the classifier is that these labels judge; ``None`` where too few do."""
    held_out, inputs = promotion.held_out, promotion.inputs
    if held_out is None:
        return None
    labels, target = snapshot.labels.seen, snapshot.target.classes
    if held_out.reference.independent:
        scores, together = evaluate_findings(held_out, inputs, labels)
        method = _METHOD.format(count=len(inputs.labelled))
        counts = tuple(tuple(int(count) for count in row) for row in together)
        return Evaluation((), (), (), method, tuple(FindingMeasures(**asdict(one)) for one in scores), counts)
    measured = evaluate_labels(held_out, inputs, labels, target)
    return Evaluation(
        classes=tuple(one.name for one in measured.classes),
        confusion=measured.confusion,
        support=tuple(one.count for one in measured.classes),
        method=_METHOD.format(count=measured.count),
    )


class _Stages:
    """Notes how far a round is, and how long each stage took."""

    def __init__(self, project: ProjectWorkspace, row: Round) -> None:
        self._rounds = project.stores.rounds
        self._row = row
        self._stage = ""
        self.seconds: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        self._stage = name
        note_progress()
        self._rounds.progress(self._row.id, name)
        started = time.perf_counter()
        yield
        self.seconds[name] = round(time.perf_counter() - started, 3)

    def progress(self, done: int, total: int) -> None:
        note_progress()
        self._rounds.progress(self._row.id, self._stage, done, total)
