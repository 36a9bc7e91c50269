"""Another backbone is tried beside the rounds: what it made is there when it is set, and labels compare the two."""

import pytest

from clinical_backend.errors import ModelError
from clinical_backend.rounds.reconcile import reconcile
from clinical_backend.training.backbone_trial import try_backbone
from clinical_backend.workspace.workspace import Workspace
from tests.rounds.fake_label_studio import FakeLabelStudio
from tests.small_workspace import picture
from tests.tiny_network import TINY, save_tiny_weights

IMAGES, LABELS = 40, 30


@pytest.fixture
def fake_client():
    return FakeLabelStudio({number: picture(5 * number, 255 * (number % 2)) for number in range(1, IMAGES + 1)})


@pytest.fixture
def project(workspace, fake_client):
    """Return a project whose classes differ in green, after a round."""
    changes = {"adaptation": "off", "queue_size": 5, "backend_url": "http://backend"}
    workspace.settings = workspace.settings.model_copy(update=changes)
    for number in range(1, LABELS + 1):
        fake_client.annotate(number, "red" if number % 2 else "dark")
    reconcile(workspace.project(1), look=True)
    return workspace.project(1)


@pytest.fixture
def tiny(tmp_path):
    weights = tmp_path / "tiny.safetensors"
    save_tiny_weights(weights)
    return f"timm:{TINY}?weights={weights}"


def test_it_is_compared_and_its_features_are_there_once_it_is_set(project, tiny):
    told = []
    found = try_backbone(project, tiny, image_size=32, progress=lambda *done: told.append(done))
    assert found.startswith(f"{IMAGES} of {IMAGES} images have features of {TINY} at 32 px. On {LABELS} labels it is ")
    assert "against the present one, standard error" in found
    assert told == [(0, IMAGES), (IMAGES, IMAGES)]
    workspace = project.workspace
    settings = workspace.settings.model_copy(update={"backbone": tiny, "image_size": 32})
    changed = Workspace(settings, workspace.stores.database, client=workspace.client, source=workspace.source)
    digests = list(project.digests().values())
    assert len(changed.features.look_up(digests).digests) == IMAGES


def test_what_serves_meanwhile_stays_as_it_is(project, tiny):
    row = project.row
    try_backbone(project, tiny, image_size=32, progress=lambda *_: None)
    assert project.row.published_version == row.published_version
    assert project.published_model(row.published_version)[1].key == project.workspace.backbone.key


def test_too_few_labels_compare_nothing(workspace, fake_client, tiny):
    workspace.settings = workspace.settings.model_copy(update={"adaptation": "off", "backend_url": "http://backend"})
    for number in range(1, 5):
        fake_client.annotate(number, "red" if number % 2 else "dark")
    reconcile(workspace.project(1), look=True)
    found = try_backbone(workspace.project(1), tiny, image_size=32, progress=lambda *_: None)
    assert found.endswith("4 labels of 2 classes are too few to compare the two.")


def test_the_present_one_is_not_tried(project):
    with pytest.raises(ModelError, match="present backbone"):
        try_backbone(project, "efficientnet_lite", progress=lambda *_: None)


def test_a_project_that_read_no_image_is_refused(workspace, tiny):
    with pytest.raises(ModelError, match="No image of project 1 was read yet"):
        try_backbone(workspace.project(1), tiny, image_size=32, progress=lambda *_: None)
