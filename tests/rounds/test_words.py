"""Rounds of projects whose findings are looked for by words. What stands for two towers: mean colours, and colours."""

import numpy as np
import pytest
from sqlalchemy import update

from clinical_backend.errors import InvalidArgumentError, ModelError
from clinical_backend.learner.backbones.joint_space import JointSpace
from clinical_backend.learner.backbones.preprocessing import unit
from clinical_backend.rounds.questions import open_questions
from clinical_backend.rounds.rollback import roll_back
from clinical_backend.service import phrasings
from clinical_backend.service.phrasings import idle_because, keep_phrasings, remove_phrasings, suggested, words_problem
from clinical_backend.storage.report import Kind
from clinical_backend.storage.schema import FindingWords
from clinical_backend.strategy.reasons import reason_of
from clinical_backend.workspace import word_scores
from clinical_backend.workspace.project_options import decline, look_for
from tests.rounds.coloured_cells import RED, fake_client, project, red_lead, run, sought, studio
from tests.rounds.fake_label_studio import CONFIG
from tests.small_workspace import AnotherNetwork, picture, reopened

__all__ = ["fake_client", "project", "studio"]  # fixtures

COLOURS = {"a red cell": [1, 0.1, 0.1, 1], "a dark cell": [0.1, 0.3, 0.3, 1], "a blue cell": [0, 0, 1, 1]}


@pytest.fixture
def asked():
    """Return the texts that the tower was asked for, call by call."""
    return []


@pytest.fixture
def tower(monkeypatch, asked):
    """Put colours in the place of a text tower."""

    def embed(spec, texts, *, tokenizer=None):
        asked.append(list(texts))
        return unit(np.array([COLOURS[text] for text in texts], dtype=np.float32))

    monkeypatch.setattr(word_scores, "embed_texts", embed)
    monkeypatch.setattr(word_scores, "joint_space_of", lambda spec: JointSpace(None, 100.0))
    for module in (word_scores, phrasings):
        monkeypatch.setattr(module, "require_text_tower", lambda spec: None)


def say(project, *texts, finding="red", contrasts=("a dark cell",)):
    project.stores.projects.change(1, label_config=CONFIG)
    keep_phrasings(project, finding, ("dark", "red"), texts or ("a red cell",), contrasts, by="ada")


def test_words_bring_a_finding_to_the_front_before_anybody_met_one(project, tower):
    assert run(project).report.acquisition == "coreset"
    say(project)
    assert project.row.request == "words for a finding were changed"
    published = run(project)
    assert (published.report.acquisition, published.report.target) == ("quality_diversity", ("red",))
    assert published.report.reason.startswith("words for red")
    assert red_lead(project, published)
    best = sought(project, published)[0]
    assert best.words == "a red cell"
    assert reason_of(best) == "Like the words “a red cell”."


def test_they_go_on_beside_exemplars_and_without_them_nothing_is_left_of_them(project, studio, tower):
    say(project)
    studio.annotate(RED[0], "red", exemplar=True)
    studio.annotate(1, "dark")
    published = run(project)
    assert "1 exemplar tagged by readers and words for red" in published.report.reason
    assert red_lead(project, published)
    assert remove_phrasings(project, "red")
    after = run(project)
    assert "words" not in after.report.reason
    assert all(row.words is None for row in project.stores.rounds.queue(after.id))


def test_the_reason_survives_going_back_to_the_round(project, tower):
    say(project)
    first = run(project)
    remove_phrasings(project, "red")
    run(project)
    again = roll_back(project, first.number)
    assert sought(project, again)[0].words == "a red cell"


def test_texts_are_placed_once_for_each_backbone(project, workspace, tower, tmp_path, asked):
    say(project)
    run(project)
    run(project)
    assert asked == [["a red cell", "a dark cell"]]
    other = reopened(workspace, backbone=AnotherNetwork(tmp_path)).project(1)
    assert red_lead(other, run(other))
    assert len(asked) == 2
    say(other, "a blue cell")
    run(other)
    assert asked[2:] == [["a blue cell", "a dark cell"]]


def test_places_that_were_damaged_are_made_anew(project, tower, asked):
    say(project)
    run(project)
    with project.stores.database.write() as session:
        session.execute(update(FindingWords).values(places=b"x"))
    assert red_lead(project, run(project))
    assert len(asked) == 2


def test_without_a_text_tower_the_round_says_so_and_goes_on(project):
    project.stores.projects.change(1, label_config=CONFIG)
    project.stores.phrasings.keep(1, "red", ["a red cell"], [], by="ada")
    published = run(project)
    assert published.report.acquisition == "coreset"
    assert [note for note in published.report.notes if note.startswith("The words for red are not used. The backbone")]
    assert "Set BACKBONE to" in published.report.notes[-1]


def test_a_tower_that_fails_stops_no_round(project, tower, monkeypatch):
    def fail(*_, **__):
        raise ModelError("The text tower came to no end.", "Check its folder.")

    say(project)
    monkeypatch.setattr(word_scores, "embed_texts", fail)
    published = run(project)
    assert published.report.acquisition == "coreset"
    assert "The words for red are not used. The text tower came to no end. Check its folder." in published.report.notes


def test_nobody_is_asked_what_is_rare_where_words_tell(project, tower):
    say(project)
    assert [one.kind for one in open_questions(project)] == []
    assert Kind.WHICH not in {one.kind for one in run(project).report.questions}


def test_of_tasks_with_several_images_the_likest_counts(project, studio, tower):
    studio.config = CONFIG.replace('value="$image"', 'valueList="$image"')
    studio.data = {task: {"image": [picture(5, task, 90), uri]} for task, uri in studio.uris.items()}
    studio.uris = dict.fromkeys(studio.uris, "")
    say(project)
    assert red_lead(project, run(project))
    studio.annotate(RED[0], "red", exemplar=True)
    studio.annotate(1, "dark")
    published = run(project)
    assert published.report.features.startswith("the image that decides")
    assert red_lead(project, published)


def test_of_several_findings_each_has_its_own(project, studio, tower):
    studio.config = CONFIG.replace('choice="single"', 'choice="multiple"')
    say(project)
    studio.annotate(1, "dark")
    studio.annotate(2, "dark")
    published = run(project)
    assert published.report.target == ("red",)
    assert red_lead(project, published)


def test_words_are_refused_with_what_to_do(project, tower):
    project.stores.projects.change(1, label_config=CONFIG)
    wrong = [("green", ["x"]), ("red", []), ("red", [" "]), ("red", ["x" * 201]), ("red", [str(n) for n in range(21)])]
    for finding, texts in wrong:
        with pytest.raises(InvalidArgumentError):
            keep_phrasings(project, finding, ("dark", "red"), texts, (), by="ada")
    assert project.stores.phrasings.all(1) == []
    with pytest.raises(InvalidArgumentError, match="'A Red cell' is looked for as well"):
        keep_phrasings(project, "red", ("dark", "red"), ["a red cell", "b"], ["c", "A Red  cell"], by="ada")
    given = ["  a \t red\x07  cell ", "a red cell", "", "\u200b\u202e", "خلية\u200fحمراء 🩸\udc80\0", "<b>&amp;"]
    keep_phrasings(project, "red", ("dark", "red"), given, ["b", "b\u200b"], by="ada")
    (kept,) = project.stores.phrasings.all(1)
    assert (kept.phrasings, kept.contrasts) == (("a red cell", "خلية حمراء 🩸", "<b>&amp;"), ("b",))


def test_words_for_what_is_not_looked_for_are_said_to_wait(project, tower):
    say(project)
    assert idle_because(project, "red") == ""
    decline(project, "red")
    assert "it was said not to be looked for" in idle_because(project, "red")
    look_for(project, "dark")
    assert "dark is looked for by name. Choose it, too." in idle_because(project, "red")
    assert run(project).report.target == ("dark",)
    look_for(project, "red")
    assert idle_because(project, "red") == ""


def test_a_text_tower_of_another_width_stops_no_round(project, tower, monkeypatch):
    say(project)
    monkeypatch.setattr(word_scores, "embed_texts", lambda spec, texts, *, tokenizer=None: np.ones((len(texts), 7)))
    published = run(project)
    assert published.report.acquisition == "coreset"
    assert "Images and texts of the backbone have 4 and 7 dimensions." in published.report.notes[-1]


def test_a_backbone_without_a_text_tower_takes_none(project):
    project.stores.projects.change(1, label_config=CONFIG)
    assert "has no text tower" in words_problem(project)
    with pytest.raises(ModelError, match="Set BACKBONE to"):
        keep_phrasings(project, "red", ("dark", "red"), ["a red cell"], (), by="ada")


def test_what_is_suggested_names_the_finding_and_tells_it_from_the_others():
    phrasings, contrasts = suggested("red", ("dark", "red"))
    assert all("red" in text for text in phrasings)
    assert "a medical image of dark" in contrasts
    assert not any("red" in text for text in contrasts)
