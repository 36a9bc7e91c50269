"""The commands ``clinical exemplar``: cases from outside a project that steer its queue."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path  # noqa: TC003 - typer reads it
from typing import Annotated

import typer

from clinical_backend.commands.shared import Project, command_user, opened_workspace, read_settings, refuse_unconnected
from clinical_backend.commands.terminal import say

__all__ = ["exemplar"]

exemplar = typer.Typer(help="Cases from outside a project that steer its queue.", no_args_is_help=True)


@exemplar.command()
def add(
    project: Project,
    finding: Annotated[
        str, typer.Option(metavar="NAME", help="What they stand for, as the labeling config writes it.")
    ],
    files: Annotated[list[Path] | None, typer.Argument(metavar="FILE...", help="Images.")] = None,
    note: Annotated[str, typer.Option(help="Where they come from.")] = "",
    from_project: Annotated[
        int | None, typer.Option(metavar="ID", help="Take cases of another project of this backend.")
    ] = None,
    task: Annotated[
        list[int] | None,
        typer.Option(metavar="ID", help="Which of its tasks; by default those tagged, or else labelled, so."),
    ] = None,
    keep_pixels: Annotated[
        bool,
        typer.Option(help="Keep the pixels, as large as the backbone takes them; else a change of backbone ends them."),
    ] = True,
) -> None:
    """Add cases from outside: they steer from the next round on, and never count as found."""
    from clinical_backend.errors import InvalidArgumentError
    from clinical_backend.service.outside_exemplars import add_images, known_classes, read_files, read_tasks, said

    if bool(files) is (from_project is not None):
        raise InvalidArgumentError("FILE", "either files or a project are wanted.", "Name files, or --from-project.")
    with opened_workspace(read_settings()) as workspace:
        own = workspace.project(project)
        if own.row is None:
            refuse_unconnected(project)
        known_classes(own, ask=True)
        if from_project is None:
            images = read_files(files or [])
        else:
            images = read_tasks(workspace.project(from_project), finding, task or [])
        added = add_images(own, finding, images, by=command_user(), note=note, keeps_pixels=keep_pixels)
    say(said(added), mood="warning" if added.refused else "ok", leading=1)
    if added.refused and not added.kept:
        raise typer.Exit(1)


@exemplar.command("list")
def list_(project: Project) -> None:
    """List the cases from outside, the newest first."""
    with opened_workspace(read_settings()) as workspace:
        for one in workspace.stores.outside_exemplars.all(project):
            moment = datetime.fromtimestamp(one.added_at, UTC).isoformat(" ", "minutes")
            pixels = "" if one.keeps_pixels else "; pixels not kept"
            say(f"{one.id}  {one.finding}: {one.name}, by {one.added_by}, {moment}{pixels}", leading=len(str(one.id)))
            if one.note:
                say(f"    {one.note}")


@exemplar.command()
def remove(
    project: Project, number: Annotated[int, typer.Argument(help="As `clinical exemplar list` has it.")]
) -> None:
    """Remove a case from outside, with its pixels and its feature."""
    from clinical_backend.service.outside_exemplars import remove as remove_exemplar

    with opened_workspace(read_settings()) as workspace:
        there = remove_exemplar(workspace.project(project), number)
    say(f"Exemplar {number} is removed; a round is due." if there else f"Project {project} has no exemplar {number}.")
    if not there:
        raise typer.Exit(1)
