import logging
import time

import pytest
from rq import SimpleWorker
from rq.serializers import JSONSerializer

from clinical_backend.errors import RoundTimeoutError
from clinical_backend.jobs import rq_worker
from clinical_backend.jobs.lease import lease
from clinical_backend.jobs.redis_connection import hint_key, project_key, round_queue
from clinical_backend.jobs.rq import RedisRunner
from clinical_backend.settings import load_settings
from clinical_backend.storage.database import Database
from clinical_backend.storage.stores import Stores
from tests.jobs.test_local import wait_for


@pytest.fixture
def settings(tmp_path):
    return load_settings(model_dir=tmp_path, label_studio_api_key="k")


@pytest.fixture
def redis(redis_server):
    redis_server.client.flushdb()
    return redis_server.client


@pytest.fixture
def attended(settings, redis, monkeypatch):
    """Return the projects that a worker in this process attends to, instead of doing so."""
    seen = []

    class Tools:
        def __init__(self):
            self.settings = settings

    token = rq_worker._tools.set((Tools(), redis))
    monkeypatch.setattr(rq_worker, "attend_project", lambda _, project, look: seen.append((project, look)))
    yield seen
    rq_worker._tools.reset(token)


@pytest.fixture
def stores(settings):
    database = Database.in_folder(settings.model_dir)
    yield Stores(database)
    database.close()


def work(redis):
    """Run the jobs that are queued."""
    queue = round_queue(redis)
    SimpleWorker([queue], connection=redis, serializer=JSONSerializer).work(burst=True, logging_level="ERROR")


def test_hints_fold_and_come_back_for_as_long_as_a_round_is_due(settings, redis, stores, attended):
    runner = RedisRunner(settings, stores, redis)
    stores.projects.register(3)
    for _ in range(5):
        runner.wake(3)
    runner.start()
    try:
        queue = round_queue(redis)
        wait_for(lambda: len(queue) == 2)  # one because it is due, one to compare it with Label Studio
        work(redis)
        assert sorted(attended) == [(3, False), (3, True)]
        wait_for(lambda: len(queue) == 1)
        redis.flushdb()
        wait_for(lambda: len(queue) == 1)
    finally:
        runner.stop()
    assert not redis.keys("rq:job:*failed*")


def test_a_project_that_another_worker_is_at_is_left_to_it(redis, attended):
    redis.set(hint_key(3, look=False), b"1")
    with lease(redis, project_key(3), 60):
        rq_worker.attend(3, look=False)
    assert attended == []
    assert not redis.exists(hint_key(3, look=False))
    rq_worker.attend(3, look=False)
    assert attended == [(3, False)]


def test_due_work_without_a_worker_is_told(settings, redis, stores, caplog):
    stores.projects.register(3)
    runner = RedisRunner(settings, stores, redis)
    with caplog.at_level(logging.WARNING):
        runner.start()
        wait_for(lambda: "Start `clinical worker`" in caplog.text)
    runner.stop()


def test_a_round_that_takes_too_long_is_interrupted_with_the_cure():
    with pytest.raises(RoundTimeoutError, match="ROUND_TIMEOUT_SECONDS"), rq_worker._Deadline(1, Exception):
        time.sleep(60)
