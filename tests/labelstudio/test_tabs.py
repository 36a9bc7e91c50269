"""The tabs of a real Data Manager."""

from __future__ import annotations

from clinical_backend.labelstudio.tabs import ORDINARY_TITLE, QUEUE_TITLE, TEST_SET_TITLE, show_queue, show_test_set


def titles(client, project):
    return [view.title for view in client.views(project.id)]


def test_the_tab_of_the_queue_is_made_once(client, project):
    assert show_queue(client, project.id)
    assert not show_queue(client, project.id)
    assert titles(client, project).count(QUEUE_TITLE) == 1


def test_a_project_that_nobody_opened_gets_the_tab_that_label_studio_would_make_as_the_second(client, make_project):
    project = make_project(0)
    show_queue(client, project.id)
    assert titles(client, project) == [QUEUE_TITLE, ORDINARY_TITLE]


def test_a_project_with_tabs_keeps_them_and_gets_no_other_than_that_of_the_queue(client, make_project):
    project = make_project(0)
    client.create_view(project.id, {"title": "mine", "type": "list", "target": "tasks"})
    show_queue(client, project.id)
    assert titles(client, project) == ["mine", QUEUE_TITLE]


def test_the_tab_of_the_test_set_holds_what_is_named_and_is_changed_only_where_that_changes(client, make_project):
    project = make_project(3)
    first, second, third = sorted(task.id for task in client.tasks(project.id))

    def shown():
        (view,) = [view for view in client.views(project.id) if view.title == TEST_SET_TITLE]
        found = client.session.request("GET", "api/tasks", params={"project": project.id, "view": view.id})
        return sorted(task["id"] for task in found["tasks"])

    assert [show_test_set(client, project.id, {first, third}) for _ in range(2)] == [True, False]
    assert shown() == [first, third]
    assert show_test_set(client, project.id, {second})
    assert shown() == [second]
    assert [show_test_set(client, project.id, set()) for _ in range(2)] == [True, False]
    assert shown() == []
