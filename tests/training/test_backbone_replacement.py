"""A changed backbone serves a project once it is ready, unless labels say that it is worse; until then the old does."""

import logging
from itertools import count

import numpy as np
import pytest

from clinical_backend.errors import ModelError
from clinical_backend.images.decoders.decoding import decode
from clinical_backend.jobs.training_jobs import TrainingJobs
from clinical_backend.labelstudio.contract import PredictTask
from clinical_backend.rounds.reconcile import reconcile
from clinical_backend.rounds.rollback import roll_back, what_follows
from clinical_backend.service.predict import predict
from clinical_backend.service.status import read_status
from clinical_backend.training import backbone_replacement
from clinical_backend.training.backbone_replacement import replace_backbone, replacement_is_due
from clinical_backend.workspace.backbone_record import BackboneChoice, load_serving, load_trial, save_serving
from clinical_backend.workspace.notices import backbone_notice
from clinical_backend.workspace.workspace import Workspace
from tests.rounds.fake_label_studio import CONFIG, FakeLabelStudio
from tests.small_workspace import MeanColours, picture

EARLIER, LATER = BackboneChoice("efficientnet_lite", None), BackboneChoice("efficientnet_lite0", 64)
RED = frozenset(range(1, 13))


class Seeing(MeanColours):
    """Sees colours; what identifies it is what the settings of a workspace name."""

    def __init__(self, workspace):
        super().__init__(workspace.settings.model_dir)
        self.key = workspace.spec.key


class Blind(Seeing):
    """Sees nothing: its features are by chance."""

    def _forward(self, batch):
        self.embedded += len(batch)
        return np.random.default_rng(self.embedded).random((len(batch), 4)).astype(np.float32)


class Missing:
    """Stands where a network cannot be loaded."""

    def __get__(self, *_):
        raise ModelError("The weights are gone.", "Bring them back.")


@pytest.fixture
def fake_client(request):
    """Return a Label Studio with 12 red images and 48 dark ones; by parameter with a dark one beside, or findings."""
    made = FakeLabelStudio({n: picture(200 + n if n in RED else n, blue=n) for n in range(1, 61)})
    if getattr(request, "param", None) == "studies":
        made.config = CONFIG.replace('value="$image"', 'valueList="$image"')
        made.data = {n: {"image": [uri, picture(n // 2, 50, 99 - n)]} for n, uri in made.uris.items()}
    elif getattr(request, "param", None) == "findings":
        made.config = CONFIG.replace('choice="single"', 'choice="multiple"')
    return made


@pytest.fixture
def earlier(workspace, fake_client):
    """Return a workspace whose project has a queue, made by a backbone that sees colours, and 34 labels."""
    workspace.settings = workspace.settings.model_copy(
        update={"adaptation": "off", "queue_size": 8, "rare_classes": ("red",), "backend_url": "http://backend"}
    )
    workspace.backbone = Seeing(workspace)
    for task in [*range(1, 11), *range(21, 45)]:
        fake_client.annotate(task, "red" if task in RED else "dark")
    reconcile(workspace.project(1), look=True)
    return workspace


@pytest.fixture
def changed(earlier):
    """Return a function that returns a workspace as after a restart with another backbone, of this kind."""

    def change(kind, *, before=Seeing):
        settings = earlier.settings.model_copy(update=LATER._asdict())
        parts = {name: getattr(earlier, name) for name in ("client", "source", "watching_source")}
        made = Workspace(settings, earlier.stores.database, decode=decode, **parts)
        made.backbone = kind(made)
        variant = made.with_backbone(EARLIER)
        variant.decode = decode
        variant.backbone = before(variant)
        return made

    return change


def look(workspace):
    reconcile(workspace.project(1), look=True)
    assert workspace.stores.projects.get(1).problem is None
    return workspace.stores.rounds.latest(1)


def published(workspace):
    project = workspace.project(1)
    return project.published_model(project.row.published_version)


def test_the_earlier_one_goes_on_with_new_images_too(changed, fake_client):
    workspace = changed(Seeing)
    assert look(workspace).number == 1
    fake_client.uris[61] = picture(222, blue=61)
    assert look(workspace).number == 2
    project = workspace.project(1)
    assert project.workspace.choice == EARLIER
    assert published(workspace)[1].key == project.workspace.spec.key
    assert project.features_of(project.representations()[0], [61]).tasks.tolist() == [61]
    assert workspace.backbone.embedded == 0
    assert replacement_is_due(project)
    assert "efficientnet_lite goes on until" in read_status(project).backbone


def test_one_that_is_not_worse_serves_once_its_features_are_made(changed, caplog):
    workspace = changed(Seeing)
    look(workspace)
    with caplog.at_level(logging.INFO):
        found = replace_backbone(workspace.project(1))
    assert found.startswith(
        "efficientnet_lite0 at 64 px serves: not worse beyond chance (average precision of red 1.00"
    )
    assert found in caplog.text
    assert workspace.backbone.embedded == 60
    assert not replacement_is_due(workspace.project(1))
    assert load_serving(workspace.project(1).serving_folder).choice == LATER
    assert workspace.stores.projects.get(1).request == "the backbone was changed"
    workspace.stores.projects.request_round(1, "test", delay=0)
    assert look(workspace).number == 2
    assert published(workspace)[1].key == workspace.spec.key
    assert workspace.backbone.embedded == 60
    assert workspace.project(1).workspace is workspace
    assert read_status(workspace.project(1)).to_json()["backbone"] == found


def test_a_model_of_the_backbone_before_the_last_predicts_again_once_it_is_gone_back_to(changed, fake_client):
    workspace = changed(Seeing)
    look(workspace)
    replace_backbone(workspace.project(1))
    look(workspace)
    folder = workspace.project(1).serving_folder
    save_serving(folder, load_serving(folder).model_copy(update={"replaced": BackboneChoice("another", None)}))
    row = roll_back(workspace.project(1), 1)
    (due,) = what_follows(workspace.project(1), row)
    assert due.startswith("A round is due (the backbone was changed), and takes the place of round 3")
    assert published(workspace)[1].key == workspace.with_backbone(EARLIER).spec.key
    asked = [PredictTask(id=61, data={"image": picture(222)}), PredictTask(id=62, data={"image": picture(20, blue=20)})]
    said = predict(workspace.project(1), fake_client.config, asked)
    assert [one.result[0]["value"]["choices"] for one in said] == [["red"], ["dark"]]


def test_a_round_that_a_change_made_due_works_with_the_new_one(changed, fake_client):
    workspace = changed(Seeing)
    look(workspace)
    workspace.stores.projects.request_round(1, "test", delay=0)
    fake_client.meanwhile["webhooks"] = lambda: replace_backbone(workspace.project(1))
    assert look(workspace).number == 2
    assert published(workspace)[1].key == workspace.spec.key


def test_predictions_go_on_until_the_round_after(changed):
    workspace = changed(Seeing)
    look(workspace)
    replace_backbone(workspace.project(1))
    tasks = [PredictTask(id=number, data={"image": picture(206, blue=number % 90)}) for number in (98, 99)]
    for prediction in predict(workspace.project(1), CONFIG, tasks):
        assert prediction.result[0]["value"]["choices"] == ["red"]


def test_one_that_is_worse_does_not_serve_and_that_is_said(changed, caplog):
    workspace = changed(Blind)
    look(workspace)
    with caplog.at_level(logging.WARNING):
        found = replace_backbone(workspace.project(1))
    assert found.startswith(
        "efficientnet_lite0 at 64 px is not used, and efficientnet_lite goes on: worse beyond chance"
    )
    assert found in caplog.text
    project = workspace.project(1)
    assert project.workspace.choice == EARLIER
    assert look(workspace).number == 1
    assert published(workspace) is not None
    assert not replacement_is_due(project)
    assert read_status(project).backbone == found
    assert backbone_notice(project).message == found


@pytest.mark.parametrize("fake_client", ["studies", "findings"], indirect=True)
@pytest.mark.parametrize(("kind", "state"), [(Seeing, "serving"), (Blind, "declined")])
def test_tasks_of_several_images_and_several_findings_are_compared_too(changed, kind, state):
    workspace = changed(kind)
    look(workspace)
    found = replace_backbone(workspace.project(1))
    assert "by 34 labels, 10 of them rare" in found
    assert load_trial(workspace.project(1).serving_folder).state == state
    assert workspace.project(1).workspace.choice == (LATER if state == "serving" else EARLIER)


def test_what_is_worse_serves_where_somebody_says_so(changed):
    workspace = changed(Blind)
    look(workspace)
    replace_backbone(workspace.project(1))
    found = replace_backbone(workspace.project(1), force=True)
    assert found == "efficientnet_lite0 at 64 px serves: as it was told to, without asking the labels."
    assert workspace.backbone.embedded == 60
    assert workspace.project(1).workspace is workspace
    assert backbone_notice(workspace.project(1)) is None


def test_one_that_is_to_serve_at_once_need_not_wait_for_its_features(changed, monkeypatch):
    workspace = changed(Seeing)
    look(workspace)
    embed = backbone_replacement.embed_images

    def meanwhile(features, images, progress):
        replace_backbone(workspace.project(1), force=True)
        return embed(features, images, progress)

    monkeypatch.setattr(backbone_replacement, "embed_images", meanwhile)
    assert replace_backbone(workspace.project(1)) == "The project's backbone was changed by another process meanwhile."
    assert load_trial(workspace.project(1).serving_folder).state == "serving"
    assert workspace.project(1).workspace is workspace


def test_one_that_cannot_be_loaded_keeps_no_round_away(changed):
    workspace = changed(Seeing)
    look(workspace)
    workspace.settings = workspace.settings.model_copy(update={"backbone": "no:such"})
    del workspace.spec, workspace.backbone
    workspace.stores.projects.request_round(1, "test", delay=0)
    assert look(workspace).number == 2
    with pytest.raises(ModelError, match="'no:such' is not known"):
        replace_backbone(workspace.project(1))
    assert look(workspace).number == 2
    assert (
        "The last change of the backbone failed. The backbone 'no:such' is not known"
        in backbone_notice(workspace.project(1)).message
    )


def test_setting_the_earlier_one_again_ends_it(changed, earlier):
    workspace = changed(Blind)
    look(workspace)
    replace_backbone(workspace.project(1))
    assert earlier.project(1).workspace is earlier
    assert not replacement_is_due(earlier.project(1))
    assert read_status(earlier.project(1)).backbone is None
    assert backbone_notice(earlier.project(1)) is None


def test_what_was_cut_off_is_gone_on_with(changed, monkeypatch):
    workspace = changed(Seeing)
    look(workspace)
    embed = backbone_replacement.embed_images

    def cut_off(features, images, progress):
        embed(features, images[:20], progress)
        raise ModelError("It was cut off.", "Go on.")

    monkeypatch.setattr(backbone_replacement, "embed_images", cut_off)
    with pytest.raises(ModelError):
        replace_backbone(workspace.project(1))
    assert workspace.project(1).workspace.choice == EARLIER
    assert workspace.backbone.embedded == 20
    monkeypatch.setattr(backbone_replacement, "embed_images", embed)
    replace_backbone(workspace.project(1))
    assert workspace.backbone.embedded == 60


def test_images_that_come_meanwhile_are_embedded_too(changed, monkeypatch, fake_client):
    workspace = changed(Seeing)
    look(workspace)
    embed, calls = backbone_replacement.embed_images, count()

    def meanwhile(features, images, progress):
        if next(calls) == 0:
            fake_client.uris[61] = picture(222, blue=61)
            look(workspace)
        return embed(features, images, progress)

    monkeypatch.setattr(backbone_replacement, "embed_images", meanwhile)
    replace_backbone(workspace.project(1))
    assert workspace.backbone.embedded == 61


def test_it_waits_where_too_many_images_cannot_be_read(changed, monkeypatch):
    workspace = changed(Seeing)
    look(workspace)
    embed = backbone_replacement.embed_images
    monkeypatch.setattr(
        backbone_replacement, "embed_images", lambda features, images, told: embed(features, images[7:], told)
    )
    with pytest.raises(ModelError, match="7 of 60 images cannot be read for efficientnet_lite0 at 64 px"):
        replace_backbone(workspace.project(1))
    project = workspace.project(1)
    assert project.workspace.choice == EARLIER
    assert replacement_is_due(project)
    assert load_trial(project.serving_folder).state == "failed"
    assert "The last change of the backbone failed. 7 of 60 images" in backbone_notice(project).message


def test_a_project_without_a_queue_takes_it_at_once(changed, earlier):
    earlier.stores.projects.forget(1)
    earlier.stores.projects.register(1)
    workspace = changed(Seeing)
    assert look(workspace).number == 1
    assert workspace.project(1).workspace is workspace
    assert workspace.backbone.embedded == 60


def test_a_project_without_labels_of_both_kinds_takes_it_at_once(changed, fake_client):
    for task in RED & fake_client.answers.keys():
        del fake_client.answers[task]
    workspace = changed(Seeing)
    workspace.stores.labels.replace(1, [])
    look(workspace)
    assert workspace.project(1).workspace is workspace
    assert workspace.stores.rounds.latest(1).request == "the backbone was changed"


def test_one_whose_earlier_weights_are_gone_takes_it_at_once(changed, monkeypatch, caplog):
    workspace = changed(Blind)
    variant = workspace.with_backbone(EARLIER)
    del variant.backbone
    monkeypatch.setattr(type(variant), "backbone", Missing(), raising=False)
    with caplog.at_level(logging.INFO):
        reconcile(workspace.project(1), look=True)
    assert load_serving(workspace.project(1).serving_folder).choice == LATER
    said = "efficientnet_lite, which served before, cannot be loaded any more (The weights are gone)"
    assert said in caplog.text
    assert said in read_status(workspace.project(1)).backbone


def test_one_whose_earlier_weights_were_replaced_takes_it_at_once(changed):
    workspace = changed(Seeing)
    workspace.with_backbone(EARLIER).spec = workspace.with_backbone(EARLIER).spec.at(96)
    look(workspace)
    assert workspace.project(1).workspace is workspace
    assert "has other weights or sizes by now" in read_status(workspace.project(1)).backbone


def test_the_default_of_an_earlier_release_goes_on(changed):
    workspace = changed(Seeing)
    (workspace.project(1).serving_folder / "serving.json").unlink()
    assert look(workspace).number == 1
    assert workspace.project(1).workspace.choice == EARLIER
    assert replacement_is_due(workspace.project(1))


def test_what_no_release_noted_and_nobody_knows_gives_way_at_once(changed, earlier):
    workspace = changed(Seeing)
    (workspace.project(1).serving_folder / "serving.json").unlink()
    workspace.with_backbone(EARLIER).spec = workspace.with_backbone(EARLIER).spec.at(96)
    assert look(workspace).request == "the backbone was changed"
    assert load_serving(workspace.project(1).serving_folder).choice == LATER


def test_the_same_network_by_another_name_serves_without_work(changed):
    workspace = changed(Seeing)
    look(workspace)
    workspace.spec = workspace.with_backbone(EARLIER).spec
    assert "it is the same network by another name" in replace_backbone(workspace.project(1))
    assert workspace.backbone.embedded == 0


def test_the_server_starts_it(changed, monkeypatch):
    workspace = changed(Seeing)
    look(workspace)
    started = []
    monkeypatch.setattr(
        TrainingJobs, "_train", lambda self, kind, project_id: started.append((kind.command, project_id))
    )
    TrainingJobs(workspace).attend()
    assert started == [("replace-backbone", 1)]
