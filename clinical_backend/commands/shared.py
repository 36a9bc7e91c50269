"""What several commands need."""

from __future__ import annotations

import os
from contextlib import closing, contextmanager
from getpass import getuser
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from clinical_backend.commands.terminal import say
from clinical_backend.logs import configure_logs
from clinical_backend.settings import Settings, load_settings
from clinical_backend.system.permissions import private_umask

if TYPE_CHECKING:
    from collections.abc import Iterator

    from clinical_backend.workspace.workspace import Workspace

__all__ = ["Background", "Project", "command_user", "opened_workspace", "read_settings", "refuse_unconnected"]

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


def refuse_unconnected(project: int) -> NoReturn:
    """Say that a project is not connected, and end the command."""
    say(f"Project {project} is not connected. Run `clinical connect --project {project}`.")
    raise typer.Exit(1)


def command_user() -> str:
    """Return who gives a command."""
    try:
        return getuser()
    except (KeyError, OSError):  # a container's user without a name
        return "command line"


@contextmanager
def opened_workspace(settings: Settings) -> Iterator[Workspace]:
    """Open what a process works with for as long as the block lasts."""
    from clinical_backend.storage.trail import Actor, acting
    from clinical_backend.workspace.workspace import open_workspace

    with acting(Actor(command_user(), "command")), closing(open_workspace(settings)) as workspace:
        yield workspace
