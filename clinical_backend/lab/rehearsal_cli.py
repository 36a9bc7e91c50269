"""The command that tries other settings on what a project's readers said."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 - typer reads it
from typing import Annotated, Literal

import typer

from clinical_backend.commands.shared import Project, opened_workspace, read_settings, refuse_unconnected
from clinical_backend.commands.terminal import progress_bar, say

__all__ = ["rehearse"]

Searched = Literal["labelled", "thinned", "whole"]


def rehearse(
    project: Project,
    acquisition: Annotated[
        list[str] | None, typer.Option(help="An ACQUISITION to try; may be given several times.")
    ] = None,
    queue_size: Annotated[list[int] | None, typer.Option(help="A QUEUE_SIZE to try; likewise.")] = None,
    audit_share: Annotated[list[float] | None, typer.Option(help="An AUDIT_SHARE to try; likewise.")] = None,
    goal: Annotated[list[str] | None, typer.Option(help="A GOAL to try; likewise.")] = None,
    rare: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="What is rare, in place of what the project looks for.")
    ] = None,
    pool: Annotated[
        Searched | None,
        typer.Option(
            help="What is searched: the labelled tasks; these with as few rare ones as in the project; or the whole "
            "project, in which what nobody labelled counts as not rare. By default what the labels allow."
        ),
    ] = None,
    labels: Annotated[
        int | None, typer.Option(help="Labels of a repeat; by default 300, or fewer where less is labelled.", min=1)
    ] = None,
    repeats: Annotated[int, typer.Option(help="Repeats, each with other exemplars at the start.", min=1)] = 5,
    minutes: Annotated[float, typer.Option(help="How long it may take; what is finished then is told.", min=0.01)] = 10,
    out: Annotated[Path | None, typer.Option(help="Folder for a chart (SVG, PNG) and all figures (JSON).")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="All figures, for machines.")] = False,
) -> None:
    """Tell what other settings of a project would have found, by what its readers said; Label Studio is not asked.

    Without a setting to try, usual ones are. docs/rehearsal.md says how far the figures carry.
    """
    import json

    from rich.console import Console

    from clinical_backend.lab.plotting import pyplot
    from clinical_backend.lab.rehearsal.found_table import heading_of, tables, write_rehearsal
    from clinical_backend.lab.rehearsal.rehearsal import Wishes
    from clinical_backend.lab.rehearsal.rehearsal import rehearse as run

    settings = read_settings()
    if out is not None:
        pyplot()  # what is missing is said before minutes have gone
    tried = {"acquisition": acquisition, "queue_size": queue_size, "audit_share": audit_share, "goal": goal}
    wishes = Wishes(
        {name: tuple(values) for name, values in tried.items() if values},
        tuple(rare or ()),
        pool,
        labels,
        repeats,
        minutes,
    )
    with opened_workspace(settings) as workspace:
        if workspace.stores.projects.get(project) is None:
            refuse_unconnected(project)
        if as_json:
            done = run(workspace.project(project), wishes, lambda *_: None)
        else:
            with progress_bar("labels") as show:
                done = run(workspace.project(project), wishes, show)
    if out is not None:
        write_rehearsal(done, out)
    if as_json:
        print(json.dumps(done.to_json(), indent=2))
        return
    say(heading_of(done))
    for table in tables(done):
        Console().print(table)
    for line in (*done.known.notes, *done.remarks):
        say(line)
    if not done.finished:
        say(f"Stopped after {minutes:g} minutes: what is finished is shown. --minutes gives more time.", mood="warning")
    if out is not None:
        say(f"Written to {out}: rehearsal.svg, rehearsal.png, rehearsal.json.")
