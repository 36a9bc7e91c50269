"""Commands that let a network learn a project's images; the server starts them by itself."""

from __future__ import annotations

from clinical_backend.commands.shared import Background, Project, read_settings
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
    from clinical_backend.rounds.workshop import Workshop
    from clinical_backend.storage.database import Database

    settings = read_settings()
    if background:
        give_signs(settings)
        stay_in_background()
    say(adapt_project(Workshop(settings, Database.of(settings)), project))


def finetune(
    project: Project,
    background: Background = False,
) -> None:
    """Fine-tune the backbone on a project's labels. With TRAINING=finetune the server does it by itself."""
    from clinical_backend.jobs.background import stay_in_background
    from clinical_backend.jobs.signs import give_signs
    from clinical_backend.rounds.finetune import finetune_project
    from clinical_backend.rounds.workshop import Workshop
    from clinical_backend.storage.database import Database

    settings = read_settings()
    if background:
        give_signs(settings)
        stay_in_background()
    say(finetune_project(Workshop(settings, Database.of(settings)), project))
