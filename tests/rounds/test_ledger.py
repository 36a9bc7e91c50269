from clinical_backend.rounds.ledger import enter
from clinical_backend.storage.schema import Draw, QueuedTask


def test_a_task_keeps_the_origin_that_it_was_first_annotated_from():
    queue = [QueuedTask(task_id=1, rank=0, draw=Draw.TARGET), QueuedTask(task_id=2, rank=1, draw=Draw.AUDIT)]
    first = {row.task_id: row for row in enter(9, {}, {1: "a", 2: "b", 3: "a"}, {1, 2, 3, 4}, {1: 1}, queue, 5)}
    assert [(row.draw, row.round_number, row.label, row.steer) for row in first.values()] == [
        (Draw.TARGET, 5, "a", 1),
        (Draw.AUDIT, 5, "b", 0),
        (Draw.OTHER, None, "a", 0),
        (Draw.OTHER, None, None, 0),
    ]
    later = enter(9, first, {1: "b", 2: "b"}, {1, 2}, {}, [QueuedTask(task_id=1, rank=0, draw=Draw.AUDIT)], 6)
    assert [(row.draw, row.round_number, row.label, row.steer) for row in later] == [
        (Draw.TARGET, 5, "b", 0),
        (Draw.AUDIT, 5, "b", 0),
    ]
