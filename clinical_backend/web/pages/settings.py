"""A project's settings: shown, saved, and what they would change told before they are saved."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import RedirectResponse, Response

from clinical_backend.errors import ClinicalError
from clinical_backend.labelstudio.contract import ProjectId
from clinical_backend.labelstudio.labeling.task_fields import TaskField
from clinical_backend.rounds.queue_preview import changes_of
from clinical_backend.web.dependencies import ThisBackend
from clinical_backend.web.pages.actions import Form
from clinical_backend.web.pages.flash import Flash
from clinical_backend.web.pages.settings_conflict import Meanwhile, changed_meanwhile, merged
from clinical_backend.web.pages.settings_effect import effect_of, refusal
from clinical_backend.web.pages.settings_form import SettingsForm, read_settings
from clinical_backend.web.pages.site import Site, ThisSite
from clinical_backend.workspace.controls import classes_of, learnable_controls, learnt_of
from clinical_backend.workspace.project_options import (
    SettingsChangedError,
    page_state,
    read_options,
    stay_declined,
    store_options,
)
from clinical_backend.workspace.settings_preview_files import (
    PreviewAnswer,
    PreviewQuestion,
    load_question,
    new_key,
    save_answer,
    save_question,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.datastructures import FormData

    from clinical_backend.project_settings import ProjectOptions

__all__ = ["router"]

router = APIRouter(include_in_schema=False)

Key = Annotated[str, Query(max_length=100)]


@router.get("/projects/{project_id}/settings")
def show(request: Request, site: ThisSite, project_id: ProjectId) -> Response:
    """Show the project's settings."""
    return _page(site, request, project_id)


@router.post("/projects/{project_id}/settings")
def save(request: Request, site: ThisSite, backend: ThisBackend, project_id: ProjectId, form: Form) -> Response:
    """Set the project's own options, unless somebody else changed them since the form was shown."""
    options, entered, problems = _read(site, project_id, form)
    seen = _seen(form)
    if options is None:
        return _page(site, request, project_id, status=422, entered=entered, problems=problems, seen=seen)
    try:
        store_options(site.workspace.project(project_id), options, declined=_declined(form), seen=seen)
    except SettingsChangedError:
        row = site.project(project_id)
        entered = merged(seen or "", page_state(row), entered)
        others = changed_meanwhile(site.stores.trail, project_id, seen or "", page_state(row), entered)
        return _page(site, request, project_id, status=409, entered=entered, meanwhile=others)
    backend.wake(project_id)
    flash = Flash("Saved. A round with these settings is due.")
    return site.back(request, f"/projects/{project_id}/settings", flash)


@router.post("/projects/{project_id}/settings/preview")
def ask(request: Request, site: ThisSite, project_id: ProjectId, form: Form) -> Response:
    """Have told what settings would change that are not saved: what is refused is what saving refuses."""
    options, entered, problems = _read(site, project_id, form)
    if options is None:
        return _page(site, request, project_id, status=422, entered=entered, problems=problems, seen=_seen(form))
    project, row = site.workspace.project(project_id), site.project(project_id)
    question = PreviewQuestion(
        key=new_key(),
        asked_at=time.time(),
        options=options.model_dump(exclude_unset=True, mode="json"),
        declined=stay_declined(row.declined, _declined(form), options),
        entered=entered,
        seen=_seen(form) or page_state(row),
    )
    folder = project.settings_preview_folder
    try:
        if changes_of(project, row, question).ordering:
            site.settings_previews.require_room(project_id)
            save_question(folder, question)
            site.settings_previews.start(project_id)
        else:
            save_question(folder, question)
            save_answer(folder, PreviewAnswer(key=question.key))
    except ClinicalError as error:  # what was entered is not lost
        told = refusal(str(error))
        return _page(site, request, project_id, status=409, entered=entered, seen=_seen(form), preview=told)
    return RedirectResponse(f"/projects/{project_id}/settings/preview?key={question.key}", 303)


@router.get("/projects/{project_id}/settings/preview")
def preview(request: Request, site: ThisSite, project_id: ProjectId, key: Key = "") -> Response:
    """Show what was entered, and what it would change."""
    site.project(project_id)
    question = load_question(site.workspace.project(project_id).settings_preview_folder, key)
    if question is None:
        return RedirectResponse(f"/projects/{project_id}/settings", 303)
    effect = effect_of(site, project_id, question)
    return _page(site, request, project_id, entered=question.entered, seen=question.seen, preview=effect)


@router.get("/projects/{project_id}/fragments/settings-preview")
def preview_part(request: Request, site: ThisSite, project_id: ProjectId, key: Key = "") -> Response:
    """Show what was asked of settings that are not saved."""
    row = site.project(project_id)
    question = load_question(site.workspace.project(project_id).settings_preview_folder, key)
    effect = None if question is None else effect_of(site, project_id, question)
    return site.fragment(request, "settings_preview.html", project=row, preview=effect)


def _read(site: Site, project_id: int, form: FormData) -> tuple[ProjectOptions | None, dict[str, str], dict[str, str]]:
    site.project(project_id)
    project = site.workspace.project(project_id)
    controls = learnable_controls(project)
    return read_settings(form, classes_of(project), read_options(project), controls=controls)


def _declined(form: FormData) -> list[str]:
    return [str(name) for name in form.getlist("declined")]


def _seen(form: FormData) -> str | None:
    """Return what the page set when a form was shown; ``None`` where the form comes from an earlier version."""
    return str(form["seen"]) if "seen" in form else None


def _page(
    site: Site,
    request: Request,
    project_id: int,
    *,
    status: int = 200,
    entered: dict[str, str] | None = None,
    problems: dict[str, str] | None = None,
    seen: str | None = None,
    meanwhile: Sequence[Meanwhile] | None = None,
    preview: dict[str, Any] | None = None,
) -> Response:
    """Return the page of a project's settings, with what was entered and is not saved, if anything was."""
    row, project = site.project(project_id), site.workspace.project(project_id)
    form = SettingsForm(
        classes_of(project),
        read_options(project),
        entered,
        problems,
        declined=row.declined,
        controls=learnable_controls(project),
        task_fields=[TaskField(*one) for one in row.task_fields],
        seen=page_state(row) if seen is None else seen,
    )
    return site.page(
        request,
        "settings.html",
        status=status,
        project=row,
        here="settings",
        form=form,
        learnt=learnt_of(project),
        meanwhile=meanwhile,
        preview=preview,
    )
