"""Commands for what goes on beside the rounds of a project; the server starts them by itself."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from clinical_backend.commands.shared import Background, Project, opened_workspace, read_settings
from clinical_backend.commands.terminal import say

if TYPE_CHECKING:
    from collections.abc import Callable

    from clinical_backend.workspace.workspace import ProjectWorkspace

__all__ = ["adapt", "draw_map", "finetune", "preview_settings", "replace_backbone"]


def adapt(
    project: Project,
    background: Background = False,
) -> None:
    """Let a small network learn a project's own images, without labels. The server does it by itself."""
    from clinical_backend.training.adaptation import adapt_project

    _train(adapt_project, project, background=background)


def finetune(
    project: Project,
    background: Background = False,
) -> None:
    """Fine-tune the backbone on a project's labels. With TRAINING=finetune the server does it by itself."""
    from clinical_backend.training.finetuning import finetune_project

    _train(finetune_project, project, background=background)


def draw_map(
    project: Project,
    background: Background = False,
) -> None:
    """Draw a project's map, its tasks in two dimensions. The server does it by itself for those who look at it."""
    from clinical_backend.training.mapping import draw_map as run

    _train(run, project, background=background)


def preview_settings(
    project: Project,
    background: Background = False,
) -> None:
    """Tell what settings would change that somebody asks about on a project's page. The server does it by itself."""
    from clinical_backend.jobs.settings_preview import answer_questions

    _train(answer_questions, project, background=background)


def replace_backbone(
    project: Project,
    force: Annotated[bool, typer.Option("--force", help="Use it at once, whatever the labels say.")] = False,
    background: Background = False,
) -> None:
    """Embed a project's images with the BACKBONE that is set, and use it unless the labels say that it is worse.

    The server does it by itself after BACKBONE or IMAGE_SIZE was changed; until then, the one before goes on.
    """
    from clinical_backend.training.backbone_replacement import replace_backbone as run

    _train(partial(run, force=force), project, background=background)


def _train(training: Callable[[ProjectWorkspace], str], project: int, *, background: bool) -> None:
    from clinical_backend.jobs.child_process import give_signs, stay_in_background

    settings = read_settings()
    if background:
        give_signs(settings)
        stay_in_background()
    with opened_workspace(settings) as workspace:
        say(training(workspace.project(project)))
