"""Stage 1: read the project back from Label Studio, which is the truth."""

from __future__ import annotations

import logging
import time
from dataclasses import astuple, dataclass, field, replace
from typing import TYPE_CHECKING

from clinical_backend.errors import ModelError
from clinical_backend.labelstudio.labeling.fields import lookup
from clinical_backend.labelstudio.labeling.task_fields import count_fields
from clinical_backend.multilabel import disputed
from clinical_backend.origins import Draw
from clinical_backend.rounds.ledger import enter
from clinical_backend.rounds.page_tags import with_page_tags
from clinical_backend.rounds.reader_notes import note_readers
from clinical_backend.rounds.reserve import draw_if_asked, join_patients, notes_on_reserve, read_answers
from clinical_backend.rounds.second_readings.candidates import note_double_readings
from clinical_backend.storage.opening import identity_of
from clinical_backend.strategy.groups import group_key
from clinical_backend.strategy.target import find_target
from clinical_backend.study import address_of_images
from clinical_backend.text import printable
from clinical_backend.workspace.controls import read_as_set
from clinical_backend.workspace.file_pages import pages_shown
from clinical_backend.workspace.kept_answers import KeptAnswers, forget_answers, save_answers
from clinical_backend.workspace.outside_features import outside_findings
from clinical_backend.workspace.project_options import settings_of_reading
from clinical_backend.workspace.word_scores import worded_findings

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from clinical_backend.labelstudio.labeling.labels import Labels
    from clinical_backend.labelstudio.labeling.scheme import LabelingScheme
    from clinical_backend.labelstudio.resources import Project, Task
    from clinical_backend.project_settings import Preannotate
    from clinical_backend.settings import Settings
    from clinical_backend.storage.schema import TaskLabel
    from clinical_backend.strategy.target import Target
    from clinical_backend.study import StudyImage
    from clinical_backend.workspace.workspace import ProjectWorkspace

__all__ = ["Snapshot", "snapshot_of", "synchronise"]

logger = logging.getLogger(__name__)

_LIST_ALL_AFTER = 3600.0
"""Seconds after which all tasks are listed again, in case an image's address was edited, of which no webhook tells.
Rounds between list new tasks alone, so that their time does not grow with the project."""

_LONGEST_SITE = 100
"""Characters: names of sites and scanners are shorter, and a field named by mistake may hold a report."""

_WITHHELD = (
    "Label Studio fails in giving this task (status 500), to readers too: what it holds is no text, such as half a"
    " character. Delete it, and import it again without."
)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A project as it stood when a round began.

    Attributes
    ----------
    settings
        The project's: those of a round, whatever is changed while it runs.
    project
        As Label Studio has it.
    scheme
        What its labeling config asks.
    labels
        What readers said so far.
    pool
        Tasks without any answer, ascending; a task that was skipped and is offered to other readers is among them.
    newest_task
        Greatest id of a task; 0 without one.
    target
        What the round looks for.
    groups
        What stands for the patient or study of each task that names one.
    reserved
        Tasks of the test set, which are in nothing of the above.
    reserve_notes
        What a person should know of these.
    """

    settings: Settings
    project: Project
    scheme: LabelingScheme
    labels: Labels
    pool: tuple[int, ...]
    newest_task: int
    target: Target
    groups: Mapping[int, str] = field(default_factory=dict)
    reserved: frozenset[int] = frozenset()
    reserve_notes: tuple[str, ...] = ()

    @property
    def aside(self) -> frozenset[int]:
        """Tasks of which no copy needs to be queued: those with an answer, and those of the test set."""
        return self.labels.answered | self.reserved

    @property
    def preannotate(self) -> Preannotate:
        """Return PREANNOTATE as it can hold in a queue.

        Where a task has several readers, none may be led by what it shows; where they answer image by image, the label
        of a task says nothing of single ones.
        """
        return "off" if self.project.maximum_annotations > 1 or self.scheme.per_item else self.settings.preannotate


def synchronise(project: ProjectWorkspace) -> Snapshot:
    """Read tasks, labels and tags back, and bring the own state in line with them.

    Raises
    ------
    LabelingConfigError
        When the labeling config cannot be learnt from.
    LabelStudioError
        When Label Studio cannot be read.
    """
    client, stores, settings = project.client, project.stores, project.settings
    remote = client.project(project.id)
    # Also one that is refused: its page shows which controls there are to choose from.
    stores.projects.change(project.id, label_config=remote.label_config)
    scheme = read_as_set(remote.label_config, settings)
    all_listed = _synchronise_tasks(project, remote, scheme, settings)
    join_patients(project, settings)
    names = all_listed and settings.show_readers == "names"
    labels, blind = read_answers(
        project, remote, scheme, settings, by_reader=settings.show_readers != "off", names=names
    )
    draw_if_asked(project, labels, settings)
    scheme = replace(scheme, deciding=labels.deciding)
    for message in labels.messages:
        logger.warning("Project %d: %s", project.id, message)
    if stores.rounds.published_report(project.id).class_control not in {None, scheme.class_control}:
        stores.second_readings.forget_outcomes(project.id)
    read_again = note_double_readings(project, labels)
    note_readers(project, labels, blind, settings)
    ledger = enter(project.id, stores.labels.all(project.id), labels, stores.rounds, read_again=read_again)
    stores.labels.replace(project.id, ledger)
    _keep_answers(project, KeptAnswers(remote, labels, settings_of_reading(settings)))
    known = project.row
    declined = known.declined if known else ()
    snapshot = snapshot_of(project, settings, remote, scheme, labels, ledger=ledger, declined=declined)
    return replace(snapshot, reserve_notes=notes_on_reserve(project, blind, settings))


def snapshot_of(
    project: ProjectWorkspace,
    settings: Settings,
    remote: Project,
    scheme: LabelingScheme,
    labels: Labels,
    *,
    ledger: Sequence[TaskLabel],
    declined: Sequence[str],
    reserving: frozenset[int] = frozenset(),
) -> Snapshot:
    """Return a project as these settings have a round see it, from what was read back and is stored by now.

    Parameters
    ----------
    settings
        The project's, or what they might be.
    labels
        As read back, without the tags of pages.
    ledger
        The same with their origins.
    declined
        Classes that the lead does not look for.
    reserving
        Tasks that count as of the test set, though they are not drawn yet.
    """
    stores = project.stores
    reserved = stores.test_sets.ids(project.id) | reserving
    tags = stores.page_tags.open(project.id)
    labels = with_page_tags(labels, [tag for task, tag in tags.items() if task not in reserving])
    tasks = stores.images.tasks(project.id)
    pool = tuple(task_id for task_id in tasks if task_id not in labels.answered and task_id not in reserved)
    target = find_target(
        labels.seen,
        labels.exemplars,
        labels.counter_exemplars,
        settings.rare_classes,
        scheme.classes,
        targeted=[entry.task_id for entry in ledger if entry.draw is Draw.TARGET],
        for_classifier=[entry.task_id for entry in ledger if entry.draw is Draw.MARGIN],
        disputed={task: disputed([name for _, name in answers]) for task, answers in labels.disputed.items()},
        declined=declined,
        stands_for=labels.stands_for,
        outside=outside_findings(project),
        words=worded_findings(project),
    )
    groups = stores.images.groups(project.id)
    newest = tasks[-1] if tasks else 0
    return Snapshot(settings, remote, scheme, labels, pool, newest, target, groups, reserved)


def _keep_answers(project: ProjectWorkspace, answers: KeptAnswers) -> None:
    """Keep what was read back for the page of the settings; a round goes on without, since readers need its queue."""
    try:
        save_answers(project.settings_preview_folder, answers)
    except ModelError as error:
        forget_answers(project.settings_preview_folder)
        logger.warning("Project %d: the effect of settings is not shown: %s", project.id, error)


def _synchronise_tasks(project: ProjectWorkspace, remote: Project, scheme: LabelingScheme, settings: Settings) -> bool:
    """Take over new tasks; list them all where the count shows that some are gone, and once an hour.

    Returns
    -------
    bool
        Whether all were listed.
    """
    client, stores = project.client, project.stores
    group_field, site_field = settings.group_field, settings.site_field
    known = stores.images.tasks(project.id)
    row = stores.projects.get(project.id)
    recently = row is not None and 0 <= time.time() - row.listed_at < _LIST_ALL_AFTER
    salt = identity_of(stores.database)
    limit = project.workspace.settings.images_per_task

    def take_over(tasks: Sequence[Task], *, complete: bool) -> None:
        images = pages_shown(project, _images(tasks, scheme, limit))
        uris = _addresses(images)
        groups = {
            task.id: group_key(lookup(task.data, group_field.removeprefix("$")), salt) if group_field else None
            for task in tasks
        }
        sites = {task.id: _site(task, site_field) for task in tasks}
        stores.images.synchronise(project.id, uris, complete=complete, groups=groups, sites=sites)
        stores.studies.synchronise(project.id, images, complete=complete)
        stores.images.without_address(project.id, _reasons([task for task in tasks if not uris[task.id]], scheme))

    if known and recently and row is not None and (row.grouped_by, row.sited_by) == (group_field, site_field):
        # On SQLite Label Studio gives a deleted task's number to the next one imported, if it was the highest.
        newest = known[-1]
        tasks = client.tasks(project.id, after_id=newest - 1)
        uris = _addresses(pages_shown(project, _images(tasks, scheme, limit)))
        same = all(uris.get(newest) == image.uri for image in stores.images.all(project.id, [newest]).values())
        if same and len(uris.keys() | known) == remote.task_number:
            take_over(tasks, complete=False)
            return False
    tasks = client.tasks(project.id)
    take_over(tasks, complete=True)
    shown = {field for view in scheme.every_view for field in view.value.fields}
    stores.projects.change(
        project.id,
        listed_at=time.time(),
        grouped_by=group_field,
        sited_by=site_field,
        task_fields=[astuple(field) for field in count_fields((task.data for task in tasks), without=shown)],
    )
    return True


def _site(task: Task, field: str | None) -> str | None:
    """Return where a task comes from, if a field says so in text or as a number."""
    value = lookup(task.data, field.removeprefix("$")) if field else None
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    return printable(str(value).strip(), _LONGEST_SITE) or None


def _images(tasks: Iterable[Task], scheme: LabelingScheme, limit: int) -> dict[int, tuple[StudyImage, ...]]:
    return {task.id: scheme.images_of(task.data, limit) for task in tasks}


def _addresses(images: Mapping[int, Sequence[StudyImage]]) -> dict[int, str]:
    return {task: address_of_images(shown) for task, shown in images.items()}


def _reasons(tasks: Iterable[Task], scheme: LabelingScheme) -> dict[int, str]:
    """Return why tasks have no address of an image."""
    return {task.id: _WITHHELD if task.withheld else " ".join(scheme.problem_of(task.data)) for task in tasks}
