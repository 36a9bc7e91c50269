"""What is changed in a project beside the backend: repaired, asked about, or the sign of another installation."""

from __future__ import annotations

import pytest

from clinical_backend.errors import LabelStudioRefusedError
from clinical_backend.labelstudio.connection.checks import Place
from clinical_backend.labelstudio.connection.installation import HEADER
from clinical_backend.rounds.drift import Drift, answer_drift, forget_answers, rests
from clinical_backend.rounds.questions import open_questions
from clinical_backend.rounds.reconcile import reconcile
from clinical_backend.rounds.rollback import roll_back
from clinical_backend.storage.report import Kind
from clinical_backend.storage.schema import RoundState
from clinical_backend.versions import author_of
from tests.rounds.fake_label_studio import FakeLabelStudio
from tests.small_workspace import picture

HOOK = "http://backend/webhook"
OTHER = "http://other/webhook"
SAMPLING = "Uncertainty sampling"
WRITES = {
    "update_project",
    "create_webhook",
    "update_webhook",
    "add_backend",
    "import_predictions",
    "delete_model_version",
}


@pytest.fixture
def fake_client():
    return FakeLabelStudio({number: picture(number) for number in range(1, 13)})


@pytest.fixture
def studio(workspace, fake_client):
    """Return a Label Studio with a connected project, whose first queue is published."""
    workspace.settings = workspace.settings.model_copy(update={"queue_size": 5, "backend_url": "http://backend"})
    reconcile(workspace.project(1), look=True)
    assert Drift.of(row(workspace)).wired
    fake_client.calls.clear()
    return fake_client


def row(workspace):
    return workspace.stores.projects.get(1)


def latest(workspace):
    return workspace.stores.rounds.latest(1)


def look(workspace):
    reconcile(workspace.project(1), look=True)


def asked(workspace):
    return [question.name for question in open_questions(workspace.project(1)) if question.kind is Kind.CHANGED]


def told(workspace):
    return [detail for _, detail in Drift.of(row(workspace)).told]


def theirs(studio, version="their-model"):
    """Let readers follow the predictions of another model, as a person does in the settings."""
    studio.predictions[version] = [{"task": 1, "score": 0.1, "model_version": version, "result": []}]
    studio.model_version = version


def written(studio):
    return WRITES.intersection(studio.calls)


def test_what_is_as_it_was_set_is_left_in_peace(workspace, studio):
    look(workspace)
    assert written(studio) == set()
    assert (asked(workspace), latest(workspace).number) == ([], 1)


@pytest.mark.parametrize("version", ["", "Clinical", "clinical-7-abcdef-place-in-queue"])
def test_a_model_version_that_names_no_queue_is_put_right_and_said(workspace, studio, version):
    published = studio.model_version
    studio.model_version = version
    look(workspace)
    assert (studio.model_version, latest(workspace).number) == (published, 1)
    assert any(version in detail and published in detail for detail in told(workspace))
    assert asked(workspace) == []


@pytest.mark.parametrize(
    "change",
    [
        lambda studio: studio.hooks.clear(),
        lambda studio: studio.hook_fields.update({HOOK: {"is_active": False}}),
        lambda studio: studio.hook_fields.update({HOOK: {"send_for_all_actions": False}}),
        lambda studio: studio.hook_fields.update({HOOK: {"headers": {"Authorization": "Basic b2xk"}}}),
    ],
    ids=["deleted", "off", "some events", "another login"],
)
def test_a_webhook_of_ours_is_put_right_and_said(workspace, studio, change):
    change(studio)
    look(workspace)
    (hook,) = studio.webhooks(1)
    assert (hook.url, hook.is_active, hook.send_for_all_actions) == (HOOK, True, True)
    assert hook.headers == {HEADER: workspace.project(1).installation.id}
    assert any(HOOK in detail for detail in told(workspace))


@pytest.mark.parametrize("kept", [0, 3])
def test_a_queue_of_which_predictions_are_gone_is_published_anew(workspace, studio, kept):
    del studio.predictions[studio.model_version][kept:]
    before = studio.model_version
    look(workspace)
    assert latest(workspace).request == "the queue was incomplete in Label Studio"
    assert studio.model_version == latest(workspace).version != before
    assert len(studio.queue()) == 5


def test_an_older_project_that_was_restored_gets_the_queue_anew_and_questions(workspace, studio):
    studio.predictions, studio.model_version, studio.sampling = {}, "", "Sequential sampling"
    look(workspace)
    assert len(studio.queue()) == 5
    assert asked(workspace) == [Place.SAMPLING]


def test_tasks_that_were_deleted_are_not_missed_in_the_queue(workspace, studio):
    gone = studio.queue()[0]
    del studio.uris[gone]
    queue = studio.predictions[studio.model_version]
    queue[:] = [item for item in queue if item["task"] != gone]
    look(workspace)
    assert latest(workspace).request == "tasks were added or deleted"
    look(workspace)
    assert latest(workspace).number == 2


@pytest.mark.parametrize(
    ("name", "value", "place", "wanted"),
    [
        ("sampling", "Sequential sampling", Place.SAMPLING, SAMPLING),
        ("show_collab_predictions", False, Place.SHOWN, True),
    ],
)
def test_a_setting_that_a_person_may_have_chosen_is_asked_about_and_not_fought(
    workspace, studio, name, value, place, wanted
):
    setattr(studio, name, value)
    workspace.stores.projects.change(1, wiring_due=True)  # as after each call of /setup
    look(workspace)
    assert (asked(workspace), getattr(studio, name), told(workspace)[1:]) == ([place], value, [])
    assert answer_drift(workspace.project(1), place, put_back=False)
    look(workspace)
    assert (asked(workspace), getattr(studio, name)) == ([], value)
    assert Drift.of(row(workspace)).left == {place: studio_word(place, value)}
    assert answer_drift(workspace.project(1), place, put_back=True)
    look(workspace)
    assert (asked(workspace), getattr(studio, name), Drift.of(row(workspace)).left) == ([], wanted, {})
    assert not answer_drift(workspace.project(1), place, put_back=False)


def studio_word(place, value):
    return value if place is Place.SAMPLING else "hidden"


def test_another_choice_than_the_one_that_was_left_is_asked_about_anew(workspace, studio):
    studio.sampling = "Sequential sampling"
    look(workspace)
    answer_drift(workspace.project(1), Place.SAMPLING, put_back=False)
    studio.sampling = "Uniform sampling"
    look(workspace)
    assert asked(workspace) == [Place.SAMPLING]
    studio.sampling = SAMPLING
    look(workspace)
    assert asked(workspace) == []
    assert Drift.of(row(workspace)).left == {}


def test_rounds_rest_while_a_person_lets_readers_follow_another_model(workspace, studio):
    published = studio.model_version
    theirs(studio)
    look(workspace)
    workspace.stores.projects.request_round(1, "test")
    look(workspace)
    assert (asked(workspace), studio.model_version, latest(workspace).number) == (
        [Place.MODEL_VERSION],
        "their-model",
        1,
    )
    answer_drift(workspace.project(1), Place.MODEL_VERSION, put_back=False)
    look(workspace)
    assert (asked(workspace), latest(workspace).number, row(workspace).problem) == ([], 1, None)
    assert "their-model" in rests(row(workspace))
    answer_drift(workspace.project(1), Place.MODEL_VERSION, put_back=True)
    look(workspace)
    assert rests(row(workspace)) is None
    assert studio.model_version == latest(workspace).version != published
    assert "their-model" in studio.predictions


def test_a_queue_that_is_gone_is_published_anew_when_the_lead_wants_it_back(workspace, studio):
    theirs(studio)
    del studio.predictions[row(workspace).published_version]
    look(workspace)
    assert (asked(workspace), studio.model_version) == ([Place.MODEL_VERSION], "their-model")
    answer_drift(workspace.project(1), Place.MODEL_VERSION, put_back=True)
    look(workspace)
    assert (studio.model_version, len(studio.queue())) == (latest(workspace).version, 5)


def test_another_model_that_was_chosen_while_a_round_ran_is_not_switched_away_from(workspace, studio):
    workspace.stores.projects.request_round(1, "test")
    studio.meanwhile["annotated_tasks"] = lambda: theirs(studio)
    reconcile(workspace.project(1), look=False)
    assert studio.model_version == "their-model"
    assert (latest(workspace).state, row(workspace).failures) == (RoundState.FAILED, 0)
    assert asked(workspace) == [Place.MODEL_VERSION]
    assert row(workspace).request == "test"


def test_a_backend_that_was_removed_is_asked_about_and_entered_again_when_wanted(workspace, studio):
    studio.entries.clear()
    look(workspace)
    assert (asked(workspace), studio.entries) == ([Place.ENTRY], [])
    reconcile(workspace.project(1), look=False)
    assert asked(workspace) == [Place.ENTRY]
    answer_drift(workspace.project(1), Place.ENTRY, put_back=True)
    look(workspace)
    assert (asked(workspace), studio.entries) == ([], ["http://backend"])


def test_a_project_that_was_disconnected_is_left_so_and_rests_when_that_is_meant(workspace, studio):
    studio.entries.clear()
    studio.hooks.clear()
    workspace.stores.projects.change(1, wiring_due=True)
    look(workspace)
    reconcile(workspace.project(1), look=False)
    assert (asked(workspace), studio.hooks, studio.entries) == ([Place.CONNECTION], [], [])
    answer_drift(workspace.project(1), Place.CONNECTION, put_back=False)
    workspace.stores.projects.request_round(1, "test")
    look(workspace)
    assert latest(workspace).number == 1
    answer_drift(workspace.project(1), Place.CONNECTION, put_back=True)
    look(workspace)
    assert (studio.hooks, studio.entries) == ([HOOK], ["http://backend"])


def test_a_repair_that_does_not_hold_is_asked_about_and_not_fought_over(workspace, studio):
    published = studio.model_version
    for _ in range(3):
        studio.model_version = ""
        look(workspace)
        assert studio.model_version == published
    studio.model_version = ""
    look(workspace)
    look(workspace)
    assert (studio.model_version, asked(workspace)) == ("", [Place.MODEL_VERSION])
    assert "3 times" in open_questions(workspace.project(1))[0].evidence
    answer_drift(workspace.project(1), Place.MODEL_VERSION, put_back=True)
    look(workspace)
    assert (studio.model_version, asked(workspace)) == (published, [])


def test_a_repair_that_is_refused_is_said_and_keeps_no_round_away(workspace, studio):
    studio.hooks.clear()
    studio.faults["create_webhook"] = LabelStudioRefusedError("It is blocked.", "Allow it.", status=403)
    studio.annotate(1, "red", exemplar=True)
    look(workspace)
    assert latest(workspace).request == "the exemplars changed"
    assert "It is blocked" in row(workspace).problem
    studio.faults.clear()
    look(workspace)
    assert (row(workspace).problem, studio.hooks) == (None, [HOOK])


@pytest.mark.parametrize("every", [60.0, 3600.0])
def test_a_round_that_is_due_while_rounds_rest_is_not_looked_at_each_second(workspace, studio, every):
    workspace.settings = workspace.settings.model_copy(update={"reconcile_seconds": every})
    theirs(studio)
    workspace.stores.projects.request_round(1, "test")
    look(workspace)
    assert workspace.stores.projects.due() == []
    answer_drift(workspace.project(1), Place.MODEL_VERSION, put_back=True)
    look(workspace)
    assert latest(workspace).request == "test"


def test_what_a_person_changes_right_after_connecting_by_command_is_asked_about(workspace, studio):
    workspace.stores.projects.edit(1, lambda row: setattr(row, "drift", {}))  # as before the first look
    forget_answers(workspace.project(1))
    studio.sampling = "Sequential sampling"
    look(workspace)
    assert studio.sampling == "Sequential sampling"
    assert Drift.of(workspace.stores.projects.get(1)).asked.keys() == {Place.SAMPLING}


def test_connecting_by_command_asks_for_no_earlier_answer(workspace, studio):
    studio.sampling = "Sequential sampling"
    look(workspace)
    answer_drift(workspace.project(1), Place.SAMPLING, put_back=False)
    forget_answers(workspace.project(1))
    look(workspace)
    assert asked(workspace) == [Place.SAMPLING]


# Two installations


def other_connected(studio, *, first):
    hooks = [OTHER, *studio.hooks] if first else [*studio.hooks, OTHER]
    studio.hooks = hooks
    studio.hook_fields[OTHER] = {"headers": {HEADER: "0ther000"}}


def test_beside_another_installation_that_was_there_first_nothing_is_changed(workspace, studio):
    other_connected(studio, first=True)
    studio.model_version = "clinical-9-abcdef-by-00000000-place-in-queue"
    studio.predictions[studio.model_version] = []
    workspace.stores.projects.request_round(1, "test")
    look(workspace)
    reconcile(workspace.project(1), look=False)
    assert (written(studio), latest(workspace).number) == (set(), 1)
    assert OTHER in row(workspace).problem
    assert "--take-over" in row(workspace).standing_back
    studio.hooks.remove(OTHER)
    look(workspace)
    assert (row(workspace).standing_back, row(workspace).problem) == (None, None)
    assert studio.model_version == latest(workspace).version


def test_the_installation_that_was_there_first_goes_on(workspace, studio):
    other_connected(studio, first=False)
    workspace.stores.projects.request_round(1, "test")
    look(workspace)
    assert (row(workspace).standing_back, latest(workspace).number) == (None, 2)


@pytest.mark.parametrize("act", ["round", "rollback"])
def test_an_installation_that_took_over_meanwhile_is_seen_before_a_queue_is_published(workspace, studio, act):
    workspace.stores.projects.request_round(1, "test")
    reconcile(workspace.project(1), look=False)
    version, predictions = studio.model_version, dict(studio.predictions)
    studio.meanwhile["annotated_tasks"] = lambda: other_connected(studio, first=True)
    studio.calls.clear()
    if act == "round":
        workspace.stores.projects.request_round(1, "test")
        reconcile(workspace.project(1), look=False)
        assert OTHER in row(workspace).standing_back
    else:
        with pytest.raises(Exception, match="another installation"):
            roll_back(workspace.project(1), 1)
    assert (studio.model_version, studio.predictions, written(studio)) == (version, predictions, set())


def test_a_restored_database_goes_on_though_it_does_not_know_the_queue_that_is_served(workspace, studio):
    newer = f"clinical-9-abcdef-by-{workspace.project(1).installation.id}-place-in-queue"
    studio.predictions = {newer: studio.predictions.pop(studio.model_version)}
    studio.model_version = newer
    look(workspace)
    assert row(workspace).standing_back is None
    assert studio.model_version == latest(workspace).version != newer
    assert newer in studio.predictions


@pytest.mark.parametrize(
    ("version", "stands_back"),
    [
        ("clinical-9-abcdef-place-in-queue", True),
        ("clinical-9-abcdef-by-00000000-place-in-queue", False),
        ("their-model", False),
    ],
    ids=["of an earlier release", "of one that was disconnected", "of another model"],
)
def test_a_queue_that_nobody_lays_claim_to_is_taken_over_where_its_installation_is_surely_gone(
    workspace, studio, version, stands_back
):
    studio.hook_fields.clear()
    theirs(studio, version)
    look(workspace)
    assert (row(workspace).standing_back is not None) == stands_back
    assert version in studio.predictions


def test_a_queue_names_the_installation_that_published_it(workspace, studio):
    assert author_of(studio.model_version) == workspace.project(1).installation.id
    assert [author_of(version) for version in ("their-model", "clinical-0", "clinical-3-abc")] == [None, None, ""]
