"""Starts the backend as a user would, on a free loopback port."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import httpx2

from clinical_backend.lab.servers.server import Server, answers_health, free_port

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["BackendServer"]

_START_SECONDS = 300.0  # a busy machine takes a while to import everything, as in supervisor.py


class BackendServer(Server):
    """Runs ``clinical serve``, as a context manager.

    Parameters
    ----------
    folder
        MODEL_DIR, and where its log goes.
    label_studio_url, api_key
        Of the Label Studio that it serves.
    settings
        Further settings, by the names of environment variables.

    Attributes
    ----------
    url
        Where it answers.
    log
        File that holds its output.
    command
        What is run; another one is for tests.
    """

    def __init__(self, folder: Path, label_studio_url: str, api_key: str, **settings: object) -> None:
        super().__init__()
        self.folder = folder.absolute()
        self.log = self.folder / "backend.log"
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.command = [sys.executable, "-m", "clinical_backend", "serve"]
        self.environment = {
            **os.environ,
            "LABEL_STUDIO_URL": label_studio_url,
            "LABEL_STUDIO_API_KEY": api_key,
            "MODEL_DIR": str(self.folder),
            "HOST": "127.0.0.1",
            "PORT": str(self.port),
            **{name: str(value) for name, value in settings.items()},
        }

    def start(self) -> None:
        """Start it and wait until it answers.

        Raises
        ------
        ClinicalError
            When it stops or does not answer in time.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            process = subprocess.Popen(  # noqa: S603 - our own, or a test's
                self.command, env=self.environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        self._run(process, lambda: answers_health(self.port), _START_SECONDS, self.log)

    def status(self, project_id: int) -> dict[str, Any] | None:
        """Return where a project stands; ``None`` while it is unknown."""
        answer = httpx2.get(f"{self.url}/projects/{project_id}", auth=self.credentials, timeout=10.0)
        if answer.status_code == httpx2.codes.NOT_FOUND:
            return None
        found: dict[str, Any] = answer.raise_for_status().json()
        return found

    @property
    def credentials(self) -> tuple[str, str] | None:
        """User and password, where it asks for them."""
        user, password = (self.environment.get(f"BASIC_AUTH_{part}") for part in ("USER", "PASS"))
        return (user, password) if user and password else None
