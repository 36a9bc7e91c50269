"""The tab of a real Data Manager."""

from __future__ import annotations

from clinical_backend.labelstudio.tabs import QUEUE_TITLE, show_queue


def test_the_tab_of_the_queue_is_made_once(client, project):
    assert show_queue(client, project.id)
    assert not show_queue(client, project.id)
    assert [view.title for view in client.views(project.id)].count(QUEUE_TITLE) == 1
