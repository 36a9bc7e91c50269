"""The backend: what Label Studio's calls mean, whichever server receives them."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import TYPE_CHECKING

from clinical_backend.errors import InstallationError, InvalidArgumentError, LabelingConfigError
from clinical_backend.labelstudio.contract import Event
from clinical_backend.logs import SeldomLogger
from clinical_backend.rounds.drift import Drift
from clinical_backend.rounds.rollback import roll_back
from clinical_backend.service.predict import predict
from clinical_backend.service.webhooks import EventCounter, answer_late
from clinical_backend.storage.trail import LABEL_STUDIO, acting
from clinical_backend.versions import UNPUBLISHED_VERSION, on_demand_version
from clinical_backend.workspace.registration import Registration
from clinical_backend.workspace.workspace import Workspace

if TYPE_CHECKING:
    from collections.abc import Set

    from clinical_backend.jobs.runner import JobRunner
    from clinical_backend.labelstudio.contract import Prediction, PredictRequest, SetupRequest, WebhookRequest
    from clinical_backend.storage.schema import Round
    from clinical_backend.workspace.workspace import Workspace

__all__ = ["Backend"]

seldom = SeldomLogger(__name__)

_WIRING_DELAYS = (2.0, 8.0)
"""Label Studio goes on writing to the project after its call of ``/setup``: repairs come after that."""

_WIRING_PAUSE = 10.0
"""Between two such repairs of a project: longer than the last delay, so that one burst of calls makes one."""

_ECHO_SECONDS = 5.0
"""Label Studio waits one second for ``/health`` and three for ``/setup`` of each backend."""


class Backend:
    """Answers Label Studio. Nothing here is slow: rounds run elsewhere.

    Parameters
    ----------
    workspace
        What the process works with.
    runner
        Runs the rounds.
    """

    def __init__(self, workspace: Workspace, runner: JobRunner) -> None:
        self._workspace = workspace
        self._stores = workspace.stores
        self._runner = runner
        self._events = EventCounter(workspace, is_served=self._is_served, wake=runner.wake)
        self._registration = Registration(workspace, self._take_on)
        self._wired: dict[int, float] = {}
        self._timers: list[threading.Timer] = []

    def setup(self, request: SetupRequest) -> str:
        """Return the version of what is answered on demand, and take the call as a hint that a project was connected.

        A new project, and new options, are asked of Label Studio soon: whoever calls may name any. A project that is
        served has its connection checked and repaired soon.

        Raises
        ------
        InstallationError
            When another installation serves the project: Label Studio shows that at the backend's entry.
        """
        project_id = request.project_id
        project = self._stores.projects.get(project_id)
        try:
            options = request.options()
        except InvalidArgumentError as error:
            seldom.warning("Project %d keeps its earlier options: %s", project_id, error)
            options = None
        changed = options is not None and options != (project.options if project is not None else {})
        if project is None or changed:
            self._registration.ask(project_id, setup=True, options=changed)
        # Label Studio answers a reading of a project's backends with this very call: that is nothing new.
        if project is not None and time.time() - Drift.of(project).entries_read_at > _ECHO_SECONDS:
            self._check_wiring_soon(project_id)
        if project is not None and project.standing_back is not None:
            raise InstallationError(project.standing_back, "")
        return self.on_demand_version(project_id)

    def on_demand_version(self, project_id: int) -> str:
        """Return the version of what is answered on demand: Label Studio asks for no task that has it."""
        project = self._stores.projects.get(project_id)
        published = project.published_version if project else None
        return on_demand_version(published) if published else UNPUBLISHED_VERSION

    def version(self, project_id: int) -> str:
        """Return the version that a project's readers are served from."""
        project = self._stores.projects.get(project_id)
        return (project.published_version if project else None) or UNPUBLISHED_VERSION

    def versions(self) -> list[str]:
        """Return the published versions of all projects: Label Studio names none in this call."""
        found = (self._stores.projects.get(project_id) for project_id in self._stores.projects.ids())
        return [project.published_version for project in found if project and project.published_version]

    def predict(self, request: PredictRequest) -> list[Prediction | None]:
        """Return exactly one prediction per task, in order; ``None`` for a task that is to get none."""
        project, tasks = self._workspace.project(request.project_id or 0), request.tasks
        interactive = request.params.context is not None
        try:
            return predict(project, request.label_config or "", tasks, interactive=interactive)
        except LabelingConfigError as error:
            seldom.warning("Project %d gets no predictions: %s", project.id, error)
            return [None] * len(tasks)

    def receive(self, webhook: WebhookRequest) -> str | None:
        """Take an event as a hint that something changed, and say why a round is due now, if one is."""
        project_id = self._project_of(webhook)
        return None if project_id is None else self._events.take(webhook, project_id)

    async def receive_soon(self, webhook: WebhookRequest) -> str | None:
        """Take an event as ``receive`` does, with no thread that waits for the database."""
        project_id = self._project_of(webhook)
        if project_id is None:
            return None
        outcome = self._events.put(webhook, project_id)
        if self._events.is_behind and webhook.event is not Event.START_TRAINING:
            return None
        waiting = asyncio.wrap_future(outcome)
        waiting.add_done_callback(lambda ended: ended.cancelled() or ended.exception())  # the counter has told of it
        done, _ = await asyncio.wait({waiting}, timeout=self._events.answer_seconds)
        if done:
            return waiting.result()
        answer_late(webhook)
        return None

    def meet(self, project_id: int) -> None:
        """Ask Label Studio at once about a project that is not served, and serve it if it is there.

        Raises
        ------
        ClinicalError
            When Label Studio does not answer, or the database fails.
        """
        if self._stores.projects.get(project_id) is None:
            with acting(LABEL_STUDIO):  # whose call names it
                self._registration.ask_now(project_id)

    def close(self) -> None:
        """Call off what is still to come; the next start looks at every project anyway."""
        self._events.close()
        self._registration.close()
        for timer in self._timers:
            timer.cancel()

    def request_round(self, project_id: int, reason: str) -> bool:
        """Make a round due now; tell whether the project is served. Otherwise Label Studio is asked about it soon."""
        if self._stores.projects.get(project_id) is None:
            self._registration.ask(project_id)
            return False
        self._stores.projects.request_round(project_id, reason, delay=0.0)
        self._runner.wake(project_id)
        return True

    def wake(self, project_id: int) -> None:
        """Have somebody look at a project for which a round is due."""
        self._runner.wake(project_id)

    def look_at(self, project_id: int) -> None:
        """Have somebody compare a project with Label Studio soon, and put back what is asked for."""
        self._check_wiring(project_id)

    def rollback(self, project_id: int, number: int) -> Round:
        """Publish the queue and the model of an earlier round again; see :func:`roll_back`. It takes seconds."""
        return roll_back(self._workspace.project(project_id), number)

    @staticmethod
    def _project_of(webhook: WebhookRequest) -> int | None:
        if webhook.project_id is None:
            seldom.warning("A webhook names no project: let it send its payload")
        return webhook.project_id

    def _is_served(self, project_id: int, events: Set[Event]) -> bool:
        """Tell whether a project's events count, and have Label Studio asked about one to be taken on or forgotten."""
        served = self._stores.projects.get(project_id) is not None
        deleted = {Event.PROJECT_DELETED}
        if (served and deleted <= events) or (not served and events != deleted):  # anybody may say so, it knows
            self._registration.ask(project_id)
        return served

    def _take_on(self, project_id: int, setup: bool) -> None:
        """Have the first round of a project run, which is due from the start."""
        self._runner.wake(project_id)
        if setup:
            self._check_wiring_soon(project_id)

    def _check_wiring_soon(self, project_id: int) -> None:
        now = time.monotonic()
        if now - self._wired.get(project_id, -_WIRING_PAUSE) < _WIRING_PAUSE:
            return
        self._wired[project_id] = now
        self._runner.wake(project_id)
        for delay in _WIRING_DELAYS:
            timer = threading.Timer(delay, self._check_wiring, (project_id,))
            timer.daemon = True
            timer.start()
            self._timers = [*filter(threading.Timer.is_alive, self._timers), timer]

    def _check_wiring(self, project_id: int) -> None:
        self._stores.projects.change(project_id, wiring_due=True)
        self._runner.wake(project_id)
