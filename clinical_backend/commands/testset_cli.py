"""The command ``clinical testset``: a random test set, set aside from the search."""

from __future__ import annotations

from typing import Annotated

import typer

from clinical_backend.commands.shared import Project, command_user, opened_workspace, read_settings, refuse_unconnected
from clinical_backend.commands.terminal import say

__all__ = ["set_aside"]


def set_aside(
    project: Project,
    size: Annotated[
        int | None, typer.Option(min=1, help="How many tasks; the last patient that is drawn is taken whole.")
    ] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Of the draw; by default a random one. It is kept.")] = None,
    twice: Annotated[bool, typer.Option("--twice", help="Have two readers read each task, blind.")] = False,
    extend: Annotated[
        bool, typer.Option("--extend", help="Draw as large a share of the tasks that came since, with no --size.")
    ] = False,
) -> None:
    """Set a random test set aside, whole patients at a time: never queued, never learnt from, read blind.

    The next round draws it among tasks that nobody answered. It cannot be undone, or chosen again, without losing what
    it is worth. Without --size and --extend the command says where it stands.
    """
    from clinical_backend.service.set_aside import ask_for_test_set, drawable, read_set_aside
    from clinical_backend.service.set_aside_words import say_test_set, warnings_on_draw

    with opened_workspace(read_settings()) as workspace:
        own = workspace.project(project)
        if own.row is None:
            refuse_unconnected(project)
        if size is not None or extend:
            known = drawable(own)
            ask_for_test_set(own, size or 0, by=command_user(), seed=seed, twice=twice, extend=extend)
            for warning in warnings_on_draw(known):
                say(warning, mood="warning")
        found = read_set_aside(own)
    say("No test set was asked for. Set one aside with --size." if found is None else say_test_set(found))
