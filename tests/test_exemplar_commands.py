"""The commands ``clinical exemplar``, over a database that is filled by hand."""

import sys
from io import BytesIO

import pytest
from PIL import Image
from typer.testing import CliRunner

from clinical_backend import cli
from clinical_backend.service import outside_exemplars
from clinical_backend.settings import load_settings
from clinical_backend.storage.database import Database
from clinical_backend.storage.schema import TaskLabel
from clinical_backend.storage.stores.stores import Stores
from tests.rounds.fake_label_studio import CONFIG
from tests.small_workspace import picture


@pytest.fixture(autouse=True)
def environment(tmp_path, monkeypatch):
    """Run in an empty folder, where no .env of a developer is read."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MODEL_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("LABEL_STUDIO_API_KEY", "k")
    monkeypatch.setenv("LOGNAME", "ada")
    monkeypatch.delenv("DATABASE_URL", raising=False)


@pytest.fixture
def stores(tmp_path):
    """Return the stores of projects 1 and 2; the second has two red cases, one of them tagged, and a dark one."""
    (tmp_path / "data").mkdir()
    found = Stores(Database.in_folder(load_settings().model_dir))
    for project in (1, 2):
        found.projects.register(project)
        found.projects.change(project, label_config=CONFIG, request=None)
    found.images.synchronise(2, {task: picture(50 * task) for task in (1, 2, 3)}, complete=True)
    labels = [(1, "red", 0), (2, "red", 1), (3, "dark", 0)]
    found.labels.replace(
        2, [TaskLabel(project_id=2, task_id=task, label=name, steer=tag, labelled_at=1.0) for task, name, tag in labels]
    )
    yield found
    found.database.close()


@pytest.fixture
def image(tmp_path):
    return saved(tmp_path / "case.png", "red")


def saved(path, colour):
    stream = BytesIO()
    Image.new("RGB", (20, 10), colour).save(stream, "PNG")
    path.write_bytes(stream.getvalue())
    return str(path)


def run(*arguments):
    return CliRunner().invoke(cli.app, ["exemplar", *arguments])


def add(*arguments, finding="red", project="1"):
    return run("add", "--project", project, "--finding", finding, *arguments)


def fail(capsys, monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["clinical", "exemplar", *arguments])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 1
    return capsys.readouterr().err


def test_files_are_added_listed_and_removed_with_who_gave_them(stores, image, tmp_path):
    done = add(image, saved(tmp_path / "two.png", "blue"), "--note", "Atlas of cells, page 12")
    assert done.exit_code == 0
    assert "2 exemplars added; a round is due." in done.output
    assert stores.projects.get(1).request == "exemplars from outside were added"
    listed = run("list", "--project", "1").output
    assert "1  red: case.png, by ada, 20" in listed
    assert "Atlas of cells, page 12" in listed
    assert "1 was there already" in add(image).output
    assert "Exemplar 1 is removed" in run("remove", "--project", "1", "1").output
    assert run("remove", "--project", "1", "1").exit_code == 1
    assert [one.name for one in stores.outside_exemplars.all(1)] == ["two.png"]


def test_what_is_no_image_is_refused_with_its_reason_and_the_rest_is_taken(stores, image, tmp_path):
    (tmp_path / "notes.txt").write_text("no image")
    done = add(str(tmp_path / "notes.txt"), image, str(tmp_path / "nowhere.png"))
    assert "1 exemplar added" in done.output
    assert "notes.txt: The file is not an image" in done.output
    assert "nowhere.png: It cannot be read (No such file or directory)" in done.output
    assert add(str(tmp_path / "notes.txt")).exit_code == 1


def test_a_bomb_and_a_huge_file_are_refused(stores, tmp_path, monkeypatch):
    stream = BytesIO()
    Image.new("1", (20_000, 20_000)).save(stream, "PNG")
    (tmp_path / "bomb.png").write_bytes(stream.getvalue())
    assert "bomb.png: The image has more than 64 million pixels" in add(str(tmp_path / "bomb.png")).output
    monkeypatch.setattr(outside_exemplars, "FILE_LIMIT", 100)
    (tmp_path / "huge.png").write_bytes(bytes(1000))
    assert "huge.png: It has more than" in add(str(tmp_path / "huge.png")).output
    assert stores.outside_exemplars.all(1) == []


def test_a_class_that_the_project_lacks_is_refused_with_those_that_it_has(stores, image, capsys, monkeypatch):
    said = fail(capsys, monkeypatch, "add", "--project", "1", "--finding", "green", image)
    assert "the project has no class 'green'" in said
    assert "Choose one of dark, red." in said


def test_a_project_that_is_not_connected_is_refused(stores, image):
    done = add(image, project="9")
    assert (done.exit_code, "Project 9 is not connected" in done.output) == (1, True)


def test_tagged_cases_of_another_project_are_taken_before_labelled_ones(stores):
    assert "1 exemplar added" in add("--from-project", "2").output
    assert [one.name for one in stores.outside_exemplars.all(1)] == ["task 2 of project 2"]


def test_named_tasks_of_another_project_are_taken_whatever_their_class(stores):
    done = add("--from-project", "2", "--task", "1", "--task", "3", "--task", "7")
    assert "2 exemplars added" in done.output
    assert "task 7 of project 2: There is no such task" in done.output


def test_labelled_cases_are_taken_where_none_is_tagged(stores):
    assert "1 exemplar added" in add("--from-project", "2", finding="dark").output


@pytest.mark.parametrize(
    ("arguments", "said"),
    [((), "either files or a project"), (("--from-project", "9"), "project 9 is not connected")],
)
def test_what_cannot_be_meant_is_refused(stores, capsys, monkeypatch, arguments, said):
    assert said in fail(capsys, monkeypatch, "add", "--project", "1", "--finding", "red", *arguments)
    assert stores.outside_exemplars.all(1) == []


def test_pixels_that_are_not_to_be_kept_are_marked(stores, image):
    add(image, "--no-keep-pixels")
    assert not stores.outside_exemplars.all(1)[0].keeps_pixels
    assert "pixels not kept" in run("list", "--project", "1").output
