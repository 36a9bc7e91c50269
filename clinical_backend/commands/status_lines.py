"""Where a project stands, in seven lines that a lead reads."""

from __future__ import annotations

from typing import TYPE_CHECKING

from clinical_backend.service.completion import say_recalls
from clinical_backend.service.set_aside_words import say_test_set
from clinical_backend.storage.stores.troubles import TroubleKind
from clinical_backend.text import amount
from clinical_backend.web.pages.progress import STAGES
from clinical_backend.web.pages.templating import ago, figure, number, share

if TYPE_CHECKING:
    from collections.abc import Iterator

    from clinical_backend.service.findings import Findings
    from clinical_backend.service.status import ProjectStatus

__all__ = ["ATTENTION", "found_line", "summarise"]

ATTENTION = "Needs attention"


def summarise(status: ProjectStatus) -> dict[str, str]:
    """Return the lines by their headings; that of what needs attention is empty where nothing does."""
    return {
        f"Project {status.project.id}": _target(status),
        "Labels": _labels(status),
        "Found": found_line(status.found, is_named=bool(status.looked_for)),
        "Recall": say_recalls(status.found.recalls) or "nothing is looked for yet",
        "Queue": _queue(status),
        "Model": _model(status),
        **({} if status.test_set is None else {"Test set": say_test_set(status.test_set)}),
        ATTENTION: _attention(status),
    }


def _target(status: ProjectStatus) -> str:
    target, by = (status.looked_for, "") if status.looked_for else (status.found.target, ", by tags")
    tagged = status.report.counts.exemplars
    alike = f"what is like {amount(tagged, 'tagged case')} without a class" if tagged else "nothing yet"
    looked_for = f"looks for {', '.join(target)}{by}" if target else f"looks for {alike}"
    return f"{status.project.title!r} {looked_for}" if status.project.title else looked_for


def _labels(status: ProjectStatus) -> str:
    tagged = f"; {amount(status.exemplars, 'exemplar')} tagged" if status.exemplars else ""
    return f"{amount(status.found.labels, 'task')} labelled, {number(status.found.pool)} to go{tagged}"


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
    rare = amount(found.found, "rare case")
    if not queued:
        return f"{rare}; no label is from a queue yet"
    share = "" if found.found == queued_rare else f"{number(queued_rare)} of them "
    return f"{rare}, {share}in {amount(queued, 'label')} from queues; random order: {_expected(found, queued)}"


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


def _queue(status: ProjectStatus) -> str:
    project, published, running = status.project, status.published, status.running
    coming = ""
    if running is not None:
        done = f" ({number(running.done)} of {number(running.total)})" if running.total else ""
        coming = f"; round {running.number} is running: {STAGES.get(running.stage, running.stage).lower()}{done}"
    elif project.standing_back is not None:
        coming = "; no round runs: another installation serves the project"
    elif (resting := status.resting) is not None:
        coming = f"; {resting[0].lower()}{resting[1:].rstrip('.')}"
    elif project.request is not None:
        coming = f"; a round is due, because {project.request}"
    if published is None:
        return f"none is published yet{coming}"
    size = published.report.counts.queue or project.queue_left
    when = ago(published.finished_at or published.started_at)
    return f"{number(project.queue_left)} of {amount(size, 'task')} left of round {published.number}, {when}{coming}"


def _model(status: ProjectStatus) -> str:
    found, evaluation = status.found, status.report.evaluation
    if evaluation is not None and evaluation.findings:
        sought = [one for one in evaluation.findings if one.name in found.target and one.average_precision is not None]
        told = [f"{one.name} {one.average_precision:.2f} ({amount(one.present, 'case')})" for one in sought]
        return f"average precision of {', '.join(told)}" if told else "too few labels of what is looked for"
    if evaluation is None:
        return "too few labels to judge one"
    rare = [
        place for place, name in enumerate(evaluation.classes) if name in found.target and evaluation.support[place]
    ]
    shares = [
        (evaluation.classes[place], evaluation.confusion[place][place], evaluation.support[place]) for place in rare
    ]
    recalls = [f"{right} of {of} {name} ({share(right, of)})" for name, right, of in shares]
    if not recalls:
        return f"judged by {amount(sum(evaluation.support), 'label')}; none of them is of a rare class"
    return f"recognises {', '.join(recalls)} that it did not learn from"


def _attention(status: ProjectStatus) -> str:
    urgent = [*dict.fromkeys(_urgent(status))]
    if not urgent:
        return ""
    more = f" And {len(urgent) - 1} more." if len(urgent) > 1 else ""
    return f"{urgent[0]}{more} {status.page}"


def _urgent(status: ProjectStatus) -> Iterator[str]:
    """Yield what somebody should look at, the most urgent first."""
    project, report = status.project, status.report
    yield from filter(None, (project.standing_back, project.problem, status.stalled, status.resting))
    yield from report.doubtful_labels
    if not report.doubtful_labels and (unread := status.troubles.get(TroubleKind.ANSWER)):
        yield f"{amount(unread, 'answer')} cannot be read as a class."
    for question in status.questions:
        yield question.asks if question.asks.endswith("?") else f"{question.asks}."
    yield from (notice.message for notice in status.notices)
    yield from filter(None, [report.second_look.problem])
