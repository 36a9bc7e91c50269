import pytest

from clinical_backend.multilabel import pack
from clinical_backend.origins import Draw
from clinical_backend.service.waiting_tasks import QueueFilter, choose_waiting, count_choices
from clinical_backend.storage.schema import QueuedTask

ROWS = [
    QueuedTask(task_id=1, draw=Draw.TARGET, predicted="a", probability=0.9, chance=0.2, rare_probability=0.9),
    QueuedTask(task_id=2, draw=Draw.AUDIT, predicted="a", probability=0.1, chance=0.9, rare_probability=0.9),
    QueuedTask(task_id=3, draw=Draw.TARGET, predicted="b", probability=0.4, chance=0.5, rare_probability=0.1),
    QueuedTask(task_id=4, draw=Draw.DIVERSE, predicted=None, probability=None),
]
SEVERAL = [
    QueuedTask(task_id=1, draw=Draw.TARGET, predicted=pack(["x", "y"]), targets=["x"]),
    QueuedTask(task_id=2, draw=Draw.TARGET, predicted=pack([]), targets=["y", "x"]),
    QueuedTask(task_id=3, draw=Draw.AUDIT, predicted=pack(["x"])),
]


def chosen(rows=ROWS, **wanted):
    return [one.row.task_id for one in choose_waiting(rows, QueueFilter(**wanted))]


def test_without_a_choice_all_stand_in_the_order_of_the_queue():
    assert chosen() == [1, 2, 3, 4]


@pytest.mark.parametrize(("why", "found"), [("target", [1, 3]), ("audit", [2]), ("diverse", [4]), ("margin", [])])
def test_a_draw_chooses_its_own(why, found):
    assert chosen(why=why) == found


def test_a_class_chooses_what_the_model_says_and_tells_nothing_of_audit_draws():
    assert chosen(predicted="a") == [1]
    assert chosen(SEVERAL, predicted="x") == [1]
    assert chosen(SEVERAL, predicted="z") == []


def test_a_site_chooses_the_tasks_that_name_it():
    sites = {1: "north", 3: "south"}
    assert [one.row.task_id for one in choose_waiting(ROWS, QueueFilter(site="north"), sites)] == [1]
    assert [one.row.task_id for one in choose_waiting(ROWS, QueueFilter(), sites)] == [1, 2, 3, 4]


def test_of_several_findings_one_chooses_what_is_sought_for_it():
    assert chosen(SEVERAL, target="x") == [1, 2]
    assert chosen(SEVERAL, target="y") == [2]


def test_by_chance_and_by_doubt_audit_draws_come_last_and_places_stay():
    assert chosen(sort="chance") == [3, 1, 4, 2]
    assert chosen(sort="doubt") == [3, 1, 4, 2]
    assert [one.place for one in choose_waiting(ROWS, QueueFilter(sort="chance"))] == [3, 1, 4, 2]


def test_without_a_calibrated_chance_the_score_orders():
    rows = [QueuedTask(task_id=n, draw=Draw.TARGET, rare_probability=n / 10) for n in (1, 3, 2)]
    assert chosen(rows, sort="chance") == [3, 2, 1]


def test_choices_are_counted_and_what_the_model_says_of_audit_draws_is_not():
    draws, targets, classes = count_choices(ROWS)
    assert (dict(draws), targets, classes) == ({"target": 2, "audit": 1, "diverse": 1}, {}, {"a": 1, "b": 1})
    assert count_choices(SEVERAL)[1:] == ({"x": 2, "y": 1}, {"x": 1, "y": 1})
