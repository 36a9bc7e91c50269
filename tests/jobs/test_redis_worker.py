import logging
import time

import pytest
from rq.worker_registration import WORKERS_BY_QUEUE_KEY

from clinical_backend.jobs import redis_runner as rq
from clinical_backend.jobs import redis_worker
from clinical_backend.jobs.redis_connection import hint_key, hint_of, project_key, read_hint, round_queue
from clinical_backend.jobs.redis_lease import lease
from clinical_backend.jobs.redis_runner import RedisRunner
from clinical_backend.settings import load_settings
from clinical_backend.storage.database import Database
from clinical_backend.workspace.workspace import Workspace
from tests.jobs.test_local_runner import wait_for


@pytest.fixture
def settings(tmp_path):
    return load_settings(model_dir=tmp_path, label_studio_api_key="k")


@pytest.fixture
def redis(redis_server):
    redis_server.client.flushdb()
    return redis_server.client


@pytest.fixture
def workspace(settings):
    database = Database.in_folder(settings.model_dir)
    yield Workspace(settings, database)
    database.close()


@pytest.fixture
def stores(workspace):
    return workspace.stores


@pytest.fixture
def attended(monkeypatch):
    """Return the projects that a worker in this process attends to, instead of doing so."""
    seen = []
    monkeypatch.setattr(redis_worker, "attend_project", lambda project, look: seen.append((project.id, look)))
    return seen


def work(workspace, redis):
    """Attend to all that is queued."""
    queue = round_queue(redis)
    for entry in redis.lrange(queue.key, 0, -1):
        redis.lrem(queue.key, 1, entry)
        project, look = read_hint(entry)
        redis_worker.attend(workspace, redis, project, look=look)


def test_hints_fold_and_come_back_for_as_long_as_a_round_is_due(settings, redis, workspace, stores, attended):
    runner = RedisRunner(settings, stores, redis)
    stores.projects.register(3)
    for _ in range(5):
        runner.wake(3)
    runner.start()
    try:
        queue = round_queue(redis)
        wait_for(lambda: len(queue) == 2)  # one because it is due, one to compare it with Label Studio
        work(workspace, redis)
        assert sorted(attended) == [(3, False), (3, True)]
        wait_for(lambda: len(queue) == 1)
        redis.flushdb()
        wait_for(lambda: len(queue) == 1)
    finally:
        runner.stop()


def test_hints_that_no_worker_takes_do_not_pile_up(settings, redis, stores, monkeypatch):
    monkeypatch.setattr(rq, "_HINT_SECONDS", 0.001)
    stores.projects.register(3)
    runner = RedisRunner(settings, stores, redis)
    runner._hint(3, look=False)
    time.sleep(0.01)
    runner._hint(3, look=False)
    assert len(round_queue(redis)) == 1


def test_a_project_that_another_worker_is_at_is_left_to_it(redis, workspace, stores, attended):
    stores.projects.register(3)
    redis.set(hint_key(3, look=False), b"1")
    with lease(redis, project_key(3), 60):
        redis_worker.attend(workspace, redis, 3, look=False)
    assert attended == []
    assert not redis.exists(hint_key(3, look=False))
    redis_worker.attend(workspace, redis, 3, look=False)
    assert attended == [(3, False)]


def test_due_work_without_a_worker_is_told(settings, redis, stores, caplog):
    stores.projects.register(3)
    runner = RedisRunner(settings, stores, redis)
    with caplog.at_level(logging.WARNING):
        runner.start()
        wait_for(lambda: "Start `clinical worker`" in caplog.text)
    runner.stop()


def test_a_worker_that_ended_without_a_word_counts_as_none(settings, redis, stores):
    known = WORKERS_BY_QUEUE_KEY % round_queue(redis).name
    runner = RedisRunner(settings, stores, redis)
    redis.sadd(known, "rq:worker:dead", b"\xff")
    assert not runner._worker_runs()
    assert not redis.exists(known)
    redis.set("rq:worker:alive", "")
    redis.sadd(known, "rq:worker:alive")
    assert runner._worker_runs()


@pytest.mark.parametrize("look", [True, False])
def test_a_hint_says_the_project_and_whether_to_look(look):
    assert read_hint(hint_of(7, look=look).encode()) == (7, look)


@pytest.mark.parametrize(
    "entry",
    [
        b"",
        b"look",
        b"look-",
        b"look-0",
        b"look-03",
        b"look--3",
        b"look-3 ",
        b"look-3\n",
        b" look-3",
        b"Look-3",
        b"look-3.0",
        b"look-1e3",
        b"look-0x3",
        b"look-True",
        b"look-" + b"9" * 20,
        "look-\u0663".encode(),
        b"look-3\x00",
        b"\xff\xfe",
        b"look_3",
        b"5f0b1e53-74d6-4a14-8d5b-0b6c5d6b5f3e",
        b'["os.system", null, ["true"], {}]',
    ],
)
def test_whatever_else_stands_in_the_queue_is_no_hint(entry):
    assert read_hint(entry) is None


def test_a_hint_of_a_project_that_is_none_of_ours_leaves_nothing(redis, workspace, stores):
    stores.projects.register(3)
    before = sorted(workspace.settings.model_dir.rglob("*"))
    for stranger in (4, 10**18):
        redis_worker.attend(workspace, redis, stranger, look=True)
    assert sorted(workspace.settings.model_dir.rglob("*")) == before
    assert stores.projects.ids() == [3]
    assert not redis.keys("clinical:project:*")
