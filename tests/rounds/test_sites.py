"""Where tasks come from, as a field of their data says."""

import pytest

from clinical_backend.rounds.reconcile import reconcile
from tests.rounds.fake_label_studio import FakeLabelStudio
from tests.small_workspace import picture


@pytest.fixture
def fake_client():
    return FakeLabelStudio({task: picture(9 * task) for task in range(1, 6)})


def run(workspace):
    workspace.stores.projects.request_round(1, "a test", delay=0)
    reconcile(workspace.project(1), look=True)
    return workspace.stores.images.sites(1)


def test_sites_are_kept_while_a_field_names_them_and_follow_the_field(workspace, fake_client):
    assert run(workspace) == {}
    fake_client.data = {
        1: {"site": " north ", "case": {"scanner": 7}},
        2: {"site": ["north"], "case": {"scanner": True}},
        3: {"site": "x" * 500},
    }
    workspace.stores.projects.change(1, page_options={"site_field": "site"})
    found = run(workspace)
    assert (found[1], len(found[3])) == ("north", 100)
    assert 2 not in found
    fake_client.uris[6] = picture(99)
    fake_client.data[6] = {"site": "south"}
    assert run(workspace)[6] == "south"
    workspace.stores.projects.change(1, page_options={"site_field": "$case.scanner"})
    assert run(workspace) == {1: "7"}
    workspace.stores.projects.change(1, page_options={})
    assert run(workspace) == {}


def test_the_fields_that_tasks_have_are_counted_whenever_all_are_listed(workspace, fake_client):
    fake_client.data = {1: {"site": "north"}, 2: {"site": "north", "patient": "p1"}}
    run(workspace)
    assert workspace.stores.projects.get(1).task_fields == [["site", 2, 1], ["patient", 1, 1]]
    workspace.stores.projects.change(1, listed_at=0.0)
    fake_client.data = {1: {"patient": "p1"}}
    run(workspace)
    assert workspace.stores.projects.get(1).task_fields == [["patient", 1, 1]]
