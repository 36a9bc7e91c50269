"""The command that brings images of an archive into a project."""

from __future__ import annotations

from contextlib import ExitStack, closing, contextmanager, nullcontext
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from clinical_backend.commands.archive_options import (
    CaFile,
    Certificate,
    DicomWebUrl,
    Key,
    Match,
    Modality,
    PasswordFile,
    Report,
    Series,
    Sources,
    Study,
    TokenFile,
    User,
    open_source,
    refuse_archive,
)
from clinical_backend.commands.passed_over import telling_passed_over
from clinical_backend.commands.shared import Project, opened_workspace, read_settings
from clinical_backend.commands.terminal import progress_bar, say
from clinical_backend.errors import ArchiveError, LabelingConfigError, SettingsError
from clinical_backend.text import amount

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from contextlib import AbstractContextManager

    from clinical_backend.archive.found import Found, PassedOver, Source
    from clinical_backend.archive.places import Place
    from clinical_backend.archive.plan import PlannedTask
    from clinical_backend.archive.rendering import PictureMaker
    from clinical_backend.labelstudio.labeling.scheme import LabelingScheme
    from clinical_backend.labelstudio.project_import import ProjectImport
    from clinical_backend.workspace.workspace import ProjectWorkspace

__all__ = ["import_images"]

_PROCESSES = 2  # that decode; the archive, the disk and Label Studio are waited for meanwhile


def import_images(
    project: Project,
    sources: Sources = None,
    group: Annotated[
        Literal["series", "study"],
        typer.Option(help="What makes a task, where the labeling config shows a list of images."),
    ] = "series",
    to: Annotated[
        Literal["auto", "uploads", "files"],
        typer.Option(
            help="Where pictures are kept: uploaded to Label Studio, or in files below LOCAL_FILES_DOCUMENT_ROOT, "
            "which auto takes where it is set and Label Studio serves it."
        ),
    ] = "auto",
    year: Annotated[bool, typer.Option("--year", help="Let tasks say in which year a study was made.")] = False,
    secondary_captures: Annotated[
        bool,
        typer.Option("--secondary-captures", help="Import them too, although they often show names in their pixels."),
    ] = False,
    convert: Annotated[
        bool,
        typer.Option("--convert", help="Make pictures for the project's own tasks that point to DICOM or TIFF files."),
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be imported, and change nothing.")] = False,
    report: Report = None,
    dicomweb: DicomWebUrl = None,
    study: Study = None,
    series: Series = None,
    modality: Modality = None,
    match: Match = None,
    user: User = "",
    password_file: PasswordFile = None,
    token_file: TokenFile = None,
    client_certificate: Certificate = None,
    client_key: Key = None,
    ca_file: CaFile = None,
) -> None:
    """Bring DICOM images into a project as pictures that readers see, without what names the patient.

    Run it again to go on: nothing is imported twice.
    """
    if convert:
        refuse_archive(
            "--convert takes the project's own tasks",
            sources=sources,
            dicomweb=dicomweb,
            study=study,
            series=series,
            modality=modality,
            match=match,
            year=year,
        )
    with ExitStack() as opened:
        passed_over = opened.enter_context(telling_passed_over(report))
        source = None
        if not convert:
            source = opened.enter_context(
                open_source(
                    sources,
                    dicomweb,
                    study=study,
                    series=series,
                    modality=modality,
                    match=match,
                    user=user,
                    password_file=password_file,
                    token_file=token_file,
                    client_certificate=client_certificate,
                    client_key=client_key,
                    ca_file=ca_file,
                )
            )
        chosen = opened.enter_context(opened_workspace(read_settings())).project(project)
        opened.enter_context(_alone(chosen, dry_run=dry_run))
        if source is None:
            _convert(chosen, to, secondary_captures, dry_run, passed_over)
        else:
            _import(chosen, source, group, to, year, secondary_captures, dry_run, passed_over)


def _alone(project: ProjectWorkspace, *, dry_run: bool) -> AbstractContextManager[None]:
    """Keep another import out of the project: it would make the same pictures, and the same tasks."""
    from clinical_backend.workspace.lock import import_lock

    return nullcontext() if dry_run else import_lock(project)


def _import(
    project: ProjectWorkspace,
    source: Source,
    group: Literal["series", "study"],
    to: str,
    year: bool,
    secondary: bool,
    dry_run: bool,
    passed_over: list[PassedOver],
) -> None:
    """Make tasks of what a source holds."""
    from clinical_backend.archive.importer import Importer, imported_tasks, once_each
    from clinical_backend.archive.plan import patients_of, plan_tasks
    from clinical_backend.archive.pseudonyms import Pseudonyms
    from clinical_backend.labelstudio.project_import import ProjectImport

    settings, client = project.workspace.settings, project.workspace.client
    scheme = _scheme(project)
    address = _address(scheme)
    importing = ProjectImport(client, project.id)
    place = _place(project, importing, to, dry_run=dry_run)  # before hours of looking
    listed = any(one.is_list for one in scheme.every_view)
    with progress_bar("Looking") as show:
        found = once_each(_counted(source, show), secondary, passed_over)
    planned = plan_tasks(
        found,
        Pseudonyms(settings.model_dir),
        grouping=group if listed else None,
        limit=settings.images_per_task,
        year=year,
    )
    before = client.project(project.id).task_number
    known = imported_tasks(client, project.id)
    new = sum(task.identity not in known for task in planned)
    say(f"{amount(len(found), 'DICOM object')}: {amount(len(planned), 'task')}, {new:,} of them new.")
    if dry_run:
        _say_example(planned)
        return
    with _pictures() as maker, progress_bar("Importing") as show:
        importer = Importer(source, place, maker, importing, secondary=secondary)
        done = importer.run(planned, known, address, lambda number: show(number, len(planned)), passed_over)
    added = client.project(project.id).task_number - before  # to list all tasks again takes seconds
    twice = added != done.tasks or any(len(ids) > 1 for ids in known.values())
    doubles = _make_one_again(project, importing, planned) if twice else 0
    patients = patients_of(task.data for task in planned)
    if len(patients) == 1:  # others may have been imported before
        patients |= patients_of(task.data for task in client.tasks(project.id))
    if len(patients) > 1:
        _keep_patients_apart(project)
    say(
        f"Added to Label Studio: {amount(done.tasks, 'task')} with {amount(done.pictures, 'picture')}.",
        mood="ok",
        leading=len("Added to Label Studio:"),
    )
    if len(patients) == 1 < len(planned):
        say("All tasks are of one patient, by PatientID: they are not kept apart, as a queue would hold few of them.")
    if doubles:
        say(f"Made one again: {amount(doubles, 'task')} that were there twice.")


def _make_one_again(project: ProjectWorkspace, importing: ProjectImport, planned: Sequence[PlannedTask]) -> int:
    """Delete what others, or a request whose sender was killed, made beside this import; return how many tasks."""
    from clinical_backend.archive.importer import imported_tasks

    ours = {task.identity for task in planned}  # no other task is deleted, whatever its data says
    found = imported_tasks(project.workspace.client, project.id)
    return importing.delete_doubles({identity: ids for identity, ids in found.items() if identity in ours})


def _keep_patients_apart(project: ProjectWorkspace) -> None:
    from clinical_backend.workspace.project_options import group_by

    project.stores.projects.register(project.id)
    if group_by(project, "patient"):
        say("Tasks of one patient are kept apart from now on: GROUP_FIELD is `patient`.")


def _convert(project: ProjectWorkspace, to: str, secondary: bool, dry_run: bool, passed_over: list[PassedOver]) -> None:
    """Make pictures for the tasks that are there."""
    from clinical_backend.archive.conversion import Converter, undrawn_tasks
    from clinical_backend.archive.pseudonyms import Pseudonyms
    from clinical_backend.labelstudio.project_import import ProjectImport
    from clinical_backend.workspace.components import open_source

    settings, client = project.workspace.settings, project.workspace.client
    scheme = _scheme(project)
    if dry_run:
        some = amount(len(undrawn_tasks(client, project.id, scheme.every_view)), "task")
        say(f"{some} may point to DICOM or TIFF files, by the endings of the addresses. Nothing was changed.")
        return
    place = _place(project, ProjectImport(client, project.id), to)
    pseudonyms = Pseudonyms(settings.model_dir)
    with _pictures() as maker, closing(open_source(settings, client)) as images, progress_bar("Converting") as show:
        limit = settings.images_per_task
        converter = Converter(client, images, place, maker, pseudonyms, limit=limit, secondary=secondary)
        done = converter.run(project.id, scheme.every_view, show, passed_over)
    say(f"Changed: {amount(done.tasks, 'task')}, with {amount(done.pictures, 'picture')} for what no browser draws.")


def _say_example(planned: Sequence[PlannedTask]) -> None:
    """Show what Label Studio would get to know."""
    if planned:
        fields = ", ".join(f"{name}={value}" for name, value in planned[0].data.items())
        say(f"Of the first one a task would say: {fields or 'nothing'}.")
    say("Nothing was imported.")


def _scheme(project: ProjectWorkspace) -> LabelingScheme:
    from clinical_backend.workspace.controls import read_as_set

    return read_as_set(project.workspace.client.project(project.id).label_config, project.settings)


def _address(scheme: LabelingScheme) -> Callable[[Sequence[str]], dict[str, Any]]:
    """Return what puts addresses into the field that the labeling config shows."""
    from clinical_backend.archive.plan import RESERVED
    from clinical_backend.labelstudio.labeling.fields import top_field

    views = scheme.every_view
    if len(views) > 1:
        raise LabelingConfigError(
            f"The labeling config has {len(views)} Image tags, and which image belongs to which is not known.",
            'Show the images of a task with one <Image name="image" valueList="$images"/>.',
        )
    field = top_field(views[0].value.fields[0])
    if field in RESERVED:
        raise LabelingConfigError(
            f"The Image takes its address from the field {field!r}, in which an import keeps something else.",
            'Show another field, such as value="$image", or valueList="$images" for a list.',
        )
    return views[0].showing


def _place(project: ProjectWorkspace, importing: ProjectImport, to: str, *, dry_run: bool = False) -> Place:
    """Return where pictures are kept, after a look whether readers can see them there, unless nothing is written."""
    from clinical_backend.archive.places import LocalFolder, Uploads
    from clinical_backend.workspace.components import open_source

    settings = project.workspace.settings
    root = settings.local_files_document_root
    if to == "uploads" or (to == "auto" and root is None):
        return Uploads(importing)
    if root is None:
        raise SettingsError(
            "LOCAL_FILES_DOCUMENT_ROOT is not set.",
            "Set it to the folder that Label Studio serves, or use --to uploads.",
        )
    place = LocalFolder(root, project.id)
    if dry_run:
        return place
    try:
        with closing(
            open_source(settings.model_copy(update={"local_files_document_root": None}), project.workspace.client)
        ) as images:
            place.open(importing, images)
    except ArchiveError as error:
        if to == "files":
            raise
        say(f"{error.problem} The pictures are uploaded instead.", mood="warning", leading=len(error.problem))
        return Uploads(importing)
    return place


def _counted(source: Source, show: Callable[[int, int | None], None]) -> Iterator[Found | PassedOver]:
    for number, one in enumerate(source.find(), 1):
        show(number, None)
        yield one


@contextmanager
def _pictures() -> Iterator[PictureMaker]:
    from clinical_backend.archive.rendering import PictureMaker

    with closing(PictureMaker(_PROCESSES)) as maker:
        yield maker
