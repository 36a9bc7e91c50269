import numpy as np
import pytest

from clinical_backend.errors import LabelStudioUnavailableError, ModelError, StorageError
from clinical_backend.jobs.local_runner import LocalRunner
from clinical_backend.labelstudio.contract import PredictTask
from clinical_backend.labelstudio.publisher import Publisher
from clinical_backend.learner.checkpoint import load_checkpoint
from clinical_backend.origins import Draw
from clinical_backend.rounds import rollback as rollback_module
from clinical_backend.rounds import round as round_module
from clinical_backend.rounds.questions import open_questions
from clinical_backend.rounds.reconcile import reconcile
from clinical_backend.rounds.rollback import roll_back, what_follows
from clinical_backend.service.backend import Backend
from clinical_backend.service.predict import predict
from clinical_backend.storage.report import Kind
from clinical_backend.storage.schema import RoundState
from clinical_backend.strategy.preannotation import Confidence
from clinical_backend.versions import on_demand_version
from clinical_backend.workspace.lock import leased_project
from tests.rounds.fake_label_studio import FakeLabelStudio
from tests.small_workspace import picture

RED = range(1, 11)


@pytest.fixture
def fake_client():
    return FakeLabelStudio({n: picture(200 + n if n in RED else n, blue=2 * n) for n in range(1, 61)})


@pytest.fixture
def studio(workspace, fake_client):
    """Return a Label Studio with 10 red images and 50 dark ones; rounds label a few and rank the rest."""
    workspace.settings = workspace.settings.model_copy(
        update={"queue_size": 12, "rare_classes": ("red",), "kept_rounds": 3, "backend_url": "http://backend"}
    )
    return fake_client


def run(workspace, studio, *tasks):
    for task in tasks:
        studio.annotate(task, "red" if task in RED else "dark")
    workspace.stores.projects.request_round(1, "test", delay=0)
    reconcile(workspace.project(1), look=False)
    return workspace.stores.rounds.latest(1)


def test_an_earlier_round_is_published_again_with_its_queue_and_model(workspace, studio):
    first = run(workspace, studio, 1, 2, 51, 52)
    before = {item["task"]: item["result"] for item in studio.predictions[first.version]}
    order = studio.queue()
    model = load_checkpoint(workspace.project(1).checkpoint_folder(first.version))[0]
    done = order[:3]
    run(workspace, studio, *done)
    run(workspace, studio, 53)
    backend = Backend(workspace, LocalRunner({}))
    backend._workspace = workspace
    row = backend.rollback(1, first.number)
    latest = workspace.stores.rounds.latest(1)
    assert (row.number, latest.state, latest.request) == (4, RoundState.PUBLISHED, "rollback to round 1")
    assert studio.model_version == row.version == workspace.stores.projects.get(1).published_version
    assert studio.queue() == [task for task in order if task not in {*done, 53}]
    assert list(studio.predictions) == [row.version]
    assert all(item["result"] == before[item["task"]] for item in studio.predictions[row.version])
    restored, metadata = load_checkpoint(workspace.project(1).checkpoint_folder(row.version))
    assert metadata.round == 1
    assert np.array_equal(restored.weights, model.weights)
    asked = PredictTask(id=999, data={"image": picture(222)}, predictions=[{"model_version": first.version}])
    (item,) = predict(workspace.project(1), studio.config, [asked])
    assert (item.model_version, item.result[0]["value"]["choices"]) == (on_demand_version(row.version), ["red"])
    assert latest.report.counts.queue == workspace.stores.projects.get(1).queue_left == len(studio.queue())


def test_what_was_settled_since_the_earlier_round_is_not_asked_again(workspace, studio):
    studio.annotate(51, "dark", exemplar=True)
    first = run(workspace, studio, 1, 2, 52)
    assert [one.kind for one in first.report.questions] == [Kind.ALSO]
    run(workspace, studio, 51)
    roll_back(workspace.project(1), first.number)
    assert open_questions(workspace.project(1)) == []


def test_a_round_that_is_due_is_told_of_since_it_takes_the_place_of_what_is_gone_back_to(workspace, studio):
    project = workspace.project(1)
    first = run(workspace, studio, 1, 2, 51, 52)
    run(workspace, studio, 53)
    assert what_follows(project, first) == []
    workspace.stores.projects.request_round(1, "an exemplar was tagged on the project's page")
    told = "A round is due (an exemplar was tagged on the project's page), and takes the place of round {}"
    assert what_follows(project, first) == [f"{told.format(1)} as soon as it has run."]
    row = roll_back(project, first.number)
    assert what_follows(project, row) == [f"{told.format(3)} as soon as it has run."]
    workspace.stores.projects.change(1, standing_back="Another installation serves this project.")
    assert what_follows(project, row) == [
        f"{told.format(3)} once rounds run again. Another installation serves this project."
    ]


def test_a_model_whose_features_are_not_made_any_more_is_told_of(workspace, studio):
    first = run(workspace, studio, 1, 2, 51, 52)
    run(workspace, studio, 53)
    workspace.backbone.key = "another"
    due, unusable = what_follows(workspace.project(1), first)
    assert due.startswith("A round is due (the backbone was changed)")
    assert unusable.startswith("The model of round 1 cannot be used")


@pytest.mark.parametrize("mode", ["off", "confident", "all"])
def test_a_queue_that_ticked_everything_comes_back_by_the_rules_of_today(workspace, studio, mode):
    workspace.settings = workspace.settings.model_copy(update={"preannotate": "all", "audit_share": 0.25})
    first = run(workspace, studio, 1, 2, 51, 52)
    draws = {queued.task_id: queued.draw for queued in workspace.stores.rounds.queue(first.id)}
    ticked = {item["task"] for item in studio.predictions[first.version] if item["result"]}
    assert ticked == {task for task, draw in draws.items() if draw is not Draw.AUDIT} != set(draws)
    run(workspace, studio, 3)
    workspace.settings = workspace.settings.model_copy(update={"preannotate": mode})
    row = roll_back(workspace.project(1), first.number)
    again = {item["task"] for item in studio.predictions[row.version] if item["result"]}
    assert again == ((ticked - {3}) if mode == "all" else set())
    assert workspace.stores.rounds.latest(1).report.preannotation.mode == mode


def test_what_was_proven_of_classes_is_not_ticked_where_the_config_asks_for_findings_by_now(
    workspace, studio, monkeypatch
):
    workspace.settings = workspace.settings.model_copy(update={"preannotate": "confident"})
    proven = Confidence(dict.fromkeys(range(1, 61), "dark"))
    with monkeypatch.context() as patch:
        patch.setattr(round_module, "confidence", lambda *_, **__: proven)
        first = run(workspace, studio, 1, 2, 51, 52)
    assert any(item["result"] for item in studio.predictions[first.version])
    run(workspace, studio, 3)
    studio.config = studio.config.replace('choice="single"', 'choice="multiple"')
    row = roll_back(workspace.project(1), first.number)
    assert not any(item["result"] for item in studio.predictions[row.version])


def test_where_a_task_has_several_readers_none_is_led(workspace, studio):
    workspace.settings = workspace.settings.model_copy(update={"preannotate": "all"})
    studio.maximum_annotations = 2
    row = run(workspace, studio, 1, 2, 51, 52)
    assert [item["result"] for item in studio.predictions[row.version]] == [[]] * 12


def test_a_later_round_goes_on_normally_and_can_be_left_behind_too(workspace, studio):
    run(workspace, studio, 1, 2, 51, 52)
    second = run(workspace, studio, 3, 53)
    roll_back(workspace.project(1), 1)
    reconcile(workspace.project(1), look=True)
    assert workspace.stores.rounds.latest(1).request == "rollback to round 1"
    fourth = run(workspace, studio, 4)
    assert studio.model_version == fourth.version
    assert fourth.report.counts.labelled == 7
    assert load_checkpoint(workspace.project(1).checkpoint_folder(fourth.version))[1].round == 4
    assert roll_back(workspace.project(1), 3).number == 5
    assert load_checkpoint(workspace.project(1).checkpoint_folder(studio.model_version))[1].round == 1
    with pytest.raises(StorageError, match=r"Round 2 of project 1 is not kept\. Choose of 3, 4\."):
        roll_back(workspace.project(1), second.number)


def test_the_models_of_the_last_published_rounds_are_kept_however_many_failed(workspace, studio):
    rows = [run(workspace, studio, 1, 2, 51, 52), run(workspace, studio, 3), run(workspace, studio, 4)]
    studio.faults["annotated_tasks"] = LabelStudioUnavailableError("Away.", "Wait.")
    for _ in range(6):
        workspace.stores.projects.change(1, not_before=0.0)
        run(workspace, studio)
    studio.faults.clear()
    workspace.stores.projects.change(1, not_before=0.0)
    rows.append(run(workspace, studio, 5))
    folder = workspace.project(1).checkpoint_folder(rows[0].version).parent
    assert sorted(path.name for path in folder.iterdir()) == sorted(row.version for row in rows[1:])
    roll_back(workspace.project(1), rows[1].number)


def test_the_published_round_one_that_never_was_and_an_unknown_project_are_refused(workspace, studio):
    run(workspace, studio, 1, 2, 51, 52)
    with pytest.raises(StorageError, match=r"Round 1 of project 1 is the published one\. There is no earlier one"):
        roll_back(workspace.project(1), 1)
    with pytest.raises(StorageError, match="Round 9 of project 1 is not kept"):
        roll_back(workspace.project(1), 9)
    with pytest.raises(StorageError, match="Round 1 of project 7 is not kept"):
        roll_back(workspace.project(7), 1)
    assert workspace.stores.rounds.latest(1).number == 1


@pytest.mark.parametrize("fault", ["import_predictions", "update_project", "damage", "emptied"])
def test_what_fails_leaves_queue_and_model_as_they_are_and_no_round_due(workspace, studio, fault):
    first = run(workspace, studio, 1, 2, 51, 52)
    order = studio.queue()
    second = run(workspace, studio, 3)
    served = studio.queue()
    if fault == "damage":
        (tensors,) = workspace.project(1).checkpoint_folder(first.version).glob("*.safetensors")
        tensors.write_bytes(tensors.read_bytes()[:-1])
    elif fault == "emptied":
        for task in order:
            studio.annotate(task, "dark")
    else:
        studio.faults[fault] = LabelStudioUnavailableError("Away.", "Wait.")
    expected = {"damage": ModelError, "emptied": StorageError}.get(fault, LabelStudioUnavailableError)
    with pytest.raises(expected):
        roll_back(workspace.project(1), 1)
    assert (studio.model_version, studio.queue()) == (second.version, served)
    project, latest = workspace.stores.projects.get(1), workspace.stores.rounds.latest(1)
    assert (project.published_version, project.request, project.problem) == (second.version, None, None)
    assert latest.state is RoundState.FAILED
    assert latest.error


def test_a_rollback_that_readers_may_have_is_told_by_the_next_look(workspace, studio, monkeypatch):
    first = run(workspace, studio, 1, 2, 51, 52)
    run(workspace, studio, 3)
    publish = Publisher.publish

    def switched(*arguments, **named):
        publish(*arguments, **named)
        studio.faults["project"] = LabelStudioUnavailableError("Away.", "Wait.")
        raise LabelStudioUnavailableError("Away.", "Wait.")

    with monkeypatch.context() as patch:
        patch.setattr(Publisher, "publish", switched)
        with pytest.raises(LabelStudioUnavailableError):
            roll_back(workspace.project(1), first.number)
    assert workspace.stores.rounds.latest(1).state is RoundState.RUNNING
    studio.faults.clear()
    reconcile(workspace.project(1), look=False)
    latest = workspace.stores.rounds.latest(1)
    assert (latest.number, latest.state, latest.version) == (3, RoundState.PUBLISHED, studio.model_version)


def test_a_running_round_is_waited_for_and_then_named(workspace, studio, monkeypatch):
    run(workspace, studio, 1, 2, 51, 52)
    run(workspace, studio, 3)
    monkeypatch.setattr(rollback_module, "_WAIT_SECONDS", 0.0)
    with (
        leased_project(workspace.project(1)),
        pytest.raises(StorageError, match="A round of project 1 is running"),
    ):
        roll_back(workspace.project(1), 1)


def test_labels_keep_the_draw_of_the_queue_that_served_them_through_a_rollback(workspace, studio):
    workspace.settings = workspace.settings.model_copy(update={"audit_share": 0.5})
    first = run(workspace, studio, 1, 2, 51, 52)
    drawn = {queued.task_id: queued.draw for queued in workspace.stores.rounds.queue(first.id)}
    early, late, last = studio.queue()[:3]
    second = run(workspace, studio, early)
    between = next(task for task in studio.queue() if task not in drawn)
    draws = {queued.task_id: queued.draw for queued in workspace.stores.rounds.queue(second.id)}
    studio.meanwhile["update_project"] = lambda: studio.annotate(between, "dark")
    row = roll_back(workspace.project(1), first.number)
    studio.annotate(late, "dark")
    run(workspace, studio, last)
    labels = workspace.stores.labels.all(1)
    assert {task: (labels[task].draw, labels[task].round_number) for task in (early, between, late, last)} == {
        early: (drawn[early], first.number),
        between: (draws[between], second.number),
        late: (drawn[late], row.number),
        last: (drawn[last], row.number),
    }
