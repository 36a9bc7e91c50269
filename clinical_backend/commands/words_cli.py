"""The commands ``clinical words``: findings that are looked for by words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from clinical_backend.commands.shared import Project, command_user, opened_workspace, read_settings, refuse_unconnected
from clinical_backend.commands.terminal import say

if TYPE_CHECKING:
    from clinical_backend.storage.stores.phrasings import KeptPhrasings

__all__ = ["words"]

words = typer.Typer(
    help="Look for findings by words, with a backbone that has an image and a text tower.", no_args_is_help=True
)


@words.command("set")
def set_(
    project: Project,
    finding: Annotated[
        str, typer.Option(metavar="NAME", help="What they stand for, as the labeling config writes it.")
    ],
    phrasings: Annotated[
        list[str] | None, typer.Argument(metavar="TEXT...", help="What is looked for, in one or several phrasings.")
    ] = None,
    contrast: Annotated[
        list[str] | None, typer.Option(metavar="TEXT", help="What it is told from, as “normal chest radiograph”.")
    ] = None,
) -> None:
    """Look for a finding by words, in place of those before; without any, by suggested ones."""
    from clinical_backend.service.outside_exemplars import known_classes
    from clinical_backend.service.phrasings import idle_because, keep_phrasings, suggested

    with opened_workspace(read_settings()) as workspace:
        own = workspace.project(project)
        if own.row is None:
            refuse_unconnected(project)
        classes = known_classes(own, ask=True)
        texts, against = suggested(finding, classes)
        chosen = contrast or (() if phrasings else against)
        keep_phrasings(own, finding, classes, phrasings or texts, chosen, by=command_user())
        _show(project, workspace.stores.phrasings.all(project), only=finding)
        idle = idle_because(own, finding)
    say(idle or "A round is due, which begins to look for it.", mood="warning" if idle else "ok")


@words.command("list")
def list_(project: Project) -> None:
    """List the words of each finding, and why they are not used where they are not."""
    from clinical_backend.service.phrasings import words_problem

    with opened_workspace(read_settings()) as workspace:
        kept = workspace.stores.phrasings.all(project)
        _show(project, kept)
        problem = words_problem(workspace.project(project)) if kept else ""
    if problem:
        say(f"They are not used. {problem}", mood="warning")


@words.command()
def remove(
    project: Project,
    finding: Annotated[str, typer.Option(metavar="NAME", help="What is no longer looked for by words.")],
) -> None:
    """Look for a finding by words no more."""
    from clinical_backend.service.phrasings import remove_phrasings

    with opened_workspace(read_settings()) as workspace:
        there = remove_phrasings(workspace.project(project), finding)
    say(
        f"{finding} is no longer looked for by words; a round is due."
        if there
        else f"Project {project} has no words for {finding}."
    )
    if not there:
        raise typer.Exit(1)


def _show(project: int, kept: list[KeptPhrasings], *, only: str | None = None) -> None:
    """Print words."""
    shown = [one for one in kept if only is None or one.finding == only]
    for one in shown:
        say(f"{one.finding}, by {one.changed_by}")
        for text in one.phrasings:
            say(f"    {text}")
        for text in one.contrasts:
            say(f"    not: {text}")
    if not shown:
        say(f"Project {project} looks for nothing by words.")
