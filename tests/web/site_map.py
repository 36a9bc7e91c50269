"""Every route of the server, as the application itself has it: none can be forgotten by a test that goes through all.

A new page is swept by itself. A route that takes something of its path, that is no page, or that needs a state of its
own to be one, is named here once, or :func:`routes` raises.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from fastapi.routing import APIRoute

from clinical_backend.settings import load_settings
from clinical_backend.web.app import make_app
from tests.web.noting_runner import Wakes

__all__ = ["ACTIONS", "FRAGMENTS", "PAGES", "PAGES_OF_CASES", "Route", "routes"]

OF_PROJECT = "/projects/{project_id}"
PARTS = {"project_id": "1", "task_id": "99", "number": "1", "form": "csv"}
"""What stands for each part of a path: task 99 is an exemplar of the filled project, and 1 one from outside."""
ASKED = {
    "/fragments/map/cases": "?task=99",
    "/images/{task_id}/window.webp": "?centre=1&width=2",
    "/model/compare": "?first=1&second=2",
    "/queue/waiting": "?round=1",
    "/rollback": "?number=1",
}
"""What is asked of a route that takes no request without it."""
NO_PAGES = frozenset({"/exemplars/tags", "/map/points", "/queue/waiting"})
"""What scripts read, beside files and fragments."""
OF_A_STATE = frozenset({"/model/compare", "/rollback", "/settings/preview", "/similar"})
"""Pages of rounds or of a question that not every project has, and what leads to a case that was named: each is opened
by a test of its own."""
HEAVY = frozenset({"/model/card"})
"""A document of its own, with its own policy; see test_model_card.py."""
VARIANTS = ("/exemplars?sort=brought", "/readers/cases?show=same&said=a&pair=7-8&page=2")
"""Pages that are shown in another way."""
FOR_SCRIPTS = frozenset({"/setup", "/predict", "/webhook", f"{OF_PROJECT}/rounds"})
"""What is called without a form."""


@dataclass(frozen=True, slots=True)
class Route:
    """One route.

    Attributes
    ----------
    method, path
        As the application has them.
    address
        An address that leads to it.
    """

    method: str
    path: str
    address: str

    @property
    def of_project(self) -> str | None:
        """What stands behind a project; ``None`` where it is of none."""
        return self.path.removeprefix(OF_PROJECT) if self.path.startswith(OF_PROJECT) else None

    @property
    def is_page(self) -> bool:
        """Whether it is a page of a project."""
        part = self.of_project
        is_file = "." in self.path.rpartition("/")[2]
        return self.method == "GET" and part is not None and not (is_file or self.is_fragment or part in NO_PAGES)

    @property
    def is_fragment(self) -> bool:
        """Whether it is a part of a page of a project."""
        return (self.of_project or "").startswith("/fragments/")


@cache
def routes() -> tuple[Route, ...]:
    """Return all routes of the application."""
    with tempfile.TemporaryDirectory() as folder:
        app = make_app(load_settings(model_dir=Path(folder), label_studio_api_key="k"), Wakes())
    found = [
        Route(method, each.path, each.path.format(**PARTS) + ASKED.get(each.path.removeprefix(OF_PROJECT), ""))
        for router in app.routes
        for each in getattr(getattr(router, "original_router", None), "routes", ())
        if isinstance(each, APIRoute)
        for method in sorted(each.methods or ())
    ]
    assert len(found) > 60, "the application keeps its routes elsewhere"
    return tuple(found)


_PAGES = [each for each in routes() if each.is_page and each.of_project not in OF_A_STATE | HEAVY]
PAGES = [*(each.of_project or "" for each in _PAGES if "{" not in (each.of_project or "")), *VARIANTS]
"""Every page that every project has, behind its address."""
PAGES_OF_CASES = [each.address.removeprefix("/projects/1") for each in _PAGES if "{" in (each.of_project or "")]
"""Every page of one case or exemplar."""
FRAGMENTS = [each.address.removeprefix("/projects/1") for each in routes() if each.is_fragment]
ACTIONS = [
    each.address.removeprefix("/projects/1/")
    for each in routes()
    if each.method == "POST" and each.path not in FOR_SCRIPTS
]
