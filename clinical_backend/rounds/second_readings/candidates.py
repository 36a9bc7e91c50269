"""Which answered tasks are read a second time: chosen for a round's queue, and spread over it.

Label Studio serves a task with ``overlap`` 2 and one answer to another reader, without that answer. Doubtful labels
are asked for since one of them may be a missed finding; a share drawn at random tells how readers agree on ordinary
cases, which doubtful ones cannot.
"""

from __future__ import annotations

import time
from dataclasses import replace
from itertools import count, pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from clinical_backend.labelstudio.labeling.labels import Source
from clinical_backend.storage.report import Asked, SecondLook
from clinical_backend.storage.schema import ReadingState, SecondReading

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

    from clinical_backend.labelstudio.labeling.labels import Answered, Labels
    from clinical_backend.settings import Settings
    from clinical_backend.storage.schema import LabelCheck
    from clinical_backend.strategy.suspects import Suspect
    from clinical_backend.workspace.workspace import ProjectWorkspace

__all__ = ["active_readers", "choose", "free_places", "note_double_readings", "places"]

_ACTIVE_SECONDS = 30 * 86_400.0
"""Whoever has answered nothing for a month is not waited for: no task is held open for a reader who has left."""

_MOST = 200
"""Second readings that are open at once, as many as one request to Label Studio asks about."""


def choose(
    settings: Settings,
    labels: Labels,
    suspects: Sequence[Suspect],
    rows: Mapping[int, SecondReading],
    checks: Mapping[int, LabelCheck],
    *,
    ordinary: int,
    answers_wanted: int,
    generator: np.random.Generator,
    now: float | None = None,
) -> SecondLook:
    """Choose what is read a second time: what the lead asked for, doubtful labels, and random draws.

    Parameters
    ----------
    settings
        The project's: SECOND_LOOK_SHARE and SECOND_LOOK_RANDOM_SHARE of the whole queue.
    labels
        As read back now.
    suspects
        Doubtful labels, the most doubtful first.
    rows
        Second readings so far.
    checks
        What was said of labels on our own page: a label that was confirmed is not doubted again.
    ordinary
        Tasks of the queue that nobody answered.
    answers_wanted
        Of how many readers the project wants an answer to every task anyway; of two or more, nobody is asked here.
    generator
        Draws.
    now
        Seconds since the epoch, by Label Studio's clock.
    """
    shares = settings.second_look_share, settings.second_look_random_share
    by_lead = [task for task, row in rows.items() if row.by_lead and row.state is not ReadingState.READ]
    if not any(shares) and not by_lead:
        return SecondLook()
    if answers_wanted > 1:
        return SecondLook(
            problem=f"The project wants {answers_wanted} answers to every task, so every task is read again anyway:"
            " second readings are not asked for besides. Their agreement is shown here."
        )
    active = active_readers(labels, time.time() if now is None else now)
    if len(active) < 2:
        return SecondLook(
            problem="Second readings need two readers, and only one has answered within the last month."
            " They begin once another one answers; meanwhile, read doubtful labels here."
            if active
            else "Second readings need two readers, and none has answered within the last month."
        )
    wanted, drawn = _sizes(shares, ordinary, settings.queue_size)
    eligible = _Eligible(labels, rows, active)
    chosen: dict[int, Asked] = {}
    for task in by_lead:
        if len(chosen) < _MOST and (one := eligible.ask(task, by_lead=True)) is not None:
            chosen[task] = one
    doubtful = [
        one
        for suspect in suspects
        if suspect.task_id not in chosen
        and not _is_settled(checks.get(suspect.task_id), suspect.label)
        and (one := eligible.ask(suspect.task_id, suspicion=suspect.suspicion)) is not None
    ]
    for one in doubtful[: min(wanted, _MOST - len(chosen))]:
        chosen[one.task_id] = one
    random, drawn_read = _draw(eligible, drawn, generator)
    for one in random[: _MOST - len(chosen)]:
        known = chosen.get(one.task_id)
        chosen[one.task_id] = one if known is None else replace(known, at_random=True)
    order = [*chosen.values()]
    drawn_alone = [one for one in order if one.at_random and one.suspicion is None and not one.by_lead]
    others = [one for one in order if one not in drawn_alone]
    spots = set(places(len(order), len(drawn_alone), generator))
    first, second = iter(drawn_alone), iter(others)
    mixed = tuple(next(first if place in spots else second) for place in range(len(order)))
    return SecondLook(mixed, drawn_read, max(0, len(doubtful) - wanted))


def places(size: int, number: int, generator: np.random.Generator) -> list[int]:
    """Return so many of the first ``size`` places, ascending: a random one of each equal stretch."""
    edges = np.linspace(0, size, number + 1).astype(int)
    return [int(generator.integers(low, high)) for low, high in pairwise(edges)]


def free_places(second: Collection[int]) -> Iterator[int]:
    """Yield the places of a queue that ordinary tasks have, ascending without end: all but those of second readings."""
    return (place for place in count() if place not in second)


def active_readers(labels: Labels, now: float) -> frozenset[int]:
    """Return the readers who answered or skipped something within the last month."""
    return frozenset(reader for reader, at in labels.last_answers.items() if at >= now - _ACTIVE_SECONDS)


def note_double_readings(project: ProjectWorkspace, labels: Labels) -> frozenset[int]:
    """Bring what was read twice in line with the labels, and return the tasks that a second reader is asked to answer.

    What two readers answered without being asked (since the project wants it, or one chose the task) is noted too. A
    reading that was taken back may be asked for again.
    """
    store = project.stores.second_readings
    rows = store.all(project.id)
    gone = [task for task, row in rows.items() if _is_over(row, labels)]
    store.drop(project.id, gone)
    kept = {task: row for task, row in rows.items() if task not in gone}
    now = time.time()
    found = [
        SecondReading(
            project_id=project.id,
            task_id=task,
            state=ReadingState.READ,
            label=answers[0][1],
            readings=1,
            at_random=False,
            by_lead=task in rows and rows[task].by_lead,
            asked_at=now,
            read_at=now,
            answers=[list(answer) for answer in answers],
        )
        for task, answers in labels.read_twice.items()
        if task not in kept
    ]
    store.keep(project.id, found)
    return frozenset(task for task, row in kept.items() if row.state is ReadingState.OPEN)


def _is_over(row: SecondReading, labels: Labels) -> bool:
    """Tell whether one of the answers was taken back, or what the lead asked for came about by itself."""
    answered = labels.first_answers.get(row.task_id)
    if row.state is ReadingState.READ:
        return answered is None or answered.readings <= row.readings
    return row.state is ReadingState.ASKED and (answered is None or row.task_id in labels.read_twice)


class _Eligible:
    """Tells of which tasks a second reading may be asked."""

    def __init__(self, labels: Labels, rows: Mapping[int, SecondReading], active: Collection[int]) -> None:
        self.labels, self.rows, self._active = labels, rows, frozenset(active)

    def ask(self, task_id: int, **why: Any) -> Asked | None:
        """Return a second reading of a task; ``None`` where it was read twice, or nobody is left to read it."""
        label, answered = self.labels.classes.get(task_id), self.labels.first_answers.get(task_id)
        row = self.rows.get(task_id)
        if label is None or answered is None or answered.readings > 1 or self._active <= answered.seen_by:
            return None
        if row is not None and row.state is ReadingState.READ:
            return None
        return Asked(task_id, label, answered.readings, **why)

    def drawn_from(self) -> Iterable[tuple[int, Answered]]:
        """Yield the tasks that random draws are from: all that a reader answered."""
        answered = self.labels.first_answers
        return ((task, one) for task, one in sorted(answered.items()) if one.source is Source.READER and one.readings)


def _draw(eligible: _Eligible, number: int, generator: np.random.Generator) -> tuple[list[Asked], tuple[int, ...]]:
    """Draw tasks to be read again; one that was read twice already counts as drawn, and another one is drawn.

    Draws that are still open stay: to draw anew until the easy ones are read would not be random.
    """
    if not number:
        return [], ()
    rows = eligible.rows
    pending = [task for task, row in rows.items() if row.at_random and row.state is ReadingState.OPEN]
    drawn = [one for task in pending if (one := eligible.ask(task, at_random=True)) is not None][:number]
    tasks = [task for task, _ in eligible.drawn_from() if not (task in rows and rows[task].at_random)]
    read = []
    for place in generator.permutation(len(tasks)).tolist():
        if len(drawn) >= number:
            break
        task = tasks[place]
        if task in eligible.labels.read_twice:
            read.append(task)
        elif (one := eligible.ask(task, at_random=True)) is not None:
            drawn.append(one)
    return drawn, tuple(read)


def _sizes(shares: tuple[float, float], ordinary: int, queue_size: int) -> tuple[int, int]:
    """Return how many of each kind stand in a queue: so many that they make up their shares of the whole.

    With nothing else left to read, they are that share of a full queue.
    """
    rest = 1 - sum(shares)
    base = ordinary or round(rest * queue_size)
    sought, drawn = (max(1, round(base * share / rest)) if share else 0 for share in shares)
    return sought, drawn


def _is_settled(check: LabelCheck | None, label: str) -> bool:
    return check is not None and check.label == label
