"""The command ``clinical testset``, over a database that is filled by hand."""

import sys

import pytest
from typer.testing import CliRunner

from clinical_backend import cli
from tests.test_exemplar_commands import environment, stores

__all__ = ["environment", "stores"]  # fixtures


def run(*arguments):
    return CliRunner().invoke(cli.app, ["testset", "--project", *arguments])


def test_a_test_set_is_asked_for_with_what_it_stands_for(stores):
    stores.images.synchronise(2, {task: f"http://host/{task}" for task in range(1, 41)}, complete=True)
    stores.projects.change(2, request=None)
    assert "No test set was asked for" in run("2").output
    said = " ".join(run("2", "--size", "10", "--seed", "3", "--twice").output.split())
    assert "3 tasks are answered already" in said
    assert "GROUP_FIELD names no patient" in said
    assert "The next round draws 10 tasks or a few more" in said
    wish = stores.test_sets.wish(2)
    assert (wish.size, wish.seed, wish.by, stores.test_sets.get(2).readings) == (10, 3, "ada", 2)
    assert stores.projects.get(2).request == "a test set is to be drawn"
    assert "The next round draws 10 tasks" in run("2").output
    status = CliRunner().invoke(cli.app, ["status", "--project", "2"]).output
    assert "Test set" in status


@pytest.mark.parametrize(
    ("arguments", "said"),
    [(["--size", "40"], "some must be left to search"), (["--extend"], "there is no test set yet")],
)
def test_what_cannot_be_drawn_is_refused_with_the_cure(stores, capsys, monkeypatch, arguments, said):
    stores.images.synchronise(2, {task: f"http://host/{task}" for task in range(1, 41)}, complete=True)
    monkeypatch.setattr(sys, "argv", ["clinical", "testset", "--project", "2", *arguments])
    with pytest.raises(SystemExit):
        cli.main()
    assert said in " ".join(capsys.readouterr().err.split())
    assert stores.test_sets.get(2) is None


def test_a_size_of_none_and_an_unknown_project_are_refused(stores):
    assert run("2", "--size", "0").exit_code == 2
    assert run("9", "--size", "5").exit_code == 1
