"""Rounds of projects whose tasks have several images."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from clinical_backend.handover.model_card import CardOptions, make_card
from clinical_backend.labelstudio.contract import PredictTask
from clinical_backend.origins import Draw
from clinical_backend.rounds import promotion, study_inputs
from clinical_backend.rounds.embed import embed_new
from clinical_backend.rounds.promotion import compare
from clinical_backend.rounds.reconcile import reconcile
from clinical_backend.rounds.rollback import roll_back
from clinical_backend.service.predict import predict
from clinical_backend.service.status import read_status
from clinical_backend.storage.feature_files import FeatureStore
from clinical_backend.storage.schema import StudyImageRow
from clinical_backend.strategy.reasons import reason_of
from clinical_backend.training import adaptation
from clinical_backend.workspace import study_features
from tests.rounds.coloured_cells import dark_colours
from tests.rounds.fake_label_studio import CONFIG, FakeLabelStudio
from tests.small_workspace import adapt_to_reds, picture

LISTS = CONFIG.replace('value="$image"', 'valueList="$image"')
UNREADABLE = "data:image/png;base64,AAAA"


@pytest.fixture
def studio():
    """Return sixty tasks of three dark images each, each of its own green and blue; one of five tasks is red."""
    studio = FakeLabelStudio(dict.fromkeys(range(1, 61), ""))
    studio.config = LISTS
    dark = dark_colours()
    for task in studio.uris:
        images = [picture(*next(dark)) for _ in range(3)]
        if task <= 5:
            images[task % 3] = picture(250, task, task)
        studio.data[task] = {"image": images}
    return studio


@pytest.fixture
def fake_client(studio):
    return studio


def run(workspace):
    reconcile(workspace.project(1), look=True)


def again(workspace):
    workspace.stores.projects.change(1, listed_at=0.0)
    workspace.stores.projects.request_round(1, "a test", delay=0)
    run(workspace)


def test_a_project_of_studies_is_read_learnt_from_and_queued(workspace, studio):
    studio.annotate(1, "red", exemplar=True)
    studio.annotate(2, "red", exemplar=True)
    studio.annotate(60, "dark")
    run(workspace)
    published = workspace.stores.rounds.published(1)
    assert published.report.features.startswith("the image that decides in each task")
    queue = workspace.stores.rounds.queue(published.id)
    assert sorted(entry.task_id for entry in queue) == list(range(3, 60))
    assert len({entry.task_id for entry in queue[:6]} & {3, 4, 5}) >= 2
    assert workspace.backbone.embedded == 180
    decided = {entry.task_id: (entry.image, entry.images, entry.view) for entry in queue if entry.task_id <= 5}
    assert decided == {task: (task % 3, 3, None) for task in (3, 4, 5)}
    sought = next(entry for entry in queue if entry.draw is Draw.TARGET and entry.task_id == 3)
    assert reason_of(sought).endswith("Image 1 of 3 decides.")


def test_one_image_decides_however_many_rare_tasks_are_known(workspace, studio):
    for task in (1, 2, 3):
        studio.annotate(task, "red", exemplar=True)
    for task in (58, 59, 60):
        studio.annotate(task, "dark")
    run(workspace)
    published = workspace.stores.rounds.published(1)
    assert published.report.features == "the image that decides in each task, beside the mean of all"
    queue = workspace.stores.rounds.queue(published.id)
    assert {entry.task_id: entry.image for entry in queue if entry.task_id <= 5} == {4: 1, 5: 2}


def test_each_of_two_classes_that_are_looked_for_has_the_image_that_decides_for_it(workspace, studio):
    studio.config = LISTS.replace('<Choice value="red"/>', '<Choice value="red"/><Choice value="white"/>')
    for task in range(6, 11):
        studio.data[task]["image"][task % 3] = picture(250, 240 + task, 240 + task)
    for task, name in ((1, "red"), (2, "red"), (6, "white"), (7, "white"), (59, "dark"), (60, "dark")):
        studio.annotate(task, name, exemplar=name != "dark")
    run(workspace)
    published = workspace.stores.rounds.published(1)
    sought = {
        entry.task_id: (entry.targets[0], entry.image)
        for entry in workspace.stores.rounds.queue(published.id)[:6]
        if entry.draw is Draw.TARGET and entry.task_id <= 10
    }
    assert {name for name, _ in sought.values()} == {"red", "white"}
    assert all(found == ("red" if task <= 5 else "white", task % 3) for task, found in sought.items())
    asked = [PredictTask(id=task, data=studio.data[task]) for task in (3, 8, 20)]
    found = predict(workspace.project(1), studio.config, asked)
    assert [one.result[0]["value"]["choices"] for one in found] == [["red"], ["white"], ["dark"]]


def test_where_the_published_model_goes_on_each_class_keeps_the_image_that_decides_for_it(
    workspace, studio, monkeypatch
):
    studio.config = LISTS.replace('<Choice value="red"/>', '<Choice value="red"/><Choice value="white"/>')
    for task in range(6, 11):
        studio.data[task]["image"][task % 3] = picture(250, 240 + task, 240 + task)
    for task, name in [(1, "red"), (2, "red"), (6, "white"), (7, "white"), *((task, "dark") for task in range(45, 61))]:
        studio.annotate(task, name, exemplar=name != "dark")
    run(workspace)
    adapt_to_reds(workspace)
    worse = lambda *given, seed: replace(compare(*given, seed=seed), worse=True)  # noqa: E731 (by luck else)
    monkeypatch.setattr(promotion, "compare", worse)
    monkeypatch.setattr(promotion, "LEAST_CASES", 2)
    again(workspace)
    published = workspace.stores.rounds.published(1)
    assert not published.report.promotion.promoted
    rows = workspace.stores.rounds.queue(published.id)[:6]
    sought = {row.task_id: row for row in rows if row.draw is Draw.TARGET and row.task_id <= 10}
    assert {row.targets[0] for row in sought.values()} == {"red", "white"}
    assert all(row.targets[0] == ("red" if task <= 5 else "white") for task, row in sought.items())
    assert all(row.image == task % 3 for task, row in sought.items())


def test_the_features_of_all_images_of_a_round_are_checked_at_once(workspace, studio, monkeypatch):
    studio.annotate(1, "red", exemplar=True)
    run(workspace)
    monkeypatch.setattr(study_features, "_IMAGES", 6)
    asked = []
    positions = FeatureStore.positions
    monkeypatch.setattr(FeatureStore, "positions", lambda self, all_: positions(self, asked.append(1) or list(all_)))
    wanted = study_features.images_of(workspace.stores, 1, studio.uris)
    assert sum(len(part) for part in study_features.read_instances(workspace.project(1).frozen, wanted)) == 60
    assert len(asked) == 1


def test_before_anything_is_looked_for_all_images_of_a_task_stand_for_it(workspace, studio):
    run(workspace)
    published = workspace.stores.rounds.published(1)
    assert published.report.features == "mean and largest values of the features of each task's images"
    assert {entry.image for entry in workspace.stores.rounds.queue(published.id)} == {None}


def test_views_are_named_where_one_decides(workspace, studio):
    images = "".join(f'<Image name="{name}" value="${name}"/>' for name in ("left", "image", "right"))
    studio.config = CONFIG.replace('<Image name="image" value="$image"/>', images)
    studio.data = {
        task: dict(zip(("left", "image", "right"), data["image"], strict=True)) for task, data in studio.data.items()
    }
    studio.annotate(1, "red", exemplar=True)
    studio.annotate(2, "red", exemplar=True)
    studio.annotate(60, "dark")
    run(workspace)
    queue = workspace.stores.rounds.queue(workspace.stores.rounds.published(1).id)
    views = {entry.task_id: entry.view for entry in queue if entry.task_id <= 5}
    assert views == {3: "left", 4: "image", 5: "right"}


def test_a_rollback_predicts_by_the_same_images(workspace, studio):
    for task, name in ((1, "red"), (2, "red"), (58, "dark"), (59, "dark"), (60, "dark")):
        studio.annotate(task, name, exemplar=name == "red")
    run(workspace)
    before = workspace.project(1).representations()[1].key
    studio.annotate(57, "dark")
    workspace.stores.projects.request_round(1, "a test", delay=0)
    run(workspace)
    roll_back(workspace.project(1), 1)
    assert workspace.project(1).representations()[1].key == before
    asked = [PredictTask(id=task, data=studio.data[task]) for task in (4, 10)]
    found, _ = predict(workspace.project(1), LISTS, asked)
    assert found.result[0]["value"]["choices"] == ["red"]


def test_an_image_of_two_studies_is_embedded_once(workspace, studio):
    studio.data[2] = studio.data[1]
    run(workspace)
    assert workspace.backbone.embedded == 177
    studio.data[3] = {"image": [studio.data[1]["image"][0], picture(199)]}
    again(workspace)
    known = workspace.stores.images.all(1)
    assert known[1].digest == known[2].digest != known[3].digest
    studies = workspace.stores.studies.all(1)
    assert studies[3][0].digest == studies[1][0].digest
    assert workspace.backbone.embedded == 178


def test_a_study_with_some_unreadable_images_is_used_with_the_others_and_says_so(workspace, studio):
    studio.data[7]["image"] = [UNREADABLE, picture(5), {"url": "x"}]
    studio.data[8]["image"] = [UNREADABLE, UNREADABLE.replace("AAAA", "BBBB")]
    run(workspace)
    known = workspace.stores.images.all(1)
    assert known[7].digest is not None
    assert known[8].digest is None
    assert known[8].problem.startswith("None of its")
    report = workspace.stores.rounds.published(1).report
    assert report.counts.unreadable == 1
    assert any(
        note.startswith("2 images cannot be read in 1 task that shows others, which is used without them.")
        for note in report.notes
    )
    assert any(note.startswith("1 image cannot be read. None of its") for note in report.notes)


def test_an_image_of_a_study_that_becomes_readable_joins_the_others(workspace, studio):
    studio.data[7]["image"] = [UNREADABLE, picture(5)]
    run(workspace)
    before = workspace.stores.images.all(1)[7].digest
    with workspace.stores.database.write() as session:
        row = session.get(StudyImageRow, (1, 7, 0))
        row.uri, row.tried_at = picture(6), 0.0
    embed_new(workspace.project(1), lambda done, total: None)
    assert workspace.stores.images.all(1)[7].digest != before
    assert workspace.stores.studies.partly_read(1) == (0, 0)


def test_of_many_images_evenly_spaced_ones_are_read_and_that_is_said(workspace, studio):
    workspace.settings = workspace.settings.model_copy(update={"images_per_task": 4})
    studio.data[7]["image"] = [picture(place % 250, place // 250) for place in range(1000)]
    run(workspace)
    assert [image.position for image in workspace.stores.studies.all(1)[7]] == [0, 333, 666, 999]
    notes = workspace.stores.rounds.published(1).report.notes
    assert any(note.startswith("1 task shows more than 4 images (IMAGES_PER_TASK)") for note in notes)


def test_a_study_that_shows_other_images_is_read_anew_and_keeps_what_it_knew(workspace, studio):
    run(workspace)
    embedded = workspace.backbone.embedded
    studio.data[7]["image"] = [*studio.data[7]["image"], picture(222, 9)]
    before = workspace.stores.images.all(1)[7].digest
    again(workspace)
    assert len(workspace.stores.studies.all(1)[7]) == 4
    assert workspace.stores.images.all(1)[7].digest != before
    assert workspace.backbone.embedded == embedded + 1


def test_lost_rows_of_studies_are_read_back(workspace, studio):
    run(workspace)
    with workspace.stores.database.write() as session:
        session.delete(session.get(StudyImageRow, (1, 7, 1)))
    again(workspace)
    assert len(workspace.stores.studies.all(1)[7]) == 3
    assert workspace.stores.images.all(1)[7].digest is not None


def test_a_task_that_is_no_study_any_more_and_one_that_is_gone_leave_no_rows(workspace, studio):
    run(workspace)
    studio.data[7] = {"image": picture(7)}
    del studio.uris[8]
    again(workspace)
    assert set(workspace.stores.studies.all(1)) == set(range(1, 61)) - {7, 8}
    assert workspace.project(1).representations()[0].features_of(workspace.stores, 1, [7]).tasks.tolist() == [7]


def test_features_of_a_study_are_the_mean_and_the_largest_values_each_normalised(workspace, studio):
    run(workspace)
    pooled = workspace.project(1).representations()[0]
    row = pooled.features_of(workspace.stores, 1, [7]).features[0]
    digests = [image.digest for image in workspace.stores.studies.all(1)[7]]
    images = workspace.features.look_up(digests).rows
    for part, expected in zip(np.split(row, 2), (images.mean(axis=0), images.max(axis=0)), strict=True):
        assert np.allclose(part, expected / np.linalg.norm(expected), atol=1e-6)


def test_a_study_is_predicted_from_its_images_known_or_not(workspace, studio):
    for task in (1, 2, 3):
        studio.annotate(task, "red")
    for task in (58, 59, 60):
        studio.annotate(task, "dark")
    run(workspace)
    asked = [
        PredictTask(id=4, data=studio.data[4]),
        PredictTask(id=10, data=studio.data[10]),
        PredictTask(id=900, data={"image": [picture(12), picture(251, 1, 1), UNREADABLE]}),
        PredictTask(id=901, data={"image": [UNREADABLE, UNREADABLE]}),
    ]
    found = predict(workspace.project(1), LISTS, asked)
    assert [one.result[0]["value"]["choices"][0] if one.result else None for one in found] == [
        "red",
        "dark",
        "red",
        None,
    ]


def test_one_study_leaves_single_images_the_network_that_is_adapted_to_them(workspace, studio):
    studio.data = {task: {"image": data["image"][:1]} for task, data in studio.data.items() if task != 3} | {
        3: studio.data[3]
    }
    for task in (1, 2, 4, 5):
        studio.data[task] = {"image": [picture(250, task, task)]}
    made = adapt_to_reds(workspace)
    for task in (1, 2, 60):
        studio.annotate(task, "red" if task < 60 else "dark", exemplar=task < 60)
    run(workspace)
    assert workspace.stores.studies.any(1)
    assert made.backbone.embedded == 62
    published = workspace.stores.rounds.published(1)
    assert "frozen and adapted" in published.report.features
    assert {entry.task_id for entry in workspace.stores.rounds.queue(published.id)[:6]} >= {3, 4, 5}
    *together, witnessed = workspace.project(1).representations()
    assert [one.images.adapted for one in together] == [None, made]
    assert witnessed.images.adapted is made
    asked = [PredictTask(id=task, data=studio.data[task]) for task in (3, 10)]
    found = predict(workspace.project(1), LISTS, asked)
    assert [one.result[0]["value"]["choices"][0] for one in found] == ["red", "dark"]


def test_a_card_names_the_network_that_is_adapted_to_the_images_of_studies(workspace, studio):
    made = adapt_to_reds(workspace)
    made.backbone.network = SimpleNamespace(model_sha256="b" * 64, images=180)
    for task in [*range(1, 5), *range(20, 60)]:
        studio.annotate(task, "red" if task <= 5 else "dark", exemplar=task == 1)
    run(workspace)
    assert "frozen and adapted" in workspace.stores.rounds.published(1).report.features
    text = make_card(workspace.project(1), CardOptions()).markdown()
    assert "a small network that learnt 180 images of the project" in text
    assert "b" * 64 in text


def test_where_held_out_labels_speak_for_frozen_features_the_image_is_found_by_these(workspace, studio, monkeypatch):
    adapt_to_reds(workspace)
    told = lambda frozen, joined, seed: (frozen, "frozen: as told")  # noqa: E731 (labels that say so would be by luck)
    monkeypatch.setattr(study_inputs, "choose_representation", told)
    for task in (1, 2, 60):
        studio.annotate(task, "red" if task < 60 else "dark", exemplar=task < 60)
    run(workspace)
    published = workspace.stores.rounds.published(1)
    assert published.report.features == "the image that decides in each task, beside the mean of all; frozen: as told"
    assert workspace.project(1).representations()[-1].images == workspace.project(1).frozen
    decided = {entry.task_id: entry.image for entry in workspace.stores.rounds.queue(published.id)}
    assert {task: decided[task] for task in (3, 4, 5)} == {3: 0, 4: 1, 5: 2}


def test_a_network_is_adapted_to_all_images_of_studies_but_those_of_the_test_set(workspace, studio, monkeypatch):
    run(workspace)
    project = workspace.project(1)
    assert not adaptation.adaptation_is_due(project)
    monkeypatch.setattr(adaptation, "LEAST_IMAGES", 180)
    assert adaptation.adaptation_is_due(project)
    monkeypatch.setattr(type(workspace.stores.test_sets), "ids", lambda self, project_id: {7})
    assert not adaptation.adaptation_is_due(project)
    monkeypatch.setattr(adaptation, "LEAST_IMAGES", 177)
    assert adaptation.adaptation_is_due(project)


def test_a_project_of_single_images_keeps_its_representation(workspace, studio):
    studio.config = CONFIG
    studio.data = {task: {"image": picture(4 * task)} for task in range(1, 61)}
    run(workspace)
    assert not workspace.stores.studies.any(1)
    assert workspace.stores.rounds.published(1).report.features == "frozen"
    assert list(read_status(workspace.project(1)).report.notes) == []
