"""The pages of second readings: what is doubted, what came of it, and a page to read a case again unseen."""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING, Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response

from clinical_backend.errors import ClinicalError, SettingsError
from clinical_backend.labelstudio.contract import ProjectId
from clinical_backend.multilabel import as_words, pack
from clinical_backend.service.second_look import read_second_look
from clinical_backend.service.second_readings import Outcome, read_again, read_agreements
from clinical_backend.text import amount
from clinical_backend.web.dependencies import ThisBackend
from clinical_backend.web.pages.actions import Form
from clinical_backend.web.pages.flash import Flash
from clinical_backend.web.pages.site import Site, ThisSite
from clinical_backend.workspace.controls import classes_of, scheme_of
from clinical_backend.workspace.workspace import ProjectWorkspace

if TYPE_CHECKING:
    from clinical_backend.labelstudio.labeling.several_findings import SeveralFindings

__all__ = ["router"]

_SHOWN = 100
"""More than a person reads at one sitting; by eye."""
_FIRST = 10
"""Sent to readers by one press: a portion of a queue that other readers hardly notice; by eye."""
_CASES = re.compile(r"/readers/cases(\?[\w%=&+.~\-]*)?", re.ASCII)
"""Where a form of the cases leads back to, with all that ``urlencode`` writes."""

router = APIRouter(include_in_schema=False)

Passed = Annotated[int, Query(ge=0, le=1000)]


@router.get("/projects/{project_id}/second-look")
def second_look(request: Request, site: ThisSite, project_id: ProjectId) -> Response:
    """Show labels that may be wrong, what came of second readings, and how far readers agree."""
    row, project = site.project(project_id), site.workspace.project(project_id)
    waiting = site.stores.second_readings.waiting(project_id)
    tasks = read_second_look(project, limit=_SHOWN)
    try:
        settings = project.settings
    except SettingsError:  # the project's problem says so
        settings = site.settings

    def late() -> str:
        differing = read_again(project, None, differing=True)
        return site.render(
            "agreement.html",
            request,
            project=row,
            cases=len(differing),
            open=sum(one.outcome is Outcome.OPEN for one in differing),
            read=site.stores.second_readings.is_any_read(project_id),
            agreements=read_agreements(site.stores.second_readings.patterns(project_id), seed=settings.seed),
        )

    return site.page_in_parts(
        request,
        "second_look.html",
        late,
        project=row,
        here="second-look",
        tasks=tasks,
        first=[one.task_id for one in tasks if one.task_id not in waiting or not waiting[one.task_id].by_lead][:_FIRST],
        waiting=waiting,
        shares=(settings.second_look_share, settings.second_look_random_share),
        problem=site.stores.rounds.published_report(project_id).second_look.problem,
    )


@router.post("/projects/{project_id}/second-look")
def decide(request: Request, site: ThisSite, backend: ThisBackend, project_id: ProjectId, form: Form) -> Response:
    """Ask readers for second readings, or take that back; say that a label is right, or take that back."""
    site.project(project_id)
    store = site.stores.second_readings
    right, again, taken_back = (_task(form.get(field)) for field in ("right", "again", "take_back"))
    ticked = [
        task
        for value in form.getlist("task") + str(form.get("first", "")).split()
        if (task := _task(value)) is not None
    ]
    labels = site.stores.labels.all(project_id, [*ticked, *([] if right is None else [right])])
    if right is not None:
        label = labels[right].label if right in labels else None
        if label is None:
            flash = Flash(f"Task {right} has no class by now.", wrong=True)
        else:
            store.check(project_id, right, label, label, blind=False)
            flash = Flash(
                f"Task {right} was right as {as_words(label)}. It is not asked about again while it is of this class."
            )
    elif again is not None:
        store.uncheck(project_id, again)
        flash = Flash(f"Task {again} counts as not looked at again.")
    elif taken_back is not None:
        done = store.take_back(project_id, taken_back)
        flash = Flash(f"Task {taken_back} is not asked for any more." if done else "Nothing was changed.")
        backend.wake(project_id)
    else:
        asked = {
            task: (label, labels[task].readings)
            for task in ticked
            if task in labels and (label := labels[task].label) is not None and labels[task].readings < 2
        }
        flash = _ask(site, backend, project_id, asked) if ticked else Flash("No task is ticked.", wrong=True)
    prefix, back = f"/projects/{project_id}", str(form.get("back", ""))
    of_cases = back.startswith(prefix) and _CASES.fullmatch(back.removeprefix(prefix))
    return site.back(request, back if of_cases else f"{prefix}/second-look", flash)


@router.get("/projects/{project_id}/second-look/read")
def reading(request: Request, site: ThisSite, project_id: ProjectId, passed: Passed = 0) -> Response:
    """Show a case to be read again, without the answer that it has."""
    project = site.project(project_id)
    cases = _cases(site, project_id)
    task = cases[passed] if passed < len(cases) else None
    return site.page(
        request,
        "reading.html",
        project=project,
        here="second-look",
        task=task,
        studies={} if task is None else site.stores.studies.all(project_id, [task]),
        left=max(0, len(cases) - passed),
        passed=passed,
        classes=classes_of(site.workspace.project(project_id)),
        several=_has_several(site.workspace.project(project_id)),
    )


@router.post("/projects/{project_id}/second-look/read")
def read(request: Request, site: ThisSite, project_id: ProjectId, form: Form) -> Response:
    """Take a reading of our own page. The label stays: who reads here is not known, and Label Studio is the truth."""
    site.project(project_id)
    task, answer = _task(form.get("task")), _answer(site.workspace.project(project_id), form)
    passed = _task(form.get("passed")) or 0
    row = site.stores.labels.all(project_id, [task]).get(task) if task is not None else None
    if task is None or row is None or row.label is None or answer is None:
        flash = Flash("Nothing was noted: the task, or the class, is not there any more.", wrong=True)
    else:
        site.stores.second_readings.check(project_id, task, row.label, answer, blind=True)
        flash = Flash("Noted.")
    query = f"?passed={min(passed, 1000)}" if passed else ""
    return site.back(request, f"/projects/{project_id}/second-look/read{query}", flash)


def _has_several(project: ProjectWorkspace) -> bool:
    return _findings(project) is not None


def _findings(project: ProjectWorkspace) -> SeveralFindings | None:
    try:
        scheme = scheme_of(project)
    except ClinicalError:  # the project's problem says what is wrong with it
        return None
    return None if scheme is None else scheme.several


def _answer(project: ProjectWorkspace, form: Form) -> str | None:
    """Return the label that a reading gives: a class, or what is ticked of several findings; ``None`` for none."""
    several = _findings(project)
    if several is not None:
        ticked = {str(name) for name in form.getlist("finding")}
        return pack(several.implied(ticked)) if ticked <= set(several.names) else None
    answer = str(form.get("answer", ""))
    return answer if answer in classes_of(project) else None


def _ask(site: Site, backend: ThisBackend, project_id: int, asked: dict[int, tuple[str, int]]) -> Flash:
    """Note what the lead asks for, and make a round due that brings it to readers."""
    new = site.stores.second_readings.ask(project_id, asked)
    if not new:
        return Flash("Nothing was changed: these have no class, or are read twice, or asked for, already.", wrong=True)
    backend.request_round(project_id, "second readings were asked for")
    what = amount(new, "task is", "tasks are")
    return Flash(f"{what} put among the next ones of readers who have not answered them, by the round that is due.")


def _cases(site: Site, project_id: int) -> list[int]:
    """Return the cases to be read on our own page: doubtful ones among about as many others, so that none is a hint.

    A coin decides at each place which of the two comes next. It falls by what they are, so that what was read leaves
    the others in their order.
    """
    labels = site.stores.labels.all(project_id)
    checks = site.stores.second_readings.checks(project_id)

    def toss(*tasks: int) -> str:
        return hashlib.sha256(f"{project_id} {tasks}".encode()).hexdigest()

    doubtful = sorted(
        (one.task_id for one in read_second_look(site.workspace.project(project_id), limit=_SHOWN)), key=toss
    )
    others = sorted(
        (
            task
            for task, row in labels.items()
            if row.label is not None
            and row.readings == 1
            and task not in doubtful
            and (task not in checks or checks[task].label != row.label)
        ),
        key=toss,
    )
    cases: list[int] = []
    while doubtful:
        ordinary = bool(others) and toss(doubtful[0], others[0]) < "8"
        cases.append((others if ordinary else doubtful).pop(0))
    return cases


def _task(value: object) -> int | None:
    text = str(value or "")
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 19 else None
