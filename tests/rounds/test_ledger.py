import time

import pytest

from clinical_backend.labelstudio.labeling.labels import Answered, Labels, Source
from clinical_backend.origins import NOTHING_SHOWN, UNKNOWN_SHOWN, Draw, LedgerEntry, Origin
from clinical_backend.rounds.ledger import Provenance, ServedQueues, enter, unled
from clinical_backend.storage.report import Preannotation, RoundReport
from clinical_backend.storage.schema import QueuedTask
from tests.storage.started import start_round

TASK = 7
# Queues of rounds 1, 2 and 4, which readers got after 100, 200 and 300 seconds; round 3 failed.
TIMES, NUMBERS = [100.0, 200.0, 300.0], [1, 2, 4]


def read(at, *, opened=None, **fields):
    return Answered(Source.READER, at, at if opened is None else opened, 1, **fields)


def provenance(answered, **draws):
    held = {(int(name[1:]), TASK): draw for name, draw in draws.items()}
    return ServedQueues(TIMES, NUMBERS, held).provenance(TASK, answered)


def test_a_label_comes_from_the_queue_of_its_moment():
    assert provenance(read(250), r2=Draw.AUDIT, r4=Draw.TARGET) == Provenance(Origin.QUEUE, Draw.AUDIT, 2)
    assert provenance(read(310), r2=Draw.AUDIT, r4=Draw.TARGET) == Provenance(Origin.QUEUE, Draw.TARGET, 4)
    assert provenance(read(150), r1=Draw.TARGET) == Provenance(Origin.QUEUE, Draw.TARGET, 1)


def test_a_task_that_was_opened_before_the_queue_changed_keeps_the_draw_it_was_served_for():
    assert provenance(read(205, opened=190), r1=Draw.AUDIT) == Provenance(Origin.QUEUE, Draw.AUDIT, 1)
    assert provenance(read(205, opened=190), r1=Draw.AUDIT, r2=Draw.TARGET).draw is Draw.AUDIT
    assert provenance(read(390, opened=150), r1=Draw.AUDIT).round_number == 1


def test_a_lead_time_that_is_too_long_loses_no_draw():
    assert provenance(read(310, opened=10), r4=Draw.AUDIT) == Provenance(Origin.QUEUE, Draw.AUDIT, 4)
    assert provenance(read(310, opened=10), r2=Draw.TARGET, r4=Draw.AUDIT).round_number == 4


def test_a_task_that_only_an_older_queue_held_was_chosen_past_the_queue():
    assert provenance(read(310), r1=Draw.AUDIT) == Provenance(Origin.PAST_QUEUE, None, 4)


def test_a_task_whose_page_was_loading_when_the_queue_changed_was_served_by_the_older_one():
    assert provenance(read(305, opened=300.4), r2=Draw.AUDIT) == Provenance(Origin.QUEUE, Draw.AUDIT, 2)
    assert provenance(read(305, opened=300.4), r2=Draw.AUDIT, r4=Draw.TARGET).draw is Draw.TARGET
    assert provenance(read(305, opened=300.4), r1=Draw.AUDIT).origin is Origin.PAST_QUEUE


def test_before_the_first_queue_there_is_none():
    assert provenance(read(50), r1=Draw.AUDIT) == Provenance(Origin.PAST_QUEUE, None, None, NOTHING_SHOWN)


@pytest.mark.parametrize(
    ("answered", "origin"),
    [
        (Answered(Source.IMPORT, 250.0, 250.0), Origin.IMPORTED),
        (Answered(Source.MODEL, 250.0, 250.0), Origin.ACCEPTED),
        (read(250, after_machine=True), Origin.SECOND_LOOK),
    ],
)
def test_what_a_machine_answered_first_comes_from_no_queue(answered, origin):
    assert provenance(answered, r2=Draw.AUDIT) == Provenance(origin, None, 2)


def test_what_a_reader_answered_after_a_machine_left_the_pool_with_the_machines_answer():
    assert provenance(read(310, machine_at=150.0, after_machine=True)).round_number == 1
    assert provenance(read(310, machine_at=50.0, after_machine=True)) == Provenance(Origin.SECOND_LOOK, None, None)


def publish(stores, draws, switched_at):
    row = start_round(stores, 1)
    queue = [
        QueuedTask(round_id=row.id, rank=rank, task_id=task, draw=draw)
        for rank, (task, draw) in enumerate(draws.items())
    ]
    stores.rounds.keep_queue(queue)
    stores.rounds.publish(row, RoundReport(), len(queue), switched_at)
    return row.number


def entered(stores, labels):
    rows = enter(1, stores.labels.all(1), labels, stores.rounds)
    stores.labels.replace(1, rows)
    return {row.task_id: row for row in rows}


def test_draws_outlive_later_queues_and_corrected_classes(workspace):
    stores = workspace.stores
    publish(stores, {1: Draw.TARGET, 2: Draw.AUDIT, 3: Draw.AUDIT}, 100.0)
    answers = {1: read(110.0), 2: read(160.0), 4: read(120.0)}
    publish(stores, {3: Draw.TARGET, 5: Draw.AUDIT}, 150.0)
    answers[2] = read(160.0, opened=140.0)
    labels = Labels(classes={1: "a", 2: "b", 4: "a"}, exemplars=(1,), first_answers=answers)
    rows = entered(stores, labels)
    assert [(row.draw, row.round_number, row.label, row.steer) for row in rows.values()] == [
        (Draw.TARGET, 1, "a", 1),
        (Draw.AUDIT, 1, "b", 0),
        (None, 1, "a", 0),
    ]
    publish(stores, {2: Draw.TARGET}, 155.0)
    rows = entered(stores, Labels(classes={2: "a"}, first_answers={2: answers[2]}))
    assert {task: (row.draw, row.round_number, row.label) for task, row in rows.items()} == {2: (Draw.AUDIT, 1, "a")}


def test_a_task_that_is_answered_anew_after_its_answer_was_deleted_counts_for_the_queue_of_now(workspace):
    stores = workspace.stores
    publish(stores, {1: Draw.TARGET}, 100.0)
    entered(stores, Labels(classes={1: "a"}, first_answers={1: read(110.0)}))
    number = publish(stores, {1: Draw.AUDIT}, 200.0)
    row = entered(stores, Labels(classes={1: "a"}, first_answers={1: read(210.0)}))[1]
    assert (row.draw, row.round_number, row.labelled_at) == (Draw.AUDIT, number, 210.0)


def test_an_answer_without_a_time_is_of_now(workspace):
    stores = workspace.stores
    publish(stores, {1: Draw.TARGET}, 100.0)
    before = time.time()
    row = entered(stores, Labels(classes={1: "a"}, first_answers={1: Answered(Source.READER, readings=1)}))[1]
    assert (row.draw, row.labelled_at >= before) == (Draw.TARGET, True)


def queued(stores, shown, at, report=None):
    """Publish a queue of tasks, with whether a class stands ticked at each."""
    row = start_round(stores, 1)
    queue = [
        QueuedTask(round_id=row.id, rank=rank, task_id=task, draw=Draw.TARGET, preannotated=ticked)
        for rank, (task, ticked) in enumerate(shown.items())
    ]
    stores.rounds.keep_queue(queue)
    stores.rounds.publish(row, report or RoundReport(), len(queue), at)
    return row.version


def shown_in(rows):
    return {task: row.shown_prediction for task, row in rows.items()}


def test_a_label_keeps_the_version_of_the_prediction_that_stood_ticked(workspace):
    stores = workspace.stores
    first = queued(stores, {1: True, 2: False, 3: None}, 100.0)
    answers = {1: read(110.0), 2: read(110.0), 3: read(110.0), 4: read(50.0)}
    rows = entered(stores, Labels(classes=dict.fromkeys(answers, "a"), first_answers=answers))
    # Task 3 is of a queue of an earlier version, task 4 of before any.
    assert shown_in(rows) == {1: first, 2: NOTHING_SHOWN, 3: UNKNOWN_SHOWN, 4: NOTHING_SHOWN}
    queued(stores, {1: False, 2: True}, 200.0)
    answers[1] = read(110.0, opened=105.0)
    rows = entered(stores, Labels(classes=dict.fromkeys(answers, "b"), first_answers=answers))
    assert shown_in(rows) == {1: first, 2: NOTHING_SHOWN, 3: UNKNOWN_SHOWN, 4: NOTHING_SHOWN}
    assert {one.task_id: one.shown_prediction for one in stores.labels.ledger(1)} == shown_in(rows)


@pytest.mark.parametrize(
    ("mode", "expected"), [("off", NOTHING_SHOWN), ("confident", NOTHING_SHOWN), ("all", UNKNOWN_SHOWN)]
)
def test_past_a_queue_nothing_was_shown_unless_label_studio_asks_for_predictions(workspace, mode, expected):
    stores = workspace.stores
    queued(stores, {1: False}, 100.0, RoundReport(preannotation=Preannotation(mode)))
    rows = entered(stores, Labels(classes={7: "a"}, first_answers={7: read(110.0)}))
    assert shown_in(rows) == {7: expected}


def test_what_was_shown_with_a_label_that_a_machine_gave_first_is_not_known(workspace):
    queued(workspace.stores, {1: True}, 100.0)
    answers = {1: Answered(Source.IMPORT, 110.0, 110.0)}
    rows = entered(workspace.stores, Labels(classes={1: "a"}, first_answers=answers))
    assert shown_in(rows) == {1: UNKNOWN_SHOWN}


def entry(task, origin=Origin.QUEUE, draw=Draw.TARGET, number=1):
    return LedgerEntry(task, "a", origin, draw, number, 1)


def test_only_labels_that_readers_gave_are_evidence():
    ledger = [entry(task, origin, None, None) for task, origin in enumerate(Origin)]
    assert {list(Origin)[task] for task in unled(ledger, {})} == {Origin.QUEUE, Origin.PAST_QUEUE}


@pytest.mark.parametrize(
    ("report", "expected"),
    [
        ({"preannotation": {"mode": "off", "confident": {"a": [1]}}}, {1, 2, 3}),
        ({"preannotation": {"mode": "confident", "confident": {"a": [1]}}}, {2, 3}),
        ({"preannotation": {"mode": "all", "confident": {}}}, {3}),
        ({"preannotations": "none"}, {1, 2, 3}),
        ({"preannotations": "head"}, set()),
        ({}, set()),
    ],
)
def test_labels_given_below_a_ticked_class_are_no_evidence_for_it(report, expected):
    ledger = [entry(1), entry(2), entry(3, draw=Draw.AUDIT)]
    assert unled(ledger, {1: RoundReport.from_json(report)}) == expected
