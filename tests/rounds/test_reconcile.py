import base64
import logging
import time
from contextlib import suppress
from datetime import UTC, datetime
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from clinical_backend.errors import LabelStudioUnavailableError, StorageError
from clinical_backend.jobs.worker import attend_project
from clinical_backend.labelstudio.publisher import Publisher
from clinical_backend.learner.checkpoint import load_checkpoint
from clinical_backend.origins import Draw, Origin
from clinical_backend.rounds import ordering
from clinical_backend.rounds import reconcile as reconciling
from clinical_backend.rounds.reconcile import reconcile
from clinical_backend.rounds.sync import synchronise
from clinical_backend.service.exemplars import read_exemplars
from clinical_backend.service.findings import read_findings
from clinical_backend.service.second_look import read_second_look
from clinical_backend.storage.database import Database
from clinical_backend.storage.report import RoundReport
from clinical_backend.storage.schema import RoundState, TaskImage
from clinical_backend.workspace.lock import leased_project
from tests.rounds.fake_label_studio import CONFIG, NOT_FOUND, FakeLabelStudio
from tests.small_workspace import AnotherNetwork, MeanColours, picture, reopened
from tests.storage.started import start_round

AWAY = LabelStudioUnavailableError("Label Studio does not answer.", "Start it.")
AWAY_DATABASE = StorageError("The database cannot be read.", "Start it.")
RED = range(1, 7)


@pytest.fixture
def fake_client():
    return FakeLabelStudio({n: picture(200 + n if n in RED else n) for n in range(1, 31)})


@pytest.fixture
def studio(workspace, fake_client):
    """Return a Label Studio with 6 red images and 24 dark ones."""
    workspace.settings = workspace.settings.model_copy(
        update={"queue_size": 10, "start_training_each_n_updates": 3, "backend_url": "http://backend"}
    )
    return fake_client


def row(workspace):
    return workspace.stores.projects.get(1)


def latest(workspace):
    return workspace.stores.rounds.latest(1)


def due_now(workspace):
    workspace.stores.projects.change(1, not_before=0.0)


def test_a_new_project_gets_a_queue_and_is_then_left_in_peace(workspace, studio):
    reconcile(workspace.project(1), look=True)
    assert (row(workspace).published_version, row(workspace).queue_left) == (studio.model_version, 10)
    assert [queued.task_id for queued in workspace.stores.rounds.queue(latest(workspace).id)] == studio.queue()
    reconcile(workspace.project(1), look=True)
    assert latest(workspace).number == 1


def test_another_backbone_makes_a_round_due_for_without_it_nothing_is_predicted(workspace, studio):
    for task in (1, 2, 10, 11):
        studio.annotate(task, "red" if task in RED else "dark")
    reconcile(workspace.project(1), look=True)
    workspace = reopened(workspace, backbone=AnotherNetwork(workspace.settings.model_dir))
    assert workspace.project(1).published_model(row(workspace).published_version) is None
    for _ in range(2):
        reconcile(workspace.project(1), look=True)
        assert (latest(workspace).number, latest(workspace).request) == (2, "the backbone was changed")
    assert workspace.project(1).published_model(row(workspace).published_version) is not None


def test_what_no_webhook_told_makes_a_round_due(workspace, studio):
    reconcile(workspace.project(1), look=True)
    studio.annotate(1, "red", exemplar=True)
    reconcile(workspace.project(1), look=True)
    assert latest(workspace).request == "the exemplars changed"
    studio.uris[31] = picture(90)
    reconcile(workspace.project(1), look=True)
    assert latest(workspace).request == "tasks were added or deleted"
    studio.config = studio.config.replace("dark", "black")
    reconcile(workspace.project(1), look=True)
    assert latest(workspace).request == "the labeling config changed"
    for task in (20, 21, 22):
        studio.annotate(task, "black")
    reconcile(workspace.project(1), look=True)
    assert latest(workspace).request == "3 annotations changed"
    assert studio.queue()
    assert not set(studio.queue()) & {1, 20, 21, 22}


def test_a_queue_that_readers_emptied_is_renewed_until_nothing_is_left(workspace, studio):
    workspace.settings = workspace.settings.model_copy(update={"start_training_each_n_updates": 1000})
    reconcile(workspace.project(1), look=True)
    for _ in range(3):
        for task in studio.queue():
            studio.annotate(task, "red" if task in RED else "dark")
        reconcile(workspace.project(1), look=True)
    assert len(studio.answers) == 30
    number = latest(workspace).number
    reconcile(workspace.project(1), look=True)
    assert latest(workspace).number == number == 3
    assert row(workspace).problem is None


def test_an_unreadable_image_alone_makes_no_round_due_until_it_may_be_tried_again(workspace, studio):
    workspace.settings = workspace.settings.model_copy(update={"start_training_each_n_updates": 1000})
    studio.uris = {1: picture(250), 2: picture(3), 3: "data:image/png;base64,AAAA"}
    reconcile(workspace.project(1), look=True)
    assert latest(workspace).report.counts.unreadable == 1
    assert latest(workspace).report.notes[0].startswith("1 image cannot be read. ")
    studio.annotate(1, "red")
    studio.annotate(2, "dark")
    reconcile(workspace.project(1), look=True)
    assert latest(workspace).number == 1
    with workspace.stores.database.write() as session:
        session.get(TaskImage, (1, 3)).tried_at = 0.0
    reconcile(workspace.project(1), look=True)
    assert (latest(workspace).number, latest(workspace).state) == (2, RoundState.PUBLISHED)
    assert row(workspace).problem is None
    reconcile(workspace.project(1), look=True)
    assert latest(workspace).number == 2


def test_a_project_without_a_readable_image_says_so_and_tries_again(workspace, studio):
    studio.uris = {1: "", 2: "data:,"}
    reconcile(workspace.project(1), look=True)
    assert latest(workspace).state is RoundState.FAILED
    assert "None of the project's images can be read" in row(workspace).problem
    assert workspace.stores.projects.due() == []
    assert row(workspace).request == "the last round failed"


@pytest.mark.parametrize("call", ["annotated_tasks", "import_predictions", "update_project"])
def test_a_round_that_fails_leaves_the_old_queue_and_is_tried_again_after_a_growing_wait(workspace, studio, call):
    reconcile(workspace.project(1), look=True)
    served, version = studio.queue(), studio.model_version
    studio.annotate(1, "red", exemplar=True)
    workspace.stores.projects.request_round(1, "test")
    studio.faults[call] = AWAY
    waits = []
    for _ in range(3):
        due_now(workspace)
        before = row(workspace).not_before
        reconcile(workspace.project(1), look=False)
        waits.append(row(workspace).not_before - before)
        reconcile(workspace.project(1), look=False)
    assert [entry.state for entry in workspace.stores.rounds.history(1)][:3] == [RoundState.FAILED] * 3
    assert (studio.queue(), studio.model_version) == (served, version)
    assert row(workspace).problem == str(AWAY)
    assert row(workspace).failures == 3
    assert waits[0] < waits[1] < waits[2]
    studio.faults.clear()
    due_now(workspace)
    reconcile(workspace.project(1), look=False)
    assert (row(workspace).problem, row(workspace).failures) == (None, 0)
    assert studio.model_version == latest(workspace).version != version
    assert list(studio.predictions) == [studio.model_version]


def test_a_fault_of_ours_in_a_stage_leaves_the_old_queue_and_no_secret_in_the_reason(
    workspace, studio, monkeypatch, caplog
):
    reconcile(workspace.project(1), look=True)
    served = studio.queue()

    def broken(*_args, **_kwargs):
        raise ZeroDivisionError("details of our own")

    monkeypatch.setattr(ordering, "rank", broken)
    workspace.stores.projects.request_round(1, "test")
    with caplog.at_level(logging.ERROR):
        reconcile(workspace.project(1), look=False)
    assert studio.queue() == served
    assert latest(workspace).state is RoundState.FAILED
    assert "details of our own" not in row(workspace).problem
    assert "details of our own" in caplog.text


@pytest.mark.parametrize("call", ["annotated_tasks", "import_predictions", "update_project"])
def test_a_round_that_takes_too_long_is_failed_with_the_cure_and_tried_again(workspace, studio, call):
    reconcile(workspace.project(1), look=True)
    served = studio.queue()
    workspace.stores.projects.request_round(1, "test")
    studio.meanwhile[call] = lambda: time.sleep(60)
    workspace.settings = workspace.settings.model_copy(update={"round_timeout_seconds": 0.5})
    attend_project(workspace.project(1), look=False)
    assert (studio.queue(), latest(workspace).state) == (served, RoundState.FAILED)
    assert "ROUND_TIMEOUT_SECONDS" in row(workspace).problem
    due_now(workspace)
    reconcile(workspace.project(1), look=False)
    assert (studio.model_version, row(workspace).problem) == (latest(workspace).version, None)


def test_time_that_is_over_in_a_step_that_may_fail_ends_the_look(workspace, studio, monkeypatch):
    reconcile(workspace.project(1), look=True)
    compared = []
    monkeypatch.setattr(reconciling, "settle", lambda *_: time.sleep(60))
    monkeypatch.setattr(reconciling, "attend", lambda *_: compared.append("attend"))
    workspace.settings = workspace.settings.model_copy(update={"round_timeout_seconds": 0.5})
    attend_project(workspace.project(1), look=True)
    assert not compared


def test_memory_that_does_not_suffice_is_told_with_a_cure_and_the_round_is_tried_again(workspace, studio, monkeypatch):
    reconcile(workspace.project(1), look=True)
    served = studio.queue()

    def devour(*_args, **_kwargs):
        raise MemoryError

    with monkeypatch.context() as patched:
        patched.setattr(ordering, "fit_labels", devour)
        workspace.stores.projects.request_round(1, "test")
        reconcile(workspace.project(1), look=False)
    assert (studio.queue(), latest(workspace).state) == (served, RoundState.FAILED)
    assert "not enough memory" in row(workspace).problem
    due_now(workspace)
    reconcile(workspace.project(1), look=False)
    assert (studio.model_version, row(workspace).problem) == (latest(workspace).version, None)


@pytest.mark.parametrize("call", ["tasks", "annotated_tasks", "import_predictions", "update_project"])
@pytest.mark.parametrize(
    "change",
    [
        ('<Choice value="red"/>', '<Choice value="red"/><Choice value="green"/>'),
        ('value="red"', 'value="crimson"'),
        ('<Choice value="dark"/>', ""),
    ],
    ids=["added", "renamed", "removed"],
)
def test_a_class_that_changes_in_mid_round_is_served_whole_or_not_at_all(workspace, studio, change, call):
    studio.config = before = CONFIG.replace('<Choice value="red"/>', '<Choice value="red"/><Choice value="grey"/>')
    for task in (1, 2, 3, 20, 21, 22):
        studio.annotate(task, "red" if task in RED else "dark", exemplar=task == 1)
    reconcile(workspace.project(1), look=True)
    served = studio.queue()

    def edit():
        studio.config = studio.config.replace(*change)

    studio.meanwhile[call] = edit
    workspace.stores.projects.request_round(1, "test")
    reconcile(workspace.project(1), look=False)
    assert studio.config != before
    if latest(workspace).state is RoundState.FAILED:
        assert studio.queue() == served
    else:
        assert studio.queue() == [queued.task_id for queued in workspace.stores.rounds.queue(latest(workspace).id)]
    due_now(workspace)
    reconcile(workspace.project(1), look=True)
    assert (latest(workspace).state, row(workspace).problem) == (RoundState.PUBLISHED, None)
    assert (row(workspace).label_config, studio.model_version) == (studio.config, latest(workspace).version)
    assert len(studio.queue()) == 10


def test_a_problem_of_looking_is_taken_back_when_it_is_over(workspace, studio):
    reconcile(workspace.project(1), look=True)
    studio.faults["project"] = AWAY
    reconcile(workspace.project(1), look=True)
    assert row(workspace).problem == str(AWAY)
    studio.faults.clear()
    reconcile(workspace.project(1), look=True)
    assert row(workspace).problem is None
    assert latest(workspace).number == 1


def test_a_project_that_was_deleted_is_forgotten(workspace, studio):
    reconcile(workspace.project(1), look=True)
    studio.faults["project"] = NOT_FOUND
    reconcile(workspace.project(1), look=True)
    assert workspace.stores.projects.ids() == []


def test_nothing_is_left_of_what_was_kept_for_the_pages_and_imports_of_a_deleted_project(workspace, studio):
    project = workspace.project(1)
    folders = (project.map_folder, project.settings_preview_folder, project.import_folder)
    for folder in folders:
        folder.mkdir(parents=True, exist_ok=True)
    studio.faults["project"] = NOT_FOUND
    reconcile(project, look=True)
    assert not any(folder.exists() for folder in folders)


@pytest.mark.parametrize("calls", [("project", "whoami"), ("annotated_tasks",)])
def test_what_only_looks_like_a_deleted_project_is_not_forgotten(workspace, studio, calls):
    reconcile(workspace.project(1), look=True)
    studio.faults = dict.fromkeys(calls, NOT_FOUND)
    reconcile(workspace.project(1), look=True)
    assert row(workspace).published_version == studio.model_version
    assert "not found" in row(workspace).problem


def test_a_project_that_is_not_served_is_not_looked_at_and_gets_no_lease(workspace, studio):
    reconcile(workspace.project(2), look=True)
    assert studio.calls == []
    assert workspace.stores.leases.of(2) is None


def test_the_lease_of_a_project_that_is_gone_goes_with_it(workspace, studio):
    reconcile(workspace.project(1), look=True)
    assert workspace.stores.leases.of(1) is not None
    studio.faults["project"] = NOT_FOUND
    reconcile(workspace.project(1), look=True)
    assert workspace.stores.leases.of(1) is None


@pytest.mark.parametrize("entry", ["http://backend", "http://BACKEND:80/"])
def test_the_webhook_goes_to_the_address_of_the_settings_and_nowhere_else(workspace, studio, entry):
    studio.hooks, studio.entries = [], ["http://other:9090", entry]
    workspace.stores.projects.change(1, wiring_due=True)
    reconcile(workspace.project(1), look=True)
    assert studio.hooks == ["http://backend/webhook"]
    assert not row(workspace).wiring_due


@pytest.mark.parametrize("entries", [[], ["http://10.0.0.5:9090"]], ids=["none", "another"])
def test_a_project_without_our_address_is_left_as_it_is_with_the_cure(workspace, studio, entries):
    studio.hooks, studio.entries = [], entries
    workspace.stores.projects.change(1, wiring_due=True)
    reconcile(workspace.project(1), look=True)
    assert studio.hooks == []
    assert "BACKEND_URL" in row(workspace).problem
    assert all(entry in row(workspace).problem for entry in entries)
    # The other entry may be this backend, by another name. Without any, connecting was undone.
    assert (latest(workspace) is not None) == bool(entries)
    workspace.stores.projects.change(1, wiring_due=True)
    studio.entries = ["http://backend"]
    reconcile(workspace.project(1), look=True)
    assert (row(workspace).problem, studio.hooks) == (None, ["http://backend/webhook"])


def test_another_project_under_the_same_id_begins_anew(workspace, studio):
    studio.annotate(1, "red", exemplar=True)
    reconcile(workspace.project(1), look=True)
    first = latest(workspace).version
    studio.answers.clear()
    studio.predictions.clear()
    studio.created_at = datetime(2026, 2, 2, tzinfo=UTC)
    reconcile(workspace.project(1), look=True)
    assert workspace.stores.labels.all(1) == {}
    assert latest(workspace).number == 1
    assert latest(workspace).version != first


def test_a_round_whose_process_died_is_run_again(workspace, studio):
    reconcile(workspace.project(1), look=True)
    dead = start_round(workspace.stores, 1)
    reconcile(workspace.project(1), look=False)
    assert [entry.state for entry in workspace.stores.rounds.history(1)] == [
        RoundState.PUBLISHED,
        RoundState.ABANDONED,
        RoundState.PUBLISHED,
    ]
    assert dead.version != studio.model_version == latest(workspace).version


def test_a_round_that_was_given_up_while_it_ran_goes_no_further(workspace, studio, monkeypatch):
    run = ordering.rank

    def rank(*args, **kwargs):
        workspace.stores.rounds.abandon_running(1)  # as another worker does, to which this one seems dead
        return run(*args, **kwargs)

    monkeypatch.setattr(ordering, "rank", rank)
    reconcile(workspace.project(1), look=False)
    assert latest(workspace).state is RoundState.ABANDONED
    assert (studio.queue(), row(workspace).failures) == ([], 0)


def test_a_project_that_another_process_is_at_is_left_to_it(workspace, studio):
    with leased_project(workspace.project(1)):
        reconcile(workspace.project(1), look=True)
    assert studio.calls == []
    assert latest(workspace) is None


def test_what_arrives_during_a_round_is_taken_up_when_the_project_has_its_next_turn(workspace, studio, monkeypatch):
    run = ordering.rank

    def rank(*args, **kwargs):
        if kwargs["round_number"] == 1:
            workspace.stores.projects.request_round(1, "an annotation came in between")
        return run(*args, **kwargs)

    monkeypatch.setattr(ordering, "rank", rank)
    reconcile(workspace.project(1), look=False)
    assert latest(workspace).number == 1
    assert workspace.stores.projects.due() == [1]
    reconcile(workspace.project(1), look=False)
    assert (latest(workspace).number, latest(workspace).request) == (2, "an annotation came in between")


def test_the_published_model_outlives_rounds_that_had_nothing_to_queue(workspace, studio):
    for task in range(1, 31):
        if task not in {6, 30}:
            studio.annotate(task, "red" if task in RED else "dark")
    reconcile(workspace.project(1), look=True)
    version = row(workspace).published_version
    studio.annotate(6, "red")
    studio.annotate(30, "dark")
    for _ in range(6):
        workspace.stores.projects.request_round(1, "test", delay=0)
        reconcile(workspace.project(1), look=False)
    assert (latest(workspace).number, row(workspace).published_version) == (7, version)
    assert workspace.project(1).checkpoint_folder(version).is_dir()
    assert studio.model_version == version


def test_a_wrong_option_of_a_project_is_told_and_heals_when_it_is_corrected(workspace, studio):
    workspace.stores.projects.register(1, {"queue_size": "lots"})
    reconcile(workspace.project(1), look=True)
    assert "queue_size" in row(workspace).problem
    assert studio.queue() == []
    workspace.stores.projects.register(1, {"queue_size": 5})
    due_now(workspace)
    reconcile(workspace.project(1), look=True)
    assert row(workspace).problem is None
    assert len(studio.queue()) == 5


def test_finds_are_entered_in_the_ledger_with_how_they_were_drawn(workspace, studio):
    workspace.settings = workspace.settings.model_copy(update={"audit_share": 0.5})
    reconcile(workspace.project(1), look=True)
    draws = {queued.task_id: queued.draw for queued in workspace.stores.rounds.queue(latest(workspace).id)}
    outside = next(task for task in studio.uris if task not in draws)
    for task in [*studio.queue(), outside]:
        studio.annotate(task, "dark")
    reconcile(workspace.project(1), look=True)
    ledger = workspace.stores.labels.all(1)
    assert {task: ledger[task].draw for task in draws} == draws
    assert (ledger[outside].origin, ledger[outside].draw) == (Origin.PAST_QUEUE, None)
    assert {ledger[task].round_number for task in draws} == {1}


def test_options_that_go_wrong_at_the_switch_leave_the_round_whole(workspace, studio):
    studio.annotate(1, "red", exemplar=True)
    wrong = {"queue_size": "many"}
    studio.meanwhile["update_project"] = lambda: workspace.stores.projects.change(1, page_options=wrong)
    reconcile(workspace.project(1), look=False)
    assert row(workspace).page_options == wrong
    assert latest(workspace).state is RoundState.PUBLISHED
    assert studio.model_version == latest(workspace).version


@pytest.mark.parametrize("stage", ["import_predictions", "update_project"])
def test_an_audit_draw_that_is_labelled_while_the_next_round_runs_keeps_its_draw(workspace, studio, stage):
    workspace.settings = workspace.settings.model_copy(update={"audit_share": 0.5})
    reconcile(workspace.project(1), look=True)
    draws = {queued.task_id: queued.draw for queued in workspace.stores.rounds.queue(latest(workspace).id)}
    late = studio.queue()[4:]
    for task in studio.queue()[:4]:
        studio.annotate(task, "dark")
    studio.meanwhile[stage] = lambda: [studio.annotate(task, "dark") for task in late]
    reconcile(workspace.project(1), look=True)
    assert latest(workspace).number == 2
    reconcile(workspace.project(1), look=True)
    ledger = workspace.stores.labels.all(1)
    assert {task: (ledger[task].draw, ledger[task].round_number) for task in draws} == {
        task: (draw, 1) for task, draw in draws.items()
    }
    assert read_findings(workspace.project(1)).audit_labels == 5


class Killed(BaseException):
    """Ends a round as a signal does, which nothing of it can answer."""


@pytest.mark.parametrize("end", [Killed(), AWAY_DATABASE], ids=["killed", "the database is away"])
def test_a_round_that_was_cut_off_after_the_switch_is_the_one_that_readers_have(workspace, studio, monkeypatch, end):
    workspace.settings = workspace.settings.model_copy(update={"audit_share": 0.5})
    reconcile(workspace.project(1), look=True)
    for task in studio.queue()[:4]:
        studio.annotate(task, "dark")

    def fail(*_arguments, **_named):
        raise end

    with monkeypatch.context() as patch, suppress(Killed):
        patch.setattr(workspace.stores.rounds, "publish", fail)
        reconcile(workspace.project(1), look=True)
    cut_off = latest(workspace)
    assert (cut_off.number, cut_off.state, cut_off.version) == (2, RoundState.RUNNING, studio.model_version)
    draws = {queued.task_id: queued.draw for queued in workspace.stores.rounds.queue(cut_off.id)}
    studio.faults["project"] = AWAY
    reconcile(workspace.project(1), look=False)
    assert latest(workspace).state is RoundState.RUNNING
    studio.faults.clear()
    for task in studio.queue():
        studio.annotate(task, "dark")
    reconcile(workspace.project(1), look=False)
    assert (latest(workspace).number, latest(workspace).state) == (2, RoundState.PUBLISHED)
    assert row(workspace).published_version == studio.model_version == cut_off.version
    assert row(workspace).queue_left == latest(workspace).report.counts.queue == len(draws)
    reconcile(workspace.project(1), look=True)
    ledger = workspace.stores.labels.all(1)
    assert {task: (ledger[task].draw, ledger[task].round_number) for task in draws} == {
        task: (draw, 2) for task, draw in draws.items()
    }
    assert Draw.AUDIT in draws.values()


def test_a_round_stays_that_of_readers_where_label_studio_goes_away_right_after_the_switch(
    workspace, studio, monkeypatch
):
    reconcile(workspace.project(1), look=True)
    for task in studio.queue()[:4]:
        studio.annotate(task, "dark")
    publish = Publisher.publish

    def switched(*arguments, **named):
        publish(*arguments, **named)
        studio.faults["project"] = AWAY
        raise AWAY

    with monkeypatch.context() as patch:
        patch.setattr(Publisher, "publish", switched)
        reconcile(workspace.project(1), look=True)
    assert (latest(workspace).number, latest(workspace).state) == (2, RoundState.RUNNING)
    studio.faults.clear()
    reconcile(workspace.project(1), look=False)
    assert (latest(workspace).number, latest(workspace).state) == (2, RoundState.PUBLISHED)
    assert row(workspace).published_version == studio.model_version == latest(workspace).version


def test_a_round_that_was_cut_off_before_the_switch_is_run_again(workspace, studio):
    def kill():
        raise Killed

    reconcile(workspace.project(1), look=True)
    workspace.stores.projects.request_round(1, "a test", delay=0)
    studio.meanwhile["update_project"] = kill
    with pytest.raises(Killed):
        reconcile(workspace.project(1), look=False)
    cut_off = latest(workspace)
    assert cut_off.report.counts.queue == 10
    reconcile(workspace.project(1), look=False)
    again, before, _ = workspace.stores.rounds.history(1)
    assert (again.state, before.state, before.id) == (RoundState.PUBLISHED, RoundState.ABANDONED, cut_off.id)
    assert (before.report, before.switched_at) == (RoundReport(), None)
    assert again.version == studio.model_version


def test_labels_for_the_classifier_count_neither_as_sought_nor_as_met_by_chance(workspace, studio):
    workspace.settings = workspace.settings.model_copy(update={"goal": "classifier", "rare_classes": ("red",)})
    for task in (1, 2, 10, 11):
        studio.annotate(task, "red" if task in RED else "dark")
    reconcile(workspace.project(1), look=True)
    draws = [queued.draw for queued in workspace.stores.rounds.queue(latest(workspace).id)]
    assert set(draws) == {Draw.TARGET, Draw.MARGIN, Draw.AUDIT}
    assert draws.count(Draw.MARGIN) == 2
    for task in studio.queue():
        studio.annotate(task, "red" if task in RED else "dark")
    target = synchronise(workspace.project(1)).target
    assert [entry.draw for entry in workspace.stores.labels.all(1).values()].count(Draw.MARGIN) == 2
    assert (target.sought, target.unsought) == (draws.count(Draw.TARGET), 4 + draws.count(Draw.AUDIT))


def test_imported_and_accepted_labels_are_no_merit_of_the_queue(workspace, studio):
    reconcile(workspace.project(1), look=True)
    first, second, third, *_ = studio.queue()
    studio.annotate(first, "red", import_id=3, ground_truth=True)
    studio.annotate(second, "red", lead_time=None, parent_prediction=4)
    studio.annotate(third, "red")
    reconcile(workspace.project(1), look=True)
    origins = {task: label.origin for task, label in workspace.stores.labels.all(1).items()}
    assert origins == {first: Origin.IMPORTED, second: Origin.ACCEPTED, third: Origin.QUEUE}
    assert read_exemplars(workspace.project(1))[0] == []


def test_no_classifier_learns_what_was_accepted_from_a_model(workspace, studio):
    reconcile(workspace.project(1), look=True)
    first, second, *others = studio.queue()
    studio.annotate(first, "red")
    studio.annotate(second, "dark")
    for task in others:
        studio.annotate(task, "red", lead_time=None, parent_prediction=4)
    reconcile(workspace.project(1), look=True)
    learnt = load_checkpoint(workspace.project(1).checkpoint_folder(latest(workspace).version))[0]
    studio.answers = {task: answers for task, answers in studio.answers.items() if task in {first, second}}
    studio.uris = {task: uri for task, uri in studio.uris.items() if task not in others}
    reconcile(workspace.project(1), look=True)
    alone = load_checkpoint(workspace.project(1).checkpoint_folder(latest(workspace).version))[0]
    assert np.array_equal(learnt.weights, alone.weights)


def test_what_was_accepted_from_a_model_neither_steers_nor_tells_how_frequent_or_how_well_judged_a_class_is(
    workspace, studio
):
    studio.annotate(1, "red", exemplar=True)
    studio.annotate(2, "red")
    for task in (3, 4, 5):
        studio.annotate(task, "red", lead_time=None, parent_prediction=9, id=task)
    for task in (10, 11, 12):
        studio.annotate(task, "dark")
    for task in (13, 14):
        studio.annotate(task, "dark", lead_time=None, parent_prediction=9, id=task)
    snapshot = synchronise(workspace.project(1))
    assert snapshot.target.query == (1, 2)
    assert (snapshot.target.met, snapshot.target.unsought) == ({"red": 1, "dark": 3}, 4)
    workspace.stores.projects.request_round(1, "test", delay=0)
    reconcile(workspace.project(1), look=True)
    assert latest(workspace).report.counts.labelled == 10
    assert sum(latest(workspace).report.evaluation.support) == 5


def test_an_import_that_was_read_again_late_was_in_no_pool_of_the_rounds_between(workspace, studio):
    studio.annotate(1, "red", import_id=3, id=1)
    studio.annotate(2, "dark")
    for _ in range(2):
        workspace.stores.projects.request_round(1, "test", delay=0)
        reconcile(workspace.project(1), look=True)
    imported = studio.answers[1]
    studio.annotate(1, "red", id=100)
    studio.answers[1] = [*imported, *studio.answers[1]]
    reconcile(workspace.project(1), look=True)
    workspace.stores.projects.request_round(1, "test", delay=0)
    reconcile(workspace.project(1), look=True)
    label = workspace.stores.labels.all(1)[1]
    assert (label.origin, label.round_number) == (Origin.SECOND_LOOK, None)


def test_copies_of_answered_images_and_of_each_other_are_not_queued_and_their_number_is_said(workspace, studio):
    studio.annotate(1, "red", exemplar=True)
    studio.uris[7] = studio.uris[1]
    studio.uris[20] = studio.uris[21]
    workspace.settings = workspace.settings.model_copy(update={"queue_size": 30})
    reconcile(workspace.project(1), look=True)
    assert sorted(studio.queue()) == sorted({*range(1, 31)} - {1, 7, 21})
    report = latest(workspace).report
    assert (report.counts.copies, report.counts.pool) == (2, 27)
    assert "2 images are exact copies of answered or queued ones, and are not queued." in report.notes


class Blocks(MeanColours):
    """Another stand-in: the mean of each of 64 blocks of an image, since near-copies are told by many numbers."""

    def __init__(self, folder):
        super().__init__(folder)
        self.dimension = 64

    def _forward(self, batch):
        self.embedded += len(batch)
        blocks = batch.astype(np.float32).reshape(len(batch), 8, 4, 8, 4, 3).mean(axis=(2, 4, 5))
        return blocks.reshape(len(batch), 64) - 128


def pattern(seed, kind="PNG", **options):
    """Return an image of 8 by 8 grey blocks as a data: URL."""
    grey = np.random.default_rng(seed).integers(0, 256, (8, 8), dtype=np.uint8)
    stream = BytesIO()
    Image.fromarray(np.kron(grey, np.ones((8, 8), dtype=np.uint8))).convert("RGB").save(stream, kind, **options)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(stream.getvalue()).decode()}"


def test_images_that_were_saved_again_come_behind_all_others_and_their_number_is_said(workspace, studio):
    studio.uris = {n: pattern(n) for n in range(1, 31)}
    for task, original in ((7, 1), (20, 21), (22, 23)):  # copies of an answered image, and of two that are open
        studio.uris[task] = pattern(original, "JPEG", quality=75)
    studio.annotate(1, "red", exemplar=True)
    settings = {"queue_size": 26, "audit_share": 0.0}
    workspace = reopened(workspace, backbone=Blocks(workspace.settings.model_dir))
    workspace.settings = workspace.settings.model_copy(update=settings)
    reconcile(workspace.project(1), look=True)
    queue, report = studio.queue(), latest(workspace).report
    assert 7 not in queue
    assert [len({*pair} & {*queue}) for pair in ((20, 21), (22, 23))] == [1, 1]
    assert len(queue) == 26
    assert report.counts.copies == 0
    assert any(note.startswith("3 images look like answered or queued ones") for note in report.notes)


def test_copies_alone_make_no_round_due(workspace, studio):
    studio.uris = {n: picture(9 * n) for n in range(1, 13)} | {13: picture(9), 14: picture(9)}
    workspace.settings = workspace.settings.model_copy(update={"queue_size": 12, "start_training_each_n_updates": 1000})
    reconcile(workspace.project(1), look=True)
    for task in studio.queue():
        studio.annotate(task, "dark")
    for _ in range(2):
        reconcile(workspace.project(1), look=True)
    assert latest(workspace).number == 1


def skip(studio, task, reader):
    result = studio.answers.get(task, [])
    studio.annotate(task, "dark", was_cancelled=True, completed_by=reader, id=100 * task + reader)
    studio.answers[task] = [*result, *studio.answers[task]]


@pytest.mark.parametrize("treatment", ["REQUEUE_FOR_OTHERS", "REQUEUE_FOR_ME", "IGNORE_SKIPPED"])
def test_what_one_reader_skipped_stays_in_the_queue_where_the_project_offers_it_to_others(workspace, studio, treatment):
    studio.skip_queue = treatment
    studio.annotate(1, "red", exemplar=True)
    reconcile(workspace.project(1), look=True)
    best, *others = studio.queue()
    skip(studio, best, reader=1)
    for task in others[:3]:
        studio.annotate(task, "dark")
    reconcile(workspace.project(1), look=True)
    again = treatment == "REQUEUE_FOR_OTHERS"
    assert latest(workspace).number == 2
    assert (best in studio.queue()) is again
    assert len(studio.queue()) == 10 + again
    assert row(workspace).queue_left == 10
    skip(studio, best, reader=2)
    workspace.stores.projects.request_round(1, "test", delay=0)
    reconcile(workspace.project(1), look=True)
    assert best not in studio.queue()


def test_a_queue_of_which_only_skipped_tasks_are_left_is_renewed(workspace, studio):
    studio.skip_queue = "REQUEUE_FOR_OTHERS"
    workspace.settings = workspace.settings.model_copy(update={"start_training_each_n_updates": 1000})
    reconcile(workspace.project(1), look=True)
    first = studio.queue()
    for task in first:
        skip(studio, task, reader=1)
    reconcile(workspace.project(1), look=True)
    assert latest(workspace).number == 2
    assert len({*studio.queue()} - {*first}) >= 10


def test_tasks_that_were_skipped_crowd_no_others_out_and_make_no_round_after_the_other_due(workspace, studio):
    studio.skip_queue = "REQUEUE_FOR_OTHERS"
    workspace.settings = workspace.settings.model_copy(update={"start_training_each_n_updates": 1000, "queue_size": 2})
    studio.annotate(1, "red", exemplar=True)
    reds = [task for task in RED if task != 1]
    for task in reds:
        skip(studio, task, reader=1)
    reconcile(workspace.project(1), look=True)
    assert len({*studio.queue()} - {*reds}) >= 2
    number = latest(workspace).number
    for _ in range(3):
        reconcile(workspace.project(1), look=True)
    assert latest(workspace).number == number


def test_a_queue_of_nothing_but_skipped_tasks_is_the_published_one(workspace, studio):
    studio.skip_queue = "REQUEUE_FOR_OTHERS"
    workspace.settings = workspace.settings.model_copy(update={"start_training_each_n_updates": 1000})
    reconcile(workspace.project(1), look=True)
    for task in studio.uris:
        skip(studio, task, reader=1)
    workspace.stores.projects.request_round(1, "test", delay=0)
    reconcile(workspace.project(1), look=True)
    assert (latest(workspace).number, row(workspace).published_version) == (2, studio.model_version)
    assert row(workspace).queue_left == 0
    reconcile(workspace.project(1), look=True)
    assert latest(workspace).number == 2


def test_a_database_that_is_away_is_told_and_the_round_is_run_again_when_it_is_back(
    workspace, studio, monkeypatch, caplog
):
    reconcile(workspace.project(1), look=True)
    workspace.stores.projects.request_round(1, "test", delay=0)

    def away(*_arguments, **_named):
        raise AWAY_DATABASE

    with monkeypatch.context() as patch:
        for name in ("read", "write"):
            patch.setattr(Database, name, away)
        reconcile(workspace.project(1), look=True)
    assert str(AWAY_DATABASE) in caplog.text
    with monkeypatch.context() as patch:
        patch.setattr(workspace.stores.rounds, "keep_queue", away)
        patch.setattr(workspace.stores.rounds, "fail", away)
        reconcile(workspace.project(1), look=False)
    assert latest(workspace).state is RoundState.RUNNING
    reconcile(workspace.project(1), look=False)
    assert (latest(workspace).number, latest(workspace).state) == (3, RoundState.PUBLISHED)
    assert studio.model_version == latest(workspace).version


def test_a_round_leaves_what_the_pages_show(workspace, studio):
    reason = '<TextArea name="reason" toName="image" visibleWhen="choice-unselected"/></View>'
    studio.config = studio.config.rpartition("</View>")[0] + reason
    studio.data = {task: {"patient": f"p{task // 2}"} for task in studio.uris}
    workspace.settings = workspace.settings.model_copy(update={"group_field": "patient", "audit_share": 0.4})
    reconcile(workspace.project(1), look=True)
    for number in (1, 2):
        for task in [*studio.queue()[:6], *RED[:3]] if number == 1 else studio.queue():
            studio.annotate(task, "red" if task in RED else "dark", exemplar=task in RED)
        reconcile(workspace.project(1), look=True)
    stores = workspace.stores
    queued = studio.predictions[studio.model_version]
    assert all(region["value"]["text"][0] for item in queued for region in item["result"] if "text" in region["value"])
    assert all(any(region["type"] == "textarea" for region in item["result"]) for item in queued)
    patients = [studio.data[item["task"]]["patient"] for item in queued]
    assert len(set(patients)) == len(patients)
    found = read_findings(workspace.project(1))
    assert found.found == len([task for task in studio.answers if task in RED])
    assert found.missing == 20 - found.audit_labels < 20
    evaluation = stores.rounds.published(1).report.evaluation
    assert sum(evaluation.support) == found.labels
    exemplars, conflicts = read_exemplars(workspace.project(1))
    assert {one.task_id for one in exemplars} == {task for task in studio.answers if task in RED}
    assert conflicts == []
    suspects = read_second_look(workspace.project(1))
    assert suspects == []  # none looks as rare as the red ones


def test_another_field_groups_all_tasks_anew(workspace, studio):
    studio.data = {task: {"patient": f"p{task // 2}", "study": task // 3} for task in studio.uris}
    counts = []
    for field in (None, "patient", "study"):
        workspace.settings = workspace.settings.model_copy(update={"group_field": field})
        workspace.stores.projects.request_round(1, "test", delay=0)
        reconcile(workspace.project(1), look=False)
        counts.append(len(set(workspace.stores.images.groups(1).values())))
    assert counts == [0, 16, 11]
