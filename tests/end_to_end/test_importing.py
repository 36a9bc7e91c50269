"""DICOM files become tasks that readers see in the real Label Studio, once each, and name no patient."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.data import get_testdata_file

from clinical_backend.lab.servers.simulated_reader import SimulatedReader
from clinical_backend.labelstudio.project_import import ProjectImport
from clinical_backend.settings import load_settings
from clinical_backend.workspace.lock import import_lock
from clinical_backend.workspace.workspace import open_workspace
from tests.archive.conftest import BIRTH, NAME, NUMBER, content, dicom
from tests.archive.false_archive import FalseArchive, answer, entry
from tests.archive.test_structured_report import groups_of
from tests.chromium import chromium_browser, needs_chromium, sign_in
from tests.conftest import label_config
from tests.end_to_end.conftest import wait_until
from tests.images.servers import reply

PATIENCE = 120_000.0
"""How long a page may take on a busy machine, in milliseconds."""
LIST = (
    '<View><Image name="image" valueList="$images"/><Choices name="diagnosis" toName="image">'
    '<Choice value="clear"/><Choice value="rare"/></Choices></View>'
)


@pytest.fixture
def command(label_studio, tmp_path):
    """Return a function that runs `clinical import`, or another command, for a project, and returns the process."""
    environment = os.environ | {
        "LABEL_STUDIO_URL": label_studio.url,
        "LABEL_STUDIO_API_KEY": label_studio.account.token,
        "MODEL_DIR": str(tmp_path / "model"),
    }

    def run(project, *arguments, verb="import", **settings):
        return subprocess.Popen(
            [sys.executable, "-m", "clinical_backend", verb, "--project", str(project.id), *map(str, arguments)],
            env=environment | {name: str(value) for name, value in settings.items()},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    return run


def said(process):
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output
    return output


def picture(client, address):
    return np.asarray(Image.open(io.BytesIO(client.http.get(address).raise_for_status().content)))


def gradient(side=64, slope=37):
    rows, columns = np.mgrid[:side, :side]
    return (1000 + slope * rows + 5 * (columns // 16) * 100).astype(np.uint16)


@pytest.fixture
def archive(tmp_path):
    """A folder with a film, an inverted one, a series of three slices, one of pydicom's files, and no images."""
    folder = tmp_path / f"archive of {NAME}"
    folder.mkdir()
    film = dicom(gradient(), Modality="DX", SeriesInstanceUID="1.2.1", WindowCenter=2200, WindowWidth=2400)
    inverted = dicom(
        gradient(), Modality="DX", SeriesInstanceUID="1.2.2", PhotometricInterpretation="MONOCHROME1",
        WindowCenter=2200, WindowWidth=2400,
    )  # fmt: skip
    series = [
        dicom(gradient(slope=slope), SeriesInstanceUID="1.2.3", InstanceNumber=slope, ImageComments=NAME)
        for slope in (3, 1, 2)
    ]
    report = dicom(SOPClassUID="1.2.840.10008.5.1.4.1.1.88.33", SeriesInstanceUID="1.2.4")
    for number, dataset in enumerate([film, inverted, *series, report]):
        (folder / f"{number}.dcm").write_bytes(content(dataset))
    (folder / "6.dcm").write_bytes(Path(get_testdata_file("examples_palette.dcm")).read_bytes())
    (folder / "notes.txt").write_text(NAME)
    return folder


def test_readers_are_shown_what_a_workstation_shows_and_patients_are_kept_apart(client, command, archive, tmp_path):
    project = client.create_project("films from files", label_config(("clear", "rare"), exemplars=False))
    output = said(command(project, archive))
    tasks = client.tasks(project.id)
    assert "Added to Label Studio: 6 tasks with 6 pictures." in output
    assert "1: a report" in output
    film, inverted = (picture(client, task.data["image"]).astype(int) for task in tasks[:2])
    expected = np.clip((gradient().astype(float) - 1000) / 2400, 0, 1) * 255
    assert np.abs(film - expected).max() <= 2
    assert np.abs(inverted - (255 - expected)).max() <= 2
    assert len({task.data["patient"] for task in tasks[:5]}) == 1
    with closing(open_workspace(load_settings(model_dir=tmp_path / "model"))) as workspace:
        assert workspace.project(project.id).settings.group_field == "patient"
    assert "0 of them new" in said(command(project, archive))
    assert len(client.tasks(project.id)) == len(tasks)


def test_where_all_have_one_number_nothing_is_kept_apart_until_another_patient_comes(client, command, tmp_path):
    project = client.create_project("films of nobody", label_config(("clear", "rare"), exemplars=False))
    for number, patient in enumerate(("ANONYMOUS", "ANONYMOUS", "OTHER")):
        (tmp_path / f"{number}.dcm").write_bytes(content(dicom(gradient(), PatientID=patient)))
    assert "All tasks are of one patient" in said(command(project, tmp_path / "0.dcm", tmp_path / "1.dcm"))
    assert "kept apart from now on" in said(command(project, tmp_path / "2.dcm"))


def test_a_series_is_one_task_whose_slices_lie_below_the_folder_that_label_studio_serves(
    client, command, archive, label_studio
):
    project = client.create_project("series from files", LIST)
    said(command(project, archive, LOCAL_FILES_DOCUMENT_ROOT=label_studio.files))
    series = next(task for task in client.tasks(project.id) if len(task.data["images"]) == 3)
    assert all(address.startswith("/data/local-files/?d=clinical-import/") for address in series.data["images"])
    assert series.data["modality"] == "CT"
    said(command(project, archive, LOCAL_FILES_DOCUMENT_ROOT=label_studio.files))
    storages = client.session.request("GET", "api/storages/localfiles", params={"project": project.id})
    assert len(storages) == 1


def test_a_folder_that_label_studio_does_not_serve_is_not_relied_on(client, command, archive, tmp_path):
    project = client.create_project("files elsewhere", label_config(("clear", "rare"), exemplars=False))
    (tmp_path / "elsewhere").mkdir()
    output = said(command(project, archive, LOCAL_FILES_DOCUMENT_ROOT=tmp_path / "elsewhere"))
    assert "The pictures are uploaded instead." in output
    assert all(task.data["image"].startswith("/data/upload/") for task in client.tasks(project.id))
    refused = command(project, archive, "--to", "files", LOCAL_FILES_DOCUMENT_ROOT=tmp_path / "elsewhere")
    output, _ = refused.communicate(timeout=300)
    assert "Label Studio does not serve" in output
    assert "Looking" not in output
    assert refused.returncode == 1


def test_nothing_that_names_a_patient_is_in_label_studio_the_database_or_a_log(
    client, command, archive, label_studio, tmp_path
):
    project = client.create_project("nameless", label_config(("clear", "rare"), exemplars=False))
    output = said(command(project, archive, "--year", LOG_LEVEL="DEBUG"))
    secrets = [NAME, *NAME.split("^"), NUMBER, BIRTH, "20190307", "1.2.3"]
    assert not [secret for secret in secrets if secret in output]
    kept = [path for path in (tmp_path / "model").rglob("*") if path.is_file()]
    exported = client.session.request("GET", f"api/projects/{project.id}/export", params={"download_all_tasks": "true"})
    uploads = list((label_studio.data / "media" / "upload" / str(project.id)).iterdir())
    assert kept
    assert uploads
    texts = [str(exported).encode(), label_studio.log.read_bytes(), *(path.read_bytes() for path in [*kept, *uploads])]
    found = [secret for secret in secrets[:-1] for text in texts if secret.encode() in text]
    assert not found
    assert not [path for path in [*kept, *uploads] if any(secret in path.name for secret in secrets)]
    assert all(task.data.get("year") in {2019, 2011} for task in client.tasks(project.id))


@pytest.mark.parametrize(
    "moment",
    [
        pytest.param("looking", marks=pytest.mark.slow),
        pytest.param("uploading", marks=pytest.mark.slow),
        "making tasks",
    ],
)
def test_an_import_that_is_killed_goes_on_where_it_was(client, command, tmp_path, moment):
    project = client.create_project(f"killed while {moment}", label_config(("clear", "rare"), exemplars=False))
    folder = tmp_path / "many"
    folder.mkdir()
    for number in range(250):
        pixels = np.full((8, 8), number, dtype=np.uint16)
        pixels[0] = 1000
        (folder / f"{number:03}.dcm").write_bytes(content(dicom(pixels)))
    reached = {
        "looking": (tmp_path / "model" / "pseudonym-key").exists,
        "uploading": lambda: ProjectImport(client, project.id).uploaded(),
        "making tasks": lambda: client.project(project.id).task_number,
    }
    process = command(project, folder)
    wait_until(reached[moment], moment)
    process.kill()
    process.communicate()
    settled = -1
    while (now := client.project(project.id).task_number) != settled:  # what was under way arrives all the same
        settled = now
        time.sleep(2.0)
    assert settled < 250
    said(command(project, folder))
    identities = [task.data["dicom"] for task in client.tasks(project.id)]
    assert len(identities) == len(set(identities)) == 250
    stored = ProjectImport(client, project.id).uploaded()
    assert {task.data["image"] for task in client.tasks(project.id)} <= set(stored.values())


def test_a_second_import_is_refused_while_one_works_and_says_what_to_do(client, command, archive, tmp_path):
    project = client.create_project("two imports", label_config(("clear", "rare"), exemplars=False))
    with (
        closing(open_workspace(load_settings(model_dir=tmp_path / "model"))) as workspace,
        import_lock(workspace.project(project.id)),
    ):
        second = command(project, archive)
        output, _ = second.communicate(timeout=300)
        assert "Nothing was imported." in said(command(project, "--dry-run", archive))
    assert f"Another import works at project {project.id}. Wait for its end" in output
    assert (second.returncode, client.tasks(project.id)) == (1, [])


def test_an_import_that_is_broken_off_reports_what_it_had_passed_over(client, command, tmp_path):
    project = client.create_project("broken off", label_config(("clear", "rare"), exemplars=False))
    report = {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.88.33", "SeriesInstanceUID": "1.2.3.1", "SOPInstanceUID": "1.2.9"}
    failing = FalseArchive(entry(**report), entry(2, SeriesInstanceUID="1.2.3.2"))

    def instances(request):
        if "1.2.3.2" in request.path:
            reply(request, b"", 403)
        else:
            answer(request, failing.page(request, failing.entries[:1]))

    failing.instead["instances"] = instances
    with failing.open():
        address = f"http://127.0.0.1:{failing.server.port}/dicom-web/"
        broken = command(project, "--dicomweb", address, "--report", tmp_path / "report.csv")
        output, _ = broken.communicate(timeout=300)
    assert broken.returncode == 1
    assert "does not show this (status 403)" in output
    assert (tmp_path / "report.csv").read_text().splitlines() == ["file,reason", "1.2.3/1.2.3.1/1.2.9,a report"]


def test_tasks_of_one_object_are_made_one_again_unless_somebody_answered_them(client, command, archive):
    project = client.create_project("twice", label_config(("clear", "rare"), exemplars=False))
    said(command(project, archive))
    first, second = client.tasks(project.id)[:2]
    twice = ProjectImport(client, project.id).add_tasks([{"data": first.data}, {"data": second.data}])
    SimulatedReader(client).annotate(twice[1], {"diagnosis": ["rare"]})
    assert "Made one again: 2 tasks that" in said(command(project, archive))
    there = {task.id for task in client.tasks(project.id)}
    assert there >= {first.id, twice[1]}
    assert there.isdisjoint({second.id, twice[0]})


def test_tasks_that_point_to_files_no_browser_draws_show_pictures_and_keep_their_answers(
    client, command, label_studio, tmp_path
):
    project = client.create_project("conversion", label_config(("clear", "rare"), exemplars=False))
    folder = label_studio.files / "conversion"
    folder.mkdir()
    (folder / "1.dcm").write_bytes(content(dicom(gradient())))
    Image.fromarray(gradient()).save(folder / "2.tif")
    Image.fromarray(gradient().astype(np.uint8)).save(folder / "3.png")
    (folder / "4.dcm").write_bytes(b"\0" * 128 + b"DICM no more")
    client.serve_local_files(project.id, str(folder))
    before = [f"/data/local-files/?d=conversion/{name}" for name in ("1.dcm", "2.tif", "3.png", "4.dcm")]
    ids = client.import_tasks(project.id, [{"data": {"image": address, "site": "A"}} for address in before])
    SimulatedReader(client).annotate(ids[0], {"diagnosis": ["rare"]})
    output = said(command(project, "--convert"))
    assert "Changed: 2 tasks, with 2 pictures" in output
    assert "1 passed over" in output
    data = {task.id: task.data for task in client.tasks(project.id)}
    for task in ids[:2]:
        assert picture(client, data[task]["image"]).shape == (64, 64)
    assert [data[task]["image"] for task in ids[2:]] == before[2:]
    assert (data[ids[0]]["original"], data[ids[0]]["site"], data[ids[0]]["modality"]) == ([before[0]], "A", "CT")
    (answered,) = client.annotated_tasks(project.id)
    assert answered.id == ids[0]
    assert "Changed: 0 tasks" in said(command(project, "--convert"))


@needs_chromium[0]
@needs_chromium[1]
def test_the_picture_is_drawn_in_a_browser(client, command, archive, label_studio):
    project = client.create_project("drawn", label_config(("clear", "rare"), exemplars=False))
    said(command(project, archive))
    task = client.tasks(project.id)[0]
    expected = picture(client, task.data["image"])
    with chromium_browser() as chromium:
        page = chromium.new_page(viewport={"width": 1280, "height": 1000})
        page.set_default_timeout(PATIENCE)
        sign_in(page, label_studio)
        page.goto(f"{label_studio.url}/projects/{project.id}/data?task={task.id}")
        drawn = page.locator(f'img[src*="{task.data["image"].rpartition("/")[2]}"]').first
        drawn.wait_for(state="visible")
        wait_until(lambda: drawn.evaluate("image => image.complete && image.naturalWidth"), "the picture is there")
        shot = Image.open(io.BytesIO(drawn.screenshot())).convert("L").resize((64, 64))
    likeness = np.corrcoef(np.asarray(shot).ravel(), expected.ravel())[0, 1]
    assert likeness > 0.95


def test_answers_go_back_as_reports_of_the_studies_that_they_are_about(client, command, archive, tmp_path):
    project = client.create_project("reported", label_config(("clear", "rare"), exemplars=False))
    said(command(project, archive))
    SimulatedReader(client).annotate(client.tasks(project.id)[0].id, {"diagnosis": ["rare"]})
    output = said(command(project, "--dicom-sr", tmp_path / "reports", archive, verb="export"))
    assert "1 report of 1 answered task" in output
    SimulatedReader(client).annotate(client.tasks(project.id)[1].id, {"diagnosis": ["clear"]})
    assert "1 report of 2 answered tasks" in said(
        command(project, "--dicom-sr", tmp_path / "reports", archive, verb="export")
    )
    (file,) = (tmp_path / "reports").iterdir()  # of the one study, anew
    assert file.stem == client.tasks(project.id)[0].data["study"]
    report = pydicom.dcmread(file)
    assert (report.StudyInstanceUID, str(report.PatientName)) == ("1.2.3", NAME)
    original = pydicom.dcmread(archive / "0.dcm")
    assert groups_of(report)[0] == (["rare"], [original.SOPInstanceUID])
    assert not [secret for secret in (*NAME.split("^"), NUMBER) if secret in output]


@pytest.mark.parametrize("field", ["dicom", "patient", "images_in_all", "modality.image"])
def test_a_config_that_shows_a_field_which_an_import_writes_is_refused(client, command, archive, field):
    config = label_config(("clear", "rare"), exemplars=False).replace("$image", f"${field}")
    project = client.create_project(f"shows {field}", config)
    refused = command(project, archive)
    output, _ = refused.communicate(timeout=300)
    assert "in which an import keeps something else" in output
    assert "Show another field" in output
    assert (refused.returncode, client.tasks(project.id)) == (1, [])


def test_a_conversion_that_is_only_tried_changes_nothing(client, command):
    project = client.create_project("conversion, tried", label_config(("clear", "rare"), exemplars=False))
    data = {"image": "/data/local-files/?d=conversion/1.dcm"}
    client.import_tasks(project.id, [{"data": data}, {"data": {"image": "/data/upload/1/1.png"}}])
    assert "1 task may point to DICOM or TIFF files" in said(command(project, "--convert", "--dry-run"))
    assert client.tasks(project.id)[0].data == data


@pytest.mark.parametrize("value", ["CT", "0123456789abcdef0123"])
def test_tasks_of_the_projects_own_that_say_the_same_are_not_deleted(client, command, archive, value):
    project = client.create_project(f"own field {value}", label_config(("clear", "rare"), exemplars=False))
    data = [{"data": {"image": f"/data/upload/1/{number}.png", "dicom": value}} for number in range(3)]
    own = client.import_tasks(project.id, data)
    output = said(command(project, archive))
    assert "Made one again" not in output
    assert {task.id for task in client.tasks(project.id)} >= set(own)
