"""The calls that Label Studio makes."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Depends, HTTPException, Request
from fastapi.responses import Response

from clinical_backend.labelstudio.contract import (
    HealthReply,
    PredictReply,
    PredictRequest,
    ProjectId,
    SetupReply,
    SetupRequest,
    VersionsReply,
    WebhookReply,
    WebhookRequest,
)
from clinical_backend.service.status import read_status
from clinical_backend.storage.trail import LABEL_STUDIO, act_as
from clinical_backend.web.bodies import StorableRoute
from clinical_backend.web.dependencies import ThisBackend
from clinical_backend.web.pages.routes import overview
from clinical_backend.web.pages.site import ThisSite
from clinical_backend.web.security import TASK_LIMIT, wants_page

__all__ = ["make_router"]


async def _called_by_label_studio() -> None:
    act_as(LABEL_STUDIO)


def make_router() -> APIRouter:
    """Return the routes."""
    router = APIRouter(route_class=StorableRoute, dependencies=[Depends(_called_by_label_studio)])

    @router.get("/health")
    async def health() -> HealthReply:
        """Say that the server is alive; Label Studio waits one second for it."""
        return HealthReply()

    @router.post("/setup")
    def setup(request: SetupRequest, backend: ThisBackend) -> SetupReply:
        """Take a call as a hint that a project was connected; answered before anything slow."""
        return SetupReply(model_version=backend.setup(request))

    @router.post("/predict")
    def predict(request: PredictRequest, backend: ThisBackend) -> PredictReply:
        """Predict for each task, in order."""
        if len(request.tasks) > TASK_LIMIT:
            raise HTTPException(413, f"More than {TASK_LIMIT} tasks. Select fewer; a round reads them all anyway.")
        return PredictReply(results=[prediction or [] for prediction in backend.predict(request)])

    @router.post("/webhook")
    async def webhook(request: WebhookRequest, backend: ThisBackend) -> WebhookReply:
        """Take an event as a hint; a reader waits for this answer."""
        return WebhookReply(job=await backend.receive_soon(request))

    @router.get("/versions")
    def versions(backend: ThisBackend) -> VersionsReply:
        """List the published versions."""
        return VersionsReply(versions=backend.versions())

    @router.get("/projects/{project_id}", response_model=dict[str, Any])
    def status(request: Request, project_id: ProjectId, site: ThisSite) -> dict[str, Any] | Response:
        """Say where a project stands: to a person as a page."""
        if wants_page(request):
            return overview(site, request, project_id)
        found = read_status(site.workspace.project(project_id))
        if found is None:
            raise HTTPException(404, "The project is not connected. Run `clinical connect --project ID`.")
        return found.to_json()

    return router
