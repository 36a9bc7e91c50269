"""Reports say what readers said of each task, name their images, and are read and found valid by other programs."""

from __future__ import annotations

import io
import logging
import shutil
import subprocess

import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clinical_backend.archive.header import described
from clinical_backend.archive.structured_report import Reported, make_report
from clinical_backend.errors import ArchiveError
from tests.archive.conftest import NAME, NUMBER, content, dicom

STUDY = "1.2.826.0.1.3680043.8.498.1"


def image(**tags):
    return described(io.BytesIO(content(dicom(**{"StudyInstanceUID": STUDY, **tags}))))


def groups_of(report):
    """Return labels and images of each task that a report names."""
    (measured,) = (item for item in report.ContentSequence if item.ValueType == "CONTAINER")
    found = []
    for group in measured.ContentSequence:
        codes = [item.ConceptCodeSequence[0] for item in group.ContentSequence if item.ValueType == "CODE"]
        images = [
            item.ReferencedSOPSequence[0].ReferencedSOPInstanceUID
            for item in group.ContentSequence
            if item.ValueType == "IMAGE"
        ]
        found.append(([code.CodeMeaning for code in codes], images))
    return found


def test_a_report_names_patient_study_labels_and_images():
    first, second, third = image(), image(), image()
    tasks = [Reported("a1", ["rare finding", "Ödem"], [first]), Reported("b2", ["no finding"], [second, third])]
    report = pydicom.dcmread(io.BytesIO(make_report(tasks, "Films")))
    assert (report.PatientName, report.PatientID, report.StudyInstanceUID) == (NAME, NUMBER, STUDY)
    assert groups_of(report) == [
        (["rare finding", "Ödem"], [first.SOPInstanceUID]),
        (["no finding"], [second.SOPInstanceUID, third.SOPInstanceUID]),
    ]
    assert report.Modality == "SR"


def test_the_same_answers_have_the_same_identifiers_and_others_have_others():
    shown = image()
    same, again, other = (
        pydicom.dcmread(io.BytesIO(make_report([Reported("a1", [label], [shown])], "Films")))
        for label in ("a", "a", "b")
    )
    assert same.SOPInstanceUID == again.SOPInstanceUID != other.SOPInstanceUID
    assert same.SeriesInstanceUID == other.SeriesInstanceUID


def test_a_study_of_several_patients_is_not_reported_under_the_name_of_one():
    tasks = [Reported("a1", ["a"], [image()]), Reported("b2", ["b"], [image(PatientID="OTHER")])]
    with pytest.raises(ArchiveError, match="several patients"):
        make_report(tasks, "Films")
    tasks[1] = Reported("b2", ["b"], [image(PatientID=None)])
    assert pydicom.dcmread(io.BytesIO(make_report(tasks, "Films"))).PatientID == NUMBER


def test_labels_that_look_alike_in_a_report_have_codes_of_their_own():
    report = pydicom.dcmread(io.BytesIO(make_report([Reported("a1", ["a b", "a\\b"], [image()])], "Films")))
    codes = {
        item.ConceptCodeSequence[0].CodeValue
        for container in report.ContentSequence
        for group in container.get("ContentSequence", [])
        for item in group.get("ContentSequence", [])
        if item.ValueType == "CODE"
    }
    assert len(codes) == 2


def test_a_study_that_lacks_what_it_should_have_is_reported_all_the_same():
    bare = image(PatientName=None, PatientID=None, StudyDate=None, PatientSex=None, PatientBirthDate=None)
    report = pydicom.dcmread(io.BytesIO(make_report([Reported("a1", ["a"], [bare])], "Films")))
    assert report.PatientID == ""


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PatientBirthDate", "19500230"),
        ("PatientBirthDate", "about 1950"),
        ("StudyDate", "20240101\\20240102"),
        ("StudyTime", "noon"),
        ("PatientSex", "W"),
        ("PatientName", "Doe^Jane\\Roe^Jane"),
    ],
)
def test_a_value_that_is_none_is_left_empty_and_keeps_no_report_out(name, value):
    wrong = content(dicom(StudyInstanceUID=STUDY, **{name: value}))
    report = pydicom.dcmread(io.BytesIO(make_report([Reported("a1", ["a"], [described(io.BytesIO(wrong))])], "Films")))
    assert (str(report[name].value), report.PatientID, report.StudyInstanceUID) == ("", NUMBER, STUDY)


def test_objects_without_a_class_are_refused_without_naming_the_patient():
    nameless = image()
    del nameless.SOPClassUID
    with pytest.raises(ArchiveError) as refused:
        make_report([Reported("a1", ["a"], [nameless])], "Films")
    assert NUMBER not in str(refused.value)


@pytest.mark.parametrize("kind", ["240000", "a=b"])
def test_objects_of_a_class_that_is_none_are_refused(kind):
    odd = image()
    for name, value in (("SOPClassUID", kind), ("SOPInstanceUID", "1..2")):
        odd[name] = pydicom.DataElement(name, "UI", value, validation_mode=pydicom.config.IGNORE)
    with pytest.raises(ArchiveError, match="lack what a report"):
        make_report([Reported("a1", ["a"], [odd])], "Films")


def test_nothing_of_the_objects_is_logged(caplog):
    with caplog.at_level(logging.DEBUG):
        make_report([Reported("a1", ["rare"], [image()])], "Films")
    assert caplog.records == []


@settings(max_examples=30, deadline=None)
@given(st.lists(st.text(min_size=1, max_size=80).filter(str.strip), min_size=1, max_size=3, unique=True))
def test_labels_of_any_script_and_length_are_written(labels):
    report = pydicom.dcmread(io.BytesIO(make_report([Reported("a1", labels, [image()])], "Films")))
    ((said, _),) = groups_of(report)
    assert len(said) == len(labels)


@pytest.mark.parametrize("program", ["dsrdump", "dciodvfy"])
def test_other_programs_read_it_and_find_nothing_wrong(program, tmp_path):
    # dicom-validator takes the standard from the network at its first start, so these stand for it.
    if shutil.which(program) is None:
        pytest.skip(f"no {program} on the PATH: run `apt-get install dcmtk dicom3tools`")
    file = tmp_path / "report.dcm"
    file.write_bytes(make_report([Reported("a1", ["rare finding", "Ödem"], [image()])], "Films"))
    done = subprocess.run([program, str(file)], capture_output=True, text=True, check=True)
    assert "Error" not in done.stdout + done.stderr
    assert program != "dsrdump" or '"rare finding"' in done.stdout
