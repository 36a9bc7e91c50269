"""Studies are found again by what their tasks carry, whatever made a task of them."""

from __future__ import annotations

import io

import pydicom
import pytest

from clinical_backend.archive.dicom_files import DicomFiles
from clinical_backend.archive.found import Found, PassedOver
from clinical_backend.archive.plan import plan_tasks
from clinical_backend.archive.pseudonyms import Pseudonyms
from clinical_backend.archive.study_reports import StudyReport, readers_labels, report_studies, store_reports
from clinical_backend.errors import ArchiveError
from clinical_backend.labelstudio.labeling.project_labels import Answered, Labels, Source
from clinical_backend.multilabel import pack
from tests.archive.conftest import dicom
from tests.archive.test_structured_report import groups_of

STUDIES = ("1.2.826.0.1.1", "1.2.826.0.1.2")


@pytest.fixture
def archive(write):
    """Two studies: one of two series of two slices, one of a film."""
    for number, (study, series) in enumerate([(0, 1), (0, 1), (0, 2), (1, 1)]):
        tags = {"StudyInstanceUID": STUDIES[study], "SeriesInstanceUID": f"{STUDIES[study]}.{series}"}
        write(f"{number}.dcm", dicom(SOPInstanceUID=f"1.2.826.0.2.{number}", InstanceNumber=number, **tags))
    return DicomFiles([write.folder])


def reports_of(archive, pseudonyms, labels):
    made = list(report_studies(archive, pseudonyms, labels, "Films"))
    return [one if isinstance(one, PassedOver) else pydicom.dcmread(io.BytesIO(one.content)) for one in made]


@pytest.mark.parametrize(
    ("grouping", "shown"), [(None, [[1], [1], [1], [1]]), ("series", [[2], [1], [1]]), ("study", [[3], [1]])]
)
def test_each_task_is_reported_in_its_study_with_the_images_that_it_shows(archive, tmp_path, grouping, shown):
    pseudonyms = Pseudonyms(tmp_path)
    tasks = plan_tasks(
        [one for one in archive.find() if isinstance(one, Found)], pseudonyms, grouping=grouping, limit=1
    )
    labels = {task.identity: [f"label {number}"] for number, task in enumerate(tasks)}
    reports = reports_of(archive, pseudonyms, labels)
    assert [report.StudyInstanceUID for report in reports] == list(STUDIES)
    named = [report.study for report in report_studies(archive, pseudonyms, labels, "Films")]
    assert named == list(dict.fromkeys(task.data["study"] for task in tasks))
    groups = [group for report in reports for group in groups_of(report)]
    assert [said for said, _ in groups] == list(labels.values())
    assert [[len(images)] for _, images in groups] == shown


def test_what_is_not_answered_or_of_another_import_is_not_reported(archive, tmp_path):
    pseudonyms, others = Pseudonyms(tmp_path / "ours"), Pseudonyms(tmp_path / "theirs")
    instance = "1.2.826.0.2.3"
    strange = others.of("instance", instance)
    assert reports_of(archive, pseudonyms, {}) == []
    (missing,) = reports_of(archive, pseudonyms, {strange: ["rare"]})
    assert (missing.name, missing.reason) == (strange, "what this task shows is not in what was named")
    (report,) = reports_of(archive, pseudonyms, {pseudonyms.of("instance", instance): ["rare"]})
    assert groups_of(report) == [(["rare"], [instance])]


def test_an_object_of_no_study_is_passed_over(write, tmp_path):
    write("1.dcm", dicom(StudyInstanceUID=None, SOPInstanceUID="1.2.826.0.2.9"))
    pseudonyms = Pseudonyms(tmp_path)
    (passed,) = reports_of(
        DicomFiles([write.folder]), pseudonyms, {pseudonyms.of("instance", "1.2.826.0.2.9"): ["rare"]}
    )
    assert passed.reason == "it belongs to no study"


@pytest.mark.parametrize(
    ("classes", "reported"),
    [
        (["rare"], ["rare"]),
        (["rare", "rare"], ["rare"]),
        (["rare", "clear"], None),
        ([None, "rare"], ["rare"]),
        ([None], None),
        ([pack(["mass", "cyst"])], ["cyst", "mass"]),
        ([pack([])], ["no finding"]),
        ([pack(["mass"], ["cyst"])], ["mass"]),
        ([pack([], ["cyst"])], None),
    ],
)
def test_what_readers_say_and_agree_on_is_reported_and_what_they_leave_open_is_not_denied(classes, reported):
    said = {task: label for task, label in enumerate(classes) if label is not None}
    labels = Labels(classes=said, first_answers=dict.fromkeys(said, Answered(Source.READER)))
    found = readers_labels({"identity": range(len(classes))}, labels)
    assert found == ({} if reported is None else {"identity": reported})


@pytest.mark.parametrize("source", [Source.IMPORT, Source.MODEL])
def test_what_no_reader_looked_at_is_not_reported(source):
    labels = Labels(classes={1: "rare"}, first_answers={1: Answered(source)})
    assert readers_labels({"identity": [1]}, labels) == {}


def offered(taken):
    """Return what comes of reports that an archive takes, or not, and which ones it was offered."""
    seen = []

    def store(content):
        seen.append(content)
        if not taken[int(content)]:
            raise ArchiveError("The archive does not take a report.", "See its log.")

    reports = [StudyReport(f"study {number}", str(number).encode()) for number in range(len(taken))]
    try:
        return [one.study if isinstance(one, StudyReport) else one.name for one in store_reports(reports, store)], seen
    except ArchiveError as error:
        return error.problem, seen


def test_a_study_whose_report_an_archive_refuses_keeps_none_of_the_others_out():
    made, seen = offered([True, False, False, True, False])
    assert made == [f"study {number}" for number in range(5)]
    assert len(seen) == 5


@pytest.mark.parametrize(("taken", "tried"), [([False], 1), ([False, False], 2), ([True, *[False] * 9], 4)])
def test_an_archive_that_takes_no_report_is_given_up(taken, tried):
    said, seen = offered(taken)
    assert said == "The archive does not take a report."
    assert len(seen) == tried
