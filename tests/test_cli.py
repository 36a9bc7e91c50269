import json
import os
import pty
import sys
from contextlib import closing, redirect_stdout
from importlib.metadata import version
from io import BytesIO, TextIOWrapper

import pytest
import uvicorn
from typer.testing import CliRunner

from clinical_backend import cli
from clinical_backend.commands import status_lines
from clinical_backend.commands import terminal as terminal_commands
from clinical_backend.errors import LabelingConfigError
from clinical_backend.findings.interval import Interval
from clinical_backend.labelstudio.connection import connect as connecting
from clinical_backend.origins import Draw, Origin
from clinical_backend.service.findings import Findings
from clinical_backend.settings import load_settings
from clinical_backend.storage import database as database_module
from clinical_backend.storage.database import Database
from clinical_backend.storage.report import Counts, Evaluation, Kind, Question, RoundReport
from clinical_backend.storage.schema import TaskImage, TaskLabel
from clinical_backend.storage.stores.stores import Stores
from clinical_backend.workspace.project_options import choose_rare
from clinical_backend.workspace.workspace import Workspace
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


def test_backbones_are_listed_by_what_the_images_are():
    every, radiographs = run("backbones").stdout, run("backbones", "xray").stdout
    assert (
        "hf-hub:microsoft/rad-dino\n    86.6 M parameters, 768 values, 518 px; 346 MB to download; MIT" in radiographs
    )
    assert "HAI-DEF terms, gated; needs: a GPU" in radiographs
    assert "MahmoodLab/UNI" in every
    assert "MahmoodLab/UNI" not in radiographs
    assert "tried in their form" in radiographs


def test_backbones_for_images_that_are_not_known_are_refused(capsys, monkeypatch):
    assert "Use one of any, xray, ct, skin" in fail(capsys, monkeypatch, "backbones", "brain")


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


@pytest.fixture
def project(tmp_path):
    """Return a project 4 with labels, a queue that was published, and a question that is open."""
    database = Database.in_folder(tmp_path / "data")
    stores = Stores(database)
    stores.projects.register(4)
    stores.projects.change(4, title="Blood\x1b[2J cells")
    evaluation = Evaluation(classes=("rare", "common"), confusion=((3, 1), (0, 8)), support=(4, 8), method="m")
    report = RoundReport(acquisition="flqmi", target=("rare",), counts=Counts(queue=12), evaluation=evaluation)
    stores.rounds.publish(start_round(stores, 4), report, 9)
    with database.write() as session:
        for task in range(12):
            label = "rare" if task < 4 else "common"
            origin, draw = (Origin.IMPORTED, None) if task == 0 else (Origin.QUEUE, Draw.TARGET)
            session.add(
                TaskLabel(
                    project_id=4,
                    task_id=task,
                    label=label,
                    steer=int(task < 2),
                    origin=origin,
                    draw=draw,
                    labelled_at=1.0,
                )
            )
            session.add(TaskImage(project_id=4, task_id=100 + task, uri="u", digest=f"d{task}"))
    yield stores
    database.close()


def test_status_is_seven_lines_for_a_lead(project):
    shown = run("status", "--project", "4")
    assert shown.exit_code == 0
    lines = [line.split("  ", 1) for line in shown.stdout.splitlines()]
    assert {heading.strip(): text.strip() for heading, text in lines} == {
        "Project 4": "'Blood\\x1b[2J cells' looks for rare, by tags",
        "Labels": "12 tasks labelled, 12 to go; 2 exemplars tagged",
        "Found": "4 rare cases, 3 of them in 11 labels from queues; random order: known after 20 more labels of random"
        " draws",
        "Recall": "cannot be known: 20 more labels of random draws are needed.",
        "Queue": "9 of 12 tasks left of round 1, just now",
        "Model": "recognises 3 of 4 rare (19% to 99%) that it did not learn from",
        "Needs attention": "nothing",
    }


def test_status_says_what_needs_attention_and_where(project):
    project.projects.change(4, problem="The disk is full. Free some of it.", request="a tag changed")
    start_round(project, 4)
    shown = run("status", "--project", "4").stdout
    assert "Needs attention  The disk is full. Free some of it. http://127.0.0.1:9090/projects/4" in shown
    assert "round 2 is running: reading tasks and labels" in shown


@pytest.mark.parametrize(
    ("columns", "attention", "queue"),
    [
        ({"standing_back": "Another serves it."}, "Another serves it.", "another installation serves the project"),
        ({"drift": {"left": {"queue": "missing"}}}, "Rounds rest while predictions", "; rounds rest while predictions"),
        ({"request": "r", "requested_at": 1.0, "not_before": 0.0}, "A round has been due for", "a round is due"),
    ],
)
def test_status_tells_why_no_round_runs(project, columns, attention, queue):
    project.projects.change(4, **columns)
    shown = run("status", "--project", "4").stdout
    assert f"Needs attention  {attention}" in shown
    assert queue in shown


def test_status_counts_tasks_that_something_is_wrong_with(project):
    with project.database.write() as session:
        image = session.get(TaskImage, (4, 100))
        image.problem, image.attempts = "It is no image.", 1
        session.get(TaskLabel, (4, 1)).unread = "It has no class."
    shown = run("status", "--project", "4").stdout
    assert "Needs attention  1 answer cannot be read as a class. And 1 more. http://127.0.0.1:9090/projects/4" in shown


def test_status_names_what_became_of_lost_answers_before_it_asks(project):
    lost = "20 answered tasks have no class: the answers are of 'label' (20). Call the control so."
    question = Question(Kind.COMMON, "rare", (), "Half of all.")
    report = RoundReport(questions=(question,), doubtful_labels=(lost,))
    project.rounds.publish(start_round(project, 4), report, 9)
    with project.database.write() as session:
        session.add(TaskImage(project_id=4, task_id=200, uri="u", problem="It is damaged.", attempts=1))
    shown = run("status", "--project", "4").stdout
    assert f"Needs attention  {lost} And 2 more. " in shown


def test_status_does_not_say_that_nothing_is_looked_for_while_the_first_round_is_to_come(tmp_path):
    with closing(Database.in_folder(tmp_path / "data")) as database:
        workspace = Workspace(load_settings(model_dir=tmp_path), database)
        workspace.stores.projects.register(4)
        choose_rare(workspace.project(4), ["scar"])
    shown = run("status", "--project", "4").stdout
    assert "looks for scar" in shown
    assert "Found            nothing yet: no round has looked for it" in shown


def test_status_of_a_project_that_only_just_came(tmp_path):
    database = Database.in_folder(tmp_path / "data")
    Stores(database).projects.register(4)
    database.close()
    shown = run("status", "--project", "4").stdout
    assert len(shown.splitlines()) == 7
    assert "looks for nothing yet" in shown
    assert "none is published yet; a round is due, because " in shown


def test_status_says_that_tagged_cases_without_a_class_are_looked_for(tmp_path):
    with closing(Database.in_folder(tmp_path / "data")) as database:
        stores = Stores(database)
        stores.projects.register(4)
        stores.rounds.publish(start_round(stores, 4), RoundReport(counts=Counts(exemplars=1)), 9)
    shown = run("status", "--project", "4").stdout
    assert "looks for what is like 1 tagged case without a class" in shown


@pytest.mark.parametrize(
    ("interval", "text"),
    [
        (Interval(0.05, 0.02, 0.1), "about 5.0 (95 % interval 2.0 to 10)"),
        (Interval(None, None, 0.03), "at most 3.0, with 95 % confidence"),
        (Interval(None, 0.2, None), "at least 20, with 95 % confidence"),
        (None, "known after 7 more labels of random draws"),
    ],
)
def test_status_says_of_random_order_what_the_evidence_carries(interval, text):
    found = Findings(target=("rare",), found=9, curve=[(0, 0), (100, 9)], prevalence=interval, missing=7)
    assert text in status_lines.found_line(found)


def test_status_for_machines_is_json_and_an_unknown_project_says_how_to_connect(project):
    found = json.loads(run("status", "--project", "4", "--json").stdout)
    assert (found["queue_left"], found["round"]["number"], found["round"]["acquisition"]) == (9, 1, "flqmi")
    unknown = run("status", "--project", "5")
    assert unknown.exit_code == 1
    assert "clinical connect --project 5" in unknown.stdout


@pytest.mark.parametrize(("variables", "coloured"), [({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)])
def test_colours_are_for_terminals_that_want_them(project, monkeypatch, variables, coloured):
    for name in ("NO_COLOR", "FORCE_COLOR", "TERM"):
        monkeypatch.delenv(name, raising=False)
    for name, value in ({"TERM": "xterm"} | variables).items():
        monkeypatch.setenv(name, value)
    assert "\x1b" not in run("status", "--project", "4").stdout
    ours, theirs = pty.openpty()
    with os.fdopen(theirs, "w", encoding="utf-8") as terminal, redirect_stdout(terminal):
        terminal_commands.say("✗ wrong", leading=1, mood="error")
    assert ("\x1b[31m" in os.read(ours, 1000).decode()) == coloured
    os.close(ours)


def test_what_the_encoding_of_a_terminal_has_no_sign_for_is_escaped(project, monkeypatch):
    project.projects.change(4, title="血液", problem="✗ wrong")
    written = BytesIO()
    monkeypatch.setattr(sys, "stdout", TextIOWrapper(written, encoding="latin-1"))
    monkeypatch.setattr(sys, "argv", ["clinical", "status", "--project", "4"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert not ended.value.code
    shown = written.getvalue().decode("latin-1")
    assert r"'\u8840\u6db2' looks for rare" in shown
    assert r"\u2717 wrong" in shown


def test_the_version_is_that_of_the_package():
    shown = run("--version")
    assert (shown.exit_code, shown.stdout) == (0, f"clinical {version('clinical-backend')}\n")


def test_serve_listens_where_it_is_told_whatever_the_settings_say(capsys, monkeypatch):
    monkeypatch.setenv("LABEL_STUDIO_API_KEY", "key")
    monkeypatch.setenv("HOST", "127.0.0.1")
    monkeypatch.setenv("PORT", "1")
    served = []
    monkeypatch.setattr(uvicorn, "run", lambda app, **options: served.append((options["host"], options["port"])))
    assert run("serve", "--port", "9191", "--host", "::1").exit_code == 0
    assert served == [("::1", 9191)]
    assert (os.environ["HOST"], os.environ["PORT"]) == ("::1", "9191")
    assert "OPEN_ACCESS" in fail(capsys, monkeypatch, "serve", "--host", "0.0.0.0")
    assert run("serve", "--port", "70000").exit_code == 2
    assert len(served) == 1


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


def test_the_doctor_opens_and_checks_the_database_once_and_says_what_is_wrong_with_options(monkeypatch, tmp_path):
    stores = Stores(Database.in_folder(tmp_path / "data"))
    stores.projects.register(1, {"queue_size": "many"})
    opened, check = [], database_module.check_pages
    monkeypatch.setattr(database_module, "check_pages", lambda connection: opened.append(check(connection)))
    monkeypatch.setenv("LABEL_STUDIO_API_KEY", "key")
    said = run("doctor", "--project", "1")
    assert len(opened) == 1
    assert "✓ database: The SQLite database can be read and written" in said.stdout
    assert "✗ settings: The extra parameters of project 1 are wrong: queue_size" in said.stdout


@pytest.mark.parametrize(
    ("arguments", "cure"),
    [
        (["import"], "Give paths, or --dicomweb"),
        (["import", "films", "--dicomweb", "http://localhost:8042/dicom-web"], "Give paths, or --dicomweb"),
        (["import", "--convert", "films"], "Leave SOURCE out"),
        (["import", "--convert", "--modality", "MG"], "Leave --modality out"),
        (["import", ".", "--modality", "MG"], "Leave --modality out"),
        (["import", ".", "--match", "PatientID=1"], "Leave --match out"),
        (["import", ".", "--report", "nowhere/report.csv"], "Name one in a folder that is there"),
        (["export", ".", "--dicom-sr", "reports", "--study", "1.2"], "Leave --study out"),
        (["export", ".", "--dicom-sr", "reports", "--report", "."], "Name one in a folder that is there"),
        (["export", ".", "--dicom-sr", __file__], "name another folder by --dicom-sr"),
        (["import", "--dicomweb", "pacs"], "Give one such as http://localhost:8042/dicom-web"),
        (["export", "films"], "Name a folder; for reports give --dicom-sr, or --store"),
        (["export", ".", "--out", "labels"], "Leave SOURCE out"),
        (["export", "--out", "labels", "--store"], "Leave --store out"),
        (["export", "--out", "labels"], "Run `clinical connect --project 1`"),
        (["export", ".", "--dicom-sr", "reports", "--field", "site"], "Leave --field out"),
        (["export", ".", "--store"], "Name the archive by --dicomweb"),
        (["export-model", "model.onnx"], "wait for the next round"),
    ],
)
def test_an_import_or_export_that_cannot_be_meant_is_refused(capsys, monkeypatch, tmp_path, arguments, cure):
    monkeypatch.setenv("MODEL_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("LABEL_STUDIO_API_KEY", "token")
    assert cure in fail(capsys, monkeypatch, arguments[0], "--project", "1", *arguments[1:])


def test_predicting_by_a_file_that_is_no_model_is_refused(capsys, monkeypatch):
    assert "Name a file that `clinical export-model` wrote" in fail(capsys, monkeypatch, "predict", "none.onnx", ".")
    assert "exported whole" in fail(capsys, monkeypatch, "predict", __file__, ".")


def test_an_import_of_a_path_that_is_not_there_is_refused(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("MODEL_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("LABEL_STUDIO_API_KEY", "token")
    said = fail(capsys, monkeypatch, "import", "--project", "1", str(tmp_path / "nothing"))
    assert "There is no file or folder" in said
