"""The command that gives the answers of a project back to an archive."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 - typer reads it
from typing import TYPE_CHECKING, Annotated

import typer

from clinical_backend.commands.passed_over import tell_passed_over
from clinical_backend.commands.shared import Project, opened_workspace, read_settings
from clinical_backend.commands.terminal import say

if TYPE_CHECKING:
    from clinical_backend.workspace.workspace import ProjectWorkspace

__all__ = ["export_reports"]

_NO_FINDING = "no finding"


def export_reports(
    project: Project,
    dicom_sr: Annotated[Path, typer.Option("--dicom-sr", help="Folder that the Structured Reports are written to.")],
    sources: Annotated[list[Path], typer.Argument(metavar="SOURCE...", help="What the tasks were imported from.")],
    report: Annotated[
        Path | None, typer.Option(help="Write what was passed over, and why, to a CSV file; paths may name patients.")
    ] = None,
) -> None:
    """Write what readers said of imported images as DICOM Structured Reports, one for each study.

    Each names the patient, as its study does. Tasks are tied to their studies by searching the source anew.
    """
    from clinical_backend.archive.dicom_files import DicomFiles
    from clinical_backend.archive.found import PassedOver
    from clinical_backend.archive.pseudonyms import Pseudonyms
    from clinical_backend.archive.study_reports import report_studies
    from clinical_backend.system.permissions import make_folder

    settings = read_settings()
    with opened_workspace(settings) as workspace:
        labels, title = _labels(workspace.project(project))
    make_folder(dicom_sr)
    written, passed_over = 0, []
    for one in report_studies(DicomFiles(sources), Pseudonyms(settings.model_dir), labels, title):
        if isinstance(one, PassedOver):
            passed_over.append(one)
        else:
            written += 1
            (dicom_sr / f"{written:06}.dcm").write_bytes(one)
    say(f"{written} reports of {len(labels)} answered tasks are in {dicom_sr}.", leading=len(str(written)), mood="ok")
    tell_passed_over(passed_over, report)


def _labels(project: ProjectWorkspace) -> tuple[dict[str, list[str]], str]:
    """Return what readers said of each imported task, by its identity, and the project's title."""
    from clinical_backend.archive.importer import imported_tasks
    from clinical_backend.labelstudio.labeling.labels import fetch_labels
    from clinical_backend.multilabel import findings_of
    from clinical_backend.workspace.controls import read_as_set

    client = project.workspace.client
    remote = client.project(project.id)
    scheme = read_as_set(remote.label_config, project.settings)
    said = fetch_labels(client, remote, scheme).classes
    labels = {}
    for identity, tasks in imported_tasks(client, project.id).items():
        label = next((said[task] for task in tasks if task in said), None)
        if label is not None:
            labels[identity] = [label] if scheme.several is None else sorted(findings_of(label)) or [_NO_FINDING]
    return labels, remote.title
