"""Where a project stands, in six lines that a lead reads."""

from __future__ import annotations

from typing import TYPE_CHECKING

from clinical_backend.jobs.stall import stalls
from clinical_backend.rounds.drift import rests
from clinical_backend.rounds.questions import open_questions
from clinical_backend.service.evaluation import read_evaluation
from clinical_backend.service.findings import read_findings
from clinical_backend.storage.schema import RoundState
from clinical_backend.storage.stores.troubles import TroubleKind
from clinical_backend.web.pages.progress import STAGES
from clinical_backend.web.pages.templating import ago, figure, number, percent
from clinical_backend.workspace.notices import notices
from clinical_backend.workspace.options import named_classes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from clinical_backend.service.findings import Findings
    from clinical_backend.storage.schema import Project, Round
    from clinical_backend.workspace.workspace import ProjectWorkspace

__all__ = ["ATTENTION", "found_line", "summarise"]

ATTENTION = "Needs attention"


def summarise(project: ProjectWorkspace, row: Project) -> dict[str, str]:
    """Return the lines by their headings; that of what needs attention is empty where nothing does.

    Parameters
    ----------
    project
        With its state; Label Studio is not asked.
    row
        What the database knows of it.
    """
    published = project.stores.rounds.published(row.id)
    found = read_findings(project.stores, row.id)
    is_named = bool(named_classes(project.workspace.settings, row))
    return {
        f"Project {row.id}": _target(project, row, found),
        "Labels": _labels(project, row, found),
        "Found": found_line(found, is_named=is_named),
        "Queue": _queue(project, row, published),
        "Model": _model(project, row, found),
        ATTENTION: _attention(project, row, published),
    }


def _target(project: ProjectWorkspace, row: Project, found: Findings) -> str:
    named = named_classes(project.workspace.settings, row)
    target, by = (named, "") if named else (found.target, ", by tags")
    looked_for = f"looks for {', '.join(target)}{by}" if target else "looks for nothing yet"
    return f"{row.title!r} {looked_for}" if row.title else looked_for


def _labels(project: ProjectWorkspace, row: Project, found: Findings) -> str:
    exemplars = sum(entry.steer > 0 for entry in project.stores.labels.all(row.id).values())
    tagged = f"; {_count(exemplars, 'exemplar')} tagged" if exemplars else ""
    return f"{_count(found.labels, 'task')} labelled, {number(found.pool)} to go{tagged}"


def found_line(found: Findings, *, is_named: bool = False) -> str:
    """Say what was found against what random order finds.

    Parameters
    ----------
    found
        What was found.
    is_named
        Whether a class is looked for by name, be it that no round has done so yet.
    """
    if not found.target:
        return "nothing yet: no round has looked for it" if is_named else "nothing is looked for yet"
    queued, queued_rare = found.curve[-1]
    rare = _count(found.found, "rare case")
    if not queued:
        return f"{rare}; no label is from a queue yet"
    share = "" if found.found == queued_rare else f"{number(queued_rare)} of them "
    return f"{rare}, {share}in {_count(queued, 'label')} from queues; random order: {_expected(found, queued)}"


def _expected(found: Findings, labels: int) -> str:
    """Say what random order finds in so many labels, as far as the evidence carries it."""
    prevalence = found.prevalence
    if prevalence is None:
        return f"known after {number(found.missing)} more {'label' if found.missing == 1 else 'labels'} of random draws"
    low, high = (None if end is None else figure(end * labels) for end in (prevalence.low, prevalence.high))
    if prevalence.estimate is not None:
        return f"about {figure(prevalence.estimate * labels)} (95 % interval {low} to {high})"
    bound = f"at most {high}" if high is not None else f"at least {low}"
    return f"{bound}, with 95 % confidence"


def _queue(project: ProjectWorkspace, row: Project, published: Round | None) -> str:
    latest = project.stores.rounds.latest(row.id)
    coming = ""
    if latest is not None and latest.state is RoundState.RUNNING:
        done = f" ({number(latest.done)} of {number(latest.total)})" if latest.total else ""
        coming = f"; round {latest.number} is running: {STAGES.get(latest.stage, latest.stage).lower()}{done}"
    elif row.standing_back is not None:
        coming = "; no round runs: another installation serves the project"
    elif (resting := rests(row)) is not None:
        coming = f"; {resting[0].lower()}{resting[1:].rstrip('.')}"
    elif row.request is not None:
        coming = f"; a round is due, because {row.request}"
    if published is None:
        return f"none is published yet{coming}"
    size = published.report.get("counts", {}).get("queue", row.queue_left)
    when = ago(published.finished_at or published.started_at)
    return f"{number(row.queue_left)} of {_count(size, 'task')} left of round {published.number}, {when}{coming}"


def _model(project: ProjectWorkspace, row: Project, found: Findings) -> str:
    evaluation = read_evaluation(project.stores, row.id)
    if evaluation is None:
        return "too few labels to judge one"
    rare = [
        place for place, name in enumerate(evaluation.classes) if name in found.target and evaluation.support[place]
    ]
    shares = [
        (evaluation.classes[place], evaluation.confusion[place][place], evaluation.support[place]) for place in rare
    ]
    recalls = [f"{right} of {of} {name} ({percent(right / of)})" for name, right, of in shares]
    if not recalls:
        return f"judged by {_count(sum(evaluation.support), 'label')}; none of them is of a rare class"
    return f"recognises {', '.join(recalls)} that it did not learn from"


def _attention(project: ProjectWorkspace, row: Project, published: Round | None) -> str:
    urgent = [*dict.fromkeys(_urgent(project, row, published))]
    if not urgent:
        return ""
    more = f" And {len(urgent) - 1} more." if len(urgent) > 1 else ""
    return f"{urgent[0]}{more} {project.page}"


def _urgent(project: ProjectWorkspace, row: Project, published: Round | None) -> Iterator[str]:
    """Yield what somebody should look at, the most urgent first."""
    stores = project.stores
    yield from filter(None, (row.standing_back, row.problem))
    yield from filter(None, (stalls(stores.database, project.workspace.settings).get(row.id), rests(row)))
    if doubtful := published.report.get("doubtful_labels") if published is not None else None:
        yield from doubtful
    elif unread := stores.troubles.counts(row.id).get(TroubleKind.ANSWER):
        yield f"{_count(unread, 'answer')} cannot be read as a class."
    for question in open_questions(project):
        yield question.asks if question.asks.endswith("?") else f"{question.asks}."
    yield from (notice.problem for notice in notices(project))
    second = published.report.get("second_look") if published is not None else None
    yield from filter(None, [(second or {}).get("problem")])


def _count(value: int, noun: str) -> str:
    return f"{number(value)} {noun if value == 1 else noun + 's'}"
