"""From several readers' answers to one label per task."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from clinical_backend.errors import LabelStudioRefusedError
from clinical_backend.lab.servers.simulated_reader import SimulatedReader
from clinical_backend.labelstudio.labeling.answers import Why
from clinical_backend.labelstudio.labeling.labels import Source, read_labels
from clinical_backend.labelstudio.labeling.reader_answers import names_of
from clinical_backend.labelstudio.labeling.retrieval import fetch_labels, fetch_labels_apart
from clinical_backend.labelstudio.labeling.scheme import read_scheme
from clinical_backend.labelstudio.resources import AnnotatedTask, Project, User
from clinical_backend.origins import AnswerKind

CONFIG = (
    '<View><Image name="image" value="$image"/>'
    '<Choices name="diagnosis" toName="image">'
    '<Choice value="a"/><Choice value="b"/><Choice value="c"/></Choices>'
    '<Choices name="exemplar" toName="image" choice="multiple">'
    '<Choice value="more like this"/><Choice value="not like this"/></Choices></View>'
)
MORE, LESS = "more like this", "not like this"


@pytest.fixture(scope="module")
def scheme():
    return read_scheme(CONFIG)


def answer(name=None, *tags, skipped=False, starred=False, **fields):
    chosen = {"diagnosis": [name] if name else [], "exemplar": list(tags)}
    result = [
        {"from_name": control, "to_name": "image", "type": "choices", "value": {"choices": values}}
        for control, values in chosen.items()
        if values
    ]
    return {"result": result, "was_cancelled": skipped, "ground_truth": starred, "lead_time": 4.0} | fields


def labels_of(scheme, *tasks, **options):
    """Read the labels of tasks 1, 2, … with these answers each."""
    return read_labels(
        scheme,
        [
            AnnotatedTask.model_validate(
                {
                    "id": number,
                    "created_at": "2026-01-01T00:00:00Z",
                    "annotations": [{"id": place} | item for place, item in enumerate(answers, start=1)],
                }
            )
            for number, answers in enumerate(tasks, start=1)
        ],
        **options,
    )


def imported(name, *tags, **fields):
    """An answer as Label Studio keeps one that came with an imported task: starred, without lead time."""
    created = {"created_at": "2026-01-01T00:00:00.05Z", "lead_time": None, "import_id": None}
    return answer(name, *tags, starred=True) | created | fields


def accepted(name, *tags, **fields):
    """An answer that was made of a prediction in bulk."""
    return answer(name, *tags) | {"lead_time": None, "parent_prediction": 7} | fields


def test_one_answer_is_the_label(scheme):
    labels = labels_of(scheme, [answer("a")], [answer("b")])
    assert labels.classes == {1: "a", 2: "b"}
    assert labels.answered == {1, 2}
    assert (labels.messages, labels.unread) == ((), {})


def test_no_tasks_give_no_labels(scheme):
    labels = labels_of(scheme)
    assert (labels.classes, labels.exemplars, labels.answered) == ({}, (), frozenset())


def test_the_majority_decides(scheme):
    assert labels_of(scheme, [answer("a"), answer("b"), answer("b")]).classes == {1: "b"}


def test_a_tie_is_no_label_and_no_exemplar_until_it_is_settled(scheme):
    tied = [answer("b", MORE), answer("a", MORE)]
    labels = labels_of(scheme, tied)
    assert labels.classes == {}
    assert labels.exemplars == ()
    assert labels.disagreed == {1: ("a", "b")}
    assert labels.answered == {1}
    assert "disagree" in labels.messages[0]
    assert labels_of(scheme, [*tied, answer("b")]).classes == {1: "b"}


def test_a_skip_is_no_answer_but_is_known(scheme):
    labels = labels_of(scheme, [answer(skipped=True)], [answer(skipped=True), answer("a")])
    assert labels.skipped == {1}
    assert labels.classes == {2: "a"}
    assert labels.answered == {1, 2}


def test_what_one_skipped_is_unanswered_while_another_is_offered_it(scheme):
    tasks = [answer(skipped=True, completed_by=1)], [answer(skipped=True, completed_by=n) for n in (1, 2)]
    labels = labels_of(scheme, *tasks, offered_again=[1, 2])
    assert (labels.skipped, labels.answered) == ({1, 2}, {2})
    assert labels_of(scheme, *tasks, offered_again=[1]).answered == {1, 2}


def test_a_skipped_answer_that_holds_choices_does_not_count(scheme):
    labels = labels_of(scheme, [answer("a", MORE, skipped=True)])
    assert (labels.classes, labels.exemplars, labels.skipped) == ({}, (), {1})


def test_an_empty_answer_is_neither_label_nor_skip(scheme):
    labels = labels_of(scheme, [answer()])
    assert (labels.classes, labels.skipped, labels.answered) == ({}, frozenset(), {1})


def test_a_task_without_annotations_is_not_answered(scheme):
    assert labels_of(scheme, []).answered == frozenset()


def test_a_star_steers_and_settles_only_where_the_lead_switches_it_on(scheme):
    tasks = [answer("a"), answer("b", starred=True)], [answer("b", starred=True)]
    labels = labels_of(scheme, *tasks)
    assert (labels.classes, labels.exemplars, labels.disagreed) == ({2: "b"}, (), {1: ("a", "b")})
    assert "1 answer is starred, and stars do not steer" in labels.messages[1]
    labels = labels_of(scheme, *tasks, stars=True)
    assert (labels.classes, labels.exemplars, labels.disputed) == ({1: "b", 2: "b"}, (1, 2), {})


def test_answers_and_tags_go_before_a_star_and_the_conflict_is_said(scheme):
    labels = labels_of(
        scheme, [answer("a"), answer("a"), answer("b", starred=True)], [answer("a", LESS, starred=True)], stars=True
    )
    assert (labels.classes, labels.exemplars, labels.counter_exemplars) == ({1: "a", 2: "a"}, (), (2,))
    assert labels.contradicted_stars == {1, 2}
    assert any("The star contradicts readers' answers or tags: 2 tasks (1, 2)" in text for text in labels.messages)


def test_starred_answers_that_differ_are_a_tie(scheme):
    labels = labels_of(scheme, [answer("a", starred=True), answer("b", starred=True)], stars=True)
    assert labels.disagreed == {1: ("a", "b")}


@pytest.mark.parametrize("fields", [{}, {"lead_time": 3.0}, {"import_id": 12}, {"import_id": 12, "lead_time": 3.0}])
def test_the_star_of_an_import_never_steers_and_never_beats_a_reader(scheme, fields):
    labels = labels_of(scheme, [imported("b", **fields)], [imported("b", **fields), answer("a")], stars=True)
    assert labels.classes == {1: "b", 2: "a"}
    assert labels.exemplars == ()
    assert labels.corrected == {2}
    assert "Readers contradict an import or an accepted prediction: 1 task (2)" in labels.messages[0]
    assert [labels.first_answers[task].source for task in (1, 2)] == [Source.IMPORT, Source.READER]
    assert labels.first_answers[2].after_machine


def test_a_tag_that_an_import_brings_was_written_by_somebody(scheme):
    assert labels_of(scheme, [imported("b", MORE)]).exemplars == (1,)


def test_an_accepted_prediction_is_a_label_until_a_reader_answers(scheme):
    labels = labels_of(scheme, [accepted("b")], [accepted("b"), answer("a")], [accepted("b"), answer("b")])
    assert labels.classes == {1: "b", 2: "a", 3: "b"}
    assert labels.corrected == {2}
    assert [labels.first_answers[task].source for task in (1, 2)] == [Source.MODEL, Source.READER]


def test_what_an_import_brought_stands_before_predictions_that_were_accepted_beside_it(scheme):
    labels = labels_of(
        scheme, [accepted("b"), imported("a"), accepted("b")], [accepted("b"), accepted("b"), imported("b")]
    )
    assert labels.classes == {1: "a", 2: "b"}
    assert labels.messages == ()
    assert [labels.first_answers[task].source for task in (1, 2)] == [Source.IMPORT, Source.IMPORT]


def test_an_accepted_prediction_without_a_class_is_told(scheme):
    labels = labels_of(scheme, [accepted(None)], [accepted(None), answer("a")], [answer()])
    assert (labels.classes, labels.empty) == ({2: "a"}, {1})
    assert "Accepted predictions name no class: 1 task (1)" in labels.messages[0]


def test_a_prediction_that_a_reader_submitted_is_the_readers(scheme):
    labels = labels_of(scheme, [answer("b", parent_prediction=7)])
    assert labels.first_answers[1].source is Source.READER


def test_an_answer_that_a_script_gave_long_after_the_import_counts_as_a_readers(scheme):
    labels = labels_of(scheme, [answer("b", lead_time=None, created_at="2026-01-03T00:00:00Z")])
    assert labels.first_answers[1].source is Source.READER


@pytest.mark.parametrize(
    ("created_at", "lead_time", "source"),
    [
        ("2026-01-01T00:00:05Z", 4.0, Source.READER),  # opened a second after the import
        ("2026-01-01T00:00:05Z", 6.0, Source.IMPORT),  # opened before the task was there
        ("2026-01-03T00:00:00Z", 1e6, Source.READER),  # a lead time that is too long, as a tab left open measures
    ],
)
def test_a_lead_time_is_a_readers_where_the_task_has_been_there_for_so_long(scheme, created_at, lead_time, source):
    labels = labels_of(scheme, [answer("b", created_at=created_at, lead_time=lead_time)])
    assert labels.first_answers[1].source is source


@pytest.mark.parametrize("lead_time", [5.0, 0.0, -3.0, float("nan"), float("inf"), None])
def test_it_is_known_when_a_task_was_opened(scheme, lead_time):
    made = answer("b", lead_time=lead_time, created_at="2026-01-03T00:01:00Z")
    opened = labels_of(scheme, [made]).first_answers[1]
    assert opened.at - opened.served_at == (5.0 if lead_time == 5.0 else 0.0)


def test_readings_count_readers(scheme):
    labels = labels_of(
        scheme,
        [answer("a", completed_by=1), answer("a", completed_by=2), answer("b", completed_by=2)],
        [imported("a"), answer("a", completed_by=1)],
        [imported("a")],
        [answer("a", completed_by=1), answer(skipped=True, completed_by=2)],
    )
    assert [labels.first_answers[task].readings for task in (1, 2, 3, 4)] == [2, 1, 0, 1]


def test_both_answers_of_two_readers_are_told_the_first_one_first_and_each_readers_latest(scheme):
    late, early = {"created_at": "2026-01-02T00:02:00Z"}, {"created_at": "2026-01-02T00:01:00Z"}
    labels = labels_of(
        scheme,
        [answer("b", completed_by=2, **late), answer("a", completed_by=1, **early)],
        [answer("a", completed_by=1, **early), answer("b", completed_by=1, **late)],
        [answer("a", completed_by=1, **early), answer(None, completed_by=2, **late)],
        [imported("a", completed_by=3), answer("a", completed_by=1, **early), answer(skipped=True, completed_by=2)],
    )
    assert labels.read_twice == {1: ((1, "a"), (2, "b"))}
    assert labels.first_answers[4].seen_by == {1, 2, 3}
    assert labels.last_answers.keys() == {1, 2}
    assert labels.last_answers[1] == labels.last_answers[2] == 1767312120.0


def test_tags_make_exemplars_and_counter_exemplars(scheme):
    labels = labels_of(scheme, [answer("a", MORE)], [answer("b", LESS)], [answer("a")])
    assert labels.exemplars == (1,)
    assert labels.counter_exemplars == (2,)


def test_one_reader_who_tags_is_enough(scheme):
    assert labels_of(scheme, [answer("a"), answer("a", MORE)]).exemplars == (1,)


def test_a_tag_without_class_steers_all_the_same(scheme):
    labels = labels_of(scheme, [answer(None, MORE)])
    assert (labels.classes, labels.exemplars) == ({}, (1,))


@pytest.mark.parametrize(
    "answers",
    [
        [answer("a", MORE, LESS)],
        [answer("a", MORE), answer("a", LESS)],
    ],
)
def test_tags_both_ways_count_neither_way(scheme, answers):
    labels = labels_of(scheme, answers)
    assert labels.exemplars == labels.counter_exemplars == ()
    assert labels.conflicting_tags == {1}
    assert labels.classes == {1: "a"}
    assert "Tagged both as exemplar and counter-exemplar: 1 task (1)" in labels.messages[0]


def test_a_class_that_the_config_lost_is_counted_and_not_used(scheme):
    labels = labels_of(scheme, [answer("old")], [answer("old"), answer("a")], [answer("older", MORE)])
    assert labels.classes == {2: "a"}
    assert labels.unknown_classes == {"old": 2, "older": 1}
    assert labels.exemplars == (3,)
    assert labels.answered == {1, 2, 3}
    assert "'old' (2)" in labels.messages[0]


def held(value, control="diagnosis", kind="choices"):
    """An answer with a region that holds anything."""
    return answer() | {"result": [{"from_name": control, "to_name": "image", "type": kind, "value": value}]}


@pytest.mark.parametrize(
    "value",
    [{"choices": "a"}, {"choices": [["a"]]}, {"choices": [["group", "a"]]}, {"taxonomy": [["group", "a"]]}],
)
def test_a_class_is_read_from_every_form_that_names_one(scheme, value):
    labels = labels_of(scheme, [held(value)])
    assert (labels.classes, labels.messages) == ({1: "a"}, ())


@pytest.mark.parametrize(
    ("given", "why", "said"),
    [
        (held({"choices": ["a"]}, "category"), Why.OTHER_CONTROL, "the answers are of 'category' (1)"),
        (held({"choices": ["x"]}, "quality"), Why.NOT_LEARNT, "no class in 'diagnosis', which is learnt: the answers"),
        (held({"rating": 3}), Why.OTHER_FORM, "what stands there for 'diagnosis' is no choice"),
        (held({"choices": [{"value": "a"}]}), Why.OTHER_FORM, "is no choice"),
        (held({"choices": [["group", "z"]]}), Why.UNKNOWN, "'group / z' (1)"),
        (held({"choices": ["A "]}), Why.UNKNOWN, "'A  (for a?)' (1)"),
        (held({"choices": ["Long name"]}), Why.UNKNOWN, "'Long name (for c?)' (1)"),
        (held({"choices": ["a", "b"]}), Why.SEVERAL, "'a, b' (1)"),
        (held({"choices": [["g", "a"], ["g", "b"]]}), Why.SEVERAL, "'a, b' (1)"),
        (held({"choices": [MORE]}, "exemplar"), Why.NO_CLASS, "1 answered task has no class chosen"),
        (answer() | {"result": ["strange", None]}, Why.NO_CLASS, "no class chosen"),
        (answer() | {"result": {"choices": ["a"]}}, Why.NO_CLASS, "no class chosen"),
        (answer(), Why.EMPTY, "1 answered task has an empty answer"),
        (answer() | {"result": None}, Why.EMPTY, "an empty answer"),
        (held({"choices": []}), Why.OTHER_FORM, "is no choice"),
        (held({"choices": ["a"]}, ["diagnosis"]), Why.NO_CLASS, "no class chosen"),
    ],
)
def test_an_answer_without_a_readable_class_is_counted_with_its_reason(given, why, said):
    other = '<Choices name="quality" toName="image"><Choice value="x"/><Choice value="y"/></Choices></View>'
    config = CONFIG.replace('"c"', '"Long name" alias="c"').replace("</View>", other)
    labels = labels_of(read_scheme(config), [given], [answer("b")])
    assert (labels.classes, labels.answered) == ({2: "b"}, {1, 2})
    assert labels.unread[1].why is why
    assert said in labels.messages[0]
    assert len(labels.messages) == 1


def test_a_task_with_one_readable_answer_has_its_class(scheme):
    labels = labels_of(scheme, [held({"choices": ["a"]}, "category"), answer("b")])
    assert (labels.classes, labels.unread, labels.messages) == ({1: "b"}, {}, ())


def test_several_classes_in_one_answer_are_no_label(scheme):
    both = answer("a")
    both["result"][0]["value"]["choices"] = ["a", "b"]
    labels = labels_of(scheme, [both])
    assert labels.classes == {}
    assert labels.unknown_classes == {"a, b": 1}


def test_regions_of_another_form_are_passed_over(scheme):
    strange = [
        {"from_name": "diagnosis"},
        {"from_name": "diagnosis", "value": {"text": "a"}},
        {"value": None},
    ]
    labels = labels_of(scheme, [answer("a") | {"result": strange}])
    assert (labels.classes, labels.answered) == ({}, {1})


def test_without_exemplar_control_only_the_star_steers():
    config = CONFIG.replace('name="exemplar"', 'name="other"')
    labels = labels_of(read_scheme(config), [answer("a", MORE)], [answer("b", starred=True)], stars=True)
    assert labels.exemplars == (2,)


def test_captured_tasks_are_read():
    folder = Path(__file__).parent.parent / "captures"
    config = (
        '<View><Image name="image" value="$image"/><Choices name="label" toName="image"><Choice value="cat"/>'
        '<Choice value="dog"/></Choices><Choices name="exemplar" toName="image" choice="multiple">'
        '<Choice value="exemplar"/></Choices></View>'
    )
    captured = json.loads((folder / "export_JSON.json").read_text())
    captured += json.loads((folder / "api_tasks_fields_all.json").read_text())["tasks"]
    for task in captured:
        labels = read_labels(read_scheme(config), [AnnotatedTask.model_validate(task)])
        assert labels.classes == {16003: "cat"}
        assert labels.exemplars == (16003,)


def test_two_real_readers_come_to_one_label_set(client, second_client, make_project):
    project = make_project(6)
    client.update_project(project.id, maximum_annotations=2)
    first, second = SimulatedReader(client), SimulatedReader(second_client)
    ids = [task.id for task in client.tasks(project.id)]
    first.annotate(ids[0], {"diagnosis": ["rare"], "exemplar": [MORE]})
    second.annotate(ids[0], {"diagnosis": ["rare"]})
    first.annotate(ids[1], {"diagnosis": ["rare"]})
    tied = second.annotate(ids[1], {"diagnosis": ["common"]})
    first.skip(ids[2])
    second.annotate(ids[2], {"diagnosis": ["common"], "exemplar": [LESS]})
    first.skip(ids[3])
    starred = first.annotate(ids[4], {"diagnosis": ["rare"]})
    second.annotate(ids[4], {"diagnosis": ["common"]})
    first.star(starred)
    labels = read_labels(read_scheme(project.label_config), client.annotated_tasks(project.id), stars=True)
    assert labels.classes == {ids[0]: "rare", ids[2]: "common", ids[4]: "rare"}
    assert labels.exemplars == (ids[0], ids[4])
    assert labels.counter_exemplars == (ids[2],)
    assert labels.disagreed == {ids[1]: ("common", "rare")}
    assert labels.skipped == {ids[3]}
    second.withdraw(tied)
    labels = read_labels(read_scheme(project.label_config), client.annotated_tasks(project.id))
    assert labels.classes[ids[1]] == "rare"


def test_each_annotation_of_real_readers_is_told_with_its_time_and_the_names_that_they_gave(
    client, second_client, make_project
):
    project = make_project(4)
    me, other = client.whoami().id, second_client.whoami().id
    first, second = SimulatedReader(client), SimulatedReader(second_client)
    answered = first.next(project.id)
    time.sleep(0.01)  # the reader sends milliseconds
    first.annotate(answered, {"diagnosis": ["rare"]})
    skipped = second.next(project.id)
    second.skip(skipped)
    named = {"first_name": "Ada", "last_name": "Byron"}
    client.session.request("PATCH", f"api/users/{me}/", json=named)
    try:
        read = client.project(project.id)
        scheme = read_scheme(project.label_config)
        labels, _ = fetch_labels_apart(client, read, scheme, (), by_reader=True, names=True)
    finally:
        client.session.request("PATCH", f"api/users/{me}/", json=dict.fromkeys(named, ""))
    assert labels.names.get(me) == "Ada Byron"
    assert other not in labels.names  # who gave no name has an address of e-mail alone
    told = {one.task: one for one in labels.by_reader}
    assert set(told) == {answered.id, skipped.id}
    one, two = told[answered.id], told[skipped.id]
    assert (one.reader, one.label, one.kind) == (me, "rare", AnswerKind.OWN)
    assert (two.reader, two.label, two.kind) == (other, None, AnswerKind.SKIP)
    assert 0 < one.lead_time < 600
    assert abs(one.at - client.server_time()) < 600
    assert fetch_labels(client, read, scheme).by_reader == ()


@pytest.mark.parametrize(
    ("fields", "kind"),
    [
        ({}, AnswerKind.OWN),
        ({"was_cancelled": True}, AnswerKind.SKIP),
        ({"lead_time": None, "parent_prediction": 7}, AnswerKind.ACCEPTED),
        ({"import_id": 3}, None),
        ({"import_id": 3, "was_cancelled": True}, None),
        ({"completed_by": None}, None),
    ],
)
def test_what_a_reader_did_is_told_from_what_came_with_an_import(scheme, fields, kind):
    one = answer("a", completed_by=4, created_at="2026-01-02T00:00:00Z", lead_time=9.0) | fields
    told = labels_of(scheme, [one], by_reader=True).by_reader
    assert [(each.reader, each.kind) for each in told] == ([] if kind is None else [(4, kind)])


@pytest.mark.parametrize("lead", [0.0, -3.0, None])
def test_a_time_that_was_not_measured_is_none(scheme, lead):
    one = answer("a", completed_by=4, created_at="2026-01-02T00:00:00Z", lead_time=lead)
    assert labels_of(scheme, [one], by_reader=True).by_reader[0].lead_time is None


def test_a_name_is_what_a_user_gave_as_one_and_no_address():
    users = [
        User(id=1, first_name=" Ada ", last_name="Byron"),
        User(id=2, email="someone@example.com"),
        User(id=3, first_name="someone@example.com"),
        User(id=4, first_name="x" * 300),
    ]
    names = names_of(users)
    assert (names[1], sorted(names)) == ("Ada Byron", [1, 4])
    assert len(names[4]) <= 80


@pytest.mark.parametrize("treatment", ["REQUEUE_FOR_OTHERS", "REQUEUE_FOR_ME", "IGNORE_SKIPPED"])
def test_what_a_reader_skipped_is_unanswered_only_where_label_studio_serves_it_to_another(
    client, second_client, make_project, treatment
):
    project = make_project(3)
    client.update_project(project.id, skip_queue=treatment)
    first, second = SimulatedReader(client), SimulatedReader(second_client)
    skipped = first.next(project.id)
    first.skip(skipped)
    labels = fetch_labels(client, client.project(project.id), read_scheme(project.label_config))
    served = set()
    while (task := second.next(project.id)) is not None:
        served.add(task.id)
        second.annotate(task, {"diagnosis": ["common"]})
    assert len(served) >= 2
    assert (skipped.id not in labels.answered) is (skipped.id in served) is (treatment == "REQUEUE_FOR_OTHERS")


def test_skips_that_nobody_is_offered_since_users_are_not_listed_are_said(scheme):
    class Strict:
        def annotated_tasks(self, _):
            return [AnnotatedTask(id=1, annotations=[{"id": 1, "completed_by": 1} | answer(skipped=skipped)])]

        def users(self):
            raise LabelStudioRefusedError("Label Studio refuses (403).", "Ask an administrator.")

    fields = {"id": 1, "created_at": "2026-01-01T00:00:00Z", "skip_queue": "REQUEUE_FOR_OTHERS"}
    project = Project.model_validate(fields)
    skipped = True
    (said,) = fetch_labels(Strict(), project, scheme).messages
    assert "(Label Studio refuses (403)). Left out of the queue: 1 task (1)." in said
    skipped = False
    assert "token" not in " ".join(fetch_labels(Strict(), project, scheme).messages)


def by(reader, minute, item):
    return item | {"completed_by": reader, "updated_at": f"2026-01-01T00:{minute:02}:00Z"}


def test_readers_who_chose_different_classes_make_no_exemplar(scheme):
    answers = [by(1, 1, answer("a", MORE)), by(2, 2, answer("a")), by(3, 3, answer("b"))]
    labels = labels_of(scheme, answers)
    assert (labels.classes, labels.exemplars, labels.disagreed) == ({1: "a"}, (), {})
    assert labels.disputed == {1: (("1", "a"), ("2", "a"), ("3", "b"))}


def test_a_star_that_settles_a_tie_takes_the_tags_of_those_it_agrees_with(scheme):
    tied = [answer("a", MORE), answer("b", LESS, starred=True)]
    labels = labels_of(scheme, tied, stars=True)
    assert (labels.classes, labels.exemplars, labels.counter_exemplars) == ({1: "b"}, (), (1,))


def test_it_is_known_who_tagged_first_and_when(scheme):
    labels = labels_of(
        scheme,
        [by(1, 9, answer("a")), by(2, 5, answer("a", MORE)), by(3, 3, answer("a", MORE))],
        [by(4, 1, answer("b", LESS))],
        [answer("a", MORE)],
    )
    minute = 1767225600.0
    assert labels.tagged == {1: ("3", minute + 180), 2: ("4", minute + 60), 3: (None, None)}


def test_labels_that_a_real_import_brings_and_predictions_that_are_accepted_are_told_from_readers(client, make_project):
    project = make_project(3)
    made = [task.id for task in client.tasks(project.id)]
    image = client.tasks(project.id)[0].data["image"]
    result = [{"from_name": "diagnosis", "to_name": "image", "type": "choices", "value": {"choices": ["rare"]}}]
    plain, timed, with_id = client.import_tasks(
        project.id,
        [
            {"data": {"image": image}, "annotations": [{"result": result}]},
            {"data": {"image": image}, "annotations": [{"result": result, "lead_time": 3.0}]},
            {"data": {"image": image}, "annotations": [{"id": 5, "result": result, "lead_time": 3.0}]},
        ],
    )
    client.import_predictions(project.id, [{"task": made[0], "result": result, "model_version": "m", "score": 0.1}])
    client.session.request(
        "POST",
        "api/dm/actions/",
        params={"project": project.id, "id": "predictions_to_annotations"},
        json={"selectedItems": {"all": False, "included": [made[0]]}},
    )
    reader = SimulatedReader(client)
    reader.annotate(made[1], {"diagnosis": ["common"]})
    reader.annotate(with_id, {"diagnosis": ["common"]})
    labels = fetch_labels(client, client.project(project.id), read_scheme(project.label_config), stars=True)
    assert labels.classes == {made[0]: "rare", made[1]: "common", plain: "rare", timed: "rare", with_id: "common"}
    assert {task: answered.source for task, answered in labels.first_answers.items()} == {
        made[0]: Source.MODEL,
        made[1]: Source.READER,
        plain: Source.IMPORT,
        timed: Source.IMPORT,
        with_id: Source.READER,
    }
    assert labels.first_answers[with_id].after_machine
    assert (labels.exemplars, labels.corrected) == ((), {with_id})
