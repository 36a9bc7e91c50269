"""What the testbed counts: losses are seen, and without any there are none.

A Label Studio in memory stands in: the real one loses nothing that could be counted.
"""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from clinical_backend.lab.benchmarks.reliability import _Kill, _kills, _name, _outcome, _Reading
from clinical_backend.rounds.reconcile import reconcile
from tests.rounds.fake_label_studio import FakeLabelStudio
from tests.small_workspace import picture, workspace

__all__ = ["workspace"]

KILLS = [_Kill("worker", "fit", "old", 3.0), _Kill("Redis", "switched", "new", 9.0)]


@pytest.fixture
def fake_client():
    return FakeLabelStudio({number: picture(number) for number in range(1, 21)})


@pytest.fixture
def testbed(workspace, fake_client):
    """Return a testbed of one project with two labels and a queue."""
    workspace.settings = workspace.settings.model_copy(update={"backend_url": "http://backend"})
    fake_client.annotate(1, "red")
    fake_client.annotate(2, "dark")
    reconcile(workspace.project(1), look=True)
    rounds = list(reversed(workspace.stores.rounds.history(1)))
    return SimpleNamespace(client=fake_client, stores=workspace.stores, id=1, rounds=lambda: rounds)


def counted(testbed, kills=KILLS, given=None):
    table = _outcome(testbed, _Reading({1: "red", 2: "dark"} if given is None else given), kills, "sqlite")
    names, values = (list(column.cells) for column in table.columns)
    return dict(zip(names, values, strict=True))


def test_without_a_loss_none_is_counted(testbed):
    rows = counted(testbed)
    assert rows["of them missing or wrong in Label Studio"] == "0"
    assert rows["labels in Label Studio / in the backend / different"] == "2 / 2 / 0"
    assert rows["queue while one was dead: old and whole / new and whole"] == "1 / 1"
    assert rows["queue while one was dead: neither"] == "0"
    assert (rows["rounds published"], rows["rounds left running"]) == ("1", "0")
    assert rows["Label Studio serves the published queue"] == "yes"
    assert rows["its predictions there / its tasks"] == "18 / 18"


def test_every_loss_is_counted(testbed):
    testbed.client.answers.pop(1)
    testbed.client.annotate(3, "red")
    testbed.client.predictions[testbed.client.model_version].pop()
    rows = counted(testbed, [*KILLS, _Kill("server", "sync", "MIXED", 1.0)])
    assert rows["of them missing or wrong in Label Studio"] == "1"
    assert rows["labels in Label Studio / in the backend / different"] == "2 / 2 / 2"
    assert rows["queue while one was dead: neither"] == "1"
    assert rows["its predictions there / its tasks"] == "17 / 18"
    testbed.client.model_version = "another"
    assert counted(testbed)["Label Studio serves the published queue"] == "NO"


def test_a_queue_is_old_or_new_only_if_it_is_whole(testbed):
    (row,) = testbed.rounds()
    earlier = SimpleNamespace(version="clinical-0", id=0)
    assert _name(testbed, row.version, 18, None, row) == "new"
    assert _name(testbed, row.version, 18, row, earlier) == "old"
    assert _name(testbed, row.version, 17, None, row) == "MIXED"
    assert _name(testbed, "another", 18, earlier, row) == "MIXED"


def test_kills_are_counted_by_victim_and_point(testbed):
    columns = [list(column.cells) for column in _kills([*KILLS, KILLS[0]]).columns]
    by_point = {point: counts for point, *counts in zip(*columns, strict=True)}
    assert (by_point["fit"], by_point["switched"], by_point["rank"]) == (["0", "2"], ["1", "0"], ["0", "0"])
    assert by_point["seconds: most"] == ["9.0", "3.0"]
