"""Rounds of projects whose readers answer about single images of a task, and of those that look for two findings."""

import pytest

from clinical_backend.labelstudio.contract import PredictTask
from clinical_backend.origins import Draw
from clinical_backend.rounds.image_labels import said_of_images
from clinical_backend.rounds.inputs import choose_inputs
from clinical_backend.rounds.reconcile import reconcile
from clinical_backend.rounds.rollback import roll_back
from clinical_backend.rounds.sync import synchronise
from clinical_backend.service.predict import predict
from clinical_backend.settings import load_settings
from clinical_backend.strategy.reasons import deciding_image
from clinical_backend.workspace.witness_files import load_image_classifier
from tests.rounds.coloured_cells import dark_colours
from tests.rounds.fake_label_studio import CONFIG, FakeLabelStudio
from tests.small_workspace import picture

LISTS = CONFIG.replace('value="$image"', 'valueList="$image"')
EACH = LISTS.replace('choice="single"', 'choice="single" perItem="true"')
FINDINGS = LISTS.replace('choice="single"', 'choice="multiple"')
SIZE = 60


@pytest.fixture
def studio():
    """Return sixty tasks of three dark images each. Of the first ten one is red, and of 6 to 15 another one blue."""
    studio = FakeLabelStudio(dict.fromkeys(range(1, SIZE + 1), ""))
    dark = dark_colours()
    for task in studio.uris:
        images = [picture(*next(dark)) for _ in range(3)]
        if task <= 10:
            images[task % 3] = picture(250, task, task)
        if 5 < task <= 15:
            images[(task + 1) % 3] = picture(task, 10, 250)
        studio.data[task] = {"image": images}
    return studio


@pytest.fixture
def fake_client(studio):
    return studio


def run(workspace):
    workspace.stores.projects.request_round(1, "a test", delay=0)
    reconcile(workspace.project(1), look=True)
    return workspace.stores.rounds.published(1)


def answer_each(studio, task, *, exemplar=False):
    """Answer of each image what it shows; of two tasks that are looked for, blue is none of the classes."""
    studio.annotate_images(
        task, {place: "red" if task <= 10 and place == task % 3 else "dark" for place in range(3)}, exemplar=exemplar
    )


def known_images(workspace):
    """Return which image of each rare task the witness is known to be, as it is kept."""
    return workspace.project(1).representations()[1].witnesses.rows


@pytest.mark.parametrize(("config", "expected"), [(LISTS, {1: 1, 2: 2}), (EACH, {1: 2, 2: 0})])
def test_the_image_that_a_reader_named_decides_and_else_the_one_that_rare_tasks_share(
    workspace, studio, config, expected
):
    studio.config = config
    for task in (1, 2):
        answers = {place: "red" if place == (task + 1) % 3 else "dark" for place in range(3)}
        if config == EACH:
            studio.annotate_images(task, answers, exemplar=True)
        else:
            studio.annotate(task, "red", exemplar=True)
    studio.annotate(SIZE, "dark")
    published = run(workspace)
    assert known_images(workspace) == expected
    assert {task: row.label for task, row in workspace.stores.labels.all(1).items()} == {1: "red", 2: "red", 60: "dark"}
    assert published.report.features.startswith("the image that decides")


def test_predictions_say_of_each_image_what_it_shows_as_readers_do(workspace, studio):
    studio.config = EACH
    for task in (1, 2, 3, 57, 58, 59, 60):
        answer_each(studio, task, exemplar=task <= 3)
    published = run(workspace)
    asked = [
        PredictTask(id=4, data=studio.data[4]),
        PredictTask(id=900, data={"image": [picture(12, 80, 80), "", picture(251, 1, 1)]}),
        PredictTask(id=901, data={"image": ["data:image/png;base64,AAAA"]}),
    ]
    found = [
        {region["item_index"]: region["value"]["choices"] for region in one.result}
        for one in predict(workspace.project(1), EACH, asked)
    ]
    assert found == [{0: ["dark"], 1: ["red"], 2: ["dark"]}, {0: ["dark"], 2: ["red"]}, {}]
    answer_each(studio, 56)
    run(workspace)
    back = roll_back(workspace.project(1), published.number)
    folder, key = workspace.project(1).checkpoint_folder(back.version), workspace.backbone.key
    assert load_image_classifier(folder, key) is not None
    assert load_image_classifier(folder, "another") is None


def test_a_queue_ticks_nothing_where_each_image_has_an_answer(workspace, studio):
    studio.config = EACH
    workspace.settings = load_settings(model_dir=workspace.settings.model_dir, preannotate="all")
    for task in (1, 2, 3, 58, 59, 60):
        answer_each(studio, task, exemplar=task <= 3)
    published = run(workspace)
    assert published.report.preannotation.mode == "off"
    assert not any(item["result"] for item in studio.predictions[published.version])


def test_answers_about_images_of_a_study_that_is_read_in_part_are_used_as_far_as_it_is_read(workspace, studio):
    studio.config = EACH
    workspace.settings = workspace.settings.model_copy(update={"images_per_task": 2})
    for task in (1, 2, 3, 58, 59, 60):
        answer_each(studio, task, exemplar=task <= 3)
    published = run(workspace)
    assert published.report.counts.labelled == 6
    assert known_images(workspace)[2] == 2  # of task 1 the named image is not among those read


def test_where_the_only_rare_image_that_readers_named_was_not_read_no_other_is_taken_for_it(workspace, studio):
    studio.config = EACH
    workspace.settings = workspace.settings.model_copy(update={"images_per_task": 2})
    for task in (1, 58, 59, 60):  # of task 1 it is the second of three
        answer_each(studio, task, exemplar=False)
    assert run(workspace).report.features.startswith("mean and largest")


def test_what_is_said_of_the_only_image_of_a_task_is_learnt_wherever_it_stands_in_its_list(workspace, studio):
    studio.config = EACH
    studio.data |= {task: {"image": ["", picture(250 if task == 1 else 5, task)]} for task in (1, 59, 60)}
    studio.annotate_images(1, {1: "red"}, exemplar=True)
    for task in (59, 60):
        studio.annotate_images(task, {1: "dark"})
    run(workspace)
    project = workspace.project(1)
    said = said_of_images(project, synchronise(project))
    assert said.labels == {1: {0: "red"}, 59: {0: "dark"}, 60: {0: "dark"}}


@pytest.fixture
def of_two_findings(workspace, studio):
    """Have each finding tagged in three tasks that show it alone, and return the round that follows."""
    studio.config = FINDINGS.replace('<Choice value="dark"/>', '<Choice value="blue"/>')
    for tasks, name in (((1, 2, 3), "red"), ((11, 12, 13), "blue")):
        for task in tasks:
            studio.annotate(task, name, exemplar=True)
    for task in range(56, SIZE + 1):
        studio.annotate(task, "", result=[])
    return run(workspace)


def test_a_study_whose_images_show_two_targets_counts_for_both_by_an_image_each(workspace, of_two_findings):
    queue = workspace.stores.rounds.queue(of_two_findings.id)
    sought = {entry.task_id: entry for entry in queue if entry.draw is Draw.TARGET}
    both = [sought[task] for task in range(6, 11) if task in sought]
    assert len(both) >= 4
    assert all(set(entry.targets) == {"red", "blue"} for entry in both)
    place_of = {"red": lambda task: task % 3, "blue": lambda task: (task + 1) % 3}
    alone = [sought[task] for task in (4, 5, 14, 15) if task in sought]
    for entry in [*both, *alone]:
        place = place_of[entry.targets[0]](entry.task_id)
        assert entry.image == place
        assert deciding_image(entry) == f"image {place + 1} of 3"
    assert {entry.targets[0] for entry in alone} == {"red", "blue"}


def test_each_of_two_targets_has_the_image_that_shows_it(workspace, of_two_findings):
    project = workspace.project(1)
    inputs, _ = choose_inputs(project, synchronise(project))
    both = range(6, 11)
    places = {name: [one.images[task] for task in both] for name, one in inputs.of_target.items()}
    assert places == {"red": [task % 3 for task in both], "blue": [(task + 1) % 3 for task in both]}
    assert [one.pool.tasks.tolist() for one in inputs.of_target.values()] == [inputs.pool.tasks.tolist()] * 2


def test_one_target_alone_has_no_image_of_its_own(workspace, studio):
    studio.config = FINDINGS.replace('<Choice value="dark"/>', '<Choice value="blue"/>')
    studio.annotate(1, "red", exemplar=True)
    studio.annotate(SIZE, "", result=[])
    run(workspace)
    project = workspace.project(1)
    assert not choose_inputs(project, synchronise(project))[0].of_target
