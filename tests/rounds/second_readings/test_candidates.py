"""What is read a second time, and that nothing of it is left behind in Label Studio."""

from __future__ import annotations

import numpy as np
import pytest

from clinical_backend.labelstudio.labeling.labels import Answered, Labels, Source
from clinical_backend.origins import Draw
from clinical_backend.rounds.reconcile import reconcile
from clinical_backend.rounds.rollback import roll_back
from clinical_backend.rounds.second_readings.candidates import choose, places
from clinical_backend.rounds.second_readings.overlap import settle
from clinical_backend.service.findings import read_findings
from clinical_backend.service.second_look import read_second_look
from clinical_backend.service.second_readings import Outcome, read_again, read_agreements, report_second_look
from clinical_backend.settings import load_settings
from clinical_backend.storage.schema import LabelCheck, ReadingState, SecondReading
from clinical_backend.strategy.reasons import UNLED_REASON
from clinical_backend.strategy.suspects import Suspect
from tests.rounds.fake_label_studio import FakeLabelStudio
from tests.rounds.test_reconcile import AWAY, latest, row
from tests.small_workspace import picture
from tests.workspace.test_lock import pass_on

NOW = 100 * 86_400.0
MISSED = (7, 8)
ANSWERED = range(1, 17)


def labels_of(number=40, readers=(1, 2), at=NOW, **fields):
    """Return labels of so many tasks, all read by reader 1 alone."""
    tasks = range(1, number + 1)
    return Labels(
        classes=dict.fromkeys(tasks, "common"),
        answered=frozenset(tasks),
        first_answers={task: Answered(Source.READER, at, at, 1, seen_by=frozenset({1})) for task in tasks},
        last_answers=dict.fromkeys(readers, at),
        **fields,
    )


def suspects(*tasks):
    return [Suspect(task_id=task, label="common", suspicion=1 - task / 100) for task in tasks]


def chosen(labels, doubted=(), rows=(), checks=(), *, ordinary=18, wanted=1, seed=0, share=0.1, random=0.0):
    return choose(
        load_settings(
            second_look_share=share, second_look_random_share=random, queue_size=20, label_studio_api_key="k"
        ),
        labels,
        suspects(*doubted),
        {one.task_id: one for one in rows},
        {one.task_id: one for one in checks},
        ordinary=ordinary,
        answers_wanted=wanted,
        generator=np.random.default_rng(seed),
        now=NOW,
    )


def tasks(choice):
    return [one.task_id for one in choice.asked]


def test_nobody_is_asked_while_no_share_is_set():
    assert chosen(labels_of(), range(1, 9), share=0.0) == choose_nothing()


def choose_nothing():
    return chosen(labels_of(), share=0.0)


def test_the_most_doubtful_labels_make_up_the_share_of_the_whole_queue():
    choice = chosen(labels_of(), range(1, 9), share=0.25)
    assert tasks(choice) == [1, 2, 3, 4, 5, 6]
    assert len(choice.asked) == 0.25 * (18 + len(choice.asked))
    assert (choice.waiting, choice.problem) == (2, None)


def test_with_nothing_else_left_to_read_the_share_is_that_of_a_full_queue():
    assert tasks(chosen(labels_of(), range(1, 40), ordinary=0, share=0.2)) == [1, 2, 3, 4]


@pytest.mark.parametrize(
    ("labels", "wanted", "told"),
    [
        (labels_of(readers=(1,)), 1, "only one has answered"),
        (labels_of(readers=()), 1, "none has answered"),
        (labels_of(), 2, "wants 2 answers to every task"),
    ],
)
def test_where_no_second_reading_can_be_it_says_why(labels, wanted, told):
    choice = chosen(labels, range(1, 9), wanted=wanted)
    assert choice.asked == ()
    assert told in choice.problem


def test_a_reader_who_left_a_month_ago_is_not_waited_for():
    labels = labels_of(readers=(1,))
    labels.last_answers[2] = NOW - 31 * 86_400
    assert "only one" in chosen(labels, [1]).problem


def test_what_every_active_reader_answered_or_skipped_is_not_asked_of_anybody():
    labels = labels_of()
    labels.first_answers[1] = Answered(Source.READER, NOW, NOW, 1, seen_by=frozenset({1, 2}))
    labels.first_answers[2] = Answered(Source.READER, NOW, NOW, 2, seen_by=frozenset({1, 3}))
    assert tasks(chosen(labels, [1, 2, 3])) == [3]


def test_a_label_that_was_right_is_not_doubted_again_unless_it_changed():
    checks = [
        LabelCheck(task_id=1, label="common", answer="common", blind=False),
        LabelCheck(task_id=2, label="other", answer="other", blind=False),
    ]
    assert tasks(chosen(labels_of(), [1, 2], checks=checks)) == [2]


def test_what_the_lead_asks_for_needs_no_share_and_comes_first():
    asked = SecondReading(task_id=30, state=ReadingState.ASKED, label="common", readings=1, by_lead=True)
    assert tasks(chosen(labels_of(), [1, 2], [asked], share=0.0)) == [30]
    assert tasks(chosen(labels_of(), [1, 2], [asked]))[0] == 30


def test_random_draws_are_of_all_that_readers_answered_doubtful_or_not():
    drawn = [
        one
        for seed in range(200)
        for one in chosen(labels_of(), [1, 2], share=0.1, random=0.3, seed=seed).asked
        if one.at_random
    ]
    counts = np.bincount([one.task_id for one in drawn], minlength=41)[1:]
    assert counts.sum() == 200 * round(18 * 0.3 / 0.6)
    assert counts.min() > 20
    assert counts.max() < 80
    assert {one.suspicion is not None for one in drawn if one.task_id < 3} == {True}


def test_a_draw_that_falls_on_what_was_read_twice_counts_and_another_is_drawn():
    labels = labels_of(20, read_twice=dict.fromkeys(range(1, 11), ((1, "common"), (2, "rare"))))
    for task in range(1, 11):
        labels.first_answers[task] = Answered(Source.READER, NOW, NOW, 2, seen_by=frozenset({1, 2}))
    choice = chosen(labels, share=0.0, random=0.25)
    assert len(choice.asked) == 6
    assert all(one.task_id > 10 for one in choice.asked)
    assert choice.drawn_read
    assert set(choice.drawn_read) < set(range(1, 11))


def test_draws_that_are_still_open_stay_drawn():
    pending = [
        SecondReading(task_id=task, state=ReadingState.OPEN, label="common", readings=1, at_random=True, by_lead=False)
        for task in (5, 6)
    ]
    for seed in range(5):
        assert {5, 6} < set(tasks(chosen(labels_of(), (), pending, share=0.0, random=0.25, seed=seed)))


def test_second_readings_are_spread_over_the_queue_and_not_at_guessable_places():
    generator = np.random.default_rng(0)
    found = [tuple(places(100, 10, generator)) for _ in range(5)]
    assert len(set(found)) == 5
    for one in found:
        assert [place // 10 for place in one] == list(range(10))
    assert places(0, 0, generator) == []


@pytest.fixture
def fake_client():
    return FakeLabelStudio({n: picture(200 + n if n <= 8 else n, n % 5) for n in range(1, 41)})


@pytest.fixture
def studio(workspace, fake_client):
    """Return a Label Studio with 8 red images, of which readers called two dark, among 40; two readers are at it."""
    options = {
        "queue_size": 10,
        "start_training_each_n_updates": 1000,
        "backend_url": "http://backend",
        "rare_classes": ("red",),
        "second_look_share": 0.2,
    }
    workspace.settings = workspace.settings.model_copy(update=options)
    for task in ANSWERED:
        fake_client.annotate(task, "red" if task <= 8 and task not in MISSED else "dark")
    fake_client.annotate(20, "dark", completed_by=2)
    return fake_client


def again(workspace, studio):
    workspace.stores.projects.request_round(1, "test", delay=0)
    reconcile(workspace.project(1), look=True)


def set_share(workspace, **shares):
    workspace.settings = workspace.settings.model_copy(update=shares)


def test_missed_findings_are_served_to_another_reader_among_the_others_and_tell_nothing(workspace, studio):
    studio.config = studio.config.replace(
        "</View>", '<TextArea name="reason" toName="image" visibleWhen="choice-unselected"/></View>'
    )
    set_share(workspace, audit_share=0.3, preannotate="all")
    reconcile(workspace.project(1), look=True)
    assert {one.task_id for one in read_second_look(workspace.project(1))} == set(MISSED)
    assert set(studio.served_again()) == set(MISSED)
    assert [studio.overlap[task] for task in MISSED] == [2, 2]
    items = {item["task"]: item for item in studio.predictions[studio.model_version]}
    places_ = [studio.queue().index(task) for task in studio.served_again()]
    assert places_[0] < 6 <= places_[1]
    unled = [task for task, item in items.items() if item["result"][-1]["value"].get("text") == [UNLED_REASON]]
    audit = {one.task_id for one in workspace.stores.rounds.queue(latest(workspace).id) if one.draw is Draw.AUDIT}
    assert set(unled) == audit | set(MISSED)
    assert all(len(items[task]["result"]) == 1 for task in unled)
    counts = latest(workspace).report.counts
    assert (counts.queue, counts.second_readings, row(workspace).queue_left) == (10, 2, 10)


def test_a_second_reading_is_noted_with_both_answers_put_back_and_asked_once(workspace, studio):
    reconcile(workspace.project(1), look=True)
    before, number = read_findings(workspace.project(1)), latest(workspace).number
    studio.read_again(7, "dark")
    studio.read_again(8, "red")
    reconcile(workspace.project(1), look=True)
    assert (studio.served_again(), studio.overlap[7], studio.overlap[8]) == ([], 1, 1)
    assert latest(workspace).number == number
    found = {one.task_id: one for one in read_again(workspace.project(1))}
    assert [found[task].outcome for task in MISSED] == [Outcome.RIGHT, Outcome.OPEN]
    again(workspace, studio)
    assert not set(studio.queue()) & set(MISSED)
    found = {one.task_id: one for one in read_again(workspace.project(1))}
    assert [found[task].outcome for task in MISSED] == [Outcome.RIGHT, Outcome.OPEN]
    assert found[8].answers == (("1", "dark"), ("2", "red"))
    assert workspace.stores.labels.all(1)[8].label is None
    after = read_findings(workspace.project(1))
    assert (after.labels, after.found, after.curve, after.pool) == (
        before.labels,
        before.found,
        before.curve,
        before.pool,
    )
    agreements = read_agreements(workspace.stores.second_readings.patterns(1))
    assert (agreements.doubtful.cases, agreements.doubtful.disagreements) == (2, 1)
    assert agreements.ordinary.cases == 0
    studio.answers[8] = [one.model_copy(update={"result": studio.answers[1][0].result}) for one in studio.answers[8]]
    again(workspace, studio)
    (changed,) = [one for one in read_again(workspace.project(1)) if one.task_id == 8]
    assert (changed.outcome, changed.now) == (Outcome.CHANGED, "red")
    assert report_second_look(workspace.project(1))["agreement"]["doubtful"] == {"cases": 2, "disagreements": 1}


def test_a_reading_that_is_taken_back_may_be_asked_for_again(workspace, studio):
    reconcile(workspace.project(1), look=True)
    studio.read_again(7, "dark")
    reconcile(workspace.project(1), look=True)
    studio.answers[7] = studio.answers[7][:1]
    again(workspace, studio)
    assert set(studio.served_again()) == set(MISSED)


@pytest.mark.parametrize("how", ["share", "rollback", "answers"])
def test_what_was_not_read_gets_back_what_it_had(workspace, studio, how):
    studio.overlap[7] = 1
    set_share(workspace, second_look_share=0.0)
    reconcile(workspace.project(1), look=True)
    set_share(workspace, second_look_share=0.2)
    again(workspace, studio)
    assert set(studio.served_again()) == set(MISSED)
    if how == "share":
        set_share(workspace, second_look_share=0.0)
        reconcile(workspace.project(1), look=True)
    elif how == "answers":
        studio.answers = {}
        reconcile(workspace.project(1), look=True)
    else:
        roll_back(workspace.project(1), 1)
    assert (studio.overlap[7], studio.overlap[8]) == (1, 1)
    assert studio.unlabelled == (set(MISSED) if how == "answers" else set())
    assert workspace.stores.second_readings.open_tasks(1) == frozenset()


def test_a_number_of_answers_that_somebody_else_set_meanwhile_stays(workspace, studio):
    reconcile(workspace.project(1), look=True)
    studio.overlap[7] = 3
    set_share(workspace, second_look_share=0.0)
    reconcile(workspace.project(1), look=True)
    assert (studio.overlap[7], studio.overlap[8]) == (3, 1)


def test_a_task_of_a_project_that_wants_more_answers_by_now_keeps_that_number(workspace, studio):
    reconcile(workspace.project(1), look=True)
    studio.maximum_annotations = 2
    studio.overlap = dict.fromkeys(studio.uris, 2)
    again(workspace, studio)
    assert set(studio.overlap.values()) == {2}
    assert workspace.stores.second_readings.open_tasks(1) == frozenset()


def test_what_nobody_is_left_to_read_keeps_no_place_from_the_rest_that_the_lead_asks_for():
    labels = labels_of(number=250)
    for task in range(1, 221):
        labels.first_answers[task] = Answered(Source.READER, NOW, NOW, 1, seen_by=frozenset({1, 2}))
    rows = [
        SecondReading(task_id=task, state=ReadingState.ASKED, label="common", readings=1, by_lead=True)
        for task in range(1, 251)
    ]
    assert set(tasks(chosen(labels, rows=rows, share=0.0))) == set(range(221, 251))


def test_a_task_that_was_deleted_is_forgotten(workspace, studio):
    reconcile(workspace.project(1), look=True)
    del studio.uris[7], studio.answers[7]
    reconcile(workspace.project(1), look=True)
    assert 7 not in workspace.stores.second_readings.all(1)
    assert row(workspace).problem is None


def test_a_task_that_label_studio_fails_in_giving_is_not_taken_for_a_deleted_one(workspace, studio):
    reconcile(workspace.project(1), look=True)
    set_share(workspace, second_look_share=0.0)
    studio.withheld = {7}
    settle(workspace.project(1), studio.project(1))
    assert (studio.overlap[7], studio.overlap[8]) == (2, 1)
    studio.withheld = set()
    settle(workspace.project(1), studio.project(1))
    assert studio.overlap[7] == 1


class _Killed(BaseException):
    """Stands for the death of the process."""


@pytest.mark.parametrize("after", [False, True])
def test_a_process_that_dies_while_it_marks_leaves_nothing_marked_for_ever(workspace, studio, monkeypatch, after):
    update = studio.update_task

    def die(task_id, **fields):
        if after:
            update(task_id, **fields)
        raise _Killed

    monkeypatch.setattr(studio, "update_task", die)
    with pytest.raises(_Killed):
        reconcile(workspace.project(1), look=True)
    monkeypatch.undo()
    open_ = workspace.stores.second_readings.open_tasks(1)
    assert len(open_) == 1
    if after:
        set_share(workspace, second_look_share=0.0)
    settle(workspace.project(1), studio.project(1))
    assert set(studio.served_again()) == (set() if after else set(MISSED))
    set_share(workspace, second_look_share=0.0)
    settle(workspace.project(1), studio.project(1))
    assert studio.unlabelled == set()
    assert all(studio.overlap.get(task, 1) == 1 for task in studio.uris)


def test_label_studio_that_is_away_while_second_readings_are_marked_costs_no_round(workspace, studio):
    studio.faults["update_task"] = AWAY
    reconcile(workspace.project(1), look=False)
    assert (latest(workspace).number, row(workspace).published_version) == (1, studio.model_version)
    assert studio.served_again() == []
    studio.faults.clear()
    reconcile(workspace.project(1), look=True)
    assert set(studio.served_again()) == set(MISSED)
    assert latest(workspace).number == 1


def test_an_imported_label_is_read_by_a_reader_and_counts_as_a_second_look(workspace, studio):
    studio.annotate(7, "dark", import_id=3, completed_by=1)
    reconcile(workspace.project(1), look=True)
    assert set(studio.served_again()) == set(MISSED)
    studio.read_again(7, "red")
    again(workspace, studio)
    (found,) = read_again(workspace.project(1))
    assert (found.answers, found.outcome, found.now) == (((None, "dark"), ("2", "red")), Outcome.CHANGED, "red")
    assert studio.overlap[7] == 1


def test_when_the_first_answer_is_deleted_the_task_keeps_its_draw(workspace, studio):
    studio.answers = {}
    set_share(workspace, audit_share=0.5)
    reconcile(workspace.project(1), look=True)
    for task in studio.queue():
        studio.annotate(task, "dark")
    studio.annotate(40, "dark", completed_by=2)
    again(workspace, studio)
    (audit, *_) = [task for task, one in workspace.stores.labels.all(1).items() if one.draw is Draw.AUDIT]
    studio.read_again(audit, "red")
    again(workspace, studio)
    studio.answers[audit] = studio.answers[audit][1:]
    again(workspace, studio)
    kept = workspace.stores.labels.all(1)[audit]
    assert (kept.draw, kept.label) == (Draw.AUDIT, "red")


def test_answers_that_two_readers_gave_unasked_tell_of_agreement_too(workspace, studio):
    set_share(workspace, second_look_share=0.0)
    for task in (10, 11, 12):
        studio.read_again(task, "red" if task == 10 else "dark")
    again(workspace, studio)
    agreements = read_agreements(workspace.stores.second_readings.patterns(1))
    assert (agreements.unasked.cases, agreements.unasked.disagreements) == (3, 1)
    again(workspace, studio)
    assert len(workspace.stores.second_readings.all(1)) == 3


def test_when_nothing_else_is_left_second_readings_go_on_until_each_was_asked_for_once(workspace, studio):
    set_share(workspace, second_look_share=0.1)
    for task in studio.uris:
        if task not in studio.answers:
            studio.annotate(task, "dark")
    asked = []
    for _ in range(4):
        reconcile(workspace.project(1), look=True)
        for task in studio.served_again():
            asked.append(task)
            studio.read_again(task, "dark")
        reconcile(workspace.project(1), look=True)
    assert sorted(asked) == sorted(set(asked))
    assert set(asked) >= set(MISSED)
    number = latest(workspace).number
    reconcile(workspace.project(1), look=True)
    assert latest(workspace).number == number <= 4
    assert row(workspace).queue_left == 0


def test_a_random_draw_on_what_is_asked_for_already_is_kept(workspace, studio):
    reconcile(workspace.project(1), look=True)
    set_share(workspace, second_look_random_share=0.4, second_look_share=0.4, queue_size=30)
    for _ in range(3):
        again(workspace, studio)
    rows = workspace.stores.second_readings.all(1)
    asked = {one.task_id: one for one in latest(workspace).report.second_look.asked}
    assert {task for task, one in rows.items() if one.at_random} == {
        task for task, one in asked.items() if one.at_random
    }
    assert all(rows[task].at_random and rows[task].suspicion is not None for task in MISSED)


def test_second_readings_are_none_of_the_tasks_that_a_queue_runs_low_by(workspace, studio):
    reconcile(workspace.project(1), look=True)
    for task in [task for task in studio.queue() if task not in MISSED][:8]:
        studio.annotate(task, "dark")
    reconcile(workspace.project(1), look=True)
    assert latest(workspace).request == "the queue is running low: 2 of 10 tasks are left"


def test_who_was_silent_too_long_changes_no_task_any_more(workspace, studio):
    reconcile(workspace.project(1), look=True)
    studio.read_again(7, "dark")
    studio.meanwhile["tasks_with_answers"] = lambda: pass_on(workspace)
    reconcile(workspace.project(1), look=True)
    assert studio.overlap[7] == 2


def test_answers_that_cannot_be_compared_keep_no_task_marked(workspace, studio):
    reconcile(workspace.project(1), look=True)
    set_share(workspace, second_look_share=0.0)
    studio.faults["annotated_tasks"] = AWAY
    reconcile(workspace.project(1), look=True)
    assert studio.overlap == dict.fromkeys(MISSED, 1)
    assert row(workspace).problem == str(AWAY)


def test_with_another_control_learnt_nothing_is_said_of_agreement_on_the_earlier_one(workspace, studio):
    other = '<Choices name="side" toName="image"><Choice value="left"/><Choice value="right"/></Choices></View>'
    studio.config = studio.config.rpartition("</View>")[0] + other
    reconcile(workspace.project(1), look=True)
    studio.read_again(7, "red")
    workspace.stores.second_readings.check(1, 8, "dark", "dark", blind=False)
    again(workspace, studio)
    assert read_agreements(workspace.stores.second_readings.patterns(1)).doubtful.cases == 1
    set_share(workspace, class_control="side", rare_classes=("left",))
    for task, name in ((7, "left"), (7, "right"), (9, "left"), (10, "right")):
        result = [{"from_name": "side", "value": {"choices": [name]}}]
        place = 1 if name == "right" and task == 7 else 0
        known = studio.answers[task][place]
        studio.answers[task][place] = known.model_copy(update={"result": [*known.result, *result]})
    again(workspace, studio)
    assert [one.answers for one in read_again(workspace.project(1))] == [(("1", "left"), ("2", "right"))]
