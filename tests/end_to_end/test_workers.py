"""Two workers on a real Redis: whatever dies, the round is run without help, and nothing that was asked is lost."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import httpx2
import pytest

from clinical_backend.demo.redis_server import RedisServer
from clinical_backend.storage.schema import RoundState
from tests.end_to_end.conftest import Loop, wait_until


class Workers:
    """Two workers, and the faults that tests have them meet."""

    def __init__(self, folder, environment):
        self._folder = folder
        folder.mkdir()
        command = [sys.executable, "-m", "tests.end_to_end.forked_workers", str(folder)]
        self._parent = subprocess.Popen(command, env=environment)

    def kill_at(self, stage):
        (self._folder / f"kill-{stage}").touch()

    def killed(self, stage):
        return not (self._folder / f"kill-{stage}").exists()

    def hold_at(self, stage):
        (self._folder / f"hold-{stage}").touch()

    def held(self, stage):
        """Return the process that waits there, once one does."""
        held = self._folder / f"held-{stage}"
        wait_until(lambda: held.exists() and held.read_text(), f"a worker at {stage}")
        return int(held.read_text())

    def release(self, stage):
        (self._folder / f"held-{stage}").unlink()
        (self._folder / f"hold-{stage}").unlink()

    def ended(self):
        """Return the exit statuses of workers by their process ids."""
        log = self._folder / "ended"
        lines = log.read_text().splitlines() if log.exists() else []
        return {int(line.split()[0]): int(line.split()[1]) for line in lines}

    def stop(self):
        self._parent.terminate()
        self._parent.wait()


@pytest.fixture(scope="module")
def redis(tmp_path_factory):
    """Return a Redis of this module's own, which it may kill."""
    with RedisServer(tmp_path_factory.mktemp("own-redis") / "data") as server:
        yield server


@pytest.fixture(scope="module")
def server(label_studio, make_backend, redis):
    """Return a backend that runs no rounds itself."""
    settings = {"QUEUE_SIZE": 10, "RECONCILE_SECONDS": 600, "WORKER_TIMEOUT_SECONDS": 2, "REDIS_URL": redis.url}
    with make_backend(label_studio.url, label_studio.account.token, **settings) as made:
        yield made


@pytest.fixture(scope="module")
def workers(server, tmp_path_factory):
    made = Workers(tmp_path_factory.mktemp("workers") / "faults", server.environment)
    yield made
    made.stop()


@pytest.fixture(scope="module")
def connected(client, server, workers, make_cells):
    """Return a project with its first queue."""
    loop = Loop(client, server, make_cells(30, 4))
    loop.connect()
    loop.settle()
    return loop


def ask(loop):
    """Ask for a round, as the button does."""
    body = {"action": "START_TRAINING", "project": {"id": loop.id}}
    return httpx2.post(f"{loop.backend.url}/webhook", json=body, timeout=10).status_code


def rounds(loop):
    return list(reversed(loop.stores.rounds.history(loop.id)))


def served_whole(loop):
    """Tell whether readers are served the queue that the backend knows as published, whole."""
    version = loop.status()["published_version"]
    return loop.client.project(loop.id).model_version == version and loop.client.model_versions(loop.id)[
        version
    ] == len(loop.queue())


def test_a_worker_killed_in_any_stage_costs_no_round(connected, workers):
    before = len(rounds(connected))
    stages = ("sync", "embed", "fit", "rank", "publish", "switch")
    for stage in stages:
        workers.kill_at(stage)
        assert ask(connected) == 200
        wait_until(lambda stage=stage: workers.killed(stage), f"a worker killed in {stage}")
        connected.settle()
        assert served_whole(connected)
    assert [row.state for row in rounds(connected)[before:]] == [RoundState.ABANDONED, RoundState.PUBLISHED] * len(
        stages
    )
    assert list(workers.ended().values()) == [-signal.SIGKILL] * len(stages)


def test_a_burst_during_a_round_is_one_more_round(connected, workers):
    workers.hold_at("fit")
    ask(connected)
    workers.held("fit")
    before = len(rounds(connected))
    with ThreadPoolExecutor(50) as readers:
        assert set(readers.map(lambda _: ask(connected), range(50))) == {200}
    workers.release("fit")
    connected.settle()
    assert [row.state for row in rounds(connected)[before - 1 :]] == [RoundState.PUBLISHED] * 2


def test_a_worker_that_is_told_to_end_finishes_its_round(connected, workers):
    workers.hold_at("rank")
    ask(connected)
    worker = workers.held("rank")
    os.kill(worker, signal.SIGTERM)
    workers.release("rank")
    wait_until(lambda: worker in workers.ended(), "the worker's end")
    assert workers.ended()[worker] == 0
    assert rounds(connected)[-1].state is RoundState.PUBLISHED


def test_what_is_asked_while_redis_is_away_is_run_when_it_is_back_empty(connected, workers, redis):
    workers.hold_at("embed")
    ask(connected)
    workers.held("embed")
    before = len(rounds(connected))
    redis.kill()
    assert ask(connected) == 200
    ready = httpx2.get(f"{connected.backend.url}/ready", timeout=10)
    assert (ready.status_code, list(ready.json()["problems"])) == (503, ["redis"])
    redis.start(empty=True)
    workers.release("embed")
    wait_until(lambda: len(rounds(connected)) > before, "a round for what was asked")
    connected.settle()
    assert [row.state for row in rounds(connected)[before - 1 :]] == [RoundState.PUBLISHED] * 2
    assert httpx2.get(f"{connected.backend.url}/ready", timeout=10).json()["ready"]
    assert served_whole(connected)
