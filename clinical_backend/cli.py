"""The command ``clinical``: wiring only."""

from __future__ import annotations

import os
import sys
from importlib.metadata import version
from io import TextIOWrapper
from typing import Annotated

import typer

from clinical_backend.commands.backbones import backbones, try_backbone
from clinical_backend.commands.card_cli import card
from clinical_backend.commands.exemplar_cli import exemplar
from clinical_backend.commands.exporting import export
from clinical_backend.commands.importing import import_images
from clinical_backend.commands.maintenance import backup, health
from clinical_backend.commands.portable import export_model, predict
from clinical_backend.commands.project import connect, doctor, rollback, status, unreadable
from clinical_backend.commands.servers import serve, worker
from clinical_backend.commands.terminal import complain
from clinical_backend.commands.testset_cli import set_aside
from clinical_backend.commands.trail_cli import trail
from clinical_backend.commands.trainings import adapt, draw_map, finetune, preview_settings, replace_backbone
from clinical_backend.commands.words_cli import words
from clinical_backend.errors import ClinicalError
from clinical_backend.lab.benchmark_cli import bench
from clinical_backend.lab.rehearsal_cli import rehearse
from clinical_backend.lab.simulation_cli import demo, simulate

__all__ = ["app", "main"]

app = typer.Typer(
    help="Label Studio ML backend that brings the rare cases to the front of the queue.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
_NAMES: dict[object, str] = {import_images: "import", set_aside: "testset"}
"""Of commands that are not called as their functions are."""
for command in (
    serve,
    worker,
    adapt,
    finetune,
    connect,
    import_images,
    export,
    export_model,
    card,
    predict,
    set_aside,
    doctor,
    status,
    unreadable,
    rollback,
    trail,
    backbones,
    try_backbone,
    replace_backbone,
    draw_map,
    preview_settings,
    backup,
    health,
    demo,
    simulate,
    rehearse,
):
    app.command(_NAMES.get(command))(command)
app.add_typer(exemplar, name="exemplar")
app.add_typer(words, name="words")
app.add_typer(bench, name="bench")


def main() -> None:
    """Run a command; an error of ours is one line with its cure, and exit code 1."""
    _print_anything()
    try:
        app()
    except ClinicalError as error:
        complain(str(error))
        sys.exit(1)
    finally:
        _flush()


def _print_anything() -> None:
    """Escape what the encoding of the terminal, or of a pipe, has no sign for, such as a class in another script."""
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def _flush() -> None:
    """Write out what was printed; where nobody reads it any more, that is no fault to be told of."""
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:
                stream.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())  # the interpreter flushes once more


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
