"""Tasks are planned by what the labeling config shows, each with a name that tells nothing."""

from __future__ import annotations

import json
import tracemalloc
from dataclasses import replace

import pytest

from clinical_backend.archive.found import Found
from clinical_backend.archive.header import Header
from clinical_backend.archive.plan import patients_of, plan_tasks
from clinical_backend.archive.pseudonyms import Pseudonyms


@pytest.fixture
def pseudonyms(tmp_path):
    return Pseudonyms(tmp_path)


def found(instance, *, series="1.1", study="1", number=0, frames=1):
    header = Header("PAT", study, series, instance, {"modality": "CT"}, 2019, frames, (0.0, number))
    return Found(f"/archive/PAT/{instance}.dcm", header)


def shown(task):
    return [(picture.found.header.instance, picture.frame) for picture in task.pictures]


def test_each_object_is_a_task_and_of_several_frames_the_middle_one_is_shown(pseudonyms):
    tasks = plan_tasks([found("1.1.1"), found("1.1.2", frames=4)], pseudonyms, grouping=None, limit=32)
    assert [shown(task) for task in tasks] == [[("1.1.1", 0)], [("1.1.2", 1)]]
    assert [task.total for task in tasks] == [1, 4]


def test_a_series_is_one_task_in_the_order_of_its_slices(pseudonyms):
    slices = [found(f"1.1.{number}", number=number) for number in (3, 1, 2)]
    other = found("1.2.1", series="1.2", number=1)
    tasks = plan_tasks([*slices, other], pseudonyms, grouping="series", limit=32)
    assert [shown(task) for task in tasks] == [[("1.1.1", 0), ("1.1.2", 0), ("1.1.3", 0)], [("1.2.1", 0)]]


def test_a_study_holds_all_its_series(pseudonyms):
    objects = [found("1.2.1", series="1.2"), found("1.1.1"), found("2.1.1", series="2.1", study="2")]
    tasks = plan_tasks(objects, pseudonyms, grouping="study", limit=32)
    assert [shown(task) for task in tasks] == [[("1.1.1", 0), ("1.2.1", 0)], [("2.1.1", 0)]]


def test_of_more_images_than_a_task_may_have_evenly_spaced_ones_are_shown(pseudonyms):
    tasks = plan_tasks([found("1.1.1", frames=101)], pseudonyms, grouping="series", limit=5)
    assert [frame for _, frame in shown(tasks[0])] == [0, 25, 50, 75, 100]
    assert tasks[0].total == 101


def test_an_object_without_series_is_a_task_of_its_own(pseudonyms):
    objects = [found("1", series=""), found("2", series="")]
    assert len(plan_tasks(objects, pseudonyms, grouping="series", limit=32)) == 2


def test_a_task_tells_of_patient_and_study_that_they_are_the_same_and_not_which(pseudonyms):
    one, two = plan_tasks([found("1.1.1"), found("1.1.2")], pseudonyms, grouping=None, limit=1)
    assert one.data["patient"] == two.data["patient"]
    assert one.identity != two.identity
    said = json.dumps([one.data, one.identity, [picture.name for picture in one.pictures]])
    assert "PAT" not in said
    assert "1.1.1" not in said
    assert "year" not in one.data
    (dated,) = plan_tasks([found("1.1.1")], pseudonyms, grouping=None, limit=1, year=True)
    assert dated.data["year"] == 2019


def test_a_picture_has_the_same_name_whatever_else_its_task_shows(pseudonyms):
    objects = [found("1.1.1", frames=9)]
    few, many = (plan_tasks(objects, pseudonyms, grouping="series", limit=limit)[0] for limit in (3, 9))
    names = {picture.frame: picture.name for picture in many.pictures}
    assert all(names[picture.frame] == picture.name for picture in few.pictures)


def test_without_a_number_of_the_patient_a_task_names_none(pseudonyms):
    one = found("1.1.1")
    nameless = replace(one, header=replace(one.header, patient="", study=""))
    (task,) = plan_tasks([nameless], pseudonyms, grouping=None, limit=1)
    assert task.data == {"modality": "CT"}


def test_what_files_say_of_their_frames_does_not_fill_the_memory(pseudonyms):
    objects = [found(f"1.1.{number}", number=number, frames=100_000) for number in range(100)]
    tracemalloc.start()
    try:
        (task,) = plan_tasks(objects, pseudonyms, grouping="series", limit=3)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert shown(task) == [("1.1.0", 0), ("1.1.50", 0), ("1.1.99", 99_999)]
    assert task.total == 10_000_000
    assert peak < 2**20


def test_patients_are_counted_by_what_stands_for_them_and_by_nothing_else(pseudonyms):
    tasks = plan_tasks([found("1.1.1"), found("1.1.2")], pseudonyms, grouping=None, limit=32)
    assert patients_of(task.data for task in tasks) == {pseudonyms.of("patient", "PAT")}
    assert patients_of([{"patient": "own number"}, {"patient": 7}, {}]) == set()
