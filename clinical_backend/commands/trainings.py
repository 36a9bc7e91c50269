"""Commands that let a network learn a project's images; the server starts them by itself."""

from __future__ import annotations

from clinical_backend.commands.shared import Background, Project, open_workshop, read_settings
from clinical_backend.commands.terminal import say

__all__ = ["adapt", "finetune"]


def adapt(
    project: Project,
    background: Background = False,
) -> None:
    """Let a small network learn a project's own images, without labels. The server does it by itself."""
    from clinical_backend.jobs.background import stay_in_background
    from clinical_backend.jobs.signs import give_signs
    from clinical_backend.rounds.adapt import adapt_project

    settings = read_settings()
    if background:
        give_signs(settings)
        stay_in_background()
    with open_workshop(settings) as workshop:
        say(adapt_project(workshop, project))


def finetune(
    project: Project,
    background: Background = False,
) -> None:
    """Fine-tune the backbone on a project's labels. With TRAINING=finetune the server does it by itself."""
    from clinical_backend.jobs.background import stay_in_background
    from clinical_backend.jobs.signs import give_signs
    from clinical_backend.rounds.finetune import finetune_project

    settings = read_settings()
    if background:
        give_signs(settings)
        stay_in_background()
    with open_workshop(settings) as workshop:
        say(finetune_project(workshop, project))
