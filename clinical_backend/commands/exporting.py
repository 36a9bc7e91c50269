"""The command that gives the answers of a project back to an archive."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from pathlib import Path  # noqa: TC003 - typer reads it
from typing import TYPE_CHECKING, Annotated

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
)
from clinical_backend.commands.passed_over import refuse_report, tell_passed_over
from clinical_backend.commands.shared import Project, opened_workspace, read_settings
from clinical_backend.commands.terminal import amount, say
from clinical_backend.errors import ArchiveError, InvalidArgumentError
from clinical_backend.system.files import write_aside

if TYPE_CHECKING:
    from collections.abc import Iterator

    from clinical_backend.workspace.workspace import ProjectWorkspace

__all__ = ["export_reports"]


def export_reports(
    project: Project,
    sources: Sources = None,
    dicom_sr: Annotated[
        Path | None, typer.Option("--dicom-sr", help="Folder that the Structured Reports are written to.")
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
    """Give what readers said of imported images back as DICOM Structured Reports, one for each study.

    SOURCE, or the archive, is what the tasks were imported from: it is searched anew. Each report names the patient, as
    its study does.
    """
    from clinical_backend.archive.dicomweb import DicomWeb
    from clinical_backend.archive.pseudonyms import Pseudonyms
    from clinical_backend.archive.study_reports import report_studies
    from clinical_backend.system.permissions import make_folder

    if dicom_sr is None and not store:
        raise InvalidArgumentError("--dicom-sr", "where the reports go is not said.", "Name a folder, or give --store.")
    refuse_report(report)
    with ExitStack() as opened:
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
        if store and not isinstance(source, DicomWeb):
            raise InvalidArgumentError("--store", "files take no reports.", "Name the archive by --dicomweb.")
        settings = read_settings()
        if dicom_sr is not None:
            with _writing():
                make_folder(dicom_sr)
        with opened_workspace(settings) as workspace:
            labels, title = _labels(workspace.project(project))
        made, passed_over = 0, []
        for one in report_studies(source, Pseudonyms(settings.model_dir), labels, title):
            if isinstance(one, PassedOver):
                passed_over.append(one)
                continue
            made += 1
            if dicom_sr is not None:
                with _writing():
                    write_aside(dicom_sr / f"{made:06}.dcm", one)
            if store and isinstance(source, DicomWeb):
                source.store(one)
    places = [*([str(dicom_sr)] if dicom_sr else []), *(["the archive"] if store else [])]
    say(
        f"{amount(made, 'report')} of {amount(len(labels), 'answered task')} in {' and in '.join(places)}.",
        leading=len(str(made)),
        mood="ok",
    )
    tell_passed_over(passed_over, report)


@contextmanager
def _writing() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ArchiveError(
            f"The reports cannot be written ({error.strerror}).", "Make room, or name another folder by --dicom-sr."
        ) from None


def _labels(project: ProjectWorkspace) -> tuple[dict[str, list[str]], str]:
    """Return what readers said of each imported task, by its identity, and the project's title."""
    from clinical_backend.archive.importer import imported_tasks
    from clinical_backend.archive.study_reports import readers_labels
    from clinical_backend.labelstudio.labeling.labels import fetch_labels
    from clinical_backend.workspace.controls import read_as_set

    client = project.workspace.client
    remote = client.project(project.id)
    said = fetch_labels(client, remote, read_as_set(remote.label_config, project.settings))
    return readers_labels(imported_tasks(client, project.id), said), remote.title
