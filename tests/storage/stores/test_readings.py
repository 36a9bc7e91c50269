import pytest
from sqlalchemy import event

from clinical_backend.origins import AnswerKind
from clinical_backend.storage.stores.readings import ReadingValues


def reading(number, reader=7, *, label="a", at=10.0, lead=5.0, kind=AnswerKind.OWN, blind=False):
    return ReadingValues(number, number, reader, label, at, lead, kind, blind)


@pytest.fixture
def writes(database):
    counted = []

    def count(_connection, _cursor, statement, *_):
        if statement.startswith(("INSERT INTO readings", "DELETE FROM readings")):
            counted.append(statement)

    event.listen(database._engine, "before_cursor_execute", count)
    return counted


def test_only_what_changed_is_written_and_what_is_gone_goes(stores, writes):
    stores.projects.register(1)
    stores.readings.replace(1, [reading(1), reading(2), reading(3)])
    assert writes
    writes.clear()
    stores.readings.replace(1, [reading(3), reading(2), reading(1)])
    assert writes == []
    changed = [reading(1), reading(2, label=None, kind=AnswerKind.SKIP), reading(4, blind=True)]
    stores.readings.replace(1, changed)
    assert sorted(stores.readings.all(1)) == changed
    stores.projects.forget(1)
    assert stores.readings.all(1) == []


def test_annotations_are_counted_by_reader_and_kind_and_answers_alone_have_times(stores):
    stores.projects.register(1)
    rows = [reading(1, at=9.0), reading(2, at=11.0, blind=True), reading(3, 8, at=None, lead=None)]
    stores.readings.replace(1, [*rows, reading(4, kind=AnswerKind.SKIP), reading(5, kind=AnswerKind.ACCEPTED)])
    kinds, blind = stores.readings.counts(1)
    assert kinds == {
        (7, AnswerKind.OWN): 2,
        (8, AnswerKind.OWN): 1,
        (7, AnswerKind.SKIP): 1,
        (7, AnswerKind.ACCEPTED): 1,
    }
    assert (blind[7], blind[8]) == (1, 0)
    assert stores.readings.answered_since(1, 10.0) == [(7, 11.0)]
    assert sorted(stores.readings.lead_times(1)) == [(7, 5.0), (7, 5.0)]


def test_nothing_is_kept_of_a_project_that_is_gone(stores):
    stores.readings.replace(9, [reading(1)])
    assert stores.readings.all(9) == []
