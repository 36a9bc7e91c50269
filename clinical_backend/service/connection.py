"""The doctor's checks for a page: a few at a time, not for longer than a person waits, and not again at once."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import anyio
from anyio.to_thread import run_sync

from clinical_backend.errors import ClinicalError
from clinical_backend.images.decoders.processes import DecoderProcesses
from clinical_backend.labelstudio.connection.doctor import Finding, Status
from clinical_backend.service.condition import examine_clock, examine_condition, examine_project
from clinical_backend.service.exposure import examine_exposure

if TYPE_CHECKING:
    from clinical_backend.workspace.workspace import Workspace

__all__ = ["Checks"]

_SECONDS = 20.0
_FRESH_SECONDS = 20.0
_CHECKSUM_SECONDS = 2.0
_AT_A_TIME = 2


class Checks:
    """Runs the checks of the backend and of the connection, with a time-out, and keeps what they found a while.

    Parameters
    ----------
    workspace
        With the connection to check.
    """

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._limiter = anyio.CapacityLimiter(_AT_A_TIME)
        self._found: dict[int, tuple[float, list[Finding]]] = {}

    async def run(self, project_id: int) -> list[Finding]:
        """Return what the checks of a project's connection found."""
        known = self._found.get(project_id)
        if known is not None and time.monotonic() - known[0] < _FRESH_SECONDS:
            return known[1]
        findings = [
            Finding(
                "label studio",
                Status.ERROR,
                f"The checks took more than {_SECONDS:.0f} seconds.",
                "See whether Label Studio answers, then run `clinical doctor`.",
            )
        ]
        with anyio.move_on_after(_SECONDS):
            findings = await run_sync(self._diagnose, project_id, abandon_on_cancel=True, limiter=self._limiter)
        self._found[project_id] = time.monotonic(), findings
        return findings

    def _diagnose(self, project_id: int) -> list[Finding]:
        workspace = self._workspace
        settings = workspace.settings
        if workspace.stores.projects.get(project_id) is None:
            return []
        decoders = DecoderProcesses(processes=1)

        def read(uri: str, task_id: int) -> object:
            return decoders.decode(workspace.source.fetch(uri, task_id))

        findings = examine_exposure(settings)
        findings += examine_condition(settings, workspace, project_id=project_id, seconds=_CHECKSUM_SECONDS)
        try:
            findings += examine_project(workspace.project(project_id), workspace.client, read)
            return findings + examine_clock(workspace.client)
        except ClinicalError as error:
            return [*findings, Finding("connection", Status.ERROR, error.problem, error.cure)]
        finally:
            decoders.close()
