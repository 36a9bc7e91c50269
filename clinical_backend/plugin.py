"""The same backend as a class of the ``label-studio-ml`` SDK, for those who serve with that."""

from __future__ import annotations

import json
import logging
import os
import threading
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from clinical_backend.errors import ClinicalError
from clinical_backend.jobs.local_runner import LocalRunner
from clinical_backend.labelstudio.contract import PredictRequest, SetupRequest, WebhookRequest
from clinical_backend.rounds.reconcile import reconcile
from clinical_backend.service.backend import Backend
from clinical_backend.settings import load_settings
from clinical_backend.text import storable_json
from clinical_backend.workspace.workspace import open_workspace

if TYPE_CHECKING:
    from collections.abc import Sequence

try:
    from label_studio_ml.model import LabelStudioMLBase
except ImportError:

    class LabelStudioMLBase:  # type: ignore[no-redef]
        """Stands in for the SDK's base class where that is not installed: the same hooks, nothing else."""

        def __init__(self, project_id: str | None = None, label_config: str | None = None, **_kwargs: Any) -> None:
            self.project_id = project_id
            self.label_config = label_config


try:
    from flask import has_request_context, request
except ImportError:

    def has_request_context() -> bool:
        """Stand in for Flask, with which the SDK serves: without it, no call is being answered."""
        return False


__all__ = ["ClinicalBackend"]

logger = logging.getLogger(__name__)

_making = threading.Lock()


class ClinicalBackend(LabelStudioMLBase):  # type: ignore[misc]  # Any where the SDK is installed
    """Predicts, and takes events as hints for rounds, under either line of the SDK (1.0.9 or 2.x).

    The SDK's servers drop events and know no project in some calls; ``clinical serve`` has neither limit.
    """

    def setup(self) -> None:
        """Name the version of what it answers, as SDK 2.x asks when it makes an instance, which it does in each call.

        In a call of ``/setup``, or outside of any, the project is taken on or its connection checked, with the call's
        extra parameters: the SDK hands over none where they were emptied.
        """
        project_id = self._project()
        if project_id is None:
            return
        path, body = _call()
        backend = _shared_backend(background=True)
        if path in {None, "/setup"}:
            given = body.get("extra_params") if path else getattr(self, "extra_params", None)
            version = backend.setup(SetupRequest.model_validate({"project": project_id, "extra_params": given}))
        else:
            version = backend.on_demand_version(project_id)
        if hasattr(self, "set"):
            self.set("model_version", version)

    def set_extra_params(self, extra_params: object) -> None:
        """Keep the extra parameters where SDK 2.x does, which takes text alone: Label Studio sends objects too."""
        if hasattr(self, "set"):
            self.set("extra_params", extra_params if isinstance(extra_params, str) else json.dumps(extra_params))

    def predict(
        self, tasks: Sequence[dict[str, Any]], context: dict[str, Any] | None = None, **_kwargs: Any
    ) -> list[dict[str, Any] | list[Any]]:
        """Return one prediction per task, in order, for tasks as Label Studio sends them; an empty list for none."""
        project_id = next((task["project"] for task in tasks if task.get("project")), None) or self._project()
        request = PredictRequest.model_validate(
            {
                "tasks": storable_json(list(tasks)),
                "project": project_id,
                "label_config": self.label_config,
                "params": {"context": context},
            }
        )
        return [prediction.model_dump() if prediction else [] for prediction in _shared_backend().predict(request)]

    def fit(
        self, *args: Any, event: str | None = None, data: dict[str, Any] | None = None, **kwargs: Any
    ) -> dict[str, Any]:
        """Take an event as a hint; run the round here where the SDK gives a process of its own to it.

        Parameters
        ----------
        args
            ``(event, data)`` from SDK 2.x, ``((),)`` from 1.0.9, which names them by keyword.
        kwargs
            ``workdir`` and ``job_id`` from 1.0.9, whose call is in a job's own process.
        """
        if event is None and len(args) == 2:
            event, data = args
        try:
            payload = data if isinstance(data, dict) else {}  # the SDK passes on whatever it was sent
            webhook = WebhookRequest.model_validate(storable_json({**payload, "action": event or ""}))
        except ValidationError:
            return {}
        in_own_process = "job_id" in kwargs or "workdir" in kwargs
        backend = _shared_backend(background=not in_own_process)
        if in_own_process and webhook.project_id is not None:
            _meet(backend, webhook.project_id)
        reason = backend.receive(webhook)
        if reason is not None and in_own_process and webhook.project_id is not None:
            reconcile(open_workspace(load_settings()).project(webhook.project_id), look=False)
        return {"model_version": backend.version(webhook.project_id or 0)}

    def _project(self) -> int | None:
        """Return the project that SDK 2.x made this instance for, or that the call of either SDK names."""
        _, body = _call()
        named = (_project_id(value) for value in (getattr(self, "project_id", None), body.get("project")))
        return next((project_id for project_id in named if project_id is not None), None)


def _call() -> tuple[str | None, dict[str, Any]]:
    """Return the path and the body of the call that the SDK's server is answering; no path outside of any."""
    if not has_request_context():
        return None, {}
    body = request.get_json(silent=True)
    return request.path, body if isinstance(body, dict) else {}


def _meet(backend: Backend, project_id: int) -> None:
    try:
        backend.meet(project_id)
    except ClinicalError as error:
        logger.warning("Project %d is not taken on: %s", project_id, error)


class _NoRunner:
    """Leaves the rounds to the caller."""

    def start(self) -> None:
        """Do nothing."""

    def wake(self, project_id: int) -> None:
        """Do nothing."""

    def stop(self) -> None:
        """Do nothing."""


def _shared_backend(*, background: bool = False) -> Backend:
    with _making:  # the SDK's server has many threads, and one worker is enough
        return _backend(background=background)


@lru_cache(maxsize=2)
def _backend(*, background: bool) -> Backend:
    settings = load_settings()
    runner = LocalRunner(settings.environment(os.environ)) if background else _NoRunner()
    runner.start()
    return Backend(open_workspace(settings), runner)


def _project_id(value: object) -> int | None:
    if isinstance(value, dict):
        value = value.get("id")
    text = str(value or "").partition(".")[0]
    return (
        int(text) if text.isascii() and text.isdigit() and len(text) < 19 and int(text) else None
    )  # a database's limit
