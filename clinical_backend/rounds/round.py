"""One round: sync → embed → fit → rank → publish."""

from __future__ import annotations

import logging
import time
from contextlib import contextmanager
from dataclasses import asdict, replace
from functools import partial
from typing import TYPE_CHECKING

from clinical_backend.errors import ImageError
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
from clinical_backend.storage.recipe import Recipe
from clinical_backend.storage.report import Counts, Evaluation, FindingMeasures, Preannotation, RoundReport
from clinical_backend.storage.schema import SuspectedLabel
from clinical_backend.strategy.evaluation import evaluate_findings, evaluate_labels
from clinical_backend.strategy.preannotation import confidence, preannotations
from clinical_backend.system.pulse import note_progress
from clinical_backend.workspace.finetuned import with_finetuned_predictions
from clinical_backend.workspace.known_images import (
    every_image,
    may_try,
    notes_on_studies,
    still_to_read,
)
from clinical_backend.workspace.notices import group_notice
from clinical_backend.workspace.outside_features import embed_outside, notes_on_outside
from clinical_backend.workspace.project_options import settings_of_queue
from clinical_backend.workspace.word_scores import place_words

if TYPE_CHECKING:
    from collections.abc import Iterator

    from clinical_backend.labelstudio.resources import Project
    from clinical_backend.learner.evaluation.held_out import HeldOut
    from clinical_backend.rounds.promotion import Model
    from clinical_backend.rounds.sync import Snapshot
    from clinical_backend.settings import Settings
    from clinical_backend.storage.schema import Round
    from clinical_backend.strategy.tasks import Inputs
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
    stores = project.stores
    stages = _Stages(project, row)
    _ = project.workspace.backbone  # without one there is no round: said before Label Studio is asked for anything

    with stages.stage("sync"):
        unplaced_words, snapshot = place_words(project), synchronise(project)  # in this order: it reads the places
        settings = snapshot.settings
    with stages.stage("embed"):
        embedded = embed_new(project, stages.progress)
        embed_outside(project)
        snapshot, copies = worth_queueing(project, snapshot)
        inputs, adaptation = choose_inputs(project, snapshot)
        if snapshot.pool and not len(inputs.pool) and not len(inputs.labelled):
            raise _unreadable(project)
        waiting, held_back, goes_on = _waiting(project, snapshot, inputs)
        unreadable = len(snapshot.pool) - len(inputs.pool) - waiting
    with stages.stage("fit"):
        learnt = learn(project, snapshot, row, inputs)
        classes, suspects, promotion = snapshot.scheme.classes, learnt.suspects, learnt.promotion
        promotion.keep(project, row)
        if promotion.model is not None:
            keep_image_classifier(project, snapshot, row)
        inputs, fitted = promotion.inputs, promotion.fitted
        held_out = promotion.model.held_out if promotion.model is not None else None
        evaluation = _evaluation(held_out, inputs, snapshot)
    with stages.stage("rank"):
        choice, ranked = order_tasks(snapshot, learnt, row.number)
        ranked, chances = with_chances(
            project, snapshot.target.classes, fitted, inputs.pool, with_images(project, inputs, ranked)
        )
    with stages.stage("publish"):
        answering, mode = "none", snapshot.preannotate
        confident = confidence(
            held_out,
            inputs,
            ranked,
            snapshot.labels.classes,
            evidence=_unled(project),
            target=snapshot.target.classes,
        )
        if mode == "all" and fitted.classifier is not None and not fitted.classifier.independent:
            ranked, answering = with_finetuned_predictions(project, fitted.classes, classes, ranked)
        ticked = preannotations(mode, ranked, confident.tasks, classes)
        now = project.client.server_time()
        second = choose_second_readings(project, snapshot, row.number, suspects, ordinary=len(ranked), now=now)
        among = place_second_readings(second, len(ranked), settings.seed, row.number)
        require_unchanged(project)
        report = RoundReport(
            acquisition=choice.acquisition,
            reason=choice.reason,
            class_control=snapshot.scheme.class_control,
            not_learnt=snapshot.scheme.not_learnt,
            target=snapshot.target.classes,
            questions=questions_of_round(project, snapshot),
            newest_task=snapshot.newest_task,
            counts=Counts(
                pool=len(snapshot.pool),
                unreadable=unreadable,
                waiting=waiting,
                held_back=held_back,
                copies=len(copies),
                skipped=len(snapshot.labels.skipped),
                labelled=len(snapshot.labels.classes),
                unread=len(snapshot.labels.unread),
                exemplars=snapshot.target.exemplars,
                query=len(inputs.query),
                embedded=embedded,
            ),
            second_look=second,
            measurements=fitted.measurements,
            promotion=promotion.report,
            evaluation=evaluation,
            chances=chances,
            features=adaptation,
            preannotations=answering,
            preannotation=Preannotation.of(
                mode, confident.tasks, {name: asdict(one) for name, one in confident.proofs.items()}
            ),
            seconds=stages.seconds,
            doubtful_labels=snapshot.labels.messages,
            notes=(
                *snapshot.labels.messages,
                *(str(group) for group in [group_notice(project)] if group is not None),
                *notes_on_studies(project),
                *notes_on_outside(project),
                *snapshot.reserve_notes,
                *unplaced_words,
                *_notes_on_images(project, unreadable, len(copies), choice.near_copies),
                *_notes_on_waiting(project, waiting),
            ),
            recipe=_recipe(promotion.model, settings),
        )
        served = partial(as_served, skipped=snapshot.labels.skipped)
        published = publish(
            stores,
            Publisher(project.client, stores.database.require_fence),
            snapshot.scheme,
            row,
            ranked,
            ticked,
            among,
            ready=lambda tasks: stores.rounds.prepare(row, served(report, tasks), project.client.server_time()),
        )
    report = replace(served(report, published.task_ids), seconds=stages.seconds)
    stores.labels.suspect(project.id, [SuspectedLabel(project_id=project.id, **asdict(one)) for one in suspects])
    aside = report.counts.skipped_in_queue + report.counts.second_readings
    stores.rounds.publish(row, report, len(published.task_ids), published.switched_at, aside=aside)
    stores.second_readings.mark_drawn(project.id, second.drawn_read)
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
    return goes_on


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


def _evaluation(held_out: HeldOut | None, inputs: Inputs, snapshot: Snapshot) -> Evaluation | None:
    """Return how good the classifier is that these labels judge; ``None`` where too few do."""
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


def _notes_on_images(project: ProjectWorkspace, unreadable: int, copies: int, near_copies: int) -> list[str]:
    notes = [f"{_images(unreadable)} cannot be read. {_reason(project)}"] if unreadable else []
    if copies == 1:
        notes.append("1 image is an exact copy of an answered or queued one, and is not queued.")
    elif copies:
        notes.append(f"{copies} images are exact copies of answered or queued ones, and are not queued.")
    if near_copies == 1:
        notes.append("1 image looks like an answered or queued one that was saved again, and comes behind all others.")
    elif near_copies:
        notes.append(
            f"{near_copies} images look like answered or queued ones that were saved again, and come behind all others."
        )
    return notes


def _images(count: int) -> str:
    return "1 image" if count == 1 else f"{count} images"


def _reason(project: ProjectWorkspace) -> str:
    tasks = project.stores.images.all(project.id).values()
    tried = (image.problem for image in tasks if image.problem and not image.is_waiting)
    return " ".join([next(tried, "They were not tried yet."), *still_to_read(every_image(project))])


def _waiting(project: ProjectWorkspace, snapshot: Snapshot, inputs: Inputs) -> tuple[int, int, bool]:
    """Return how many tasks of the pool lack a feature only because nobody had the time, and how many for their host.

    And whether one of them, or of the labelled tasks, may be tried at once.
    """
    pool = set(snapshot.pool) - set(inputs.pool.tasks.tolist())
    labelled = set(snapshot.labels.seen) - set(inputs.labelled.tasks.tolist())
    images = project.stores.images.all(project.id, pool | labelled)
    untried = {task for task, image in images.items() if image.attempts == 0}
    now = time.time()
    held_back = sum(images[task].problem is not None for task in untried & pool)
    return len(untried & pool), held_back, any(may_try(images[task], now) for task in untried)


def _notes_on_waiting(project: ProjectWorkspace, waiting: int) -> list[str]:
    if not waiting:
        return []
    features = f"The features of {_images(waiting)} are still to be made by this backbone; later rounds go on."
    return still_to_read(every_image(project)) or [features]


def _unreadable(project: ProjectWorkspace) -> ImageError:
    reason = _reason(project)
    return ImageError(f"None of the project's images can be read. {reason}", "Run `clinical doctor` for the cure.")
