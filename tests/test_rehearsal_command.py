"""The command ``clinical rehearse``, over a database that is filled by hand."""

import json
import sys
from contextlib import closing

import pytest
from typer.testing import CliRunner

from clinical_backend import cli
from clinical_backend.settings import load_settings
from clinical_backend.storage.database import Database
from clinical_backend.workspace import components
from clinical_backend.workspace.workspace import Workspace
from tests.lab.rehearsal.known_project import TASKS, enter, label
from tests.small_workspace import MeanColours
from tests.test_exemplar_commands import environment

__all__ = ["environment"]  # a fixture


@pytest.fixture
def project(tmp_path, monkeypatch):
    """Enter project 1, labelled as a whole; there is no key of Label Studio, and none is needed."""
    (tmp_path / "data").mkdir()
    monkeypatch.delenv("LABEL_STUDIO_API_KEY")
    network = MeanColours(tmp_path)
    monkeypatch.setattr(components, "open_backbone", lambda settings: network)
    with closing(Workspace(load_settings(), Database.in_folder(tmp_path / "data"), backbone=network)) as workspace:
        workspace.stores.projects.register(1)
        enter(workspace)
        label(workspace, range(1, TASKS + 1))


def run(*arguments):
    return CliRunner().invoke(cli.app, ["rehearse", "--project", "1", *arguments], env={"COLUMNS": "200"})


def test_a_table_says_what_other_settings_would_have_found(project, tmp_path):
    said = run("--acquisition", "flqmi", "--labels", "30", "--repeats", "2", "--out", str(tmp_path / "out"))
    assert said.exit_code == 0, said.output
    for words in ("your settings", "random order", "acquisition flqmi", "labels to 90%", "nothing has to be corrected"):
        assert words in said.output
    assert (tmp_path / "out/rehearsal.svg").is_file()


def test_machines_get_all_figures(project):
    said = run("--goal", "classifier", "--labels", "20", "--repeats", "1", "--json")
    assert said.exit_code == 0, said.output
    told = json.loads(said.stdout)
    assert [one["name"] for one in told["trials"]] == ["your settings", "random order", "goal classifier"]
    assert len(told["trials"][0]["found"][0]) == 20


def test_an_unknown_project_and_a_setting_that_is_none_are_refused(project, monkeypatch, capsys):
    unknown = CliRunner().invoke(cli.app, ["rehearse", "--project", "2"])
    assert unknown.exit_code == 1
    assert "Project 2 is not connected" in unknown.output
    monkeypatch.setattr(sys, "argv", ["clinical", "rehearse", "--project", "1", "--acquisition", "guess"])
    with pytest.raises(SystemExit):
        cli.main()
    assert "'guess' is not possible" in " ".join(capsys.readouterr().err.split())
