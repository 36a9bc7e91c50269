"""What several commands need."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from clinical_backend.logs import configure_logs
from clinical_backend.settings import Settings, load_settings
from clinical_backend.system.permissions import private_umask

if TYPE_CHECKING:
    from collections.abc import Iterator

    from clinical_backend.labelstudio.client import LabelStudioClient
    from clinical_backend.workspace.workspace import Workspace

__all__ = ["Background", "Project", "open_client", "open_workspace", "read_settings"]

Project = Annotated[int, typer.Option("--project", help="Id of the project, as in its address in Label Studio.")]

Background = Annotated[
    bool, typer.Option("--background", hidden=True, help="With low priority, until the standard input ends.")
]


def read_settings() -> Settings:
    """Read the settings, and log and keep files as they say."""
    settings = load_settings()
    configure_logs(settings)
    os.umask(private_umask(settings.model_dir))
    return settings


def open_client(settings: Settings) -> LabelStudioClient:
    """Return a client of Label Studio; a context manager."""
    from clinical_backend.labelstudio.client import LabelStudioClient

    return LabelStudioClient(settings.label_studio_url, settings.api_key)


@contextmanager
def open_workspace(settings: Settings) -> Iterator[Workspace]:
    """Open the database for as long as the block lasts: at each opening it is checked, which may take seconds."""
    from clinical_backend.storage.opening import open_database
    from clinical_backend.workspace.workspace import Workspace

    database = open_database(settings)
    try:
        yield Workspace(settings, database)
    finally:
        database.close()
