"""A whole installation to try faults and load on: Label Studio, Redis, a database, a server and workers, all real."""

from __future__ import annotations

import shutil
import tempfile
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import httpx2

from clinical_backend.errors import ClinicalError
from clinical_backend.lab.demo.dataset import drawn_cells
from clinical_backend.lab.demo.reading import settled
from clinical_backend.lab.demo.run import DemoProject, create_demo_project
from clinical_backend.lab.servers.backend_server import BackendServer
from clinical_backend.lab.servers.label_studio_admin import LabelStudioAdmin
from clinical_backend.lab.servers.label_studio_server import LabelStudioServer
from clinical_backend.lab.servers.postgresql_server import PostgreSQLServer
from clinical_backend.lab.servers.redis_server import RedisServer
from clinical_backend.lab.servers.workers import Workers
from clinical_backend.labelstudio.connection.connect import connect
from clinical_backend.learner.backbones.loading import load_backbone
from clinical_backend.settings import load_settings
from clinical_backend.storage.opening import open_database
from clinical_backend.storage.stores.stores import Stores

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from clinical_backend.storage.schema import Round

__all__ = ["Testbed", "open_testbed"]

T = TypeVar("T")

_WAIT_SECONDS = 3600.0
_LOOK_SECONDS = 0.1
"""Longest wait for what is to happen, so that only a hang ends; and between two looks. Not measured."""
_SETTINGS = {
    "ADAPTATION": "off",
    "QUEUE_SIZE": 50,
    "START_TRAINING_EACH_N_UPDATES": 5,
    "RECONCILE_SECONDS": 15,
    "WORKER_TIMEOUT_SECONDS": 5,
}


class Testbed:
    """What runs, and what is known of its one project.

    Attributes
    ----------
    client
        Label Studio, for one thread.
    backend, redis, postgresql, workers
        The processes; ``postgresql`` is ``None`` where SQLite holds the state.
    demo
        The project and its truth.
    stores
        The backend's state, read past the server.
    """

    def __init__(
        self,
        client: LabelStudioAdmin,
        backend: BackendServer,
        redis: RedisServer,
        postgresql: PostgreSQLServer | None,
        workers: Workers,
        demo: DemoProject,
    ) -> None:
        self.client = client
        self.backend = backend
        self.redis = redis
        self.postgresql = postgresql
        self.workers = workers
        self.demo = demo
        self.id = demo.project.id
        url = backend.environment.get("DATABASE_URL")
        self.stores = Stores(open_database(load_settings(model_dir=backend.folder, database_url=url)))

    def ask(self) -> None:
        """Ask the server for a round."""
        httpx2.post(f"{self.backend.url}/projects/{self.id}/rounds", timeout=60.0).raise_for_status()

    def rounds(self) -> list[Round]:
        """Return all rounds, oldest first."""
        return list(reversed(self.stores.rounds.history(self.id, limit=10_000)))

    def settle(self) -> dict[str, Any]:
        """Wait until no round is due or running, and return what the server says of the project."""
        return self.wait(lambda: settled(self.backend, self.id), "Rounds did not come to rest.")

    def wait(self, look: Callable[[], T | None], problem: str) -> T:
        """Wait until there is something to be seen, and return it.

        Raises
        ------
        ClinicalError
            When there is nothing for too long.
        """
        deadline = time.monotonic() + _WAIT_SECONDS
        while time.monotonic() < deadline:
            seen = look()
            if seen is not None:
                return seen
            time.sleep(_LOOK_SECONDS)
        raise ClinicalError(problem, f"See {self.backend.log} and {self.workers.log}.")


@contextmanager
def open_testbed(state: Literal["sqlite", "postgresql"], *, tasks: int, rare: int) -> Iterator[Testbed]:
    """Start everything and connect a project of drawn cells; its first queue is published.

    Parameters
    ----------
    state
        Which database holds the backend's state.
    tasks, rare
        How many tasks the project has, and how many of them are rare.
    """
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        server = stack.enter_context(
            LabelStudioServer(folder / "label-studio", cache=Path(".cache"), fast_imports=True)
        )
        redis = stack.enter_context(RedisServer(folder / "redis"))
        postgresql = stack.enter_context(PostgreSQLServer()) if state == "postgresql" else None
        key = server.account.token
        client = stack.enter_context(LabelStudioAdmin(server.url, key))
        settings = {**_SETTINGS, "REDIS_URL": redis.url, "LOCAL_FILES_DOCUMENT_ROOT": server.files}
        if postgresql is not None:
            settings["DATABASE_URL"] = postgresql.new_database()
        exported = Path(".cache") / "backbones"
        load_backbone(folder=exported, device="cpu")
        shutil.copytree(exported, folder / "backend" / "backbones")
        backend = stack.enter_context(BackendServer(folder / "backend", server.url, key, **settings))
        workers = stack.enter_context(Workers(folder / "workers", backend.environment))
        demo = create_demo_project(client, server, drawn_cells(tasks, rare, seed=0), "testbed")
        testbed = Testbed(client, backend, redis, postgresql, workers, demo)
        stack.callback(testbed.stores.database.close)
        connect(client, demo.project.id, backend_url=backend.url)
        testbed.settle()
        yield testbed
