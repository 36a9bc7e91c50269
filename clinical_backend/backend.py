"""The backend: what Label Studio's calls mean, whichever server receives them."""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING, Any

from clinical_backend.errors import ClinicalError, InvalidArgumentError, LabelingConfigError
from clinical_backend.labelstudio.contract import Event, Prediction
from clinical_backend.rounds.finetune import finetuning_state
from clinical_backend.rounds.intake import Intake
from clinical_backend.rounds.options import named_classes
from clinical_backend.rounds.prediction import UNPUBLISHED_VERSION, predict
from clinical_backend.rounds.questions import open_questions
from clinical_backend.rounds.rollback import roll_back
from clinical_backend.rounds.workshop import Workshop

if TYPE_CHECKING:
    from clinical_backend.jobs.runner import JobRunner
    from clinical_backend.labelstudio.contract import PredictRequest, SetupRequest, WebhookRequest
    from clinical_backend.settings import Settings
    from clinical_backend.storage.database import Database
    from clinical_backend.storage.schema import Round

__all__ = ["Backend"]

logger = logging.getLogger(__name__)

_WIRING_DELAYS = (2.0, 8.0)
"""Label Studio goes on writing to the project after its call of ``/setup``: repairs come after that."""

_WIRING_PAUSE = 10.0


class Backend:
    """Answers Label Studio. Nothing here is slow: rounds run elsewhere.

    Parameters
    ----------
    settings
        Of the backend.
    database
        Its state.
    runner
        Runs the rounds.
    """

    def __init__(self, settings: Settings, database: Database, runner: JobRunner) -> None:
        self._workshop = Workshop(settings, database)
        self._stores = self._workshop.stores
        self._runner = runner
        self._intake = Intake(self._workshop)
        self._wired: dict[int, float] = {}
        self._timers: list[threading.Timer] = []

    def setup(self, request: SetupRequest, address: str | None = None) -> str:
        """Register a project and return its published version.

        The first call of a project makes a round due. Each has the connection checked and repaired soon.

        Parameters
        ----------
        address
            Where Label Studio reached this backend, if the server knows.
        """
        try:
            options = request.options()
        except InvalidArgumentError as error:
            logger.warning("Project %d keeps its earlier options: %s", request.project_id, error)
            options = None
        if self._stores.projects.register(request.project_id, options):
            page = self._workshop.settings.page_of(request.project_id)
            logger.info("Project %d is connected; its page is %s", request.project_id, page)
        if address is not None:
            self._stores.projects.change(request.project_id, address=address.rstrip("/"))
        self._check_wiring_soon(request.project_id)
        return self.version(request.project_id)

    def version(self, project_id: int) -> str:
        """Return the version that a project's readers are served from."""
        project = self._stores.projects.get(project_id)
        return (project.published_version if project else None) or UNPUBLISHED_VERSION

    def versions(self) -> list[str]:
        """Return the published versions of all projects: Label Studio names none in this call."""
        found = (self._stores.projects.get(project_id) for project_id in self._stores.projects.ids())
        return [project.published_version for project in found if project and project.published_version]

    def predict(self, request: PredictRequest) -> list[Prediction]:
        """Return exactly one prediction per task, in order; empty ones where nothing can be said."""
        project_id = request.project_id or 0
        empty = Prediction(result=[], score=1.0, model_version=self.version(project_id))
        try:
            return predict(self._workshop, project_id, request.label_config or "", request.tasks)
        except LabelingConfigError as error:
            logger.warning("Project %d gets empty predictions: %s", project_id, error)
            return [empty] * len(request.tasks)

    def receive(self, webhook: WebhookRequest) -> str | None:
        """Take an event as a hint that something changed, and say why a round is due now, if one is."""
        project_id = webhook.project_id
        if project_id is None:
            logger.warning("A webhook names no project: let it send its payload")
            return None
        if webhook.event is Event.PROJECT_DELETED:
            self._stores.projects.forget(project_id)
            return None
        reason = self._intake.take(webhook, project_id)
        if reason is not None:
            self._runner.wake(project_id)
        return reason

    def close(self) -> None:
        """Call off what is still to come; the next start looks at every project anyway."""
        for timer in self._timers:
            timer.cancel()

    def request_round(self, project_id: int, reason: str) -> None:
        """Make a round due now."""
        self._stores.projects.register(project_id)
        self._stores.projects.request_round(project_id, reason, delay=0.0)
        self._runner.wake(project_id)

    def wake(self, project_id: int) -> None:
        """Have somebody look at a project for which a round is due."""
        self._runner.wake(project_id)

    def rollback(self, project_id: int, number: int) -> Round:
        """Publish the queue and the model of an earlier round again; see :func:`roll_back`. It takes seconds."""
        return roll_back(self._workshop, project_id, number)

    def status(self, project_id: int) -> dict[str, Any] | None:
        """Return where a project stands; ``None`` for an unknown one."""
        project = self._stores.projects.get(project_id)
        if project is None:
            return None
        latest = self._stores.rounds.latest(project_id)
        labels = self._stores.labels.all(project_id)
        return {
            "project": project_id,
            "published_version": project.published_version,
            "queue_left": project.queue_left,
            "round_due": project.request,
            "adaptation": project.adaptation,
            "finetuning": self._finetuning(project_id),
            "problem": project.problem,
            "looked_for": list(named_classes(self._workshop.settings, project)),
            "not_looked_for": project.declined,
            "questions": [question.to_report() for question in open_questions(self._workshop, project_id)],
            "labels": sum(entry.label is not None for entry in labels.values()),
            "exemplars": sum(entry.steer > 0 for entry in labels.values()),
            "round": None
            if latest is None
            else {
                "number": latest.number,
                "version": latest.version,
                "state": latest.state.value,
                "stage": latest.stage,
                "done": latest.done,
                "total": latest.total,
                "because": latest.request,
                "started_at": latest.started_at,
                "finished_at": latest.finished_at,
                "error": latest.error,
                **latest.report,
            },
        }

    def _finetuning(self, project_id: int) -> str | None:
        try:
            return finetuning_state(self._workshop, project_id)
        except ClinicalError as error:
            return str(error)

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
