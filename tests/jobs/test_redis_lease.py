import threading

import pytest

from clinical_backend.jobs.redis_lease import lease
from tests.jobs.test_local_runner import wait_for

NAME = "clinical:project:1"


@pytest.fixture
def redis(redis_server):
    redis_server.client.flushdb()
    return redis_server.client


def test_one_holds_it_at_a_time_and_frees_it_at_the_end(redis):
    with lease(redis, NAME, 60) as first, lease(redis, NAME, 60) as second:
        assert (first, second) == (True, False)
    with lease(redis, NAME, 60) as third:
        assert third
    assert not redis.exists(NAME)


def test_it_is_kept_for_as_long_as_its_holder_lives(redis):
    with lease(redis, NAME, 0.4):
        redis.pexpire(NAME, 10_000)
        wait_for(lambda: 0 < redis.pttl(NAME) <= 400)  # set anew by a sign of life
    assert not any(thread.name == "heartbeat" for thread in threading.enumerate())


def test_it_is_free_again_after_its_holder_died(redis):
    redis.set(NAME, "of a dead worker", px=50)
    wait_for(lambda: not redis.exists(NAME))
    with lease(redis, NAME, 60) as free:
        assert free


def test_it_is_taken_again_when_redis_lost_it_but_never_from_another(redis, caplog):
    with lease(redis, NAME, 0.4):
        redis.flushdb()
        wait_for(lambda: redis.exists(NAME))
        redis.set(NAME, "another")
        wait_for(lambda: "another worker" in caplog.text)
    assert redis.get(NAME) == b"another"
