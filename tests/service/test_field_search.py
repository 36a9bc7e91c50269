"""Tasks by a value in their data, of which the value goes to Label Studio alone."""

from types import SimpleNamespace

import pytest

from clinical_backend.errors import (
    ClinicalError,
    InvalidArgumentError,
    LabelStudioFaultError,
    LabelStudioRefusedError,
    LabelStudioUnavailableError,
)
from clinical_backend.labelstudio.task_lists import FoundTasks
from clinical_backend.service.field_search import find_by_field, searchable_fields

NAME = "Doe^Jane"


@pytest.fixture
def studio():
    """What Label Studio answers, or the error that it ends with."""
    return SimpleNamespace(answer=FoundTasks({}, 0), asked=[])


@pytest.fixture
def fake_client(studio):
    def tasks_with_value(*asked, whole):
        studio.asked.append((*asked, whole))
        if isinstance(studio.answer, Exception):
            raise studio.answer
        return studio.answer

    return SimpleNamespace(tasks_with_value=tasks_with_value)


@pytest.fixture
def project(workspace):
    workspace.stores.projects.change(
        1, task_fields=[["patient", 9, 3], ["case.id", 9, 9], ["case__id", 9, 9], ["x_.y", 9, 9]]
    )
    workspace.stores.images.synchronise(1, {task: f"/{task}.png" for task in range(1, 10)}, complete=True)
    return workspace.project(1)


def test_the_fields_that_tasks_have_can_be_searched_within_others_too(project, workspace):
    assert searchable_fields(project) == ["patient", "case.id"]
    assert searchable_fields(workspace.project(7)) == []


def test_tasks_are_found_in_the_order_of_label_studio_as_far_as_rounds_know_them(project, studio):
    studio.answer = FoundTasks({task: {"patient": NAME} for task in (70, 9, 4)}, 100)
    found = find_by_field(project, "patient", f" {NAME} ", 48)
    assert (found.tasks, found.total, found.reserved) == ([9, 4], 100, 0)
    assert studio.asked == [(1, "patient", NAME, 48, 10.0, False)]


def test_the_test_set_is_counted_and_not_shown(project, studio, monkeypatch):
    monkeypatch.setattr(project.stores.test_sets, "ids", lambda _: frozenset({9}))
    studio.answer = FoundTasks({task: {"patient": NAME} for task in (9, 4)}, 2)
    found = find_by_field(project, "patient", NAME, 48)
    assert (found.tasks, found.reserved) == ([4], 1)


@pytest.mark.parametrize(("held", "value"), [(1005, "1005"), (1005, "1005.0"), (0.5, "0.5"), ("01", "01")])
def test_numbers_are_found_by_what_they_are(project, studio, held, value):
    studio.answer = FoundTasks({4: {"case": {"id": held}}}, 1)
    assert find_by_field(project, "case.id", value, 48, whole=True).tasks == [4]


@pytest.mark.parametrize(("held", "value"), [("DOE^JANE", "e^j"), (1005, "00"), ("Müller", "MÜL"), (0.5, "0.")])
def test_what_contains_the_value_in_letters_of_either_case_is_found(project, studio, held, value):
    studio.answer = FoundTasks({4: {"patient": held}}, 1)
    assert find_by_field(project, "patient", value, 48).tasks == [4]
    with pytest.raises(ClinicalError, match="does not search"):
        find_by_field(project, "patient", value, 48, whole=True)


@pytest.mark.parametrize(("held", "value"), [(["North", "South"], "north"), (True, "tr"), (["Müller"], "mül")])
def test_what_is_neither_text_nor_a_number_is_found_by_its_json_as_label_studio_does(project, studio, held, value):
    studio.answer = FoundTasks({4: {"patient": held}}, 1)
    assert find_by_field(project, "patient", value, 48).tasks == [4]


@pytest.mark.parametrize(("value", "whole"), [("ul", False), ("null", True)])
def test_a_field_that_is_empty_is_not_found_by_the_word_for_it(project, studio, value, whole):
    studio.answer = FoundTasks({9: {"patient": None}, 4: {"patient": "null" if whole else "Paul"}}, 60)
    found = find_by_field(project, "patient", value, 48, whole=whole)
    assert (found.tasks, found.total) == ([4], 59)


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize("held", ["Doe^John", None, 7, True, ["Doe^Ann"]])
def test_an_answer_of_other_tasks_is_no_answer(project, studio, held, whole):
    studio.answer = FoundTasks({9: {"patient": NAME}, 4: {"patient": held}}, 2)
    with pytest.raises(ClinicalError, match="does not search for this value") as refusal:
        find_by_field(project, "patient", NAME, 48, whole=whole)
    assert "Doe" not in str(refusal.value)


@pytest.mark.parametrize(
    ("field", "value"), [("nonsense", "x"), ("case__id", "x"), ("patient", " "), ("patient", "x" * 201)]
)
def test_what_cannot_be_asked_for_is_refused_without_asking(project, studio, field, value):
    with pytest.raises(InvalidArgumentError):
        find_by_field(project, field, value, 48)
    assert studio.asked == []


@pytest.mark.parametrize(
    "error",
    [
        LabelStudioRefusedError(f"no {NAME}", "Look.", status=400),
        LabelStudioFaultError(f"no {NAME}", "Look."),
    ],
)
def test_a_refusal_is_told_without_the_value(project, studio, error):
    studio.answer = error
    with pytest.raises(ClinicalError, match="refuses to search") as refusal:
        find_by_field(project, "patient", NAME, 48)
    assert "Doe" not in str(refusal.value)
    assert refusal.value.__cause__ is None


def test_a_label_studio_that_is_away_is_told(project, studio):
    studio.answer = LabelStudioUnavailableError("It does not answer.", "Start it.")
    with pytest.raises(LabelStudioUnavailableError):
        find_by_field(project, "patient", NAME, 48)
