"""Going back: the queue and the model of an earlier round, published again."""

from __future__ import annotations

import logging
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from clinical_backend.errors import ClinicalError, LabelStudioError, ProjectBusyError, StorageError
from clinical_backend.labelstudio.publisher import Publisher
from clinical_backend.learner.checkpoint import load_checkpoint, load_held_out, save_checkpoint
from clinical_backend.rounds.blind_readings import try_to_attend
from clinical_backend.rounds.drift import rests
from clinical_backend.rounds.due import reason_for_model
from clinical_backend.rounds.publish import as_served, find_switched, publish
from clinical_backend.rounds.questions import questions_of_round
from clinical_backend.rounds.retention import clear_up, earlier_rounds
from clinical_backend.rounds.second_readings.overlap import try_to_settle
from clinical_backend.rounds.sync import synchronise
from clinical_backend.storage.report import Preannotation, PromotionReport, SecondLook
from clinical_backend.strategy.preannotation import preannotations
from clinical_backend.strategy.tasks import RankedTask
from clinical_backend.workspace.known_images import without_copies
from clinical_backend.workspace.lock import leased_project
from clinical_backend.workspace.witness_files import copy_image_models

if TYPE_CHECKING:
    from clinical_backend.labelstudio.labeling.scheme import LabelingScheme
    from clinical_backend.labelstudio.publisher import Published
    from clinical_backend.rounds.sync import Snapshot
    from clinical_backend.storage.report import RoundReport
    from clinical_backend.storage.schema import QueuedTask, Round
    from clinical_backend.workspace.workspace import ProjectWorkspace

__all__ = ["roll_back", "what_follows"]

logger = logging.getLogger(__name__)

_WAIT_SECONDS = 30.0
"""For a round that runs: one without new images takes seconds, and a person waits at the page for longer ones."""


def roll_back(project: ProjectWorkspace, number: int) -> Round:
    """Publish the queue and the model of an earlier round again, as a round of its own.

    Those tasks of the queue are in it that are not annotated yet, in their order. Readers keep the present queue until
    the one switch. Later rounds go on as usual: the next one that is due learns from all labels and is published,
    unless it is worse on the rare classes than the model that was gone back to.

    Parameters
    ----------
    project
        The project.
    number
        Number of the round to go back to.

    Returns
    -------
    Round
        The new round.

    Raises
    ------
    StorageError
        When that round is not kept, or a round is running.
    ClinicalError
        When something is in the way. Nothing that readers see has changed then.
    """
    try:
        with leased_project(project, seconds=_WAIT_SECONDS):
            return _roll_back(project, _kept(project, number))
    except ProjectBusyError:
        raise StorageError(
            f"A round of project {project.id} is running.", "Try again when `clinical status` shows its end."
        ) from None


def what_follows(project: ProjectWorkspace, gone_back_to: Round) -> list[str]:
    """Return what a lead should know of a round that is gone back to, before and after, for people.

    Whether another round takes its place by itself, and whether its model can still predict. A network that is not
    loaded yet takes seconds.
    """
    row, said = project.row, []
    due = None if row is None else row.request or reason_for_model(project, gone_back_to)
    if row is not None and due is not None:
        resting = row.standing_back or rests(row)
        when = f"once rounds run again. {resting}" if resting else "as soon as it has run."
        said.append(f"A round is due ({due}), and takes the place of round {gone_back_to.number} {when}")
    version = gone_back_to.version
    if project.checkpoint_folder(version).is_dir() and project.published_model(version) is None:
        said.append(
            f"The model of round {gone_back_to.number} cannot be used with the features that are made by now, so"
            " nothing is predicted on demand until the next round."
        )
    return said


def _kept(project: ProjectWorkspace, number: int) -> Round:
    earlier = earlier_rounds(project)
    if number in earlier:
        return earlier[number]
    choice = (
        f"Choose of {', '.join(map(str, sorted(earlier)))}." if earlier else "There is no earlier one to go back to."
    )
    published = project.stores.rounds.published(project.id)
    if published is not None and number == published.number:
        raise StorageError(f"Round {number} of project {project.id} is the published one.", choice)
    raise StorageError(f"Round {number} of project {project.id} is not kept.", choice)


def _roll_back(project: ProjectWorkspace, earlier: Round) -> Round:
    rounds = project.stores.rounds
    row = rounds.begin_rollback(project.id, earlier.number)
    logger.info("Project %d: round %d is a %s", project.id, row.number, row.request)
    try:
        snapshot, published, report = _publish(project, row, earlier)
    except ClinicalError as error:
        if not _may_be_served(project, row):
            rounds.call_off(row.id, str(error))
        raise
    aside = report.counts.skipped_in_queue
    rounds.publish(row, report, len(published.task_ids), published.switched_at, aside=aside)
    try_to_settle(project, snapshot.project)
    try_to_attend(project, snapshot.project)
    clear_up(project)
    return row


def _may_be_served(project: ProjectWorkspace, row: Round) -> bool:
    """Tell whether readers may have the queue of a rollback that failed: then the next look at the project tells."""
    try:
        return find_switched(project, row.id) is not None
    except LabelStudioError:
        return True


def _publish(project: ProjectWorkspace, row: Round, earlier: Round) -> tuple[Snapshot, Published, RoundReport]:
    stores = project.stores
    snapshot = synchronise(project)
    pool, _ = without_copies(stores.images.digests(project.id), snapshot.pool, snapshot.aside)
    waiting = set(pool)
    ranked = [
        _ranked(queued, snapshot.scheme) for queued in stores.rounds.queue(earlier.id) if queued.task_id in waiting
    ]
    if not ranked:
        raise StorageError(
            f"Every task in the queue of round {earlier.number} is annotated by now.",
            "Go back to another round, or let a new one run.",
        )
    folder = project.checkpoint_folder(earlier.version)
    recipe = earlier.report.recipe
    if recipe.settings:  # what is ticked goes by the settings of today
        recipe = replace(recipe, settings={**recipe.settings, "preannotate": snapshot.settings.preannotate})
    if folder.is_dir():
        classifier, metadata = load_checkpoint(folder)
        kept = project.checkpoint_folder(row.version)
        save_checkpoint(kept, classifier, metadata, load_held_out(folder))
        recipe = replace(recipe, model_round=metadata.round, model_sha256=classifier.digest)
        copy_image_models(folder, kept)
    mode, proven = snapshot.preannotate, earlier.report.preannotation or Preannotation()
    confident = {task: label for task, label in proven.classes.items() if snapshot.scheme.has(label)}
    ticked = preannotations(mode, ranked, confident, snapshot.scheme.classes)
    report = replace(
        earlier.report,
        questions=questions_of_round(project, snapshot),
        class_control=snapshot.scheme.class_control,
        not_learnt=tuple(snapshot.scheme.not_learnt),
        counts=replace(
            earlier.report.counts,
            pool=len(waiting),
            labelled=len(snapshot.labels.classes),
            unread=len(snapshot.labels.unread),
        ),
        promotion=PromotionReport(True, row.request),
        preannotation=replace(proven, mode=mode),
        second_look=SecondLook(),
        seconds={},
        recipe=recipe,
        doubtful_labels=snapshot.labels.messages,
        notes=snapshot.labels.messages,
    )
    served = partial(as_served, skipped=snapshot.labels.skipped)
    project.require_alone()
    published = publish(
        stores,
        Publisher(project.client, project.stores.database.require_fence),
        snapshot.scheme,
        row,
        ranked,
        ticked,
        ready=lambda tasks: stores.rounds.prepare(row, served(report, tasks), project.client.server_time()),
    )
    return snapshot, published, served(report, published.task_ids)


def _ranked(queued: QueuedTask, scheme: LabelingScheme) -> RankedTask:
    known = queued.predicted is not None and scheme.has(queued.predicted)  # a class may have been removed since
    return RankedTask(
        queued.task_id,
        queued.draw,
        queued.predicted if known else None,
        queued.probability if known else None,
        queued.rare_probability,
        queued.nearest_exemplar,
        queued.similarity,
        queued.chance,
        queued.chance_low,
        queued.chance_high,
        tuple(queued.targets or ()),
        queued.image,
        queued.images,
        queued.view,
        queued.words,
    )
