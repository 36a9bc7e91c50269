"""Commands for whoever runs the backend: whether it lives, and a copy of what it keeps."""

from __future__ import annotations

import sys
from pathlib import Path  # noqa: TC003 - typer reads it
from typing import Annotated, Literal

import typer

from clinical_backend.commands.shared import read_settings

__all__ = ["backup", "health"]


def backup(
    folder: Annotated[
        Path | None, typer.Argument(help="MODEL_DIR if none is named; or Label Studio's folder of data.")
    ] = None,
) -> None:
    """Write a copy of a folder to the standard output, as a tar archive, while it is in use: clinical backup > FILE."""
    from clinical_backend.errors import InvalidArgumentError
    from clinical_backend.storage.backup import write_backup
    from clinical_backend.system.permissions import keep_archive_private

    settings = read_settings()
    if sys.stdout.isatty():
        raise InvalidArgumentError("FOLDER", "the archive would go to the screen.", "Write: clinical backup > FILE.tar")
    keep_archive_private(sys.stdout.fileno(), folder or settings.model_dir)
    trail = write_backup(folder or settings.model_dir, sys.stdout.buffer)
    if trail is not None:
        print(f"{trail} Last digest that holds: {trail.digest}", file=sys.stderr)
    if folder is None and settings.database_url is not None:
        print("These are the files alone: the database is copied by pg_dump, before them.", file=sys.stderr)


def health(
    part: Annotated[Literal["server", "worker"], typer.Argument(help="Which of the two this machine runs.")],
) -> None:
    """Check that the server of this machine answers, or that its worker takes rounds; exit code 1 if not."""
    settings = read_settings()
    if part == "server":
        from clinical_backend.web.server_health import require_server

        require_server(settings)
    else:
        from clinical_backend.jobs.worker_health import require_worker

        require_worker(settings)
