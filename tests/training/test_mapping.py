"""The map of a project whose features are mean colours: drawn for those who look, and the same from round to round."""

import os
import time
from datetime import timedelta

import numpy as np
import pytest
from filelock import FileLock

from clinical_backend.errors import StorageError
from clinical_backend.jobs.training_jobs import _KINDS
from clinical_backend.learner.neighbourhood import nearest
from clinical_backend.rounds.reconcile import reconcile
from clinical_backend.storage.stores.testsets import ReservedDraw, ReservedWish
from clinical_backend.training import mapping
from clinical_backend.training.mapping import draw_map, map_is_due, note_map
from clinical_backend.workspace.map_files import (
    MapNote,
    ask_for_map,
    drawn_version,
    load_map,
    note_of,
    save_map,
)
from tests.rounds.fake_label_studio import FakeLabelStudio
from tests.small_workspace import AnotherNetwork, picture, reopened

RED = (4, 17, 30)


def colour(task):
    return picture(250 - task, 100, 60) if task in RED else picture(5, 20 + 3 * task, 60 + task)


@pytest.fixture
def studio():
    return FakeLabelStudio({task: colour(task) for task in range(1, 41)})


@pytest.fixture
def fake_client(studio):
    return studio


@pytest.fixture
def project(workspace):
    project = workspace.project(1)
    run(project)
    return project


def run(project):
    project.stores.projects.change(1, listed_at=0.0)
    project.stores.projects.request_round(1, "a test", delay=0)
    reconcile(project, look=True)


def drawn(project):
    draw_map(project)
    return load_map(project.map_folder)


def test_a_map_is_drawn_for_those_who_look_and_follows_the_rounds_for_a_day(project):
    assert not map_is_due(project)
    ask_for_map(project.map_folder)
    assert map_is_due(project)
    draw_map(project)
    assert not map_is_due(project)
    run(project)
    assert map_is_due(project)
    yesterday = time.time() - 25 * 3600
    os.utime(project.map_folder / "asked", (yesterday, yesterday))
    assert not map_is_due(project)
    ask_for_map(project.map_folder)
    assert map_is_due(project)
    assert _KINDS[0].command == "draw-map"


def test_without_an_image_that_was_read_no_map_is_due(workspace):
    ask_for_map(workspace.project(1).map_folder)
    assert not map_is_due(workspace.project(1))


def test_every_task_that_was_read_has_a_place_near_its_likes(project):
    found = drawn(project)
    np.testing.assert_array_equal(found.tasks, np.arange(1, 41))
    assert np.isfinite(found.points).all()
    red = np.isin(found.tasks, RED)
    middle = found.points[red].mean(axis=0)
    order = np.argsort(np.linalg.norm(found.points - middle, axis=1))
    assert set(found.tasks[order[:3]]) == set(RED)
    assert set(nearest(found.points, found.middles)) == set(range(len(found.middles)))
    assert note_of(project.map_folder) == MapNote(sha256=note_of(project.map_folder).sha256)


def test_tasks_keep_their_places_from_round_to_round_and_new_ones_join_them(project, studio):
    before = drawn(project)
    studio.uris |= {task: colour(task) for task in range(41, 51)}
    run(project)
    after = drawn(project)
    np.testing.assert_allclose(after.points[:40], before.points, atol=1e-5)
    np.testing.assert_array_equal(after.middles, before.middles)
    assert len(after.tasks) == 50
    assert after.laid_out == 40
    assert after.version == project.row.published_version != before.version


def test_half_as_many_tasks_more_are_laid_out_anew_from_the_old_places(project, studio):
    before = drawn(project)
    studio.uris |= {task: colour(task) for task in range(41, 61)}
    run(project)
    after = drawn(project)
    assert after.laid_out == 60
    assert len(after.projection.places) == 60
    moved = np.linalg.norm(after.points[:40] - before.points, axis=1)
    assert np.median(moved) < 0.5 * np.linalg.norm(before.points, axis=1).mean()


def test_another_backbone_starts_from_the_old_places(project, workspace, tmp_path):
    before = drawn(project)
    other = reopened(workspace, backbone=AnotherNetwork(tmp_path)).project(1)
    run(other)
    after = drawn(other)
    assert after.key != before.key
    moved = np.linalg.norm(after.points - before.points, axis=1)
    assert np.median(moved) < 0.5 * np.linalg.norm(before.points, axis=1).mean()


def test_what_the_model_says_of_the_target_stands_beside_the_places(project, studio):
    assert np.isnan(drawn(project).scores).all()
    for task in RED[:2]:
        studio.annotate(task, "red", exemplar=True)
    for task in (1, 2, 3, 5, 6, 7):
        studio.annotate(task, "dark")
    run(project)
    found = drawn(project)
    assert project.stores.rounds.published_report(1).target == ("red",)
    assert np.isfinite(found.scores).all()
    assert found.scores[RED[2] - 1] == found.scores[~np.isin(found.tasks, RED[:2])].max()


def test_blocks_give_the_same_as_all_at_once(project, monkeypatch):
    whole = drawn(project)
    monkeypatch.setattr(mapping, "_BLOCK", 7)
    parts = drawn(project)
    np.testing.assert_array_equal(parts.tasks, whole.tasks)
    np.testing.assert_allclose(parts.points, whole.points, atol=1e-5)


def test_few_of_very_many_are_laid_out_and_the_others_stand_among_them(project, monkeypatch):
    monkeypatch.setattr(mapping, "LANDMARKS", 20)
    found = drawn(project)
    assert len(found.projection.places) == 20
    assert len(found.tasks) == 40


def test_tasks_of_several_images_are_points_too(project, studio):
    studio.config = studio.config.replace('value="$image"', 'valueList="$image"')
    studio.data = {task: {"image": [uri, picture(5, task, 90)]} for task, uri in studio.uris.items()}
    studio.uris = dict.fromkeys(studio.uris, "")
    run(project)
    assert len(drawn(project).tasks) == 40


def test_a_map_that_was_changed_on_disk_is_drawn_anew(project):
    ask_for_map(project.map_folder)
    draw_map(project)
    file = next(project.map_folder.glob("map-*.safetensors"))
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(bytes(content))
    assert load_map(project.map_folder) is None
    assert map_is_due(project)
    assert drawn(project) is not None


def test_why_no_map_could_be_drawn_is_said_and_the_earlier_one_stays(project, monkeypatch):
    before = drawn(project)

    def fail(*_, **__):
        raise StorageError("The file cannot be read.", "Look at the disk.")

    monkeypatch.setattr(mapping, "save_map", fail)
    with pytest.raises(StorageError):
        draw_map(project)
    note = note_of(project.map_folder)
    assert (note.failed, note.message) == (
        True,
        "The last drawing of the map failed. The file cannot be read. Look at the disk.",
    )
    np.testing.assert_array_equal(load_map(project.map_folder).points, before.points)
    note_map(project, "The last training was killed.")
    assert note_of(project.map_folder).message == "The last training was killed."


def test_one_process_draws_at_a_time(project):
    project.map_folder.mkdir(parents=True)
    with FileLock(project.map_folder / ".lock"):
        assert draw_map(project) == "Another process is drawing the map of this project."


def test_the_test_set_has_no_place(project):
    draw = ReservedDraw(3, 7, "lead", 2.0, 9, 5, 3, 2, 1, 0, 10, None)
    project.stores.test_sets.ask(1, ReservedWish(3, 7, "lead", 1.0))
    project.stores.test_sets.add(1, draw, [5, 17])
    assert drawn(project).tasks.tolist() == [task for task in range(1, 41) if task not in {5, 17}]


def test_a_map_goes_with_its_project(project, studio):
    save_map(project.map_folder, drawn(project))
    studio.created_at += timedelta(days=1)
    reconcile(project, look=True)
    assert not project.map_folder.exists()
    assert drawn_version(project.map_folder) is None
