"""What steers the queue: who tagged it and when, what each exemplar brought, and where tags and readers contradict."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response

from clinical_backend.labelstudio.contract import ProjectId
from clinical_backend.multilabel import findings_of, has_any
from clinical_backend.rounds.questions import open_questions
from clinical_backend.service.exemplars import Brought, read_brought, read_cases_like, read_exemplars
from clinical_backend.service.outside_exemplars import MOST_AT_ONCE
from clinical_backend.storage.report import Kind
from clinical_backend.strategy.outside import standing_id
from clinical_backend.web.pages.routes import PageNumber, Pages
from clinical_backend.web.pages.site import Site, ThisSite
from clinical_backend.workspace.controls import classes_of

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from clinical_backend.service.exemplars import Exemplar
    from clinical_backend.storage.report import Question
    from clinical_backend.storage.schema import Project

__all__ = ["router"]

_PAGE = 48
"""Full rows of two, three, four, or six images, a few screens of them; by eye."""
_ABOUT_TAGS = frozenset({Kind.ALSO, Kind.BOTH_TAGS, Kind.AGAINST})
_SORTED = {"": "last tagged first", "brought": "most found near it first"}

router = APIRouter(include_in_schema=False)


@router.get("/projects/{project_id}/exemplars")
def exemplars(
    request: Request,
    site: ThisSite,
    project_id: ProjectId,
    page: PageNumber = 1,
    sort: Annotated[str, Query(max_length=100)] = "",
) -> Response:
    """Show what steers the queue."""
    row, project = site.project(project_id), site.workspace.project(project_id)
    published = site.stores.rounds.published(project_id)
    target = None if published is None else published.report.target
    tagged, conflicts = read_exemplars(project)
    outside = site.stores.outside_exemplars.all(project_id)
    pages = Pages(page, _PAGE, len(tagged))
    part = slice(pages.offset, pages.offset + pages.size)
    if sort == "brought":
        brought = read_brought(project)
        tagged.sort(key=lambda one: -brought.get(one.task_id, Brought()).found)
        shown = tagged[part]
    else:
        shown = tagged[part]
        brought = read_brought(project, [*(one.task_id for one in shown), *(standing_id(one.id) for one in outside)])
    passed = _passed_over(tagged, target)
    questions = [one for one in open_questions(project) if one.kind in _ABOUT_TAGS]
    classes = classes_of(project)
    return site.page(
        request,
        "exemplars.html",
        project=row,
        here="exemplars",
        tagged=tagged,
        shown=shown,
        brought=brought,
        outside_brought={one.id: brought.get(standing_id(one.id)) for one in outside},
        conflicts=conflicts,
        names=site.reader_names(row),
        questions=questions,
        passed={one.task_id for one in passed},
        also=_classes_passed_over(passed, questions, classes),
        target=target,
        pages=pages,
        sort=sort if sort in _SORTED else "",
        sorts=_SORTED,
        outside=outside,
        classes=classes,
        others={one: site.project(one).title for one in site.stores.projects.ids() if one != project_id},
        most_files=MOST_AT_ONCE,
    )


@router.get("/projects/{project_id}/exemplars/{task_id}")
def exemplar(request: Request, site: ThisSite, project_id: ProjectId, task_id: ProjectId) -> Response:
    """Show what was found near an exemplar, and which look-alikes misled."""
    row = site.project(project_id)
    tagged, _ = read_exemplars(site.workspace.project(project_id))
    one = next((one for one in tagged if one.task_id == task_id), None)
    return _brought_page(site, request, row, task_id, one=one, number=None)


@router.get("/projects/{project_id}/exemplars/outside/{number}")
def outside_exemplar(request: Request, site: ThisSite, project_id: ProjectId, number: ProjectId) -> Response:
    """Show the same of an exemplar from outside."""
    row = site.project(project_id)
    one = next((one for one in site.stores.outside_exemplars.all(project_id) if one.id == number), None)
    return _brought_page(site, request, row, standing_id(number), one=one, number=number)


def _brought_page(site: Site, request: Request, row: Project, standing: int, **values: Any) -> Response:
    """Return the page of one exemplar, given what stands for it in queues; it may be tagged no more."""
    project = site.workspace.project(row.id)
    cases = read_cases_like(project, standing)
    brought = cases.brought if cases.brought.read else None
    tasks = [case.task_id for case in (*cases.found, *cases.misled)]
    return site.page(
        request,
        "exemplar.html",
        status=200 if brought or values["one"] else 404,
        project=row,
        here="exemplars",
        standing=standing,
        cases=cases,
        brought=brought,
        names=site.reader_names(row),
        target=site.stores.rounds.published_report(row.id).target,
        studies=site.stores.studies.all(row.id, [*tasks, standing]),
        **values,
    )


def _passed_over(tagged: Iterable[Exemplar], target: Collection[str] | None) -> list[Exemplar]:
    """Return the exemplars that a queue passes over, since they show nothing that is looked for."""
    if target is None:
        return []
    return [one for one in tagged if one.kind == "exemplar" and one.label and not has_any(one.label, target)]


def _classes_passed_over(
    passed: Iterable[Exemplar], questions: Iterable[Question], classes: Sequence[str]
) -> dict[str, int]:
    """Return how many exemplars are of each class that is not looked for, and that nothing else on the page asks of."""
    asked = {one.name for one in questions}
    counts = Counter(name for one in passed for name in findings_of(one.label or ""))
    return {name: counts[name] for name in classes if name in counts and name not in asked}
