"""Options that say which archive is meant: paths, or a DICOMweb server and what of it."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from clinical_backend.errors import InvalidArgumentError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from clinical_backend.archive.dicom_files import DicomFiles
    from clinical_backend.archive.dicomweb import DicomWeb

__all__ = [
    "CaFile",
    "Certificate",
    "DicomWebUrl",
    "Key",
    "Match",
    "Modality",
    "PasswordFile",
    "Report",
    "Series",
    "Sources",
    "Study",
    "TokenFile",
    "User",
    "open_source",
    "refuse_archive",
]

_PANEL = "DICOMweb"

Sources = Annotated[
    list[Path] | None, typer.Argument(metavar="SOURCE", help="Folders, ZIP archives and files of DICOM.")
]
DicomWebUrl = Annotated[
    str | None,
    typer.Option(
        "--dicomweb", metavar="URL", rich_help_panel=_PANEL, help="Root, such as http://localhost:8042/dicom-web."
    ),
]
Study = Annotated[list[str] | None, typer.Option(metavar="UID", rich_help_panel=_PANEL, help="Of these studies only.")]
Series = Annotated[list[str] | None, typer.Option(metavar="UID", rich_help_panel=_PANEL, help="Of these series only.")]
Modality = Annotated[
    list[str] | None, typer.Option(metavar="CODE", rich_help_panel=_PANEL, help="Such as MG; several are possible.")
]
Match = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME=VALUE", rich_help_panel=_PANEL, help="Of any attribute, such as StudyDate=20240101-20241231."
    ),
]
User = Annotated[str, typer.Option(rich_help_panel=_PANEL, help="Else DICOMWEB_USER.")]
PasswordFile = Annotated[Path | None, typer.Option(rich_help_panel=_PANEL, help="Else DICOMWEB_PASSWORD.")]
TokenFile = Annotated[Path | None, typer.Option(rich_help_panel=_PANEL, help="Else DICOMWEB_TOKEN.")]
Certificate = Annotated[
    Path | None, typer.Option("--client-certificate", rich_help_panel=_PANEL, help="PEM file that shows who asks.")
]
Key = Annotated[Path | None, typer.Option("--client-key", rich_help_panel=_PANEL, help="Its key, if in another file.")]
CaFile = Annotated[
    Path | None, typer.Option("--ca-file", rich_help_panel=_PANEL, help="Authorities of the archive, in place of ours.")
]
Report = Annotated[
    Path | None, typer.Option(help="Write what was passed over, and why, to a CSV file; paths may name patients.")
]


@contextmanager
def open_source(
    sources: Sequence[Path] | None,
    url: str | None,
    *,
    study: Sequence[str] | None,
    series: Sequence[str] | None,
    modality: Sequence[str] | None,
    match: Sequence[str] | None,
    user: str,
    password_file: Path | None,
    token_file: Path | None,
    client_certificate: Path | None,
    client_key: Path | None,
    ca_file: Path | None,
) -> Iterator[DicomFiles | DicomWeb]:
    """Open what the options name: files, or a DICOMweb archive.

    Raises
    ------
    ArchiveError
        When an option is wrong, or a path not there.
    InvalidArgumentError
        When both are named, or neither.
    """
    from clinical_backend.archive.access import access_from
    from clinical_backend.archive.dicom_files import DicomFiles
    from clinical_backend.archive.dicomweb import DicomWeb
    from clinical_backend.archive.filters import Filters, matches_from

    if bool(sources) == (url is not None):
        raise InvalidArgumentError("SOURCE", "there is to be one.", "Give paths, or --dicomweb with an address.")
    if url is None:
        refuse_archive("it is asked of an archive alone", study=study, series=series, modality=modality, match=match)
        yield DicomFiles(sources or ())
        return
    access = access_from(
        url,
        user=user,
        password_file=password_file,
        token_file=token_file,
        certificate=client_certificate,
        key=client_key,
        authority=ca_file,
    )
    filters = Filters(study or (), series or (), modality or (), matches_from(match or ()))
    with DicomWeb(access, filters) as archive:
        yield archive


def refuse_archive(reason: str, **options: object) -> None:
    """Refuse options that would be passed by in silence.

    Parameters
    ----------
    reason
        Why they say nothing here.
    options
        Their values by name.

    Raises
    ------
    InvalidArgumentError
        When one is given.
    """
    given = next((name for name, value in options.items() if value), None)
    if given is not None:
        option = "SOURCE" if given == "sources" else f"--{given}"
        raise InvalidArgumentError(option, f"{reason}.", f"Leave {option} out.")
