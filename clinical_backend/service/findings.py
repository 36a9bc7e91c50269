"""The yield ledger read back: what was found for how many labels, and what that says of the rest."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from clinical_backend.findings.evidence import LEAST_RARE
from clinical_backend.findings.forecast import labels_to_share
from clinical_backend.findings.recall import judge_recall
from clinical_backend.findings.yields import prevalence, times_random
from clinical_backend.multilabel import has_any
from clinical_backend.origins import Draw, Origin
from clinical_backend.project_settings import ProjectOptions
from clinical_backend.rounds.audit import read_draws
from clinical_backend.text import amount
from clinical_backend.workspace.project_options import read_options

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from clinical_backend.findings.interval import Interval
    from clinical_backend.findings.recall import Recall
    from clinical_backend.origins import LedgerEntry
    from clinical_backend.rounds.audit import Audit, Draws
    from clinical_backend.workspace.workspace import ProjectWorkspace

__all__ = ["Findings", "read_findings"]

_ESTIMATES = ("prevalence", "times_random", "left", "labels_to_90_percent")
_NO_TARGET = (
    "Nothing is looked for yet. Say on the project's page which finding is rare, or tag one; the next round follows."
)
_NO_CLASS = (
    "No tagged case has a class yet, so it is not known what counts. Answer one of them in Label Studio, or say on the "
    "project's page which finding is rare; the next round follows."
)
_NOTHING_FOUND = "The queue has found no rare case yet."
_CURVE_POINTS = 500
"""About one a pixel of the chart: more are not seen, and a page grows with them."""
_MOST_TOLD = 12
"""Targets that have figures of their own: a table that fits on a page."""
_SHARE = 0.9
"""Of the rare cases, the one that the figure is named by."""


@dataclass(frozen=True, slots=True)
class Findings:
    """What a project found, and what is estimated of the rest.

    Attributes
    ----------
    target
        The rare classes; empty while nothing is known of them.
    labels, found
        Tasks with a class, and those of a rare one.
    origins
        Labels, and rare cases among them, by how the labels came about; those that there are none of are left out.
    second_readings
        Tasks that two readers or more answered.
    curve
        Labels from queues and rare cases found among them, label after label, thinned to 500 points at most.
    audit_labels, audit_rare
        Labels of tasks that were drawn at random, and the rare ones among them.
    missing
        Audit labels that are missing until prevalence, times random and what is left can be said; 0 where they are.
    prevalence
        Share of rare cases among all tasks, labelled or not.
    times_random
        Rare cases that the queue found, divided by what random order would have found with as many labels.
    left
        Rare cases left in the pool, with the one-sided 95 % upper bound.
    pool
        Tasks without an answer whose image can be read.
    labels_to_90_percent
        Further labels until 90 % of the rare cases are found.
    methods
        By the name of each figure: its method in one sentence, or what is missing until it can be said.
    recalls
        Whether enough of each class or finding is found, all of these statements together with 95 % confidence.
    of_each
        Where several classes or findings are looked for: the same of each by itself.
    """

    target: tuple[str, ...] = ()
    labels: int = 0
    found: int = 0
    origins: dict[Origin, tuple[int, int]] = field(default_factory=dict)
    second_readings: int = 0
    curve: list[tuple[int, int]] = field(default_factory=list)
    audit_labels: int = 0
    audit_rare: int = 0
    missing: int = 0
    prevalence: Interval | None = None
    times_random: Interval | None = None
    left: Interval | None = None
    pool: int = 0
    labels_to_90_percent: Interval | None = None
    methods: dict[str, str] = field(default_factory=dict)
    recalls: dict[str, Recall] = field(default_factory=dict)
    of_each: dict[str, Findings] = field(default_factory=dict)


def read_findings(project: ProjectWorkspace) -> Findings:
    """Return what a project found so far; cheap enough for a page.

    Parameters
    ----------
    project
        The project; an unknown one has found nothing.
    """
    report = project.stores.rounds.published_report(project.id)
    target = report.target
    ledger = project.stores.labels.ledger(project.id)
    if not target:
        pool = project.stores.labels.open_tasks(project.id)
        missing = _NO_CLASS if report.counts.exemplars else _NO_TARGET
        return replace(_counted(target, ledger, pool), methods=dict.fromkeys(_ESTIMATES, missing))
    draws = read_draws(project, ledger)
    alone = {name: draws.audit((name,)) for name in target}
    together = draws.audit(target) if len(target) > 1 else alone[target[0]]
    found = _with_estimates(_counted(target, ledger, draws.open_tasks), together)
    found = replace(found, recalls=_recalls(project, draws, alone))
    if len(target) < 2:
        return found
    each = {name: _counted((name,), ledger, draws.open_tasks) for name in target[:_MOST_TOLD]}
    return replace(found, of_each={name: _with_estimates(known, alone[name]) for name, known in each.items()})


def _recalls(project: ProjectWorkspace, draws: Draws, audits: Mapping[str, Audit]) -> dict[str, Recall]:
    """Judge each class or finding by itself, so that all judgements are right together."""
    wanted = read_options(project)["target_recall"].value
    if not isinstance(wanted, float):  # an extra parameter that the settings page says to be wrong
        wanted = ProjectOptions.model_fields["target_recall"].default
    uncovered = draws.newer + project.stores.labels.unread_tasks(project.id)
    recalls = {}
    for name, audit in audits.items():
        judged = judge_recall(
            audit.yields,
            found=audit.counts.found,
            tasks=audit.pool + len(audit.counts),
            pool=audit.pool,
            target=wanted,
            together=len(audits),
            uncovered=uncovered,
        )
        recalls[name] = replace(judged, patients=_patients(project, draws.ledger, name))
    return recalls


def _patients(project: ProjectWorkspace, ledger: Sequence[LedgerEntry], name: str) -> int | None:
    """Return how many patients have a class or finding; ``None`` where tasks name none."""
    rare = [entry.task_id for entry in ledger if has_any(entry.label, (name,))]
    groups = project.stores.images.groups(project.id, rare)
    if not groups and not project.stores.images.has_groups(project.id):
        return None
    return len({groups.get(task, task) for task in rare})


def _counted(target: tuple[str, ...], ledger: Sequence[LedgerEntry], pool: int) -> Findings:
    return Findings(
        target=target,
        labels=len(ledger),
        found=sum(has_any(entry.label, target) for entry in ledger),
        origins=_origins(ledger, target),
        second_readings=sum(entry.readings > 1 for entry in ledger),
        curve=_curve([has_any(entry.label, target) for entry in ledger if entry.draw is not None]),
        audit_labels=sum(entry.draw is Draw.AUDIT for entry in ledger),
        audit_rare=sum(entry.draw is Draw.AUDIT and has_any(entry.label, target) for entry in ledger),
        pool=pool,
    )


def _with_estimates(known: Findings, audit: Audit) -> Findings:
    left, pool, counts, evidence = audit.left, audit.pool, audit.counts, audit.left.evidence
    if evidence.missing:
        more = f"{evidence.missing} more audit {'labels' if evidence.missing > 1 else 'label'} until this can be said"
        why = f"{more}: a part of each queue is drawn at random{_not_covered(audit)}."
        return replace(known, missing=evidence.missing, methods=dict.fromkeys(_ESTIMATES, why))
    first, last = audit.rounds or (0, 0)
    method = (
        f"{evidence.labels} labels of tasks drawn at random in rounds {first} to {last}, each from what was unlabelled "
        f"then (hypergeometric likelihood){_not_covered(audit)}"
    )
    if evidence.carries_estimate:
        held = "; prior ∝ 1/(x + 1), the shortest interval that holds 95 %"
        bounded = "; prior ∝ 1/(x + 1), the one-sided 95 % bound"
    else:
        held = bounded = f"; fewer than {LEAST_RARE} of them are rare, so a one-sided 95 % bound alone, flat prior"
    found, queue_labels, queue_found = counts.found, counts.queue_labels, counts.queue_found
    rare = LEAST_RARE - evidence.rare
    return replace(
        known,
        prevalence=prevalence(left, found=found, tasks=pool + len(counts)),
        left=left.bound(),
        times_random=times_random(left, found=queue_found, labels=queue_labels, pool=pool) if queue_found else None,
        labels_to_90_percent=labels_to_share(left, audit.yields, found=found, pool=pool, share=_SHARE),
        methods={
            "prevalence": f"From {method}{held}.",
            "left": f"From {method}{bounded}.",
            "times_random": "Rare cases that the queue found, divided by those that as many labels find in random "
            f"order. The share of rare cases is estimated from {method}{held}."
            if queue_found
            else _NOTHING_FOUND,
            "labels_to_90_percent": "Forecast if the queue goes on to prefer rare cases as in its last 500 labels "
            "(biased urn); rare cases that look unlike those found so far take longer. The rare cases left are "
            f"estimated from {method}{held}."
            if evidence.carries_estimate
            else f"{rare} more rare {'cases' if rare > 1 else 'case'} among the audit labels until this can be said.",
        },
    )


def _not_covered(audit: Audit) -> str:
    newer = amount(audit.newer, "task that came later is", "tasks that came later are")
    text = f"; {newer} not covered" if audit.newer else ""
    if audit.passed_over:
        labels = amount(audit.passed_over, "audit label tells", "audit labels tell")
        text += f"; {labels} nothing, since many images of the pool could not be read when they were drawn"
    return text


def _origins(ledger: Sequence[LedgerEntry], target: Sequence[str]) -> dict[Origin, tuple[int, int]]:
    rare = {origin: [has_any(entry.label, target) for entry in ledger if entry.origin is origin] for origin in Origin}
    return {origin: (len(one), sum(one)) for origin, one in rare.items() if one}


def _curve(rare: Sequence[bool]) -> list[tuple[int, int]]:
    found = np.cumsum([0, *rare])
    places = np.arange(len(found))[:: -(-len(found) // (_CURVE_POINTS - 1))]
    if places[-1] < len(rare):
        places = np.append(places, len(rare))
    return list(zip(places.tolist(), found[places].tolist(), strict=True))
