import socket
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import pytest
from rq import Worker
from rq.serializers import JSONSerializer
from rq.utils import utcformat
from rq.worker import WorkerStatus

from clinical_backend.demo.ports import free_port
from clinical_backend.errors import JobQueueError
from clinical_backend.jobs.health import require_server, require_worker
from clinical_backend.jobs.redis_connection import round_queue
from clinical_backend.settings import load_settings


@pytest.fixture
def settings(redis_server):
    redis_server.client.flushdb()
    return load_settings(redis_url=redis_server.url)


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
    with pytest.raises(JobQueueError, match="silent"):
        require_worker(settings)


def test_a_worker_at_a_long_round_is_well(settings, sign):
    silence(sign, 1200)
    sign.set_state(WorkerStatus.BUSY)
    require_worker(settings)


def test_the_worker_of_another_machine_is_not_taken_for_this_one(settings, sign):
    sign.connection.hset(sign.key, "hostname", f"not-{socket.gethostname()}")
    with pytest.raises(JobQueueError, match="No worker of this machine"):
        require_worker(settings)


def test_what_somebody_else_wrote_to_redis_is_no_sign_of_life(settings, sign):
    sign.connection.hset(sign.key, "last_heartbeat", "now")
    with pytest.raises(JobQueueError, match="silent"):
        require_worker(settings)


def test_without_redis_a_worker_takes_nothing():
    with pytest.raises(JobQueueError, match="Redis does not answer"):
        require_worker(load_settings(redis_url=f"redis://127.0.0.1:{free_port()}/0"))


@pytest.fixture
def answering():
    """Return the port of a server whose status is that of its attribute, and which is no proxy."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(self.server.status if self.path == "/health" else 404)
            self.end_headers()

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    server.status = 200
    Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
def test_a_server_that_answers_is_well_whatever_proxy_there_is(monkeypatch, answering, host):
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{free_port()}")
    require_server(load_settings(host=host, port=answering.server_port))


def test_a_server_that_fails_is_not(answering):
    answering.status = 500
    with pytest.raises(JobQueueError, match="answers 500"):
        require_server(load_settings(port=answering.server_port))


def test_a_server_that_is_away_is_not():
    with pytest.raises(JobQueueError, match="does not answer on 127"):
        require_server(load_settings(host="0.0.0.0", port=free_port()))
