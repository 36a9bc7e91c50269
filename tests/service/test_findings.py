"""What the ledger says, from labels and rounds that were entered by hand."""

from __future__ import annotations

import pytest

from clinical_backend.findings.recall import RecallState
from clinical_backend.origins import Draw, Origin
from clinical_backend.project_settings import ProjectOptions
from clinical_backend.service.completion import say_recalls
from clinical_backend.service.findings import read_findings
from clinical_backend.storage.report import Counts, RoundReport
from clinical_backend.storage.schema import Project, Round, RoundState, TaskImage, TaskLabel
from clinical_backend.workspace.project_options import store_options
from tests.storage.started import start_round

ESTIMATES = {"prevalence", "times_random", "left", "labels_to_90_percent"}


@pytest.fixture
def project(workspace):
    """Return a project that no round ran in."""
    return workspace.project(1)


def fill(project, tasks=1000, rounds=(1, 2), newest=1000, unreadable=0, counts=None):
    """Enter a project whose rounds queued 50 tasks each, 10 of them by audit."""
    with project.stores.database.write() as session:
        session.get(Project, 1).published_version = "v2"
        session.add_all(
            Round(
                project_id=1,
                number=number,
                version=f"v{number}",
                request="a test",
                state=RoundState.PUBLISHED,
                started_at=100.0 * number,
                finished_at=100.0 * number + 50,
                report=RoundReport(target=("rare",), newest_task=newest, counts=(counts or {}).get(number, Counts())),
            )
            for number in rounds
        )
        session.add_all(
            TaskImage(project_id=1, task_id=task, uri="u", digest=None if task <= unreadable else f"{task}")
            for task in range(1, tasks + 1)
        )


def label(project, *entries):
    """Enter (task, label, draw, round, time); what has no draw came past the queue."""
    rows = [
        TaskLabel(
            project_id=1,
            task_id=task,
            label=name,
            origin=Origin.PAST_QUEUE if draw is None else Origin.QUEUE,
            draw=draw,
            round_number=number,
            labelled_at=when,
        )
        for task, name, draw, number, when in entries
    ]
    project.stores.labels.replace(1, rows)


def queue(number, first, rare, audit_rare, when):
    """Return the labels of one round: 40 that were sought and 10 that were drawn, some of them rare."""
    sought = [(first + n, "rare" if n < rare else "common", Draw.TARGET, number, when) for n in range(40)]
    drawn = [(first + 40 + n, "rare" if n < audit_rare else "common", Draw.AUDIT, number, when) for n in range(10)]
    return sought + drawn


def test_an_unknown_or_empty_project_has_found_nothing_and_says_why(project):
    unknown = project.workspace.project(2)
    for found in (read_findings(unknown), fill(project) or read_findings(project)):
        assert (found.labels, found.found, found.curve, found.left) == (0, 0, [(0, 0)], None)
        assert found.methods.keys() == ESTIMATES
    assert "a part of each queue is drawn at random" in found.methods["left"]
    assert found.pool == 1000


def test_labels_become_a_curve_and_estimates(project):
    fill(project)
    label(project, *queue(1, 100, 12, 2, 200.5), *queue(2, 200, 8, 1, 300.5))
    found = read_findings(project)
    assert (found.labels, found.found, found.audit_labels, found.audit_rare, found.pool) == (100, 23, 20, 3, 900)
    assert (found.curve[0], found.curve[-1], found.curve[12]) == ((0, 0), (100, 23), (12, 12))
    assert found.left.low is None
    assert 0 < found.left.estimate < found.left.high < 900
    assert 23 / 1000 <= found.prevalence.low <= found.prevalence.estimate <= found.prevalence.high < 0.6
    assert found.times_random.high == pytest.approx(23 * 1000 / (100 * round(found.prevalence.low * 1000)))
    assert found.labels_to_90_percent.high <= 900
    assert found.methods.keys() == ESTIMATES


def test_while_no_tagged_case_has_a_class_what_is_missing_is_told(project):
    row = start_round(project.stores, 1)
    project.stores.rounds.publish(row, RoundReport(counts=Counts(exemplars=1)), 9)
    methods = read_findings(project).methods
    assert methods.keys() == ESTIMATES
    assert all("No tagged case has a class yet" in said for said in methods.values())


def test_whether_enough_is_found_is_said_with_the_cheapest_way_to_it(project):
    fill(project)
    assert say_recalls(read_findings(project).recalls) == "cannot be known: no rare case is found yet."
    label(project, (1, "rare", None, None, 50.0))
    assert "20 more labels of random draws are needed" in say_recalls(read_findings(project).recalls)
    label(project, *queue(1, 100, 12, 2, 200.5), *queue(2, 200, 8, 1, 300.5))
    said = say_recalls(read_findings(project).recalls)
    assert "95 % not yet" in said
    assert "and 1 may be: go on with the queue. At most, 900 labels are left to do." in said
    store_options(project, ProjectOptions(target_recall=0.5))
    read = range(301, 901)
    label(
        project,
        *queue(1, 100, 40, 2, 200.5),
        *queue(2, 200, 40, 1, 300.5),
        *((task, "common", Draw.AUDIT, 2, 400.0) for task in read),
    )
    (recall,) = read_findings(project).recalls.values()
    assert recall.state is RecallState.REACHED
    assert "50 % reached: at least" in say_recalls({"rare": recall})


def test_tasks_that_came_after_the_draws_are_said_not_to_be_covered(project):
    fill(project, tasks=1030)
    label(project, *queue(1, 100, 12, 2, 200.5), *queue(2, 200, 8, 1, 300.5))
    assert "30 other tasks are not covered." in say_recalls(read_findings(project).recalls)


def test_while_many_images_are_not_read_nothing_is_said_of_the_recall(project):
    fill(project, unreadable=80)
    label(project, *queue(1, 100, 12, 2, 200.5), *queue(2, 200, 8, 1, 300.5))
    said = say_recalls(read_findings(project).recalls)
    assert said == "cannot be known: nothing is known of 80 tasks, which came late or whose image is not read."


def test_patients_are_counted_beside_their_cases_and_findings_are_judged_together(project):
    fill(project)
    label(project, *queue(1, 100, 12, 2, 200.5), *queue(2, 200, 8, 1, 300.5))
    alone = read_findings(project).recalls["rare"]
    assert alone.patients is None
    with project.stores.database.write() as session:
        for task in range(100, 110):
            session.get(TaskImage, (1, task)).group_key = "one"
        session.query(Round).update({"report": RoundReport(target=("rare", "other"), newest_task=1000)})
    recalls = read_findings(project).recalls
    assert (recalls["rare"].found, recalls["rare"].patients) == (23, 14)
    assert recalls["rare"].most > alone.most
    assert f"14 of at most {recalls['rare'].most - 9:,}" in say_recalls(recalls)
    assert "other: cannot be known" in say_recalls(recalls)


@pytest.mark.parametrize(("rounds", "missing"), [((1,), 10), ((1, 2), 0)])
def test_nothing_is_stated_before_twenty_audit_labels(project, rounds, missing):
    fill(project)
    label(project, *(entry for number in rounds for entry in queue(number, 100 * number, 12, 0, 200.5)))
    found = read_findings(project)
    stated = (found.prevalence, found.left, found.times_random)
    assert found.missing == missing
    assert [one is None for one in stated] == [missing > 0] * 3
    assert all(f"{missing} more audit labels" in found.methods[name] for name in ESTIMATES) == (missing > 0)


@pytest.mark.parametrize("rare", [0, 1, 2])
def test_no_estimate_is_stated_before_three_rare_audit_labels(project, rare):
    fill(project)
    label(project, *queue(1, 100, 12, rare, 200.5), *queue(2, 200, 8, 0, 300.5))
    found = read_findings(project)
    assert [one.estimate for one in (found.prevalence, found.left, found.times_random)] == [None] * 3
    assert found.left.low is found.prevalence.low is found.times_random.high is None
    assert found.times_random.low == pytest.approx(found.found / 100 / found.prevalence.high)
    assert found.labels_to_90_percent is None
    assert f"{3 - rare} more rare case" in found.methods["labels_to_90_percent"]


def test_a_queue_that_found_nothing_is_not_called_so_many_times_better(project):
    fill(project)
    label(project, *queue(1, 100, 0, 0, 200.5), *queue(2, 200, 0, 0, 300.5))
    found = read_findings(project)
    assert found.times_random is None
    assert "no rare case" in found.methods["times_random"]
    assert found.left.high > 0


def test_what_came_past_the_queue_is_found_but_is_no_merit_of_the_queue(project):
    fill(project)
    own = [(900 + n, "rare", None, None, 101.0) for n in range(30)]
    queued = [*queue(1, 100, 12, 2, 200.5), *queue(2, 200, 8, 1, 300.5)]
    label(project, *queued)
    before = read_findings(project)
    label(project, *queued, *own)
    after = read_findings(project)
    assert (before.found, after.found) == (23, 53)
    assert after.times_random.estimate <= before.times_random.estimate * 1.05
    assert after.curve == before.curve
    assert after.prevalence.low >= 53 / 1000
    assert after.origins == {Origin.QUEUE: (100, 23), Origin.PAST_QUEUE: (30, 30)}


def test_labels_that_readers_gave_while_the_next_round_ran_left_its_pool_before_it_drew(project):
    fill(project)
    label(project, *queue(1, 100, 5, 1, 200.5), *queue(2, 200, 5, 1, 300.5))
    early = read_findings(project)
    late = [(300 + n, "common", Draw.AUDIT, 1, 299.0) for n in range(10)]
    label(project, *queue(1, 100, 5, 1, 200.5), *late, *queue(2, 200, 5, 1, 300.5))
    found = read_findings(project)
    assert (found.audit_labels, early.audit_labels) == (30, 20)
    assert found.left.high < early.left.high


def test_exact_copies_are_not_left_to_be_found(project):
    fill(project)
    label(project, *queue(1, 100, 12, 1, 200.5))
    pool = read_findings(project).pool
    with project.stores.database.write() as session:
        session.get(TaskImage, (1, 500)).digest = "100"  # a copy of an answered image
        session.get(TaskImage, (1, 501)).digest = "502"  # and one of an open image
    assert read_findings(project).pool == pool - 2


def test_skipped_and_unreadable_tasks_and_disputes_are_neither_labels_nor_left(project):
    fill(project, unreadable=50)
    label(project, *queue(1, 100, 5, 1, 200.5), (60, None, Draw.AUDIT, 1, 200.5))
    found = read_findings(project)
    assert (found.labels, found.pool) == (50, 1000 - 50 - 51)


@pytest.mark.parametrize("tasks", [1030, 2000])
def test_tasks_that_came_later_are_said_to_be_left_out(project, tasks):
    fill(project, tasks=tasks)
    more = [(300 + n, "common", Draw.AUDIT, 2, 300.5) for n in range(10)]
    label(project, *queue(1, 100, 12, 1, 200.5), *queue(2, 200, 8, 0, 300.5), *more)
    found = read_findings(project)
    assert f"{tasks - 1000:,} tasks that came later are not covered" in found.methods["left"]
    assert found.left.high <= 900


def test_after_an_import_only_the_draws_since_count(project):
    fill(project, tasks=3000)
    with project.stores.database.write() as session:
        row = session.get(Round, project.stores.rounds.with_numbers(1, {2})[0].id)
        row.report = RoundReport(target=("rare",), newest_task=3000)
    more = [(300 + n, "common", Draw.AUDIT, 2, 300.5) for n in range(10)]
    label(project, *queue(1, 100, 12, 1, 200.5), *queue(2, 200, 8, 0, 300.5), *more)
    found = read_findings(project)
    assert "From 20 labels of tasks drawn at random in rounds 2 to 2" in found.methods["left"]
    assert "not covered" not in found.methods["left"]


@pytest.mark.parametrize(
    ("then", "unread_now", "counted"),
    [
        ({"held_back": 300, "waiting": 300}, 0, 20),
        ({"unreadable": 300}, 0, 20),
        ({"unreadable": 300}, 300, 30),
        ({"unreadable": 30}, 0, 30),
        ({"waiting": 300}, 0, 30),
    ],
    ids=["a slow host", "a host that was away", "damaged files", "a few", "no time, in random order"],
)
def test_draws_tell_nothing_of_images_that_could_be_read_only_later(project, then, unread_now, counted):
    fill(project, rounds=(1, 2, 3), unreadable=unread_now, counts={1: Counts(pool=1000, **then)})
    label(
        project, *(entry for number in (1, 2, 3) for entry in queue(number, 300 + 100 * number, 5, 0, 100.0 * number))
    )
    found = read_findings(project)
    assert found.audit_labels == 30
    assert f"From {counted} labels of tasks drawn at random" in found.methods["left"]
    assert ("10 audit labels tell nothing" in found.methods["left"]) == (counted == 20)


def test_draws_from_some_images_between_others_are_passed_over_and_where_there_are_no_others_it_is_said(project):
    some = Counts(pool=1000, held_back=300)
    fill(project, rounds=(1, 2, 3), counts={2: some})
    label(
        project, *(entry for number in (1, 2, 3) for entry in queue(number, 300 + 100 * number, 5, 0, 100.0 * number))
    )
    assert "From 20 labels of tasks drawn at random in rounds 1 to 3" in read_findings(project).methods["left"]
    with project.stores.database.write() as session:
        for row in session.query(Round):
            row.report = RoundReport(target=("rare",), newest_task=1000, counts=some)
    found = read_findings(project)
    assert found.missing == 20
    assert "30 audit labels tell nothing, since many images" in found.methods["left"]


def test_a_long_curve_is_thinned_and_keeps_its_ends(project):
    fill(project, tasks=3000, newest=3000)
    label(project, *((n, "rare" if n % 10 == 0 else "common", Draw.TARGET, 1, 200.0) for n in range(1, 2001)))
    curve = read_findings(project).curve
    assert len(curve) <= 500
    assert (curve[0], curve[-1]) == ((0, 0), (2000, 200))
