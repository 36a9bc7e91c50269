"""Imports keep what they bring, also where Label Studio loses it at first."""

from __future__ import annotations

import pytest

from clinical_backend.errors import LabelStudioUnavailableError
from clinical_backend.lab.servers.label_studio_admin import LabelStudioAdmin

TASKS = [{"data": {"image": "1.png"}, "annotations": [{"result": []}]}, {"data": {"image": "2.png"}}]


class Forgetful:
    """Stands for a Label Studio whose SQLite is locked at the first imports: rarely to be met on purpose."""

    def __init__(self, failing):
        self.failing, self.tasks, self.made = failing, {}, 0

    def request(self, method, path, **_):
        if method == "DELETE":
            del self.tasks[int(path.split("/")[2])]
            return None
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
