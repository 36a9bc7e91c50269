"""The commands ``clinical words``, over a database that is filled by hand."""

import sys

import pytest
from typer.testing import CliRunner

from clinical_backend import cli
from clinical_backend.service import phrasings
from tests.test_exemplar_commands import environment, stores

__all__ = ["environment", "stores"]  # fixtures


@pytest.fixture
def towers(monkeypatch):
    """Let the default backbone pass for one with a text tower."""
    monkeypatch.setattr(phrasings, "require_text_tower", lambda spec: None)


def run(*arguments):
    return CliRunner().invoke(cli.app, ["words", *arguments])


def test_words_are_set_listed_and_removed(stores, towers):
    said = run(
        "set", "--project", "1", "--finding", "red", "a red cell", "a cell that is red", "--contrast", "a dark cell"
    )
    assert said.exit_code == 0, said.output
    (kept,) = stores.phrasings.all(1)
    assert (kept.phrasings, kept.contrasts) == (("a red cell", "a cell that is red"), ("a dark cell",))
    assert (kept.changed_by, stores.projects.get(1).request) == ("ada", "words for a finding were changed")
    listed = run("list", "--project", "1").output
    assert "a cell that is red" in listed
    assert "not: a dark cell" in listed
    assert "not used" not in listed
    assert run("remove", "--project", "1", "--finding", "red").exit_code == 0
    assert run("remove", "--project", "1", "--finding", "red").exit_code == 1
    assert "looks for nothing by words" in run("list", "--project", "1").output


def test_without_words_suggested_ones_are_taken(stores, towers):
    assert run("set", "--project", "1", "--finding", "red", "--contrast", "a normal cell").exit_code == 0
    (kept,) = stores.phrasings.all(1)
    assert (kept.phrasings[0], kept.contrasts) == ("red", ("a normal cell",))


def test_a_backbone_without_a_text_tower_is_refused_with_what_to_set(stores, capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["clinical", "words", "set", "--project", "1", "--finding", "red", "a red cell"])
    with pytest.raises(SystemExit):
        cli.main()
    said = " ".join(capsys.readouterr().err.split())
    assert "has no text tower" in said
    assert "Set BACKBONE to" in said
    assert stores.phrasings.all(1) == []
    stores.phrasings.keep(1, "red", ["a red cell"], [], by="ada")
    assert "They are not used." in run("list", "--project", "1").output


def test_a_project_that_is_not_connected_takes_none(stores, towers):
    said = run("set", "--project", "7", "--finding", "red", "a red cell")
    assert said.exit_code == 1
    assert "clinical connect --project 7" in said.output
