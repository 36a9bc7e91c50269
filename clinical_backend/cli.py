"""The command ``clinical``: wiring only."""

from __future__ import annotations

import sys
from importlib.metadata import version
from typing import Annotated

import typer

from clinical_backend.commands.benchmarks import bench
from clinical_backend.commands.demonstrations import demo, simulate
from clinical_backend.commands.processes import serve, worker
from clinical_backend.commands.projects import connect, doctor, rollback, status
from clinical_backend.commands.terminal import complain
from clinical_backend.commands.trainings import adapt, finetune
from clinical_backend.errors import ClinicalError

__all__ = ["app", "main"]

app = typer.Typer(
    help="Label Studio ML backend that brings the rare cases to the front of the queue.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
for command in (serve, worker, adapt, finetune, connect, doctor, status, rollback, demo, simulate):
    app.command()(command)
app.add_typer(bench, name="bench")


def main() -> None:
    """Run a command; an error of ours is one line with its cure, and exit code 1."""
    try:
        app()
    except ClinicalError as error:
        complain(str(error))
        sys.exit(1)


def _show_version(asked: bool) -> None:
    if asked:
        typer.echo(f"clinical {version('clinical-backend')}")
        raise typer.Exit


@app.callback()
def _options(
    _version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    pass
