"""From a real Orthanc to the queue of a real Label Studio, and back as reports."""

from __future__ import annotations

import io
from pathlib import Path

import httpx2
import pydicom
import pytest
from pydicom.data import get_testdata_file

from clinical_backend.lab.servers.orthanc_server import OrthancServer
from clinical_backend.lab.servers.simulated_reader import SimulatedReader
from tests.archive.conftest import NAME, NUMBER, content, dicom
from tests.archive.test_structured_report import groups_of
from tests.conftest import label_config
from tests.end_to_end.test_importing import LIST, command, gradient, picture, said

__all__ = ["command"]

pytestmark = pytest.mark.skipif(not OrthancServer.installed(), reason="needs orthanc and orthanc-dicomweb")

ROOT = "1.2.826.0.1.3680043.8.498.7"
PASSWORD = "a secret: ö"


@pytest.fixture(scope="module")
def orthanc(tmp_path_factory):
    """Return an Orthanc with a film, an inverted one, a series of five slices, a burned-in one and a cine loop."""
    film = {"Modality": "DX", "WindowCenter": 2200, "WindowWidth": 2400, "SeriesInstanceUID": f"{ROOT}.1.1"}
    objects = [
        dicom(gradient(), SOPInstanceUID=f"{ROOT}.1.1.1", StudyInstanceUID=f"{ROOT}.1", **film),
        dicom(gradient(), StudyInstanceUID=f"{ROOT}.1", PhotometricInterpretation="MONOCHROME1", **film),
        dicom(gradient(), StudyInstanceUID=f"{ROOT}.2", BurnedInAnnotation="YES", **film),
        *(
            dicom(
                gradient(slope=10 * number),
                SOPInstanceUID=f"{ROOT}.3.1.{number}",
                SeriesInstanceUID=f"{ROOT}.3.1",
                StudyInstanceUID=f"{ROOT}.3",
                InstanceNumber=number,
            )
            for number in (4, 2, 5, 1, 3)
        ),
    ]
    with OrthancServer(tmp_path_factory.mktemp("orthanc"), user="reader", password=PASSWORD) as server:
        for one in objects:
            server.store(content(one))
        server.store(Path(get_testdata_file("examples_ybr_color.dcm")).read_bytes())  # 30 frames, compressed
        yield server


@pytest.fixture
def options(orthanc, tmp_path):
    """Return the options that name the archive and who asks."""
    (tmp_path / "password").write_text(PASSWORD)
    return ["--dicomweb", orthanc.dicomweb, "--user", "reader", "--password-file", str(tmp_path / "password")]


def test_films_of_a_modality_come_to_readers_and_answers_go_back(client, command, options, orthanc):
    project = client.create_project("films of an archive", label_config(("clear", "rare"), exemplars=False))
    output = said(command(project, *options, "--modality", "DX", LOG_LEVEL="DEBUG"))
    assert "Added to Label Studio: 2 tasks with 2 pictures." in output
    assert "Burned In Annotation" in output
    assert not [secret for secret in (*NAME.split("^"), NUMBER, ROOT, PASSWORD) if secret in output]
    tasks = client.tasks(project.id)
    pictures = [picture(client, task.data["image"]).astype(int) for task in tasks]
    assert abs(pictures[0] - (255 - pictures[1])).max() <= 2
    SimulatedReader(client).annotate(tasks[0].id, {"diagnosis": ["rare"]})
    for _ in range(2):  # a report that is sent twice is there once
        sent = said(command(project, *options, "--store", verb="export"))
        assert "1 report of 1 answered task in the archive." in sent
    report = stored_report(orthanc)
    assert (str(report.PatientName), report.StudyInstanceUID) == (NAME, f"{ROOT}.1")
    ((labels, images),) = groups_of(report)
    assert labels == ["rare"]
    inverted = pictures[0][0].mean() > pictures[0][-1].mean()
    assert (images == [f"{ROOT}.1.1.1"]) is not inverted
    assert "0 of them new" in said(command(project, *options, "--modality", "DX"))


def test_series_and_loops_are_studies_of_their_images_in_order(client, command, options):
    project = client.create_project("series of an archive", LIST)
    said(command(project, *options, "--modality", "CT", "--modality", "US", IMAGES_PER_TASK=4))
    tasks = {task.data["modality"]: task.data for task in client.tasks(project.id)}
    assert {kind: data["images_in_all"] for kind, data in tasks.items()} == {"CT": 5, "US": 30}
    slices = [picture(client, address) for address in tasks["CT"]["images"]]
    assert len(slices) == len(tasks["US"]["images"]) == 4
    ends = [picture(client, address).shape for address in tasks["US"]["images"]]
    assert ends == [(240, 320, 3)] * 4


def test_who_is_not_let_in_is_told_and_nothing_is_imported(client, command, orthanc):
    project = client.create_project("closed archive", LIST)
    process = command(project, "--dicomweb", orthanc.dicomweb)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 1
    assert "--password-file" in output
    assert client.tasks(project.id) == []


def stored_report(orthanc):
    """Return the one report that the archive holds."""
    with httpx2.Client(auth=("reader", PASSWORD), timeout=60) as http:
        found = http.post(
            f"{orthanc.url}/tools/find", json={"Level": "Instance", "Query": {"Modality": "SR"}, "Expand": False}
        ).json()
        (one,) = found
        return pydicom.dcmread(io.BytesIO(http.get(f"{orthanc.url}/instances/{one}/file").content))
