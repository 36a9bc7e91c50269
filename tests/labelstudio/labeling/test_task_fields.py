"""Which fields tasks have: what is counted, and what is not."""

from clinical_backend.labelstudio.labeling import task_fields
from clinical_backend.labelstudio.labeling.fields import lookup
from clinical_backend.labelstudio.labeling.task_fields import TaskField, count_fields


def test_text_and_numbers_are_counted_and_what_a_setting_cannot_use_is_not():
    tasks = [
        {"image": "a.png", "patient": "p1", "age": 40, "case": {"site": "north"}},
        {"image": "b.png", "patient": "p1", "age": 40.5, "case": {"site": ""}, "urgent": True, "views": ["x"]},
        {"image": "c.png", "patient": "p2", "note": None},
    ]
    found = count_fields(tasks, without={"image"})
    assert found == [TaskField("patient", 3, 2), TaskField("age", 2, 2), TaskField("case.site", 1, 1)]
    assert all(lookup(tasks[0], field.name) for field in found)


def test_fields_and_values_are_bounded(monkeypatch):
    monkeypatch.setattr(task_fields, "MOST_VALUES", 10)
    (field,) = count_fields({"id": number} for number in range(100))
    assert field == TaskField("id", 100, 10)
    many = count_fields([{f"field {number:03}": "x" for number in range(100)} | {"n" * 201: 1}])
    assert [field.name for field in many] == [f"field {number:03}" for number in range(40)]
    nested = {"a": {"b": {"c": {"d": 1}, "e": 2}}}
    assert [field.name for field in count_fields([nested])] == ["a.b.e"]


def test_no_task_has_no_field():
    assert count_fields([]) == []
