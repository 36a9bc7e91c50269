"""Imports keep what they bring, also where Label Studio loses it at first."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from clinical_backend.errors import LabelStudioUnavailableError
from clinical_backend.lab.servers.label_studio_admin import LabelStudioAdmin
from clinical_backend.labelstudio import project_import
from clinical_backend.labelstudio.project_import import ProjectImport

TASKS = [{"data": {"image": "1.png"}, "annotations": [{"result": []}]}, {"data": {"image": "2.png"}}]


class Forgetful:
    """Stands for a Label Studio whose SQLite is locked at the first imports: rarely to be met on purpose."""

    def __init__(self, failing):
        self.failing, self.tasks, self.made = failing, {}, 0

    def request(self, method, path, *, json, **_):
        if path == "api/dm/actions":
            for task in json["selectedItems"]["included"]:
                del self.tasks[task]
            return {}
        kept, self.failing = self.failing == 0, max(0, self.failing - 1)
        ids = [self.made + 1, self.made + 2]
        self.made += 2
        self.tasks |= dict.fromkeys(ids, kept)
        return {"task_ids": ids, "annotation_count": int(kept)}


def admin_of(studio):
    with LabelStudioAdmin("http://127.0.0.1:9", "token") as admin:
        pass
    admin.session = studio
    return admin


def test_an_import_that_lost_its_annotations_is_made_again():
    admin = admin_of(studio := Forgetful(2))
    assert admin.import_tasks(1, TASKS) == list(studio.tasks) == [5, 6]
    assert all(studio.tasks.values())


def test_an_import_that_always_loses_them_is_refused_and_leaves_nothing():
    admin = admin_of(studio := Forgetful(1000))
    with pytest.raises(LabelStudioUnavailableError, match="without their annotations"):
        admin.import_tasks(1, TASKS)
    assert studio.tasks == {}


class Studio:
    """Stores files, and holds tasks of which some are answered."""

    def __init__(self, answered=()):
        self.answered, self.deleted, self.uploads = set(answered), [], []
        self.session = self

    def request(self, method, path, *, params=None, json=None, files=None, **_):
        if path == "api/dm/actions":
            assert (params, json["selectedItems"]["all"]) == ({"id": "delete_tasks", "project": 1}, False)
            self.deleted.append(json["selectedItems"]["included"])
            return {}
        if files is not None:
            self.uploads.append([name for name, _ in files.values()])
            return {"file_upload_ids": [len(self.uploads)]}
        some = self.uploads[int(params["ids"].strip("[]")) - 1]
        return [{"file": f"upload/1/01234567-{name}"} for name in some]

    def tasks_with_answers(self, _, ids):
        return [SimpleNamespace(id=task, annotations=[1] if task in self.answered else []) for task in ids]


def test_an_upload_is_made_in_requests_that_label_studio_takes(monkeypatch):
    monkeypatch.setattr(project_import, "BYTES_PER_UPLOAD", 1000)
    pictures = {f"{number}.png": b"." for number in range(150)}
    pictures |= {name: bytes(600) for name in ("a.png", "b.png")} | {"c.png": bytes(2000)}
    studio = Studio()
    addresses = ProjectImport(studio, 1).upload(pictures)
    assert addresses == {name: f"/data/upload/1/01234567-{name}" for name in pictures}
    assert [len(some) for some in studio.uploads] == [100, 51, 1, 1]


def test_of_what_is_there_twice_the_answered_stays_and_else_the_first():
    tasks = {"one": [1], "none": [2, 3, 4], "later": [5, 6], "both": [7, 8, 9]}
    studio = Studio(answered={6, 7, 9})
    assert ProjectImport(studio, 1).delete_doubles(tasks) == 4
    assert studio.deleted == [[3, 4, 5, 8]]


def test_many_doubles_are_deleted_in_few_requests():
    studio = Studio()
    assert ProjectImport(studio, 1).delete_doubles({str(task): [task, task + 2000] for task in range(1200)}) == 1200
    assert [len(some) for some in studio.deleted] == [500, 500, 200]
    assert all(task >= 2000 for some in studio.deleted for task in some)
