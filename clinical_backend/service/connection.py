"""The one doctor: all checks of the backend and of a project's connection, for the command and for a page."""

from __future__ import annotations

import time
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

import anyio
from anyio.to_thread import run_sync

from clinical_backend.errors import ClinicalError
from clinical_backend.images.decoders.process_pool import DecoderProcesses
from clinical_backend.labelstudio.connection.checks import CheckResult, Status, Wanted
from clinical_backend.labelstudio.connection.doctor import Labeling, diagnose
from clinical_backend.service.condition import examine_clock, examine_condition, examine_project
from clinical_backend.service.exposure import examine_exposure
from clinical_backend.workspace.components import open_source

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from clinical_backend.labelstudio.client import LabelStudioClient
    from clinical_backend.settings import Settings
    from clinical_backend.workspace.workspace import Workspace

__all__ = ["Checks", "examine"]

_SECONDS = 20.0
"""Longer nobody waits for a page."""
_FRESH_SECONDS = 20.0
"""What was found is shown again for as long as the checks may take."""
_CHECKSUM_SECONDS = 2.0
"""A tenth of the time; the command compares longer."""
_AT_A_TIME = 2
"""Each holds a thread and a process that decodes."""


def examine(
    settings: Settings,
    opened: Workspace | ClinicalError,
    connect: Callable[[], LabelStudioClient],
    project_id: int | None = None,
    *,
    alone: bool = False,
    seconds: float = 20.0,
) -> list[CheckResult]:
    """Check what the backend keeps, and the connection of a project.

    Parameters
    ----------
    settings
        Of the backend.
    opened
        With its database; or why that cannot be opened.
    connect
        Returns a client of Label Studio.
    project_id
        The project; without one only the backend, and its token, are checked.
    alone
        Whether what was learnt and the rounds are looked at of this project alone.
    seconds
        How long checksums are compared.
    """
    results = examine_exposure(settings)
    results += examine_condition(settings, opened, project_id=project_id if alone else None, seconds=seconds)
    sound = not any(result.check == "database" and result.status is Status.ERROR for result in results)
    try:
        client = connect()
        with _image_reader(settings, opened, client) as read:
            if project_id is not None and sound and not isinstance(opened, ClinicalError):
                results += examine_project(opened.project(project_id), client, read)
            else:
                wanted = Wanted(settings.public_url, settings.basic_auth)
                labeling = Labeling(
                    settings.exemplar_control,
                    settings.class_control,
                    stars=settings.stars,
                    images_per_task=settings.images_per_task,
                    empty_answer=settings.empty_answer,
                )
                results += diagnose(client, project_id, wanted, labeling, read_image=read)
        results += examine_clock(client)
    except ClinicalError as error:
        results.append(CheckResult.failed("settings", error))
    return results


@contextmanager
def _image_reader(
    settings: Settings, opened: Workspace | ClinicalError, client: LabelStudioClient
) -> Iterator[Callable[[str, int], object]]:
    source = open_source(settings, client) if isinstance(opened, ClinicalError) else opened.source
    with closing(DecoderProcesses(processes=1)) as decoders:
        yield lambda uri, task_id: decoders.decode(source.fetch(uri, task_id))


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
        self._found: dict[int, tuple[float, list[CheckResult]]] = {}

    async def run(self, project_id: int) -> list[CheckResult]:
        """Return what the checks of a project's connection found."""
        known = self._found.get(project_id)
        if known is not None and time.monotonic() - known[0] < _FRESH_SECONDS:
            return known[1]
        results = [
            CheckResult(
                "label studio",
                Status.ERROR,
                f"The checks took more than {_SECONDS:.0f} seconds.",
                "See whether Label Studio answers, then run `clinical doctor`.",
            )
        ]
        with anyio.move_on_after(_SECONDS):
            results = await run_sync(self._examine, project_id, abandon_on_cancel=True, limiter=self._limiter)
        self._found[project_id] = time.monotonic(), results
        return results

    def _examine(self, project_id: int) -> list[CheckResult]:
        workspace = self._workspace
        if workspace.stores.projects.get(project_id) is None:
            return []
        return examine(
            workspace.settings,
            workspace,
            lambda: workspace.client,
            project_id,
            alone=True,
            seconds=_CHECKSUM_SECONDS,
        )
