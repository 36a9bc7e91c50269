"""A test set is drawn once, by whole patients, and is in nothing that rounds learn from, queue or count."""

import numpy as np
import pytest

from clinical_backend.archive.plan import IDENTITY
from clinical_backend.commands.exporting import _labels as reported_labels
from clinical_backend.errors import InvalidArgumentError
from clinical_backend.findings.performance import measure
from clinical_backend.labelstudio.contract import PredictTask
from clinical_backend.learner.checkpoint import load_checkpoint
from clinical_backend.origins import Draw
from clinical_backend.rounds.blind_scores import judged_test_set
from clinical_backend.rounds.reconcile import reconcile
from clinical_backend.rounds.rollback import roll_back
from clinical_backend.service import set_aside
from clinical_backend.service.findings import read_findings
from clinical_backend.service.predict import predict
from clinical_backend.service.second_readings import read_again
from clinical_backend.service.set_aside import ask_for_test_set, models_on_test_set, read_set_aside
from clinical_backend.service.set_aside_words import say_test_set
from clinical_backend.service.similar import find_similar
from clinical_backend.service.status import read_status
from clinical_backend.training.adaptation import _digests
from clinical_backend.training.mapping import draw_map
from clinical_backend.workspace.map_files import load_map
from clinical_backend.workspace.notices import notices
from tests.rounds.coloured_cells import run
from tests.rounds.fake_label_studio import CONFIG, FakeLabelStudio
from tests.small_workspace import picture

RED = frozenset(range(1, 25))
TASKS = range(1, 121)
LEARNT = (*range(1, 9), *range(101, 113))
"""Tasks that are answered before anything is drawn, each by itself a patient's."""


def truth(task):
    return "red" if task in RED else "dark"


def patient(task):
    """Two tasks of each patient, but for the answered ones."""
    return f"p{task}" if task in LEARNT else f"q{task // 2}"


@pytest.fixture
def studio():
    made = FakeLabelStudio({n: picture(200 + n if n in RED else n // 4, blue=n) for n in TASKS})
    made.data = {task: {"patient": patient(task)} for task in TASKS}
    return made


@pytest.fixture
def fake_client(studio):
    return studio


@pytest.fixture
def project(workspace, studio):
    """Return a project of 24 red and 96 dark tasks, with 20 answers and a published queue of 20."""
    workspace.settings = workspace.settings.model_copy(
        update={"queue_size": 20, "rare_classes": ("red",), "group_field": "patient", "backend_url": "http://backend"}
    )
    for task in LEARNT:
        studio.annotate(task, truth(task))
    project = workspace.project(1)
    run(project)
    return project


def reserved(project):
    return project.stores.test_sets.ids(project.id)


def draw(project, size=30, **options):
    """Set tasks aside, and return them once a round has drawn them."""
    ask_for_test_set(project, size, by="lead", **{"seed": 7} | options)
    run(project)
    return reserved(project)


def queued(project):
    return project.stores.rounds.queue(project.stores.rounds.published(project.id).id)


def tab(studio):
    (view,) = [view for view in studio.tabs if view.title == "Test set"]
    assert view.filters["conjunction"] == "or"
    return {item["value"] for item in view.filters["items"]} - {0}


def test_whole_patients_are_drawn_among_those_of_whom_nothing_is_answered(project):
    tasks = draw(project)
    assert 30 <= len(tasks) <= 31
    assert tasks.isdisjoint(LEARNT)
    patients = {patient(task) for task in tasks}
    assert tasks == {task for task in TASKS if patient(task) in patients}
    (kept,) = project.stores.test_sets.draws(1)
    assert (kept.seed, kept.size, kept.drawn, kept.drawn_patients) == (7, 30, len(tasks), len(patients))
    assert kept.excluded == len(LEARNT)
    assert kept.probability == len(patients) / len({patient(task) for task in TASKS if task not in LEARNT})
    assert f"{len(LEARNT)} tasks could not be drawn" in say_test_set(read_set_aside(project))


def test_the_search_neither_queues_nor_draws_nor_counts_it(project):
    tasks = draw(project)
    assert tasks.isdisjoint(row.task_id for row in queued(project))
    assert read_findings(project).pool == len(TASKS) - len(LEARNT) - len(tasks)
    assert project.stores.page_tags.set(1, list(tasks), 1, by="lead") == []
    draw_map(project)
    assert tasks.isdisjoint(load_map(project.map_folder).tasks.tolist())
    digests = project.digests(tasks)
    assert set(_digests(project)).isdisjoint(digests.values())
    asked = next(iter(tasks))
    assert not find_similar(project, asked, 5).has_feature
    assert tasks.isdisjoint(one.task_id for one in find_similar(project, 1, 200).neighbours)


def test_its_labels_change_no_queue_no_model_and_no_figure(workspace, studio, project):
    tasks = sorted(draw(project))

    def outcome(labels):
        for task, name in zip(tasks, labels, strict=True):
            studio.annotate(task, name)
        published = run(project)
        classifier, _ = load_checkpoint(project.checkpoint_folder(published.version))
        rows = [(row.task_id, row.draw, row.rare_probability, row.chance) for row in queued(project)]
        report = published.report
        judged = (report.evaluation, report.measurements, report.promotion, report.chances, report.target)
        return rows, classifier.weights, classifier.bias, judged, read_findings(project), report.questions

    # Draws at random and seeds of folds go by the round's number: the same one is run in both states.
    number = project.stores.rounds.latest(1).number
    right, wrong = ([truth(task) for task in tasks], ["dark" if truth(task) == "red" else "red" for task in tasks])
    first = outcome(right)
    _forget_rounds_after(workspace, number)
    second = outcome(wrong)
    assert first[0] == second[0]
    assert all(np.array_equal(one, other) for one, other in zip(first[1:3], second[1:3], strict=True))
    assert first[3:] == second[3:]
    assert {row.label for row in project.stores.test_sets.tasks(1).values()} == {"red", "dark"}


def _forget_rounds_after(workspace, number):
    """Set the project back to the round of this number."""
    from sqlalchemy import delete  # noqa: PLC0415

    from clinical_backend.storage.schema import Round  # noqa: PLC0415

    versions = {row.number: row.version for row in workspace.stores.rounds.history(1, 10)}
    with workspace.stores.database.write() as session:
        session.execute(delete(Round).where(Round.project_id == 1, Round.number > number))
    workspace.stores.projects.change(1, published_version=versions[number])
    workspace.client.model_version = versions[number]


def test_each_published_model_is_judged_once_and_labels_that_come_later_change_no_probability(studio, project):
    tasks = draw(project)
    version = project.stores.rounds.published(1).version
    kept = project.stores.test_sets.scores(1, version)
    assert set(kept.tasks.tolist()) == tasks
    assert kept.probabilities.shape == (len(tasks), 2)
    assert not len(judged_test_set(project).tasks)
    for task in tasks:
        studio.annotate(task, truth(task))
    run(project)
    judged = judged_test_set(project, version)
    assert set(judged.tasks.tolist()) == tasks
    at = {task: place for place, task in enumerate(kept.tasks.tolist())}
    assert np.array_equal(judged.probabilities, kept.probabilities[[at[task] for task in judged.tasks.tolist()]])
    assert [truth(task) for task in judged.tasks.tolist()] == list(judged.labels)
    assert len(set(judged.groups)) == len({patient(task) for task in tasks})
    assert set(judged.inclusion.tolist()) == {project.stores.test_sets.draws(1)[0].probability}
    (latest, figures), *_ = models_on_test_set(project)
    assert (len(latest.tasks), latest.patients) == (len(tasks), len({patient(task) for task in tasks}))
    assert [one.cases for one in figures.classes] == [len(tasks)] * 2
    assert figures.balanced_accuracy is None or figures.balanced_accuracy.estimate > 0.9
    assert f"{len(tasks)} of {len(tasks)} tasks read" in say_test_set(read_set_aside(project))


def test_readers_get_it_in_a_tab_of_its_own_without_a_word_of_the_model(workspace, studio, project):
    tasks = draw(project)
    assert tab(studio) == tasks
    sent = {item["task"] for items in studio.predictions.values() for item in items}
    assert tasks.isdisjoint(sent)
    workspace.stores.projects.change(1, page_options={"preannotate": "all"})
    own, other = sorted(tasks)[:2], [row.task_id for row in queued(project) if row.draw is Draw.TARGET][:2]
    asked = [PredictTask(id=task, data={"image": studio.uris[task]}, predictions=[{"id": 1}]) for task in own + other]
    said = predict(project, studio.config, asked)
    assert [bool(one.result) for one in said] == [False, False, True, True]
    (opened,) = predict(project, studio.config, [PredictTask(id=own[0], data={"image": studio.uris[own[0]]})])
    assert opened is None
    studio.annotate(own[0], "dark")
    run(project)
    assert tab(studio) == tasks - {own[0]}


def test_two_readers_are_asked_for_where_the_lead_wants_two(studio, project):
    tasks = sorted(draw(project, twice=True))
    assert {studio.overlap[task] for task in tasks} == {2}
    studio.annotate(tasks[0], "dark")
    run(project)
    assert tasks[0] in tab(studio)
    studio.read_again(tasks[0], "dark")
    studio.annotate(tasks[1], "dark")
    studio.read_again(tasks[1], "red")
    run(project)
    assert not {*tasks[:2]} & tab(studio)
    found = read_set_aside(project)
    assert (found.read, found.begun, found.agreement.cases, found.agreement.disagreements) == (2, 0, 2, 1)
    assert judged_test_set(project).disputed == 1
    assert judged_test_set(project).tasks.tolist() == [tasks[0]]
    assert not project.stores.second_readings.all(1)
    for task in tasks:
        assert task not in project.stores.labels.all(1)


def test_what_an_import_answers_is_no_reading(studio, project):
    task = min(draw(project))
    studio.annotate(task, "red", import_id=5)
    run(project)
    assert read_set_aside(project).read == 0
    assert task in tab(studio)
    assert studio.overlap[task] == 2


def test_an_exemplar_tag_on_it_is_ignored_and_said(studio, project):
    task = min(draw(project))
    studio.annotate(task, "dark", exemplar=True)
    published = run(project)
    assert published.report.target == ("red",)
    assert published.report.counts.exemplars == 0
    assert any("1 task of the test set is tagged" in note for note in published.report.notes)


def test_later_tasks_of_its_patients_join_it_and_others_stay_out_until_it_is_extended(studio, project):
    tasks = draw(project)
    known = patient(min(tasks))
    studio.uris |= {200 + n: picture(7, blue=100 + n) for n in range(20)}
    studio.data |= {200 + n: {"patient": known if n == 0 else f"new{n // 2}"} for n in range(20)}
    studio.annotate(200, "red")
    run(project)
    assert reserved(project) == tasks | {200}
    assert 200 not in project.stores.labels.all(1)
    with pytest.raises(InvalidArgumentError, match="size and readings"):
        ask_for_test_set(project, 5, by="lead", extend=True)
    ask_for_test_set(project, 0, by="lead", extend=True, seed=1)
    run(project)
    added = reserved(project) - tasks - {200}
    first, second = project.stores.test_sets.draws(1)
    assert second.drawn_patients == round(first.probability * 11)  # new0 has one task, since its other joined
    assert added
    assert min(added) > 200
    assert "1 task of its patients came later" in say_test_set(read_set_aside(project))
    ask_for_test_set(project, 0, by="lead", extend=True)
    run(project)
    assert "No task that could be drawn came" in read_set_aside(project).problem
    run(project)
    assert read_set_aside(project).problem is None


def test_an_extension_that_would_draw_nobody_leaves_its_tasks_to_be_drawn_later(studio, project):
    draw(project, 10)
    studio.uris[131], studio.data[131] = picture(7, 7, 131), {"patient": "new 131"}
    ask_for_test_set(project, 0, by="lead", extend=True, seed=1)
    run(project)
    assert "Too few patients came since" in project.stores.test_sets.get(1).problem
    (only,) = project.stores.test_sets.draws(1)
    for task in range(132, 152):
        studio.uris[task], studio.data[task] = picture(7, 7, task), {"patient": f"new {task}"}
    ask_for_test_set(project, 0, by="lead", extend=True, seed=1)
    run(project)
    _, extension = project.stores.test_sets.draws(1)
    assert (extension.patients, extension.after) == (21, only.newest)


@pytest.mark.parametrize(
    ("size", "problem"),
    [(0, "no test set"), (100, "some must be left to search"), (500, "some must be left to search")],
)
def test_a_size_that_makes_no_sense_is_refused_at_once(project, size, problem):
    with pytest.raises(InvalidArgumentError, match=problem):
        ask_for_test_set(project, size, by="lead")
    assert read_set_aside(project) is None


def test_a_second_one_is_refused_and_so_is_extending_none(project):
    with pytest.raises(InvalidArgumentError, match="no test set yet"):
        ask_for_test_set(project, 0, by="lead", extend=True)
    ask_for_test_set(project, 10, by="lead")
    with pytest.raises(InvalidArgumentError, match="asked for already"):
        ask_for_test_set(project, 10, by="lead")
    run(project)
    with pytest.raises(InvalidArgumentError, match="a second one"):
        ask_for_test_set(project, 10, by="lead")


def test_what_only_the_round_can_tell_is_noted_with_the_cure(workspace, studio):
    workspace.settings = workspace.settings.model_copy(
        update={"backend_url": "http://backend", "rare_classes": ("red",)}
    )
    project = workspace.project(1)
    ask_for_test_set(project, 500, by="lead")  # before any round knows what there is
    run(project)
    found = read_set_aside(project)
    assert (found.wish, found.draws) == (None, ())
    assert "120 can be drawn" in found.problem
    assert [one.message for one in notices(project)] == [found.problem]
    ask_for_test_set(project, 12, by="lead")
    run(project)
    assert len(reserved(project)) == 12


def test_the_same_seed_draws_the_same_tasks_one_by_one_where_none_names_a_patient(workspace, studio):
    workspace.settings = workspace.settings.model_copy(
        update={"backend_url": "http://backend", "rare_classes": ("red",)}
    )
    tasks = draw(workspace.project(1), 12)
    assert len(tasks) == 12
    workspace.stores.projects.forget(1)
    workspace.stores.projects.register(1)
    assert not reserved(workspace.project(1))
    assert draw(workspace.project(1), 12) == tasks


def test_figures_are_computed_once_until_a_label_changes(studio, project, monkeypatch):
    computed = []

    def count(*arguments, **options):
        computed.append(arguments)
        return measure(*arguments, **options)

    tasks = sorted(draw(project))
    for task in tasks:
        studio.annotate(task, truth(task))
    run(project)
    monkeypatch.setattr(set_aside, "measure", count)
    set_aside._figures.cache_clear()  # another test may have the same cases
    first = models_on_test_set(project)
    made = len(computed)
    assert made
    assert [figures for _, figures in models_on_test_set(project)] == [figures for _, figures in first]
    assert len(computed) == made
    studio.annotate(tasks[0], "dark" if truth(tasks[0]) == "red" else "red")
    reconcile(project, look=True)
    ((_, figures), *_) = models_on_test_set(project)
    assert figures != first[0][1]


def test_tasks_deleted_in_label_studio_leave_it_and_are_counted(workspace, studio, project):
    tasks = draw(project)
    gone = min(tasks)
    del studio.uris[gone]
    run(project)
    assert reserved(project) == tasks - {gone}
    assert "1 task of it was deleted" in say_test_set(read_set_aside(project))


def test_what_models_said_of_an_image_is_not_judged_by_the_label_of_another_one(studio, project):
    tasks = draw(project)
    for task in tasks:
        studio.annotate(task, truth(task))
    version = run(project).version
    changed, *others = sorted(tasks)
    studio.uris[changed] = picture(9, 9, 9)
    studio.annotate(changed, "dark")
    project.stores.projects.change(1, listed_at=0.0)
    latest = run(project)
    assert reserved(project) == tasks
    assert sorted(judged_test_set(project, version).tasks.tolist()) == others
    assert len(judged_test_set(project, version).probabilities) == len(others)
    assert set(judged_test_set(project, latest.version).tasks.tolist()) == tasks


def test_a_class_that_is_renamed_is_told_of_and_judges_nothing(studio, project):
    tasks = sorted(draw(project))
    studio.annotate(tasks[0], "dark")
    studio.annotate(tasks[1], "scarlet")
    published = run(project)
    assert any(note.startswith("Test set: ") and "scarlet" in note for note in published.report.notes)
    assert judged_test_set(project).tasks.tolist() == [tasks[0]]


def test_going_back_to_an_earlier_queue_serves_none_of_it(project):
    before = {row.task_id for row in queued(project)}
    tasks = draw(project, 80)
    assert before & tasks
    roll_back(project, 1)
    assert {row.task_id for row in queued(project)} == before - tasks


def test_structured_reports_tell_no_archive_of_it(studio, project):
    tasks = sorted(draw(project))
    identities = {task: f"{task:020x}" for task in (*LEARNT, *tasks)}
    for task, identity in identities.items():
        studio.data[task][IDENTITY] = identity
        studio.annotate(task, truth(task))
    labels, _ = reported_labels(project)
    assert labels == {identities[task]: [truth(task)] for task in LEARNT}


def test_several_findings_of_one_image_are_judged_each_by_itself(studio, project):
    studio.config = CONFIG.replace('choice="single"', 'choice="multiple"')
    tasks = draw(project)
    assert project.stores.rounds.published(1).report.evaluation.findings
    for task in tasks:
        studio.annotate(task, truth(task))
    run(project)
    judged = judged_test_set(project)
    assert judged.several
    assert judged.classes == ("dark", "red")
    assert len(judged.tasks) == len(tasks)
    (_, figures), *_ = models_on_test_set(project)
    assert [one.positives for one in figures.classes] == [
        sum(truth(task) == name for task in tasks) for name in judged.classes
    ]


def test_tasks_of_several_images_are_judged_as_they_are_learnt_from(studio, project):
    studio.config = CONFIG.replace('value="$image"', 'valueList="$image"')
    for task, uri in studio.uris.items():
        studio.data[task]["image"] = [picture(3, task, 5), uri]
    project.stores.projects.change(1, listed_at=0.0)
    tasks = draw(project)
    for task in tasks:
        studio.annotate(task, truth(task))
    run(project)
    assert project.stores.studies.any(1)
    judged = judged_test_set(project)
    assert set(judged.tasks.tolist()) == tasks
    assert tasks.isdisjoint(row.task_id for row in queued(project))


def test_status_and_json_tell_of_it(project):
    assert read_status(project).to_json()["test_set"] is None
    tasks = draw(project)
    told = read_status(project).to_json()["test_set"]
    assert (told["size"], told["read"], told["draws"][0]["seed"]) == (len(tasks), 0, 7)


def test_that_somebody_read_it_is_told_of_readers_and_what_they_said_is_not(project, studio):
    task = min(draw(project))
    studio.annotate(task, "red", lead_time=5.0)
    studio.read_again(task, "dark", lead_time=6.0)
    run(project)
    kept = [row for row in project.stores.readings.all(1) if row.task_id == task]
    assert sorted((row.reader_id, row.lead_time, row.label) for row in kept) == [(1, 5.0, None), (2, 6.0, None)]
    assert read_again(project, None) == []
