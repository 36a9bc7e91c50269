"""What rounds keep of each reader."""

import pytest

from clinical_backend.errors import LabelStudioRefusedError
from clinical_backend.origins import AnswerKind
from clinical_backend.rounds.reconcile import reconcile
from clinical_backend.settings import load_settings
from clinical_backend.storage.schema import ReadingState, SecondReading
from tests.rounds.fake_label_studio import FakeLabelStudio
from tests.small_workspace import picture


@pytest.fixture
def fake_client():
    client = FakeLabelStudio({task: picture(9 * task) for task in range(1, 6)})
    client.annotate(1, "dark", lead_time=12.5, id=11)
    client.annotate(2, "red", completed_by=2, id=12)
    client.annotate(3, "red", import_id=7, lead_time=None, completed_by=5, id=13)
    return client


def run(workspace):
    workspace.stores.projects.request_round(1, "a test", delay=0)
    reconcile(workspace.project(1), look=True)
    return {row.annotation_id: row for row in workspace.stores.readings.all(1)}


def test_annotations_of_readers_are_kept_changed_and_forgotten_with_label_studio(workspace, fake_client):
    kept = run(workspace)
    assert sorted(kept) == [11, 12]  # an import makes nobody a reader
    assert kept[11][1:4] == (1, 1, "dark")
    assert (kept[11].lead_time, kept[12].lead_time) == (12.5, None)
    assert kept[11].answered_at == pytest.approx(fake_client.answers[1][0].created_at.timestamp())
    fake_client.annotate(1, "red", lead_time=14.0, id=11)
    fake_client.annotate(4, "", was_cancelled=True, lead_time=3.0, id=14)
    del fake_client.answers[2]
    kept = run(workspace)
    assert sorted(kept) == [11, 14]
    assert (kept[11].label, kept[11].lead_time) == ("red", 14.0)
    assert (kept[14].label, kept[14].kind) == (None, AnswerKind.SKIP)


def test_a_second_reading_that_was_asked_for_is_kept_as_blind_and_one_that_was_not_is_not(workspace, fake_client):
    fake_client.read_again(1, "red")
    fake_client.read_again(2, "dark", reader=3)
    fields = {"label": "dark", "readings": 1, "asked_at": 1.0, "answers": [["1", "dark"], ["2", "red"]]}
    asked = SecondReading(project_id=1, task_id=1, state=ReadingState.READ, by_lead=True, raised_to=2, **fields)
    workspace.stores.second_readings.keep(1, [asked])
    assert {row.annotation_id for row in run(workspace).values() if row.blind} == {2001}


def test_names_are_kept_of_readers_alone_and_hold_while_label_studio_does_not_tell(workspace, fake_client):
    run(workspace)
    assert workspace.stores.projects.get(1).reader_names == {"1": "Ada Byron"}
    assert fake_client.calls.count("users") == 1
    run(workspace)
    assert fake_client.calls.count("users") == 1  # with the next listing of all tasks
    workspace.stores.projects.change(1, listed_at=0.0)
    fake_client.faults["users"] = LabelStudioRefusedError("Label Studio refuses (403).", "Ask.", status=403)
    run(workspace)
    assert fake_client.calls.count("users") == 2
    assert workspace.stores.projects.get(1).reader_names == {"1": "Ada Byron"}


@pytest.mark.parametrize(("show", "kept"), [("numbers", 2), ("off", 0)])
def test_what_may_not_be_told_is_kept_no_longer(workspace, fake_client, show, kept):
    run(workspace)
    workspace.settings = workspace.settings.model_copy(update={"show_readers": show})
    assert len(run(workspace)) == kept
    assert workspace.stores.projects.get(1).reader_names == {}


def test_readers_are_shown_by_name_unless_the_setting_says_otherwise(monkeypatch):
    assert load_settings().show_readers == "names"
    monkeypatch.setenv("SHOW_READERS", "off")
    assert load_settings().show_readers == "off"
