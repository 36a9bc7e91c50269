"""A runner that runs nothing."""

from __future__ import annotations

__all__ = ["Wakes"]


class Wakes:
    """A runner that only notes whom it was to look at."""

    def __init__(self) -> None:
        self.projects: list[int] = []

    def start(self) -> None:
        """Start nothing."""

    def wake(self, project_id: int) -> None:
        """Note a project."""
        self.projects.append(project_id)

    def stop(self) -> None:
        """Stop nothing."""
