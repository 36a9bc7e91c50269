"""Rounds of projects where cases are tagged on the page before any reader answered them."""

import pytest

from clinical_backend.labelstudio.contract import WebhookRequest
from clinical_backend.rounds.questions import open_questions
from clinical_backend.service.backend import Backend
from clinical_backend.service.exemplars import read_exemplars
from clinical_backend.service.findings import read_findings
from clinical_backend.storage.report import Kind
from tests.rounds.coloured_cells import RED, cells, fake_client, project, run, sought
from tests.rounds.fake_label_studio import CONFIG
from tests.small_workspace import picture
from tests.web.noting_runner import Wakes

__all__ = ["fake_client", "project"]  # fixtures


@pytest.fixture
def studio():
    """Return forty dark tasks, three of which are red, each in its own way."""
    return cells((250, 241, 232))


def tag(project, *tasks, steer=1):
    return project.stores.page_tags.set(project.id, tasks, steer, by="ada")


def tasks_sought(project, published):
    return [row.task_id for row in sought(project, published)]


def test_a_tag_brings_what_is_like_it_to_the_front_and_the_case_itself_stays_in_the_queue(project, studio):
    run(project)
    assert tag(project, RED[0]) == [RED[0]]
    published = run(project)
    assert published.report.reason.startswith("1 exemplar tagged")
    found = tasks_sought(project, published)
    red = [task for task in found if task in RED]
    assert red == found[: len(red)]
    assert RED[0] in studio.queue()
    assert (published.report.counts.labelled, published.report.counts.exemplars) == (0, 1)


def test_a_tagged_case_is_not_explained_by_itself(project):
    run(project)
    tag(project, *RED[:2])
    published = run(project)
    rows = {row.task_id: row for row in project.stores.rounds.queue(published.id)}
    assert rows[RED[0]].nearest_exemplar == RED[1]
    assert rows[RED[2]].nearest_exemplar in RED[:2]
    project.stores.page_tags.remove(1, [RED[1]])
    published = run(project)
    (alone,) = (row for row in project.stores.rounds.queue(published.id) if row.task_id == RED[0])
    assert (alone.nearest_exemplar, alone.similarity) == (None, None)


def test_not_like_this_turns_the_queue_away(project):
    run(project)
    tag(project, RED[0])
    tag(project, 1, steer=-1)
    published = run(project)
    assert tasks_sought(project, published)[-1] != RED[0]
    assert {one.task_id: one.kind for one in read_exemplars(project)[0]} == {
        RED[0]: "exemplar",
        1: "counter-exemplar",
    }


def test_it_never_counts_as_found_and_asks_nothing(project):
    run(project)
    assert Kind.WHICH in {one.kind for one in open_questions(project)}
    tag(project, *RED)
    assert Kind.WHICH not in {one.kind for one in open_questions(project)}
    run(project)
    found = read_findings(project)
    assert (found.labels, found.found, found.curve, found.pool) == (0, 0, [(0, 0)], 40)
    assert project.stores.labels.all(1) == {}


def test_when_the_reader_answers_the_answer_decides(project, studio):
    run(project)
    tag(project, RED[0], 1)
    run(project)
    studio.annotate(RED[0], "red")
    studio.annotate(1, "dark", exemplar=True)
    published = run(project)
    assert published.report.counts.exemplars == 1  # the reader tagged one of the two
    assert project.stores.page_tags.open(1) == {}
    (only,) = read_exemplars(project)[0]
    assert (only.task_id, only.on_page) == (1, False)


def test_an_answer_of_a_tagged_case_makes_a_round_due(project, workspace, studio):
    backend = Backend(workspace, Wakes())
    run(project)
    tag(project, RED[0])
    run(project)
    studio.annotate(RED[0], "dark")
    annotation = {"id": 1, "task": RED[0], "result": [{"from_name": "diagnosis"}]}
    backend.receive(
        WebhookRequest.model_validate(
            {"action": "ANNOTATION_CREATED", "annotation": annotation, "project": {"id": 1}, "task": {"id": RED[0]}}
        )
    )
    assert project.row.request == "an exemplar was tagged or changed"


def test_a_tag_is_lost_with_the_picture_that_it_was_meant_for(project, studio):
    run(project)
    tag(project, RED[0], RED[1])
    studio.uris[RED[0]] = picture(9, 9, 9)
    del studio.uris[RED[1]]
    project.stores.projects.change(1, listed_at=0.0)
    run(project)
    assert project.stores.page_tags.open(1) == {}


def test_of_several_findings_a_tag_is_an_exemplar_of_each_that_is_looked_for(project, studio):
    studio.config = CONFIG.replace('choice="single"', 'choice="multiple"')
    project.stores.projects.change(1, page_options={"rare_classes": ["red"]})
    studio.annotate(2, "dark")
    studio.annotate(3, "dark")
    tagged = run(project)
    assert tagged.report.target == ("red",)
    tag(project, RED[0])
    published = run(project)
    found = tasks_sought(project, published)
    red = [task for task in found if task in RED]
    assert red
    assert red == found[: len(red)]
