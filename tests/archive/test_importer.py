"""An import makes of each object one task, uses what can be read, and keeps its requests small."""

from __future__ import annotations

import io

import pytest

from clinical_backend.archive.found import Found, PassedOver
from clinical_backend.archive.header import Header, header_of
from clinical_backend.archive.importer import Importer, count_reasons, once_each
from clinical_backend.archive.plan import plan_tasks
from clinical_backend.archive.pseudonyms import Pseudonyms
from clinical_backend.errors import ArchiveError, ImageError, LabelStudioUnavailableError
from tests.archive.conftest import content, dicom


def found(instance, *, series="1.1", **header):
    return Found(f"/archive/{instance}", Header("PAT", "1", series, instance, **header))


class Source:
    """Reads objects, but for those that are gone."""

    def __init__(self, gone=(), instead=None):
        self.gone, self.instead, self.reads = gone, instead or {}, []

    def read(self, one):
        self.reads.append(one.header.instance)
        if one.header.instance in self.gone:
            raise ArchiveError("It is gone.", "Run the import again.")
        if one.header.instance == "1.9":
            return content(dicom(SOPInstanceUID="1.9", BurnedInAnnotation="YES"))
        return content(dicom(SOPInstanceUID=self.instead.get(one.header.instance, one.header.instance)))


class Maker:
    """Makes of content and frame a picture that tells both, but of what is damaged."""

    def __init__(self, damaged=()):
        self.damaged = damaged

    def make(self, data, frame=None):
        instance = header_of(io.BytesIO(data)).instance
        if instance in self.damaged:
            raise ImageError("It is damaged.", "Export it again.")
        return f"{instance} frame {-1 if frame is None else frame}".encode()


class Place:
    """Keeps pictures by name."""

    def __init__(self):
        self.requests = []

    def known(self):
        return {name: f"at {name}" for request in self.requests for name in request}

    def put(self, pictures):
        self.requests.append(dict(pictures))
        return {name: f"at {name}" for name in pictures}


class Project:
    """Gets tasks."""

    def __init__(self):
        self.tasks, self.away = [], False

    def add_tasks(self, tasks):
        if self.away:
            raise LabelStudioUnavailableError("It is away.", "Start it.")
        self.tasks += [task["data"] for task in tasks]


@pytest.fixture
def run(tmp_path):
    """Return a function that imports objects, and returns what was done, the place, the project and the source."""
    place, project, passed_over = Place(), Project(), []

    def run_import(objects, *, source=None, maker=None, grouping="series", known=(), limit=32):
        source = source or Source()
        planned = plan_tasks(objects, Pseudonyms(tmp_path), grouping=grouping, limit=limit)
        importer = Importer(source, place, maker or Maker(), project, workers=2)
        told = []
        there = {planned[at].identity: [1] for at in known}
        done = importer.run(planned, there, lambda addresses: {"images": list(addresses)}, told.append, passed_over)
        assert told[-1] == len(planned)
        return done, place, project, source

    run_import.project, run_import.passed_over = project, passed_over
    return run_import


def test_a_task_with_an_image_that_cannot_be_read_is_made_of_the_others_and_that_one_is_named(run):
    objects = [found("1", order=(0.0, 1)), found("2", order=(0.0, 2)), found("3", order=(0.0, 3))]
    done, _, project, _ = run(objects, source=Source(gone={"1"}), maker=Maker(damaged={"3"}))
    (task,) = project.tasks
    assert (len(task["images"]), task["images_in_all"]) == (1, 3)
    assert [(one.name, one.reason) for one in run.passed_over] == [
        ("/archive/1", "It is gone. Run the import again."),
        ("/archive/3", "It is damaged. Export it again."),
    ]
    assert (done.tasks, done.pictures) == (1, 1)


def test_of_nothing_that_can_be_read_no_task_is_made(run):
    done, place, project, _ = run([found("1")], maker=Maker(damaged={"1"}))
    assert (done.tasks, len(run.passed_over), place.requests, project.tasks) == (0, 1, [], [])


def test_an_object_that_says_itself_what_the_archive_did_not_is_left_out(run):
    _, place, project, _ = run([found("1.9"), found("1")], grouping=None)
    assert [one.reason for one in run.passed_over] == [
        "It is left out: its pixels hold text that may name the patient (Burned In Annotation)."
    ]
    assert (len(project.tasks), len(place.requests[0])) == (1, 1)


def test_another_object_than_was_asked_for_is_not_shown(run):
    _, _, project, _ = run([found("1"), found("2")], source=Source(instead={"1": "3"}), grouping=None)
    assert [one.name for one in run.passed_over] == ["/archive/1"]
    assert len(project.tasks) == 1


def test_an_object_with_several_frames_is_read_once(run):
    _, place, project, source = run([found("1", frames=5)])
    assert source.reads == ["1"]
    assert sorted(place.requests[0].values()) == [b"1 frame %d" % frame for frame in range(5)]
    assert len(project.tasks[0]["images"]) == 5


def test_what_is_there_is_neither_read_nor_made_again(run):
    objects = [found("1"), found("2")]
    done, _, project, source = run(objects, grouping=None, known=[0])
    assert (source.reads, len(project.tasks), done.there) == (["2"], 1, 1)
    project.tasks.clear()
    _, place, project, source = run(objects, grouping=None)  # the pictures are there, of a run that was cut off
    assert source.reads == ["1"]
    assert (len(project.tasks), len(place.requests)) == (2, 2)


def test_pictures_are_put_together_and_none_is_put_again(run):
    objects = [found(str(number), frames=60, series=str(number)) for number in range(3)]
    _, place, project, _ = run(objects, limit=60)
    assert [len(request) for request in place.requests] == [120, 60]
    project.tasks.clear()
    run(objects, limit=60)
    assert (len(place.requests), len(project.tasks)) == (2, 3)


def test_each_object_is_imported_once_and_only_what_is_asked_for():
    capture = "a secondary capture"
    some = [
        found("1"),
        found("1"),
        PassedOver("notes.txt", "no DICOM file"),
        found("2", left_out=capture, secondary=True),
        found("3", left_out="a report"),
        found(""),
    ]
    passed_over = []
    objects = once_each(some, secondary=False, passed_over=passed_over)
    assert [one.header.instance for one in objects] == ["1"]
    assert dict(count_reasons(passed_over)) == {
        "another file has the same identifier (SOP Instance UID)": 1,
        "no DICOM file": 1,
        capture: 1,
        "a report": 1,
        "it lacks its own identifier (SOP Instance UID)": 1,
    }
    objects = once_each(some, secondary=True, passed_over=[])
    assert [one.header.instance for one in objects] == ["1", "2"]


def test_an_import_that_label_studio_leaves_alone_says_how_it_goes_on(run):
    run.project.away = True
    with pytest.raises(LabelStudioUnavailableError, match="Then run the import again"):
        run([found("0"), found("1")], source=Source(gone={"0"}), grouping=None)
    assert [one.name for one in run.passed_over] == ["/archive/0"]  # for its report
    run.project.away = False
    done, place, project, source = run([found("1")])
    assert (done.tasks, len(project.tasks), len(place.requests), source.reads) == (1, 1, 1, [])
