import logging

import numpy as np
import pytest

from clinical_backend.labelstudio.contract import PredictTask
from clinical_backend.learner.checkpoint import CheckpointMetadata, save_checkpoint
from clinical_backend.learner.classifier.linear import fit
from clinical_backend.origins import Draw
from clinical_backend.rounds.embed import embed_new
from clinical_backend.service.predict import predict
from clinical_backend.storage.report import RoundReport
from clinical_backend.storage.schema import QueuedTask
from clinical_backend.versions import UNPUBLISHED_VERSION, on_demand_version
from tests.rounds.fake_label_studio import FakeLabelStudio
from tests.small_workspace import picture, reopened
from tests.storage.started import start_round

CONFIG = (
    '<View><Image name="image" value="$image"/>'
    '<Choices name="diagnosis" toName="image"><Choice value="dark"/><Choice value="red"/></Choices></View>'
)


@pytest.fixture
def published(workspace):
    """Return the version of a published model that tells red images from dark ones."""
    row = start_round(workspace.stores, 1)
    features = np.array([[0, 0, 0, 1], [0.1, 0, 0, 1], [0.9, 0, 0, 1], [1, 0, 0, 1]], dtype=np.float32)
    classifier = fit(features, [0, 0, 1, 1], ("dark", "red"))
    folder = workspace.project(1).checkpoint_folder(row.version)
    save_checkpoint(folder, classifier, CheckpointMetadata(workspace.backbone.key, 1))
    workspace.stores.rounds.publish(row, RoundReport(), 5)
    return row.version


def task(number, uri, *, asked=True):
    """Return a task as *Retrieve predictions* sends one that was queued, or as Label Studio asks by itself."""
    return PredictTask(id=number, data={"image": uri}, predictions=[{"model_version": "earlier"}] if asked else [])


def choices(prediction):
    return [choice for region in prediction.result for choice in region["value"]["choices"]]


def test_without_a_model_every_prediction_is_empty(workspace):
    (item,) = predict(workspace.project(1), CONFIG, [task(1, picture(200))])
    assert (item.result, item.score, item.model_version) == ([], None, UNPUBLISHED_VERSION)


def test_predictions_come_in_order_apart_from_the_queue_and_without_a_score(workspace, published):
    items = predict(workspace.project(1), CONFIG, [task(1, picture(250)), task(2, picture(5)), task(3, picture(240))])
    assert [choices(item) for item in items] == [["red"], ["dark"], ["red"]]
    assert {item.model_version for item in items} == {on_demand_version(published)} != {published}
    assert {item.score for item in items} == {None}
    assert all("score" not in region for item in items for region in item.result)


def test_an_unreadable_image_is_empty_with_a_reason_in_the_log(workspace, published, caplog):
    with caplog.at_level(logging.WARNING):
        items = predict(workspace.project(1), CONFIG, [task(1, "data:,nothing"), task(2, picture(250)), task(3, "")])
    assert [choices(item) for item in items] == [[], ["red"], []]
    assert "Task 1 is left out" in caplog.text


def test_five_thousand_known_images_are_answered_in_order_without_embedding_any(workspace, published):
    uris = {number: picture(250 if number % 3 == 0 else 5) for number in range(1, 5001)}
    workspace.stores.images.synchronise(1, uris, complete=True)
    embed_new(workspace.project(1), lambda *_: None)
    before = workspace.backbone.embedded
    items = predict(workspace.project(1), CONFIG, [task(number, uri) for number, uri in uris.items()])
    assert [choices(item) for item in items] == [["red"] if number % 3 == 0 else ["dark"] for number in uris]
    assert workspace.backbone.embedded == before


def test_what_does_not_fit_into_the_time_is_left_empty(workspace, published, caplog):
    workspace.settings = workspace.settings.model_copy(update={"predict_seconds": -1.0})
    items = predict(workspace.project(1), CONFIG, [task(1, picture(250))])
    assert choices(items[0]) == []
    assert "PREDICT_SECONDS" in caplog.text


def test_a_class_that_was_removed_from_the_config_is_not_predicted(workspace, published):
    config = CONFIG.replace('<Choice value="red"/>', '<Choice value="new"/>')
    (item,) = predict(workspace.project(1), config, [task(1, picture(250))])
    assert choices(item) == []


def test_a_tampered_model_predicts_nothing_and_says_so(workspace, published, caplog):
    (tensors,) = workspace.project(1).checkpoint_folder(published).glob("*.safetensors")
    tensors.write_bytes(tensors.read_bytes()[:-1] + b"x")
    (item,) = predict(workspace.project(1), CONFIG, [task(1, picture(250))])
    assert choices(item) == []
    assert "until its next round" in caplog.text


@pytest.mark.parametrize("mode", ["off", "confident", "all"])
def test_whoever_asks_gets_an_answer_whatever_is_shown_in_the_queue(workspace, published, mode):
    workspace.stores.projects.register(1, {"preannotate": mode})
    (item,) = predict(workspace.project(1), CONFIG, [task(1, picture(250))])
    assert choices(item) == ["red"]


@pytest.mark.parametrize(("mode", "shown"), [("off", None), ("confident", None), ("all", ["red"])])
def test_what_label_studio_asks_by_itself_shows_a_class_only_where_all_are_shown(workspace, published, mode, shown):
    workspace.stores.projects.register(1, {"preannotate": mode})
    (item,) = predict(workspace.project(1), CONFIG, [task(1, picture(250), asked=False)])
    assert (item and choices(item)) == shown
    (item,) = predict(workspace.project(1), CONFIG, [task(1, picture(250))], interactive=True)
    assert (item and choices(item)) == shown


@pytest.mark.parametrize("automatic", [True, False])
def test_a_page_of_tasks_is_taken_for_asked_unless_the_project_asks_for_each_page(workspace, published, automatic):
    studio = FakeLabelStudio({})
    studio.evaluate_predictions_automatically = automatic
    workspace = reopened(workspace, client=studio)
    items = predict(workspace.project(1), CONFIG, [task(number, picture(250), asked=False) for number in (1, 2)])
    assert [item and choices(item) for item in items] == ([None, None] if automatic else [["red"], ["red"]])


def test_a_random_draw_or_an_answered_task_is_shown_no_class_that_nobody_asked_for(workspace, published):
    workspace.stores.projects.register(1, {"preannotate": "all"})
    row = workspace.stores.rounds.published(1)
    draws = enumerate([Draw.AUDIT, Draw.TARGET])
    workspace.stores.rounds.keep_queue(
        [QueuedTask(round_id=row.id, rank=rank, task_id=rank + 1, draw=draw) for rank, draw in draws]
    )

    def shown(number, **fields):
        asks = PredictTask(id=number, data={"image": picture(250)}, **fields)
        (item,) = predict(workspace.project(1), CONFIG, [asks])
        return item and choices(item)

    assert shown(1) is None
    assert shown(2) == ["red"]
    assert shown(2, annotations=[{"id": 5, "result": []}]) is None
    assert shown(1, predictions=[{"model_version": published}]) == ["red"]
