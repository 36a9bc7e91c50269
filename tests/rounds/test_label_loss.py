"""What a project's answers, settings and fields lose is said, and which control is learnt."""

from __future__ import annotations

import json

import pytest

from clinical_backend.rounds.reconcile import reconcile
from clinical_backend.service.status import read_status
from clinical_backend.service.troubles import write_troubles
from clinical_backend.storage.stores.troubles import TroubleKind
from tests.rounds.fake_label_studio import CONFIG, FakeLabelStudio
from tests.small_workspace import picture

QUALITY = '<Choices name="quality" toName="image"><Choice value="good"/><Choice value="poor"/></Choices>'
TWO = CONFIG.replace("<Choices", QUALITY + "<Choices", 1)


@pytest.fixture
def fake_client():
    return FakeLabelStudio({n: picture(10 * n) for n in range(1, 13)})


@pytest.fixture
def studio(workspace, fake_client):
    workspace.settings = workspace.settings.model_copy(update={"backend_url": "http://backend"})
    return fake_client


def status(workspace):
    return json.loads(json.dumps(read_status(workspace.project(1)).to_json()))


def test_answers_of_another_control_are_counted_listed_and_not_served_again(workspace, studio):
    for task in (1, 2, 3):
        studio.annotate(task, "red", result=[{"from_name": "category", "value": {"choices": ["red"]}}])
    studio.annotate(4, "red")
    reconcile(workspace.project(1), look=True)
    found = status(workspace)
    assert (found["labels"], found["troubles"], found["round"]["counts"]["unread"]) == (1, {"answer": 3}, 3)
    assert "3 answered tasks have no class: the answers are of 'category' (3)" in found["round"]["notes"][0]
    assert not {1, 2, 3, 4} & set(studio.queue())
    listed = list(workspace.stores.troubles.all(1))
    assert [(one.task_id, one.kind) for one in listed] == [(task, TroubleKind.ANSWER) for task in (1, 2, 3)]
    assert listed[0].reason.endswith("a control that the labeling config does not have: 'category'.")
    studio.config = studio.config.replace('"diagnosis"', '"category"')
    studio.annotate(4, "red", result=[{"from_name": "category", "value": {"choices": ["dark"]}}])
    reconcile(workspace.project(1), look=True)
    assert (status(workspace)["labels"], status(workspace)["troubles"]) == (4, {})


def test_the_control_that_is_learnt_is_said_and_a_project_can_choose_another(workspace, studio):
    studio.config = TWO
    studio.annotate(1, "red")
    reconcile(workspace.project(1), look=True)
    found = status(workspace)
    assert found["learnt"] == "Readers choose one of 2 classes in 'quality', which is learnt; 'diagnosis' is not."
    assert (found["round"]["class_control"], found["round"]["not_learnt"]) == ("quality", ["diagnosis"])
    assert "no class in 'quality', which is learnt: the answers are of 'diagnosis' (1)" in found["round"]["notes"][0]
    workspace.stores.projects.change(1, page_options={"class_control": "diagnosis"})
    workspace.stores.projects.request_round(1, "settings")
    reconcile(workspace.project(1), look=False)
    found = status(workspace)
    assert (found["round"]["class_control"], found["labels"], found["round"]["notes"]) == ("diagnosis", 1, [])


def test_a_chosen_control_that_is_not_there_is_refused_with_the_names_of_those_that_are(workspace, studio):
    studio.config = TWO
    workspace.stores.projects.change(1, options={"class_control": "finding"})
    reconcile(workspace.project(1), look=True)
    problem = status(workspace)["problem"]
    assert "no control 'finding' on an Image. Name in CLASS_CONTROL one of 'quality' and 'diagnosis'." in problem
    assert status(workspace)["learnt"] == problem
    workspace.stores.projects.change(1, page_options={"class_control": ""}, not_before=0.0)  # none, whatever is set
    reconcile(workspace.project(1), look=True)
    assert status(workspace)["round"]["class_control"] == "quality"


def test_nested_fields_name_image_and_patient(workspace, studio):
    studio.config = CONFIG.replace("$image", "$case.scans[0]")
    studio.data = {task: {"case": {"scans": [uri], "patient": task % 2}} for task, uri in studio.uris.items()}
    workspace.settings = workspace.settings.model_copy(update={"group_field": "$case.patient"})
    reconcile(workspace.project(1), look=True)
    assert status(workspace)["round"]["counts"]["unreadable"] == 0
    assert len(set(workspace.stores.images.groups(1).values())) == 2
    assert status(workspace)["notices"] == []


def test_a_field_that_no_task_has_is_said(workspace, studio):
    workspace.settings = workspace.settings.model_copy(update={"group_field": "patient"})
    reconcile(workspace.project(1), look=True)
    (said,) = status(workspace)["notices"]
    assert said.startswith("No task has text or a number in the field 'patient', which GROUP_FIELD names")
    assert said in status(workspace)["round"]["notes"]


def test_tasks_without_a_readable_image_are_written_with_their_reasons(workspace, studio):
    studio.data = {3: {"image": []}, 5: {"image": "data:image/png;base64,AAAA"}}
    reconcile(workspace.project(1), look=True)
    assert status(workspace)["troubles"] == {"image": 2}
    assert status(workspace)["notices"][0].startswith("2 images cannot be read, and these tasks are left out. See them")
    rows = json.loads("".join(write_troubles(workspace.project(1), "json", "http://ls")))
    assert [(row["task"], row["kind"], row["link"]) for row in rows] == [
        (task, "image", f"http://ls/projects/1/data?task={task}") for task in (3, 5)
    ]
    assert rows[0]["reason"] == (
        "The list in the field 'image' is empty. Import the task with the addresses of its images."
    )
    text = "".join(write_troubles(workspace.project(1), "csv", "http://ls"))
    assert text.splitlines()[0] == "task,kind,reason,since,link"
    assert len(text.splitlines()) == 3
    assert "Task 3: " in "".join(write_troubles(workspace.project(1), "text", "http://ls"))


def test_without_such_tasks_each_form_says_so(workspace, studio):
    written = {form: "".join(write_troubles(workspace.project(1), form, "")) for form in ("text", "csv", "json")}
    assert written == {"text": "No task is left out.\n", "csv": "task,kind,reason,since,link\n", "json": "[]\n"}


def test_a_task_that_label_studio_fails_in_giving_stops_no_project(workspace, studio):
    studio.annotate(1, "red")
    studio.annotate(2, "red")
    studio.withheld = {2, 3}
    reconcile(workspace.project(1), look=True)
    found = status(workspace)
    assert (found["problem"], found["labels"], found["troubles"]) == (None, 1, {"image": 2, "answer": 1})
    assert not {1, 2, 3} & set(studio.queue())
    reasons = [one.reason for one in workspace.stores.troubles.all(1)]
    assert sum("Label Studio fails in giving" in reason for reason in reasons) == 3
    reconcile(workspace.project(1), look=True)
    assert status(workspace)["round"]["number"] == 1


def test_tasks_without_an_address_alone_make_no_round_due(workspace, studio):
    studio.data = {task: {"image": None} for task in (11, 12)}
    workspace.settings = workspace.settings.model_copy(update={"start_training_each_n_updates": 1000})
    reconcile(workspace.project(1), look=True)
    for task in range(1, 11):
        studio.annotate(task, "red")
    for _ in range(3):
        workspace.stores.images._update(1, [{"task": task, "tried_at": 1.0} for task in (11, 12)])  # long ago
        reconcile(workspace.project(1), look=True)
    before = workspace.stores.rounds.latest(1).number
    workspace.stores.images._update(1, [{"task": task, "tried_at": 1.0} for task in (11, 12)])
    reconcile(workspace.project(1), look=True)
    assert workspace.stores.rounds.latest(1).number == before
