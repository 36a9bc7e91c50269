"""The pages of the model: how good it is, how it became so, what it gets wrong, and going back to an earlier one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response

from clinical_backend.findings.performance import LEAST_CASES
from clinical_backend.labelstudio.contract import ProjectId
from clinical_backend.rounds.chances import read_reliability
from clinical_backend.rounds.retention import earlier_rounds
from clinical_backend.rounds.rollback import what_follows
from clinical_backend.service.judged_labels import read_judged_labels
from clinical_backend.service.set_aside import models_on_test_set, read_set_aside
from clinical_backend.storage.schema import RoundState
from clinical_backend.web.pages.charts import chances_chart, threshold_chart
from clinical_backend.web.pages.flash import Flash
from clinical_backend.web.pages.learning_curves import learning_curves
from clinical_backend.web.pages.site import Site, ThisSite
from clinical_backend.workspace.controls import classes_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from clinical_backend.service.judged_labels import JudgedLabels, SiteMeasures, Threshold
    from clinical_backend.web.pages.charts import Chart

__all__ = ["router"]

_HISTORY, _LISTED = 100, 20
"""Rounds that a curve is drawn of, and those that are listed; by eye."""
_SHOWN = 60
"""Mistakes that are shown at once; by eye."""
_MOST_SITES = 30
"""Those with the most labels; by eye."""

router = APIRouter(include_in_schema=False)

Name = Annotated[str | None, Query(max_length=1000)]
Number = Annotated[int, Query(alias="round", ge=1, le=10**9)]


@router.get("/projects/{project_id}/model")
def model(request: Request, site: ThisSite, project_id: ProjectId) -> Response:
    """Show how good the classifier is, and the rounds that led to it."""
    row, project = site.project(project_id), site.workspace.project(project_id)
    bins = read_reliability(project)
    published = site.stores.rounds.published(project_id)
    rounds = site.stores.rounds.history(project_id, _HISTORY)
    evaluation = published.report.evaluation if published else None
    target = published.report.target if published else ()
    judged = read_judged_labels(project, published)
    return site.page(
        request,
        "model.html",
        project=row,
        here="model",
        evaluation=evaluation,
        unlabelled=[name for name in classes_of(project) if evaluation and name not in evaluation.classes],
        mistakes=len(judged.mistakes()) if judged else 0,
        card=judged is not None,
        fields=[str(name) for name, *_ in row.task_fields],
        curves=learning_curves(rounds, target),
        thresholds=_thresholds(judged, target),
        by_site=_by_site(judged, target, site, project_id),
        bins=bins,
        chances=chances_chart(bins),
        published=published,
        rounds=rounds[:_LISTED],
        earlier=earlier_rounds(project),
        comparable=[one.number for one in rounds if one.state is RoundState.PUBLISHED],
        test_set=read_set_aside(project),
        on_test_set=models_on_test_set(project),
        least=LEAST_CASES,
    )


@router.get("/projects/{project_id}/model/mistakes")
def mistakes(
    request: Request, site: ThisSite, project_id: ProjectId, given: Name = None, said: Name = None
) -> Response:
    """Show labels that the classifier, which had not seen them, contradicts."""
    row = site.project(project_id)
    published = site.stores.rounds.published(project_id)
    judged = read_judged_labels(site.workspace.project(project_id), published)
    found = judged.mistakes(given or None, said or None) if judged else []
    return site.page(
        request,
        "mistakes.html",
        project=row,
        here="model",
        cases=found[:_SHOWN],
        count=len(found),
        judged=len(judged.tasks) if judged else 0,
        given=given,
        said=said,
        studies=site.stores.studies.all(project_id, [one.task_id for one in found[:_SHOWN]]),
    )


@router.get("/projects/{project_id}/rollback")
def before_rollback(request: Request, site: ThisSite, project_id: ProjectId, number: Number) -> Response:
    """Say what going back to a round changes, before it is done."""
    row, project = site.project(project_id), site.workspace.project(project_id)
    published, earlier = site.stores.rounds.published(project_id), earlier_rounds(project).get(number)
    if published is None or earlier is None:
        flash = Flash(f"Round {number} is not kept, or is the one that is served.", wrong=True)
        return site.back(request, f"/projects/{project_id}/model", flash)
    _, waiting = site.stores.rounds.open_queue(earlier, limit=0)
    return site.page(
        request,
        "rollback.html",
        project=row,
        here="model",
        earlier=earlier,
        published=published,
        waiting=waiting,
        left=row.queue_left,
        follows=what_follows(project, earlier),
    )


def _thresholds(judged: JudgedLabels | None, target: Sequence[str]) -> list[tuple[str, Chart, list[Threshold]]]:
    """Return of each class that is looked for its chart and its thresholds."""
    if judged is None:
        return []
    of_each = ((name, judged.thresholds(name)) for name in target)
    return [(name, threshold_chart(found), found) for name, found in of_each if found]


def _by_site(
    judged: JudgedLabels | None, target: Sequence[str], site: Site, project_id: int
) -> list[tuple[str, list[SiteMeasures]]]:
    """Return of each class that is looked for how it is called at each site."""
    if judged is None:
        return []
    sites = site.stores.images.sites(project_id, judged.tasks.tolist())
    of_each = ((name, judged.by_site(name, sites)[:_MOST_SITES]) for name in target)
    return [(name, found) for name, found in of_each if found]
