from dataclasses import replace

import numpy as np
import pytest

from clinical_backend.labelstudio.contract import PredictTask
from clinical_backend.learner.checkpoint import load_checkpoint
from clinical_backend.rounds import promotion as promotion_module
from clinical_backend.rounds import round as round_module
from clinical_backend.rounds.promotion import CANDIDATE
from clinical_backend.rounds.reconcile import reconcile
from clinical_backend.service.predict import predict
from clinical_backend.service.status import read_status
from clinical_backend.storage.feature_files import FeatureStore
from clinical_backend.storage.report import PromotionReport
from clinical_backend.storage.stores.rounds import RoundStore
from clinical_backend.versions import on_demand_version
from tests.disks import full_disk
from tests.rounds.fake_label_studio import FakeLabelStudio
from tests.small_workspace import picture

RED = range(1, 19)


@pytest.fixture
def fake_client():
    return FakeLabelStudio({n: picture(200 + n if n in RED else n // 4, blue=n) for n in range(1, 121)})


@pytest.fixture
def studio(workspace, fake_client):
    """Return a Label Studio with 18 red images and 102 dark ones, of which 10 and 20 are labelled."""
    workspace.settings = workspace.settings.model_copy(
        update={"queue_size": 20, "audit_share": 0.0, "rare_classes": ("red",), "backend_url": "http://backend"}
    )
    for task in [*range(1, 11), *range(101, 121)]:
        fake_client.annotate(task, "red" if task in RED else "dark")
    return fake_client


def task_of(number):
    return PredictTask(id=number, data={"image": picture(222, blue=9)})


def run(workspace):
    workspace.stores.projects.request_round(1, "test", delay=0)
    reconcile(workspace.project(1), look=False)
    assert workspace.stores.projects.get(1).problem is None
    return workspace.stores.rounds.latest(1)


def scramble(monkeypatch):
    """Have the next rounds see each image as another one: their features say nothing of it."""
    choose = round_module.choose_inputs

    def mixed(tasks):
        order = np.random.default_rng(0).permutation(len(tasks))
        return replace(tasks, features=tasks.features[order])

    def broken(*arguments):
        inputs, reason = choose(*arguments)
        parts = {part: mixed(getattr(inputs, part)) for part in ("pool", "labelled", "query")}
        return replace(inputs, key="scrambled", **parts), reason

    monkeypatch.setattr(round_module, "choose_inputs", broken)


def test_a_classifier_as_good_as_the_published_one_is_promoted(workspace, studio):
    first = run(workspace)
    assert first.report.promotion == PromotionReport(True, "none was published before")
    for task in (11, 12, 31, 32):
        studio.annotate(task, "red" if task in RED else "dark")
    second = run(workspace)
    assert second.report.promotion.promoted
    assert second.report.promotion.labels == 34
    assert load_checkpoint(workspace.project(1).checkpoint_folder(second.version))[1].round == 2


def test_one_that_is_worse_on_the_rare_classes_is_kept_but_the_published_one_goes_on(
    workspace, studio, monkeypatch, caplog
):
    first = run(workspace)
    for task in (11, 12, 31, 32):
        studio.annotate(task, "red" if task in RED else "dark")
    scramble(monkeypatch)
    second = run(workspace)
    promotion = second.report.promotion
    assert not promotion.promoted
    assert promotion.candidate < promotion.published
    assert "kept but not published, since it is worse" in promotion.reason
    assert "of the one of round 1" in promotion.reason
    assert promotion.reason in caplog.text
    status = read_status(workspace.project(1)).to_json()
    assert status["round"]["promotion"] == promotion.to_json()
    # The queue is new, with the predictions of the earlier classifier and in an order by its features.
    assert studio.model_version == second.version != first.version
    assert set(studio.queue()[:6]) == set(RED) - set(range(1, 13))
    queue = {queued.task_id: queued.predicted for queued in workspace.stores.rounds.queue(second.id)}
    assert queue == {task: "red" if task in RED else "dark" for task in queue}
    # Predictions on demand, too.
    item, _ = predict(workspace.project(1), studio.config, [task_of(999), task_of(998)])
    assert item.result[0]["value"]["choices"] == ["red"]
    folder = workspace.project(1).checkpoint_folder(second.version)
    assert load_checkpoint(folder)[1].round == 1
    assert load_checkpoint(folder / CANDIDATE)[1].round == 2


def test_after_one_that_was_not_promoted_a_good_one_is(workspace, studio, monkeypatch):
    run(workspace)
    with monkeypatch.context() as patch:
        scramble(patch)
        assert not run(workspace).report.promotion.promoted
        assert not run(workspace).report.promotion.promoted
    last = run(workspace)
    assert last.report.promotion.promoted
    assert load_checkpoint(workspace.project(1).checkpoint_folder(last.version))[1].round == 4


def test_with_too_few_rare_labels_it_is_promoted_and_says_so(workspace, studio, monkeypatch):
    for task in range(4, 11):
        del studio.answers[task]
    run(workspace)
    scramble(monkeypatch)
    promotion = run(workspace).report.promotion
    assert promotion.promoted
    assert "3 rare labels are too few to compare it" in promotion.reason


def test_a_published_one_that_the_labeling_config_left_behind_is_replaced(workspace, studio, monkeypatch):
    run(workspace)
    scramble(monkeypatch)
    studio.config = studio.config.replace('value="dark"', 'value="black"')
    for task in range(101, 121):
        studio.annotate(task, "black")
    promotion = run(workspace).report.promotion
    assert promotion.promoted
    assert "labeling config" in promotion.reason


@pytest.mark.parametrize(
    ("owner", "write", "problem"),
    [
        (FeatureStore, "add", "Features cannot be written"),
        (promotion_module.Promotion, "keep", "The checkpoint cannot be written"),
        (RoundStore, "keep_queue", "The database cannot be written"),
    ],
    ids=["features", "checkpoint", "database"],
)
def test_a_disk_that_is_full_at_a_write_leaves_the_published_model_and_queue(
    workspace, studio, monkeypatch, owner, write, problem
):
    first = run(workspace)
    served = studio.queue()
    original = getattr(owner, write)

    def on_a_full_disk(*arguments):
        with full_disk(100):
            original(*arguments)

    studio.uris[121] = picture(77)
    with monkeypatch.context() as patch:
        patch.setattr(owner, write, on_a_full_disk)
        workspace.stores.projects.request_round(1, "test", delay=0)
        reconcile(workspace.project(1), look=False)
    assert problem in workspace.stores.projects.get(1).problem
    assert (studio.model_version, studio.queue()) == (first.version, served)
    item, _ = predict(workspace.project(1), studio.config, [task_of(999), task_of(998)])
    assert (item.model_version, item.result[0]["value"]["choices"]) == (on_demand_version(first.version), ["red"])
    assert run(workspace).version == studio.model_version != first.version
