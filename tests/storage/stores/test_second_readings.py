from clinical_backend.storage.schema import ReadingState, SecondReading, TaskLabel
from clinical_backend.storage.stores.stores import Stores


def test_what_the_lead_asks_for_is_kept_once_and_can_be_taken_back(database):
    stores = Stores(database)
    stores.projects.register(1)
    store = stores.second_readings
    read = SecondReading(project_id=1, task_id=3, state=ReadingState.READ, label="a", readings=1, asked_at=1.0)
    open_ = SecondReading(project_id=1, task_id=4, state=ReadingState.OPEN, label="a", readings=1, asked_at=1.0)
    store.keep(1, [read, open_])
    assert store.ask(1, dict.fromkeys((2, 3, 4), ("a", 1))) == 2
    assert store.ask(1, dict.fromkeys((2, 3, 4), ("a", 1))) == 0
    assert store.open_tasks(1) == {4}
    assert [store.take_back(1, task) for task in (2, 3, 4, 5)] == [True, False, True, False]
    assert {task: (row.state, row.by_lead) for task, row in store.all(1).items()} == {
        3: (ReadingState.READ, False),
        4: (ReadingState.OPEN, False),
    }
    store.mark_drawn(1, [3])
    assert {task for task, row in store.all(1).items() if row.at_random} == {3}
    store.drop(1, [3])
    stores.projects.forget(1)
    assert store.all(1) == {}


def second_reading(task_id, state=ReadingState.OPEN):
    return SecondReading(project_id=1, task_id=task_id, state=state, label="a", readings=1, asked_at=1.0)


def test_what_the_lead_asks_for_while_a_round_works_with_earlier_rows_is_not_lost(database):
    stores = Stores(database)
    stores.projects.register(1)
    store = stores.second_readings
    store.keep(1, [second_reading(4)])
    (seen,) = store.all(1).values()
    store.ask(1, dict.fromkeys((4, 5), ("a", 1)))
    store.keep(1, [seen, second_reading(5)])
    assert {task for task, row in store.all(1).items() if row.by_lead} == {4, 5}
    store.give_up(1, 4)
    assert (store.all(1)[4].state, store.all(1)[4].by_lead) == (ReadingState.ASKED, True)


def test_what_the_lead_takes_back_while_a_round_works_with_earlier_rows_is_not_asked_for_again(database):
    stores = Stores(database)
    stores.projects.register(1)
    store = stores.second_readings
    store.ask(1, dict.fromkeys((4, 5), ("a", 1)))
    seen = store.all(1)
    assert store.take_back(1, 4)
    seen[4].state = seen[5].state = ReadingState.OPEN
    store.keep(1, list(seen.values()))
    assert {task: row.by_lead for task, row in store.all(1).items()} == {4: False, 5: True}
    for task in (4, 5, 6):
        store.give_up(1, task)
    assert store.all(1).keys() == {5}


def test_nothing_is_kept_of_a_project_that_is_gone(database):
    store = Stores(database).second_readings
    store.keep(
        7, [SecondReading(project_id=7, task_id=3, state=ReadingState.OPEN, label="a", readings=1, asked_at=1.0)]
    )
    store.check(7, 3, "a", "a", blind=False)
    assert (store.all(7), store.checks(7)) == ({}, {})


def test_a_tie_counts_as_its_first_answer_in_the_ledger_and_nowhere_else(database):
    stores = Stores(database)
    stores.projects.register(1)
    rows = [
        TaskLabel(project_id=1, task_id=1, label=None, first_class="a", labelled_at=1.0),
        TaskLabel(project_id=1, task_id=2, label=None, labelled_at=2.0),
    ]
    stores.labels.replace(1, rows)
    assert [(entry.task_id, entry.label) for entry in stores.labels.ledger(1)] == [(1, "a")]
    assert stores.labels.cases(1) == {}
    assert stores.labels.all(1, [2, 5]).keys() == {2}


def test_what_was_answered_in_the_same_way_is_one_pattern_and_blind_is_what_was_asked_for(database):
    stores = Stores(database)
    stores.projects.register(1)
    same, other = [["7", "a"], ["8", "a"]], [["7", "a"], ["8", "b"]]

    def read(task, answers, **fields):
        row = second_reading(task, ReadingState.READ)
        for name, value in {"answers": answers, **fields}.items():
            setattr(row, name, value)
        return row

    store = stores.second_readings
    store.keep(1, [read(1, same), read(2, same), read(3, same, suspicion=0.9), read(4, other, at_random=True)])
    store.keep(1, [read(5, other, readings=0), read(6, other, raised_to=2, suspicion=0.5), second_reading(7)])
    patterns = sorted((one.cases, one.answers, one.at_random, one.doubted) for one in store.patterns(1))
    assert patterns == [
        (1, same, False, True),
        (1, other, False, True),
        (1, other, True, False),
        (2, same, False, False),
    ]
    assert sorted(row.task_id for row in store.read_twice(1)) == [1, 2, 3, 4, 5, 6]
    assert store.read_blind(1) == {(6, 8)}
