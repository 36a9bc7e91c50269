"""Tasks that Label Studio fails in giving do not hide the others."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest

from clinical_backend.errors import LabelStudioFaultError
from clinical_backend.labelstudio.task_lists import TaskLists

FIELDS = "id,data"
FAULT = LabelStudioFaultError("It does not answer (status 500).", "Look.")


class Session:
    """Stands in for a server that fails over what some tasks hold: a real one is in the end-to-end tests."""

    def __init__(self, count, strange, cap=5000):
        self.cap = cap
        self.tasks, self.strange, self.asked = range(1, count + 1), set(strange), 0

    def request(self, method, path, *, params, time_out, repeatable):
        self.asked += 1
        query = json.loads(params["query"])
        chosen = query.get("selectedItems", {}).get("included", self.tasks)
        if params["include"] != "id" and self.strange.intersection(chosen):
            raise FAULT
        page = list(chosen)[: params["page_size"] if params["include"] == "id" else self.cap]
        full = {} if params["include"] == "id" else {"data": {}}
        return {"tasks": [{"id": task} | full for task in page], "total": len(list(chosen))}


@pytest.mark.parametrize("strange", [[], [1], [777], [1, 2, 500, 1000], [400, 401]])
def test_every_task_is_listed_and_the_strange_ones_are_said_to_be_withheld(strange):
    session = Session(1000, strange)
    lists = TaskLists(session)
    for _ in range(2):
        found, total = lists.read(1, FIELDS, {}, 5000)
        assert ([task["id"] for task in found], total) == (list(range(1, 1001)), 1000)
        assert [task["id"] for task in found if task.get("withheld")] == strange
        assert all("data" in task for task in found if not task.get("withheld"))


def test_a_server_that_caps_its_pages_hides_no_task():
    found, total = TaskLists(Session(90, [7, 60], cap=4)).read(1, FIELDS, {}, 5000)
    assert ([task["id"] for task in found], total) == (list(range(1, 91)), 90)


def test_strange_tasks_that_are_known_are_soon_passed_over():
    session = Session(1000, [1, 777])
    lists = TaskLists(session)
    lists.read(1, FIELDS, {}, 5000)
    session.asked = 0
    lists.read(1, FIELDS, {}, 5000)
    assert session.asked == 2 + 5 + 2  # the whole, the ids, 200 at a time, and the two
    session.strange.clear()
    found, _ = lists.read(1, FIELDS, {}, 5000)
    assert not any(task.get("withheld") for task in found)


def test_a_server_that_fails_over_everything_is_said_to_fail():
    with pytest.raises(LabelStudioFaultError):
        TaskLists(Session(1000, range(1, 1001))).read(1, FIELDS, {}, 5000)


@pytest.mark.parametrize("answer", [[], {}, {"tasks": None}, {"tasks": [{"id": 1, "data": "x"}], "total": 1}])
def test_an_answer_to_a_search_that_is_none_is_a_fault_of_the_server(answer):
    lists = TaskLists(SimpleNamespace(request=lambda *_, **__: answer))
    with pytest.raises(LabelStudioFaultError, match="not understood"):
        lists.with_value(1, "patient", "x", 48, 10.0, whole=True)
