"""Tabs of a real Data Manager."""

from __future__ import annotations

import pytest

from clinical_backend.errors import InvalidArgumentError
from clinical_backend.labelstudio.views import QUEUE_TITLE, show_queue, show_tasks


def shown(client, project, view):
    reply = client.session.request("GET", "api/tasks/", params={"project": project.id, "view": view.id})
    return [task["id"] for task in reply["tasks"]]


def test_a_tab_shows_exactly_the_tasks_that_it_is_made_for_and_is_renewed(client, project):
    tasks = [task.id for task in client.tasks(project.id)]
    chosen = [tasks[7], tasks[2], tasks[4]]
    view = show_tasks(client, project.id, "Second look", chosen)
    assert shown(client, project, view) == sorted(chosen)
    again = show_tasks(client, project.id, "Second look", tasks[:1])
    assert again.id == view.id
    assert shown(client, project, again) == tasks[:1]
    assert [one.title for one in client.views(project.id)].count("Second look") == 1


def test_the_tab_of_the_queue_is_made_once(client, project):
    assert show_queue(client, project.id)
    assert not show_queue(client, project.id)
    assert [view.title for view in client.views(project.id)].count(QUEUE_TITLE) == 1


def test_a_tab_of_no_tasks_is_refused(client, project):
    with pytest.raises(InvalidArgumentError, match="Choose tasks"):
        show_tasks(client, project.id, "Second look", [])
