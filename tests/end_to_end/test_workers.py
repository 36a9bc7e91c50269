"""Two workers on a real Redis and PostgreSQL: whatever dies, the round is run again, and nothing asked is lost."""

from __future__ import annotations

import os
import signal
from concurrent.futures import ThreadPoolExecutor

import httpx2
import pytest

from clinical_backend.lab.servers.faults import POINTS
from clinical_backend.lab.servers.postgresql_server import PostgreSQLServer
from clinical_backend.lab.servers.redis_server import RedisServer
from clinical_backend.lab.servers.workers import Workers
from clinical_backend.storage.schema import RoundState
from tests.end_to_end.conftest import Loop, wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


@pytest.fixture(scope="module")
def redis(tmp_path_factory):
    """Return a Redis of this module's own, which it may kill."""
    with RedisServer(tmp_path_factory.mktemp("own-redis") / "data") as server:
        yield server


@pytest.fixture(scope="module")
def postgresql():
    """Return a PostgreSQL of this module's own, which it may kill."""
    with PostgreSQLServer() as server:
        yield server


@pytest.fixture(scope="module")
def server(label_studio, make_backend, redis, postgresql):
    """Return a backend that runs no rounds itself."""
    settings = {
        "QUEUE_SIZE": 10,
        "RECONCILE_SECONDS": 600,
        "WORKER_TIMEOUT_SECONDS": 5,
        "REDIS_URL": redis.url,
        "DATABASE_URL": postgresql.new_database(),
    }
    with make_backend(label_studio.url, label_studio.account.token, **settings) as made:
        yield made


@pytest.fixture(scope="module")
def workers(server, tmp_path_factory):
    with Workers(tmp_path_factory.mktemp("workers") / "faults", server.environment) as made:
        yield made


@pytest.fixture(scope="module")
def connected(client, server, workers, make_cells):
    """Return a project with its first queue."""
    loop = Loop(client, server, make_cells(30, 4))
    loop.connect()
    loop.settle()
    yield loop
    loop.stores.database.close()


@pytest.fixture
def held(connected, workers):
    """Return a function that has a round wait at a point, and returns the process id of its worker."""
    at = []

    def hold(point):
        at.append(point)
        workers.faults.hold_at(point)
        assert ask(connected) == 200
        wait_until(lambda: workers.faults.held_at(point), f"a worker at {point}")
        return workers.faults.held_at(point)

    yield hold
    for point in at:
        workers.faults.release(point)


def ask(loop):
    """Ask for a round, as the button does."""
    body = {"action": "START_TRAINING", "project": {"id": loop.id}}
    return httpx2.post(f"{loop.backend.url}/webhook", json=body, timeout=60).status_code


def tell(loop, task):
    """Tell of an annotation, as Label Studio does."""
    body = {
        "action": "ANNOTATION_CREATED",
        "project": {"id": loop.id},
        "task": {"id": task},
        "annotation": {"id": 1, "result": []},
    }
    return httpx2.post(f"{loop.backend.url}/webhook", json=body, timeout=60).status_code


def rounds(loop):
    return list(reversed(loop.stores.rounds.history(loop.id)))


def served_whole(loop):
    """Tell whether readers are served the queue that the backend knows as published, whole."""
    version = loop.status()["published_version"]
    return loop.client.project(loop.id).model_version == version and loop.client.model_versions(loop.id)[
        version
    ] == len(loop.queue())


def test_a_worker_killed_at_any_point_costs_no_round(connected, workers):
    before = len(rounds(connected))
    for point in POINTS:
        workers.faults.kill_at(point)
        assert ask(connected) == 200
        wait_until(lambda point=point: workers.faults.killed_at(point), f"a worker killed at {point}")
        connected.settle()
        assert served_whole(connected)
    states = [row.state for row in rounds(connected)[before:]]
    # The last point is after the switch: what readers have is published.
    assert states == [*[RoundState.ABANDONED, RoundState.PUBLISHED] * (len(POINTS) - 1), RoundState.PUBLISHED]
    assert list(workers.ended().values()) == [-signal.SIGKILL] * len(POINTS)


def test_a_worker_that_is_stopped_is_ended_and_costs_no_round(connected, workers, held):
    for point in ("sync", "imported"):
        before = len(rounds(connected))
        stopped = held(point)
        os.kill(stopped, signal.SIGSTOP)
        wait_until(lambda stopped=stopped: stopped in workers.ended(), "the stopped worker's end")
        workers.faults.release(point)
        connected.settle()
        states = [row.state for row in rounds(connected)[before:]]
        assert states == [RoundState.ABANDONED, RoundState.PUBLISHED]
        assert served_whole(connected)


def test_a_postgresql_killed_in_any_stage_costs_no_round(connected, workers, held, postgresql):
    old = connected.status()["published_version"]
    for point in ("sync", "fit", "imported", "switched"):
        held(point)
        running = rounds(connected)[-1]
        postgresql.kill()
        assert connected.client.project(connected.id).model_version == (running.version if point == "switched" else old)
        workers.faults.release(point)
        postgresql.start()
        connected.settle()
        states = [row.state for row in rounds(connected)[running.number - 1 :]]
        assert RoundState.RUNNING not in states
        assert states[-1] is RoundState.PUBLISHED
        assert served_whole(connected)
        old = connected.status()["published_version"]


def test_a_burst_during_a_round_is_one_more_round(connected, workers, held):
    held("fit")
    before = len(rounds(connected))
    tasks = sorted(connected.stores.images.all(connected.id))
    with ThreadPoolExecutor(50) as readers:
        assert set(readers.map(lambda _: ask(connected), range(50))) == {200}
        annotated = [readers.submit(tell, connected, tasks[number % len(tasks)]) for number in range(400)]
        assert {answer.result() for answer in annotated} == {200}
    workers.faults.release("fit")
    connected.settle()
    assert [row.state for row in rounds(connected)[before - 1 :]] == [RoundState.PUBLISHED] * 2


@pytest.mark.parametrize("away", [False, True], ids=["redis", "redis away"])
def test_a_worker_that_is_told_to_end_finishes_its_round(connected, workers, held, redis, away):
    worker = held("rank")
    if away:
        redis.kill()
    os.kill(worker, signal.SIGTERM)
    workers.faults.release("rank")
    wait_until(lambda: worker in workers.ended(), "the worker's end")
    if away:
        redis.start()
    assert workers.ended()[worker] == 0
    assert rounds(connected)[-1].state is RoundState.PUBLISHED


def test_what_is_asked_while_redis_is_away_is_run_when_it_is_back_empty(connected, workers, held, redis):
    held("embed")
    before = len(rounds(connected))
    redis.kill()
    assert ask(connected) == 200
    ready = httpx2.get(f"{connected.backend.url}/ready", timeout=10)
    assert (ready.status_code, list(ready.json()["problems"])) == (503, ["redis"])
    redis.start(empty=True)
    workers.faults.release("embed")
    wait_until(lambda: len(rounds(connected)) > before, "a round for what was asked")
    connected.settle()
    assert [row.state for row in rounds(connected)[before - 1 :]] == [RoundState.PUBLISHED] * 2
    assert httpx2.get(f"{connected.backend.url}/ready", timeout=10).json()["ready"]
    assert served_whole(connected)
