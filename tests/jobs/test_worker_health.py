import socket
import time
from datetime import UTC, datetime, timedelta

import pytest
from rq import Worker
from rq.serializers import JSONSerializer
from rq.utils import utcformat
from rq.worker import WorkerStatus

from clinical_backend.errors import JobQueueError, NotWellError
from clinical_backend.jobs.redis_connection import round_queue
from clinical_backend.jobs.worker_health import require_worker
from clinical_backend.lab.servers.server import free_port
from clinical_backend.settings import load_settings
from clinical_backend.storage.opening import open_database
from clinical_backend.storage.schema import ProjectLease
from clinical_backend.storage.stores.stores import Stores


@pytest.fixture
def settings(redis_server, tmp_path):
    redis_server.client.flushdb()
    return load_settings(redis_url=redis_server.url, model_dir=tmp_path)


@pytest.fixture
def stores(settings):
    """Return the state, with a round of project 1 that this process is at."""
    database = open_database(settings)
    made = Stores(database)
    made.projects.register(1)
    made.leases.take(1)
    made.rounds.start(1)
    yield made
    database.close()


@pytest.fixture
def sign(redis_server, settings):
    """Return what a worker of this machine says of itself in Redis."""
    queue = round_queue(redis_server.client)
    sign = Worker([queue], connection=redis_server.client, serializer=JSONSerializer)
    sign.register_birth()
    sign.set_state(WorkerStatus.IDLE)
    sign.heartbeat()
    return sign


def silence(sign, seconds):
    last = utcformat(datetime.now(UTC) - timedelta(seconds=seconds))
    sign.connection.hset(sign.key, "last_heartbeat", last)


def test_a_worker_that_takes_hints_is_well(settings, sign):
    require_worker(settings)


def test_a_worker_that_hangs_is_not(settings, sign):
    silence(sign, 120)
    with pytest.raises(NotWellError, match="silent"):
        require_worker(settings)


def test_a_worker_at_a_long_round_is_well(settings, sign, stores):
    silence(sign, 1200)
    sign.set_state(WorkerStatus.BUSY)
    require_worker(settings)


@pytest.mark.parametrize(("column", "said"), [("sign_at", "no sign of life"), ("progress_at", "has not got on")])
def test_a_worker_that_stands_still_in_a_round_is_not(settings, sign, stores, column, said):
    sign.set_state(WorkerStatus.BUSY)
    with stores.database.write() as session:
        setattr(session.get(ProjectLease, 1), column, time.time() - 400)
    with pytest.raises(NotWellError, match=said):
        require_worker(settings)
    with stores.database.write() as session:
        session.get(ProjectLease, 1).holder = "another machine/1/1"
    require_worker(settings)


def test_the_worker_of_another_machine_is_not_taken_for_this_one(settings, sign):
    sign.connection.hset(sign.key, "hostname", f"not-{socket.gethostname()}")
    with pytest.raises(NotWellError, match="No worker of this machine"):
        require_worker(settings)


def test_what_somebody_else_wrote_to_redis_is_no_sign_of_life(settings, sign):
    sign.connection.hset(sign.key, "last_heartbeat", "now")
    with pytest.raises(NotWellError, match="silent"):
        require_worker(settings)


def test_without_redis_a_worker_takes_nothing():
    with pytest.raises(JobQueueError, match="Redis does not answer"):
        require_worker(load_settings(redis_url=f"redis://127.0.0.1:{free_port()}/0"))
