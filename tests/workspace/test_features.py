"""Features of a network that is adapted to the project, joined with the frozen ones where that helps."""

import numpy as np
import pytest

from clinical_backend.errors import ModelError
from clinical_backend.labelstudio.contract import PredictTask
from clinical_backend.learner.backbones import devices
from clinical_backend.learner.checkpoint import CheckpointMetadata, save_checkpoint
from clinical_backend.learner.classifier.linear import LinearClassifier, fit
from clinical_backend.rounds.embed import embed_new
from clinical_backend.service.predict import predict
from clinical_backend.storage.report import RoundReport
from clinical_backend.training import adaptation as adapt_module
from clinical_backend.training.adaptation import adapt_project, adaptation_is_due, options_for
from clinical_backend.workspace import features as features_module
from tests.small_workspace import adapt_to_reds, picture
from tests.storage.started import start_round

CONFIG = (
    '<View><Image name="image" value="$image"/>'
    '<Choices name="diagnosis" toName="image"><Choice value="dark"/><Choice value="red"/></Choices></View>'
)


@pytest.fixture
def project(workspace):
    """Return a workspace with 12 embedded images of project 1, task 13 not readable."""
    uris = {task: picture(20 * task) for task in range(1, 13)} | {13: "data:image/png;base64,"}
    workspace.stores.images.synchronise(1, uris, complete=True)
    embed_new(workspace.project(1), lambda *_: None)
    return workspace


@pytest.fixture
def adapted(project):
    return adapt_to_reds(project)


def test_without_an_adapted_network_features_are_frozen(project):
    (frozen,) = project.project(1).representations()
    assert frozen.key == project.backbone.key
    assert len(project.project(1).features_of(frozen, range(1, 14))) == 12


def test_joined_features_come_from_thumbnails_and_are_made_once(project, adapted):
    frozen, joined = project.project(1).representations()
    found = project.project(1).features_of(joined, [3, 13, 7])
    assert found.tasks.tolist() == [3, 7]
    assert found.features.shape == (2, project.backbone.dimension + 2)
    assert np.allclose(found.features[:, :-2], project.project(1).features_of(frozen, [3, 7]).features, atol=1e-6)
    red = 100 * (found.features[:, -2] / found.features[:, -1]) ** 2
    assert red == pytest.approx([60, 140], abs=1)
    assert joined.key != frozen.key
    project.project(1).features_of(joined, range(1, 13))
    assert adapted.backbone.embedded == 12


@pytest.mark.usefixtures("adapted")
def test_features_of_very_many_tasks_are_the_same_to_half_precision(project, monkeypatch):
    for representation in project.project(1).representations():
        whole = project.project(1).features_of(representation, [11, 3, 13, 7, 1])
        monkeypatch.setattr(features_module, "HELD_WHOLE", 3)
        held = project.project(1).features_of(representation, [11, 3, 13, 7, 1])
        monkeypatch.undo()
        assert held.tasks.tolist() == whole.tasks.tolist() == [11, 3, 7, 1]
        assert held.features.dtype == np.float16
        assert np.array_equal(held.features, whole.features.astype(np.float16))


def test_predictions_on_demand_see_what_the_round_saw(project, adapted, monkeypatch):
    _, joined = project.project(1).representations()
    seen = project.project(1).features_of(joined, [2, 5, 11]).features
    row = start_round(project.stores, 1)
    classifier = fit(project.project(1).features_of(joined, [1, 4, 9, 12]).features, [0, 0, 1, 1], ("dark", "red"))
    folder = project.project(1).checkpoint_folder(row.version)
    save_checkpoint(folder, classifier, CheckpointMetadata(joined.key, 1))
    project.stores.rounds.publish(row, RoundReport(), 5)
    tasks = [PredictTask(id=task, data={"image": picture(20 * task)}) for task in (2, 5, 11)]
    taken = []
    probabilities = LinearClassifier.probabilities
    monkeypatch.setattr(
        LinearClassifier, "probabilities", lambda self, rows: taken.append(rows) or probabilities(self, rows)
    )
    items = predict(project.project(1), CONFIG, tasks)
    assert np.concatenate(taken) == pytest.approx(seen, abs=1e-4)
    expected = classifier.probabilities(seen).argmax(axis=1)
    assert [item.result[0]["value"]["choices"] for item in items] == [[classifier.classes[code]] for code in expected]


def test_an_image_without_a_thumbnail_has_no_adapted_feature(project, adapted):
    assert len(adapted.look_up(["unknown"]).places) == 0


def test_a_damaged_network_leaves_the_frozen_features(project, monkeypatch):
    def damaged():
        raise ModelError("It was cut off.", "Adapt again.")

    monkeypatch.setattr(project.project(1), "adapted", damaged)
    assert len(project.project(1).representations()) == 1


def test_adaptation_is_due_once_there_are_images_enough(project, monkeypatch):
    assert not adaptation_is_due(project.project(1))
    monkeypatch.setattr(adapt_module, "LEAST_IMAGES", 12)
    assert adaptation_is_due(project.project(1))
    project.settings = project.settings.model_copy(update={"adaptation": "off"})
    assert not adaptation_is_due(project.project(1))


def test_the_time_to_adapt_follows_the_number_of_images_within_limits():
    def seconds(images):
        return options_for(images, 900.0, device="cpu", seed=0).seconds

    assert [seconds(count) for count in (200, 1200, 3000, 6000, 50_000)] == [180.0, 180.0, 450.0, 900.0, 900.0]


def test_a_cuda_device_learns_a_larger_network_for_longer(monkeypatch):
    monkeypatch.setattr(devices.torch.cuda, "is_available", lambda: True)
    small, large = (options_for(6000, 900.0, device=device, seed=0) for device in ("cpu", "auto"))
    assert large.width > small.width
    assert large.epochs > small.epochs
    assert large.seconds == small.seconds


def test_a_project_is_adapted_noted_and_looked_at_again(project, monkeypatch):
    monkeypatch.setattr("clinical_backend.learner.adaptation.training.MINIMUM_IMAGES", 10)
    project.settings = project.settings.model_copy(update={"adaptation_seconds": 0.5, "device": "cpu"})
    project.stores.rounds.start(1)
    message = adapt_project(project.project(1))
    row = project.stores.projects.get(1)
    assert "adapted to 12 images" in message
    assert row.adaptation == message
    assert row.request == "a network was adapted to the images"
    monkeypatch.setattr(adapt_module, "LEAST_IMAGES", 12)
    assert not adaptation_is_due(project.project(1))
    _, joined = project.project(1).representations()
    assert len(project.project(1).features_of(joined, range(1, 14))) == 12
    assert np.isfinite(project.project(1).features_of(joined, [1]).features).all()
