"""Rounds of projects that have exemplars from outside."""

import base64

import numpy as np
from sqlalchemy import update

from clinical_backend.rounds.questions import open_questions
from clinical_backend.service.findings import read_findings
from clinical_backend.service.outside_exemplars import add_images, remove
from clinical_backend.storage.report import Kind
from clinical_backend.storage.schema import OutsideExemplar
from clinical_backend.strategy.reasons import reason_of
from tests.rounds.coloured_cells import RED, fake_client, project, red_lead, run, sought, studio
from tests.rounds.fake_label_studio import CONFIG
from tests.small_workspace import AnotherNetwork, picture, reopened

__all__ = ["fake_client", "project", "studio"]  # fixtures


def content(*colour):
    return base64.b64decode(picture(*colour).partition(",")[2])


def add(project, *images, finding="red", **more):
    if project.row.label_config is None:
        project.stores.projects.change(1, label_config=CONFIG)
    return add_images(project, finding, [("case.png", image) for image in images], by="ada", **more)


def test_a_case_from_outside_brings_its_finding_to_the_front_before_anybody_met_one(project):
    before = run(project)
    assert before.report.acquisition == "coreset"
    assert add(project, content(240, 70, 70)).kept
    assert project.row.request == "exemplars from outside were added"
    published = run(project)
    assert published.report.acquisition == "quality_diversity"
    assert published.report.target == ("red",)
    assert "1 exemplar from outside" in published.report.reason
    assert red_lead(project, published)
    best = sought(project, published)[0]
    assert best.nearest_exemplar == -1
    assert reason_of(best).startswith("Most like exemplar 1 from outside")


def test_it_never_counts_as_a_case(project):
    add(project, content(240, 70, 70))
    published = run(project)
    counts = published.report.counts
    assert (counts.labelled, counts.exemplars, counts.query, counts.pool, counts.queue) == (0, 0, 0, 40, 40)
    assert project.stores.labels.all(1) == {}
    found = read_findings(project)
    assert (found.labels, found.found, found.curve, found.pool) == (0, 0, [(0, 0)], 40)
    assert (found.audit_labels, found.prevalence) == (0, None)


def test_nobody_is_asked_what_is_rare_where_a_case_from_outside_tells(project, workspace):
    assert [one.kind for one in open_questions(project)] == []
    run(project)
    assert Kind.WHICH in {one.kind for one in open_questions(project)}
    add(project, content(240, 70, 70))
    assert Kind.WHICH not in {one.kind for one in open_questions(project)}
    assert run(project).report.questions == ()


def test_a_removed_one_steers_no_more(project):
    kept = add(project, content(240, 70, 70)).kept
    run(project)
    assert remove(project, kept[0])
    assert run(project).report.acquisition == "coreset"


def test_it_steers_for_what_the_lead_looks_for_alone(project):
    project.stores.projects.change(1, page_options={"rare_classes": ["dark"]})
    add(project, content(240, 70, 70))
    assert run(project).report.reason.startswith("dark is looked for, as the lead chose, and no case is known yet")


def test_it_survives_another_backbone_while_its_pixels_are_kept(project, workspace, tmp_path):
    add(project, content(240, 70, 70))
    run(project)
    other = reopened(workspace, backbone=AnotherNetwork(tmp_path)).project(1)
    published = run(other)
    assert red_lead(other, published)
    assert other.stores.outside_exemplars.all(1)[0].backbone.startswith("another-")
    assert not any("exemplar" in note for note in published.report.notes)


def test_without_its_pixels_it_is_lost_with_the_backbone_and_that_is_said(project, workspace, tmp_path):
    add(project, content(240, 70, 70), keeps_pixels=False)
    assert red_lead(project, run(project))
    assert project.stores.outside_exemplars.pixels(1, 1) is None
    published = run(reopened(workspace, backbone=AnotherNetwork(tmp_path)).project(1))
    assert published.report.acquisition == "coreset"
    assert any("1 exemplar from outside steers no more" in note for note in published.report.notes)


def test_a_class_that_the_labeling_config_lost_steers_nothing(project, studio):
    add(project, content(240, 70, 70))
    studio.config = CONFIG.replace('"red"', '"crimson"')
    assert run(project).report.acquisition == "coreset"


def test_of_several_findings_it_stands_for_its_own(project, studio):
    studio.config = CONFIG.replace('choice="single"', 'choice="multiple"')
    add(project, content(240, 70, 70))
    studio.annotate(1, "dark")
    studio.annotate(2, "dark")
    published = run(project)
    assert published.report.target == ("red",)
    assert red_lead(project, published)


def test_for_tasks_of_several_images_it_is_a_task_of_one(project, studio):
    studio.config = CONFIG.replace('value="$image"', 'valueList="$image"')
    studio.data = {task: {"image": [uri, picture(5, task, 90)]} for task, uri in studio.uris.items()}
    studio.uris = dict.fromkeys(studio.uris, "")
    add(project, content(240, 70, 70))
    assert red_lead(project, run(project))
    studio.annotate(RED[0], "red", exemplar=True)
    published = run(project)
    assert published.report.features.startswith("the image that decides")
    assert red_lead(project, published)


def test_damaged_features_are_made_anew_and_damaged_pixels_stop_no_round(project, workspace):
    add(project, content(240, 70, 70), content(230, 80, 80))
    run(project)
    store, key = project.stores.outside_exemplars, workspace.backbone.key
    store.keep_feature(1, key, np.full(4, np.nan, dtype=np.float32))
    with workspace.stores.database.write() as session:
        session.execute(update(OutsideExemplar).where(OutsideExemplar.id == 2).values(pixels=b"damage", feature=b"x"))
    assert red_lead(project, run(project))
    assert list(store.features(1, key, 4)) == [1]
