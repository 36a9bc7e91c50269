"""Commands for whoever runs the backend: whether it lives, and a copy of what it keeps."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from clinical_backend.commands.shared import read_settings

__all__ = ["health"]


def health(
    part: Annotated[Literal["server", "worker"], typer.Argument(help="Which of the two this machine runs.")],
) -> None:
    """Check that the server of this machine answers, or that its worker takes rounds; exit code 1 if not."""
    from clinical_backend.jobs.health import require_server, require_worker

    settings = read_settings()
    if part == "server":
        require_server(settings)
    else:
        require_worker(settings)
