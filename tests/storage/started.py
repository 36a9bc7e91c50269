"""Rounds as a worker begins them."""

from __future__ import annotations


def start_round(stores, project_id, reason="test"):
    """Request a round and begin it; return its row."""
    stores.projects.request_round(project_id, reason, delay=0)
    row = stores.rounds.start(project_id)
    assert row is not None
    return row
