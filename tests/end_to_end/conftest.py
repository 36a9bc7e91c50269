"""A real Label Studio, the real backend as a process of its own, and projects of drawn cells."""

from __future__ import annotations

import itertools
import shutil
import time
from typing import TYPE_CHECKING, Any, Protocol

import pytest

from clinical_backend.lab.demo.dataset import drawn_cells
from clinical_backend.lab.demo.reading import settled, wait_for_round
from clinical_backend.lab.demo.run import DemoProject, create_demo_project
from clinical_backend.lab.servers.backend_server import BackendServer
from clinical_backend.lab.servers.simulated_reader import SimulatedReader
from clinical_backend.labelstudio.connection.connect import connect
from clinical_backend.settings import load_settings
from clinical_backend.workspace.workspace import open_workspace

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from clinical_backend.lab.servers.label_studio_admin import LabelStudioAdmin
    from clinical_backend.lab.servers.label_studio_server import LabelStudioServer

WAIT_SECONDS = 600.0
CREDENTIALS = {"BASIC_AUTH_USER": "reader", "BASIC_AUTH_PASS": "pass:wörd"}


class MakeCells(Protocol):
    """Creates a project of drawn cells of which a few are rare."""

    def __call__(self, size: int = ..., rare: int = ...) -> DemoProject: ...


@pytest.fixture(scope="session")
def make_cells(client: LabelStudioAdmin, label_studio: LabelStudioServer) -> MakeCells:
    """Return a function that creates a project of drawn cells."""
    numbers = itertools.count(1)

    def make(size: int = 60, rare: int = 8) -> DemoProject:
        number = next(numbers)
        return create_demo_project(client, label_studio, drawn_cells(size, rare, seed=number), f"cells {number}")

    return make


class MakeBackend(Protocol):
    """Makes a backend in a fresh folder; start it as a context manager."""

    def __call__(self, url: str, api_key: str, **settings: object) -> BackendServer: ...


@pytest.fixture(scope="session")
def make_backend(tmp_path_factory: pytest.TempPathFactory, exported_backbones: Path) -> MakeBackend:
    """Return a function that makes backends, which share one exported backbone."""

    def make(url: str, api_key: str, **settings: object) -> BackendServer:
        folder = tmp_path_factory.mktemp("backend")
        shutil.copytree(exported_backbones, folder / "backbones")
        return BackendServer(folder, url, api_key, **settings)

    return make


@pytest.fixture(scope="session")
def backend(label_studio: LabelStudioServer, make_backend: MakeBackend) -> Iterator[BackendServer]:
    """Return a running backend with basic authentication and small queues."""
    settings = {"QUEUE_SIZE": 30, "START_TRAINING_EACH_N_UPDATES": 5, "RECONCILE_SECONDS": 5, **CREDENTIALS}
    with make_backend(label_studio.url, label_studio.account.token, **settings) as server:
        yield server


def wait_until(condition: Callable[[], object], what: str, seconds: float = WAIT_SECONDS) -> None:
    """Wait until a condition holds; the test fails if it does not come true."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds:.0f} s: {what}"
        time.sleep(0.1)


class Loop:
    """A project in Label Studio, the backend that serves it, and what both say of it."""

    def __init__(self, client: LabelStudioAdmin, backend: BackendServer, demo: DemoProject) -> None:
        self.client = client
        self.backend = backend
        self.demo = demo
        self.id = demo.project.id
        url = backend.environment.get("DATABASE_URL")
        self.project = open_workspace(load_settings(model_dir=backend.folder, database_url=url)).project(self.id)
        self.stores = self.project.stores

    def connect(self, **options: object) -> None:
        """Connect, set the project's own options, and wait for the first queue."""
        connect(self.client, self.id, backend_url=self.backend.url, basic_auth=self.backend.credentials)
        if options:
            (entry,) = self.client.backends(self.id)
            user, password = self.backend.credentials or (None, None)
            auth = {"basic_auth_user": user, "basic_auth_pass": password} if user else {}
            self.client.update_backend(entry, extra_params=options, **auth)
            wait_until(lambda: (row := self.stores.projects.get(self.id)) and row.options == options, "options known")
            self.settle()
        self.wait_for_round(0)

    def wait_for_round(self, after: int, **knowing: int) -> int:
        """Wait for a later round that knows so many labels or exemplars."""
        return wait_for_round(self.backend, self.id, after, **knowing)

    def settle(self) -> None:
        """Wait until no round is due or running."""
        wait_until(lambda: settled(self.backend, self.id), "all rounds done")

    def tag(self, number: int = 3) -> list[int]:
        """Tag known rare cases, and return their tasks."""
        reader = SimulatedReader(self.client)
        tasks = [task for task, name in self.demo.truth.items() if name == self.demo.rare][:number]
        for task in tasks:
            reader.annotate(task, {"diagnosis": [self.demo.rare], "exemplar": ["more like this"]})
        return tasks

    def queue(self) -> list[int]:
        """Return the tasks of the published queue, in order."""
        published = self.stores.rounds.published(self.id)
        assert published is not None
        return [queued.task_id for queued in self.stores.rounds.queue(published.id)]

    def status(self) -> dict[str, Any]:
        """Return what the backend says of the project."""
        return self.backend.status(self.id) or {}


@pytest.fixture
def loop(client: LabelStudioAdmin, backend: BackendServer, make_cells: MakeCells) -> Loop:
    """Return a fresh project that is not connected yet."""
    return Loop(client, backend, make_cells())
