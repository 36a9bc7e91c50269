"""A test set is read in a tab of its own in Label Studio, blind, and judges the published model without changing it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx2

from clinical_backend.lab.servers.simulated_reader import SimulatedReader
from clinical_backend.labelstudio.tabs import TEST_SET_TITLE
from clinical_backend.service.set_aside import ask_for_test_set, models_on_test_set, read_set_aside
from tests.end_to_end.conftest import Loop, wait_until

if TYPE_CHECKING:
    from clinical_backend.labelstudio.resources import View


def tab(loop: Loop) -> View | None:
    """Return the tab of the test set, once there is one."""
    return next((view for view in loop.client.views(loop.id) if view.title == TEST_SET_TITLE), None)


def shown(loop: Loop) -> list[int] | None:
    """Return the tasks that it shows."""
    if (view := tab(loop)) is None:
        return None
    found = loop.client.session.request("GET", "api/tasks", params={"project": loop.id, "view": view.id})
    return sorted(task["id"] for task in found["tasks"])


def test_a_test_set_is_read_in_its_tab_by_two_readers_and_judges_the_model_as_it_is(loop, second_client):
    truth = loop.demo.truth
    names = sorted(set(truth.values()))
    first, second = SimulatedReader(loop.client), SimulatedReader(second_client)
    of_class = {name: [task for task, its in truth.items() if its == name] for name in names if name != loop.demo.rare}
    # Some of each class: what the model has not learnt is not judged.
    before = loop.tag(3) + [task for tasks in of_class.values() for task in tasks[:2]]
    for task in before[3:]:
        first.annotate(task, {"diagnosis": [truth[task]]})
    loop.connect()
    ask_for_test_set(loop.project, 8, by="lead", seed=3, twice=True)
    wait_until(lambda: read_set_aside(loop.project).draws, "a test set drawn")
    loop.settle()
    tasks = loop.stores.test_sets.ids(loop.id)
    wait_until(lambda: shown(loop) == sorted(tasks), "a tab that holds it")
    assert len(tasks) == 8
    assert tasks.isdisjoint(before)
    assert tasks.isdisjoint(loop.queue())
    published = loop.stores.rounds.published(loop.id)
    kept = loop.stores.test_sets.scores(loop.id, published.version)
    assert set(kept.tasks.tolist()) == tasks

    for reader, client in ((first, loop.client), (second, second_client)):
        for number in range(len(tasks)):
            body = {"filters": tab(loop).filters, "ordering": ["tasks:id"]}  # as Label Tasks As Displayed asks
            path = f"api/dm/actions?id=next_task&project={loop.id}"
            served = client.session.request("POST", path, json=body)
            assert served["id"] in tasks
            assert (served["predictions"], served["annotations"]) == ([], [])
            wrong = reader is second and number == 0
            name = next(one for one in names if one != truth[served["id"]]) if wrong else truth[served["id"]]
            reader.annotate(served["id"], {"diagnosis": [name]})

    wait_until(lambda: read_set_aside(loop.project).read == 8, "both readings noted")
    found = read_set_aside(loop.project)
    assert (found.agreement.cases, found.agreement.disagreements) == (8, 1)
    ((judged, figures),) = models_on_test_set(loop.project)
    assert (len(judged.tasks), judged.disputed) == (7, 1)
    assert [one.cases for one in figures.classes] == [7] * len(judged.classes)
    assert loop.stores.rounds.published(loop.id).version == published.version
    assert tasks.isdisjoint(loop.stores.labels.all(loop.id))
    wait_until(lambda: shown(loop) == [], "an empty tab once all is read")
    page = httpx2.get(
        f"{loop.backend.url}/projects/{loop.id}/model",
        auth=loop.backend.credentials,
        headers={"Accept": "text/html"},
        timeout=60.0,
    ).text
    assert "8 of 8 tasks read twice" in page
