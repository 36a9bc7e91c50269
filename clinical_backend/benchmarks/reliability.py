"""What is lost while workers, the server and Redis are killed: counted on the real ones, while a reader annotates."""

from __future__ import annotations

import itertools
import multiprocessing
import os
import random
import shutil
import statistics
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx2
from rich.console import Console
from rich.table import Table

from clinical_backend.demo.backend_server import BackendServer
from clinical_backend.demo.dataset import drawn_cells
from clinical_backend.demo.label_studio_server import LabelStudioServer
from clinical_backend.demo.redis_server import RedisServer
from clinical_backend.demo.run import DemoProject, create_demo_project
from clinical_backend.demo.simulation import CLASS_CONTROL, wait_for_round
from clinical_backend.errors import ClinicalError
from clinical_backend.jobs.rq_worker import run_rq_worker
from clinical_backend.labelstudio.client import LabelStudioClient
from clinical_backend.labelstudio.connect import connect
from clinical_backend.labelstudio.reader import Reader
from clinical_backend.learner.backbones import load_backbone
from clinical_backend.logs import configure_logs
from clinical_backend.settings import load_settings
from clinical_backend.storage.database import Database
from clinical_backend.storage.schema import RoundState
from clinical_backend.storage.stores import Stores

if TYPE_CHECKING:
    from multiprocessing.context import ForkServerProcess

    from clinical_backend.storage.schema import Round

__all__ = ["main"]

_TASKS = 200
_RARE = 20
_WORKERS = 2
_READ_SECONDS = 0.5
_BETWEEN_KILLS = (2.0, 5.0)
_AWAY = (0.0, 2.0)
_SETTLE_SECONDS = 180.0
_CALLERS = 50
_SETTINGS = {
    "ADAPTATION": "off",
    "QUEUE_SIZE": 50,
    "START_TRAINING_EACH_N_UPDATES": 5,
    "RECONCILE_SECONDS": 15,
    "WORKER_TIMEOUT_SECONDS": 5,
}


class _Workers:
    """Workers that are started again when they are killed.

    They are forked from a process that has everything imported, so that the trial's time goes into rounds.
    """

    def __init__(self, environment: dict[str, str], log: Path) -> None:
        self._arguments = (environment, log)
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(["torch", "clinical_backend.jobs.rq_worker"])
        self._processes = [self._start() for _ in range(_WORKERS)]

    def kill_one(self, number: int) -> None:
        process = self._processes[number]
        process.kill()
        process.join()

    def restart(self) -> None:
        self._processes = [process if process.is_alive() else self._start() for process in self._processes]

    def stop(self) -> None:
        for process in self._processes:
            process.kill()
            process.join()

    def _start(self) -> ForkServerProcess:
        process = self._context.Process(target=_work, args=self._arguments)
        process.start()
        return process


def _work(environment: dict[str, str], log: Path) -> None:
    """Do as `clinical worker` does."""
    os.environ.update(environment)
    with log.open("ab") as file:
        os.dup2(file.fileno(), sys.stderr.fileno())
    settings = load_settings()
    configure_logs(settings)
    run_rq_worker(settings)


@dataclass
class _Reading:
    """What the simulated reader did and met."""

    given: dict[int, str] = field(default_factory=dict)
    not_served: int = 0
    slowest: float = 0.0


@dataclass(frozen=True)
class _Kill:
    victim: str
    during: str
    at: float


class _Trial:
    def __init__(
        self, client: LabelStudioClient, backend: BackendServer, redis: RedisServer, demo: DemoProject
    ) -> None:
        self.client = client
        self.backend = backend
        self.redis = redis
        self.demo = demo
        self.id = demo.project.id
        self.stores = Stores(Database.in_folder(backend.folder))
        self.workers = _Workers(backend.environment, backend.folder / "workers.log")
        self.reading = _Reading()
        self.kills: list[_Kill] = []

    def read(self, ended: threading.Event) -> None:
        """Annotate what Label Studio serves, by the true labels, until the end."""
        reader = Reader(self.client)
        while not ended.wait(_READ_SECONDS):
            task = reader.next(self.id)
            if task is None:
                self.reading.not_served += 1
                continue
            name = self.demo.truth[task.id]
            started = time.perf_counter()
            reader.annotate(task, {CLASS_CONTROL: [name]})
            self.reading.slowest = max(self.reading.slowest, time.perf_counter() - started)
            self.reading.given[task.id] = name

    def kill(self, victim: str, draw: random.Random) -> None:
        """Kill one, note what was going on, and start it again a little later."""
        latest = self.stores.rounds.latest(self.id)
        running = latest is not None and latest.state is RoundState.RUNNING
        self.kills.append(_Kill(victim, latest.stage if latest and running else "no round", time.time()))
        away = draw.uniform(*_AWAY)
        if victim == "worker":
            self.workers.kill_one(draw.randrange(_WORKERS))
            time.sleep(away)
            self.workers.restart()
        elif victim == "server":
            self.backend.kill()
            time.sleep(away)
            self.backend.start()
        else:
            self.redis.kill()
            time.sleep(away)
            self.redis.start(empty=victim == "Redis, data lost")

    def restart_all(self) -> None:
        """Start again what was killed and not yet started again."""
        if not self.redis.running:
            self.redis.start()
        self.workers.restart()
        if self.backend.process_id is None:
            self.backend.start()

    def settle(self) -> dict[str, Any]:
        """Wait until no round is due or running."""
        deadline = time.monotonic() + _SETTLE_SECONDS
        while time.monotonic() < deadline:
            status = self.backend.status(self.id) or {}
            if not status["round_due"] and status["round"]["state"] == RoundState.PUBLISHED:
                return status
            time.sleep(0.2)
        raise ClinicalError("Rounds did not come to rest.", f"See the logs in {self.backend.folder}.")


def main(kills: int) -> None:
    """Run the trial and print its tables."""
    console = Console()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        server = stack.enter_context(LabelStudioServer(folder / "label-studio", cache=Path(".cache")))
        redis = stack.enter_context(RedisServer(folder / "redis"))
        key = server.account.token
        client = stack.enter_context(LabelStudioClient(server.url, key))
        reader = stack.enter_context(LabelStudioClient(server.url, key))
        settings = {**_SETTINGS, "REDIS_URL": redis.url, "LOCAL_FILES_DOCUMENT_ROOT": server.files}
        exported = Path(".cache") / "backbones"
        load_backbone(folder=exported, device="cpu")
        shutil.copytree(exported, folder / "backend" / "backbones")
        backend = stack.enter_context(BackendServer(folder / "backend", server.url, key, **settings))
        demo = create_demo_project(client, server, drawn_cells(_TASKS, _RARE, seed=0), "reliability")
        trial = _Trial(reader, backend, redis, demo)
        stack.callback(trial.workers.stop)
        connect(client, demo.project.id, backend_url=backend.url)
        wait_for_round(backend, demo.project.id, 0)
        _kill_while_reading(trial, kills)
        backend_knows = trial.settle()
        console.print(_outcome(trial, backend_knows))
        console.print(_kills(trial))
        console.print(_burst(trial))


def _kill_while_reading(trial: _Trial, kills: int) -> None:
    draw = random.Random(0)
    ended = threading.Event()
    with ThreadPoolExecutor(1) as readers:
        reading = readers.submit(trial.read, ended)
        try:
            victims = itertools.cycle(["worker", "server", "worker", "Redis", "worker", "Redis, data lost"])
            for victim in itertools.islice(victims, kills):
                time.sleep(draw.uniform(*_BETWEEN_KILLS))
                trial.kill(victim, draw)
        except KeyboardInterrupt:  # what was tried until now is worth counting
            trial.restart_all()
        finally:
            ended.set()
        reading.result()
    # The reader's last labels may be too few for a round to be due: this one reads them all back.
    httpx2.post(f"{trial.backend.url}/projects/{trial.id}/rounds", timeout=60.0).raise_for_status()


def _outcome(trial: _Trial, status: dict[str, Any]) -> Table:
    rounds = list(reversed(trial.stores.rounds.history(trial.id, limit=10_000)))
    states = [row.state for row in rounds]
    known = {task: entry.label for task, entry in trial.stores.labels.all(trial.id).items() if entry.label}
    there = {task.id for task in trial.client.annotated_tasks(trial.id)}
    version = status["published_version"]
    published = trial.stores.rounds.published(trial.id)
    queue = len(trial.stores.rounds.queue(published.id)) if published else 0
    served = trial.client.project(trial.id).model_version == version
    rows: list[tuple[str, object]] = [
        ("kills", len(trial.kills)),
        ("annotations given", len(trial.reading.given)),
        ("of them missing in Label Studio", len(trial.reading.given.keys() - there)),
        (
            "of them missing in the backend, or wrong there",
            sum(known.get(t) != c for t, c in trial.reading.given.items()),
        ),
        ("times that the reader was served nothing", trial.reading.not_served),
        ("longest that one annotation took, s", f"{trial.reading.slowest:.1f}"),
        ("rounds published", states.count(RoundState.PUBLISHED)),
        ("rounds cut off, and run again", states.count(RoundState.ABANDONED)),
        ("rounds failed, and run again", states.count(RoundState.FAILED)),
        ("rounds left running", states.count(RoundState.RUNNING)),
        ("rounds that ran at the same time as another", _overlaps(rounds)),
        ("Label Studio serves the published queue", "yes" if served else "NO"),
        ("its predictions there / its tasks", f"{trial.client.model_versions(trial.id).get(version, 0)} / {queue}"),
    ]
    table = Table(title=f"{len(trial.kills)} kills while a reader annotates")
    table.add_column("counted")
    table.add_column("", justify="right")
    for name, value in rows:
        table.add_row(name, str(value))
    return table


def _overlaps(rounds: list[Round]) -> int:
    return sum(later.started_at < (earlier.finished_at or 0.0) for earlier, later in itertools.pairwise(rounds))


def _kills(trial: _Trial) -> Table:
    """Say when each victim was killed, and how long it took until the next queue was published."""
    ends = [
        row.finished_at
        for row in reversed(trial.stores.rounds.history(trial.id, limit=10_000))
        if row.state is RoundState.PUBLISHED and row.finished_at
    ]
    table = Table(title="Seconds from a kill in a round to the next published queue")
    for heading in ("killed", "times", "in a round, by stage", "median", "most"):
        table.add_column(heading, justify="left" if heading in {"killed", "in a round, by stage"} else "right")
    for victim in dict.fromkeys(kill.victim for kill in trial.kills):
        kills = [kill for kill in trial.kills if kill.victim == victim]
        inside = [kill for kill in kills if kill.during != "no round"]
        stages = [f"{stage} {len(list(group))}" for stage, group in itertools.groupby(sorted(k.during for k in inside))]
        waits = [min(end for end in ends if end > kill.at) - kill.at for kill in inside]
        figures = (f"{statistics.median(waits):.1f}", f"{max(waits):.1f}") if waits else ("", "")
        table.add_row(victim, str(len(kills)), ", ".join(stages), *figures)
    return table


def _burst(trial: _Trial) -> str:
    """Send the same webhook at once, many times."""
    event = {"action": "START_TRAINING", "project": {"id": trial.id}}

    def call(_: int) -> float:
        started = time.perf_counter()
        http.post("/webhook", json=event).raise_for_status()
        return time.perf_counter() - started

    before = len(trial.stores.rounds.history(trial.id, limit=10_000))
    with (
        httpx2.Client(base_url=trial.backend.url, timeout=60.0) as http,
        ThreadPoolExecutor(_CALLERS) as callers,
    ):
        taken = sorted(callers.map(call, range(_CALLERS)))
    trial.settle()
    rounds = len(trial.stores.rounds.history(trial.id, limit=10_000)) - before
    median, most = 1000 * statistics.median(taken), 1000 * taken[-1]
    return (
        f"The same webhook {_CALLERS} times at once: {rounds} round(s);"
        f" answered in {median:.0f} ms (median), {most:.0f} ms (most)."
    )
