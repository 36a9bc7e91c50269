"""The cases that look most like one: of a project whose features are mean colours."""

import pytest

from clinical_backend.rounds.reconcile import reconcile
from clinical_backend.service import similar
from clinical_backend.service.similar import find_similar
from tests.rounds.fake_label_studio import FakeLabelStudio
from tests.small_workspace import picture

RED = (4, 17, 30)


@pytest.fixture
def studio():
    return FakeLabelStudio(
        {task: picture(250 - task, 100, 60) if task in RED else picture(5, 20 + 3 * task, 60) for task in range(1, 41)}
    )


@pytest.fixture
def fake_client(studio):
    return studio


@pytest.fixture
def project(workspace):
    project = workspace.project(1)
    project.stores.projects.request_round(1, "a test", delay=0)
    reconcile(project, look=True)
    return project


def test_the_most_alike_come_first_whether_labelled_or_not(project, studio):
    studio.annotate(RED[1], "red")
    project.stores.projects.request_round(1, "a test", delay=0)
    reconcile(project, look=True)
    found = find_similar(project, RED[0], 5)
    assert {one.task_id for one in found.neighbours[:2]} == {RED[1], RED[2]}
    likenesses = [one.similarity for one in found.neighbours]
    assert likenesses == sorted(likenesses, reverse=True)
    assert len(found.neighbours) == 5
    assert (found.compared, found.known, found.has_feature) == (39, 39, True)
    assert all(-1.0001 <= one.similarity <= 1.0001 for one in found.neighbours)


def test_blocks_give_the_same_as_all_at_once(project, monkeypatch):
    whole = find_similar(project, RED[0], 3)
    monkeypatch.setattr(similar, "_BLOCK", 20)
    parts = find_similar(project, RED[0], 3)
    assert [one.task_id for one in parts.neighbours[:2]] == [one.task_id for one in whole.neighbours[:2]]
    assert parts.compared == whole.compared


def test_queued_cases_are_compared_first_where_there_is_no_time_for_all(project, studio, monkeypatch):
    queued = [task for task in studio.queue() if task != RED[0]]
    monkeypatch.setattr(similar, "_SECONDS", -1.0)
    monkeypatch.setattr(similar, "_BLOCK", 10)
    found = find_similar(project, RED[0], 10)
    assert (found.compared, found.known) == (10, 39)
    assert {one.task_id for one in found.neighbours} == set(queued[:10])


def test_a_case_that_no_round_has_read_is_compared_with_nothing(project):
    found = find_similar(project, 4000, 3)
    assert (found.neighbours, found.has_feature) == ((), False)


def test_tasks_of_several_images_are_compared_as_a_whole(project, studio):
    studio.config = studio.config.replace('value="$image"', 'valueList="$image"')
    studio.data = {task: {"image": [uri, picture(5, task, 90)]} for task, uri in studio.uris.items()}
    studio.uris = dict.fromkeys(studio.uris, "")
    project.stores.projects.change(1, listed_at=0.0)
    project.stores.projects.request_round(1, "a test", delay=0)
    reconcile(project, look=True)
    found = find_similar(project, RED[0], 2)
    assert {one.task_id for one in found.neighbours} == {RED[1], RED[2]}
