"""Bring a project to where it should be: connected, ranked with all that readers said, old queues gone."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

from clinical_backend.errors import (
    ClinicalError,
    InstallationError,
    LabelStudioError,
    NotConnectedError,
    OtherModelError,
    ProjectBusyError,
    RoundAbandonedError,
    StorageError,
)
from clinical_backend.labelstudio.connection.connect import repair
from clinical_backend.labelstudio.urls import same_url, webhook_url
from clinical_backend.logs import log_context
from clinical_backend.project_settings import ProjectOptions
from clinical_backend.rounds.blind_readings import attend
from clinical_backend.rounds.drift import Drift, attend_drift, change_drift, rests, wanted_of
from clinical_backend.rounds.due import STILL_TO_READ, request_if_changed
from clinical_backend.rounds.publish import find_switched
from clinical_backend.rounds.retention import clear_up
from clinical_backend.rounds.round import run_round
from clinical_backend.rounds.second_readings.overlap import settle
from clinical_backend.rounds.serving_backbone import note_serving, with_serving_backbone
from clinical_backend.storage.schema import RoundState
from clinical_backend.storage.stores.projects import LONGEST_WAIT
from clinical_backend.system.deadline import DeadlinePassed
from clinical_backend.workspace.known_images import recheck_images
from clinical_backend.workspace.lock import leased_project
from clinical_backend.workspace.registration import find_project

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from clinical_backend.labelstudio.resources import Project, Webhook
    from clinical_backend.storage.schema import Round
    from clinical_backend.workspace.workspace import ProjectWorkspace

__all__ = ["reconcile"]

logger = logging.getLogger(__name__)

_FIRST_RETRY = 5.0  # Label Studio, or a disk, may be back at once; it doubles each time
_NO_MEMORY = "There was not enough memory for the round. Give the backend more, or set a smaller IMAGE_SIZE."


def reconcile(project: ProjectWorkspace, *, look: bool) -> None:
    """Do what is due for a project, one process at a time, and one round of it at most: others wait for their turn.

    Parameters
    ----------
    project
        The project. One that another process is at is left to it.
    look
        Whether to compare with Label Studio even if nothing is known to be due: no webhook may have told.
    """
    try:
        if project.row is None:
            return
        with leased_project(project):
            project = with_serving_backbone(project)
            _recover(project)
            _attend(project, look=look)
        if look:
            project.stores.leases.discard()
    except ProjectBusyError:
        logger.debug("Project %d is being attended to by another process", project.id)
    except RoundAbandonedError as error:
        logger.warning("Project %d: %s", project.id, error)
    except StorageError as error:
        # Where it could be noted cannot be written either; the next look goes on from here.
        logger.warning("Project %d: %s", project.id, error)


def _recover(project: ProjectWorkspace) -> None:
    """Make rounds due again that were cut off: holding the lease, nobody else can be at them."""
    switched = _note_switch(project)
    if switched is not None and project.stores.rounds.abandon_running(project.id) and not switched:
        logger.warning("Project %d: a round was cut off; it is run again", project.id)
        project.stores.projects.request_round(project.id, "the last round was cut off", delay=0)


def _note_switch(project: ProjectWorkspace, round_id: int | None = None) -> bool | None:
    """Publish the round, or that one, that was cut off after the switch, since readers have it; tell whether one was.

    Run again, it would leave the labels that come from its queue without their draws. ``None`` while Label Studio does
    not tell what readers have.
    """
    try:
        row = find_switched(project, round_id)
    except LabelStudioError as error:
        logger.warning("Project %d: what readers have cannot be told yet: %s", project.id, error)
        return None
    if row is None:
        return False
    counts = row.report.counts
    aside = counts.skipped_in_queue + counts.second_readings
    size = counts.queue + counts.second_readings
    project.stores.rounds.publish(row, row.report, size, row.switched_at, aside=aside)
    logger.info("Project %d: readers have the queue of round %d, which was cut off then", project.id, row.number)
    return True


def _attend(project: ProjectWorkspace, *, look: bool) -> None:
    stores = project.stores
    row = stores.projects.get(project.id)
    if row is None:
        return
    unwired = None
    try:
        if look or row.wiring_due:
            unwired = _compare(project, look=look)
    except RoundAbandonedError:
        raise
    except ClinicalError as error:
        _note(project, error)
    if not _may_run(project) or isinstance(unwired, NotConnectedError):
        return
    due = stores.rounds.start(project.id)
    if due is not None and not _run(with_serving_backbone(project), due):  # a change may be what makes it due
        return
    row = stores.projects.get(project.id)
    if unwired is not None and row is not None and row.problem is None:  # a published round takes back what was wrong
        stores.projects.change(project.id, problem=str(unwired))


def _compare(project: ProjectWorkspace, *, look: bool) -> ClinicalError | None:
    """Compare a project with Label Studio, and return what is in the way of its connection."""
    remote = find_project(project)
    if remote is None:
        logger.info("Project %d is gone from Label Studio: it is forgotten", project.id)
        project.stores.projects.forget(project.id)
        project.forget_files()
        return None
    _begin_anew_if_replaced(project, remote)
    hooks = project.client.webhooks(project.id)
    if _stands_back(project, remote, hooks):
        return None
    unwired = _attend_connection(project, remote, hooks, look=look)
    compared = [_is_done(step, project, remote) for step in (request_if_changed, settle, attend)]
    if look:
        recheck_images(project)
    if unwired is None and all(compared):
        _note_recovery(project)
    return unwired


def _is_done(step: Callable[[ProjectWorkspace, Project], None], project: ProjectWorkspace, remote: Project) -> bool:
    """Do a part of the comparison, and tell whether nothing was in its way: the others, and rounds, go on without."""
    try:
        step(project, remote)
    except (RoundAbandonedError, StorageError):
        raise
    except ClinicalError as error:
        _note(project, error)
        return False
    return True


def _may_run(project: ProjectWorkspace) -> bool:
    """Tell whether rounds may run: no other installation serves the project, and readers are to follow the queue."""
    projects = project.stores.projects
    row = projects.get(project.id)
    if row is None:
        return False
    reason = row.standing_back or rests(row)
    if reason is not None and row.request is not None:  # otherwise it would be looked at again each second
        logger.info("Project %d: the round that is due waits. %s", project.id, reason)
        wait = min(LONGEST_WAIT, project.workspace.settings.reconcile_seconds)  # a longer one counts as over
        projects.change(project.id, not_before=time.time() + wait)
    return reason is None


def _note(project: ProjectWorkspace, error: ClinicalError) -> None:
    logger.warning("Project %d: %s", project.id, error)
    project.stores.projects.change(project.id, problem=str(error))


def _note_recovery(project: ProjectWorkspace) -> None:
    """Take back what was wrong with looking; what is wrong with rounds stays until one is published."""
    row = project.row
    if row is not None and row.problem is not None and not row.failures:
        project.stores.projects.change(project.id, problem=None)


def _begin_anew_if_replaced(project: ProjectWorkspace, remote: Project) -> None:
    """Forget what was kept of another project under the same id (Label Studio was set up anew)."""
    projects = project.stores.projects
    known = projects.get(project.id)
    created = remote.created_at.isoformat()
    if known is not None and known.created not in (None, created):
        logger.warning("Project %d is another one than before: its state begins anew", project.id)
        projects.forget(project.id)
        project.forget_files()
        projects.register(project.id, known.options, settings=ProjectOptions.model_fields)
    projects.change(project.id, created=created, title=remote.title)


def _stands_back(project: ProjectWorkspace, remote: Project, hooks: Sequence[Webhook]) -> bool:
    """Tell whether another installation serves a project; then nothing is changed there, and that is said."""
    projects = project.stores.projects
    try:
        project.installation.require_alone(remote, hooks, project.workspace.settings.public_url)
    except InstallationError as error:
        _note(project, error)
        projects.change(project.id, standing_back=str(error), wiring_due=False)
        return True
    row = projects.get(project.id)
    if row is not None and row.standing_back is not None:
        logger.info("Project %d: no other installation serves it any more", project.id)
        projects.change(project.id, standing_back=None, wiring_due=True, not_before=0.0)
    return False


def _attend_connection(
    project: ProjectWorkspace, remote: Project, hooks: Sequence[Webhook], *, look: bool
) -> ClinicalError | None:
    """See to the connection: set everything once, then attend to what is changed there."""
    row = project.stores.projects.get(project.id)
    if row is None:
        return None
    if Drift.of(row).wired:
        return _attend_drift(project, remote, hooks, look=look)
    connected = any(same_url(hook.url, webhook_url(project.workspace.settings.public_url)) for hook in hooks)
    return _repair_wiring(project) if row.wiring_due or connected else None


def _attend_drift(
    project: ProjectWorkspace, remote: Project, hooks: Sequence[Webhook], *, look: bool
) -> ClinicalError | None:
    """Attend to what is changed, or return what is in the way of that, which keeps no round away."""
    projects = project.stores.projects
    before = projects.get(project.id)
    try:
        attend_drift(project, remote, hooks, look=look)
    except ClinicalError as error:
        _note(project, error)
        return error
    projects.change(project.id, wiring_due=False)
    now = projects.get(project.id)
    if before is not None and now is not None and (rests(before) or Drift.of(before).restore) and not rests(now):
        projects.change(project.id, not_before=0.0)
    return None


def _repair_wiring(project: ProjectWorkspace) -> ClinicalError | None:
    """Check the connection and repair it, or return what is in the way, which keeps no round away."""
    row = project.row
    try:
        changes = [] if row is None else repair(project.client, project.id, wanted_of(project, row))
    except ClinicalError as error:
        _note(project, error)
        return error
    for change in changes:
        logger.info("Project %d: %s", project.id, change.detail)
    project.stores.projects.change(project.id, wiring_due=False)
    change_drift(project, lambda drift: setattr(drift, "wired", True))
    return None


def _run(project: ProjectWorkspace, row: Round) -> bool:
    """Run one round and clear up after it; tell whether it came to its end."""
    logger.info("Project %d: round %d begins, because %s", project.id, row.number, row.request)
    try:
        with log_context(round=row.number):
            goes_on = run_round(project, row)
    except RoundAbandonedError as error:
        logger.warning("Project %d, round %d: %s", project.id, row.number, error)
    except (InstallationError, OtherModelError) as error:
        # Nothing failed: the round is run again when this one may publish.
        logger.warning("Project %d, round %d: %s", project.id, row.number, error)
        project.stores.rounds.call_off(row.id, str(error))
        project.stores.projects.request_round(project.id, row.request)
        if isinstance(error, InstallationError):
            project.stores.projects.change(project.id, standing_back=str(error), problem=str(error))
    except ClinicalError as error:
        logger.warning("Project %d, round %d: %s", project.id, row.number, error)
        _fail(project, row.id, str(error))
    except DeadlinePassed as passed:
        _fail(project, row.id, str(passed.late))
        raise
    except MemoryError:
        logger.exception("Project %d, round %d: there was not enough memory", project.id, row.number)
        _fail(project, row.id, _NO_MEMORY)
    except Exception:
        # The worker must outlive a fault of ours; the log holds it whole, the database only that it was.
        logger.exception("Project %d, round %d failed by a fault of the backend", project.id, row.number)
        _fail(project, row.id, "The round failed by a fault of the backend. Its log says more.")
    else:
        note_serving(project)
        clear_up(project)
        if goes_on:
            project.stores.projects.request_round(project.id, STILL_TO_READ)
        return True
    return False


def _fail(project: ProjectWorkspace, round_id: int, problem: str) -> None:
    """Keep the old queue, and try again after a wait that doubles with each failure in a row."""
    stores = project.stores
    if _note_switch(project, round_id) is not False:
        return  # readers have its queue, or the next look tells whether they do
    failures = stores.rounds.fail(round_id, project.id, problem, state=RoundState.FAILED)
    delay = min(LONGEST_WAIT, _FIRST_RETRY * 2.0 ** (failures - 1))
    stores.projects.request_round(project.id, "the last round failed", delay=delay)
