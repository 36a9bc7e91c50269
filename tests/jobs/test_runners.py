"""What every runner promises, whichever way it runs rounds."""

import os
import signal
import subprocess
import sys

import psutil
import pytest

from clinical_backend.jobs.local_runner import LocalRunner
from clinical_backend.jobs.redis_connection import connect_redis
from clinical_backend.jobs.redis_runner import RedisRunner
from clinical_backend.settings import load_settings
from clinical_backend.storage.database import Database
from clinical_backend.storage.schema import RoundState
from clinical_backend.storage.stores.stores import Stores
from tests.jobs.test_local_runner import wait_for
from tests.storage.started import start_round

WORKER = [sys.executable, "-m", "clinical_backend", "worker"]


class Local:
    """The server's own worker process."""

    def __init__(self, settings, stores):
        self.stores = stores
        self.runner = LocalRunner(settings.environment(os.environ))

    def start(self):
        self.runner.start()

    def kill_worker(self):
        wait_for(lambda: self.runner.process_id)
        os.kill(self.runner.process_id, signal.SIGKILL)

    def stop(self):
        self.runner.stop()


class Redis:
    """Two workers that are reached through Redis."""

    def __init__(self, settings, stores):
        self.stores = stores
        self.runner = RedisRunner(settings, stores, connect_redis(settings))
        self._environment = settings.environment(os.environ)
        self._workers = []

    def start(self):
        self.runner.start()
        self._workers = [subprocess.Popen(WORKER, env=self._environment) for _ in range(2)]

    def kill_worker(self):
        worker = self._workers.pop()
        worker.kill()
        worker.wait()

    def stop(self):
        self.runner.stop()
        for worker in self._workers:
            worker.terminate()
            assert worker.wait(30) == 0


@pytest.fixture(scope="module", params=[Local, Redis], ids=["local", "redis"])
def running(request, tmp_path_factory, redis_server):
    """Return a runner that runs, over a Label Studio that does not answer: each round fails for a known reason."""
    redis_server.client.flushdb()
    settings = load_settings(
        model_dir=tmp_path_factory.mktemp("runner"),
        label_studio_url="http://127.0.0.1:9",
        label_studio_api_key="k",
        backbone="none:such",
        redis_url=redis_server.url if request.param is Redis else None,
        worker_timeout_seconds=10,  # a busy machine may not let one run for seconds
    )
    database = Database.in_folder(settings.model_dir)
    before = psutil.Process().children()
    made = request.param(settings, Stores(database))
    made.start()
    yield made
    made.stop()
    assert set(psutil.Process().children()) <= set(before)
    database.close()


def states(running, project_id):
    return [row.state for row in reversed(running.stores.rounds.history(project_id))]


def test_what_stands_in_the_database_is_run_without_a_wake(running):
    running.stores.projects.register(1)
    wait_for(lambda: states(running, 1) == [RoundState.FAILED])
    assert "none:such" in running.stores.projects.get(1).problem


def test_a_failed_round_stays_due_after_a_wait(running):
    wait_for(lambda: running.stores.projects.get(1).request == "the last round failed")
    assert running.stores.projects.get(1).not_before > 0


def test_a_burst_of_requests_is_one_round(running):
    running.stores.projects.register(2)
    for _ in range(50):
        running.stores.projects.request_round(2, "one of many")
        running.runner.wake(2)
    running.stores.projects.register(3)
    running.runner.wake(3)
    wait_for(lambda: states(running, 3))
    wait_for(lambda: states(running, 2) == [RoundState.FAILED])


@pytest.mark.parametrize(
    "running", [pytest.param(Local, marks=pytest.mark.slow, id="local"), pytest.param(Redis, id="redis")], indirect=True
)
def test_the_round_of_a_killed_worker_is_run_again(running):
    running.stores.projects.register(4)
    wait_for(lambda: states(running, 4) == [RoundState.FAILED])
    start_round(running.stores, 4, "in the hands of a worker that dies")
    running.kill_worker()
    wait_for(lambda: states(running, 4)[1:3] == [RoundState.ABANDONED, RoundState.FAILED])
    again = [*reversed(running.stores.rounds.history(4))][2]  # on a busy machine another one may follow by now
    assert again.request == "the last round was cut off"
