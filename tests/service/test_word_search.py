"""The cases most like words. What stands for two towers: mean colours, and colours."""

import pytest

from clinical_backend.errors import InvalidArgumentError, ModelError
from clinical_backend.service.word_search import find_by_words
from tests.rounds.coloured_cells import RED, fake_client, project, run, studio
from tests.rounds.fake_label_studio import CONFIG
from tests.rounds.test_words import asked, tower
from tests.small_workspace import picture

__all__ = ["asked", "fake_client", "project", "studio", "tower"]  # fixtures


def found(project, *texts, contrasts=("a dark cell",), limit=3):
    return find_by_words(project, texts, contrasts, limit)


@pytest.mark.parametrize("contrasts", [("a dark cell",), ()])
def test_the_likest_come_first_and_nothing_is_changed(project, asked, tower, contrasts):
    run(project)
    like = found(project, " a red  cell ", contrasts=contrasts)
    assert {one.task_id for one in like.neighbours} == set(RED)
    assert like.compared == like.known > len(RED)
    assert (project.stores.phrasings.all(1), project.row.request) == ([], None)


def test_words_are_read_once_for_who_tries_again(project, asked, tower):
    run(project)
    assert found(project, "a red cell") == found(project, "a red cell")
    assert asked == [["a red cell", "a dark cell"]]


def test_the_test_set_is_left_out(project, tower, monkeypatch):
    run(project)
    monkeypatch.setattr(project.stores.test_sets, "ids", lambda _: frozenset(RED))
    assert {one.task_id for one in found(project, "a red cell", limit=100).neighbours}.isdisjoint(RED)


def test_of_tasks_with_several_images_the_likest_counts(project, studio, tower):
    studio.config = CONFIG.replace('value="$image"', 'valueList="$image"')
    studio.data = {task: {"image": [picture(5, task, 90), uri]} for task, uri in studio.uris.items()}
    studio.uris = dict.fromkeys(studio.uris, "")
    run(project)
    assert {one.task_id for one in found(project, "a red cell").neighbours} == set(RED)


def test_before_a_round_has_read_an_image_no_tower_is_asked(project, asked, tower):
    like = found(project, "a red cell")
    assert (like.neighbours, like.known, asked) == ((), 0, [])


@pytest.mark.parametrize("texts", [[], [" "], ["x" * 201], ["a dark cell"]])
def test_words_that_cannot_be_looked_for_are_refused(project, asked, tower, texts):
    run(project)
    with pytest.raises(InvalidArgumentError):
        found(project, *texts)
    assert asked == []


def test_a_backbone_without_a_text_tower_says_what_to_set(project):
    run(project)
    with pytest.raises(ModelError, match=r"has no text tower.*Set BACKBONE to"):
        found(project, "a red cell")
