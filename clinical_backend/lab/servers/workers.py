"""Workers that die or wait where they are told to, and are started again as Docker or systemd would do.

``python -m clinical_backend.lab.servers.workers FOLDER NUMBER`` imports everything once, forks so many workers, and
forks another for each that ends. FOLDER says which faults they meet.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn, Self

import torch  # noqa: F401 - imported once, before the forks

from clinical_backend.jobs.redis_worker import run_redis_worker
from clinical_backend.lab.servers.faults import Faults, install
from clinical_backend.logs import configure_logs
from clinical_backend.settings import load_settings

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

__all__ = ["Workers"]


class Workers:
    """Runs workers, as a context manager.

    Parameters
    ----------
    folder
        For faults and their log; it is made.
    environment
        Whose settings they read.
    number
        How many.

    Attributes
    ----------
    faults
        What they are to meet.
    """

    def __init__(self, folder: Path, environment: Mapping[str, str], number: int = 2) -> None:
        self._folder = folder
        self._environment = environment
        self._number = number
        self._parent: subprocess.Popen[bytes] | None = None
        self.faults = Faults(folder)

    def __enter__(self) -> Self:
        self._folder.mkdir(parents=True)
        with (self._folder / "log").open("wb") as log:
            self._parent = subprocess.Popen(  # noqa: S603 - our own
                [sys.executable, "-m", "clinical_backend.lab.servers.workers", self._folder, str(self._number)],
                env=self._environment,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
            )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        parent, self._parent = self._parent, None
        if parent is not None:
            parent.communicate()  # it ends with its input

    @property
    def log(self) -> Path:
        """File that holds their output."""
        return self._folder / "log"

    def ended(self) -> dict[int, int]:
        """Return the exit statuses of the workers that have ended, by process id."""
        ended = self._folder / "ended"
        lines = ended.read_text().splitlines() if ended.exists() else []
        return {int(process): int(status) for process, status in map(str.split, lines)}


def _main(folder: Path, number: int) -> NoReturn:
    install(Faults(folder))
    workers: set[int] = set()
    forking = threading.Lock()
    threading.Thread(target=_end_with_input, args=(workers, forking), daemon=True).start()
    while True:
        with forking:
            while len(workers) < number:
                workers.add(_fork_worker())
        ended, status = os.wait()
        workers.remove(ended)
        with (folder / "ended").open("a") as log:
            log.write(f"{ended} {os.waitstatus_to_exitcode(status)}\n")


def _fork_worker() -> int:
    child = os.fork()
    if child:
        return child
    settings = load_settings()
    configure_logs(settings)
    run_redis_worker(settings)
    os._exit(0)


def _end_with_input(workers: set[int], forking: threading.Lock) -> NoReturn:
    os.read(sys.stdin.fileno(), 1)
    with forking:
        for worker in workers:
            with suppress(ProcessLookupError):
                os.kill(worker, signal.SIGKILL)
        os._exit(0)


if __name__ == "__main__":
    _main(Path(sys.argv[1]), int(sys.argv[2]))
