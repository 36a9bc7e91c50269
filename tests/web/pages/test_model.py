"""What the model gets wrong, how it came to be so, and what going back changes."""

import re
from dataclasses import replace

import numpy as np
import pytest

from clinical_backend.errors import StorageError
from clinical_backend.learner.checkpoint import CheckpointMetadata, save_checkpoint
from clinical_backend.learner.classifier.linear import LinearClassifier
from clinical_backend.learner.evaluation.held_out import HeldOut
from clinical_backend.origins import Origin
from clinical_backend.service.backend import Backend
from clinical_backend.storage.report import Evaluation, FindingMeasures
from clinical_backend.storage.schema import QueuedTask, TaskLabel
from clinical_backend.web.pages import actions
from tests.storage.started import start_round
from tests.web.pages.test_routes import (
    assert_sound,
    configuration,
    filled,
    send,
    stores,
    wakes,
    web,
    workspace,
)

__all__ = ["configuration", "filled", "stores", "wakes", "web", "workspace"]  # fixtures

MODEL = "/projects/1/model"


@pytest.fixture
def judged(workspace, stores, filled):
    """The project with a judged classifier, which takes task 3 of class b for a and task 4 of class a for b."""
    classifier = LinearClassifier(("a", "b"), np.zeros((4, 2), np.float32), np.zeros(2, np.float32), np.array([2, 2]))
    rows = np.array([[0.9, 0.1], [0.2, 0.8], [0.7, 0.3], [0.4, 0.6]], dtype=np.float32)
    folder = workspace.project(1).checkpoint_folder(filled.version)
    save_checkpoint(folder, classifier, CheckpointMetadata("key", 1), HeldOut(np.arange(1, 5), rows, classifier))
    labels = [
        TaskLabel(project_id=1, task_id=task, label=label, origin=Origin.QUEUE, round_number=1, labelled_at=1.0)
        for task, label in enumerate("abba", start=1)
    ]
    stores.labels.replace(1, labels)
    return filled


def later_round(stores, first, right=7):
    """Publish a second round, judged by more labels."""
    row = start_round(stores, 1)
    stores.rounds.keep_queue([QueuedTask(round_id=row.id, rank=0, task_id=90, draw="TARGET")])
    evaluation = replace(first.report.evaluation, confusion=((80, 4), (2, right)), support=(84, 9))
    stores.rounds.publish(row, replace(first.report, evaluation=evaluation), 1)
    return row


def test_mistakes_are_shown_as_pictures_with_both_answers(web, judged):
    assert "the 2 labels that the model gets wrong" in re.sub(r"\s+", " ", web.get(MODEL).text)
    text = web.get(f"{MODEL}/mistakes").text
    assert_sound(text)
    assert re.findall(r'images/(\d+)\.webp" alt', text) == ["3", "4"]
    assert "readers: <b>b</b>" in text
    assert "model: <b>a</b>, 70%" in text


def test_a_number_of_the_confusion_matrix_leads_to_its_pictures(web, judged):
    href = re.search(r'href="([^"]*mistakes\?given=b[^"]*)"', web.get(MODEL).text).group(1).replace("&amp;", "&")
    assert re.findall(r'images/(\d+)\.webp" alt', web.get(href).text) == ["3"]


def test_mistakes_that_are_not_there_are_said_not_to_be(web, stores, judged):
    assert "No such mistake" in web.get(f"{MODEL}/mistakes?given=a&said=a").text
    text = web.get(f"{MODEL}/mistakes?given=%3Cscript%3E").text
    assert "<script>" not in text.replace('<script src="', "")
    stores.projects.register(2)
    assert "Nothing to judge by yet" in web.get("/projects/2/model/mistakes").text


def test_thresholds_are_drawn_and_listed_for_what_is_looked_for(web, judged):
    text = web.get(MODEL).text
    assert '<td class="n">0.80</td><td class="n">1 of 2</td><td class="n">1</td>' in text
    assert '<td class="n">0.30</td><td class="n">2 of 2</td><td class="n">3</td>' in text
    assert_sound(text)


def test_the_fields_that_the_tasks_have_are_offered_for_the_card(web, stores, judged):
    assert '<input name="field"' in web.get(MODEL).text
    stores.projects.change(1, task_fields=[["<sex>", 90, 2], ["case.age", 100, 9]])
    text = web.get(MODEL).text
    assert_sound(text)
    assert re.findall(r"<option>([^<]*)</option>", text.split("By field of the tasks")[1].split("</select>")[0]) == [
        "&lt;sex&gt;",
        "case.age",
    ]


def test_sites_are_compared_where_the_tasks_name_several(web, stores, judged):
    assert "Does a site do worse" not in web.get(MODEL).text
    addresses = {task: f"/data/local-files/?d={task}.png" for task in range(1, 101)}
    sites = {1: "north", 2: "north", 3: "<south>", 4: "<south>"}
    stores.images.synchronise(1, addresses, complete=True, sites=sites)
    text = web.get(MODEL).text
    assert "Does a site do worse" in text
    assert re.search(r'<th scope="row">&lt;south&gt;</th>\s*<td class="n">[^<]*<span class="hint">0 of 1<', text)
    assert_sound(text)


def test_a_curve_needs_two_rounds_and_shows_what_was_called_right_in_each(web, stores, filled):
    assert "Has it got better" not in web.get(MODEL).text
    later_round(stores, stores.rounds.published(1))
    text = web.get(MODEL).text
    assert "Has it got better" in text
    assert re.search(r'<td class="n">50</td><td class="n">[^<]*<span class="hint">7 of 8<', text)
    assert re.search(r'<td class="n">93</td><td class="n">[^<]*<span class="hint">7 of 9<', text)


def test_the_other_classes_have_a_curve_too(web, stores, filled):
    later_round(stores, stores.rounds.published(1))
    text = web.get(MODEL).text
    assert_sound(text)
    sought, others = text.split("Has it got better at the other classes?")
    assert re.findall(r"Recall of (\w) against labels", sought) == ["b"]
    assert re.findall(r"Recall of (\w) against labels", others) == ["a"]
    assert re.search(r'<td class="n">93</td><td class="n">[^<]*<span class="hint">80 of 84<', others)


def test_curves_outlast_a_round_that_nothing_could_be_judged_in(web, stores, filled):
    later_round(stores, stores.rounds.published(1))
    stores.rounds.publish(start_round(stores, 1), replace(stores.rounds.published(1).report, evaluation=None), 1)
    text = web.get(MODEL).text
    assert_sound(text)
    assert "Has it got better at the other classes?" in text


def test_of_several_findings_each_has_a_curve_at_a_given_specificity(web, stores, filled):
    for labels, recall in ((40, 0.5), (80, 0.75)):
        findings = [FindingMeasures(name, 8, labels, 0.6, recall, 0.2) for name in "ba"]
        evaluation = Evaluation((), (), (), "m", tuple(findings), ((8, 2), (2, 8)))
        report = replace(stores.rounds.published(1).report, evaluation=evaluation)
        stores.rounds.publish(start_round(stores, 1), report, 1)
    text = web.get(MODEL).text
    assert_sound(text)
    sought, others = text.split("Has it got better at other findings?")
    assert "called right where nine in ten without it are not called" in sought
    for part in (sought, others):
        assert re.search(r'<td class="n">80</td><td class="n">[^<]*<span class="hint">6 of 8<', part)


def test_each_point_of_the_thresholds_says_what_it_would_find(web, judged):
    assert "<title>Score from 0.30: 2 of 2 found, 3 called</title>" in web.get(MODEL).text


def test_a_class_without_labels_is_listed(web, stores, filled):
    config = stores.projects.get(1).label_config.replace(
        '<Choice value="b"/>', '<Choice value="b"/><Choice value="z"/>'
    )
    stores.projects.change(1, label_config=config)
    assert re.search(r'<th scope="row">z</th>\s*<td class="n">–</td>', web.get(MODEL).text)


def test_before_going_back_a_page_says_what_changes_and_asks(web, stores, filled):
    later_round(stores, stores.rounds.published(1))
    assert "/projects/1/rollback?round=1" in web.get(MODEL).text
    assert "<form" not in web.get(MODEL).text.split("rounds-title")[1]
    text = web.get("/projects/1/rollback?round=1").text
    assert_sound(text)
    assert "Go back to round 1?" in text
    assert "about 29" in text  # one of the 30 is answered
    assert "No label is lost" in text
    assert stores.rounds.published(1).number == 2


def test_the_lead_is_told_before_and_after_that_a_due_round_takes_the_place(web, stores, filled, monkeypatch):
    later_round(stores, stores.rounds.published(1))
    stores.projects.change(1, request="an exemplar was tagged on the project's page")
    told = "A round is due (an exemplar was tagged on the project&#39;s page), and takes the place of round 1"
    text = web.get("/projects/1/rollback?round=1").text
    assert_sound(text)
    assert text.index(told) < text.index("<form")
    # Without a Label Studio nothing is published: what is gone back to is taken as done.
    monkeypatch.setattr(Backend, "rollback", lambda *_: filled)
    assert told in send(web, "rollback", "/model", round="1")


def test_going_back_is_told_as_done_where_what_follows_cannot_be_told(web, stores, filled, monkeypatch):
    def fail(*_):
        raise StorageError("The disk fails.", "See to it.")

    later_round(stores, stores.rounds.published(1))
    monkeypatch.setattr(Backend, "rollback", lambda *_: filled)
    monkeypatch.setattr(actions, "what_follows", fail)
    text = send(web, "rollback", "/model", round="1")
    assert "Readers get the queue and the model of round 1 again" in text
    assert "What follows cannot be told: The disk fails. See to it." in text


def test_a_round_that_cannot_be_gone_back_to_is_no_page(web, filled):
    for number in ("1", "7", "999999"):
        answer = web.get(f"/projects/1/rollback?round={number}")
        assert (answer.status_code, answer.headers["location"]) == (303, MODEL)
    assert web.get("/projects/1/rollback?round=x").status_code == 404
