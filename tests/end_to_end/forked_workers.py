"""Workers that die or wait where a test wants them to: ``python -m tests.end_to_end.forked_workers FOLDER``.

A parent imports everything once, forks two workers, and forks another for each that ends, as Docker or systemd
would start it again. A worker that comes to a stage of a round dies by SIGKILL if FOLDER holds a file
``kill-STAGE``, which it takes away; or it waits there for as long as the folder holds a file ``hold-STAGE``. Beside
the stages there is ``switch``: weights and queue are stored, and readers are not served from them yet.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path

import torch  # noqa: F401 - imported once, before the forks

from clinical_backend.jobs.rq_worker import run_rq_worker
from clinical_backend.labelstudio.client import LabelStudioClient
from clinical_backend.logs import configure_logs
from clinical_backend.settings import load_settings
from clinical_backend.storage.rounds import RoundStore

WORKERS = 2


def fault_at(stage: str, folder: Path) -> None:
    with suppress(FileNotFoundError):
        (folder / f"kill-{stage}").unlink()
        os.kill(os.getpid(), signal.SIGKILL)
    if (folder / f"hold-{stage}").exists():
        (folder / f"held-{stage}").write_text(str(os.getpid()))
        while (folder / f"hold-{stage}").exists():
            time.sleep(0.05)


def with_faults(folder: Path) -> None:
    progress = RoundStore.progress

    def progress_with_faults(self, round_id, stage, *counts):
        progress(self, round_id, stage, *counts)
        fault_at(stage, folder)

    def switch_with_faults(self, project_id, **fields):
        if "model_version" in fields:
            fault_at("switch", folder)
        return update_project(self, project_id, **fields)

    update_project = LabelStudioClient.update_project
    RoundStore.progress = progress_with_faults
    LabelStudioClient.update_project = switch_with_faults


def fork_worker() -> int:
    child = os.fork()
    if child:
        return child
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    settings = load_settings()
    configure_logs(settings)
    run_rq_worker(settings)
    os._exit(0)


def main(folder: Path) -> None:
    def end(*_):
        for worker in workers:
            with suppress(ProcessLookupError):
                os.kill(worker, signal.SIGKILL)
        os._exit(0)

    with_faults(folder)
    workers: set[int] = set()
    signal.signal(signal.SIGTERM, end)
    while True:
        while len(workers) < WORKERS:
            workers.add(fork_worker())
        ended, status = os.wait()
        workers.remove(ended)
        with (folder / "ended").open("a") as log:
            log.write(f"{ended} {os.waitstatus_to_exitcode(status)}\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
