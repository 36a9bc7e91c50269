"""Which projects this backend serves: whoever calls only hints at one, and Label Studio says whether it is there."""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from clinical_backend.errors import ClinicalError, InvalidArgumentError, LabelStudioRefusedError
from clinical_backend.labelstudio.contract import SetupRequest
from clinical_backend.labelstudio.urls import same_url
from clinical_backend.logs import SeldomLogger
from clinical_backend.project_settings import ProjectOptions
from clinical_backend.storage.trail import LABEL_STUDIO, acting
from clinical_backend.workspace.project_options import SETTINGS_CHANGED

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from clinical_backend.labelstudio.resources import Project
    from clinical_backend.workspace.workspace import ProjectWorkspace, Workspace

__all__ = ["Registration", "find_project"]

logger = logging.getLogger(__name__)
seldom = SeldomLogger(__name__)

_MOST = 100
"""Queries that wait. They are asked newest first, so that a flood of invented ids delays no real project."""

_PAUSE_SECONDS = 0.5
"""Between two queries: whatever calls come, Label Studio is asked twice a second."""

_ATTEMPTS = 3
_RETRY_SECONDS = 2.0
"""Label Studio goes on writing after its call of ``/setup``, which may hold its database, and the entry, up."""

_UNMATCHED_SECONDS = 60.0
"""Label Studio answers a look at a project's entries by calling ``/setup``: if none is ours, that must not go round."""


@dataclass(frozen=True, slots=True)
class _Query:
    """What to ask of a project.

    Attributes
    ----------
    setup
        Whether a call of ``/setup`` raised it: then the connection is to be checked, too.
    options
        Whether the options in Label Studio's entry may be others than are known.
    attempt
        How often it was asked before.
    not_before
        When to ask, by the monotonic clock.
    """

    setup: bool
    options: bool
    attempt: int = 0
    not_before: float = 0.0


class Registration:
    """Asks Label Studio, in a thread and slowly, about projects that calls name.

    Parameters
    ----------
    workspace
        Settings and state of the backend.
    taken_on
        Told of a project that is served from now on, or by other options, and whether ``/setup`` was called for it.
    """

    def __init__(self, workspace: Workspace, taken_on: Callable[[int, bool], None]) -> None:
        self._workspace = workspace
        self._taken_on = taken_on
        self._waiting: dict[int, _Query] = {}
        self._unmatched: dict[int, float] = {}
        self._changed = threading.Condition()
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None

    def ask(self, project_id: int, *, setup: bool = False, options: bool = False) -> None:
        """Have Label Studio asked about a project soon. Returns at once.

        Parameters
        ----------
        setup
            Whether a call of ``/setup`` names it.
        options
            Whether its options seem to have changed.
        """
        options = options and time.monotonic() >= self._unmatched.get(project_id, 0.0)
        with self._changed:
            before = self._waiting.pop(project_id, None)
            if before is not None:
                setup, options = setup or before.setup, options or before.options
            self._waiting[project_id] = _Query(setup, options)
            if len(self._waiting) > _MOST:
                del self._waiting[next(iter(self._waiting))]
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, daemon=True, name="registration")
                self._thread.start()
            self._changed.notify_all()

    def ask_now(self, project_id: int, *, setup: bool = False, options: bool = False) -> bool:
        """Ask Label Studio about a project, and take it on or forget it by the answer.

        Returns
        -------
        bool
            Whether all that was asked for is settled: an entry may show its new options a moment later.

        Raises
        ------
        ClinicalError
            When Label Studio does not answer, or the database fails.
        """
        stores = self._workspace.stores
        view = self._workspace.project(project_id)
        known = view.row
        project = find_project(view)
        if project is None:
            if known is not None:
                logger.info("Project %d is gone from Label Studio: it is forgotten", project_id)
                stores.projects.forget(project_id)
                view.forget_files()
                stores.leases.discard()
            return True
        entered = self._options(project_id) if options else None
        changed = entered is not None and entered != (known.options if known is not None else {})
        if known is None or changed:
            new = stores.projects.register(project_id, entered, settings=ProjectOptions.model_fields)
            if new:
                stores.projects.change(project_id, created=project.created_at.isoformat(), title=project.title)
                logger.info("Project %d is connected; its page is %s", project_id, view.page)
            else:
                stores.projects.request_round(project_id, SETTINGS_CHANGED)
            self._taken_on(project_id, setup)
        return changed or not options

    def close(self) -> None:
        """End; what waits is called again."""
        self._closed.set()
        with self._changed:
            self._changed.notify_all()

    def _run(self) -> None:
        while not self._closed.is_set():
            project_id, query = self._next()
            if query is None:
                continue
            try:
                with acting(LABEL_STUDIO):
                    settled = self.ask_now(project_id, setup=query.setup, options=query.options)
            except ClinicalError as error:
                settled = False
                seldom.warning("Project %d is not taken on or forgotten: %s", project_id, error)
            except Exception:
                # The thread must outlive a fault of ours: nobody else takes projects on.
                settled = True
                logger.exception("Label Studio could not be asked about project %d", project_id)
            if not settled and query.attempt + 1 < _ATTEMPTS:
                again = replace(query, attempt=query.attempt + 1, not_before=time.monotonic() + _RETRY_SECONDS)
                with self._changed:
                    if project_id not in self._waiting and len(self._waiting) < _MOST:
                        self._waiting = {project_id: again, **self._waiting}  # behind those not asked yet
            self._closed.wait(_PAUSE_SECONDS)

    def _next(self) -> tuple[int, _Query | None]:
        """Take the newest query that may be asked, or wait a moment for one."""
        with self._changed:
            if not self._waiting:
                self._changed.wait_for(lambda: self._waiting or self._closed.is_set())
            now = time.monotonic()
            for project_id, query in reversed(self._waiting.items()):
                if query.not_before <= now:
                    del self._waiting[project_id]
                    return project_id, query
            self._changed.wait(_PAUSE_SECONDS)
            return 0, None

    def _options(self, project_id: int) -> dict[str, Any] | None:
        """Return the options in Label Studio's entry of this backend; ``None`` where there is none, or no object."""
        address = self._workspace.settings.public_url
        self._unmatched[project_id] = time.monotonic() + _UNMATCHED_SECONDS
        entries = self._workspace.client.backends(project_id)
        entry = next((entry for entry in entries if same_url(entry.url, address)), None)
        if entry is None:
            return None
        del self._unmatched[project_id]
        try:
            return SetupRequest.model_validate({"project": project_id, "extra_params": entry.extra_params}).options()
        except InvalidArgumentError as error:
            seldom.warning("Project %d keeps its earlier options: %s", project_id, error)
            return None


def find_project(project: ProjectWorkspace) -> Project | None:
    """Return a project, ``None`` if Label Studio has it not, or no more.

    Raises
    ------
    LabelStudioError
        When it does not answer, or what answers is no Label Studio.
    """
    try:
        return project.client.project(project.id)
    except LabelStudioRefusedError as error:
        if error.status != 404:
            raise
    # Something else may answer at a wrong address: it does not know the user, so nothing is forgotten for it.
    project.client.whoami()
    return None
