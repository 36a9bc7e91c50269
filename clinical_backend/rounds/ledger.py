"""The ledger: how each label came about, so that finds can be counted honestly."""

from __future__ import annotations

import time
from bisect import bisect_right
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from clinical_backend.labelstudio.labeling.labels import Source
from clinical_backend.origins import NOTHING_SHOWN, UNKNOWN_SHOWN, Origin
from clinical_backend.storage.schema import TaskLabel

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

    from clinical_backend.labelstudio.labeling.labels import Answered, Labels
    from clinical_backend.origins import Draw, LedgerEntry
    from clinical_backend.storage.report import RoundReport
    from clinical_backend.storage.stores.rounds import RoundStore

__all__ = ["Provenance", "ServedQueues", "enter", "unled"]

_SECONDS_TO_OPEN = 10.0
"""From Label Studio's choice of a task until its page counts. A test on a loaded real server met the case; how long
pages take was not measured. Longer would take in what was chosen by hand."""
_UNLED = frozenset({Origin.QUEUE, Origin.PAST_QUEUE})
"""Labels that readers gave, but for those who may have seen what an import or a model had answered."""
_MACHINES = {Source.IMPORT: Origin.IMPORTED, Source.MODEL: Origin.ACCEPTED}


@dataclass(frozen=True, slots=True)
class Provenance:
    """Where a label comes from; the fields mean what those of :class:`TaskLabel` mean."""

    origin: Origin
    draw: Draw | None
    round_number: int | None
    shown_prediction: str = UNKNOWN_SHOWN


class ServedQueues:
    """The queues that readers were served from, one after the other.

    Parameters
    ----------
    times
        By Label Studio's clock, when readers got each queue, ascending.
    numbers
        Numbers of their rounds.
    draws
        Why a round's queue held a task, by the round's number and the task.
    shown
        What its readers were shown, by the same.
    report
        Returns that of a round, by number: it tells what a reader may have been shown past its queue.
    """

    def __init__(
        self,
        times: Sequence[float],
        numbers: Sequence[int],
        draws: Mapping[tuple[int, int], Draw],
        shown: Mapping[tuple[int, int], str] | None = None,
        report: Callable[[int], RoundReport | None] = lambda _: None,
    ) -> None:
        self._times, self._numbers, self._draws = list(times), list(numbers), draws
        self._shown, self._report = shown or {}, report

    @classmethod
    def of(cls, rounds: RoundStore, project_id: int, task_ids: Sequence[int]) -> ServedQueues:
        """Read the queues of a project back, as far as they held some of these tasks."""
        served = rounds.served(project_id)

        @cache
        def report(number: int) -> RoundReport | None:
            return next((row.report for row in rounds.with_numbers(project_id, [number])), None)

        return cls(
            [when for _, when in served],
            [number for number, _ in served],
            rounds.draws(project_id, task_ids),
            rounds.shown(project_id, task_ids),
            report,
        )

    def provenance(self, task_id: int, answered: Answered) -> Provenance:
        """Return where a label comes from.

        A reader keeps a task that was opened before the queue changed. So what counts is the queue of the moment at
        which the task was opened, and else the latest one up to the answer that held it. Where none did, the queue
        changed while the page was loading.
        """
        answered_at = time.time() if answered.at is None else answered.at
        opened_at = answered_at if answered.served_at is None else answered.served_at
        now = bisect_right(self._times, answered_at)
        then = bisect_right(self._times, opened_at)
        number = self._numbers[now - 1] if now else None
        if answered.source is not Source.READER:
            return Provenance(_MACHINES[answered.source], None, number)
        if answered.after_machine:
            # It has been in no pool since the machine's answer, so in none that a later round drew from.
            first = bisect_right(self._times, answered_at if answered.machine_at is None else answered.machine_at)
            return Provenance(Origin.SECOND_LOOK, None, self._numbers[first - 1] if first else None)
        loading = bisect_right(self._times, opened_at - _SECONDS_TO_OPEN)
        for place in [then, *range(now, then, -1), *range(then - 1, loading - 1, -1)]:
            draw = self._draws.get((self._numbers[place - 1], task_id)) if place else None
            if draw is not None:
                held = self._numbers[place - 1]
                return Provenance(Origin.QUEUE, draw, held, self._shown.get((held, task_id), UNKNOWN_SHOWN))
        return Provenance(Origin.PAST_QUEUE, None, number, self._shown_past_queue(task_id, number))

    def _shown_past_queue(self, task_id: int, number: int | None) -> str:
        """Return what a reader saw who chose a task: nothing, unless Label Studio may have asked for a prediction."""
        if number is None:
            return NOTHING_SHOWN
        report = self._report(number)
        return UNKNOWN_SHOWN if report is None or report.led(task_id, None) else NOTHING_SHOWN


def enter(
    project_id: int,
    known: Mapping[int, TaskLabel],
    labels: Labels,
    rounds: RoundStore,
    *,
    read_again: Collection[int] = (),
) -> list[TaskLabel]:
    """Return the labels of a project as they stand, with where each came from.

    What is known of a label stays while its answer is the same one; the queues of all rounds tell of the others. A
    second reading that outlives the first answer came from no queue of its own: the task keeps the draw that it had.

    Parameters
    ----------
    known
        The ledger so far.
    labels
        As read back now.
    rounds
        Those of the project, with their queues.
    read_again
        Tasks that a second reader is asked to answer.
    """

    def is_known(task_id: int, answered: Answered) -> bool:
        before = known.get(task_id)
        if before is None or answered.at in {None, before.labelled_at}:
            return before is not None
        outlives = before.readings > 1 or (before.readings == 1 and task_id in read_again)
        return outlives and not answered.after_machine

    fresh = [task for task, answered in labels.first_answers.items() if not is_known(task, answered)]
    queues = ServedQueues.of(rounds, project_id, fresh)
    steer = dict.fromkeys(labels.exemplars, 1) | dict.fromkeys(labels.counter_exemplars, -1)
    now = time.time()
    entries = []
    for task_id, answered in sorted(labels.first_answers.items()):
        before = known.get(task_id)
        if before is not None and is_known(task_id, answered):
            source = Provenance(before.origin, before.draw, before.round_number, before.shown_prediction)
            labelled_at = before.labelled_at
        else:
            source = queues.provenance(task_id, answered)
            labelled_at = now if answered.at is None else answered.at
        tagged_by, tagged_at = labels.tagged.get(task_id, (None, None))
        answers = labels.disputed.get(task_id)
        first, *_ = labels.read_twice.get(task_id, ((None, None),))
        entries.append(
            TaskLabel(
                project_id=project_id,
                task_id=task_id,
                label=labels.classes.get(task_id),
                steer=steer.get(task_id, 0),
                origin=source.origin,
                draw=source.draw,
                round_number=source.round_number,
                labelled_at=labelled_at,
                readings=answered.readings,
                tagged_by=tagged_by,
                tagged_at=tagged_at,
                unread=None if (unread := labels.unread.get(task_id)) is None else str(unread),
                changed_at=labels.changed.get(task_id),
                answers=None if answers is None else [list(answer) for answer in answers],
                first_class=first[1] if task_id in labels.disagreed else None,
                shown_prediction=source.shown_prediction,
            )
        )
    return entries


def unled(ledger: Iterable[LedgerEntry], reports: Mapping[int, RoundReport]) -> frozenset[int]:
    """Return the tasks whose class a reader gave without being shown one: what may prove that a class is right.

    Parameters
    ----------
    ledger
        Labelled tasks with their origin.
    reports
        Of the rounds whose queues they are from, by number.
    """

    def was_led(entry: LedgerEntry) -> bool:
        if entry.round_number is None:
            return False
        report = reports.get(entry.round_number)
        return report is None or report.led(entry.task_id, entry.draw)

    return frozenset(entry.task_id for entry in ledger if entry.origin in _UNLED and not was_led(entry))
