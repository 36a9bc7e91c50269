"""What is told of readers."""

from contextlib import closing

import pytest

from clinical_backend.multilabel import pack
from clinical_backend.origins import AnswerKind
from clinical_backend.service.discussion import OPEN, SAME, SETTLED, CaseFilter, cases_of, choose_cases, count_cases
from clinical_backend.service.readers import DAYS, ReaderNames, read_readers
from clinical_backend.settings import load_settings
from clinical_backend.storage.schema import ReadingState, SecondReading, TaskLabel
from clinical_backend.storage.stores.readings import ReadingValues
from clinical_backend.workspace.workspace import open_workspace

DAY = 86_400.0
NOW = 20_000 * DAY + 3_600
NAMES = {"3": "Zoë", "7": "ada", "8": "Ada"}


@pytest.fixture
def project(tmp_path):
    with closing(open_workspace(load_settings(model_dir=tmp_path, label_studio_api_key="k"))) as workspace:
        workspace.stores.projects.register(1)
        yield workspace.project(1)


def reading(number, reader=7, *, kind=AnswerKind.OWN, at=NOW, lead=10.0, blind=False):
    return ReadingValues(number, number, reader, None if kind is AnswerKind.SKIP else "a", at, lead, kind, blind)


def read_twice(task, first, second, *, readers=("7", "8"), at=1.0, **why):
    answers = [list(one) for one in zip(readers, (first, second), strict=True)]
    fields = {"label": first, "readings": 1, "asked_at": at, "read_at": at, "answers": answers}
    return SecondReading(project_id=1, task_id=task, state=ReadingState.READ, **fields, **why)


def keep(project, *rows, **settled):
    """Keep second readings, and labels that are tied unless they are settled by ``t`` and the task's number."""
    project.stores.second_readings.keep(1, rows)

    def label(row):
        first, *others = [name for _, name in row.answers]
        return settled.get(f"t{row.task_id}", first if {first} == {*others} else None)

    known = [
        TaskLabel(project_id=1, task_id=row.task_id, label=label(row), readings=2, labelled_at=1.0) for row in rows
    ]
    project.stores.labels.replace(1, known)


def told(project, show="names"):
    return read_readers(project, ReaderNames(NAMES, show), cases_of(project, CaseFilter()), now=NOW)


def test_readers_stand_by_name_and_who_only_accepted_in_bulk_is_none(project):
    rows = [reading(1, 3), reading(2, 21), reading(3, 9), reading(4, 8), reading(5, 7)]
    project.stores.readings.replace(1, [*rows, reading(6, 4, kind=AnswerKind.ACCEPTED, lead=None)])
    assert [one.name for one in told(project)] == ["ada (7)", "Ada (8)", "Zoë", "reader 9", "reader 21"]
    assert [one.name for one in told(project, "numbers")] == [f"reader {number}" for number in (3, 7, 8, 9, 21)]
    assert told(project, "off") == []
    assert ReaderNames(NAMES, "off").of("7") == "a reader"


def test_labels_are_counted_by_the_day_of_utc_and_skips_apart(project):
    at = [NOW - 3_601, NOW - 3_600, NOW, NOW + 2 * DAY, NOW - (DAYS - 1) * DAY, NOW - DAYS * DAY]
    rows = [reading(number, at=one) for number, one in enumerate(at, start=1)]
    skipped = [reading(20, kind=AnswerKind.SKIP), reading(21, kind=AnswerKind.ACCEPTED)]
    project.stores.readings.replace(1, [*rows, *skipped, reading(22, at=None, blind=True)])
    (one,) = told(project)
    assert (len(one.days), one.days[0], one.days[-2], one.days[-1]) == (DAYS, 1, 1, 3)
    assert (sum(one.days), one.labels, one.skipped, one.accepted, one.second) == (5, 7, 1, 1, 1)


def test_times_are_told_from_ten_on_and_one_forgotten_tab_changes_little(project):
    rows = [reading(number, lead=float(number)) for number in range(1, 10)]
    project.stores.readings.replace(1, [*rows, reading(10, kind=AnswerKind.SKIP, lead=9.0), reading(11, lead=None)])
    assert told(project)[0].times is None
    project.stores.readings.replace(1, [*rows, reading(10, lead=90_000.0)])
    times = told(project)[0].times
    assert (times.cases, times.median) == (10, 5.5)
    assert (times.low, times.high) == (3.25, 7.75)


def test_agreement_is_of_ordinary_cases_and_doubtful_ones_are_counted_apart(project):
    project.stores.readings.replace(1, [reading(1, 7), reading(2, 8)])
    drawn = [read_twice(10, "a", "a", at_random=True), read_twice(11, "a", "b", at_random=True, suspicion=0.9)]
    doubted = [read_twice(12, "a", "b", suspicion=0.9), read_twice(13, "a", "a", by_lead=True)]
    keep(project, *drawn, *doubted, read_twice(14, "b", "b"))
    for one in told(project):
        assert (one.agreement.whole.same, one.agreement.whole.cases) == (2, 3)
        assert (one.doubtful.whole.same, one.doubtful.whole.cases) == (1, 2)
        assert one.open == 2
    assert told(project)[1].agreement.by_class["b"].cases == 2


def test_cases_to_discuss_are_open_ones_first_then_the_newest(project):
    rows = [read_twice(10, "a", "b", at=5.0), read_twice(11, "a", "b", at=9.0), read_twice(12, "a", "b", at=1.0)]
    keep(project, *rows, read_twice(13, "a", "a"), t10="b", t11="a")

    def tasks(state=""):
        return [one.task_id for one in cases_of(project, CaseFilter(state))]

    assert tasks() == [12, 11, 10]
    assert (tasks(OPEN), tasks(SETTLED), tasks(SAME)) == ([12], [11, 10], [13])


def test_cases_are_chosen_by_a_class_of_any_answer_and_by_who_answered(project):
    mass, both = pack(["mass"]), pack(["mass", "nodule"])
    keep(project, read_twice(10, mass, both), read_twice(11, mass, pack([]), readers=("8", "3")))
    project.stores.second_readings.check(1, 11, mass, both, blind=True)
    cases = cases_of(project, CaseFilter())
    names, pairs = count_cases(cases)
    assert (names, pairs) == ({"mass": 3, "nodule": 2}, {"7-8": 1, "3-8": 1})

    def chosen(**wanted):
        return [(one.task_id, one.why.value) for one in choose_cases(cases, CaseFilter(**wanted))]

    assert chosen(pair="3-8") == [(11, "unasked")]
    assert sorted(chosen(name="nodule")) == [(10, "unasked"), (11, "page")]
    assert chosen(name="nodule", pair="3-8") == chosen(name="other") == chosen(pair="x") == []
