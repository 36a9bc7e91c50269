import json
import sys

import pytest
from typer.testing import CliRunner

from clinical_backend import cli
from clinical_backend.errors import LabelingConfigError
from clinical_backend.labelstudio import connect as connecting
from clinical_backend.storage.database import Database
from clinical_backend.storage.stores import Stores
from tests.storage.started import start_round


@pytest.fixture(autouse=True)
def environment(tmp_path, monkeypatch):
    """Run in an empty folder, where no .env of a developer is read."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MODEL_DIR", str(tmp_path / "data"))
    for name in ("DATABASE_URL", "LABEL_STUDIO_API_KEY", "BASIC_AUTH_USER", "BASIC_AUTH_PASS"):
        monkeypatch.delenv(name, raising=False)


def run(*arguments):
    return CliRunner().invoke(cli.app, list(arguments))


def fail(capsys, monkeypatch, *arguments):
    """Return what a command that ends with an error of ours prints."""
    monkeypatch.setattr(sys, "argv", ["clinical", *arguments])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    return printed.err


def test_help_names_the_commands_for_people_alone():
    shown = run("--help").stdout
    assert all(command in shown for command in ("serve", "worker", "connect", "doctor", "status", "demo", "bench"))
    assert "--embedded" not in run("worker", "--help").stdout


def test_a_worker_of_its_own_needs_redis(capsys, monkeypatch):
    said = fail(capsys, monkeypatch, "worker")
    assert said.startswith("clinical: REDIS_URL is not set.")
    monkeypatch.setenv("REDIS_URL", "password@nowhere")
    said = fail(capsys, monkeypatch, "worker")
    assert "REDIS_URL is no address" in said
    assert "password" not in said


def test_several_server_processes_need_redis(capsys, monkeypatch):
    monkeypatch.setenv("WORKERS", "2")
    assert "set REDIS_URL" in fail(capsys, monkeypatch, "serve")


@pytest.mark.parametrize("command", [("serve",), ("doctor", "--project", "1"), ("connect", "--project", "1")])
def test_a_missing_key_is_one_line_with_its_cure(capsys, monkeypatch, command):
    said = fail(capsys, monkeypatch, *command)
    assert said.startswith("clinical: LABEL_STUDIO_API_KEY is not set.")
    assert said.count("\n") == 1


def test_a_server_over_a_damaged_database_ends_with_one_line_and_its_cure(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("LABEL_STUDIO_API_KEY", "key")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "clinical.sqlite3").write_bytes(b"no database" * 100)
    said = fail(capsys, monkeypatch, "serve")
    assert "The database cannot be opened" in said
    assert said.count("\n") == 1


def test_a_wrong_setting_is_named(capsys, monkeypatch):
    monkeypatch.setenv("PORT", "many")
    assert "PORT" in fail(capsys, monkeypatch, "status", "--project", "1")


def test_a_label_studio_that_is_not_there_is_said_without_the_key(capsys, monkeypatch):
    monkeypatch.setenv("LABEL_STUDIO_API_KEY", "0123456789abcdef")
    monkeypatch.setenv("LABEL_STUDIO_URL", "no address")
    said = fail(capsys, monkeypatch, "connect", "--project", "1")
    assert "LABEL_STUDIO_URL" in said
    assert "0123456789abcdef" not in said


def test_status_shows_a_project_and_tells_how_to_connect_an_unknown_one(tmp_path):
    database = Database.in_folder(tmp_path / "data")
    stores = Stores(database)
    stores.projects.register(4)
    stores.rounds.publish(start_round(stores, 4), {"acquisition": "flqmi"}, 9)
    database.close()
    shown = run("status", "--project", "4")
    found = json.loads(shown.stdout)
    assert (found["queue_left"], found["round"]["number"], found["round"]["acquisition"]) == (9, 1, "flqmi")
    unknown = run("status", "--project", "5")
    assert unknown.exit_code == 1
    assert "clinical connect --project 5" in unknown.stdout


def test_a_rollback_names_what_can_be_gone_back_to(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("LABEL_STUDIO_API_KEY", "key")
    database = Database.in_folder(tmp_path / "data")
    Stores(database).projects.register(4)
    database.close()
    said = fail(capsys, monkeypatch, "rollback", "4", "1")
    assert said == "clinical: Round 1 of project 4 is not kept. There is no earlier one to go back to.\n"
    assert "Later rounds go on as usual" in " ".join(run("rollback", "--help").stdout.split())


def test_the_password_of_a_database_that_is_not_there_is_not_printed(capsys, monkeypatch):
    monkeypatch.setenv("DATABASE_URL", "postgresql://clinical:secret@127.0.0.1:1/none")
    said = fail(capsys, monkeypatch, "status", "--project", "1")
    assert said.startswith("clinical: The database cannot be opened: connection failed")
    assert "See that PostgreSQL runs" in said
    assert "secret" not in said
    assert said.count("\n") == 1


@pytest.fixture
def wired(monkeypatch):
    """Stand in for a Label Studio that has nothing to be changed but what is looked for."""
    monkeypatch.setenv("LABEL_STUDIO_API_KEY", "key")
    checked = []
    monkeypatch.setattr(connecting, "connect", lambda *_, rare_classes, **__: checked.append(rare_classes) or [])
    return checked


def test_connecting_names_what_is_looked_for_and_says_so(wired, tmp_path):
    arguments = ("connect", "--project", "4", "--no-exemplar-control")
    assert "Which finding is rare?" in run(*arguments).stdout
    shown = run(*arguments, "--rare", "carcinoma, basal", "--rare", "nevus").stdout
    assert "Looked for: carcinoma, basal, nevus." in shown
    assert wired == [(), ["carcinoma, basal", "nevus"]]
    assert "Looked for: carcinoma, basal, nevus." in run(*arguments).stdout
    database = Database.in_folder(tmp_path / "data")
    project = Stores(database).projects.get(4)
    database.close()
    assert project.page_options == {"rare_classes": ["carcinoma, basal", "nevus"]}


def test_connecting_with_a_class_that_is_refused_stores_nothing(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("LABEL_STUDIO_API_KEY", "key")

    def refuse(*_, **__):
        raise LabelingConfigError("The labeling config has no class 'x'.", "Name of these.")

    monkeypatch.setattr(connecting, "connect", refuse)
    said = fail(capsys, monkeypatch, "connect", "--project", "4", "--no-exemplar-control", "--rare", "x")
    assert said == "clinical: The labeling config has no class 'x'. Name of these.\n"
    database = Database.in_folder(tmp_path / "data")
    assert Stores(database).projects.get(4) is None
    database.close()
