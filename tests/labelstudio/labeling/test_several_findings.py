"""Configs with several findings for one image: what answers say, and what predictions write."""

from __future__ import annotations

import pytest

from clinical_backend.errors import InvalidArgumentError, LabelingConfigError
from clinical_backend.labelstudio.labeling.answers import Why
from clinical_backend.labelstudio.labeling.labels import read_labels
from clinical_backend.labelstudio.labeling.regions import choice_result
from clinical_backend.labelstudio.labeling.scheme import read_scheme
from clinical_backend.labelstudio.labeling.several_findings import Form
from clinical_backend.labelstudio.resources import AnnotatedTask
from clinical_backend.multilabel import pack, says

IMAGE = '<Image name="image" value="$image"/>'
FINDINGS = ("effusion", "mass", "nodule")
TREE = """<Taxonomy name="findings" toName="image">
  <Choice value="opacity"><Choice value="nodule"/><Choice value="mass"/></Choice>
  <Choice value="device"><Choice value="tube"/><Choice value="other"/></Choice>
  <Choice value="fracture"><Choice value="rib"/><Choice value="other"/></Choice>
</Taxonomy>"""


def choices(name, *values, attributes=""):
    inner = "".join(f'<Choice value="{value}"/>' for value in values)
    return f'<Choices name="{name}" toName="image" {attributes}>{inner}</Choices>'


def ticked(*values, attributes=""):
    return choices("findings", *values, attributes=f'choice="multiple" {attributes}')


def questions(*names, values=("yes", "no", "uncertain")):
    return "".join(choices(name, *values) for name in names)


def scheme_of(*tags, **options):
    return read_scheme(f"<View>{IMAGE}{''.join(tags)}</View>", **options)


TICKED = scheme_of(ticked(*FINDINGS))


def answer(reader=1, *, starred=False, kind="choices", **held):
    result = [
        {"from_name": control, "to_name": "image", "type": kind, "value": {kind: values}}
        for control, values in held.items()
        if values
    ]
    fields = {"completed_by": reader, "ground_truth": starred, "lead_time": 4.0}
    return fields | {"result": result, "was_cancelled": False, "created_at": "2026-01-02T00:00:00Z"}


def labels_of(scheme, *tasks, **options):
    read = [
        AnnotatedTask.model_validate(
            {
                "id": number,
                "created_at": "2026-01-01T00:00:00Z",
                "annotations": [{"id": place} | item for place, item in enumerate(answers, start=1)],
            }
        )
        for number, answers in enumerate(tasks, start=1)
    ]
    return read_labels(scheme, read, **options)


def test_choices_of_which_several_may_be_ticked_are_findings():
    scheme = scheme_of(ticked(*FINDINGS))
    assert (scheme.class_control, scheme.classes, scheme.several.form) == ("findings", FINDINGS, Form.CHOICES)
    assert "which of 3 findings an image has in 'findings'" in scheme.learnt
    labels = labels_of(scheme, [answer(findings=["nodule", "mass"])], [answer(findings=["mass"])], [answer()])
    assert labels.classes == {1: pack(["mass", "nodule"]), 2: pack(["mass"]), 3: pack([])}
    assert not labels.unread


def test_one_class_is_learnt_where_a_config_asks_for_one_beside_findings_unless_the_findings_are_named():
    tags = (ticked(*FINDINGS), choices("quality", "good", "poor"))
    assert (scheme_of(*tags).class_control, scheme_of(*tags).several) == ("quality", None)
    named = scheme_of(*tags, class_control="findings")
    assert (named.classes, named.not_learnt) == (FINDINGS, ("quality",))


def test_an_explicit_no_finding_is_no_class_and_contradicts_every_finding():
    scheme = scheme_of(ticked("No finding", *FINDINGS))
    assert (scheme.classes, scheme.several.no_finding) == (FINDINGS, "No finding")
    labels = labels_of(scheme, [answer(findings=["No finding"])], [answer(findings=["No finding", "mass"])], [answer()])
    assert labels.classes == {1: pack([])}
    assert {task: one.why for task, one in labels.unread.items()} == {2: Why.CONTRADICTORY, 3: Why.EMPTY}
    assert any("contradicts itself: 'No finding, mass' (1)" in message for message in labels.messages)


@pytest.mark.parametrize(
    ("tags", "setting", "says_none"),
    [
        (ticked(*FINDINGS), "auto", True),
        (ticked(*FINDINGS, attributes='required="true"'), "auto", False),
        (ticked("normal", *FINDINGS), "auto", False),
        (ticked("normal", *FINDINGS), "no finding", True),
        (ticked(*FINDINGS), "not answered", False),
    ],
)
def test_what_an_empty_answer_says_is_set_or_follows_from_the_config(tags, setting, says_none):
    scheme = scheme_of(tags, empty_answer=setting)
    labels = labels_of(scheme, [answer()])
    assert labels.classes == ({1: pack([])} if says_none else {})
    assert ("says that there is none" in scheme.learnt) is says_none


def test_an_accepted_prediction_without_a_tick_says_nothing():
    queued = answer() | {"lead_time": None, "parent_prediction": 7}
    labels = labels_of(TICKED, [queued])
    assert (labels.classes, labels.empty) == ({}, {1})


def test_a_question_for_each_finding_is_answered_yes_no_or_uncertain():
    scheme = scheme_of(questions("effusion", "mass", "nodule"))
    assert (scheme.classes, scheme.several.form, scheme.not_learnt) == (FINDINGS, Form.QUESTIONS, ())
    labels = labels_of(
        scheme,
        [answer(effusion=["yes"], mass=["no"], nodule=["uncertain"])],
        [answer(effusion=["no"], mass=["no"])],
        [answer(nodule=["uncertain"])],
    )
    assert labels.classes == {1: pack(["effusion"], ["nodule"]), 2: pack([], ["nodule"])}
    assert set(labels.unread) == {3}


def test_the_numbers_of_chest_film_sets_are_answers_too():
    scheme = scheme_of(questions("effusion", "mass", values=("1.0", "0.0", "-1.0")))
    labels = labels_of(scheme, [answer(effusion=["1.0"], mass=["-1.0"])])
    assert labels.classes == {1: pack(["effusion"], ["mass"])}


def test_a_question_for_no_finding_answers_all_others():
    scheme = scheme_of(questions("No_Finding", "effusion", "mass", values=("1", "0", "-1")))
    assert scheme.classes == ("effusion", "mass")
    labels = labels_of(
        scheme,
        [answer(No_Finding=["1"])],
        [answer(No_Finding=["1"], mass=["1"])],
        [answer(No_Finding=["0"], effusion=["1"])],
        [answer(No_Finding=["0"])],
    )
    assert labels.classes == {1: pack([]), 3: pack(["effusion"], ["mass"])}
    assert {task: one.why for task, one in labels.unread.items()} == {2: Why.CONTRADICTORY, 4: Why.NO_CLASS}
    chosen = {one["from_name"]: one["value"]["choices"] for one in choice_result(scheme, pack([]))}
    assert chosen == {"No_Finding": ["1"], "effusion": ["0"], "mass": ["0"]}
    some = {one["from_name"]: one["value"]["choices"] for one in choice_result(scheme, pack(["mass"], ["effusion"]))}
    assert some == {"No_Finding": ["0"], "mass": ["1"]}


def test_questions_are_findings_only_where_all_controls_ask_them():
    assert scheme_of(questions("effusion", "mass"), choices("view", "ap", "pa")).several is None
    assert scheme_of(questions("effusion")).several is None
    assert scheme_of(questions("effusion", "mass"), class_control="mass").classes == ("yes", "no", "uncertain")


def test_a_tick_in_a_tree_implies_what_it_is_a_kind_of():
    scheme = scheme_of(TREE)
    names = ("opacity", "nodule", "mass", "device", "tube", "device / other", "fracture", "rib", "fracture / other")
    assert (scheme.classes, scheme.several.form) == (names, Form.TREE)
    path = [["opacity", "nodule"], ["device", "other"]]
    labels = labels_of(scheme, [answer(kind="taxonomy", findings=path)], [answer(kind="taxonomy", findings=[["rib"]])])
    assert labels.classes == {1: pack(["opacity", "nodule", "device", "device / other"])}
    assert labels.unread[2].why is Why.UNKNOWN
    [region] = choice_result(scheme, labels.classes[1])
    assert (region["type"], region["value"]) == ("taxonomy", {"taxonomy": path})


def test_a_finding_that_the_config_does_not_have_is_told_and_what_else_is_ticked_stays():
    labels = labels_of(TICKED, [answer(findings=["mass", "unheard"])], [answer(findings=["None"])])
    # Any of the others may be meant by it, under another name: nothing is said of them.
    assert labels.classes == {1: pack(["mass"], ["effusion", "nodule"])}
    assert labels.unknown_classes == {"unheard": 1, "None": 1}
    assert labels.unread[2].why is Why.UNKNOWN
    tree = scheme_of(TREE)
    moved = labels_of(tree, [answer(kind="taxonomy", findings=[["opacity", "rib"]])])
    assert says(moved.classes[1], "opacity") is True
    assert says(moved.classes[1], "rib") is None


def test_answers_of_a_control_that_the_config_does_not_have_are_no_empty_answers():
    labels = labels_of(TICKED, [answer(foreign=["mass"])])
    assert (labels.classes, labels.unread[1].why) == ({}, Why.OTHER_CONTROL)


def test_each_finding_is_voted_on_by_itself_and_a_tie_says_nothing_of_it():
    labels = labels_of(
        TICKED,
        [answer(1, findings=["mass", "nodule"]), answer(2, findings=["mass"])],
        [answer(1, findings=["mass"]), answer(2, findings=["mass", "nodule"]), answer(3, findings=["mass"])],
    )
    assert labels.classes == {1: pack(["mass"], ["nodule"]), 2: pack(["mass"])}
    assert labels.disputed[1] == (("1", pack(["mass", "nodule"])), ("2", pack(["mass"])))


def test_a_star_settles_a_tie_where_stars_steer():
    answers = [answer(1, findings=["mass", "nodule"], starred=True), answer(2, findings=["mass"])]
    labels = labels_of(TICKED, answers, stars=True)
    assert labels.classes == {1: pack(["mass", "nodule"])}
    assert (labels.disputed, labels.contradicted_stars) == ({}, set())


def test_who_says_nothing_of_a_finding_disputes_and_corrects_nobody():
    scheme = scheme_of(questions(*FINDINGS))
    half, whole = {"mass": ["yes"]}, {"effusion": ["no"], "mass": ["yes"], "nodule": ["yes"]}
    imported = answer(**half) | {"import_id": 1}
    labels = labels_of(
        scheme,
        [answer(1, **half), answer(2, **whole)],
        [imported, answer(2, **whole)],
        [imported, answer(2, **(whole | {"mass": ["no"]}))],
        [answer(1, **half, starred=True), answer(2, **whole), answer(3, **(whole | {"nodule": ["no"]}))],
        stars=True,
    )
    assert set(labels.disputed) == {4}
    assert labels.corrected == {3}
    assert labels.contradicted_stars == set()


def test_a_tag_may_name_the_finding_that_a_case_stands_for():
    tags = choices("exemplar", "more like this: mass", "nodule", "not like this", attributes='choice="multiple"')
    scheme = scheme_of(ticked(*FINDINGS), tags)
    assert (scheme.stands_for, scheme.less_value) == (
        {"more like this: mass": "mass", "nodule": "nodule"},
        "not like this",
    )
    labels = labels_of(
        scheme,
        [answer(findings=["mass", "effusion"], exemplar=["more like this: mass"])],
        [answer(findings=["mass"], exemplar=["not like this"])],
    )
    assert (labels.exemplars, labels.counter_exemplars, labels.stands_for) == ((1,), (2,), {1: {"mass"}})


def test_predictions_tick_what_a_label_says_and_say_no_finding_where_there_is_a_choice_for_it():
    [region] = choice_result(TICKED, pack(["nodule", "effusion"]))
    assert region["value"] == {"choices": ["effusion", "nodule"]}
    assert choice_result(TICKED, pack([])) == []
    [none] = choice_result(scheme_of(ticked("normal", *FINDINGS)), pack([]))
    assert none["value"] == {"choices": ["normal"]}
    regions = choice_result(scheme_of(questions("effusion", "mass", "nodule")), pack(["mass"], ["nodule"]))
    assert [(one["from_name"], one["value"]["choices"]) for one in regions] == [("effusion", ["no"]), ("mass", ["yes"])]


def test_a_prediction_that_does_not_fit_the_config_is_refused():
    for label in (pack(["unheard"]), "mass"):
        with pytest.raises(InvalidArgumentError):
            choice_result(TICKED, label)


def test_a_tree_that_names_a_path_twice_is_refused():
    with pytest.raises(LabelingConfigError, match="'a / b' more than once"):
        scheme_of(
            '<Taxonomy name="t" toName="image"><Choice value="a"><Choice value="b"/><Choice value="b"/></Choice>'
            "</Taxonomy>"
        )


@pytest.mark.parametrize(
    ("tags", "label"),
    [
        (ticked(*FINDINGS), pack(["mass", "nodule"])),
        (ticked("No finding", *FINDINGS), pack([])),
        (questions(*FINDINGS), pack(["mass"], ["nodule"])),
        (TREE, pack(["opacity", "nodule", "device", "device / other"])),
    ],
    ids=["choices", "no finding", "questions", "tree"],
)
def test_label_studio_takes_predictions_of_every_form_and_readers_answers_read_the_same(client, tags, label):
    project = client.create_project("findings", f"<View>{IMAGE}{tags}</View>")
    (task,) = client.import_tasks(project.id, [{"data": {"image": "https://images.example/1.png"}}])
    scheme = read_scheme(client.project(project.id).label_config)
    regions = choice_result(scheme, label)
    client.import_predictions(
        project.id, [{"task": task, "result": regions, "score": 0.0, "model_version": "clinical-1"}]
    )
    assert client.model_versions(project.id) == {"clinical-1": 1}
    client.session.request("POST", f"api/tasks/{task}/annotations/", json={"result": regions, "lead_time": 90.0})
    labels = read_labels(scheme, client.annotated_tasks(project.id))
    assert labels.classes == {task: label}
