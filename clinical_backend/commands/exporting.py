"""The command that hands a project's answers over: as a data set, or back to an archive."""

from __future__ import annotations

import shlex
import sys
from contextlib import ExitStack, contextmanager
from pathlib import Path  # noqa: TC003 - typer reads it
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from clinical_backend.archive.found import PassedOver
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
from clinical_backend.errors import ArchiveError, InvalidArgumentError, NotConnectedError
from clinical_backend.handover.export_options import ExportOptions, Form, Images
from clinical_backend.system.files import write_aside
from clinical_backend.text import amount

if TYPE_CHECKING:
    from collections.abc import Iterator

    from clinical_backend.archive.dicom_files import DicomFiles
    from clinical_backend.archive.dicomweb import DicomWeb
    from clinical_backend.archive.study_reports import StudyReport
    from clinical_backend.workspace.workspace import ProjectWorkspace

__all__ = ["export"]

_DATASET, _REPORTS = "Data set", "DICOM Structured Reports"
_USUAL = ExportOptions("csv")


def export(
    project: Project,
    sources: Sources = None,
    out: Annotated[
        Path | None,
        typer.Option(rich_help_panel=_DATASET, help="Folder that is made, with the labels and a datasheet."),
    ] = None,
    form: Annotated[
        Form, typer.Option("--format", rich_help_panel=_DATASET, help="How the labels are written.")
    ] = _USUAL.form,
    images: Annotated[
        Images,
        typer.Option(
            rich_help_panel=_DATASET,
            help="Leave images out, write their addresses (which may name a patient), or copy them as PNG.",
        ),
    ] = _USUAL.images,
    field: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME", rich_help_panel=_DATASET, help="Field of the tasks' data to hand over; by default none is."
        ),
    ] = None,
    readers: Annotated[
        Literal["pseudonym", "id"], typer.Option(rich_help_panel=_DATASET, help="How readers are named.")
    ] = "pseudonym",
    validation_share: Annotated[
        float, typer.Option(rich_help_panel=_DATASET, min=0, max=0.9, help="Share of the validation set.")
    ] = _USUAL.validation,
    test_share: Annotated[
        float, typer.Option(rich_help_panel=_DATASET, min=0, max=0.9, help="Share of the test set.")
    ] = _USUAL.test,
    seed: Annotated[int, typer.Option(rich_help_panel=_DATASET, help="Of the splits.")] = _USUAL.seed,
    dicom_sr: Annotated[
        Path | None,
        typer.Option("--dicom-sr", rich_help_panel=_REPORTS, help="Folder that the reports are written to."),
    ] = None,
    store: Annotated[
        bool, typer.Option("--store", rich_help_panel="DICOMweb", help="Send the reports to the archive (STOW-RS).")
    ] = False,
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
    """Hand over what readers said: as a data set (--out), or as DICOM Structured Reports (--dicom-sr, --store).

    A data set has each label with its origin, readers, agreement, split, and the weight that undoes the targeted
    sampling, as far as the random draws allow it. Nothing of the tasks' data goes with it but what --field names.

    For reports, SOURCE, or the archive, is what the tasks were imported from: it is searched anew. There is one for
    each study, and it names the patient, as its study does.
    """
    if out is not None:
        refuse_archive(
            "a data set takes nothing from an archive",
            sources=sources,
            study=study,
            series=series,
            modality=modality,
            match=match,
            dicomweb=dicomweb,
            store=store,
            report=report,
            **{"dicom-sr": dicom_sr},
        )
        fields = tuple(dict.fromkeys(field or ()))
        options = ExportOptions(form, images, fields, readers == "id", validation_share, test_share, seed)
        _export_dataset(project, options, out)
        return
    if dicom_sr is None and not store:
        raise InvalidArgumentError(
            "--out", "where the labels go is not said.", "Name a folder; for reports give --dicom-sr, or --store."
        )
    refuse_archive("it is of a data set", field=field, images=None if images == "none" else images)
    with ExitStack() as opened:
        passed_over = opened.enter_context(telling_passed_over(report))
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
        _export_reports(project, source, dicom_sr, passed_over, store=store)


def _export_dataset(project: int, options: ExportOptions, out: Path) -> None:
    from clinical_backend.handover.dataset_export import export_dataset

    with opened_workspace(read_settings()) as workspace:
        if workspace.stores.projects.get(project) is None:
            raise NotConnectedError(
                f"Project {project} is not connected.", f"Run `clinical connect --project {project}`."
            )
        # Where it was written says nothing to others, and the folder of a home names who made it.
        command = shlex.join(["clinical", *(one.replace(str(out), out.name) for one in sys.argv[1:])])
        with progress_bar("Exporting") as show:
            done = export_dataset(workspace.project(project), options, out, command=command, show=show)
    splits = ", ".join(f"{count:,} {name}" for name, count in done.splits.items())
    say(f"{amount(done.records, 'label')} in {out}: {splits}.", leading=len(f"{done.records:,}"), mood="ok")
    say(f"No patient or image is in two of them: {amount(done.ties, 'pair')} of tied tasks checked as written.")
    if done.missing_draws:
        missing = amount(done.missing_draws, "label")
        say(f"The weights are empty: {missing} of random draws are missing until they can be said.", mood="warning")
    if done.missing_images:
        say(f"{amount(done.missing_images, 'image')} could not be read: left out.", mood="warning")
    if done.gone:
        say(f"{amount(done.gone, 'label')} left out: Label Studio does not give their tasks.", mood="warning")


def _export_reports(
    project: int,
    source: DicomFiles | DicomWeb,
    dicom_sr: Path | None,
    passed_over: list[PassedOver],
    *,
    store: bool,
) -> None:
    from clinical_backend.archive.dicomweb import DicomWeb
    from clinical_backend.archive.pseudonyms import Pseudonyms
    from clinical_backend.archive.study_reports import report_studies, store_reports
    from clinical_backend.storage.trail import TrailAction
    from clinical_backend.system.permissions import make_folder

    if store and not isinstance(source, DicomWeb):
        raise InvalidArgumentError("--store", "files take no reports.", "Name the archive by --dicomweb.")
    settings = read_settings()
    if dicom_sr is not None:
        with _writing():
            make_folder(dicom_sr)
    with opened_workspace(settings) as workspace:
        labels, title = _labels(workspace.project(project))
        options = {"stored": store, "written": dicom_sr is not None}
        workspace.stores.trail.append(TrailAction.REPORTS_EXPORTED, project, options=options, tasks=len(labels))
    made = 0
    reports = report_studies(source, Pseudonyms(settings.model_dir), labels, title)
    if dicom_sr is not None:
        reports = _written(reports, dicom_sr)
    if store and isinstance(source, DicomWeb):
        reports = store_reports(reports, source.store)
    for one in reports:
        if isinstance(one, PassedOver):
            passed_over.append(one)
        else:
            made += 1
    places = [*([str(dicom_sr)] if dicom_sr else []), *(["the archive"] if store else [])]
    say(
        f"{amount(made, 'report')} of {amount(len(labels), 'answered task')} in {' and in '.join(places)}.",
        leading=len(str(made)),
        mood="ok",
    )


def _written(reports: Iterator[StudyReport | PassedOver], folder: Path) -> Iterator[StudyReport | PassedOver]:
    """Yield reports once they are in a folder."""
    for one in reports:
        if not isinstance(one, PassedOver):
            with _writing():
                write_aside(folder / f"{one.study}.dcm", one.content)
        yield one


@contextmanager
def _writing() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ArchiveError(
            f"The reports cannot be written ({error.strerror}).", "Make room, or name another folder by --dicom-sr."
        ) from None


def _labels(project: ProjectWorkspace) -> tuple[dict[str, list[str]], str]:
    """Return what readers said of each imported task, by its identity, and the project's title.

    The test set is left out, as from every export.
    """
    from clinical_backend.archive.importer import imported_tasks
    from clinical_backend.archive.study_reports import readers_labels
    from clinical_backend.labelstudio.labeling.retrieval import fetch_labels_apart
    from clinical_backend.workspace.controls import read_as_set

    client = project.workspace.client
    remote = client.project(project.id)
    reserved = project.stores.test_sets.ids(project.id)
    said, _ = fetch_labels_apart(client, remote, read_as_set(remote.label_config, project.settings), reserved)
    return readers_labels(imported_tasks(client, project.id), said), remote.title
